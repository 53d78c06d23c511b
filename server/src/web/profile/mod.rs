//! `/debug/pprof/…`: what this process does, for `go tool pprof` and its kin.
//!
//! The processor's time by function, and threads, which stand in for goroutines. One profile is taken at a time, for at most
//! two minutes. The heap is not profiled: the allocator is built without, since it would cost every allocation.

mod cpu;
mod message;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{OriginalUri, Path};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::Semaphore;

use super::answer::{RequestEnded, blocking};
use super::listener::WholeQuery;
use super::params::Params;
use super::paths::{not_found, redirect};
use super::state::Site;
use super::{methods, refuse_head};

/// How long the processor is watched, where nothing is said.
const SECONDS_DEFAULT: u64 = 30;
/// And at most.
const SECONDS_MAX: u64 = 120;

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
enum ProfileError {
    #[error("seconds: {0:?} is not a whole number from 1 to {SECONDS_MAX}")]
    Seconds(String),
    #[error("another profile is being taken: try again later")]
    Busy,
    #[error("the processor's time cannot be profiled: {0}")]
    Cpu(#[from] cpu::CpuError),
    #[error("threads cannot be listed: {0}")]
    Threads(#[from] std::io::Error),
    #[error(
        "the allocator of this build keeps no profile; the metrics narthex_query_memory_bytes and \
             process_resident_memory_bytes, and /api/v1/status/tsdb, say where memory is"
    )]
    NoHeap,
    #[error("there is nothing of this kind to profile: threads do not wait for each other by Go's means")]
    NoSuchWait,
    #[error(transparent)]
    Ended(#[from] RequestEnded),
}

impl IntoResponse for ProfileError {
    fn into_response(self) -> Response {
        let status = match self {
            ProfileError::Seconds(_) => StatusCode::BAD_REQUEST,
            ProfileError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            ProfileError::NoHeap | ProfileError::NoSuchWait => StatusCode::NOT_IMPLEMENTED,
            ProfileError::Cpu(_) | ProfileError::Threads(_) | ProfileError::Ended(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        plain(status, format!("{self}\n"))
    }
}

/// Everything below `/debug`.
pub(super) fn routes() -> MethodRouter<Site> {
    let taking = Arc::new(Semaphore::new(1));
    let handler = move |path: Path<String>, uri: OriginalUri, query: WholeQuery, method: Method| {
        let taking = taking.clone();
        async move { answer(&path, &uri, query, &method, &taking).await }
    };
    let both = axum::routing::get(handler.clone()).post(handler);
    const ALLOWED: &str = "GET, OPTIONS, POST";
    methods(ALLOWED, both.head(|| refuse_head(ALLOWED)))
}

async fn answer(
    path: &str,
    OriginalUri(uri): &OriginalUri,
    WholeQuery(query): WholeQuery,
    method: &Method,
    taking: &Semaphore,
) -> Response {
    if path == "pprof" {
        let folder = format!("{}/", uri.path());
        return redirect(StatusCode::MOVED_PERMANENTLY, method, &folder, query.as_deref());
    }
    let Some(kind) = path.strip_prefix("pprof/") else {
        return not_found();
    };
    let params = Params::from_url(query.as_deref().unwrap_or_default()).unwrap_or_default();
    let found = match kind {
        "" => Ok(index()),
        "cmdline" => Ok(command_line()),
        "profile" => cpu_profile(&params, taking).await,
        "goroutine" | "threadcreate" => threads_profile(&params).await,
        "heap" | "allocs" => Err(ProfileError::NoHeap),
        "block" | "mutex" | "trace" => Err(ProfileError::NoSuchWait),
        // Names stand in the profiles: there is nothing to look up.
        "symbol" => Ok(plain(StatusCode::OK, "num_symbols: 0\n".to_owned())),
        _ => Ok(plain(StatusCode::NOT_FOUND, "Unknown profile\n".to_owned())),
    };
    found.unwrap_or_else(IntoResponse::into_response)
}

async fn cpu_profile(params: &Params, taking: &Semaphore) -> Result<Response, ProfileError> {
    let seconds = match params.get("seconds") {
        "" => SECONDS_DEFAULT,
        text => match text.parse() {
            Ok(seconds @ 1..=SECONDS_MAX) => seconds,
            _ => return Err(ProfileError::Seconds(text.to_owned())),
        },
    };
    let _turn = taking.try_acquire().map_err(|_| ProfileError::Busy)?;
    let profiler = cpu::Profiler::start()?;
    // A client that hangs up ends this future, and the profiler with it.
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let profile = blocking(move || Ok::<_, ProfileError>(profiler.finish()?)).await?;
    Ok(binary("profile", profile.compressed()))
}

async fn threads_profile(params: &Params) -> Result<Response, ProfileError> {
    let as_text = !matches!(params.get("debug"), "" | "0");
    let threads = blocking(|| Ok::<_, ProfileError>(threads::list()?)).await?;
    Ok(match as_text {
        true => plain(StatusCode::OK, threads::text(&threads)),
        false => binary("goroutine", threads::profile(&threads).compressed()),
    })
}

fn index() -> Response {
    const PAGE: &str = "<!doctype html>\n<title>/debug/pprof/</title>\n<h1>/debug/pprof/</h1>\n<ul>\n\
        <li><a href=\"profile?seconds=10\">profile</a>: where the processor's time goes; parameter: seconds\n\
        <li><a href=\"goroutine?debug=1\">goroutine</a>: threads and what they do; parameter: debug=1 for text\n\
        <li><a href=\"cmdline\">cmdline</a>: how this process was started\n</ul>\n";
    let mut response = plain(StatusCode::OK, PAGE.to_owned());
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, html);
    response
}

/// Words of the command line, with zeros between them.
fn command_line() -> Response {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    plain(StatusCode::OK, words.join("\0"))
}

fn plain(status: StatusCode, text: String) -> Response {
    (status, [(X_CONTENT_TYPE_OPTIONS, "nosniff")], text).into_response()
}

fn binary(name: &str, bytes: Vec<u8>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(file) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, file);
    }
    (headers, bytes).into_response()
}
