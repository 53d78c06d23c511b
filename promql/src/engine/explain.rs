//! How a query is executed, and what its parts took: the plan as a tree that people can read.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write};

use crate::ast::{AggregateOp, Cardinality, Expr, Span};
use crate::exec::{Profile, Took};
use crate::plan::{BucketFunction, Node, NodeId, NodeKind, Plan, Root, of_scalar};

/// Levels of operators below each other that are shown. The tree is written as nested JSON, and readers of JSON bound its
/// depth, some at 128 brackets; nobody reads a tree that is deeper.
pub const EXPLAINED_LEVELS_MAX: usize = 50;
/// Longest text of the part of the query that an operator shows, in bytes: each text holds those of all below it.
pub const EXPLAINED_QUERY_BYTES_MAX: usize = 1024;

/// An operator of a query's plan, with what it works on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Operator {
    /// What it does, in a few words.
    pub operation: String,
    /// Which part of the query it computes, cut where it is long.
    pub query: String,
    /// At how many steps.
    pub steps: usize,
    /// What else there is to know of how it is executed.
    pub notes: Vec<String>,
    /// What it took, where the query was executed.
    pub took: Option<OperatorStats>,
    /// Where its rows come from. Empty where they are shown elsewhere in the tree already, or the tree would be too deep.
    pub inputs: Vec<Operator>,
}

/// What an operator took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperatorStats {
    /// Series that it was given: by storage, or by its inputs.
    pub series_in: u64,
    /// Series that it gave.
    pub series_out: u64,
    /// Samples that were decoded for it.
    pub samples_decoded: u64,
    /// Samples that it gave, over all steps; a histogram counts by its size.
    pub samples_out: u64,
    /// Most bytes that the query held while it worked, beyond what was held when it began.
    pub peak_bytes: u64,
    /// From its begin to its end, in nanoseconds. The operators of a chain work in turns, row by row, and share it.
    pub wall_ns: u64,
    /// Processor time of its own work, on all threads, in nanoseconds.
    pub cpu_ns: u64,
    /// Time for finding its series in the index, in nanoseconds.
    pub select_ns: u64,
    /// Parts that its series were cut into; parts can be worked on at the same time.
    pub parts: u64,
}

/// The tree of `plan`, which was made from `expr`; with what operators took, if there is a profile.
pub(crate) fn tree(expr: &Expr, plan: &Plan, profile: Option<&Profile>) -> Operator {
    let mut parts = HashMap::new();
    expr.walk(&mut |part| {
        // Of several with one span the outermost comes first.
        parts.entry(part.span).or_insert(part);
    });
    let mut tree = Tree {
        parts,
        plan,
        profile,
        shown: HashSet::new(),
        levels: 0,
    };
    let whole = |operation: &str| Operator {
        operation: operation.to_owned(),
        query: short_text(expr),
        steps: plan.steps.count,
        notes: Vec::new(),
        took: None,
        inputs: Vec::new(),
    };
    match &plan.root {
        Root::Vector(id) | Root::Subquery(id) => tree.operator(*id),
        Root::String(_) => whole("text"),
        Root::Scalar(scalar) => {
            let mut operator = whole("scalar");
            of_scalar(scalar, &mut |node| operator.inputs.push(tree.operator(node)));
            operator
        }
        Root::Samples(_) => {
            let mut operator = whole("samples as they are stored");
            let took = profile.map(Profile::of_root);
            operator.took = took.map(|took| stats(&took, took.series_selected));
            operator
        }
    }
}

struct Tree<'a> {
    /// Parts of the query by their places.
    parts: HashMap<Span, &'a Expr>,
    plan: &'a Plan,
    profile: Option<&'a Profile>,
    /// Nodes that are in the tree already.
    shown: HashSet<NodeId>,
    /// Operators around the one that is being shown.
    levels: usize,
}

