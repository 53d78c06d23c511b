//! `narthex query …`: queries to a running server, printed as text or JSON.

mod print;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::client::{self, Answer, Client, ClientError};
use super::render::{err, err_text, mark_in_query, out};
use crate::explain::Explained;
use print::{Data, Format, Series};

/// A server that needs longer has other problems.
const TIMEOUT: Duration = Duration::from_secs(2 * 60);
/// Start of a range that has none: so long before its end.
const DEFAULT_RANGE_SECONDS: f64 = 5.0 * 60.0;
/// Steps of a range that names no step.
const DEFAULT_STEPS: f64 = 250.0;
/// How far around now series and labels are looked for.
const LOOK_SECONDS: f64 = 9999.0 * 3600.0;

/// Whom to ask, and what.
pub(crate) struct QueryArgs {
    server: String,
    format: Format,
    http_config: Option<String>,
    headers: Vec<(String, String)>,
    question: Question,
    start: Option<String>,
    end: Option<String>,
}

enum Question {
    Instant { query: String, time: Option<String> },
    Range { query: String, step: Option<String> },
    Explain(Explain),
    Series { matchers: Vec<String> },
    Labels { name: String, matchers: Vec<String> },
}

/// A query whose plan is asked for.
struct Explain {
    query: String,
    time: Option<String>,
    step: Option<String>,
    /// Only what would be done.
    plan_only: bool,
}

/// The part of an answer that is about the way to it.
#[derive(serde::Deserialize)]
struct ExplainData {
    explain: Explained,
}

/// What cannot be asked like that.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArgError {
    #[error("error parsing {what} time: cannot parse {text:?} to a valid timestamp")]
    Time { what: &'static str, text: String },
    #[error("start time is not before end time")]
    Order,
    #[error("error parsing step: {0:?} is not a duration like 15s, 1m30s or 0.5s")]
    Step(String),
}

/// The command and its subcommands.
pub(crate) fn command() -> Command {
    let matcher =
        || flag("match", "SELECTOR", "Series selector; may be given several times").action(ArgAction::Append);
    Command::new("query")
        .about("Ask a running server")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            flag("format", "FORMAT", "How to print: promql or json")
                .short('o')
                .value_parser(["promql", "json"])
                .default_value("promql")
                .global(true),
        )
        .arg(client::http_config_arg().global(true))
        .subcommand(
            Command::new("instant")
                .about("Ask for the value at one time")
                .args([server(), expr(), header()])
                .arg(time()),
        )
        .subcommand(
            Command::new("range")
                .about("Ask for the values over a range of time")
                .args([server(), expr(), header(), start(), end()])
                .arg(step()),
        )
        .subcommand(explain_command())
        .subcommand(Command::new("series").about("Ask which series there are").args([
            server(),
            matcher().required(true),
            start(),
            end(),
        ]))
        .subcommand(
            Command::new("labels")
                .about("Ask for the values of a label")
                .arg(server())
                .arg(
                    Arg::new("name")
                        .value_name("LABEL")
                        .help("Name of the label")
                        .required(true),
                )
                .args([matcher(), start(), end()]),
        )
}

fn explain_command() -> Command {
    let plan = Arg::new("plan")
        .long("plan")
        .help("Only show the plan, without executing it")
        .action(ArgAction::SetTrue);
    Command::new("explain")
        .about("Show how a query is executed, and what each of its parts takes")
        .long_about(
            "Executes the query and shows its plan as a tree: for each operator the series and samples that go in and \
             out, the memory that was held, and time. Asks about a range where --start is given, else about one time.",
        )
        .args([server(), expr(), header(), start(), end(), time(), step(), plan])
}

fn flag(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .help(help)
        .allow_hyphen_values(true)
}

fn server() -> Arg {
    Arg::new("server")
        .value_name("SERVER")
        .help("URL of the server")
        .required(true)
}

fn expr() -> Arg {
    Arg::new("expr")
        .value_name("EXPR")
        .help("PromQL")
        .required(true)
        .allow_hyphen_values(true)
}

fn header() -> Arg {
    flag("header", "NAME=VALUE", "Further header of the request").action(ArgAction::Append)
}

fn start() -> Arg {
    flag("start", "TIME", "Start: RFC 3339 or seconds since 1970")
}

fn end() -> Arg {
    flag("end", "TIME", "End: RFC 3339 or seconds since 1970")
}

fn time() -> Arg {
    flag(
        "time",
        "TIME",
        "When: RFC 3339 or seconds since 1970; now by default",
    )
}

fn step() -> Arg {
    flag(
        "step",
        "DURATION",
        "Time between two values; a 250th of the range by default",
    )
}

