//! Where the processor's time goes.
//!
//! The system interrupts whichever thread runs so many times a second, and notes where it is. Code that holds what noting
//! needs itself (the loader, the unwinder, the C library) is never looked at.

use std::time::{Duration, Instant, SystemTime};

use super::message::{Frame, Measured, Profile};

/// Looks a second. Not a round number, so as not to go along with what happens a hundred times a second.
const LOOKS_A_SECOND: i32 = 99;
/// Where no look is taken.
const UNTOUCHED: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// The function that takes looks, and what the C library calls it by.
const LOOK: &str = "perf_signal_handler";
const TRAMPOLINE: &str = "__restore_rt";

/// The profiler cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct CpuError(#[from] pprof::Error);

/// Looks are taken as long as this lives.
pub(super) struct Profiler {
    guard: pprof::ProfilerGuard<'static>,
    begin: SystemTime,
    began: Instant,
}

impl Profiler {
    /// # Errors
    /// When another one is at work, or the system gives no timer.
    pub(super) fn start() -> Result<Self, CpuError> {
        let guard = pprof::ProfilerGuardBuilder::default()
            .frequency(LOOKS_A_SECOND)
            .blocklist(&UNTOUCHED)
            .build()?;
        Ok(Profiler {
            guard,
            begin: SystemTime::now(),
            began: Instant::now(),
        })
    }

    /// What was seen. Takes as long as finding the names of functions takes.
    ///
    /// # Errors
    /// When the looks cannot be read.
    pub(super) fn finish(self) -> Result<Profile, CpuError> {
        let took: Duration = self.began.elapsed();
        let report = self.guard.report().build()?;
        drop(self.guard);
        let every = 1_000_000_000 / LOOKS_A_SECOND as u64;
        let cpu = Measured("cpu", "nanoseconds");
        let mut profile = Profile::new(&[Measured("samples", "count"), cpu]);
        profile.took(self.begin, took, cpu, every);
        for (stack, looks) in &report.data {
            let frames: Vec<Frame> = stack.frames.iter().flatten().map(frame).collect();
            let frames = without_looking(&frames);
            let looks = u64::try_from(*looks).unwrap_or(0);
            profile.add(frames, &[looks, looks * every], &[("thread", &stack.thread_name)]);
        }
        Ok(profile)
    }
}

/// What was interrupted, without what the interruption itself put on top of it.
fn without_looking(frames: &[Frame]) -> &[Frame] {
    let is_look = |frame: &Frame| frame.function.contains(LOOK) || frame.function == TRAMPOLINE;
    let begin = frames.iter().rposition(is_look).map_or(0, |at| at + 1);
    &frames[begin..]
}

fn frame(symbol: &pprof::Symbol) -> Frame {
    Frame {
        function: symbol.name(),
        file: symbol.filename().into_owned(),
        line: u64::from(symbol.lineno()),
        address: symbol.addr.map_or(0, |address| address as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_begins_where_it_was_interrupted() {
        let frames = [
            "trace",
            "pprof::profiler::perf_signal_handler",
            "__restore_rt",
            "work",
            "main",
        ];
        let frames = frames.map(|function| Frame {
            function: function.to_owned(),
            ..Frame::default()
        });
        assert_eq!(without_looking(&frames), &frames[3..]);
        assert_eq!(without_looking(&frames[3..]), &frames[3..]);
    }
}
