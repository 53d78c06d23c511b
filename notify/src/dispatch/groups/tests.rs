//! Groups by the second, without a runtime.

use super::*;
use crate::alert::PostedAlert;
use crate::config::Config;
use crate::matcher::Syntax;
use crate::route::Tree;

const CONFIG: &str = "\
route: {receiver: a, group_by: [g], group_wait: 10s, group_interval: 60s}
receivers: [{name: a}]
";

struct Bench {
    groups: Groups,
    tree: Tree,
    begin: Instant,
}

impl Bench {
    fn new(max: usize) -> Self {
        let config = Config::parse("alertmanager.yml", CONFIG, Syntax::Fallback).expect("good");
        Bench {
            groups: Groups::new(max),
            tree: Tree::new(&config.route),
            begin: Instant::now(),
        }
    }

    fn at(&self, second: u64) -> Instant {
        self.begin + Duration::from_secs(second)
    }

    /// Puts an alert of group `g` in, which began so many seconds before.
    fn put(&mut self, g: &str, n: &str, second: u64, age: i64) -> (Arc<StoredAlert>, bool) {
        let time = Timestamp::from_second(second as i64).expect("a time");
        let posted = PostedAlert {
            labels: Labels::from_pairs([("g", g), ("n", n)]),
            starts_at: Some(time - jiff::SignedDuration::from_secs(age)),
            ..PostedAlert::default()
        };
        let alert = Arc::new(posted.stored(time, Duration::from_secs(300)));
        let route = &self.tree.routes()[0];
        let labels = route.options.group_labels(&alert.labels);
        let now = self.at(second);
        let is_in = self.groups.insert(0, route, labels, &alert, now, time).is_ok();
        (alert, is_in)
    }

    fn begin(&mut self, second: u64) -> Option<(u64, Look)> {
        self.groups.begin(self.at(second), |_| Duration::from_secs(60))
    }
}

fn told(done_with: Vec<Arc<StoredAlert>>) -> Seen {
    Seen {
        is_told: true,
        done_with,
        ..Seen::default()
    }
}

#[test]
fn a_group_waits_for_company_and_then_keeps_its_beat() {
    let mut bench = Bench::new(0);
    bench.put("1", "a", 0, 0);
    bench.put("1", "b", 5, 0);
    assert!(bench.begin(9).is_none());
    let (number, look) = bench.begin(10).expect("due");
    assert_eq!(look.alerts.len(), 2);
    assert_eq!(&*look.key, "{}:{g=\"1\"}");
    // While it is looked at nobody else looks; a look that took too long is followed by the next at once.
    assert!(bench.begin(200).is_none());
    bench.groups.finish(number, told(Vec::new()), None);
    assert_eq!(bench.groups.next_due(), Some(bench.at(70)));
    assert!(bench.begin(69).is_none() && bench.begin(200).is_some());
}

#[test]
fn old_alerts_do_not_wait_in_a_new_group_and_do_in_another() {
    let mut bench = Bench::new(0);
    bench.put("1", "a", 0, 11);
    bench.put("2", "a", 0, 0);
    bench.put("2", "b", 0, 100);
    assert_eq!(&*bench.begin(0).expect("due").1.key, "{}:{g=\"1\"}");
    assert!(bench.begin(0).is_none());
    bench.put("3", "a", 0, 10);
    assert!(
        bench.begin(0).is_none(),
        "exactly as old as the wait is not older"
    );
}

#[test]
fn a_group_ends_when_nothing_is_left_and_all_were_told() {
    let mut bench = Bench::new(0);
    let (alert, _) = bench.put("1", "a", 0, 0);
    let (number, _) = bench.begin(10).expect("due");
    bench.groups.finish(number, Seen::default(), None);
    assert_eq!(bench.groups.len(), 1, "nobody was told");
    let (number, _) = bench.begin(70).expect("due");
    // It fires again meanwhile.
    let (again, _) = bench.put("1", "a", 71, 0);
    bench.groups.finish(number, told(vec![alert]), None);
    assert_eq!(bench.groups.len(), 1);
    let (number, _) = bench.begin(130).expect("due");
    bench.groups.finish(number, told(vec![again]), None);
    assert_eq!((bench.groups.len(), bench.groups.next_due()), (0, None));
    // What comes later waits anew.
    bench.put("1", "a", 131, 0);
    assert_eq!(bench.groups.next_due(), Some(bench.at(141)));
}

#[test]
fn groups_are_limited_and_alerts_of_those_that_are_there_go_on() {
    let mut bench = Bench::new(1);
    assert!(bench.put("1", "a", 0, 0).1);
    assert!(!bench.put("2", "a", 0, 0).1);
    assert!(bench.put("1", "b", 0, 0).1);
}
