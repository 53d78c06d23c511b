//! Why a push is refused.

use exposition::strict::TextError;
use model::go::{Quoted, QuotedBytes};
use model::protobuf::WireError;
use model::storage::StorageError;

use super::family::{FAMILIES_MAX, METRICS_MAX};

/// Why a body is none that can be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Not the text format. Compat: the words are the reference's (push/pushgateway `text-bad`).
    #[error(transparent)]
    Text(#[from] TextError),
    /// Not messages, each behind its length.
    #[error("the body is no list of metric families in protobuf, each behind its length: {0}")]
    Wire(#[from] WireError),
    /// A family without a name.
    #[error("a metric family has no name")]
    NoName,
    /// A family whose name, help or unit is no text.
    #[error("name, help or unit of a metric family is not UTF-8")]
    NameNotUtf8,
    /// More metrics than a push may have.
    #[error("a push may have {METRICS_MAX} metrics (lines of text); push the rest to another group")]
    TooManyMetrics,
    /// More families than a push may have.
    #[error("a push may have {FAMILIES_MAX} metric families; push the rest to another group")]
    TooManyFamilies,
    /// The body does not inflate.
    #[error("{0}")]
    Encoding(String),
    /// It inflates to more than a body may have.
    #[error(
        "the body has more than {max} bytes once it is inflated; --push.max-body-size sets another limit"
    )]
    TooLong {
        /// How many it may have.
        max: usize,
    },
}

impl BodyError {
    /// Whether the body is too much rather than wrong.
    pub fn is_too_much(&self) -> bool {
        matches!(
            self,
            BodyError::TooManyMetrics | BodyError::TooManyFamilies | BodyError::TooLong { .. }
        )
    }
}

/// Why a push is not kept.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The body cannot be read: nothing has changed.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// What was pushed is wrong, or contradicts what others pushed: the group knows that a push failed.
    #[error("pushed metrics are invalid or inconsistent with existing metrics: {0}")]
    Invalid(Faults),
    /// There is no room: nothing has changed.
    #[error(transparent)]
    Full(#[from] Full),
    /// It is kept in memory, and not on the disk: after a restart it may be missing.
    #[error("the push could not be written to the disk and may be lost at a restart; push again: {0}")]
    Journal(#[from] StorageError),
}

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// That of groups.
    #[error(
        "{0} groups are kept, as many as --push.max-groups allows: delete what is not needed, or give groups a time to live"
    )]
    Groups(usize),
    /// That of bytes.
    #[error(
        "what is kept would take {needed} bytes, and --push.max-bytes allows {max}: delete what is not needed, or give \
         groups a time to live"
    )]
    Bytes {
        /// How many it would be.
        needed: usize,
        /// How many there may be.
        max: usize,
    },
    /// That of families in a group.
    #[error("a group may have {FAMILIES_MAX} metric families: push the rest to another")]
    Families,
}

/// All that is wrong, at least one thing. Compat: several are told as the reference's client library tells them
/// (push/pushgateway `utf8-on/escaped-reserved`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

/// Most faults that are told.
const SHOWN_MAX: usize = 100;

impl std::error::Error for Faults {}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(f, "{only}");
        }
        write!(f, "{} error(s) occurred:", self.0.len())?;
        for fault in self.0.iter().take(SHOWN_MAX) {
            write!(f, "\n* {fault}")?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n* … and {more} more"),
        }
    }
}

/// One thing that is wrong with metrics. `metric` is the metric as protobuf's text. Compat: the words are those of the
/// reference's client library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Whoever scrapes says when.
    #[error("pushed metrics must not have timestamps")]
    Timestamp,
    /// A value of another kind than the family's.
    #[error("collected metric {} {{ {metric}}} is not a {kind}", Quoted(.name))]
    Kind {
        /// The family.
        name: String,
        /// The metric.
        metric: String,
        /// The family's kind.
        kind: &'static str,
    },
    /// A label twice.
    #[error("collected metric {} {{ {metric}}} has two or more labels with the same name: {}", Quoted(.name), shown(.label))]
    LabelTwice {
        /// The family.
        name: String,
        /// The metric.
        metric: String,
        /// The label.
        label: Vec<u8>,
    },
    /// A label that has no name, or one of ours.
    #[error("collected metric {} {{ {metric}}} has a label with an invalid name: {}", Quoted(.name), shown(.label))]
    LabelName {
        /// The family.
        name: String,
        /// The metric.
        metric: String,
        /// The label.
        label: Vec<u8>,
    },
    /// A summary with the label that its quantiles have.
    #[error("collected metric {} {{ {metric}}} must not have an explicit \"quantile\" label", Quoted(.name))]
    Quantile {
        /// The family.
        name: String,
        /// The metric.
        metric: String,
    },
    /// A value that is no text.
    #[error(
        "collected metric {} {{ {metric}}} has a label named {} whose value is not utf8: {}",
        Quoted(.name), QuotedBytes(.label), QuotedBytes(.value)
    )]
    NotUtf8 {
        /// The family.
        name: String,
        /// The metric.
        metric: String,
        /// The label.
        label: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// There is one with these labels already, in this group or another.
    #[error(
        "collected metric {} {{ {metric}}} was collected before with the same name and label values",
        Quoted(.name)
    )]
    Twice {
        /// The family.
        name: String,
        /// The metric.
        metric: String,
    },
    /// A name that is a part of another family's.
    #[error("collected {what} named {} collides with previously collected {other} named {}", Quoted(.name), Quoted(.other_name))]
    Collides {
        /// What the family is.
        what: &'static str,
        /// Its name.
        name: String,
        /// What the other is.
        other: &'static str,
        /// The other's name.
        other_name: String,
    },
    /// A name of the gateway's own.
    #[error("gathered metric family {name} has type {kind} but should have {own}")]
    Own {
        /// The name.
        name: String,
        /// The kind that was pushed.
        kind: &'static str,
        /// The kind of the gateway's own.
        own: &'static str,
    },
}

fn shown(label: &[u8]) -> String {
    String::from_utf8_lossy(label).into_owned()
}
