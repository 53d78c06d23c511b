//! Execution: walks the tree, writes the output, counts what it costs.

use std::sync::Arc;

use crate::ast::{Definition, Node, Pipe, Span};
use crate::error::{ExecError, ExecErrorKind};
use crate::function::{Host, Render};
use crate::output::Output;
use crate::set::TemplateSet;
use crate::value::Value;

/// What one execution may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nodes and calls evaluated.
    pub steps_max: usize,
    /// Bytes of output and of all values that functions made.
    pub bytes_max: usize,
    /// Templates, blocks and parentheses inside each other.
    pub depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            steps_max: 2_000_000,
            bytes_max: 32 << 20,
            depth_max: 300,
        }
    }
}

pub(crate) type Executed<T> = Result<T, Box<ExecError>>;

/// How a list of nodes was left.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// One execution.
pub(crate) struct Run<'r> {
    pub(crate) set: &'r TemplateSet,
    pub(crate) host: &'r dyn Host,
    limits: Limits,
    /// The definition that is being executed.
    pub(crate) definition: &'r Definition,
    /// Variables by name with their dollar sign; those of the current definition start at `base`.
    variables: Vec<(&'r str, Value)>,
    base: usize,
    output: Output,
    steps: usize,
    pub(crate) bytes: usize,
    depth: usize,
}

impl<'r> Run<'r> {
    pub(crate) fn new(
        set: &'r TemplateSet,
        definition: &'r Definition,
        host: &'r dyn Host,
        limits: Limits,
    ) -> Self {
        Run {
            set,
            host,
            limits,
            definition,
            variables: Vec::new(),
            base: 0,
            output: Output::new(set.dialect()),
            steps: 0,
            bytes: 0,
            depth: 0,
        }
    }

    /// Executes the definition from the start and gives its output.
    pub(crate) fn execute(mut self, data: Value) -> Executed<String> {
        self.variables.push(("$", data.clone()));
        let definition = self.definition;
        self.list(&definition.body, &data)?;
        self.finish()
    }

    fn finish(&mut self) -> Executed<String> {
        let output = std::mem::replace(&mut self.output, Output::new(self.set.dialect()));
        let kind = match output.finish() {
            Ok(text) => return Ok(text),
            Err(kind) => kind,
        };
        Err(self.error(0, Span::default(), kind))
    }

    // Errors and limits.

    pub(crate) fn error(&self, pos: usize, code: Span, kind: ExecErrorKind) -> Box<ExecError> {
        let source = &self.definition.source;
        let code = squeezed(&source.text[code.start..code.end]);
        self.error_with_code(pos, code, kind)
    }

    fn error_with_code(&self, pos: usize, code: String, kind: ExecErrorKind) -> Box<ExecError> {
        let source = &self.definition.source;
        let before = &source.text[..pos];
        Box::new(ExecError {
            source_name: source.name.clone(),
            template: self.definition.name.clone(),
            line: before.matches('\n').count() + 1,
            column: pos - before.rfind('\n').map_or(0, |at| at + 1),
            offset: pos,
            code,
            kind,
        })
    }

    /// Counts a step at `span`.
    pub(crate) fn step(&mut self, span: Span) -> Executed<()> {
        self.steps += 1;
        if self.steps > self.limits.steps_max {
            let kind = ExecErrorKind::TooManySteps(self.limits.steps_max);
            return Err(self.error(span.start, span, kind));
        }
        Ok(())
    }

