//! Tells in the log that the system's clock was set: once, whoever notices it besides.

use std::sync::Arc;
use std::time::Duration;

use model::clock::{Clock, JumpWatch};
use model::duration::format_duration;
use tokio_util::sync::CancellationToken;

/// How often the clock is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Watches the clock until `stop`.
pub(crate) async fn watch(clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut watch = JumpWatch::new(&*clock);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        let jump_ms = watch.jump_ms(&*clock);
        // To the second: both readings take a moment.
        let by = format_duration(jump_ms.saturating_abs().saturating_add(500) / 1_000 * 1_000);
        if jump_ms < 0 {
            tracing::warn!(
                by,
                "The system clock was set back. Scrapes and rules follow it; until it has caught up, samples are refused that \
                 are older than what is stored, unless storage.tsdb.out_of_order_time_window reaches as far"
            );
        } else if jump_ms > 0 {
            tracing::warn!(
                by,
                "The system clock was set forward. Scrapes and rules follow it"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use model::clock::ManualClock;
    use parking_lot::Mutex;

    use super::*;

    /// Takes log lines.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_told_once() {
        let (lines, clock) = (Lines::default(), Arc::new(ManualClock::new(1_700_000_000_000)));
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone());
        let _log = tracing::subscriber::set_default(subscriber.finish());
        let stop = CancellationToken::new();
        let watching = tokio::spawn(watch(clock.clone(), stop.clone()));
        for jump_ms in [0, -7_200_000, 0, 0, 600_000, 0] {
            tokio::time::sleep(LOOK_INTERVAL).await;
            clock.jump(jump_ms);
            clock.set(clock.now_ms() + 1_000);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        stop.cancel();
        watching.await.expect("ends");
        let lines = String::from_utf8(lines.0.lock().clone()).expect("text");
        assert_eq!(lines.matches("set back").count(), 1, "{lines}");
        assert_eq!(lines.matches("set forward").count(), 1, "{lines}");
        assert!(
            lines.contains("by=\"2h\"") && lines.contains("by=\"10m\""),
            "{lines}"
        );
    }
}
