//! Random data, and random queries that speak of it.

use model::sample::STALE_NAN_BITS;

use super::reference::{LabelMap, StoredSeries};
use super::{Case, FIRST_MS};

/// Numbers that look random and follow from a seed (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether one of `times` equal chances comes up.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Distance of samples, give or take.
const SCRAPE_MS: i64 = 15_000;
/// Samples of a series that has them all.
const SAMPLES: i64 = 30;

/// Counters `a` and gauges `b` and `c` with labels `x` and `y`, and the buckets of a histogram.
pub(super) fn data(random: &mut Random) -> Vec<StoredSeries> {
    let mut all = Vec::new();
    for name in ["a", "b", "c"] {
        for x in ["1", "2", "3"] {
            for y in ["", "p", "q"] {
                if random.once_in(3) {
                    continue;
                }
                all.push(series(random, name, &[("x", x), ("y", y)]));
            }
        }
    }
    for x in ["1", "2"] {
        for (index, le) in ["0.5", "1", "4", "+Inf"].into_iter().enumerate() {
            let mut bucket = series(random, "a", &[("x", x), ("le", le)]);
            bucket.labels.insert("__name__".to_owned(), "h_bucket".to_owned());
            bucket.samples.iter_mut().for_each(|(_, value)| {
                *value = (value.abs() + 8.0 * index as f64).min(1e6);
            });
            all.push(bucket);
        }
    }
    all
}

fn series(random: &mut Random, name: &str, labels: &[(&str, &str)]) -> StoredSeries {
    let named = [("__name__", name)].into_iter().chain(labels.iter().copied());
    let labels: LabelMap = named
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let jitter_ms = random.below(3) as i64 * 400;
    let (mut samples, mut value, mut gap) = (Vec::new(), 0.0, 0);
    for index in 0..SAMPLES {
        if random.once_in(40) {
            gap = random.below(10);
        }
        let late_ms = if jitter_ms == 0 {
            0
        } else {
            random.below(jitter_ms as u64) as i64
        };
        let time = FIRST_MS + index * SCRAPE_MS + late_ms;
        if gap > 0 {
            gap -= 1;
            continue;
        }
        value = match name {
            "a" if random.once_in(15) => 0.0,
            "a" => value + random.below(6) as f64,
            _ => (random.below(41) as f64 - 20.0) / 4.0,
        };
        let stored = match random.below(150) {
            0 => f64::NAN,
            1 if name != "a" => f64::INFINITY,
            2 if name != "a" => f64::NEG_INFINITY,
            3 | 4 => f64::from_bits(STALE_NAN_BITS),
            _ => value,
        };
        samples.push((time, stored));
    }
    StoredSeries { labels, samples }
}

/// A query and when it is asked.
pub(super) fn case(random: &mut Random) -> Case {
    let start_ms = FIRST_MS + 60_000 + random.below(240) as i64 * 1000;
    let step_ms = [1000, 5000, 15_000, 22_000, 60_000, 90_000][random.below(6) as usize];
    let steps = if random.once_in(4) {
        0
    } else {
        1 + random.below(7) as i64
    };
    let depth = 1 + random.below(3);
    Case {
        query: match random.below(12) {
            0 => scalar(random, depth),
            _ => vector(random, depth),
        },
        start_ms,
        end_ms: start_ms + steps * step_ms,
        step_ms,
        instant: steps == 0,
        lookback_ms: [300_000, 60_000, 15_000][random.below(3) as usize],
    }
}

fn number(random: &mut Random) -> String {
    let numbers = ["0", "1", "2", "3", "0.5", "10", "-1", "1.5", "100", "Inf", "NaN"];
    let last = if random.once_in(4) { numbers.len() } else { 8 };
    random.pick(&numbers[..last]).to_owned()
}

fn scalar(random: &mut Random, depth: u64) -> String {
    if depth == 0 {
        return match random.below(6) {
            0 => "time()".to_owned(),
            _ => number(random),
        };
    }
    let less = depth - 1;
    match random.below(6) {
        0 => format!("scalar({})", vector(random, less)),
        1 => format!(
            "scalar({}({}))",
            random.pick(&["sum", "max", "count"]),
            vector(random, less)
        ),
        2 => {
            let op = random.pick(&["+", "-", "*", "/", "%", "^", "atan2", "> bool", "== bool"]);
            format!("({} {op} {})", scalar(random, less), scalar(random, less))
        }
        3 => format!("-{}", scalar(random, 0)),
        _ => scalar(random, 0),
    }
}

