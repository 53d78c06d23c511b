//! What is wrong with a query that only its times or its functions' tables can tell.

use crate::ast::{Span, ValueType};
use crate::parser::QuotedText;

/// Why there is no plan for a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PlanError {
    /// A duration expression has no usable value.
    #[error("{}:{}: {what}", .span.start, .span.end)]
    Duration {
        /// Why not.
        what: &'static str,
        /// Where it stands.
        span: Span,
    },
    /// A range query of something that is neither scalar nor vector.
    #[error("invalid expression type {:?} for range query, must be Scalar or instant Vector", .0.documented())]
    NotForRanges(ValueType),
    /// A range modifier under a function that cannot use it.
    #[error("{modifier} modifier can only be used with: {allowed} - not with {function}")]
    Extension {
        /// `anchored` or `smoothed`.
        modifier: &'static str,
        /// The functions that can.
        allowed: &'static str,
        /// The function that cannot.
        function: &'static str,
        /// Where the call stands.
        span: Span,
    },
    /// A label that cannot be a label.
    #[error("invalid label name {}", QuotedText(label))]
    CountLabel {
        /// Its name.
        label: String,
        /// Where it stands.
        span: Span,
    },
    /// A label that cannot be a label.
    #[error("invalid {role} label name in {function}(): {label}")]
    Label {
        /// What it is for.
        role: &'static str,
        /// For which function.
        function: &'static str,
        /// Its name.
        label: String,
        /// Where it stands.
        span: Span,
    },
    /// The tree holds what the type checker does not let through.
    #[error("unexpected expression: {what}")]
    Type {
        /// What was met.
        what: &'static str,
        /// Where it stands.
        span: Span,
    },
}

impl PlanError {
    /// A duration without usable value.
    pub(super) fn duration(span: Span, what: &'static str) -> Self {
        PlanError::Duration { what, span }
    }

    /// Whether it is noticed before execution starts.
    pub(crate) fn is_early(&self) -> bool {
        matches!(self, PlanError::Duration { .. } | PlanError::NotForRanges(_))
    }

    /// Which part of the query it speaks of.
    pub(crate) fn span(&self) -> Option<Span> {
        match self {
            PlanError::NotForRanges(_) => None,
            PlanError::Duration { span, .. }
            | PlanError::Extension { span, .. }
            | PlanError::CountLabel { span, .. }
            | PlanError::Label { span, .. }
            | PlanError::Type { span, .. } => Some(*span),
        }
    }
}
