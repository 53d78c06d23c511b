//! Profiles as pprof reads them.
//!
//! Format: <https://github.com/google/pprof/blob/main/proto/profile.proto>.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::protobuf::Message;

/// What is measured, and in what: `cpu`, `nanoseconds`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured(pub(super) &'static str, pub(super) &'static str);

/// A place in the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Frame {
    pub(super) function: String,
    pub(super) file: String,
    pub(super) line: u64,
    pub(super) address: u64,
}

/// A profile under construction.
pub(super) struct Profile {
    message: Message,
    texts: Numbered<String>,
    functions: Numbered<(u64, u64)>,
    places: Numbered<(u64, u64, u64)>,
}

/// Things and their numbers, in the order in which they came.
struct Numbered<T>(HashMap<T, u64>, Vec<T>);

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    fn number(&mut self, thing: T) -> u64 {
        let next = self.1.len() as u64;
        *self.0.entry(thing).or_insert_with_key(|thing| {
            self.1.push(thing.clone());
            next
        })
    }
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Numbered(HashMap::new(), Vec::new())
    }
}

impl Profile {
    /// An empty profile of samples, each of which has a value of each kind of `measured`.
    pub(super) fn new(measured: &[Measured]) -> Self {
        let mut profile = Profile {
            message: Message::default(),
            texts: Numbered::default(),
            functions: Numbered::default(),
            places: Numbered::default(),
        };
        // The first text is the empty one.
        profile.texts.number(String::new());
        for measured in measured {
            profile.measured(1, *measured);
        }
        profile
    }

    fn text(&mut self, text: &str) -> u64 {
        self.texts.number(text.to_owned())
    }

    fn measured(&mut self, field: u64, Measured(kind, unit): Measured) {
        let (kind, unit) = (self.text(kind), self.text(unit));
        self.message.message(field, |message| {
            message.uint(1, kind).uint(2, unit);
        });
    }

    /// When it began, how long it took, and after how much of what a sample was taken.
    pub(super) fn took(&mut self, begin: SystemTime, took: Duration, period: Measured, every: u64) {
        let begin = begin.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.message
            .uint(9, begin.as_nanos() as u64)
            .uint(10, took.as_nanos() as u64);
        self.measured(11, period);
        self.message.uint(12, every);
    }

    /// Adds a sample: the innermost place first.
    pub(super) fn add(&mut self, frames: &[Frame], values: &[u64], labels: &[(&str, &str)]) {
        // Numbers of places begin with 1.
        let places: Vec<u64> = frames.iter().map(|frame| self.place(frame) + 1).collect();
        let labels: Vec<(u64, u64)> = labels
            .iter()
            .map(|(name, value)| (self.text(name), self.text(value)))
            .collect();
        self.message.message(2, |sample| {
            sample.uints(1, &places).uints(2, values);
            for (name, value) in labels {
                sample.message(3, |label| {
                    label.uint(1, name).uint(2, value);
                });
            }
        });
    }

    fn place(&mut self, frame: &Frame) -> u64 {
        let (name, file) = (self.text(&frame.function), self.text(&frame.file));
        let function = self.functions.number((name, file)) + 1;
        self.places.number((function, frame.line, frame.address))
    }

    /// The message, compressed as the format wants it.
    pub(super) fn compressed(mut self) -> Vec<u8> {
        for (at, (function, line, address)) in self.places.1.iter().enumerate() {
            self.message.message(4, |place| {
                place.uint(1, at as u64 + 1).uint(3, *address);
                place.message(4, |of_source| {
                    of_source.uint(1, *function).uint(2, *line);
                });
            });
        }
        for (at, (name, file)) in self.functions.1.iter().enumerate() {
            self.message.message(5, |function| {
                function
                    .uint(1, at as u64 + 1)
                    .uint(2, *name)
                    .uint(3, *name)
                    .uint(4, *file);
            });
        }
        for text in &self.texts.1 {
            self.message.bytes(6, text.as_bytes());
        }
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        // Writing into memory cannot fail.
        let _ = packed.write_all(&self.message.into_bytes());
        packed.finish().unwrap_or_default()
    }
}
