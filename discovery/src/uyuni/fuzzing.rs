//! Answers, for fuzzing.

/// The body of an answer.
pub fn answer(body: &[u8]) {
    if let Ok(value) = super::xmlrpc::answer(body) {
        drop((value.members("name"), value.int("id"), value.list()));
    }
}
