//! Totals go on after a restart, whatever the disk did meanwhile.

use files::{Fault, MemFiles};

use super::store::{Bench, read};

const TOTALS: &str = "
rules:
- {match: c, interval: 1m, staleness_interval: 1h, ignore_first_sample_interval: 0s, without: [pod], outputs: [total, increase]}
- {match: e, interval: 1m, staleness_interval: 1h, without: [pod], outputs: [sum_samples_total, histogram_bucket]}
";

/// Three intervals of a life; the last total that was stored, if any.
fn live(files: MemFiles, begin_ms: i64, first: f64) -> (Vec<String>, MemFiles) {
    let bench = Bench::over(files, begin_ms);
    // A disk that cannot be read is told of at the start, and then there is no life.
    let Ok(prepared) = bench.thinner.prepare(read(TOTALS)) else {
        return (Vec::new(), bench.files);
    };
    bench.thinner.apply(prepared);
    for round in 0..3 {
        bench.push(
            "c{pod=\"1\"}",
            begin_ms + round * 60_000 + 1,
            first + round as f64,
        );
        bench.push("e{pod=\"1\"}", begin_ms + round * 60_000 + 1, 1.0);
        bench.until(begin_ms + (round + 1) * 60_000);
    }
    (bench.stored(), bench.files)
}

#[test]
fn totals_go_on() {
    let (first, files) = live(MemFiles::new(), 0, 10.0);
    assert!(
        first.contains(&"180s c:1m_without_pod_total 12".to_owned()),
        "{first:?}"
    );
    // 13 and 14 came while nobody looked.
    let (second, _) = live(files.after_kill(), 600_000, 15.0);
    for line in [
        "660s c:1m_without_pod_total 15",
        "660s c:1m_without_pod_increase 3",
        "780s c:1m_without_pod_total 17",
        "780s e:1m_without_pod_sum_samples_total 6",
        "780s e:1m_without_pod_histogram_bucket{vmrange=\"8.799e-01...1.000e+00\"} 6",
    ] {
        assert!(second.contains(&line.to_owned()), "{line}: {second:?}");
    }
}

#[test]
fn groups_that_ended_meanwhile_begin_anew() {
    let (_, files) = live(MemFiles::new(), 0, 10.0);
    let (second, _) = live(files.after_kill(), 2 * 3_600_000, 5.0);
    assert!(
        second.contains(&"7260s c:1m_without_pod_total 5".to_owned()),
        "{second:?}"
    );
}

#[test]
fn who_was_elected_is_known() {
    let replicas = "replicas: {replica_label: r}";
    let bench = Bench::new(replicas, 0);
    bench.push("m{cluster=\"c\", r=\"a\"}", 1, 1.0);
    bench.until(2_000);
    let next = Bench::over(bench.files.after_kill(), 10_000);
    next.configure(replicas);
    next.push("m{cluster=\"c\", r=\"b\"}", 10_001, 2.0);
    next.push("m{cluster=\"c\", r=\"a\"}", 10_002, 3.0);
    assert_eq!(next.stored(), ["10.002s m{cluster=\"c\"} 3"]);
}

/// Whatever call fails, and whether the process is killed there or power is lost: what is stored is right while the disk
/// fails, and the next life's total is one that was kept, or begins anew.
#[test]
fn a_failing_disk_costs_no_more_than_what_was_not_kept() {
    let (healthy, _) = live(MemFiles::new(), 0, 10.0);
    for call in 1..80 {
        for fault in [
            Fault::Call(call),
            Fault::ShortWrite(call),
            Fault::FreezeAtCall(call),
            Fault::TornAtCall(call),
        ] {
            let files = MemFiles::new();
            files.inject(fault);
            let (stored, files) = live(files, 0, 10.0);
            assert!(stored.is_empty() || stored == healthy, "{fault:?}: {stored:?}");
            for files in [files.after_kill(), files.after_power_loss()] {
                let (second, _) = live(files, 600_000, 15.0);
                let total = second
                    .iter()
                    .find_map(|line| line.strip_prefix("660s c:1m_without_pod_total "));
                // All is measured from the last sample that was kept, and so nothing is lost; or nothing was kept.
                assert!(matches!(total, Some("15")), "{fault:?}: {second:?}");
            }
        }
    }
}

#[test]
fn a_damaged_journal_is_put_aside() {
    let (_, files) = live(MemFiles::new(), 0, 10.0);
    let path = super::store::journal();
    let bytes = files::Files::read(&files, &path).expect("there");
    for cut in (0..bytes.len()).step_by(7) {
        let damaged = MemFiles::new();
        files::Files::create_dir_all(&damaged, path.parent().expect("a folder")).expect("made");
        let mut copy = bytes.clone();
        copy[cut] ^= 0xa5;
        let writer = files::Files::create(&damaged, &path).expect("made");
        writer.write_all(&copy).expect("written");
        let bench = Bench::over(damaged, 600_000);
        bench.configure(TOTALS);
        bench.push("c{pod=\"1\"}", 600_001, 20.0);
        bench.until(660_000);
        let stored = bench.stored();
        let total = stored
            .iter()
            .find_map(|line| line.strip_prefix("660s c:1m_without_pod_total "));
        assert_eq!(total, Some("20"), "{cut}: {stored:?}");
    }
}