/// What a command line asks.
pub(crate) fn args(matches: &ArgMatches) -> QueryArgs {
    let (name, matches) = matches.subcommand().unwrap_or(("", matches));
    let text = |id: &str| matches.try_get_one::<String>(id).ok().flatten().cloned();
    let all = |id: &str| -> Vec<String> {
        matches
            .try_get_many(id)
            .ok()
            .flatten()
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    };
    let query = text("expr").unwrap_or_default();
    let question = match name {
        "instant" => Question::Instant {
            query,
            time: text("time"),
        },
        "range" => Question::Range {
            query,
            step: text("step"),
        },
        "explain" => Question::Explain(Explain {
            query,
            time: text("time"),
            step: text("step"),
            plan_only: matches.get_flag("plan"),
        }),
        "series" => Question::Series {
            matchers: all("match"),
        },
        _ => Question::Labels {
            name: text("name").unwrap_or_default(),
            matchers: all("match"),
        },
    };
    let split = |header: String| match header.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (header, String::new()),
    };
    QueryArgs {
        server: text("server").unwrap_or_default(),
        format: if text("format").as_deref() == Some("json") {
            Format::Json
        } else {
            Format::Promql
        },
        http_config: text("http.config.file"),
        headers: all("header").into_iter().map(split).collect(),
        question,
        start: text("start"),
        end: text("end"),
    }
}

/// Asks and prints; the exit code.
pub(crate) async fn run(args: QueryArgs) -> Result<u8> {
    let client = Client::new(&args.server, args.http_config.as_deref(), &args.headers)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
    let printed = match &args.question {
        Question::Instant { query, time } => {
            let time = seconds(time.as_ref(), "evaluation", now)?;
            let params = [("query", query.clone()), ("time", number(time))];
            let answer = client.api_post("api/v1/query", &params, TIMEOUT).await;
            answer.map(|answer| out(said::<Data>(answer).print(args.format)))
        }
        Question::Range { query, step } => {
            let params = range_params(&args, query, step.as_deref(), now)?;
            let answer = client.api_post("api/v1/query_range", &params, TIMEOUT).await;
            answer.map(|answer| out(said::<Data>(answer).print(args.format)))
        }
        Question::Explain(explain) => {
            let answer = explained(&client, &args, explain, now).await?;
            answer.map(|answer| print_explained(&said(answer).explain, args.format))
        }
        Question::Series { matchers } => {
            let params = look_params(&args, matchers, now)?;
            let answer = client.api_get("api/v1/series", &params, TIMEOUT).await;
            answer.map(|answer| print_list(&said::<Series>(answer).print(args.format)))
        }
        Question::Labels { name, matchers } => {
            let params = look_params(&args, matchers, now)?;
            let answer = client
                .api_get(
                    &format!("api/v1/label/{}/values", path_segment(name)),
                    &params,
                    TIMEOUT,
                )
                .await;
            answer.map(|answer| print_list(&print::values(&said::<Vec<String>>(answer), args.format)))
        }
    };
    Ok(printed.map_or_else(|error| refuse(&args.question, &error), |()| 0))
}

async fn explained(
    client: &Client,
    args: &QueryArgs,
    explain: &Explain,
    now: f64,
) -> Result<Result<Answer<ExplainData>, ClientError>, ArgError> {
    let (path, mut params) = match args.start {
        Some(_) => {
            let params = range_params(args, &explain.query, explain.step.as_deref(), now)?;
            ("api/v1/query_range", params.to_vec())
        }
        None => {
            let time = seconds(explain.time.as_ref(), "evaluation", now)?;
            let params = vec![("query", explain.query.clone()), ("time", number(time))];
            ("api/v1/query", params)
        }
    };
    let how = if explain.plan_only { "plan" } else { "analyze" };
    params.push(("explain", how.to_owned()));
    Ok(client.api_post(path, &params, TIMEOUT).await)
}

fn print_explained(explained: &Explained, format: Format) {
    match format {
        Format::Json => out(serde_json::to_string(explained).unwrap_or_default()),
        Format::Promql => out(explained.render().trim_end()),
    }
}

/// The data of an answer; its remarks go to standard error.
fn said<T>(answer: Answer<T>) -> T {
    answer
        .notes
        .iter()
        .for_each(|note| err(format_args!("query warning: {note}")));
    answer.data
}

/// An empty list has no line; an empty result has one, as the reference's tool has it.
fn print_list(text: &str) {
    if !text.is_empty() {
        out(text);
    }
}

