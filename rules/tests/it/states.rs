//! Tables of alert states: `testdata/rules/states/*.txt`.
//!
//! The first line gives the rule's timing and how often alerts are sent again. Each other line is an evaluation: its
//! minute, the alerts that the expression gives, and behind the bar all alerts that are known then, those that are sent
//! marked with `!`. Words: `p` pending, `f` firing, `k` kept firing, `r` resolved.

use model::labels::Labels;
use narthex_rules::state::{ActiveAlert, AlertBook, AlertState, Observed, Timing};

const MINUTE_NS: i64 = 60_000_000_000;

#[test]
fn tables() {
    let mut tables = 0;
    for entry in std::fs::read_dir(crate::testdata().join("states")).unwrap() {
        let path = entry.unwrap().path();
        run(
            &path.display().to_string(),
            &std::fs::read_to_string(&path).unwrap(),
        );
        tables += 1;
    }
    assert!(tables >= 5);
}

struct Rule {
    timing: Timing,
    resend_ns: i64,
    limit: usize,
}

fn minutes(text: &str) -> i64 {
    text.parse::<i64>().unwrap() * MINUTE_NS
}

fn rule(line: &str, rule: &mut Rule) {
    for word in line.split_whitespace().skip(1) {
        let (name, value) = word.split_once('=').unwrap();
        match name {
            "for" => rule.timing.hold_ns = minutes(value),
            "keep" => rule.timing.keep_firing_ns = minutes(value),
            "resend" => rule.resend_ns = minutes(value),
            "limit" => rule.limit = value.parse().unwrap(),
            other => panic!("{other}"),
        }
    }
}

fn run(path: &str, text: &str) {
    let mut alerts = AlertBook::default();
    let mut current = Rule {
        timing: Timing::default(),
        resend_ns: MINUTE_NS,
        limit: 0,
    };
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap().trim();
        if line.starts_with("rule") {
            rule(line, &mut current);
            continue;
        }
        let Some((given, want)) = line.split_once('|') else {
            assert!(line.is_empty(), "{path}:{}", number + 1);
            continue;
        };
        let mut words = given.split_whitespace();
        let now_ns = minutes(words.next().unwrap());
        let observed = words.map(observed).collect();
        let got = match alerts.step(now_ns, observed, &current.timing, current.limit) {
            Ok(_) => shown(&alerts, now_ns, current.resend_ns),
            Err(exceeded) => format!("limit {}", exceeded.found),
        };
        assert_eq!(
            got,
            want.split_whitespace().collect::<Vec<_>>().join(" "),
            "{path}:{}",
            number + 1
        );
        send(&mut alerts, now_ns, current.resend_ns);
    }
}

fn observed(name: &str) -> Observed {
    Observed {
        labels: Labels::from_pairs([("name", name)]),
        annotations: Labels::empty(),
        value: 1.0,
    }
}

fn word(alert: &ActiveAlert) -> &'static str {
    match alert.state {
        AlertState::Pending => "p",
        AlertState::Firing if alert.keep_firing_since_ns.is_some() => "k",
        AlertState::Firing => "f",
        _ => "r",
    }
}

fn shown(alerts: &AlertBook, now_ns: i64, resend_ns: i64) -> String {
    let mut words: Vec<String> = alerts
        .iter()
        .map(|(labels, alert)| {
            let sent = if alert.needs_sending(now_ns, resend_ns) {
                "!"
            } else {
                ""
            };
            format!("{}:{}{sent}", labels.value("name"), word(alert))
        })
        .collect();
    words.sort();
    words.join(" ")
}

/// As a group does: what was due has been sent.
fn send(alerts: &mut AlertBook, now_ns: i64, resend_ns: i64) {
    for (_, alert) in alerts.iter_mut() {
        if alert.needs_sending(now_ns, resend_ns) {
            alert.last_sent_at_ns = Some(now_ns);
        }
    }
}

/// Random evaluations: what holds of every alert at every time.
#[test]
fn invariants() {
    let seed: u64 = std::env::var("NARTHEX_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0xa1e7);
    println!("NARTHEX_SEED={seed}");
    let mut state = seed;
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    for _ in 0..200 {
        let timing = Timing {
            hold_ns: below(6) as i64 * MINUTE_NS,
            keep_firing_ns: below(4) as i64 * MINUTE_NS,
        };
        let mut alerts = AlertBook::default();
        let mut now_ns = 0;
        for _ in 0..60 {
            let step_ns = (1 + below(3) as i64) * MINUTE_NS;
            now_ns += step_ns;
            let names: Vec<&str> = ["a", "b", "c"].into_iter().filter(|_| below(3) > 0).collect();
            let observed = names.iter().copied().map(observed).collect();
            let transitions = alerts.step(now_ns, observed, &timing, 0).unwrap();
            assert!(transitions.iter().all(|change| change.from != change.to));
            for name in &names {
                let known = alerts.iter().any(|(labels, alert)| {
                    labels.value("name") == *name && alert.state != AlertState::Inactive
                });
                assert!(known, "{name} is active");
            }
            for (labels, alert) in alerts.iter() {
                let seen = names.contains(&labels.value("name"));
                let age_ns = now_ns - alert.active_at_ns;
                match alert.state {
                    AlertState::Pending => assert!(seen && age_ns < timing.hold_ns),
                    AlertState::Firing => {
                        assert!(alert.fired_at_ns.unwrap() - alert.active_at_ns >= timing.hold_ns);
                        assert!(seen || alert.keep_firing_since_ns.is_some());
                        assert_eq!(seen, alert.keep_firing_since_ns.is_none());
                    }
                    _ => {
                        let resolved_ns = now_ns - alert.resolved_at_ns.unwrap();
                        assert!(!seen && resolved_ns <= narthex_rules::state::RESOLVED_RETENTION_NS);
                    }
                }
            }
            send(&mut alerts, now_ns, MINUTE_NS);
        }
    }
}
