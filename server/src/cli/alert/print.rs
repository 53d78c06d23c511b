//! What is printed: tables, short and long, and JSON.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde_json::Value;

use super::api::{Alert, Cluster, Pairs, Silence, Status};
use super::line::Line;
use super::moment::Moment;
use super::table::align;
use crate::cli::render::out_text;

/// How the line wants output to look.
pub(super) struct Printer<'l> {
    form: Form,
    date_format: &'l str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Simple,
    Extended,
    Json,
}

impl<'l> Printer<'l> {
    pub(super) fn new(line: &'l Line) -> Self {
        Printer {
            form: match line.text("output") {
                "extended" => Form::Extended,
                "json" => Form::Json,
                _ => Form::Simple,
            },
            date_format: line.text("date.format"),
        }
    }

    fn date(&self, moment: Moment) -> String {
        moment.format(self.date_format)
    }

    /// Prints alerts, those that started first at the top.
    pub(super) fn alerts(&self, mut alerts: Vec<Alert>) {
        let mut table = Table::default();
        match self.form {
            Form::Json => return json(&alerts),
            Form::Simple => table.row(&["Alertname", "Starts At", "Summary", "State"]),
            Form::Extended => {
                let head = [
                    "Labels",
                    "Annotations",
                    "Starts At",
                    "Ends At",
                    "Generator URL",
                    "State",
                ];
                table.row(&head);
            }
        }
        alerts.sort_by_key(|alert| alert.starts_at.at);
        for alert in &alerts {
            let text = |pairs: &Pairs, name| pairs.get(name).cloned().unwrap_or_default();
            let starts_at = self.date(alert.starts_at);
            let state = &alert.status.state;
            if self.form == Form::Simple {
                let (name, summary) = (
                    text(&alert.labels, "alertname"),
                    text(&alert.annotations, "summary"),
                );
                table.row(&[&name, &starts_at, &summary, state]);
            } else {
                let (labels, annotations) = (listed(&alert.labels), listed(&alert.annotations));
                let ends_at = self.date(alert.ends_at);
                table.row(&[
                    &labels,
                    &annotations,
                    &starts_at,
                    &ends_at,
                    &alert.generator_url,
                    state,
                ]);
            }
        }
        table.print();
    }

    /// Prints silences, those that end first at the top.
    pub(super) fn silences(&self, mut silences: Vec<Silence>) {
        let mut table = Table::default();
        match self.form {
            Form::Json => return json(&silences),
            Form::Simple => table.row(&["ID", "Matchers", "Ends At", "Created By", "Comment"]),
            Form::Extended => {
                let times = ["Starts At", "Ends At", "Updated At"];
                let head = [&["ID", "Matchers"], &times[..], &["Created By", "Comment"]].concat();
                table.row(&head);
            }
        }
        silences.sort_by_key(|silence| silence.ends_at.at);
        for silence in &silences {
            let matchers = silence
                .matchers
                .iter()
                .map(|matcher| matcher.to_print().to_string());
            let matchers: Vec<String> = matchers.collect();
            let (starts_at, ends_at) = (self.date(silence.starts_at), self.date(silence.ends_at));
            let author = &silence.created_by;
            // Compat: without it the comment stands alone (`silence`).
            let comment = &match silence.annotations.get(notify::RECURRENCE) {
                Some(times) => format!("{} (recurs: {})", silence.comment, super::recurring::words(times)),
                None => silence.comment.clone(),
            };
            if self.form == Form::Simple {
                table.row(&[&silence.id, &matchers.join(" "), &ends_at, author, comment]);
            } else {
                let matchers = format!("{{{}}}", matchers.join(","));
                let updated_at = self.date(silence.updated_at);
                table.row(&[
                    &silence.id,
                    &matchers,
                    &starts_at,
                    &ends_at,
                    &updated_at,
                    author,
                    comment,
                ]);
            }
        }
        table.print();
    }

    /// Prints a value as it came, if the line wants JSON; whether it does.
    pub(super) fn json_instead<T: Serialize>(&self, value: &T) -> bool {
        if self.form == Form::Json {
            json(value);
        }
        self.form == Form::Json
    }

    /// Prints events as they come, each on a line.
    pub(super) fn history(&self, events: &[Value]) {
        if self.form == Form::Json {
            return json(&events);
        }
        let mut table = Table::default();
        table.row(&["Time", "Event", "Receiver", "About", "Why"]);
        for event in events {
            let time = event["time"].as_str().and_then(|text| Moment::parse(text).ok());
            let time = time.map_or_else(String::new, |time| self.date(time));
            let [what, receiver, about, why] = super::history::summary(event);
            table.row(&[&time, &what, &receiver, &about, &why]);
        }
        table.print();
    }

    /// Prints the configuration; in the longer forms, all about the server.
    ///
    /// The reference prints addresses of memory in the extended form, where these are texts.
    pub(super) fn status(&self, status: &Status) {
        let mut text = format!("{}\n", status.config.original);
        match self.form {
            Form::Json => return json(status),
            Form::Simple => {}
            Form::Extended => {
                let version = &status.version_info;
                let uptime = status.uptime.format("2006-01-02T15:04:05.000Z07:00");
                for (name, value) in [
                    ("buildUser", &version.build_user),
                    ("goVersion", &version.go_version),
                    ("revision", &version.revision),
                    ("version", &version.version),
                    ("branch", &version.branch),
                    ("buildDate", &version.build_date),
                    ("uptime", &uptime),
                ] {
                    writeln!(text, "{name} {value}").expect("writing to memory");
                }
            }
        }
        out_text(&text);
    }

    /// Prints the state of a cluster; in the longer forms, its members by their addresses.
    pub(super) fn cluster(&self, mut cluster: Cluster) {
        if self.form == Form::Json {
            return json(&cluster);
        }
        let mut text = format!(
            "Cluster Status:\t{}\nNode Name:\t{}\n",
            cluster.status, cluster.name
        );
        if self.form == Form::Extended {
            text.push_str("\nAddress\tName\n");
            cluster.peers.sort_by_key(|peer| address_key(&peer.address));
            for peer in &cluster.peers {
                writeln!(text, "{}\t{}\t", peer.address, peer.name).expect("writing to memory");
            }
        }
        out_text(&align(&text));
    }
}

/// What addresses are sorted by; names come first.
fn address_key(address: &str) -> Option<(IpAddr, u16)> {
    let address: SocketAddr = address.parse().ok()?;
    Some((address.ip(), address.port()))
}

/// `a="b" c="d"`. Compat: values stand as they are (`alert-query`).
fn listed(pairs: &Pairs) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{name}=\"{value}\""));
    pairs.collect::<Vec<_>>().join(" ")
}

fn json<T: Serialize>(value: &T) {
    out_text(&String::from_utf8_lossy(&receivers::json::body(value)));
}

/// Rows of cells.
#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, cells: &[&str]) {
        for cell in cells {
            self.0.push_str(cell);
            self.0.push('\t');
        }
        self.0.push('\n');
    }

    fn print(&self) {
        out_text(&align(&self.0));
    }
}
