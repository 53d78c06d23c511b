//! How a backtest is told: to people and to programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ::rules::backtest::{End, Episode, Report, RuleReport};
use ::rules::format::RuleKind;
use model::duration::format_duration;
use model::float::format_general;
use model::labels::Labels;
use notify::route::Tree;
use notify::{RehearsalReport, Rehearsed};
use serde_json::{Value as Json, json};

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Some lines for each alert.
    Text,
    /// One document; its shape stands in docs/tools.md.
    Json,
}

/// A report, and to whom alerts would have gone.
pub(crate) struct Routed<'r> {
    report: &'r Report,
    routed: Option<(&'r Tree, &'r RehearsalReport)>,
}

impl Output {
    /// What goes to standard output.
    pub(crate) fn write(self, routed: &Routed<'_>) -> String {
        match self {
            Output::Text => routed.text(),
            Output::Json => format!("{:#}\n", routed.json()),
        }
    }
}

/// A time in RFC 3339.
pub(crate) fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| format!("{at_ms} ms"), |time| time.to_string())
}

impl<'r> Routed<'r> {
    pub(crate) fn new(report: &'r Report, routed: Option<(&'r Tree, &'r RehearsalReport)>) -> Self {
        Routed { report, routed }
    }

    fn routes(&self) -> Option<&'r Tree> {
        self.routed.map(|(tree, _)| tree)
    }

    /// The receivers that the alert would have gone to, each once.
    fn receivers(&self, episode: &Episode) -> Vec<&'r str> {
        let mut found: Vec<&str> = Vec::new();
        let Some(tree) = self.routes().filter(|_| episode.fired_at_ms.is_some()) else {
            return found;
        };
        for number in tree.matching(&episode.labels) {
            let receiver = tree.routes()[number].options.receiver.as_str();
            if !found.contains(&receiver) {
                found.push(receiver);
            }
        }
        found
    }

    /// How many alerts each receiver would have had.
    fn by_receiver(&self) -> BTreeMap<&'r str, u64> {
        let routes = self.routes().into_iter().flat_map(Tree::routes);
        let mut counts: BTreeMap<&str, u64> =
            routes.map(|route| (route.options.receiver.as_str(), 0)).collect();
        let episodes = self.report.rules.iter().flat_map(|rule| &rule.episodes);
        for receiver in episodes.flat_map(|episode| self.receivers(episode)) {
            *counts.entry(receiver).or_default() += 1;
        }
        counts
    }

    /// How long the alert fired, up to the end of the backtest where it still did.
    fn firing_ms(&self, episode: &Episode) -> Option<i64> {
        let until_ms = episode.ended_at_ms.unwrap_or(self.report.to_ms);
        Some(until_ms.saturating_sub(episode.fired_at_ms?))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut group = None;
        // Writing to a String cannot fail, here and below.
        for rule in &self.report.rules {
            let own = (&rule.file, &rule.group);
            if group.replace(own) != Some(own) {
                let _ = writeln!(text, "{}: {}", rule.file, rule.group);
            }
            self.rule_text(rule, &mut text);
        }
        if let Some((_, rehearsed)) = self.routed {
            text.push_str("receivers\n");
            for (receiver, count) in self.by_receiver() {
                let told = rehearsed.by_receiver.get(receiver).copied().unwrap_or(0);
                let (alerts, told) = (counted(count, "alert"), counted(told, "notification"));
                let _ = writeln!(text, "  {receiver}: {alerts}, {told}");
            }
            notifications_text(rehearsed, &mut text);
        }
        text
    }

    fn rule_text(&self, rule: &RuleReport, text: &mut String) {
        let _ = write!(text, "  {}: ", rule.name);
        let evaluated = counted(rule.evaluations, "evaluation");
        match rule.kind {
            RuleKind::Recording => text.push_str(&evaluated),
            RuleKind::Alerting => {
                let counts = rule.counts;
                let waiting = counts.episodes - counts.fired;
                let firing = rule.episodes.iter().filter_map(|episode| self.firing_ms(episode));
                let _ = write!(text, "fired {}", counted(counts.fired, "time"));
                if counts.fired > 0 {
                    let _ = write!(text, " for {} in all", format_duration(firing.sum()));
                }
                if waiting > 0 {
                    let _ = write!(text, ", pending {} without firing", counted(waiting, "time"));
                }
                let _ = write!(text, "; {evaluated}");
            }
        }
        if rule.failures > 0 {
            let _ = write!(text, ", {} of them failed", rule.failures);
        }
        text.push('\n');
        if let Some(failure) = &rule.first_failure {
            let _ = writeln!(
                text,
                "    failed first at {}: {}",
                time(failure.at_ms),
                failure.error
            );
        }
        for episode in &rule.episodes {
            self.episode_text(episode, text);
        }
        if rule.counts.left_out > 0 {
            let _ = writeln!(text, "    and {} more alerts", rule.counts.left_out);
        }
    }

    fn episode_text(&self, episode: &Episode, text: &mut String) {
        let _ = writeln!(text, "    {}", episode.labels);
        let _ = write!(text, "      pending {}", time(episode.pending_at_ms));
        if let Some(at_ms) = episode.fired_at_ms {
            let _ = write!(text, ", fired {}", time(at_ms));
        }
        match episode.ended_at_ms {
            Some(at_ms) => {
                // What never fired cannot be resolved.
                let word = match episode.fired_at_ms {
                    None if episode.end == End::Resolved => "over",
                    _ => episode.end.as_str(),
                };
                let _ = write!(text, ", {word} {}", time(at_ms));
            }
            None => text.push_str(", open at the end"),
        }
        if let Some(ms) = self.firing_ms(episode) {
            let _ = write!(text, " after {}", format_duration(ms));
        }
        let _ = writeln!(text, "; value {}", format_general(episode.value));
        for (name, value) in &episode.annotations {
            let _ = writeln!(text, "      {name}: {value}");
        }
        let receivers = self.receivers(episode);
        if !receivers.is_empty() {
            let _ = writeln!(text, "      to {}", receivers.join(", "));
        }
    }

    /// The document.
    pub(crate) fn json(&self) -> Json {
        let rules: Vec<Json> = self
            .report
            .rules
            .iter()
            .map(|rule| self.rule_json(rule))
            .collect();
        let mut document = json!({
            "from": time(self.report.from_ms),
            "to": time(self.report.to_ms),
            "rules": rules,
        });
        if let Some((_, rehearsed)) = self.routed {
            document["receivers"] = json!(self.by_receiver());
            let told: Vec<Json> = rehearsed.notifications.iter().map(notification_json).collect();
            document["notifications"] = json!(told);
            document["notificationsLeftOut"] = json!(rehearsed.left_out);
            document["notificationsByReceiver"] = json!(rehearsed.by_receiver);
            document["suppressed"] = json!(rehearsed.suppressed);
        }
        document
    }

    fn rule_json(&self, rule: &RuleReport) -> Json {
        let failure = rule.first_failure.as_ref();
        let mut document = json!({
            "file": rule.file,
            "group": rule.group,
            "type": match rule.kind {
                RuleKind::Recording => "recording",
                RuleKind::Alerting => "alerting",
            },
            "name": rule.name,
            "evaluations": rule.evaluations,
            "failures": rule.failures,
            "firstFailure": failure.map(|f| json!({ "at": time(f.at_ms), "error": f.error })),
        });
        if rule.kind == RuleKind::Alerting {
            let alerts: Vec<Json> = rule.episodes.iter().map(|e| self.episode_json(e)).collect();
            document["fired"] = json!(rule.counts.fired);
            document["pendingOnly"] = json!(rule.counts.episodes - rule.counts.fired);
            document["leftOut"] = json!(rule.counts.left_out);
            document["alerts"] = json!(alerts);
        }
        document
    }

    fn episode_json(&self, episode: &Episode) -> Json {
        let mut document = json!({
            "labels": object(&episode.labels),
            "annotations": object(&episode.annotations),
            // As everywhere in the API: JSON has no NaN.
            "value": format_general(episode.value),
            "pendingAt": time(episode.pending_at_ms),
            "firedAt": episode.fired_at_ms.map(time),
            "endedAt": episode.ended_at_ms.map(time),
            "end": episode.end.as_str(),
            "firingSeconds": self.firing_ms(episode).map(|ms| ms as f64 / 1e3),
        });
        if self.routed.is_some() {
            document["receivers"] = json!(self.receivers(episode));
        }
        document
    }
}

