//! `tsdb dump` and `tsdb dump-openmetrics`: everything stored, head included, series by series.

use std::io::{BufWriter, StdoutLock, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use files::{DiskFiles, Files};
use model::columns::Columns;
use model::float::format_general;
use model::histogram::Histogram;
use model::labels::{Labels, METRIC_NAME, is_legacy_label_name, is_legacy_metric_name, write_quoted};
use model::storage::TimeRange;
use tsdb::db::{Options, ReadOnly};

use super::{TsdbError, dir_arg, dir_of, say_damaged};
use crate::cli::progress;

/// Every series there is.
const EVERYTHING: &str = "{__name__=~'(?s:.*)'}";

/// Which samples, and how.
pub(crate) struct DumpArgs {
    dir: PathBuf,
    range: TimeRange,
    matchers: Vec<String>,
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// A line a sample: labels, value, milliseconds.
    Prom,
    /// A line a series: its labels as JSON.
    SeriesJson,
    /// OpenMetrics' text.
    OpenMetrics,
}

pub(super) fn commands() -> [Command; 2] {
    let common = |command: Command| {
        let time = |name: &'static str, help: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name("MILLISECONDS")
                .help(help)
                .allow_hyphen_values(true)
                .value_parser(clap::value_parser!(i64))
        };
        command
            .arg(time("min-time", "First timestamp, in milliseconds since 1970"))
            .arg(time("max-time", "Last timestamp, in milliseconds since 1970"))
            .arg(
                Arg::new("match")
                    .long("match")
                    .value_name("SELECTOR")
                    .help("Only these series; may be given several times")
                    .action(ArgAction::Append),
            )
            .arg(
                Arg::new("sandbox-dir-root")
                    .long("sandbox-dir-root")
                    .value_name("DIR")
                    .help("Accepted; nothing is written, so no sandbox is needed"),
            )
            .arg(dir_arg())
    };
    let format = Arg::new("format")
        .long("format")
        .value_name("FORMAT")
        .help("What to print: prom (samples) or seriesjson (series)")
        .value_parser(["prom", "seriesjson"])
        .default_value("prom");
    [
        common(Command::new("dump"))
            .about("Print samples or series, those of the write-ahead log included")
            .after_help(
                "Examples:\n  narthex tsdb dump --match='up{job=\"api\"}' --min-time=1700000000000 data/\n  \
                 narthex tsdb dump --format=seriesjson data/",
            )
            .arg(format),
        common(Command::new("dump-openmetrics"))
            .about("Print samples as OpenMetrics text, native histograms left out")
            .after_help(
                "What it prints can be imported again:\n  narthex tsdb dump-openmetrics data/ > samples.om\n  \
                 narthex tsdb create-blocks-from openmetrics samples.om elsewhere/",
            ),
    ]
}

impl DumpArgs {
    pub(super) fn new(name: &str, matches: &ArgMatches) -> Self {
        let time = |id: &str, default: i64| matches.get_one::<i64>(id).copied().unwrap_or(default);
        let given = matches.get_many::<String>("match").into_iter().flatten();
        let mut matchers: Vec<String> = given.cloned().collect();
        if matchers.is_empty() {
            matchers.push(EVERYTHING.to_owned());
        }
        let json = |_: &()| {
            matches
                .get_one::<String>("format")
                .is_some_and(|f| f == "seriesjson")
        };
        DumpArgs {
            dir: dir_of(matches),
            range: TimeRange::new(time("min-time", i64::MIN), time("max-time", i64::MAX)),
            matchers,
            format: match name {
                "dump" if json(&()) => Format::SeriesJson,
                "dump" => Format::Prom,
                _ => Format::OpenMetrics,
            },
        }
    }
}

