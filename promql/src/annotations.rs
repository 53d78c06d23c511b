//! Warnings and infos: what a query has to say beside its answer.

use std::fmt;

use crate::ast::Span;
use crate::functions::classic::ForcedMonotonicity;

/// How serious an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The answer is probably not what was meant.
    Warning,
    /// The answer may not be what was meant.
    Info,
}

/// One warning or info.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// How serious.
    pub severity: Severity,
    /// The reference's wording, without the `PromQL warning: ` or `PromQL info: ` in front and without
    /// [`details`](Self::details) and the position behind.
    pub message: String,
    /// Which part of the query it speaks of.
    pub span: Option<Span>,
    /// What several samples have in common that made the same annotation.
    pub details: Option<Details>,
    /// The words are a store's, not the language's, and are told without anything in front.
    pub is_of_store: bool,
}

/// What is told behind an annotation's message, put together from all samples that made it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Details {
    /// Bucket counts that had to be raised.
    Monotonicity {
        /// What was raised, over all samples.
        forced: ForcedMonotonicity,
        /// How many samples.
        samples: usize,
        /// The first sample's time, in milliseconds since the epoch.
        first_ms: i64,
        /// The last sample's time.
        last_ms: i64,
    },
    /// How often it was found; told when more than once.
    Occurrences(usize),
}

impl Details {
    fn merge(&mut self, other: &Details) {
        match (self, other) {
            (
                Details::Monotonicity {
                    forced,
                    samples,
                    first_ms,
                    last_ms,
                },
                Details::Monotonicity {
                    forced: other_forced,
                    samples: other_samples,
                    first_ms: other_first,
                    last_ms: other_last,
                },
            ) => {
                forced.min_bound = forced.min_bound.min(other_forced.min_bound);
                forced.max_bound = forced.max_bound.max(other_forced.max_bound);
                forced.max_difference = forced.max_difference.max(other_forced.max_difference);
                *samples += other_samples;
                *first_ms = (*first_ms).min(*other_first);
                *last_ms = (*last_ms).max(*other_last);
            }
            (Details::Occurrences(mine), Details::Occurrences(others)) => *mine += others,
            // One message has details of one kind.
            (Details::Monotonicity { .. } | Details::Occurrences(_), _) => {}
        }
    }
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use model::float::{Layout, format_general, format_precision};
        let (forced, samples, first_ms, last_ms) = match self {
            Details::Occurrences(0 | 1) => return Ok(()),
            Details::Occurrences(count) => return write!(f, " ({count} occurrences)"),
            Details::Monotonicity {
                forced,
                samples,
                first_ms,
                last_ms,
            } => (forced, samples, first_ms, last_ms),
        };
        write!(
            f,
            ", from buckets {} to {}, with a max diff of {}, over {samples} samples from {} to {}",
            format_general(forced.min_bound),
            format_general(forced.max_bound),
            format_precision(forced.max_difference, Layout::General, 2),
            Rfc3339(*first_ms),
            Rfc3339(*last_ms),
        )
    }
}

/// A time in UTC, to the second.
struct Rfc3339(i64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0 / 1000) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{}", self.0 / 1000),
        }
    }
}

impl Annotation {
    /// The annotation as clients see it: `PromQL info: message (line:column)`. `query` is the text that
    /// [`span`](Self::span) speaks of.
    pub fn text(&self, query: &str) -> String {
        if self.is_of_store {
            return self.to_string();
        }
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let place = self.span.map_or_else(String::new, |span| {
            let before = query.get(..span.start as usize).unwrap_or(query);
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            let (line, column) = (1 + before.matches('\n').count(), 1 + before.len() - line_start);
            format!(" ({line}:{column})")
        });
        format!("PromQL {severity}: {self}{place}")
    }
}

/// The message with its details, without severity and position.
impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.details {
            Some(details) => write!(f, "{details}"),
            None => Ok(()),
        }
    }
}

/// A set of annotations in order of their first appearance; no message occurs twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    list: Vec<Annotation>,
}

impl Annotations {
    /// Adds one. Where its message is there already, details are put together and the later position counts.
    pub fn add(&mut self, annotation: Annotation) {
        let same = |known: &&mut Annotation| {
            known.severity == annotation.severity && known.message == annotation.message
        };
        let Some(known) = self.list.iter_mut().find(same) else {
            self.list.push(annotation);
            return;
        };
        known.span = annotation.span;
        match (&mut known.details, annotation.details) {
            (Some(mine), Some(others)) => mine.merge(&others),
            (mine @ None, others) => *mine = others,
            (Some(_), None) => {}
        }
    }

    /// Adds a warning about `span`.
    pub fn warn(&mut self, span: Span, message: impl fmt::Display) {
        self.note(Severity::Warning, span, message, None);
    }

    /// Adds what a store says of the series that it gave.
    pub(crate) fn warn_of_store(&mut self, message: &str) {
        self.add(Annotation {
            severity: Severity::Warning,
            message: message.to_owned(),
            span: None,
            details: None,
            is_of_store: true,
        });
    }

    /// Adds an info about `span`.
    pub fn info(&mut self, span: Span, message: impl fmt::Display) {
        self.note(Severity::Info, span, message, None);
    }

    /// Adds a warning whose message tells how often it was found.
    pub fn warn_counted(&mut self, span: Span, message: impl fmt::Display) {
        self.note(Severity::Warning, span, message, Some(Details::Occurrences(1)));
    }

    /// Adds the info that a sample at `time_ms` needed raised bucket counts.
    pub fn forced_monotonicity(&mut self, span: Span, time_ms: i64, forced: ForcedMonotonicity) {
        let details = Details::Monotonicity {
            forced,
            samples: 1,
            first_ms: time_ms,
            last_ms: time_ms,
        };
        self.note(
            Severity::Info,
            span,
            "input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
            Some(details),
        );
    }

    fn note(&mut self, severity: Severity, span: Span, message: impl fmt::Display, details: Option<Details>) {
        self.add(Annotation {
            severity,
            message: message.to_string(),
            span: Some(span),
            details,
            is_of_store: false,
        });
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Annotations) {
        for annotation in other.list {
            self.add(annotation);
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Annotation> {
        self.list.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
