//! Function calls.

use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};
use model::stack::deep;

use crate::ast::{At, Call, Expr, ExprKind, Modifiers, Span, ValueType, VectorSelector};
use crate::functions::{ElementFunction, element_function};
use crate::kernels::{InstantOutput, RangeFunction, range_function};
use crate::parser::is_label_name;
use crate::row::Steps;

use super::facts::Facts;
use super::lower::{Grid, Lowering, spans, unexpected};
use super::{
    BucketFunction, ByName, Distinct, Info, LabelJoin, LabelReplace, Naming, NodeId, NodeKind, PlanError,
    RangeSelect, Scalar, Spans, SubqueryCall, duration, naming,
};

impl Lowering<'_> {
    /// Lowers a call that gives a scalar.
    pub(super) fn scalar_call(&mut self, call: &Call, expr: &Expr, grid: Grid) -> Result<Scalar, PlanError> {
        let context = self.context;
        let seconds = |ms: i64| Scalar::Constant(ms as f64 / 1000.0);
        Ok(match (call.function.name, call.args.as_slice()) {
            ("time", _) if grid.steps.count == 1 => seconds(grid.steps.start_ms),
            ("time", _) => Scalar::Time,
            ("pi", _) => Scalar::Constant(std::f64::consts::PI),
            ("start", _) => seconds(context.start_ms),
            ("end", _) => seconds(context.end_ms),
            ("range", _) => seconds(context.end_ms - context.start_ms),
            ("step", _) if context.start_ms == context.end_ms => Scalar::Constant(0.0),
            ("step", _) => seconds(context.step_ms),
            ("scalar", [vector]) => Scalar::Of(self.vector(vector, grid)?),
            (name @ ("min_of" | "max_of"), [a, b]) => Scalar::MinMax {
                max: name == "max_of",
                args: Box::new([self.scalar(a, grid)?, self.scalar(b, grid)?]),
            },
            _ => return Err(unexpected(expr, "a function of this name gives no scalar")),
        })
    }

    /// Lowers a call that gives a vector.
    pub(super) fn call(&mut self, call: &Call, expr: &Expr, mut grid: Grid) -> Result<NodeId, PlanError> {
        let name = call.function.name;
        grid.histograms = grid.histograms.inside(name);
        if let Some(function) = range_function(name) {
            return self.range_call(function, call, expr, grid);
        }
        if let Some(function) = element_function(name) {
            return self.element_call(function, call, expr, grid);
        }
        match (name, call.args.as_slice()) {
            ("vector", [scalar]) => {
                let kind = NodeKind::FromScalar(self.scalar(scalar, grid)?);
                Ok(self.add(kind, grid, Naming::Uniform, spans(expr, scalar)))
            }
            ("timestamp" | "start_timestamp", [arg]) => {
                self.timestamp_call(name, arg.without_parens(), expr, grid)
            }
            ("absent", [arg]) => {
                let arg = arg.without_parens();
                let labels = match &arg.kind {
                    ExprKind::Vector(selector) => absent_labels(&selector.matchers),
                    _ => Vec::new(),
                };
                let child = self.vector(arg, grid)?;
                let kind = NodeKind::Absent { child, labels };
                Ok(self.add(kind, grid, Naming::Uniform, spans(expr, arg)))
            }
            ("sort" | "sort_desc", [arg]) => self.sort(None, name == "sort_desc", arg, expr, grid),
            ("sort_by_label" | "sort_by_label_desc", [arg, labels @ ..]) => {
                let labels = labels.iter().map(text).collect::<Result<_, _>>()?;
                self.sort(Some(labels), name == "sort_by_label_desc", arg, expr, grid)
            }
            ("label_replace", [arg, destination, replacement, source, pattern]) => {
                let replace = LabelReplace {
                    child: self.vector(arg, grid)?,
                    destination: label(destination, "destination", "label_replace")?,
                    replacement: text(replacement)?,
                    source: text(source)?,
                    pattern: text(pattern)?,
                };
                let written = (replace.child, replace.destination == METRIC_NAME);
                Ok(self.relabelled(NodeKind::LabelReplace(replace), written, spans(expr, arg), grid))
            }
            ("label_join", [arg, destination, separator, sources @ ..]) => {
                let sources = sources
                    .iter()
                    .map(|source| label(source, "source", "label_join"))
                    .collect::<Result<_, _>>()?;
                let join = LabelJoin {
                    child: self.vector(arg, grid)?,
                    destination: label(destination, "destination", "label_join")?,
                    separator: text(separator)?,
                    sources,
                };
                let written = (join.child, join.destination == METRIC_NAME);
                Ok(self.relabelled(NodeKind::LabelJoin(join), written, spans(expr, arg), grid))
            }
            ("histogram_quantile", [quantile, buckets]) => {
                let args = std::slice::from_ref(quantile);
                self.buckets(BucketFunction::Quantile, buckets, args, expr, grid)
            }
            ("histogram_fraction", [bounds @ .., buckets]) => {
                self.buckets(BucketFunction::Fraction, buckets, bounds, expr, grid)
            }
            ("histogram_quantiles", [buckets, label, quantiles @ ..]) => {
                let function = BucketFunction::Quantiles(text(label)?);
                self.buckets(function, buckets, quantiles, expr, grid)
            }
            ("info", [arg, selector @ ..]) => self.info(arg.without_parens(), selector.first(), expr, grid),
            _ => Err(unexpected(expr, "a function that the planner does not know")),
        }
    }

    fn element_call(
        &mut self,
        function: &'static ElementFunction,
        call: &Call,
        expr: &Expr,
        grid: Grid,
    ) -> Result<NodeId, PlanError> {
        let mut child = None;
        let mut args = Vec::new();
        let mut input = expr.span;
        for arg in &call.args {
            match self.facts.value_type(arg) {
                ValueType::Scalar => args.push(self.scalar(arg, grid)?),
                _ => {
                    input = arg.without_parens().span;
                    child = Some(self.vector(arg, grid)?);
                }
            }
        }
        let spans = Spans {
            whole: expr.span,
            input,
            param: expr.span,
        };
        let child = match child {
            Some(child) => child,
            None => {
                let time = match grid.steps.count {
                    1 => Scalar::Constant(grid.steps.start_ms as f64 / 1000.0),
                    _ => Scalar::Time,
                };
                self.add(NodeKind::FromScalar(time), grid, Naming::Uniform, spans)
            }
        };
        let kind = NodeKind::Element {
            function: ByName(function),
            child,
            args,
        };
        let naming = self.naming(child);
        Ok(self.add_unnamed(kind, grid, naming, Distinct::Merge, spans))
    }

    fn range_call(
        &mut self,
        function: &'static RangeFunction,
        call: &Call,
        expr: &Expr,
        grid: Grid,
    ) -> Result<NodeId, PlanError> {
        let of_range = |facts: &Facts, arg: &Expr| facts.value_type(arg) == ValueType::Matrix;
        let range = call.args.iter().find(|arg| of_range(&self.facts, arg));
        let Some(range) = range.map(Expr::without_parens) else {
            return Err(unexpected(expr, "a range function without a range"));
        };
        // Compat: annotations speak of the first argument, whether it is the range or not; of a subquery the reference
        // has forgotten the place, and shows the start of the query.
        let first = match call.args.first().map(Expr::without_parens) {
            Some(arg) if matches!(arg.kind, ExprKind::Subquery(_)) => Span::default(),
            Some(arg) => arg.span,
            None => expr.span,
        };
        let spans = Spans {
            whole: expr.span,
            input: range.span,
            param: first,
        };
        let mut args = Vec::new();
        for arg in &call.args {
            if !of_range(&self.facts, arg) {
                args.push(self.scalar(arg, grid)?);
            }
        }
        let (kind, naming, labels) = match &range.kind {
            ExprKind::Matrix(matrix) => {
                check_extension(function, &matrix.selector, expr.span)?;
                let select = RangeSelect {
                    source: self.samples(matrix, grid)?,
                    function: ByName(function),
                    args,
                    counting: grid.counting,
                };
                let matchers = &matrix.selector.matchers;
                let naming = naming::of_selector(matchers, self.context.features.type_and_unit_labels);
                (NodeKind::Range(select), naming, absent_labels(matchers))
            }
            ExprKind::Subquery(subquery) => {
                let (child, windows) = self.subquery(subquery, grid, true)?;
                let call = SubqueryCall {
                    child,
                    windows,
                    function: ByName(function),
                    args,
                    counting: grid.counting,
                };
                (NodeKind::Subquery(call), self.naming(child), Vec::new())
            }
            _ => return Err(unexpected(range, "a range is wanted")),
        };
        if function.name == "absent_over_time" {
            let child = self.add(kind, grid, naming, spans);
            let kind = NodeKind::Absent { child, labels };
            return Ok(self.add(kind, grid, Naming::Uniform, spans));
        }
        Ok(match function.keeps_name {
            true => self.add(kind, grid, naming, spans),
            false => self.add_unnamed(kind, grid, naming, Distinct::Refuse, spans),
        })
    }

    fn timestamp_call(
        &mut self,
        name: &str,
        arg: &Expr,
        expr: &Expr,
        grid: Grid,
    ) -> Result<NodeId, PlanError> {
        let spans = spans(expr, arg);
        let of_start = name == "start_timestamp";
        match &arg.kind {
            ExprKind::Vector(_) if of_start && !self.context.features.use_start_timestamps => {
                Ok(self.add(NodeKind::Nothing, grid, Naming::Uniform, spans))
            }
            ExprKind::Vector(selector) => {
                let output = match of_start {
                    true => InstantOutput::StartTimestamp,
                    false => InstantOutput::Timestamp,
                };
                self.select_time(selector, output, spans, grid)
            }
            _ if of_start => Ok(self.add(NodeKind::Nothing, grid, Naming::Uniform, spans)),
            _ => {
                let child = self.vector(arg, grid)?;
                let naming = self.naming(child);
                let kind = NodeKind::StepTime(child);
                Ok(self.add_unnamed(kind, grid, naming, Distinct::Merge, spans))
            }
        }
    }

    fn sort(
        &mut self,
        by_labels: Option<Vec<String>>,
        descending: bool,
        arg: &Expr,
        expr: &Expr,
        grid: Grid,
    ) -> Result<NodeId, PlanError> {
        let child = self.vector(arg, grid)?;
        let naming = self.naming(child);
        let kind = NodeKind::Sort {
            child,
            by_labels,
            descending,
            over_range: !grid.one_time && !self.facts.is_invariant(expr),
        };
        Ok(self.add(kind, grid, naming, spans(expr, arg)))
    }

    /// Adds a node that writes a label of its child, and whether that is the metric name.
    fn relabelled(&mut self, kind: NodeKind, written: (NodeId, bool), spans: Spans, grid: Grid) -> NodeId {
        let naming = match written {
            (_, true) => Naming::Various,
            (child, false) => self.naming(child),
        };
        let id = self.add(kind, grid, naming, spans);
        self.nodes[id.0 as usize].distinct = Distinct::Merge;
        id
    }

    fn buckets(
        &mut self,
        function: BucketFunction,
        buckets: &Expr,
        args: &[Expr],
        expr: &Expr,
        grid: Grid,
    ) -> Result<NodeId, PlanError> {
        let kind = NodeKind::Buckets {
            function,
            child: self.vector(buckets, grid)?,
            args: args
                .iter()
                .map(|arg| self.scalar(arg, grid))
                .collect::<Result<_, _>>()?,
        };
        let spans = Spans {
            whole: expr.span,
            input: buckets.without_parens().span,
            param: args.first().map_or(expr.span, |arg| arg.without_parens().span),
        };
        let id = self.add(kind, grid, Naming::Various, spans);
        self.nodes[id.0 as usize].arg_spans = args.iter().map(|arg| arg.without_parens().span).collect();
        Ok(id)
    }

    fn info(
        &mut self,
        arg: &Expr,
        selector: Option<&Expr>,
        expr: &Expr,
        grid: Grid,
    ) -> Result<NodeId, PlanError> {
        let selector = match selector.map(Expr::without_parens) {
            None => None,
            Some(expr) => match &expr.kind {
                ExprKind::Vector(selector) => Some(selector.matchers.clone()),
                _ => return Err(unexpected(expr, "info() wants a label selector")),
            },
        };
        let times = self.info_times(arg, grid.steps)?;
        let info = Info {
            child: self.vector(arg, grid)?,
            selector,
            times,
            lookback_ms: self.context.lookback_ms,
            counting: grid.counting,
        };
        self.reads(info.range());
        Ok(self.add(NodeKind::Info(info), grid, Naming::Various, spans(expr, arg)))
    }

    /// When info series are looked at: the times of the first selector in `arg`, as its modifiers and those of the
    /// subqueries around it say, up to the innermost `@`.
    fn info_times(&self, arg: &Expr, steps: Steps) -> Result<Steps, PlanError> {
        let mut path = Vec::new();
        if !first_selector(arg, &mut path) {
            return Ok(steps);
        }
        let mut offset_ms = 0_i64;
        let mut at: Option<At> = None;
        for modifiers in path.iter().rev() {
            if let Some(offset) = &modifiers.offset {
                offset_ms = offset_ms.saturating_add(duration::resolve(offset, self.context, true)?);
            }
            at = modifiers.at;
            if at.is_some() {
                break;
            }
        }
        let all = Modifiers {
            offset: Some(crate::ast::Duration::Literal(offset_ms)),
            at,
        };
        self.times(&all, steps)
    }
}