impl Tree<'_> {
    fn operator(&mut self, id: NodeId) -> Operator {
        let node = self.plan.node(id);
        let first = self.shown.insert(id);
        let took = self.profile.map(|profile| profile.of(id));
        let took = took.map(|took| {
            let mut series_in = took.series_selected;
            node.kind.for_each_child(&mut |child| {
                series_in += self.profile.map_or(0, |profile| profile.of(child).series);
            });
            (took, stats(&took, series_in))
        });
        let mut notes = notes(node, first, took.as_ref().map(|(took, _)| took));
        let inputs = match first {
            true => self.inputs(node, &mut notes),
            false => Vec::new(),
        };
        Operator {
            operation: operation(&node.kind),
            query: self.text(node.spans.whole),
            steps: node.steps.count,
            notes,
            took: took.map(|(_, stats)| stats).filter(|_| first),
            inputs,
        }
    }

    /// The text of the part that stands at `span`.
    fn text(&self, span: Span) -> String {
        self.parts
            .get(&span)
            .map_or_else(String::new, |part| short_text(part))
    }

    fn inputs(&mut self, node: &Node, notes: &mut Vec<String>) -> Vec<Operator> {
        let mut inputs = Vec::new();
        if self.levels + 1 == EXPLAINED_LEVELS_MAX {
            let mut any = false;
            node.kind.for_each_child(&mut |_| any = true);
            if any {
                notes.push(format!(
                    "what is below {EXPLAINED_LEVELS_MAX} levels is not shown"
                ));
            }
            return inputs;
        }
        self.levels += 1;
        node.kind
            .for_each_child(&mut |child| inputs.push(self.operator(child)));
        self.levels -= 1;
        inputs
    }
}

/// The text of an expression, cut where it is long.
fn short_text(expr: &Expr) -> String {
    let mut short = Short(String::new());
    if write!(short, "{expr}").is_err() {
        short.0.push('…');
    }
    short.0
}

/// Takes the beginning of a text; fails where that is all, so that no more is written.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = EXPLAINED_QUERY_BYTES_MAX - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}

fn stats(took: &Took, series_in: u64) -> OperatorStats {
    OperatorStats {
        series_in,
        series_out: took.series,
        samples_decoded: took.samples_decoded,
        samples_out: took.samples,
        peak_bytes: took.peak_bytes,
        wall_ns: took.wall_ns,
        cpu_ns: took.cpu_ns,
        select_ns: took.select_ns,
        parts: took.parts,
    }
}

fn notes(node: &Node, first: bool, took: Option<&Took>) -> Vec<String> {
    let mut notes = Vec::new();
    if !first {
        notes.push("computed above, used again".to_owned());
        return notes;
    }
    if node.uses > 1 {
        notes.push(format!("computed once, used {} times", node.uses));
    }
    if let NodeKind::Repeat(_) = node.kind {
        notes.push("the same at every step: computed at one".to_owned());
    }
    if let Some(took) = took {
        match took.evaluations {
            0 => notes.push("not needed".to_owned()),
            _ if took.streamed && !took.kept => notes.push("streamed".to_owned()),
            _ => notes.push("kept".to_owned()),
        }
    }
    notes
}

fn operation(kind: &NodeKind) -> String {
    match kind {
        NodeKind::Select(select) if select.smoothed => "select, smoothed".to_owned(),
        NodeKind::Select(_) => "select".to_owned(),
        NodeKind::Range(select) => format!("select, {}", select.function.0.name),
        NodeKind::Subquery(call) => format!("subquery, {}", call.function.0.name),
        NodeKind::Element { function, .. } => function.0.name.to_owned(),
        NodeKind::StepTime(_) => "timestamp".to_owned(),
        NodeKind::FromScalar(_) => "vector of scalar".to_owned(),
        NodeKind::Nothing => "nothing".to_owned(),
        NodeKind::Negate(_) => "negate".to_owned(),
        NodeKind::WithScalar { op, .. } => format!("vector {} scalar", op.as_str()),
        NodeKind::Join(join) => match join.cardinality {
            Cardinality::ManyToOne | Cardinality::OneToMany => {
                format!("join {}, many to one", join.op.as_str())
            }
            _ => format!("join {}, one to one", join.op.as_str()),
        },
        NodeKind::Set { op, .. } => op.as_str().to_owned(),
        NodeKind::Aggregate { op, .. } => aggregation(*op),
        NodeKind::Repeat(_) => "repeat".to_owned(),
        NodeKind::Absent { .. } => "absent".to_owned(),
        NodeKind::Sort { .. } => "sort".to_owned(),
        NodeKind::LabelReplace(_) => "label_replace".to_owned(),
        NodeKind::LabelJoin(_) => "label_join".to_owned(),
        NodeKind::Buckets { function, .. } => match function {
            BucketFunction::Quantile => "histogram_quantile".to_owned(),
            BucketFunction::Quantiles(_) => "histogram_quantiles".to_owned(),
            BucketFunction::Fraction => "histogram_fraction".to_owned(),
        },
        NodeKind::Info(_) => "info".to_owned(),
    }
}

fn aggregation(op: AggregateOp) -> String {
    format!("aggregate, {}", op.as_str())
}
