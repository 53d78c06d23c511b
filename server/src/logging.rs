//! Log lines: logfmt as the reference writes it, or JSON.
//!
//! `time=2026-11-23T04:00:31.123Z level=INFO source=scraper msg="Scrape failed" target=http://a:1/metrics err=…`

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Sends log lines to standard error from here on. An unknown level or format counts as the default; whoever
/// reads the flags says that it is unknown.
pub(crate) fn init(level: &str, format: &str) {
    let level = match level {
        "debug" => Level::DEBUG,
        "warn" => Level::WARN,
        "error" => Level::ERROR,
        _ => Level::INFO,
    };
    // Other people's crates may speak from warnings upwards only.
    let filter = tracing_subscriber::EnvFilter::new(format!("warn,{}", own_targets(level)));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second initialisation happens in tests only; the first one counts.
    let json = format == "json";
    let _ = builder.event_format(Logfmt { json }).try_init();
}

fn own_targets(level: Level) -> String {
    const ROOMS: [&str; 15] = [
        "narthex",
        "narthex_credentials",
        "narthex_discovery",
        "narthex_files",
        "narthex_httpclient",
        "narthex_metrics",
        "narthex_model",
        "narthex_notify",
        "narthex_promql",
        "narthex_receivers",
        "narthex_rules",
        "narthex_scraper",
        "narthex_template",
        "narthex_tsdb",
        "narthex_yaml",
    ];
    ROOMS.map(|room| format!("{room}={level}")).join(",")
}

/// One line an event: time, level, room, message, then the fields in the order given.
struct Logfmt {
    json: bool,
}

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
            .to_string();
        let meta = event.metadata();
        let room = meta
            .target()
            .split("::")
            .next()
            .unwrap_or("")
            .trim_start_matches("narthex_");
        let head = [
            ("time", now),
            ("level", meta.level().to_string()),
            ("source", room.to_owned()),
        ];
        let all = head
            .into_iter()
            .chain([("msg", fields.message)])
            .chain(fields.rest);
        let mut line = String::with_capacity(160);
        if self.json {
            let object: serde_json::Map<String, serde_json::Value> =
                all.map(|(name, value)| (name.to_owned(), value.into())).collect();
            line = serde_json::Value::Object(object).to_string();
        } else {
            for (index, (name, value)) in all.enumerate() {
                let space = if index == 0 { "" } else { " " };
                write!(line, "{space}{name}=")?;
                write_value(&mut line, &value)?;
            }
        }
        writeln!(out, "{line}")
    }
}

/// A value as it is, or in quotes where it would not be one word.
pub(crate) fn write_value(line: &mut String, value: &str) -> fmt::Result {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=';
    if !value.is_empty() && value.chars().all(plain) {
        line.write_str(value)
    } else {
        model::labels::write_quoted(line, value)
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }
}

impl Fields {
    fn take(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            // The reference's word for it.
            "error" => self.rest.push(("err", text)),
            name => self.rest.push((name, text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_only_where_they_must_be() {
        for (value, text) in [
            ("a", "a"),
            ("a b", "\"a b\""),
            ("", "\"\""),
            ("x=\"y\"", "\"x=\\\"y\\\"\""),
            ("http://a:1/m", "http://a:1/m"),
        ] {
            let mut line = String::new();
            write_value(&mut line, value).expect("String");
            assert_eq!(line, text);
        }
    }
}
