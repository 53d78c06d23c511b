//! Requests of OTLP, in both encodings; see the crate's page.
#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use metrics::Registry;
use model::clock::ManualClock;
use model::histogram::Histogram;
use model::labels::Labels;
use model::storage::{AppendBatch, AppendError, AppendOutcome, Appender, SeriesError, SeriesRef};
use remote::otlp::{Encoding, OtlpConfig, OtlpOptions, Receiver, TranslateOptions, TranslationStrategy};

fuzz_target!(|input: &[u8]| {
    let Some((switches, body)) = input.split_first() else {
        return;
    };
    let on = |bit: u8| switches >> bit & 1 == 1;
    let options = OtlpOptions {
        translate: TranslateOptions {
            native_delta: on(1) && !on(2),
            type_and_unit_labels: on(3),
            zero_samples: on(4),
            lookback_ms: 300_000,
        },
        delta_to_cumulative: on(2),
    };
    let clock = Arc::new(ManualClock::new(1_735_700_000_000));
    let receiver = Receiver::new(Arc::new(Anything::default()), options, clock, &Registry::new());
    receiver.apply(&OtlpConfig {
        promote_all_resource_attributes: on(5),
        promote_scope_metadata: on(5),
        convert_histograms_to_nhcb: on(6),
        keep_identifying_resource_attributes: on(6),
        label_name_underscore_sanitization: !on(7),
        label_name_preserve_multiple_underscores: !on(7),
        translation_strategy: match on(7) {
            true => TranslationStrategy::NoUtf8EscapingWithSuffixes,
            false => TranslationStrategy::default(),
        },
        ..OtlpConfig::default()
    });
    let encoding = match on(0) {
        true => Encoding::Json,
        false => Encoding::Protobuf,
    };
    // Deltas add up from the second time on.
    for _ in 0..2 {
        let _ = receiver.receive(encoding, "", body);
    }
});

/// Takes everything, and looks at it.
#[derive(Default)]
struct Anything(AtomicU64);

impl Appender for Anything {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        let pairs: Vec<(&str, &str)> = labels.iter().collect();
        assert!(pairs.is_sorted_by(|a, b| a.0 < b.0), "{labels}");
        assert!(pairs.iter().all(|(_, value)| !value.is_empty()), "{labels}");
        if pairs.is_empty() {
            return Err(SeriesError::Empty);
        }
        Ok(SeriesRef(self.0.fetch_add(1, Ordering::Relaxed)))
    }

    fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError> {
        for sample in &batch.histograms {
            if let Histogram::Int(histogram) = &sample.histogram {
                histogram.validate().expect("a valid histogram");
            }
        }
        outcome.refused.clear();
        outcome.accepted = (batch.floats.len() + batch.histograms.len()) as u64;
        Ok(())
    }
}
