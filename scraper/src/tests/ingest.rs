//! One target, scrape by scrape, without network or time.

use exposition::{Format, HistogramOptions, ParserOptions};
use model::labels::{Labels, NameScheme};
use model::relabel::{RelabelAction, RelabelConfig, RelabelRule};

use super::store::MemoryStore;
use crate::body::{DROPPED_METRICS_MAX, OTHER_METRICS, SampleRules, Scratch, schema_for_factor};
use crate::config::SampleLimitAction;
use crate::error::{FetchError, ScrapeError};
use crate::ingest::{ExtraReport, Refused, Report, Scrape, TargetMemory};
use crate::labels::{LabelLimits, LabelRules};

/// A target with its memory and the store that its samples go to.
struct Bench {
    store: MemoryStore,
    memory: TargetMemory,
    scratch: Scratch,
    target: Labels,
    relabel: Vec<RelabelRule>,
    limits: LabelLimits,
    honor_timestamps: bool,
    track_timestamps: bool,
    sample_limit: u64,
    sample_limit_action: SampleLimitAction,
    bucket_limit: u64,
    schema_max: i32,
    start_timestamps: bool,
    metadata: bool,
    histograms: HistogramOptions,
    extra: Option<ExtraReport>,
    now_ms: i64,
}

impl Default for Bench {
    fn default() -> Self {
        Bench {
            store: MemoryStore::default(),
            memory: TargetMemory::default(),
            scratch: Scratch::default(),
            target: Labels::empty(),
            relabel: Vec::new(),
            limits: LabelLimits::default(),
            honor_timestamps: true,
            track_timestamps: false,
            sample_limit: 0,
            sample_limit_action: SampleLimitAction::Fail,
            bucket_limit: 0,
            schema_max: 8,
            start_timestamps: false,
            metadata: false,
            histograms: HistogramOptions::default(),
            extra: None,
            now_ms: 0,
        }
    }
}

impl Bench {
    fn ingest(&mut self, body: Result<(Format, &[u8]), ScrapeError>) -> Report {
        self.now_ms += 1000;
        let rules = SampleRules {
            labels: LabelRules {
                target: &self.target,
                honor_labels: false,
                relabel: &self.relabel,
                scheme: NameScheme::Utf8,
                limits: self.limits,
            },
            honor_timestamps: self.honor_timestamps,
            track_timestamps_staleness: self.track_timestamps,
            sample_limit: self.sample_limit,
            sample_limit_action: self.sample_limit_action,
            bucket_limit: self.bucket_limit,
            schema_max: self.schema_max,
            parser: ParserOptions {
                start_timestamps: self.start_timestamps,
                histograms: self.histograms,
            },
            append_metadata: self.metadata,
        };
        let scrape = Scrape {
            timestamp_ms: self.now_ms,
            body,
            elapsed_s: &|| 0.5,
            extra: self.extra,
        };
        self.memory.ingest(&self.store, &rules, scrape, &mut self.scratch)
    }

    fn text(&mut self, body: &str) -> Report {
        self.ingest(Ok((Format::Text, body.as_bytes())))
    }

    fn open_metrics(&mut self, body: &str) -> Report {
        self.ingest(Ok((Format::OpenMetrics, body.as_bytes())))
    }

    fn fail(&mut self) -> Report {
        self.ingest(Err(FetchError::BodySize.into()))
    }

    /// What the last scrape stored beside its report.
    #[track_caller]
    fn stored(&self, want: &[&str]) {
        assert_eq!(self.store.last(), want);
    }
}

fn rule(action: RelabelAction, source: &str, regex: &str) -> RelabelRule {
    let config = RelabelConfig {
        source_labels: vec![source.to_owned()],
        regex: Some(regex.to_owned()),
        action,
        ..RelabelConfig::default()
    };
    RelabelRule::new(config, NameScheme::Utf8).unwrap()
}

