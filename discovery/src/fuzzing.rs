//! What fuzzing reaches of the readers of foreign bytes.

use crate::{kubernetes, uyuni, zookeeper};

pub use kubernetes::fuzzing::{list, watch};
pub use uyuni::fuzzing::answer as xml_rpc;
pub use zookeeper::fuzzing::packet as zookeeper;

/// A file, or an HTTP answer, of target groups.
pub fn target_groups(text: &str) {
    if let Ok(document) = yaml::parse("targets", text) {
        drop(crate::target_list::read(&document, "targets", "__meta_filepath"));
    }
}
