//! Why a scrape fails.

use model::go::Quoted;

use exposition::{ContentTypeError, LabelsError, ParseError};
use model::histogram::HistogramError;
use model::labels::{LabelTooLong, Labels};
use supervise::Panicked;
use yaml::Bytes;

/// Why a scrape failed; the text is what `/api/v1/targets` shows as `lastError`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScrapeError {
    /// The body could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What the body is in is not known, and no `fallback_scrape_protocol` says what to assume.
    #[error(transparent)]
    ContentType(#[from] ContentTypeError),
    /// The body is malformed.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A sample cannot be stored.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// A series in the body has labels that cannot be stored.
    #[error("line {line}: {source}")]
    Line {
        /// Line of the body, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: SampleError,
    },
    /// The job has more targets than `target_limit` allows.
    #[error("target_limit exceeded (number of targets: {targets}, limit: {limit})")]
    TargetLimit {
        /// Targets that there are.
        targets: usize,
        /// The limit.
        limit: u64,
    },
    /// A fault of this program. It costs one scrape: the next one begins anew.
    #[error("internal error, please report it: {0}")]
    Panicked(#[from] Panicked),
}

impl ScrapeError {
    /// The same of a series that stands as `text` in `body`: names the line where the fault is in the body itself.
    #[cold]
    pub(crate) fn in_line(self, body: &[u8], text: &[u8]) -> Self {
        match self {
            ScrapeError::Sample(source @ (SampleError::RepeatedLabel { .. } | SampleError::Labels(_))) => {
                // Texts of protobuf and of converted histograms stand in no line.
                let at = (text.as_ptr() as usize).checked_sub(body.as_ptr() as usize);
                match at.and_then(|at| body.get(..at)) {
                    Some(before) => ScrapeError::Line {
                        line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
                        source,
                    },
                    None => ScrapeError::Sample(source),
                }
            }
            error => error,
        }
    }

    /// Whether the body was too large.
    pub(crate) fn is_body_limit(&self) -> bool {
        matches!(
            self,
            ScrapeError::Fetch(FetchError::BodySize | FetchError::DefaultBodySize { .. })
        )
    }
}

/// Why the body could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The target's labels do not make a URL.
    #[error("parse {}: {source}", Quoted(.url))]
    Url {
        /// What they make.
        url: String,
        /// Why they do not.
        source: url::ParseError,
    },
    /// The request failed.
    #[error("Get {}: {source}", Quoted(.url))]
    Request {
        /// Of what.
        url: String,
        /// Why.
        source: httpclient::HttpClientError,
    },
    /// The target took longer than `scrape_timeout`.
    #[error("Get {}: context deadline exceeded", Quoted(.url))]
    Timeout {
        /// Of what.
        url: String,
    },
    /// The target answered with anything but 200.
    #[error("server returned HTTP status {0}")]
    Status(http::StatusCode),
    /// What is in this process shows nothing.
    #[error("the push gateway has nothing to show: {0}")]
    Inside(#[source] crate::inside::ExposeError),
    /// There is nothing in this process that could be scraped.
    #[error("push_gateway: true, and there is no gateway: start the server with --web.enable-push-gateway")]
    NothingInside,
    /// The body is larger than `body_size_limit`.
    #[error("body size limit exceeded")]
    BodySize,
    /// The body is larger than what is allowed where `body_size_limit` does not say.
    #[error("body size limit exceeded: {} is the default, body_size_limit sets another", Bytes(*.limit as i64))]
    DefaultBodySize {
        /// The limit in bytes.
        limit: u64,
    },
    /// The body is no gzip although the header says so.
    #[error("gzip: {0}")]
    Gzip(std::io::Error),
}

/// Why a sample fails its whole scrape.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// More samples than `sample_limit`.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// More buckets than `native_histogram_bucket_limit`, and merging does not help.
    #[error("histogram bucket limit exceeded")]
    BucketLimit,
    /// Relabelling took the metric's name.
    #[error("missing metric name (__name__ label)")]
    NoMetricName,
    /// A name that `metric_name_validation_scheme` does not allow.
    #[error("invalid metric name or label names: {labels}")]
    InvalidNames {
        /// The labels.
        labels: Labels,
    },
    /// A label that a series has twice.
    #[error("label name {} is not unique: invalid sample", Quoted(.name))]
    RepeatedLabel {
        /// Its name.
        name: String,
    },
    /// More labels than `label_limit`.
    #[error("label_limit exceeded (metric: {metric}, number of labels: {count}, limit: {limit})")]
    LabelLimit {
        /// Name of the metric.
        metric: String,
        /// Labels that it has.
        count: usize,
        /// The limit.
        limit: u64,
    },
    /// A label name longer than `label_name_length_limit`.
    #[error(
        "label_name_length_limit exceeded (metric: {metric}, label name: {name}, length: {bytes}, limit: {limit})"
    )]
    LabelNameLength {
        /// Name of the metric.
        metric: String,
        /// Start of the label's name.
        name: String,
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: u64,
    },
    /// A label value longer than `label_value_length_limit`.
    #[error(
        "label_value_length_limit exceeded (metric: {metric}, label name: {name}, value: {}, length: {bytes}, \
         limit: {limit})",
        Quoted(.value)
    )]
    LabelValueLength {
        /// Name of the metric.
        metric: String,
        /// Start of the label's name.
        name: String,
        /// Start of the value.
        value: String,
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: u64,
    },
    /// A name or value that no label can have.
    #[error("invalid metric name or label names: {0}")]
    Labels(#[from] LabelsError),
    /// Relabelling made a name or value that no label can hold.
    #[error(transparent)]
    LabelTooLong(#[from] LabelTooLong),
    /// A native histogram that contradicts itself.
    #[error(transparent)]
    Histogram(#[from] HistogramError),
}

impl SampleError {
    /// Whether one of the label limits is meant.
    pub(crate) fn is_label_limit(&self) -> bool {
        matches!(
            self,
            SampleError::LabelLimit { .. }
                | SampleError::LabelNameLength { .. }
                | SampleError::LabelValueLength { .. }
        )
    }
}