/// Dumps; the exit code.
pub(super) fn dump(args: &DumpArgs) -> Result<u8, TsdbError> {
    let selectors = args
        .matchers
        .iter()
        .map(|text| promql::parser::parse_selector(text));
    let selectors = selectors.collect::<Result<Vec<_>, _>>()?;
    let files: Arc<dyn Files> = Arc::new(DiskFiles);
    let db = ReadOnly::open(&files, &args.dir, Options::default()).map_err(TsdbError::Dir)?;
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let mut printer = Printer::new(args.format);
    let mut failed = None;
    progress::catch_interrupts();
    db.visit(args.range, &selectors, &mut |labels, columns| {
        if progress::interrupted() {
            failed = Some(TsdbError::Interrupted);
        } else if let Err(error) = printer.print(labels, columns, &mut out) {
            failed = Some(error.into());
        }
        match &failed {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    if args.format == Format::OpenMetrics {
        out.write_all(b"# EOF\n")?;
    }
    out.flush()?;
    Ok(say_damaged(&db.damaged_blocks()))
}

struct Printer {
    format: Format,
    /// What every line of a series begins with.
    prefix: String,
}

impl Printer {
    fn new(format: Format) -> Self {
        Printer {
            format,
            prefix: String::new(),
        }
    }

    fn print(
        &mut self,
        labels: &Labels,
        columns: &Columns,
        out: &mut BufWriter<StdoutLock<'_>>,
    ) -> std::io::Result<()> {
        match self.format {
            Format::Prom => self.prefix = labels.to_string(),
            Format::OpenMetrics => self.prefix = open_metrics_series(labels),
            Format::SeriesJson => return writeln!(out, "{}", json(labels)),
        }
        let mut histograms = columns.histograms.iter().peekable();
        for (row, timestamp_ms) in columns.timestamps_ms.iter().enumerate() {
            let histogram = histograms.next_if(|(at, _)| *at as usize == row).map(|(_, h)| h);
            let prefix = &self.prefix;
            let value = || format_general(columns.values[row]);
            match (self.format, histogram) {
                (Format::OpenMetrics, Some(_)) => {}
                (Format::OpenMetrics, None) => {
                    writeln!(out, "{prefix} {} {}", value(), seconds(*timestamp_ms))?;
                }
                (_, None) => writeln!(out, "{prefix} {} {timestamp_ms}", value())?,
                (_, Some(Histogram::Int(h))) => writeln!(out, "{prefix} {h} {timestamp_ms}")?,
                (_, Some(Histogram::Float(h))) => writeln!(out, "{prefix} {h} {timestamp_ms}")?,
            }
        }
        Ok(())
    }
}

/// Seconds with three decimals.
fn seconds(timestamp_ms: i64) -> String {
    let sign = if timestamp_ms < 0 { "-" } else { "" };
    let ms = timestamp_ms.unsigned_abs();
    format!("{sign}{}.{:03}", ms / 1000, ms % 1000)
}

/// Name and labels in OpenMetrics; names outside the classic letters are quoted, so that they can be read again.
fn open_metrics_series(labels: &Labels) -> String {
    let name = labels.metric_name();
    let classic = name.is_empty() || is_legacy_metric_name(name);
    let mut text = String::new();
    if classic {
        text.push_str(name);
    }
    text.push('{');
    let mut separator = "";
    if !classic {
        // Writing to a String cannot fail, here and below.
        let _ = write_quoted(&mut text, name);
        separator = ",";
    }
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        text.push_str(separator);
        separator = ",";
        if is_legacy_label_name(name) {
            text.push_str(name);
        } else {
            let _ = write_quoted(&mut text, name);
        }
        text.push('=');
        let _ = write_quoted(&mut text, value);
    }
    text.push('}');
    text
}

/// Labels as a JSON object. Compat: what could close a tag in a page is escaped, as Go's encoder does it
/// (`series_are_written_so_that_they_can_be_read_again`).
fn json(labels: &Labels) -> String {
    let pairs: std::collections::BTreeMap<_, _> = labels.iter().collect();
    // Texts only: nothing that JSON could not hold.
    let text = serde_json::to_string(&pairs).unwrap_or_default();
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                use std::fmt::Write as _;
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_written_so_that_they_can_be_read_again() {
        let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        let plain = labels(&[(METRIC_NAME, "up"), ("job", "a\"b\n")]);
        assert_eq!(open_metrics_series(&plain), r#"up{job="a\"b\n"}"#);
        assert_eq!(json(&labels(&[("a", "<b>&")])), r#"{"a":"\u003cb\u003e\u0026"}"#);
        let wide = labels(&[(METRIC_NAME, "http.requests"), ("k8s.pod", "x")]);
        assert_eq!(open_metrics_series(&wide), r#"{"http.requests","k8s.pod"="x"}"#);
        assert_eq!(
            (seconds(1_700_006_744_993), seconds(-5)),
            ("1700006744.993".into(), "-0.005".into())
        );
    }
}