/// The modifiers on the way to the first selector in the text, outermost first; false when there is none.
fn first_selector<'e>(expr: &'e Expr, path: &mut Vec<&'e Modifiers>) -> bool {
    deep(|| first_selector_here(expr, path))
}

fn first_selector_here<'e>(expr: &'e Expr, path: &mut Vec<&'e Modifiers>) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => false,
        ExprKind::Vector(selector) => {
            path.push(&selector.modifiers);
            true
        }
        ExprKind::Matrix(matrix) => {
            path.push(&matrix.selector.modifiers);
            true
        }
        ExprKind::Subquery(subquery) => {
            path.push(&subquery.modifiers);
            let found = first_selector(&subquery.expr, path);
            if !found {
                path.pop();
            }
            found
        }
        ExprKind::Call(call) => call.args.iter().any(|arg| first_selector(arg, path)),
        ExprKind::Aggregate(aggregate) => {
            first_selector(&aggregate.expr, path)
                || aggregate
                    .param
                    .as_deref()
                    .is_some_and(|param| first_selector(param, path))
        }
        ExprKind::Binary(binary) => first_selector(&binary.lhs, path) || first_selector(&binary.rhs, path),
        ExprKind::Unary(unary) => first_selector(&unary.expr, path),
        ExprKind::Paren(inner) => first_selector(inner, path),
    }
}

