//! `silence import`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use futures_util::StreamExt as _;

use super::api::ImportedSilence;
use super::client::{ApiError, Client};
use super::error::AlertError;
use super::line::Line;
use crate::cli::render::{err, out};

/// Most that is read, in bytes.
const INPUT_BYTES_MAX: u64 = 256 << 20;
/// Most silences that are sent at the same time.
const WORKERS_MAX: usize = 1000;

/// Adds the silences of a file, or of standard input.
pub(super) async fn run(line: &Line) -> Result<(), AlertError> {
    let silences = parse(&read(line)?)?;
    let client = Client::new(line).await?;
    let force = line.is_on("force");
    let all = silences.len();
    let adding = silences.into_iter().map(|silence| add(&client, silence, force));
    let workers = line.number("worker").clamp(1, WORKERS_MAX);
    let mut adding = futures_util::stream::iter(adding).buffer_unordered(workers);
    let mut failed = 0;
    while let Some((id, outcome)) = adding.next().await {
        match outcome {
            Ok(id) => out(id),
            Err(error) => {
                failed += 1;
                err(format_args!("Error adding silence id='{id}': {error}"));
            }
        }
    }
    if failed > 0 {
        return Err(AlertError::Import { failed, all });
    }
    Ok(())
}

/// Adds a silence, as a new one if the server does not know its id; the id that it had, and the new one.
async fn add(
    client: &Client,
    mut silence: ImportedSilence,
    force: bool,
) -> (String, Result<String, ApiError>) {
    if force {
        silence.id.clear();
    }
    let id = silence.id.clone();
    let mut outcome = client.post_silence(&silence).await;
    if matches!(outcome, Err(ApiError::Refused { status: 404, .. })) {
        silence.id.clear();
        outcome = client.post_silence(&silence).await;
    }
    (id, outcome)
}

fn read(line: &Line) -> Result<String, AlertError> {
    let path = line.args().first().map_or("/dev/stdin", String::as_str);
    let failed = |source| AlertError::Read {
        path: PathBuf::from(path),
        source,
    };
    let mut text = String::new();
    let input: Box<dyn Read> = match line.args().first() {
        Some(path) => Box::new(File::open(path).map_err(failed)?),
        None => Box::new(std::io::stdin()),
    };
    let mut input = input.take(INPUT_BYTES_MAX + 1);
    input.read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > INPUT_BYTES_MAX {
        return Err(failed(std::io::Error::other("the input is too long")));
    }
    Ok(text)
}

fn parse(text: &str) -> Result<Vec<ImportedSilence>, AlertError> {
    // Compat: an object without members, whole or not, is a list without silences (`silence-import`).
    if let Some(rest) = text.trim().strip_prefix('{')
        && matches!(rest.trim(), "" | "}")
    {
        return Ok(Vec::new());
    }
    serde_json::from_str(text).map_err(AlertError::NotSilences)
}