    /// Counts bytes written or made at `span`.
    pub(crate) fn charge(&mut self, bytes: usize, span: Span) -> Executed<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes_max {
            let kind = ExecErrorKind::TooLarge(self.limits.bytes_max);
            return Err(self.error(span.start, span, kind));
        }
        Ok(())
    }

    /// Bytes that may still be made.
    pub(crate) fn bytes_left(&self) -> usize {
        self.limits.bytes_max.saturating_sub(self.bytes)
    }

    pub(crate) fn deeper(&mut self, span: Span) -> Executed<()> {
        if self.depth >= self.limits.depth_max {
            let kind = ExecErrorKind::TooDeep(self.limits.depth_max);
            return Err(self.error(span.start, span, kind));
        }
        self.depth += 1;
        Ok(())
    }

    pub(crate) fn shallower(&mut self) {
        self.depth -= 1;
    }

    // Variables.

    pub(crate) fn variable(&self, name: &str) -> Option<&Value> {
        let mine = &self.variables[self.base..];
        mine.iter()
            .rev()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    fn assign(&mut self, name: &str, value: Value, span: Span) -> Executed<()> {
        let mine = &mut self.variables[self.base..];
        match mine.iter_mut().rev().find(|(known, _)| *known == name) {
            Some(variable) => {
                variable.1 = value;
                Ok(())
            }
            None => Err(self.error(
                span.start,
                span,
                ExecErrorKind::UndefinedVariable(name.to_owned()),
            )),
        }
    }

    /// Gives the variables of `pipe` their value, new or old ones.
    pub(crate) fn bind(&mut self, pipe: &'r Pipe, value: &Value) -> Executed<()> {
        for name in &pipe.declared {
            if pipe.assign {
                self.assign(name, value.clone(), pipe.span)?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(())
    }

    // Nodes.

    fn list(&mut self, nodes: &'r [Node], dot: &Value) -> Executed<Flow> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// A list inside a block: deeper by one, its variables gone at the end.
    fn inner(&mut self, nodes: &'r [Node], dot: &Value, span: Span) -> Executed<Flow> {
        self.deeper(span)?;
        let mark = self.variables.len();
        let flow = self.list(nodes, dot)?;
        self.variables.truncate(mark);
        self.shallower();
        Ok(flow)
    }

    fn node(&mut self, node: &'r Node, dot: &Value) -> Executed<Flow> {
        match node {
            Node::Text(text) => {
                self.charge(text.len(), Span::default())?;
                let written = self.output.text(text);
                written.map_err(|kind| self.error(0, Span::default(), kind))?;
            }
            Node::Action(pipe) => self.action(pipe, dot)?,
            Node::Branch {
                with,
                arms,
                otherwise,
            } => return self.branch(*with, arms, otherwise, dot),
            Node::Range {
                pipe,
                body,
                otherwise,
            } => return self.range(pipe, body, otherwise, dot),
            Node::Template { pos, name, pipe } => self.template(*pos, name, pipe.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn action(&mut self, pipe: &'r Pipe, dot: &Value) -> Executed<()> {
        if !pipe.declared.is_empty() {
            return self.pipeline(pipe, dot).map(drop);
        }
        let plan = self.output.plan(self.set, pipe);
        let plan = plan.map_err(|kind| self.error(pipe.span.start, pipe.span, kind))?;
        let value = if plan.without_last {
            self.pipeline_without_last(pipe, dot)?
        } else {
            self.pipeline(pipe, dot)?
        };
        let written = self.output.value(&value, &plan);
        self.charge(written, pipe.span)
    }

    fn branch(
        &mut self,
        with: bool,
        arms: &'r [(Pipe, Vec<Node>)],
        otherwise: &'r [Node],
        dot: &Value,
    ) -> Executed<Flow> {
        let mark = self.variables.len();
        for (pipe, body) in arms {
            let value = self.pipeline(pipe, dot)?;
            if value.truth() {
                let inside = if with { &value } else { dot };
                let flow = self.inner(body, inside, pipe.span)?;
                self.variables.truncate(mark);
                return Ok(flow);
            }
        }
        let span = arms.last().map_or(Span::default(), |(pipe, _)| pipe.span);
        let flow = self.inner(otherwise, dot, span)?;
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn range(
        &mut self,
        pipe: &'r Pipe,
        body: &'r [Node],
        otherwise: &'r [Node],
        dot: &Value,
    ) -> Executed<Flow> {
        let mark = self.variables.len();
        let subject = self.commands(pipe, dot)?;
        let more_than_one = pipe.declared.len() > 1;
        let mut ran = false;
        match subject.plain() {
            Value::Int(_) | Value::Duration(_) if more_than_one => {
                let kind = ExecErrorKind::OneVariable(subject.to_string());
                let (pos, span) = pipe.last_operand();
                return Err(self.error(pos, span, kind));
            }
            Value::Int(n) | Value::Duration(n) => {
                for i in 0..n.max(0) {
                    ran = true;
                    if !self.iteration(pipe, body, Value::Nil, Value::Int(i))? {
                        break;
                    }
                }
            }
            Value::List(list) => {
                for (i, item) in list.items.iter().enumerate() {
                    ran = true;
                    if !self.iteration(pipe, body, Value::Int(i as i64), item.clone())? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, item) in map.entries() {
                    ran = true;
                    if !self.iteration(pipe, body, Value::String(key.clone()), item.clone())? {
                        break;
                    }
                }
            }
            Value::Nil => {}
            _ => {
                let kind = ExecErrorKind::NotIterable(subject.to_string());
                let (pos, span) = pipe.last_operand();
                return Err(self.error(pos, span, kind));
            }
        }
        self.variables.truncate(mark);
        if ran {
            return Ok(Flow::Next);
        }
        let flow = self.inner(otherwise, dot, pipe.span)?;
        self.variables.truncate(mark);
        Ok(flow)
    }

    /// One pass through a loop's body; whether there may be another.
    fn iteration(&mut self, pipe: &'r Pipe, body: &'r [Node], index: Value, item: Value) -> Executed<bool> {
        self.step(pipe.span)?;
        let mark = self.variables.len();
        let (first, second) = match pipe.declared.len() {
            2 => (index, Some(item.clone())),
            _ => (item.clone(), None),
        };
        for (name, value) in pipe
            .declared
            .iter()
            .zip([Some(first), second].into_iter().flatten())
        {
            if pipe.assign {
                self.assign(name, value, pipe.span)?;
            } else {
                self.variables.push((name, value));
            }
        }
        let flow = self.inner(body, &item, pipe.span)?;
        self.variables.truncate(mark);
        Ok(flow != Flow::Break)
    }

    fn template(&mut self, pos: usize, name: &str, pipe: Option<&'r Pipe>, dot: &Value) -> Executed<()> {
        let Some(definition) = self.set.definition(name) else {
            let text = &self.definition.source.text;
            let mut code = format!("{{{{template {}", crate::error::quoted(name));
            if let Some(pipe) = pipe {
                code.push(' ');
                code.push_str(&squeezed(&text[pipe.span.start..pipe.span.end]));
            }
            code.push_str("}}");
            let kind = ExecErrorKind::NotDefined(name.to_owned());
            return Err(self.error_with_code(pos, code, kind));
        };
        let span = Span { start: pos, end: pos };
        let data = match pipe {
            Some(pipe) => self.pipeline(pipe, dot)?,
            None => Value::Nil,
        };
        self.step(span)?;
        self.deeper(span)?;
        self.call_definition(definition, data)?;
        self.shallower();
        Ok(())
    }

    fn call_definition(&mut self, definition: &'r Definition, data: Value) -> Executed<()> {
        let caller = std::mem::replace(&mut self.definition, definition);
        let base = std::mem::replace(&mut self.base, self.variables.len());
        self.variables.push(("$", data.clone()));
        self.list(&definition.body, &data)?;
        self.variables.truncate(self.base);
        self.base = base;
        self.definition = caller;
        Ok(())
    }
}

impl Render for Run<'_> {
    /// Executes another template into text of its own. After an error the run is over, so nothing is put back.
    fn render(&mut self, name: &str, data: Value) -> Executed<String> {
        let Some(definition) = self.set.definition(name) else {
            let root: Arc<str> = self.definition.source.name.clone();
            let kind = ExecErrorKind::NoTemplate {
                name: name.to_owned(),
                root: root.to_string(),
            };
            return Err(self.error(0, Span::default(), kind));
        };
        self.set.check_reachable(definition)?;
        self.deeper(Span::default())?;
        let output = std::mem::replace(&mut self.output, Output::new(self.set.dialect()));
        self.call_definition(definition, data)?;
        let text = self.finish()?;
        self.output = output;
        self.shallower();
        Ok(text)
    }
}

/// Code as messages show it: one space where there were several, or a newline.
pub(crate) fn squeezed(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut quote = None;
    for c in code.chars() {
        let space = quote.is_none() && c.is_whitespace();
        if space && out.ends_with(' ') {
            continue;
        }
        match (quote, c) {
            (None, '"' | '`' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        out.push(if space { ' ' } else { c });
    }
    out
}
