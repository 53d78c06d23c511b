//! The key of a group as receivers know it.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// A key of fixed length that stands for the group: SHA-256 in hexadecimal.
pub(crate) fn hash(group_key: &str) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(group_key) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
