//! How configuration files are read: strictly, with the position of everything.
//!
//! This crate knows how YAML becomes typed sections and how an error is shown under the line it speaks of; it does not
//! know any section. Rooms read their own sections with [`Section`]: a mapping whose keys are taken one by one, and
//! whose leftover keys are errors. It must not know networks or what a setting means; of files it
//! knows what every room would otherwise know alike: how bytes become text ([`text_of`]), and which ones a pattern names
//! ([`glob`]).
//!
//! The one decision behind it: a document is first read into a tree of [`Node`]s that remember where they stand and
//! how they were written, and sections are read from the tree, not by derived deserialisers. Derived ones lose
//! positions and unknown keys wherever sections are flattened into each other, which the reference's configuration
//! does everywhere (every discovery mechanism carries the HTTP client's keys), and they lose the text of `1.10` where
//! a label value is meant.
//!
//! ```
//! let document = narthex_yaml::parse("example.yml", "interval: 15s\njob: 1.10\n")?;
//! let mut section = document.root().section("config")?;
//! let interval = section.get_or("interval", narthex_yaml::Duration::from_ms(60_000))?;
//! let job: Option<String> = section.get("job")?;
//! section.finish()?;
//! assert_eq!((interval.as_ms(), job.as_deref()), (15_000, Some("1.10")));
//! # Ok::<(), narthex_yaml::YamlError>(())
//! ```

mod convert;
mod encoding;
mod error;
mod glob;
mod json;
mod node;
mod place;
mod relabel;

mod quotes;
mod section;
mod shape;

pub use convert::{Bytes, Duration, FromYaml, Secret};
pub use encoding::text_of;
pub use error::{YamlError, mark};
pub use glob::{GlobError, glob, glob_name};
pub use json::parse_json;
pub use node::{Document, Node, NodeKind, Position, Scalar, ScalarKind, Value, parse, parse_all};

pub use quotes::with_single_quotes;
pub use relabel::{relabel_rules, relabel_rules_to_yaml};
pub use section::Section;
/// How a value is printed: a list on one line, a text in quotes.
pub use serde_yaml::{DoubleQuoted, FlowSeq, SingleQuoted};
pub use shape::{Schema, Shape, record};

/// Writes a value as YAML in the layout that the reference prints configurations in.
///
/// # Errors
/// When the value has a shape that YAML cannot hold.
pub fn to_string<T: serde::Serialize>(value: &T) -> Result<String, String> {
    let options =
        serde_yaml::ser_options! { indent_step: 2, compact_list_indent: true, prefer_block_scalars: false };
    serde_yaml::to_string_with_options(value, options).map_err(|e| e.to_string())
}