/// Refuses `anchored` and `smoothed` under functions that cannot use them.
fn check_extension(
    function: &'static RangeFunction,
    selector: &VectorSelector,
    span: Span,
) -> Result<(), PlanError> {
    let (modifier, allowed) = match (selector.anchored, selector.smoothed) {
        (true, _) if !function.anchored => ("anchored", "changes, delta, increase, rate, resets"),
        (false, true) if !function.smoothed => ("smoothed", "delta, increase, rate"),
        _ => return Ok(()),
    };
    Err(PlanError::Extension {
        modifier,
        allowed,
        function: function.name,
        span,
    })
}

/// The labels that every series of a selector must have: what `absent` can tell about the one that is missing.
fn absent_labels(matchers: &[Matcher]) -> Vec<(String, String)> {
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name != METRIC_NAME) {
        // Compat: a label that is asked for twice is left out, even when both ask for the same value.
        if matcher.op == MatchOp::Equal && !seen.contains(&matcher.name.as_str()) {
            labels.push((matcher.name.clone(), matcher.value.clone()));
            seen.push(&matcher.name);
        } else {
            labels.retain(|(name, _)| *name != matcher.name);
        }
    }
    labels
}

/// The text of a string argument.
fn text(expr: &Expr) -> Result<String, PlanError> {
    match &expr.without_parens().kind {
        ExprKind::String(text) => Ok(text.clone()),
        _ => Err(unexpected(expr, "a text is wanted")),
    }
}

/// The text of a string argument that names a label.
fn label(expr: &Expr, role: &'static str, function: &'static str) -> Result<String, PlanError> {
    let label = text(expr)?;
    match is_label_name(&label) {
        true => Ok(label),
        false => Err(PlanError::Label {
            role,
            function,
            label,
            span: expr.span,
        }),
    }
}
