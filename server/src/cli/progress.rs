//! Long work on a terminal: a bar on standard error, and a way to stop that leaves nothing half done.

use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

/// Set by the first interrupt.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// What a shell reports of a program that an interrupt ended.
pub(crate) const INTERRUPTED_CODE: u8 = 130;

/// A bar over `len` of something, shown where standard error is a terminal and not at all elsewhere.
pub(crate) fn bar(len: u64, what: &'static str) -> ProgressBar {
    styled(len, what, "{msg} {wide_bar} {human_pos}/{human_len}, {eta} left")
}

/// The same for bytes.
pub(crate) fn byte_bar(len: u64, what: &'static str) -> ProgressBar {
    styled(
        len,
        what,
        "{msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
    )
}

fn styled(len: u64, what: &'static str, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    // Drawn on standard error, and only on a terminal.
    ProgressBar::new(len).with_style(style).with_message(what)
}

/// From here on an interrupt (Ctrl-C) is noted and ends nothing by itself: whoever works asks [`interrupted`] now and
/// then. A second one ends the process at once.
pub(crate) fn catch_interrupts() {
    let listen = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(i32::from(INTERRUPTED_CODE));
            }
        });
    };
    // Without the thread an interrupt ends the process, as it always does.
    let _ = std::thread::Builder::new()
        .name("interrupts".to_owned())
        .spawn(listen);
}

/// Whether the user has asked to stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
