//! Bounds, time to live, restarts.

use files::{Fault as DiskFault, MemFiles};
use model::clock::ManualClock;

use super::*;

const BEGIN_MS: i64 = 1_800_000_000_000;
const HOUR_MS: i64 = 3_600_000;

/// A gateway with a clock and a disk of its own.
struct Bench {
    gateway: Gateway,
    clock: Arc<ManualClock>,
    files: MemFiles,
}

fn path() -> &'static Path {
    Path::new("push/groups")
}

impl Bench {
    fn new(options: Options) -> Self {
        let (clock, files) = (Arc::new(ManualClock::new(BEGIN_MS)), MemFiles::new());
        let (gateway, recovered) =
            Gateway::open(options, clock.clone(), Arc::new(files.clone()), path()).expect("opens");
        assert_eq!(recovered.groups, 0);
        Bench {
            gateway,
            clock,
            files,
        }
    }

    /// As after a kill: what the disk has is all there is.
    fn restarted(self) -> Self {
        let options = self.gateway.options().clone();
        let files = self.files.after_power_loss();
        let opened = Gateway::open(options, self.clock.clone(), Arc::new(files.clone()), path());
        let (gateway, recovered) = opened.expect("opens");
        assert_eq!((recovered.unreadable, recovered.opened.damage), (0, None));
        Bench {
            gateway,
            files,
            ..self
        }
    }

    fn push(&self, group: &str, body: &str) -> Result<(), PushError> {
        self.push_for(group, body, None)
    }

    fn push_for(&self, group: &str, body: &str, ttl_ms: Option<i64>) -> Result<(), PushError> {
        let push = Push {
            body: body.as_bytes(),
            ttl_ms,
            ..Push::default()
        };
        self.gateway.push(&key(group), &push)
    }

    fn pass(&self, ms: i64) {
        self.clock.set(self.clock.now_ms() + ms);
    }

    /// Labels of all groups.
    fn groups(&self) -> Vec<String> {
        let groups = self.gateway.groups().into_iter();
        groups
            .map(|(key, _)| {
                let labels = key.labels().map(|(name, value)| {
                    let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
                    format!("{name}={value}")
                });
                labels.collect::<Vec<_>>().join(",")
            })
            .collect()
    }

    /// Metrics that were pushed, with values.
    fn metrics(&self) -> Vec<String> {
        let mut found = Vec::new();
        for family in self.gateway.families().expect("fits") {
            for metric in family.metrics() {
                let Value::Number(value) = metric.value(family.kind) else {
                    continue;
                };
                if !family.name.starts_with("push_") {
                    found.push(format!("{} {value}", family.name));
                }
            }
        }
        found
    }
}

fn key(group: &str) -> GroupKey {
    GroupKey::from_path(format!("job/{group}").as_bytes(), NameScheme::Utf8).expect("a key")
}

#[test]
fn what_was_answered_is_there_after_a_kill() {
    let bench = Bench::new(Options::default());
    bench.push("a", "one 1\n").expect("kept");
    bench.push("a", "two 2\n").expect("kept");
    bench.push("b", "one 3\n").expect("kept");
    bench.push("c", "one 4\n").expect("kept");
    bench.gateway.delete(&key("b")).expect("deleted");
    bench
        .push("d", "# TYPE one gauge\none 1\n")
        .expect_err("of another type");
    let before = format!("{:?}", bench.gateway.groups());
    let bench = bench.restarted();
    assert_eq!(bench.metrics(), ["one 1", "one 4", "two 2"]);
    assert_eq!(bench.groups(), ["job=a", "job=c", "job=d"]);
    let numbers = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    assert_eq!(
        numbers(&before),
        numbers(&format!("{:?}", bench.gateway.groups()))
    );
    bench.gateway.wipe().expect("wiped");
    bench.push("e", "one 5\n").expect("kept");
    assert_eq!(bench.restarted().groups(), ["job=e"]);
}

