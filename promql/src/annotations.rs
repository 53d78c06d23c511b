//! Warnings and infos: what a query has to say beside its answer.

use std::fmt;

use crate::ast::Span;

/// How serious an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The answer is probably not what was meant.
    Warning,
    /// The answer may not be what was meant.
    Info,
}

/// One warning or info.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Annotation {
    /// How serious.
    pub severity: Severity,
    /// The reference's wording, without the `PromQL warning: ` or `PromQL info: ` in front and the position behind.
    pub message: String,
    /// Which part of the query it speaks of.
    pub span: Option<Span>,
}

/// A set of annotations in order of their first appearance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    list: Vec<Annotation>,
}

impl Annotations {
    /// Adds one, unless it is there already.
    pub fn add(&mut self, annotation: Annotation) {
        if !self.list.contains(&annotation) {
            self.list.push(annotation);
        }
    }

    /// Adds a warning about `span`.
    pub fn warn(&mut self, span: Span, message: impl fmt::Display) {
        self.add(Annotation {
            severity: Severity::Warning,
            message: message.to_string(),
            span: Some(span),
        });
    }

    /// Adds an info about `span`.
    pub fn info(&mut self, span: Span, message: impl fmt::Display) {
        self.add(Annotation {
            severity: Severity::Info,
            message: message.to_string(),
            span: Some(span),
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
