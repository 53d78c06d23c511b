//! Packets, for fuzzing.

use super::jute::{Input, length};

/// A stream that begins with a packet.
pub fn packet(stream: &[u8]) {
    drop(length(stream));
    drop(Input(stream).connected());
    let mut input = Input(stream);
    if input.head().is_ok() {
        drop(Input(input.0).event());
        drop(Input(input.0).data());
        drop(input.children());
    }
}