#[test]
fn known_lines_are_not_resolved_again() {
    let mut bench = Bench {
        target: Labels::from_pairs([("job", "j")]),
        ..Bench::default()
    };
    let report = bench.text("a 1\nb{c=\"d\"} 2\n");
    bench.stored(&[
        r#"{__name__="a", job="j"} 1 @1000"#,
        r#"{__name__="b", c="d", job="j"} 2 @1000"#,
    ]);
    assert_eq!(
        (
            report.counts.scraped,
            report.counts.relabelled,
            report.counts.added
        ),
        (2, 2, 2)
    );
    assert_eq!(bench.store.resolved(), 2 + 5);
    let report = bench.text("a 3\nb{c=\"d\"} 4\n");
    bench.stored(&[
        r#"{__name__="a", job="j"} 3 @2000"#,
        r#"{__name__="b", c="d", job="j"} 4 @2000"#,
    ]);
    assert_eq!((report.counts.scraped, report.counts.added), (2, 0));
    assert_eq!(bench.store.resolved(), 2 + 5);
    assert_eq!(bench.store.report("up").as_deref(), Some("1"));
    assert_eq!(
        bench.store.report("scrape_duration_seconds").as_deref(),
        Some("0.5")
    );
    assert_eq!(bench.store.report("scrape_samples_scraped").as_deref(), Some("2"));
    assert_eq!(bench.store.report("scrape_series_added").as_deref(), Some("0"));
}

#[test]
fn lines_move_come_and_go() {
    let mut bench = Bench::default();
    bench.text("a 1\nb 1\nc 1\nd 1\n");
    bench.text("a 2\nnew 2\nb 2\nc 2\nd 2\n");
    let resolved = bench.store.resolved();
    bench.text("d 3\nb 3\nnew 3\n");
    bench.stored(&[
        r#"{__name__="d"} 3 @3000"#,
        r#"{__name__="b"} 3 @3000"#,
        r#"{__name__="new"} 3 @3000"#,
        r#"{__name__="a"} stale @3000"#,
        r#"{__name__="c"} stale @3000"#,
    ]);
    bench.text("d 4\nb 4\nnew 4\n");
    bench.stored(&[
        r#"{__name__="d"} 4 @4000"#,
        r#"{__name__="b"} 4 @4000"#,
        r#"{__name__="new"} 4 @4000"#,
    ]);
    assert_eq!(bench.store.resolved(), resolved, "moved lines are found again");
    bench.text("a 5\nb 5\n");
    assert_eq!(bench.store.resolved(), resolved + 1, "a came back");
}

/// Every body of a family of random ones leaves exactly the series that it names, and marks exactly those that it
/// takes back.
#[test]
fn random_bodies_leave_what_they_name() {
    for seed in 0..200u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut bench = Bench::default();
        let mut before: Vec<u64> = Vec::new();
        for scrape in 0..12 {
            let mut now: Vec<u64> = before.iter().copied().filter(|_| next(6) > 0).collect();
            for _ in 0..next(4) {
                let series = next(20);
                if !now.contains(&series) {
                    let at = next(now.len() as u64 + 1) as usize;
                    now.insert(at, series);
                }
            }
            if next(4) == 0 && now.len() > 1 {
                let last = now.len() - 1;
                now.swap(0, last);
            }
            let failed = next(6) == 0;
            let body: String = now
                .iter()
                .map(|series| format!("m{{s=\"{series}\"}} {scrape}\n"))
                .collect();
            let malformed = body.clone() + "!\n";
            bench.text(if failed { &malformed } else { &body });
            if failed {
                now.clear();
            }
            let at = bench.now_ms;
            let line =
                |series: &u64, value: &str| format!("{{__name__=\"m\", s=\"{series}\"}} {value} @{at}");
            let mut want: Vec<String> = now
                .iter()
                .map(|series| line(series, &scrape.to_string()))
                .collect();
            want.extend(
                before
                    .iter()
                    .filter(|series| !now.contains(series))
                    .map(|series| line(series, "stale")),
            );
            let mut got = bench.store.last();
            got.sort();
            want.sort();
            assert_eq!(got, want, "seed {seed}, scrape {scrape}");
            before = now;
        }
    }
}

