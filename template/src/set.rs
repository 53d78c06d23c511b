//! Parsed templates that know each other by name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::ast::{Definition, Node, OperandKind, Pipe, Span};
use crate::error::{ExecError, ExecErrorKind, ParseError, ParseErrorKind};
use crate::exec::{Executed, Limits, Run};
use crate::function::{FunctionSet, Host, NoHost};
use crate::parser;
use crate::uses::{self, FieldUse};
use crate::value::Value;

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// As they are.
    Text,
    /// Escaped for the place in an HTML document where they stand.
    Html,
}

/// Templates that can call each other by name. Cloning is cheap.
#[derive(Clone)]
pub struct TemplateSet {
    dialect: Dialect,
    functions: FunctionSet,
    limits: Limits,
    definitions: Arc<HashMap<Arc<str>, Arc<Definition>>>,
}

impl TemplateSet {
    /// A set without templates.
    pub fn new(dialect: Dialect, functions: FunctionSet) -> Self {
        TemplateSet {
            dialect,
            functions,
            limits: Limits::default(),
            definitions: Arc::default(),
        }
    }

    /// The set with other limits on what an execution may cost.
    pub fn with_limits(self, limits: Limits) -> Self {
        TemplateSet { limits, ..self }
    }

    /// Parses `text` as the template `name`, together with all that it defines. Newer templates replace older ones of
    /// the same name, unless they are blank.
    ///
    /// # Errors
    /// Text that is not a template; the set is unchanged then.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), ParseError> {
        let functions = self.functions;
        let parsed = parser::parse(name, text, &|name| functions.find(name))?;
        if self.dialect == Dialect::Html {
            for definition in &parsed {
                check_predefined_escapers(&self.functions, definition)?;
            }
        }
        let definitions = Arc::make_mut(&mut self.definitions);
        for definition in parsed {
            let known = definitions.contains_key(&definition.name);
            if !known || !definition.is_blank() {
                definitions.insert(definition.name.clone(), Arc::new(definition));
            }
        }
        Ok(())
    }

    /// Executes the template `name` with `data` as its dot.
    ///
    /// # Errors
    /// Where the template, its data or a function does not do; output so far is lost.
    pub fn execute(&self, name: &str, data: Value, host: &dyn Host) -> Result<String, Box<ExecError>> {
        let Some(definition) = self.definition(name) else {
            let root = name.to_owned();
            let kind = ExecErrorKind::NoTemplate {
                name: name.to_owned(),
                root,
            };
            return Err(Box::new(ExecError {
                source_name: Arc::from(name),
                template: Arc::from(name),
                line: 1,
                column: 0,
                offset: 0,
                code: String::new(),
                kind,
            }));
        };
        self.check_reachable(definition)?;
        Run::new(self, definition, host, self.limits).execute(data)
    }

    /// Parses `text` on top of this set and executes it; the set itself stays as it is.
    ///
    /// # Errors
    /// As [`TemplateSet::add`] and [`TemplateSet::execute`].
    pub fn expand(
        &self,
        name: &str,
        text: &str,
        data: Value,
        host: &dyn Host,
    ) -> Result<String, crate::Error> {
        let mut set = self.clone();
        set.add(name, text)?;
        Ok(set.execute(name, data, host)?)
    }

    /// Whether there is a template called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.definitions.contains_key(name)
    }

    /// What the template `name` itself reads of its data, in order; what it calls is not looked into.
    pub fn field_uses(&self, name: &str) -> Vec<FieldUse> {
        self.definition(name)
            .map_or_else(Vec::new, |definition| uses::of(&definition.body, &self.functions))
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn functions(&self) -> &FunctionSet {
        &self.functions
    }

    pub(crate) fn definition(&self, name: &str) -> Option<&Definition> {
        self.definitions.get(name).map(|definition| &**definition)
    }

    /// In HTML, all templates that could be called must be there, whether or not they will be.
    pub(crate) fn check_reachable(&self, root: &Definition) -> Executed<()> {
        if self.dialect == Dialect::Text {
            return Ok(());
        }
        let mut seen: HashSet<&str> = HashSet::from([&*root.name]);
        let mut pending = vec![root];
        while let Some(definition) = pending.pop() {
            let mut missing = None;
            each_node(&definition.body, &mut |node| {
                let Node::Template { pos, name, .. } = node else {
                    return;
                };
                match self.definitions.get_key_value(&**name) {
                    Some((key, callee)) if seen.insert(key) => pending.push(callee),
                    Some(_) => {}
                    None if missing.is_none() => missing = Some((*pos, name.to_string())),
                    None => {}
                }
            });
            if let Some((pos, name)) = missing {
                let run = Run::new(self, definition, &NoHost, self.limits);
                return Err(run.error(pos, Span::default(), ExecErrorKind::NoSuchTemplate(name)));
            }
        }
        Ok(())
    }
}

/// Calls `visit` with every node of a tree. Nesting is bounded by the parser.
fn each_node<'n>(nodes: &'n [Node], visit: &mut dyn FnMut(&'n Node)) {
    for node in nodes {
        visit(node);
        match node {
            Node::Branch { arms, otherwise, .. } => {
                for (_, body) in arms {
                    each_node(body, visit);
                }
                each_node(otherwise, visit);
            }
            Node::Range { body, otherwise, .. } => {
                each_node(body, visit);
                each_node(otherwise, visit);
            }
            _ => {}
        }
    }
}

/// `html` and `urlquery` only make sense at the end of a pipeline, where escaping takes account of them.
fn check_predefined_escapers(functions: &FunctionSet, definition: &Definition) -> Result<(), ParseError> {
    let mut wrong: Option<(&Pipe, &'static str)> = None;
    each_node(&definition.body, &mut |node| {
        let Node::Action(pipe) = node else { return };
        if !pipe.declared.is_empty() {
            return;
        }
        let before_last = pipe.commands.split_last().map_or(&[][..], |(_, before)| before);
        for command in before_last {
            if let OperandKind::Function(index) = command.operands[0].kind {
                let name = functions.at(index).name;
                if matches!(name, "html" | "urlquery") {
                    wrong.get_or_insert((pipe, name));
                }
            }
        }
    });
    let Some((pipe, name)) = wrong else {
        return Ok(());
    };
    let source = &definition.source;
    Err(ParseError {
        name: source.name.to_string(),
        line: source.text[..pipe.span.start].matches('\n').count() + 1,
        offset: pipe.span.start,
        kind: ParseErrorKind::PredefinedEscaper(name.to_owned()),
    })
}
