//! What a template reads: for those who ask whether it will be there.

use std::collections::HashMap;

use crate::ast::{Command, Node, Operand, OperandKind, Pipe, Span};
use crate::function::FunctionSet;

/// A place where a template reads its data, a variable, or a field of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldUse {
    /// The variable, with its dollar sign; `None` for the data itself.
    pub variable: Option<String>,
    /// Fields, from the outermost on; a constant key of `index` is one. Empty where the whole is read.
    pub fields: Vec<String>,
    /// First byte in the text.
    pub start: usize,
    /// Byte behind the last.
    pub end: usize,
    /// Whether it is looked at by `if` or `with`: the template knows that there may be nothing.
    pub is_condition: bool,
}

/// What the nodes of a template read, in order. Variables that are given a value more than once are left out, and so is
/// the dot within `with` and `range`, where it is something else.
pub(crate) fn of(nodes: &[Node], functions: &FunctionSet) -> Vec<FieldUse> {
    let mut finder = Finder {
        functions,
        uses: Vec::new(),
        given: HashMap::new(),
    };
    finder.nodes(nodes, true);
    let Finder { mut uses, given, .. } = finder;
    uses.retain(|found| {
        let times = found.variable.as_ref().and_then(|name| given.get(name.as_str()));
        times.is_none_or(|times| *times < 2)
    });
    uses
}

struct Finder<'f> {
    functions: &'f FunctionSet,
    uses: Vec<FieldUse>,
    /// How often each variable is given a value.
    given: HashMap<String, usize>,
}

impl Finder<'_> {
    /// `is_data` says whether the dot is the template's data. Nesting is bounded by the parser.
    fn nodes(&mut self, nodes: &[Node], is_data: bool) {
        for node in nodes {
            match node {
                Node::Text(_) | Node::Break | Node::Continue => {}
                Node::Action(pipe) => self.pipe(pipe, is_data, false),
                Node::Branch {
                    with,
                    arms,
                    otherwise,
                } => {
                    for (pipe, body) in arms {
                        self.pipe(pipe, is_data, true);
                        self.nodes(body, is_data && !with);
                    }
                    self.nodes(otherwise, is_data);
                }
                Node::Range {
                    pipe,
                    body,
                    otherwise,
                } => {
                    self.pipe(pipe, is_data, false);
                    self.nodes(body, false);
                    self.nodes(otherwise, is_data);
                }
                Node::Template { pipe, .. } => {
                    if let Some(pipe) = pipe {
                        self.pipe(pipe, is_data, false);
                    }
                }
            }
        }
    }

    fn pipe(&mut self, pipe: &Pipe, is_data: bool, is_condition: bool) {
        for name in &pipe.declared {
            *self.given.entry(name.to_string()).or_default() += 1;
        }
        for command in &pipe.commands {
            if !self.index(command, is_data, is_condition) {
                for operand in &command.operands {
                    self.operand(operand, is_data, is_condition);
                }
            }
        }
    }

    /// `index .Labels "job"` reads as `.Labels.job` does.
    fn index(&mut self, command: &Command, is_data: bool, is_condition: bool) -> bool {
        let [function, of, keys @ ..] = command.operands.as_slice() else {
            return false;
        };
        let OperandKind::Function(at) = function.kind else {
            return false;
        };
        let Some(keys) = keys.iter().map(constant).collect::<Option<Vec<_>>>() else {
            return false;
        };
        if self.functions.at(at).name != "index" || keys.is_empty() {
            return false;
        }
        let before = self.uses.len();
        self.operand(of, is_data, is_condition);
        match &mut self.uses[before..] {
            [found] => {
                found.fields.extend(keys);
                (found.start, found.end) = (command.span.start, command.span.end);
                true
            }
            _ => false,
        }
    }

    fn operand(&mut self, operand: &Operand, is_data: bool, is_condition: bool) {
        let fields = |fields: &[Box<str>]| fields.iter().map(ToString::to_string).collect();
        let (variable, fields): (Option<String>, Vec<String>) = match &operand.kind {
            OperandKind::Pipe(pipe) => return self.pipe(pipe, is_data, is_condition),
            OperandKind::Chain(inner, _) => return self.operand(inner, is_data, is_condition),
            OperandKind::Dot if is_data => (None, Vec::new()),
            OperandKind::Field(names) if is_data => (None, fields(names)),
            // The dollar sign alone is the data, wherever it stands.
            OperandKind::Variable(name, names) if &**name == "$" => (None, fields(names)),
            OperandKind::Variable(name, names) => (Some(name.to_string()), fields(names)),
            _ => return,
        };
        let Span { start, end } = operand.span;
        self.uses.push(FieldUse {
            variable,
            fields,
            start,
            end,
            is_condition,
        });
    }
}

fn constant(operand: &Operand) -> Option<String> {
    match &operand.kind {
        OperandKind::String(text) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::{Dialect, TemplateSet, alert};

    /// What `text` reads, each with its source, conditions with a question mark.
    fn check(text: &str, want: &[&str]) {
        let mut set = TemplateSet::new(Dialect::Text, alert::FUNCTIONS);
        set.add("t", &format!("{}{text}", alert::PREFIX))
            .expect("a template");
        let uses = set.field_uses("t");
        let written = |at: usize| at - alert::PREFIX.len();
        let got: Vec<String> = uses
            .iter()
            .filter(|found| found.start >= alert::PREFIX.len())
            .map(|found| {
                let source = &text[written(found.start)..written(found.end)];
                let name = found.variable.as_deref().unwrap_or("");
                let mark = if found.is_condition { "?" } else { "" };
                format!("{name}.{}{mark} `{source}`", found.fields.join("."))
            })
            .collect();
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn fields_are_found_wherever_they_stand() {
        check("plain", &[]);
        check("{{ $labels.job }}", &["$labels.job `$labels.job`"]);
        check("{{ .Labels.job | toUpper }}", &[".Labels.job `.Labels.job`"]);
        check("{{ $.Labels.job }}", &[".Labels.job `$.Labels.job`"]);
        check(
            r#"{{ index $labels "a.b" }}"#,
            &[r#"$labels.a.b `index $labels "a.b"`"#],
        );
        check(
            r#"{{ printf "%s" (index .Labels "a") }}"#,
            &[r#".Labels.a `index .Labels "a"`"#],
        );
        check("{{ humanize $value }}", &["$value. `$value`"]);
        check(
            "{{ if $labels.a }}{{ $labels.a }}{{ else if .Labels.b }}x{{ end }}",
            &[
                "$labels.a? `$labels.a`",
                "$labels.a `$labels.a`",
                ".Labels.b? `.Labels.b`",
            ],
        );
    }

    #[test]
    fn what_is_something_else_is_left_out() {
        check("{{ with .Labels }}{{ .job }}{{ end }}", &[".Labels? `.Labels`"]);
        check("{{ range .Labels }}{{ .job }}{{ end }}", &[".Labels `.Labels`"]);
        check("{{ $labels := .Value }}{{ $labels.job }}", &[".Value `.Value`"]);
    }
}