#[test]
fn a_failed_scrape_marks_everything_stale() {
    let mut bench = Bench::default();
    bench.text("a 1\nb 1\n");
    let report = bench.fail();
    assert_eq!(
        report.error.map(|e| e.to_string()).as_deref(),
        Some("body size limit exceeded")
    );
    bench.stored(&[r#"{__name__="a"} stale @2000"#, r#"{__name__="b"} stale @2000"#]);
    assert_eq!(bench.store.report("up").as_deref(), Some("0"));
    bench.fail();
    bench.stored(&[]);
    bench.text("b 3\na 3\n");
    bench.stored(&[r#"{__name__="b"} 3 @4000"#, r#"{__name__="a"} 3 @4000"#]);
    assert_eq!(bench.store.resolved(), 2 + 5, "what was known is known still");
    bench.text("");
    bench.stored(&[r#"{__name__="b"} stale @5000"#, r#"{__name__="a"} stale @5000"#]);
    assert_eq!(bench.store.report("up").as_deref(), Some("1"));
}

#[test]
fn a_malformed_line_fails_the_scrape() {
    let mut bench = Bench::default();
    bench.text("a 1\nb 1\n");
    let report = bench.text("a 2\nnew 2\nb{ 2\n");
    assert_eq!(
        report.error.map(|e| e.to_string()).as_deref(),
        Some(r#"line 3, column 4: expected a label name or a closing brace, got "2" while parsing: "b{ 2""#)
    );
    assert_eq!(report.counts.scraped, 2);
    bench.stored(&[r#"{__name__="a"} stale @2000"#, r#"{__name__="b"} stale @2000"#]);
    assert_eq!(
        bench.store.resolved(),
        2 + 5,
        "nothing is created for a body that fails"
    );
    bench.text("a 3\nnew 3\nb 3\n");
    bench.stored(&[
        r#"{__name__="a"} 3 @3000"#,
        r#"{__name__="new"} 3 @3000"#,
        r#"{__name__="b"} 3 @3000"#,
    ]);
}

#[test]
fn relabelling_drops_and_is_remembered() {
    let mut bench = Bench {
        relabel: vec![rule(RelabelAction::Drop, "__name__", "a.*")],
        ..Bench::default()
    };
    let report = bench.text("a1 1\nb 1\na2 1\n");
    assert_eq!(
        (
            report.counts.scraped,
            report.counts.relabelled,
            report.counts.added
        ),
        (3, 1, 1)
    );
    let report = bench.text("a1 2\nb 2\na2 2\n");
    assert_eq!(
        (
            report.counts.scraped,
            report.counts.relabelled,
            report.counts.added
        ),
        (3, 1, 0)
    );
    bench.stored(&[r#"{__name__="b"} 2 @2000"#]);
}

#[test]
fn timestamps_in_the_body() {
    let body = "a 1 500\nb 1\nfuture 1 999999999\n";
    let mut bench = Bench::default();
    let report = bench.text(body);
    bench.stored(&[r#"{__name__="a"} 1 @500"#, r#"{__name__="b"} 1 @1000"#]);
    assert_eq!((report.counts.out_of_bounds, report.counts.relabelled), (1, 3));
    bench.text("b 2\n");
    bench.stored(&[r#"{__name__="b"} 2 @2000"#]);

    let mut bench = Bench {
        track_timestamps: true,
        ..Bench::default()
    };
    bench.text("a 1 500\n");
    bench.text("b 2\n");
    bench.stored(&[r#"{__name__="b"} 2 @2000"#, r#"{__name__="a"} stale @2000"#]);

    let mut bench = Bench {
        honor_timestamps: false,
        ..Bench::default()
    };
    bench.text("a 1 500\n");
    bench.stored(&[r#"{__name__="a"} 1 @1000"#]);
    bench.text("b 2\n");
    bench.stored(&[r#"{__name__="b"} 2 @2000"#, r#"{__name__="a"} stale @2000"#]);
}

#[test]
fn a_series_twice_in_a_body() {
    let mut bench = Bench::default();
    let report = bench.text("a 1\na 2\n");
    bench.stored(&[r#"{__name__="a"} 1 @1000"#]);
    assert_eq!(
        (
            report.counts.duplicates,
            report.counts.relabelled,
            report.counts.added
        ),
        (1, 2, 1)
    );
    let report = bench.text("a 1 1500\na 2 1600\n");
    bench.stored(&[
        r#"{__name__="a"} 1 @1500"#,
        r#"{__name__="a"} 2 @1600"#,
        // Samples with a time of their own do not keep a series alive.
        r#"{__name__="a"} stale @2000"#,
    ]);
    assert_eq!(report.counts.duplicates, 0);
}

#[test]
fn one_series_under_two_texts_is_not_marked_stale() {
    let mut bench = Bench::default();
    bench.text("m{a=\"1\",b=\"2\"} 1\n");
    bench.text("m{b=\"2\",a=\"1\"} 2\n");
    bench.stored(&[r#"{__name__="m", a="1", b="2"} 2 @2000"#]);
}

#[test]
fn storage_refuses_single_samples() {
    let mut bench = Bench::default();
    bench.text("a 1\n");
    bench.now_ms = -1000;
    let report = bench.text("a 2\nb 2\n");
    assert_eq!(bench.store.batches()[1][0], r#"{__name__="b"} 2 @0"#);
    // The marker for what does not count as seen comes too late as well.
    bench.stored(&[]);
    assert_eq!(report.refused.out_of_order, 1);
    assert!(report.error.is_none());
}

#[test]
fn texts_of_one_series_are_no_error() {
    let drop_i = RelabelConfig {
        regex: Some("i".to_owned()),
        action: RelabelAction::LabelDrop,
        ..RelabelConfig::default()
    };
    let mut bench = Bench {
        relabel: vec![RelabelRule::new(drop_i, NameScheme::Utf8).unwrap()],
        ..Bench::default()
    };
    for _ in 0..3 {
        let report = bench.text("a{i=\"1\"} 1\na{i=\"2\"} 1\na{i=\"3\"} 2\n");
        assert_eq!(report.refused, Refused::default());
        assert_eq!((report.counts.duplicates, report.counts.relabelled), (0, 3));
        let now_ms = bench.now_ms;
        bench.stored(&[&format!(r#"{{__name__="a"}} 1 @{now_ms}"#)]);
    }
    // The one that was taken goes, another one goes on.
    bench.text("a{i=\"2\"} 1\n");
    bench.stored(&[r#"{__name__="a"} 1 @4000"#]);
    bench.text("");
    bench.stored(&[r#"{__name__="a"} stale @5000"#]);
}

#[test]
fn a_refused_sample_does_not_count_as_seen() {
    let mut bench = Bench {
        track_timestamps: true,
        ..Bench::default()
    };
    bench.text("a 1 500\n");
    bench.text("a 1 500\n");
    bench.stored(&[r#"{__name__="a"} 1 @500"#]);
    // Another value for the same time is refused, and the series ends with this scrape.
    let report = bench.text("a 2 500\n");
    assert_eq!(report.refused.duplicates, 1);
    bench.stored(&[r#"{__name__="a"} stale @3000"#]);
    let report = bench.text("a 2 500\n");
    assert_eq!(report.refused.out_of_order, 1);
    bench.stored(&[]);
    bench.text("a 3 4500\nb 1\n");
    bench.stored(&[r#"{__name__="a"} 3 @4500"#, r#"{__name__="b"} 1 @5000"#]);
    // One of two samples is taken: the series is seen.
    bench.text("a 4 4600\na 5 100\nb 1\n");
    bench.stored(&[r#"{__name__="a"} 4 @4600"#, r#"{__name__="b"} 1 @6000"#]);
    bench.text("b 2\n");
    bench.stored(&[r#"{__name__="b"} 2 @7000"#, r#"{__name__="a"} stale @7000"#]);
}

#[test]
fn a_sample_too_far_ahead_does_not_count_as_seen() {
    let mut bench = Bench {
        track_timestamps: true,
        ..Bench::default()
    };
    bench.text("a 1 500\n");
    bench.text("a 1 999999999\n");
    bench.stored(&[r#"{__name__="a"} stale @2000"#]);
    // Nor does one with a time of its own, where those are not followed.
    let mut bench = Bench::default();
    bench.text("a 1\n");
    bench.text("a 1 1500\n");
    bench.stored(&[r#"{__name__="a"} 1 @1500"#, r#"{__name__="a"} stale @2000"#]);
}

#[test]
fn nothing_is_added_by_a_scrape_that_is_taken_back() {
    let mut bench = Bench {
        sample_limit: 1,
        ..Bench::default()
    };
    for _ in 0..2 {
        bench.text("a 1\nb 1\n");
        assert_eq!(bench.store.report("scrape_series_added").as_deref(), Some("0"));
        assert_eq!(
            bench
                .store
                .report("scrape_samples_post_metric_relabeling")
                .as_deref(),
            Some("2")
        );
    }
    bench.text("a 1\n");
    assert_eq!(bench.store.report("scrape_series_added").as_deref(), Some("1"));
    // Nor by series that storage does not create.
    bench.sample_limit = 0;
    bench.store.limit(7);
    bench.text("a 1\nb 1\nc 1\n");
    assert_eq!(bench.store.report("scrape_series_added").as_deref(), Some("1"));
}

#[test]
fn labels_that_cannot_be_stored_fail_the_scrape() {
    let join = RelabelConfig {
        source_labels: vec!["a".to_owned(), "a".to_owned()],
        target_label: "b".to_owned(),
        ..RelabelConfig::default()
    };
    let mut bench = Bench {
        relabel: vec![RelabelRule::new(join, NameScheme::Utf8).unwrap()],
        ..Bench::default()
    };
    bench.text("m{a=\"x\"} 1\n");
    let report = bench.text(&format!("m{{a=\"{}\"}} 1\n", "x".repeat(9_000_000)));
    let message =
        r#"label "b": a value of 18000001 bytes is more than a label can hold, which is 16777215 bytes"#;
    assert_eq!(report.error.map(|e| e.to_string()).as_deref(), Some(message));
    bench.stored(&[r#"{__name__="m", a="x", b="x;x"} stale @2000"#]);
    bench.text("m{a=\"x\"} 1\n");
    bench.stored(&[r#"{__name__="m", a="x", b="x;x"} 1 @3000"#]);
}

/// A message of protobuf: fields of lengths and bytes.
fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, field) in fields {
        bytes.extend([number << 3 | 2, u8::try_from(field.len()).unwrap()]);
        bytes.extend(*field);
    }
    bytes
}

#[test]
fn a_repeated_label_fails_the_scrape() {
    let mut bench = Bench::default();
    let said = |report: Report| report.error.map(|error| error.to_string()).unwrap_or_default();
    bench.text("m 1\nn 1\n");
    let report = bench.text("m 2\n# a comment\nn{a=\"1\",b=\"\",a=\"2\"} 2\n");
    assert_eq!(
        said(report),
        r#"line 3: label name "a" is not unique: invalid sample"#
    );
    bench.stored(&[r#"{__name__="m"} stale @2000"#, r#"{__name__="n"} stale @2000"#]);
    let report = bench.text("m{__name__=\"o\"} 2\n");
    assert_eq!(
        said(report),
        r#"line 1: label name "__name__" is not unique: invalid sample"#
    );
    let report = bench.open_metrics("# TYPE m gauge\nm{a=\"1\",a=\"1\"} 2\n# EOF\n");
    assert_eq!(
        said(report),
        r#"line 2: label name "a" is not unique: invalid sample"#
    );

    let label = |value: &str| message(&[(1, b"a"), (2, value.as_bytes())]);
    let value = [1 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let metric = message(&[(1, &label("1")), (1, &label("2")), (2, &value)]);
    let mut family = message(&[(1, b"m"), (4, &metric)]);
    family.extend([3 << 3, 1]);
    family.insert(0, u8::try_from(family.len()).unwrap());
    let report = bench.ingest(Ok((Format::Protobuf, &family)));
    assert_eq!(said(report), r#"label name "a" is not unique: invalid sample"#);
}

#[test]
fn a_label_without_a_name_fails_the_scrape() {
    let mut bench = Bench::default();
    let mut said = |body: &str| bench.text(body).error.map(|error| error.to_string());
    let message = r#"invalid metric name or label names: {""="x", __name__="m"}"#;
    assert_eq!(said("{\"m\",\"\"=\"x\"} 1\n").as_deref(), Some(message));
    let message = "missing metric name (__name__ label)";
    assert_eq!(said("{\"\",a=\"x\"} 1\n").as_deref(), Some(message));
    assert!(said("m{a=\"x\",} 1\n").is_none());
}

#[test]
fn after_a_restart_only_what_is_gone_is_stale() {
    let mut bench = Bench::default();
    bench.text("a 1\nb 1\nc 1 900\n");
    bench.memory.restart();
    bench.text("b 2\nd 2\n");
    bench.stored(&[
        r#"{__name__="b"} 2 @2000"#,
        r#"{__name__="d"} 2 @2000"#,
        r#"{__name__="a"} stale @2000"#,
    ]);
    bench.memory.restart();
    bench.fail();
    bench.stored(&[r#"{__name__="b"} stale @3000"#, r#"{__name__="d"} stale @3000"#]);
    bench.text("b 3\n");
    bench.stored(&[r#"{__name__="b"} 3 @4000"#]);
}

#[test]
fn exemplars_of_native_histograms() {
    let mut bench = Bench {
        histograms: HistogramOptions {
            convert_classic: true,
            ..HistogramOptions::default()
        },
        ..Bench::default()
    };
    let body = |exemplars: [&str; 2]| {
        format!(
            "# TYPE h histogram\nh_bucket{{le=\"1.0\"}} 1{}\nh_bucket{{le=\"+Inf\"}} 5{}\nh_sum 7.5\nh_count 5\n# EOF\n",
            exemplars[0], exemplars[1]
        )
    };
    let exemplars = |bench: &Bench| -> Vec<String> {
        let last = bench.store.last().into_iter();
        last.filter_map(|line| Some(line.split_once("exemplar ")?.1.to_owned()))
            .collect()
    };
    bench.open_metrics(&body([" # {t=\"untimed\"} 0.5", " # {t=\"timed\"} 3 100"]));
    assert_eq!(exemplars(&bench), [r#"{t="timed"} 3 @100000"#]);
    bench.open_metrics(&body(["", " # {t=\"untimed\"} 3"]));
    assert_eq!(exemplars(&bench), [""; 0]);
    // In order of time, whatever the order of the buckets.
    bench.open_metrics(&body([" # {t=\"c\"} 0.5 300", " # {t=\"b\"} 3 200"]));
    assert_eq!(
        exemplars(&bench),
        [r#"{t="b"} 3 @200000"#, r#"{t="c"} 0.5 @300000"#]
    );
    // One that is newer makes the old one beside it ordinary.
    let report = bench.open_metrics(&body([" # {t=\"d\"} 0.5 400", " # {t=\"a\"} 3 250"]));
    assert_eq!(exemplars(&bench), [r#"{t="d"} 0.5 @400000"#]);
    assert_eq!(report.refused.exemplars_out_of_order, 0);
    let report = bench.open_metrics(&body([" # {t=\"d\"} 0.5 50", " # {t=\"a\"} 3 60"]));
    assert_eq!(report.refused.exemplars_out_of_order, 2);
}

#[test]
fn limits_fail_the_whole_scrape() {
    let mut bench = Bench {
        sample_limit: 2,
        ..Bench::default()
    };
    bench.text("a 1\nb 1\n");
    let report = bench.text("a 2\nb 2\nc 2\nd 2\n");
    assert_eq!(
        report.error.map(|e| e.to_string()).as_deref(),
        Some("sample limit exceeded")
    );
    assert_eq!(
        (
            report.counts.scraped,
            report.counts.relabelled,
            report.counts.added
        ),
        (4, 4, 0)
    );
    bench.stored(&[r#"{__name__="a"} stale @2000"#, r#"{__name__="b"} stale @2000"#]);
    assert_eq!(bench.store.resolved(), 2 + 5);

    let mut bench = Bench {
        limits: LabelLimits {
            labels_max: 1,
            ..LabelLimits::default()
        },
        ..Bench::default()
    };
    let report = bench.text("a 1\nb{c=\"d\"} 1\n");
    let message = "label_limit exceeded (metric: b, number of labels: 2, limit: 1)";
    assert_eq!(report.error.map(|e| e.to_string()).as_deref(), Some(message));
    assert_eq!(bench.store.report("up").as_deref(), Some("0"));
}

/// A target under a soft limit, two series of which are known.
fn soft_bench(sample_limit: u64) -> Bench {
    let mut bench = Bench {
        sample_limit,
        sample_limit_action: SampleLimitAction::DropNew,
        ..Bench::default()
    };
    let report = bench.text("a 1\nb{x=\"1\"} 1\n");
    assert_eq!((report.dropped, report.counts.added), (vec![], 2));
    bench
}

#[test]
fn a_soft_limit_drops_new_series_only() {
    let mut bench = soft_bench(3);
    // One of three new ones has room, wherever they stand; of the others each metric is counted.
    let body = "new{x=\"1\"} 1\nnew{x=\"2\"} 1\nnew{x=\"2\"} 1 7\na 2\nb{x=\"1\"} 2\nb{x=\"2\"} 2\n";
    let report = bench.text(body);
    assert!(report.error.is_none());
    assert_eq!(report.dropped, [("new".to_owned(), 1), ("b".to_owned(), 1)]);
    assert_eq!(
        (
            report.counts.scraped,
            report.counts.relabelled,
            report.counts.added
        ),
        (6, 6, 1)
    );
    bench.stored(&[
        r#"{__name__="new", x="1"} 1 @2000"#,
        r#"{__name__="a"} 2 @2000"#,
        r#"{__name__="b", x="1"} 2 @2000"#,
    ]);
    // Again, and told again.
    let report = bench.text(body);
    assert_eq!(report.dropped, [("new".to_owned(), 1), ("b".to_owned(), 1)]);
    assert_eq!(report.counts.added, 0);
    // What has gone leaves its place to what comes in the scrape after.
    let body = "new{x=\"1\"} 1\nnew{x=\"2\"} 1\na 2\n";
    assert_eq!(bench.text(body).dropped, [("new".to_owned(), 1)]);
    let report = bench.text(body);
    assert_eq!((report.dropped, report.counts.added), (vec![], 1));
    bench.stored(&[
        r#"{__name__="new", x="1"} 1 @5000"#,
        r#"{__name__="new", x="2"} 1 @5000"#,
        r#"{__name__="a"} 2 @5000"#,
    ]);
}

#[test]
fn known_series_go_on_under_a_soft_limit_that_is_lowered() {
    let mut bench = soft_bench(10);
    bench.sample_limit = 1;
    let report = bench.text("a 2\nb{x=\"1\"} 2\nc 1\n");
    assert_eq!(report.dropped, [("c".to_owned(), 1)]);
    bench.stored(&[r#"{__name__="a"} 2 @2000"#, r#"{__name__="b", x="1"} 2 @2000"#]);
    // Relabelling comes first: what it drops takes no place and is not told.
    bench.relabel = vec![rule(RelabelAction::Drop, "__name__", "c")];
    assert_eq!(bench.text("a 2\nb{x=\"1\"} 2\nc 1\n").dropped, []);
}

#[test]
fn dropped_metrics_are_named_up_to_a_bound() {
    let mut bench = soft_bench(2);
    let mut body = "a 1\nb{x=\"1\"} 1\n".to_owned();
    for metric in 0..DROPPED_METRICS_MAX + 5 {
        body += &format!("m{metric} 1\n");
    }
    let report = bench.text(&body);
    assert_eq!(report.dropped.len(), DROPPED_METRICS_MAX + 1);
    assert_eq!(report.dropped.last(), Some(&(OTHER_METRICS.to_owned(), 5)));
}

#[test]
fn forgotten_series_are_resolved_again() {
    let mut bench = Bench::default();
    bench.text("a 1\nb 1\n");
    bench.store.forget_all();
    let report = bench.text("a 2\nb 2\n");
    bench.stored(&[r#"{__name__="a"} 2 @2000"#, r#"{__name__="b"} 2 @2000"#]);
    assert!(report.storage_error.is_none());
    assert_eq!(report.counts.added, 0);
    assert_eq!(bench.store.report("up").as_deref(), Some("1"));
    bench.store.forget_all();
    bench.fail();
    bench.stored(&[]);
    assert_eq!(bench.store.report("up").as_deref(), Some("0"));
}

#[test]
fn series_that_storage_does_not_create_are_left_out() {
    let mut bench = Bench::default();
    bench.text("a 1\n");
    bench.store.limit(6);
    let report = bench.text("a 2\nb 2\nc 2 # {} 1\n".replace(" # {} 1", "").as_str());
    bench.stored(&[r#"{__name__="a"} 2 @2000"#]);
    assert_eq!(report.series_refused, 2);
    bench.store.limit(100);
    bench.text("a 3\nb 3\nc 3\n");
    bench.stored(&[
        r#"{__name__="a"} 3 @3000"#,
        r#"{__name__="b"} 3 @3000"#,
        r#"{__name__="c"} 3 @3000"#,
    ]);
}

#[test]
fn exemplars_are_sent_when_they_are_new() {
    let mut bench = Bench::default();
    let body = "a_total 1 # {id=\"x\"} 0.5 0.25\nb_total 1 # {id=\"y\"} 1\n# EOF\n";
    bench.open_metrics(body);
    let exemplars = |bench: &Bench| -> Vec<String> {
        bench
            .store
            .last()
            .into_iter()
            .filter(|line| line.contains("exemplar"))
            .collect()
    };
    assert_eq!(
        exemplars(&bench),
        [
            r#"{__name__="a_total"} exemplar {id="x"} 0.5 @250"#,
            r#"{__name__="b_total"} exemplar {id="y"} 1 @1000"#
        ]
    );
    bench.open_metrics(body);
    assert_eq!(exemplars(&bench), [""; 0]);
    bench.open_metrics(&body.replace("id=\"y\"", "id=\"z\""));
    assert_eq!(
        exemplars(&bench),
        [r#"{__name__="b_total"} exemplar {id="z"} 1 @3000"#]
    );
}

#[test]
fn start_timestamps_and_metadata_where_asked_for() {
    let body = "# TYPE a counter\n# HELP a Text.\na_total 1\na_created 0.5\n# EOF\n";
    let mut bench = Bench {
        start_timestamps: true,
        metadata: true,
        ..Bench::default()
    };
    bench.open_metrics(body);
    bench.stored(&[
        r#"{__name__="a_total"} 1 @1000 since 500"#,
        r#"{__name__="a_total"} metadata counter "Text.""#,
    ]);
    assert_eq!(
        bench.memory.metadata.get("a").map(|m| m.help).as_deref(),
        Some("Text.")
    );
    assert_eq!(bench.memory.metadata.list().len(), 1);
    bench.open_metrics(body);
    bench.stored(&[r#"{__name__="a_total"} 1 @2000 since 500"#]);
    let mut bench = Bench::default();
    bench.open_metrics(body);
    bench.stored(&[
        r#"{__name__="a_total"} 1 @1000"#,
        r#"{__name__="a_created"} 0.5 @1000"#,
    ]);
}

#[test]
fn metadata_is_forgotten_after_ten_scrapes() {
    let mut bench = Bench::default();
    bench.text("# HELP a A.\na 1\n");
    for _ in 0..10 {
        bench.text("b 1\n");
    }
    assert!(bench.memory.metadata.get("a").is_some());
    bench.text("b 1\n");
    assert_eq!(bench.memory.metadata.get("a"), None);
}

/// A `MetricFamily` called `h` with one native histogram: schema 3, four observations in four buckets.
const NATIVE: &[u8] =
    b"\x20\x0a\x01h\x18\x04\x22\x19\x3a\x17\x08\x04\x11\0\0\0\0\0\0\xf0\x3f\x28\x06\x62\x02\x10\x04\
    \x6a\x04\x02\x00\x00\x00";

#[test]
fn native_histograms_and_their_staleness() {
    let mut bench = Bench::default();
    let report = bench.ingest(Ok((Format::Protobuf, NATIVE)));
    assert!(report.error.is_none(), "{:?}", report.error);
    bench.stored(&[r#"{__name__="h"} histogram schema 3 count 4 sum 1 @1000"#]);
    bench.ingest(Ok((Format::Protobuf, b"")));
    bench.stored(&[r#"{__name__="h"} stale histogram @2000"#]);

    let mut bench = Bench {
        schema_max: schema_for_factor(1.9),
        ..Bench::default()
    };
    bench.ingest(Ok((Format::Protobuf, NATIVE)));
    bench.stored(&[r#"{__name__="h"} histogram schema 0 count 4 sum 1 @1000"#]);

    let mut bench = Bench {
        bucket_limit: 3,
        ..Bench::default()
    };
    bench.ingest(Ok((Format::Protobuf, NATIVE)));
    bench.stored(&[r#"{__name__="h"} histogram schema 2 count 4 sum 1 @1000"#]);
}

#[test]
fn growth_factors() {
    for (factor, schema) in [
        (0.0, 8),
        (1.0, 8),
        (1.002, 8),
        (1.1, 2),
        (1.9, 0),
        (2.0, 0),
        (4.0, -1),
        (1e9, -4),
    ] {
        assert_eq!(schema_for_factor(factor), schema, "{factor}");
    }
}

#[test]
fn more_about_a_scrape_where_asked_for() {
    let extra = ExtraReport {
        timeout_s: 10.0,
        sample_limit: 7,
        body_bytes: 4,
    };
    let mut bench = Bench {
        extra: Some(extra),
        ..Bench::default()
    };
    bench.text("a 1\n");
    assert_eq!(
        bench.store.report("scrape_timeout_seconds").as_deref(),
        Some("10")
    );
    assert_eq!(bench.store.report("scrape_sample_limit").as_deref(), Some("7"));
    assert_eq!(bench.store.report("scrape_body_size_bytes").as_deref(), Some("4"));
}

#[test]
fn the_end_of_a_target() {
    let mut bench = Bench {
        target: Labels::from_pairs([("job", "j")]),
        ..Bench::default()
    };
    bench.text("a 1\n");
    bench
        .memory
        .end(&bench.store, &bench.target, 9000, false, &mut bench.scratch)
        .unwrap();
    bench.stored(&[r#"{__name__="a", job="j"} stale @9000"#]);
    assert_eq!(bench.store.report("up").as_deref(), Some("stale"));
}
