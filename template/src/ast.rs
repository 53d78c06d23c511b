//! The tree of a parsed template.

use std::sync::Arc;

/// A stretch of source text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The text that definitions come from.
#[derive(Debug)]
pub(crate) struct Source {
    /// Name used in messages.
    pub(crate) name: Arc<str>,
    pub(crate) text: String,
}

/// One named template.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: Arc<str>,
    pub(crate) source: Arc<Source>,
    pub(crate) body: Vec<Node>,
}

impl Definition {
    /// Whether it holds nothing but white space: such a definition never replaces another.
    pub(crate) fn is_blank(&self) -> bool {
        self.body
            .iter()
            .all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
    }
}

#[derive(Debug)]
pub(crate) enum Node {
    Text(Box<str>),
    Action(Pipe),
    /// `if` and `with`, with their chains of `else if` and `else with`.
    Branch {
        with: bool,
        arms: Vec<(Pipe, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
    Range {
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Template {
        /// Where the name stands.
        pos: usize,
        name: Box<str>,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

/// `$x := command | command`
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    pub(crate) span: Span,
    /// Names with their dollar sign.
    pub(crate) declared: Vec<Box<str>>,
    /// `=`, not `:=`.
    pub(crate) assign: bool,
    pub(crate) commands: Vec<Command>,
}

impl Pipe {
    /// The last operand, at which messages about the pipeline's value point.
    pub(crate) fn last_operand(&self) -> (usize, Span) {
        let last = self.commands.last().and_then(|command| command.operands.last());
        last.map_or((self.span.start, self.span), |operand| {
            (operand.pos, operand.span)
        })
    }
}

/// Operands separated by spaces.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) span: Span,
    /// Never empty.
    pub(crate) operands: Vec<Operand>,
}

#[derive(Debug)]
pub(crate) struct Operand {
    pub(crate) kind: OperandKind,
    pub(crate) span: Span,
    /// Where messages point: behind the first word of a chain of fields, as in the reference.
    pub(crate) pos: usize,
}

#[derive(Debug)]
pub(crate) enum OperandKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    String(Arc<str>),
    /// `.A.B`
    Field(Vec<Box<str>>),
    /// `$x.A.B`: the name with its dollar sign, and the fields.
    Variable(Box<str>, Vec<Box<str>>),
    /// A function, by its place in the function set.
    Function(usize),
    /// `(pipeline)`
    Pipe(Box<Pipe>),
    /// `(pipeline).A.B`, `function.A`
    Chain(Box<Operand>, Vec<Box<str>>),
}

/// A constant whose type depends on where it is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number {
    /// Its value where an integer is wanted, if it is one.
    pub(crate) int: Option<i64>,
    /// Its value where a float is wanted.
    pub(crate) float: f64,
    /// Written with a point or an exponent: a float where nothing else is wanted.
    pub(crate) is_float: bool,
}