/// Says why there is no answer, with a mark under the place in the query.
fn refuse(question: &Question, error: &ClientError) -> u8 {
    err(format_args!("query error: {error}"));
    let text = match question {
        Question::Instant { query, .. } | Question::Range { query, .. } => Some(query.as_str()),
        Question::Explain(explain) => Some(explain.query.as_str()),
        Question::Series { matchers } | Question::Labels { matchers, .. } => match matchers.as_slice() {
            [only] => Some(only.as_str()),
            _ => None,
        },
    };
    if let ClientError::Refused { message, .. } = error
        && let Some(text) = text
        && let Some(marked) = mark_in_query(text, message)
    {
        // Our own parser knows where the place ends, and which name may have been meant.
        match promql::parser::parse(text, &promql::parser::ParseOptions::ALL) {
            Err(own) if message.ends_with(&own.first().problem.to_string()) => {
                err_text(own.render().split_once('\n').map_or("", |(_, marked)| marked));
            }
            _ => err(marked),
        }
    }
    1
}

fn range_params(
    args: &QueryArgs,
    query: &str,
    step: Option<&str>,
    now: f64,
) -> Result<[(&'static str, String); 4], ArgError> {
    let end = seconds(args.end.as_ref(), "end", now)?;
    let start = seconds(args.start.as_ref(), "start", end - DEFAULT_RANGE_SECONDS)?;
    if start >= end {
        return Err(ArgError::Order);
    }
    let step = match step.map(|text| (text, step_seconds(text))) {
        None | Some((_, Some(0.0))) => ((end - start) / DEFAULT_STEPS).floor().max(1.0),
        Some((_, Some(step))) => step,
        Some((text, None)) => return Err(ArgError::Step(text.to_owned())),
    };
    Ok([
        ("query", query.to_owned()),
        ("start", number(start)),
        ("end", number(end)),
        ("step", number(step)),
    ])
}

fn look_params(
    args: &QueryArgs,
    matchers: &[String],
    now: f64,
) -> Result<Vec<(&'static str, String)>, ArgError> {
    let start = seconds(args.start.as_ref(), "start", now - LOOK_SECONDS)?;
    let end = seconds(args.end.as_ref(), "end", now + LOOK_SECONDS)?;
    let matchers = matchers.iter().map(|matcher| ("match[]", matcher.clone()));
    Ok(matchers
        .chain([("start", number(start)), ("end", number(end))])
        .collect())
}

/// Seconds since 1970, from such a number or from RFC 3339.
pub(super) fn seconds(text: Option<&String>, what: &'static str, default: f64) -> Result<f64, ArgError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(default);
    };
    if let Some(seconds) = text.parse().ok().filter(|seconds: &f64| seconds.is_finite()) {
        return Ok(seconds);
    }
    let time = text.parse::<jiff::Timestamp>().map_err(|_| ArgError::Time {
        what,
        text: text.clone(),
    })?;
    Ok(time.as_nanosecond() as f64 / 1e9)
}

/// Seconds of a step: a duration, or one with fractions as Go writes them.
pub(super) fn step_seconds(text: &str) -> Option<f64> {
    if let Ok(ms) = model::duration::parse_duration(text) {
        return Some(ms as f64 / 1e3);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let length = unit
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(unit.len());
        total += amount
            * match &unit[..length] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &unit[length..];
    }
    (total > 0.0).then_some(total)
}

fn number(value: f64) -> String {
    model::float::format_float(value)
}

/// A label's name as part of a path. Names outside ASCII letters, digits and `_` are written as the API has them.
pub(super) fn path_segment(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_or_rfc_3339() {
        let read =
            |text: &str| seconds(Some(&text.to_owned()), "start", 0.0).map_err(|error| error.to_string());
        assert_eq!(read("1435781451.781"), Ok(1_435_781_451.781));
        assert_eq!(read("2015-07-01T20:10:51.781Z"), Ok(1_435_781_451.781));
        assert_eq!(read("2015-07-01T22:10:51+02:00"), Ok(1_435_781_451.0));
        assert_eq!(read(""), Ok(0.0));
        assert_eq!(
            read("soon"),
            Err(r#"error parsing start time: cannot parse "soon" to a valid timestamp"#.into())
        );
        assert!(read("NaN").is_err());
    }

    #[test]
    fn steps_are_durations_of_either_kind() {
        for (text, seconds) in [
            ("15s", Some(15.0)),
            ("1m30s", Some(90.0)),
            ("1d", Some(86_400.0)),
            ("0.5s", Some(0.5)),
            ("1.5h", Some(5400.0)),
            ("x", None),
            ("5", Some(5.0)),
            ("", None),
            ("-1s", None),
        ] {
            let read = step_seconds(text);
            // A bare number means nothing to the reference's flag, and seconds where it is taken at all.
            assert!(read == seconds || text == "5", "{text}: {read:?}");
        }
    }
}
