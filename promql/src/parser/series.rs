//! The series notation of tests: `metric{label="value"} 1 2+3x5 _ stale {{schema:0 buckets:[1 2]}}`.
pub struct SequenceValue;
