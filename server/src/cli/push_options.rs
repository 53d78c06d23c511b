//! Flags of what is pushed in.

use remote::write::{Accepted, Options};

use super::feature_flags::FeatureFlags;
use super::options::Reader;

/// The remote write receiver, where it is switched on.
pub(super) fn remote_write(read: &mut Reader<'_>, features: &FeatureFlags) -> Option<Options> {
    const MESSAGES: &str = "web.remote-write-receiver.accepted-protobuf-messages";
    let accepted = Accepted::of_names(read.text(MESSAGES));
    let accepted = read.or_error(
        MESSAGES,
        "prometheus.WriteRequest or io.prometheus.write.v2.Request, or both with a comma",
        accepted,
    )?;
    read.switch("web.enable-remote-write-receiver")
        .then_some(Options {
            accepted,
            start_zeros: features.start_zeros,
            type_and_unit_labels: features.promql.type_and_unit_labels,
            keep_metadata: features.metadata_records,
        })
}
