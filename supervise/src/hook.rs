//! Where a panic happened: only the hook is told. Supervised panics are said by the supervisor, in the log's form, and
//! not a second time by the hook.

use std::cell::{Cell, RefCell};
use std::panic::PanicHookInfo;
use std::sync::Once;

thread_local! {
    /// How many supervised calls this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Sets the process's hook, once. Panics outside of supervised work go the way they went before.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if DEPTH.get() == 0 {
                return before(info);
            }
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            PLACE.set(place);
            if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
                before(info);
            }
        }));
    });
}

/// Where the last supervised panic of this thread was.
pub(crate) fn take_place() -> String {
    PLACE.take()
}

/// This thread does supervised work as long as this lives.
pub(crate) struct Watched;

impl Watched {
    pub(crate) fn new() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Watched
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
