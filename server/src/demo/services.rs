//! Three small instrumented services, one of which turns slow and fails now and then.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use metrics::{Counter, Family, Format, Gauge, Histogram, Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How often a service handles its next few requests.
const TICK: Duration = Duration::from_millis(200);
/// Upper bounds of the latency buckets, in seconds.
const LATENCY_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// The bad time of a service: it comes round every `PERIOD`, and the first one soon enough to be waited for.
const PERIOD: Duration = Duration::from_secs(90);
const BAD_FROM: Duration = Duration::from_secs(15);
const BAD_UNTIL: Duration = Duration::from_secs(45);

/// What a service is like.
pub(crate) struct Nature {
    pub(crate) name: &'static str,
    /// Requests a tick.
    pub(crate) load: u32,
    /// Usual latency in seconds.
    pub(crate) latency: f64,
    /// Whether it has bad times.
    pub(crate) moody: bool,
}

/// The three.
pub(crate) const SERVICES: [Nature; 3] = [
    Nature {
        name: "orders",
        load: 6,
        latency: 0.02,
        moody: false,
    },
    Nature {
        name: "payments",
        load: 4,
        latency: 0.06,
        moody: true,
    },
    Nature {
        name: "search",
        load: 10,
        latency: 0.01,
        moody: false,
    },
];

struct Instruments {
    requests: Family<Counter>,
    latency: Family<Histogram>,
    in_flight: Gauge,
}

/// Starts one service on a free port of this machine.
pub(crate) async fn start(nature: &'static Nature, stop: CancellationToken) -> std::io::Result<SocketAddr> {
    let registry = Registry::new();
    let instruments = Instruments {
        requests: registry.counter_vec("http_requests_total", "Requests handled.", &["handler", "code"]),
        latency: registry.histogram_vec(
            "http_request_duration_seconds",
            "Time that requests took.",
            &["handler"],
            &LATENCY_BUCKETS,
        ),
        in_flight: registry.gauge("http_requests_in_flight", "Requests being handled."),
    };
    let render = move || async move {
        (
            [(CONTENT_TYPE, Format::Text.content_type())],
            registry.render(Format::Text),
        )
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = Router::new().route("/metrics", get(render));
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move { axum::serve(listener, app).with_graceful_shutdown(stopped).await });
    tokio::spawn(work(nature, instruments, stop));
    Ok(address)
}

async fn work(nature: &'static Nature, instruments: Instruments, stop: CancellationToken) {
    let begin = tokio::time::Instant::now();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ nature.name.len() as u64);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        let into = Duration::from_millis((begin.elapsed().as_millis() % PERIOD.as_millis()) as u64);
        let bad = nature.moody && (BAD_FROM..BAD_UNTIL).contains(&into);
        for _ in 0..nature.load {
            let handler = if dice.roll() < 0.7 {
                "/api/item"
            } else {
                "/api/list"
            };
            // Latencies have a long tail: most are short, a few are several times as long.
            let usual = nature.latency * (0.5 + dice.roll() - 2.0 * (1.0 - dice.roll()).max(0.01).ln());
            let latency = if bad { usual + 0.6 + dice.roll() } else { usual };
            let code = if bad && dice.roll() < 0.3 { "500" } else { "200" };
            instruments.requests.with(&[handler, code]).inc();
            instruments.latency.with(&[handler]).observe(latency);
        }
        instruments
            .in_flight
            .set((f64::from(nature.load) * if bad { 5.0 } else { 1.0 } * dice.roll()).round());
    }
}

/// Numbers from 0 to 1, the same in every run (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
