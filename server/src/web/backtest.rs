//! `/api/v1/rules/backtest`: what rules, and an Alertmanager's configuration, would have done with the data of this server.
//! Ours.
//!
//! It costs what the queries of all those evaluations cost, so one goes at a time, of so many evaluations, for so long; and
//! it ends when whoever asks hangs up.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use model::duration::parse_duration;
use notify::config::Config;
use notify::matcher::Syntax;
use notify::route::Tree;
use rules::Settings;
use rules::backtest::{Backtest, BacktestError, Progress, Source};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::{ApiError, ErrorType, blocking, success_json};
use super::params::Params;
use super::state::{QueryState, Site};
use crate::cli::backtest::output::Routed;
use crate::cli::backtest::watch;

/// Most evaluations of rules: a hundred rules, every minute, over a day and a half.
const EVALUATIONS_MAX: u64 = 200_000;
/// Longest time that one takes.
const TIME_MAX: Duration = Duration::from_secs(2 * 60);
/// Backtests at a time.
const AT_A_TIME: usize = 1;
/// How often groups are evaluated that do not say, unless the request does.
const INTERVAL_MS: i64 = 60_000;
/// What errors call the texts of a request.
const RULES: &str = "rules";
const ALERTMANAGER: &str = "alertmanager";

/// The route's handler.
pub(super) fn handler() -> MethodRouter<Site> {
    let slots = Arc::new(Semaphore::new(AT_A_TIME));
    post(move |State(state): State<Arc<QueryState>>, params: Params| {
        let slots = slots.clone();
        async move {
            match answer(state, &params, slots).await {
                Ok(response) => response,
                Err(error) => error.into_response(),
            }
        }
    })
}

/// Ends a backtest when the client hangs up: the handler's future is dropped then, and this with it.
struct EndOnDrop(Arc<AtomicBool>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn answer(
    state: Arc<QueryState>,
    params: &Params,
    slots: Arc<Semaphore>,
) -> Result<Response, ApiError> {
    let (backtest, config) = what(params, state.clock.now_ms())?;
    let slot = slots.try_acquire_owned().map_err(|_| {
        ApiError::new(
            ErrorType::Timeout,
            "another backtest is under way: try again later",
        )
    })?;
    let ended = Arc::new(AtomicBool::new(false));
    let _end = EndOnDrop(ended.clone());
    let document = blocking(move || run(&state, &backtest, config, &ended, slot)).await?;
    Ok(success_json(&document))
}

/// What a request asks for.
fn what(params: &Params, now_ms: i64) -> Result<(Backtest, Option<Config>), ApiError> {
    params.whole().map_err(|error| ApiError::form(&error))?;
    let text = params.get(RULES);
    if text.is_empty() {
        return Err(ApiError::parameter(RULES, "the text of a rule file is missing"));
    }
    let interval_ms = match params.get("eval_interval") {
        "" => INTERVAL_MS,
        text => parse_duration(text)
            .ok()
            .filter(|ms| *ms > 0)
            .ok_or_else(|| ApiError::parameter("eval_interval", "not a positive duration"))?,
    };
    let backtest = Backtest {
        settings: Settings {
            interval_ms,
            ..Settings::default()
        },
        from_ms: params.time_ms("from", None)?,
        to_ms: params.time_ms("to", Some(now_ms))?,
        texts: vec![(RULES.to_owned(), text.to_owned())],
    };
    let config = match params.get(ALERTMANAGER) {
        "" => None,
        text => {
            let mut config = Config::parse(ALERTMANAGER, text, Syntax::default())
                .map_err(|error| ApiError::parameter(ALERTMANAGER, error))?;
            // Who may read data may not have files of this machine read.
            config.templates.clear();
            Some(config)
        }
    };
    let evaluations = match backtest.to_ms < backtest.from_ms {
        true => return Err(ApiError::bad_data(BacktestError::Order)),
        false => backtest.count().map_err(ApiError::bad_data)?,
    };
    if evaluations > EVALUATIONS_MAX {
        let max = EVALUATIONS_MAX;
        return Err(ApiError::bad_data(BacktestError::TooManyEvaluations {
            evaluations,
            max,
        }));
    }
    Ok((backtest, config))
}

fn run(
    state: &QueryState,
    backtest: &Backtest,
    config: Option<Config>,
    ended: &AtomicBool,
    _slot: OwnedSemaphorePermit,
) -> Result<serde_json::Value, ApiError> {
    let until = state.clock.elapsed() + TIME_MAX;
    let is_late = || state.clock.elapsed() > until;
    let go_on = |_: Progress| match ended.load(Ordering::Relaxed) || is_late() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let tree = config.as_ref().map(|config| Tree::new(&config.route));
    let source = Source::Stored(state.storage.clone());
    let done = watch::run(backtest, source, state.engine.clone(), config, go_on);
    let (report, rehearsed) = done.map_err(|error| match error {
        watch::Error::Rules(BacktestError::Interrupted) if is_late() => {
            let seconds = TIME_MAX.as_secs();
            let message =
                format!("the backtest took more than {seconds} s: try a shorter time or fewer rules");
            ApiError::new(ErrorType::Timeout, message)
        }
        watch::Error::Rules(BacktestError::Interrupted) => {
            ApiError::new(ErrorType::Canceled, BacktestError::Interrupted)
        }
        watch::Error::Rules(error @ BacktestError::TooManySamples) => {
            ApiError::new(ErrorType::Execution, error)
        }
        error => ApiError::bad_data(error),
    })?;
    Ok(Routed::new(&report, tree.as_ref().zip(rehearsed.as_ref())).json())
}
