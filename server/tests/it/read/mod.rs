//! Remote read over real HTTP: what others read here, what queries read elsewhere.

mod asked;
mod influx;
mod served;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

/// A field that is base64.
fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().expect("base64")).expect("base64")
}