/// A vector. Names of metrics are given, so that results of one function do not collide.
fn vector(random: &mut Random, depth: u64) -> String {
    if depth == 0 {
        return match random.below(12) {
            0 => format!("vector({})", scalar(random, 0)),
            _ => format!("{}{}", selector(random), modifiers(random)),
        };
    }
    let less = depth - 1;
    match random.below(16) {
        0 | 1 => range_function(random, less),
        2..=4 => aggregation(random, less),
        5 | 6 => with_scalar(random, less),
        7..=9 => with_vector(random, less),
        10 => format!("-({})", vector(random, less)),
        11 | 12 => element(random, less),
        13 => {
            let q = random.pick(&["0.5", "0.9", "0", "1", "-1", "2", "NaN", "0.01"]);
            format!("histogram_quantile({q}, {})", buckets(random))
        }
        14 => match random.below(4) {
            0 => format!("absent({}{})", selector(random), modifiers(random)),
            1 => format!("absent({})", vector(random, less)),
            2 => format!("absent_over_time({})", range(random, less)),
            _ => format!("timestamp({})", vector(random, less)),
        },
        _ => vector(random, 0),
    }
}

fn selector(random: &mut Random) -> String {
    let name = random.pick(&["a", "b", "c", "a", "b", "c", "h_bucket", "nothing"]);
    let matchers = match random.below(10) {
        0 | 1 => format!("{{x=\"{}\"}}", random.pick(&["1", "2", "3", "4"])),
        2 => format!("{{y=\"{}\"}}", random.pick(&["", "p", "q"])),
        3 => format!("{{x!=\"{}\"}}", random.pick(&["1", "2", ""])),
        4 => format!("{{x=~\"{}\"}}", random.pick(&["1|2", "[23]", ".+", "4?"])),
        5 => "{x!~\"1|3\", y=\"p\"}".to_owned(),
        _ => String::new(),
    };
    format!("{name}{matchers}")
}

fn modifiers(random: &mut Random) -> String {
    let at = match random.below(20) {
        0 => " @ start()".to_owned(),
        1 => " @ end()".to_owned(),
        2 => format!(" @ {}", FIRST_MS / 1000 + random.below(500) as i64),
        3 => format!(" @ {}.25", FIRST_MS / 1000 + random.below(500) as i64),
        _ => String::new(),
    };
    let offset = match random.below(8) {
        0 => format!(" offset {}s", 1 + random.below(120)),
        1 => format!(" offset -{}s", 1 + random.below(60)),
        _ => String::new(),
    };
    at + &offset
}

fn range(random: &mut Random, depth: u64) -> String {
    let length = random.pick(&["15s", "31s", "1m", "90s", "2m30s", "5m"]);
    if depth > 0 && random.once_in(3) {
        let inner = vector(random, depth - 1);
        let step = random.pick(&["", "10s", "15s", "25s", "1m"]);
        return format!("({inner})[{length}:{step}]{}", modifiers(random));
    }
    format!("{}[{length}]{}", selector(random), modifiers(random))
}

fn range_function(random: &mut Random, depth: u64) -> String {
    let functions = [
        "rate",
        "increase",
        "delta",
        "irate",
        "idelta",
        "sum_over_time",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "count_over_time",
        "last_over_time",
        "present_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "changes",
        "resets",
        "first_over_time",
        "mad_over_time",
        "ts_of_first_over_time",
        "ts_of_last_over_time",
        "ts_of_min_over_time",
        "ts_of_max_over_time",
        "deriv",
    ];
    if random.once_in(12) {
        let ahead = random.pick(&["0", "60", "-30", "3600"]);
        return format!("predict_linear({}, {ahead})", range(random, depth));
    }
    if random.once_in(15) {
        let (level, trend) = (
            random.pick(&["0.5", "0.1", "1"]),
            random.pick(&["0.3", "0.9", "0"]),
        );
        return format!(
            "double_exponential_smoothing({}, {level}, {trend})",
            range(random, depth)
        );
    }
    if random.once_in(10) {
        let q = random.pick(&["0.5", "0.9", "0", "1", "-1", "2", "NaN"]);
        return format!("quantile_over_time({q}, {})", range(random, depth));
    }
    format!("{}({})", random.pick(&functions), range(random, depth))
}

fn grouping(random: &mut Random) -> &'static str {
    random.pick(&[
        "",
        " by (x)",
        " by (y)",
        " by (x, y)",
        " by (__name__)",
        " by (absent)",
        " without (x)",
        " without (y)",
        " without (x, y)",
        " without ()",
    ])
}