#[test]
fn a_long_life_makes_no_long_file() {
    let bench = Bench::new(Options::default());
    let body: String = (0..500).map(|n| format!("metric_{n} 1\n")).collect();
    for round in 0..200 {
        let group = format!("job_{}", round % 3);
        bench.push(&group, &body).expect("kept");
    }
    let length = bench.gateway.statistics().journal_bytes;
    assert!(length < 4 << 20, "{length}");
    assert_eq!(bench.restarted().metrics().len(), 1500);
}

#[test]
fn nothing_is_answered_that_the_disk_refuses() {
    let bench = Bench::new(Options::default());
    bench.push("a", "one 1\n").expect("kept");
    bench.files.inject(DiskFault::CallsFrom(bench.files.calls() + 1));
    let error = bench.push("a", "one 2\n").expect_err("no disk");
    assert!(matches!(error, PushError::Journal(_)), "{error}");
    bench.files.heal();
    bench.clock.set(bench.clock.now_ms() + 60_000);
    bench.push("b", "one 3\n").expect("kept");
    // What was in memory when the disk came back is on it.
    assert_eq!(bench.restarted().metrics(), ["one 2", "one 3"]);
}

#[test]
fn groups_end_when_their_time_is_over() {
    let options = Options {
        ttl_ms: Some(HOUR_MS),
        ..Options::default()
    };
    let bench = Bench::new(options);
    bench.push("default", "a 1\n").expect("kept");
    bench.push_for("short", "a 2\n", Some(HOUR_MS / 2)).expect("kept");
    bench.push_for("for-ever", "a 3\n", Some(0)).expect("kept");
    bench.pass(HOUR_MS / 2);
    assert_eq!(bench.groups(), ["job=default", "job=for-ever"]);
    // Each push begins it anew, and one that fails does not.
    bench.push("default", "a 1\n").expect("kept");
    bench.pass(HOUR_MS / 2);
    bench.push("default", "a 1 5\n").expect_err("has a timestamp");
    bench.pass(HOUR_MS / 2 - 1);
    assert_eq!(bench.groups(), ["job=default", "job=for-ever"]);
    let bench = bench.restarted();
    assert_eq!(bench.groups(), ["job=default", "job=for-ever"]);
    bench.pass(1);
    assert_eq!(bench.groups(), ["job=for-ever"]);
    assert_eq!(bench.gateway.statistics().expired, 1);
    // What ends while nobody runs has ended.
    bench.push_for("short", "a 2\n", Some(1000)).expect("kept");
    bench.pass(2000);
    assert_eq!(bench.restarted().groups(), ["job=for-ever"]);
}

#[test]
fn a_clock_that_is_set_ends_no_group() {
    let bench = Bench::new(Options::default());
    bench.push_for("a", "a 1\n", Some(HOUR_MS)).expect("kept");
    bench.clock.jump(10 * HOUR_MS);
    assert_eq!(bench.groups(), ["job=a"]);
    bench.clock.jump(-20 * HOUR_MS);
    bench.pass(HOUR_MS);
    assert!(bench.groups().is_empty());
}