fn notifications_text(rehearsed: &RehearsalReport, text: &mut String) {
    text.push_str("notifications\n");
    for told in &rehearsed.notifications {
        let Rehearsed {
            receiver,
            integration,
            ..
        } = told;
        let _ = write!(
            text,
            "  {} {receiver}/{integration} {}: {}",
            time(told.at_ms),
            told.group_labels,
            told.reason.as_str()
        );
        let _ = writeln!(
            text,
            "; {} firing, {} resolved",
            told.firing.len(),
            told.resolved.len()
        );
    }
    if rehearsed.left_out > 0 {
        let _ = writeln!(text, "  and {} more", rehearsed.left_out);
    }
    for (why, times) in &rehearsed.suppressed {
        let _ = writeln!(text, "  kept back by {why}: {}", counted(*times, "alert"));
    }
}

fn notification_json(told: &Rehearsed) -> Json {
    let all = |list: &[Labels]| list.iter().map(object).collect::<Vec<_>>();
    json!({
        "at": time(told.at_ms),
        "receiver": told.receiver,
        "integration": told.integration,
        "groupLabels": object(&told.group_labels),
        "reason": told.reason.as_str(),
        "firing": all(&told.firing),
        "resolved": all(&told.resolved),
    })
}

fn object(labels: &Labels) -> Json {
    let pairs = labels.iter().map(|(name, value)| (name.to_owned(), json!(value)));
    Json::Object(pairs.collect())
}

/// `1 time`, `2 times`.
fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
