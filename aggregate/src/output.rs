//! What a rule can make of the samples of an interval: names and arguments of outputs.

use std::fmt;

/// What comes out of a group at the end of an interval.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Mean of the samples.
    Avg,
    /// Number of samples.
    CountSamples,
    /// Number of series that had a sample.
    CountSeries,
    /// Counters of samples by range of values, which go on from interval to interval.
    HistogramBucket,
    /// By how much counters have risen; a series begins at 0.
    Increase,
    /// The same; a series begins at its first sample.
    IncreasePrometheus,
    /// The newest sample.
    Last,
    /// The largest sample.
    Max,
    /// The smallest sample.
    Min,
    /// Quantiles of the samples, each between 0 and 1.
    Quantiles(Vec<f64>),
    /// Mean of the counters' rates, per second.
    RateAvg,
    /// Sum of the counters' rates, per second.
    RateSum,
    /// Standard deviation of the samples.
    Stddev,
    /// Variance of the samples.
    Stdvar,
    /// Sum of the samples.
    SumSamples,
    /// Sum of all samples since the group began.
    SumSamplesTotal,
    /// A counter of all increases since the group began; a series begins at 0.
    Total,
    /// The same; a series begins at its first sample.
    TotalPrometheus,
    /// Number of different values.
    UniqueSamples,
}

/// Why a text names no output.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// There is none of that name.
    #[error("there is no output {0:?}")]
    Unknown(String),
    /// The list of quantiles has no end.
    #[error("`quantiles(` lacks its closing bracket")]
    Open,
    /// There is no quantile in the list.
    #[error("`quantiles()` must name at least one quantile")]
    NoQuantile,
    /// Something in the list is no number between 0 and 1.
    #[error("{0:?} is no quantile: it must be a number from 0 to 1")]
    Quantile(String),
}

const PLAIN: [Output; 18] = [
    Output::Avg,
    Output::CountSamples,
    Output::CountSeries,
    Output::HistogramBucket,
    Output::Increase,
    Output::IncreasePrometheus,
    Output::Last,
    Output::Max,
    Output::Min,
    Output::RateAvg,
    Output::RateSum,
    Output::Stddev,
    Output::Stdvar,
    Output::SumSamples,
    Output::SumSamplesTotal,
    Output::Total,
    Output::TotalPrometheus,
    Output::UniqueSamples,
];

impl Output {
    /// Names of all outputs, for messages.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PLAIN.iter().map(Output::suffix).chain(["quantiles"])
    }

    /// Reads `total` or `quantiles(0.5, 0.9)`.
    ///
    /// # Errors
    /// When there is no such output.
    pub fn parse(text: &str) -> Result<Self, OutputError> {
        if let Some(list) = text.strip_prefix("quantiles(") {
            let list = list.strip_suffix(')').ok_or(OutputError::Open)?;
            if list.trim().is_empty() {
                return Err(OutputError::NoQuantile);
            }
            let read = |word: &str| match word.trim().parse::<f64>() {
                Ok(phi) if (0.0..=1.0).contains(&phi) => Ok(phi),
                _ => Err(OutputError::Quantile(word.trim().to_owned())),
            };
            return list
                .split(',')
                .map(read)
                .collect::<Result<_, _>>()
                .map(Output::Quantiles);
        }
        let plain = PLAIN.iter().find(|output| output.suffix() == text);
        plain
            .cloned()
            .ok_or_else(|| OutputError::Unknown(text.to_owned()))
    }

    /// What names of series end in, which also is the output's name.
    pub fn suffix(&self) -> &'static str {
        match self {
            Output::Avg => "avg",
            Output::CountSamples => "count_samples",
            Output::CountSeries => "count_series",
            Output::HistogramBucket => "histogram_bucket",
            Output::Increase => "increase",
            Output::IncreasePrometheus => "increase_prometheus",
            Output::Last => "last",
            Output::Max => "max",
            Output::Min => "min",
            Output::Quantiles(_) => "quantiles",
            Output::RateAvg => "rate_avg",
            Output::RateSum => "rate_sum",
            Output::Stddev => "stddev",
            Output::Stdvar => "stdvar",
            Output::SumSamples => "sum_samples",
            Output::SumSamplesTotal => "sum_samples_total",
            Output::Total => "total",
            Output::TotalPrometheus => "total_prometheus",
            Output::UniqueSamples => "unique_samples",
        }
    }

    /// Whether it needs to know the last sample of each series.
    pub(crate) fn follows_counters(&self) -> bool {
        matches!(
            self,
            Output::Increase
                | Output::IncreasePrometheus
                | Output::RateAvg
                | Output::RateSum
                | Output::Total
                | Output::TotalPrometheus
        )
    }

    /// Whether it goes on from interval to interval, and so must not begin anew with a restart.
    pub(crate) fn is_cumulative(&self) -> bool {
        matches!(
            self,
            Output::Total | Output::TotalPrometheus | Output::SumSamplesTotal | Output::HistogramBucket
        )
    }

    /// Whether a group can have more than one series of it.
    pub(crate) fn is_many(&self) -> bool {
        match self {
            Output::HistogramBucket => true,
            Output::Quantiles(phis) => phis.len() > 1,
            _ => false,
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.suffix())?;
        if let Output::Quantiles(phis) = self {
            let phis: Vec<String> = phis.iter().map(f64::to_string).collect();
            write!(f, "({})", phis.join(", "))?;
        }
        Ok(())
    }
}
