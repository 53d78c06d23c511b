//! Requests for tests.

use model::protobuf::Message;

pub(super) const SECOND_NS: u64 = 1_000_000_000;
/// 2026-01-01.
pub(super) const BEGIN_NS: u64 = 1_767_225_600 * SECOND_NS;

pub(super) fn attribute(message: &mut Message, field: u64, key: &str, value: &str) {
    message.message(field, |pair| {
        pair.text(1, key).message(2, |any| {
            any.text(1, value);
        });
    });
}

pub(super) fn fixed(message: &mut Message, field: u64, number: u64) {
    // The writer knows floats only, which are eight bytes as well.
    message.always_double(field, f64::from_bits(number));
}

/// A request with a resource, a scope, and metrics as `fill` writes them.
pub(super) fn request(resource: &[(&str, &str)], fill: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |of_resource| {
        of_resource
            .message(1, |message| {
                for (key, value) in resource {
                    attribute(message, 1, key, value);
                }
            })
            .message(2, fill);
    });
    request.into_bytes()
}

/// A request with one sum that counts up.
pub(super) fn sum(temporality: u64, points: &[(u64, u64, i64)]) -> Vec<u8> {
    request(&[("service.name", "svc")], |scope| {
        scope.message(2, |metric| {
            metric.text(1, "hits").message(7, |sum| {
                for (start_ns, time_ns, value) in points {
                    sum.message(1, |point| {
                        fixed(point, 2, *start_ns);
                        fixed(point, 3, *time_ns);
                        fixed(point, 6, *value as u64);
                    });
                }
                sum.uint(2, temporality).uint(3, 1);
            });
        });
    })
}
