//! `rate_limit`: a bucket of requests that fills by one each interval.

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::web::RateLimit;

/// Counts requests of all clients together.
#[derive(Debug)]
pub(in crate::web) struct Limiter {
    limit: RateLimit,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Requests that may come at once.
    requests: f64,
    at: Instant,
}

impl Limiter {
    /// A full bucket.
    pub(in crate::web) fn new(limit: RateLimit) -> Self {
        Limiter {
            limit,
            bucket: Mutex::new(Bucket {
                requests: f64::from(limit.burst),
                at: Instant::now(),
            }),
        }
    }

    pub(in crate::web) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes one request out of the bucket, if it has one.
    pub(in crate::web) fn allows(&self) -> bool {
        let mut bucket = self.bucket.lock();
        let now = Instant::now();
        let filled = now.duration_since(bucket.at).as_secs_f64() / self.limit.interval.as_secs_f64();
        bucket.requests = (bucket.requests + filled).min(f64::from(self.limit.burst));
        bucket.at = now;
        let has_one = bucket.requests >= 1.0;
        if has_one {
            bucket.requests -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_at_once_and_one_more_each_interval() {
        let limiter = Limiter::new(RateLimit {
            burst: 3,
            interval: Duration::from_millis(250),
        });
        let taken = || (0..10).filter(|_| limiter.allows()).count();
        assert_eq!(taken(), 3);
        for (wait_ms, expected) in [(249, 0), (1, 1), (500, 2), (3_600_000, 3)] {
            tokio::time::advance(Duration::from_millis(wait_ms)).await;
            assert_eq!(taken(), expected, "after {wait_ms} ms");
        }
    }
}
