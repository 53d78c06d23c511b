//! Workloads that the benches share: fixed seeds, so that two runs measure the same.

use model::columns::Columns;
use model::labels::Labels;

/// Numbers from a fixed seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number from 0 to 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Shapes that the samples of real series have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Never changes, but its scrapes jitter.
    Constant,
    /// Never changes, and is scraped on the millisecond.
    Still,
    /// A counter that goes up by a whole number.
    Counter,
    /// A gauge with all bits in use.
    Noise,
}

/// A day of samples, one every 15 s, with the jitter of a millisecond or two that scrapes have.
pub fn day(shape: Shape, seed: u64) -> Columns {
    let mut rng = Rng::new(seed);
    let mut value = 1000.0;
    let mut columns = Columns::default();
    for row in 0..5760 {
        value = match shape {
            Shape::Constant | Shape::Still => value,
            Shape::Counter => value + (rng.next_u64() % 100) as f64,
            Shape::Noise => rng.unit() * 1e6,
        };
        let jitter = match shape {
            Shape::Still => 0,
            _ => (rng.next_u64() % 3) as i64,
        };
        columns.push(1_795_400_000_000 + row * 15_000 + jitter, value);
    }
    columns
}

/// Label sets as exporters have them: about eight labels, a hundred bytes.
pub fn series(count: usize) -> Vec<Labels> {
    (0..count)
        .map(|i| {
            Labels::from_pairs([
                ("__name__", format!("http_requests_{}_total", i % 50)),
                ("cluster", format!("eu-west-{}", i % 3)),
                ("code", ["200", "404", "500"][i % 3].to_owned()),
                ("handler", format!("/api/v1/resource{}", i % 97)),
                ("instance", format!("10.0.{}.{}:9100", i / 250 % 250, i % 250)),
                ("job", format!("service-{}", i % 20)),
                ("method", ["GET", "POST"][i % 2].to_owned()),
                ("pod", format!("service-{}-7d9f8-{:05x}", i % 20, i)),
            ])
        })
        .collect()
}

/// A scrape body in the text format.
pub fn body(series: usize) -> String {
    let mut text = String::new();
    for i in 0..series {
        if i % 20 == 0 {
            text += &format!(
                "# HELP http_requests_{}_total Requests.\n# TYPE http_requests_{}_total counter\n",
                i / 20,
                i / 20
            );
        }
        text += &format!(
            "http_requests_{}_total{{code=\"{}\",handler=\"/api/v1/resource{}\",method=\"GET\",zone=\"a\"}} {}\n",
            i / 20,
            200 + i % 5,
            i % 20,
            i * 37 % 1_000_003
        );
    }
    text
}