fn aggregation(random: &mut Random, depth: u64) -> String {
    let (grouping, inner) = (grouping(random), vector(random, depth));
    match random.below(14) {
        0 | 1 => {
            let op = random.pick(&["topk", "bottomk"]);
            let k = random.pick(&["0", "1", "2", "3", "5", "100", "1.9", "-1"]);
            format!("{op}{grouping} ({k}, {inner})")
        }
        2 => {
            let q = random.pick(&["0.5", "0.9", "0", "1", "-1", "2", "NaN"]);
            format!("quantile{grouping} ({q}, {inner})")
        }
        3 => format!("count_values{grouping} (\"v\", {inner})"),
        _ => {
            let op = random.pick(&[
                "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "sum",
            ]);
            format!("{op}{grouping} ({inner})")
        }
    }
}

const OPERATORS: [&str; 13] = [
    "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=",
];

/// An operator of floats, comparisons with `bool` or without.
fn operator(random: &mut Random) -> String {
    let at = random.below(OPERATORS.len() as u64) as usize;
    let bool = if at >= 7 && random.once_in(2) { " bool" } else { "" };
    format!("{}{bool}", OPERATORS[at])
}

fn with_scalar(random: &mut Random, depth: u64) -> String {
    let (op, scalar) = (operator(random), scalar(random, depth));
    let vector = vector(random, depth);
    match random.once_in(2) {
        true => format!("({vector}) {op} {scalar}"),
        false => format!("{scalar} {op} ({vector})"),
    }
}

fn with_vector(random: &mut Random, depth: u64) -> String {
    let labels = ["(x)", "(y)", "(x, y)", "()", "(le)", "(x, y, le)"];
    let matching = match random.below(3) {
        0 => String::new(),
        1 => format!(" on {}", random.pick(&labels)),
        _ => format!(" ignoring {}", random.pick(&labels)),
    };
    let (lhs, rhs) = (vector(random, depth), vector(random, depth));
    if random.once_in(3) {
        let op = random.pick(&["and", "or", "unless"]);
        return format!("({lhs}) {op}{matching} ({rhs})");
    }
    let op = operator(random);
    if random.once_in(4) {
        // The one side is made unique, or most of these would be errors.
        let include = random.pick(&["()", "()", "(le)", "(y)"]);
        let one = format!("sum by (x{}) ({rhs})", random.pick(&["", "", ", le", ", y"]));
        return match random.once_in(2) {
            true => format!("({lhs}) {op} on (x) group_left {include} ({one})"),
            false => format!("({one}) {op} on (x) group_right {include} ({lhs})"),
        };
    }
    let fill = match random.below(8) {
        0 => random.pick(&[" fill (0)", " fill (2)", " fill (NaN)"]),
        1 => random.pick(&[
            " fill_left (1)",
            " fill_right (0)",
            " fill_left (3) fill_right (1)",
        ]),
        _ => "",
    };
    format!("({lhs}) {op}{matching}{fill} ({rhs})")
}

fn element(random: &mut Random, depth: u64) -> String {
    let inner = vector(random, depth);
    match random.below(7) {
        5 => format!(
            "label_replace({inner}, \"{}\", \"{}\", \"{}\", \"{}\")",
            random.pick(&["x", "y", "z", "__name__"]),
            random.pick(&["$1", "new", "", "is_$1"]),
            random.pick(&["x", "y", "absent"]),
            random.pick(&["(.*)", "(.+)", "([12])", "p|q"])
        ),
        6 => format!(
            "label_join({inner}, \"{}\", \"-\", {})",
            random.pick(&["x", "y", "z"]),
            random.pick(&["\"x\", \"y\"", "\"y\"", "\"y\", \"absent\", \"x\""])
        ),
        0 => format!("round({inner}, {})", random.pick(&["1", "0.5", "2", "10"])),
        1 => format!("clamp({inner}, {}, {})", scalar(random, 0), scalar(random, 0)),
        2 => format!(
            "{}({inner}, {})",
            random.pick(&["clamp_min", "clamp_max"]),
            scalar(random, depth)
        ),
        _ => format!(
            "{}({inner})",
            random.pick(&[
                "abs",
                "ceil",
                "floor",
                "sgn",
                "sqrt",
                "exp",
                "round",
                "ln",
                "log2",
                "log10",
                "sin",
                "atan",
                "deg",
                "rad",
                "sort",
                "sort_desc"
            ])
        ),
    }
}

fn buckets(random: &mut Random) -> String {
    match random.below(4) {
        0 => format!("h_bucket{}", modifiers(random)),
        1 => format!("rate(h_bucket[{}])", random.pick(&["1m", "2m", "5m"])),
        2 => "sum by (le) (rate(h_bucket[2m]))".to_owned(),
        _ => "avg without (x) (h_bucket)".to_owned(),
    }
}
