//! Running a backtest, and an Alertmanager beside it that takes what the rules send.

use std::ops::ControlFlow;
use std::sync::Arc;

use model::alert::Alert;
use notify::config::Config;
use notify::{Rehearsal, RehearsalError, RehearsalReport};
use promql::engine::Engine;
use rules::backtest::{Backtest, BacktestError, Progress, Report, Source, Watch};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Rules(#[from] BacktestError),
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
}

/// Runs it; `go_on` is told how far it is. Not within a runtime.
pub(crate) fn run(
    backtest: &Backtest,
    source: Source,
    engine: Arc<Engine>,
    config: Option<Config>,
    go_on: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<(Report, Option<RehearsalReport>), Error> {
    let rehearsal = config.map(|config| Rehearsal::new(config, backtest.from_ms));
    let mut both = Both {
        rehearsal: rehearsal.transpose()?,
        go_on,
    };
    let report = backtest.run(source, engine, &mut both)?;
    let rehearsed = both.rehearsal.map(|mut rehearsal| {
        rehearsal.advance(report.to_ms);
        rehearsal.report()
    });
    Ok((report, rehearsed))
}

struct Both<F> {
    rehearsal: Option<Rehearsal>,
    go_on: F,
}

impl<F: FnMut(Progress) -> ControlFlow<()>> Watch for Both<F> {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        (self.go_on)(progress)
    }

    fn wants_alerts(&self) -> bool {
        self.rehearsal.is_some()
    }

    fn alerts(&mut self, at_ms: i64, alerts: Vec<Alert>) {
        if let Some(rehearsal) = &mut self.rehearsal {
            rehearsal.take(at_ms, alerts);
        }
    }
}
