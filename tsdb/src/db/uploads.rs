//! The file in which whoever uploads blocks to a bucket keeps account of them.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;
use ulid::Ulid;

use files::Files;

/// The part of the file that matters here; Thanos' shipper writes more.
#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    uploaded: Vec<String>,
}

/// The blocks that were uploaded; `None`, with a warning, where the file cannot be read.
///
/// Compat: then no block waits (tests/it/reload.rs, an_account_that_cannot_be_read_makes_no_block_wait).
pub(super) fn read(files: &dyn Files, path: &Path) -> Option<HashSet<Ulid>> {
    let told = |error: &dyn std::fmt::Display| {
        tracing::warn!(path = %path.display(), %error, "the account of uploaded blocks cannot be read: no block waits");
    };
    let bytes = files.read(path).map_err(|error| told(&error)).ok()?;
    let account: Account = serde_json::from_slice(&bytes)
        .map_err(|error| told(&error))
        .ok()?;
    let ulids = account
        .uploaded
        .iter()
        .filter_map(|text| Ulid::from_string(text).ok());
    Some(ulids.collect())
}