#[test]
fn groups_bytes_families_and_bodies_are_bounded() {
    let options = Options {
        groups_max: 2,
        bytes_max: 20_000,
        body_bytes_max: 4096,
        ..Options::default()
    };
    let bench = Bench::new(options);
    bench.push("a", "a 1\n").expect("kept");
    bench.push("b", "a 2\n").expect("kept");
    let error = bench.push("c", "a 3\n").expect_err("one too many");
    assert!(matches!(error, PushError::Full(Full::Groups(2))), "{error}");
    bench.push("b", "a 4\n").expect("is there already");
    let large: String = (0..200).map(|n| format!("m{n} 1\n")).collect();
    let error = bench.push("b", &large).expect_err("too large");
    assert!(
        matches!(error, PushError::Full(Full::Bytes { max: 20_000, .. })),
        "{error}"
    );
    assert_eq!(bench.metrics(), ["a 1", "a 4"], "nothing has changed");
    bench.gateway.delete(&key("a")).expect("deleted");
    bench.push("c", "a 3\n").expect("there is room again");
    // A body that says little and inflates to much.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &[b'\n'; 100_000]).expect("memory");
    let packed = encoder.finish().expect("memory");
    let push = Push {
        body: &packed,
        content_encoding: "gzip",
        ..Push::default()
    };
    let error = bench.gateway.push(&key("c"), &push).expect_err("too long");
    assert!(
        matches!(error, PushError::Body(BodyError::TooLong { max: 4096 })),
        "{error}"
    );
    let error = family::from_text(&b"a 1\n".repeat(METRICS_MAX + 1), NameScheme::Utf8).expect_err("too many");
    assert_eq!(error, BodyError::TooManyMetrics);
    let error = family::from_protobuf(&[2, 0x22, 0].repeat(METRICS_MAX + 1)).expect_err("no names");
    assert_eq!(error, BodyError::NoName);
    let many: String = (0..=FAMILIES_MAX).map(|n| format!("m{n} 1\n")).collect();
    let error = family::from_text(many.as_bytes(), NameScheme::Utf8).expect_err("too many");
    assert_eq!(error, BodyError::TooManyFamilies);
}

#[test]
fn an_index_says_what_a_look_at_everything_says() {
    let bench = Bench::new(Options::default());
    // Pushes of few names into few groups, so that they meet: whatever is taken must fit with all the rest.
    let mut seed: u64 = 7;
    let mut next = |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..2000 {
        let group = ["a", "b", "a/x/1", "b/x/1", "a/x/2"][next(5) as usize];
        let kinds = ["gauge", "counter", "histogram", "summary", "untyped"];
        let name = ["m", "m_count", "m_bucket", "n"][next(4) as usize];
        let kind = kinds[next(5) as usize];
        let label = ["", "{x=\"1\"}", "{y=\"1\"}"][next(3) as usize];
        let body = format!("# TYPE {name} {kind}\n{name}{label} 1\n{name}{{z=\"1\"}} 1\n");
        let push = Push {
            body: body.as_bytes(),
            replace: next(2) == 0,
            ..Push::default()
        };
        match bench.gateway.push(&key(group), &push) {
            Ok(()) => taken += 1,
            Err(PushError::Invalid(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        let state = bench.gateway.state.read();
        state.all_faults(&BTreeMap::new()).expect("everything fits");
        drop(state);
        if next(40) == 0 {
            bench.gateway.delete(&key(group)).expect("deleted");
        }
    }
    assert!(taken > 200 && refused > 200, "{taken} {refused}");
    let state = bench.gateway.state.read();
    let bytes: usize = state
        .groups
        .values()
        .flat_map(|group| group.families.values())
        .map(|each| each.bytes)
        .sum();
    assert_eq!(bytes, state.bytes);
}

#[test]
fn damaged_bodies_and_records_never_panic() {
    let bench = Bench::new(Options::default());
    bench
        .push(
            "a/b/c",
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 2\nh_count 1\n",
        )
        .expect("kept");
    let mut body = Vec::new();
    for stored in bench.gateway.groups()[0].1.families.values() {
        model::protobuf::put_delimited(&mut body, &stored.family.encode());
    }
    assert_eq!(family::from_protobuf(&body).expect("ours").len(), 3);
    let whole = bench.files.read(path()).expect("a journal");
    for end in 0..body.len() {
        let _ = family::from_protobuf(&body[..end]);
        let mut flipped = body.clone();
        flipped[end] ^= 0x55;
        let _ = family::from_protobuf(&flipped);
    }
    for at in 0..whole.len() {
        let files = MemFiles::new();
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        files
            .create_dir_all(path().parent().expect("a folder"))
            .expect("a folder");
        files::replace_file(&files, path(), &flipped).expect("a file");
        let opened = Gateway::open(Options::default(), bench.clock.clone(), Arc::new(files), path());
        assert!(opened.is_ok(), "{at}");
    }
}
