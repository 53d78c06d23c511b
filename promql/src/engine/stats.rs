//! What a query took.

/// Samples counted at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSamples {
    /// The step, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// How many.
    pub samples: i64,
}

/// Counts of samples, by the reference's rules; a histogram counts by its size in units of 16 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Samples that the steps looked at; a range function counts its whole window at each step.
    pub total_queryable_samples: i64,
    /// The same by step, where the query asked for it.
    pub total_queryable_samples_per_step: Option<Vec<StepSamples>>,
    /// Samples read: like the total, but a window counts only what the previous one did not hold.
    pub samples_read: i64,
    /// The same by step, where the query asked for it.
    pub samples_read_per_step: Option<Vec<StepSamples>>,
    /// Most samples held at a time: what is compared with the engine's `max_samples`.
    pub peak_samples: usize,
    /// Most bytes held at a time in the query's buffers.
    pub peak_bytes: usize,
    /// Time for making the plan and opening the store, in nanoseconds.
    pub prepare_ns: u64,
    /// Time for the evaluation proper, in nanoseconds.
    pub eval_ns: u64,
}
