//! The allocator: how it is set up, and how it is told to give memory back.
//!
//! jemalloc keeps freed pages for ten seconds in case they are wanted again, so that a process that answered a heavy
//! query is as large afterwards as it was meanwhile, and several heavy queries one after the other add up. Here pages go
//! back within a second, by a thread of the allocator's own; and at once when memory is short.

#![expect(
    unsafe_code,
    reason = "the allocator looks for a symbol of this name, and is asked through C"
)]

/// Pages go back a second after they were freed, to the system at once and not by way of a second list.
///
/// Safety: jemalloc reads a pointer to a text that ends with a zero byte from the symbol; the first word of a slice of
/// bytes is such a pointer.
#[cfg(feature = "jemalloc")]
#[unsafe(export_name = "malloc_conf")]
static MALLOC_CONF: &[u8] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Gives freed pages back to the system now.
pub(crate) fn give_back() {
    #[cfg(feature = "jemalloc")]
    {
        // All arenas: MALLCTL_ARENAS_ALL.
        let name = c"arena.4096.purge";
        let (none, nothing) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the name ends with a zero byte, and this control reads and writes no value.
        let _ = unsafe { tikv_jemalloc_sys::mallctl(name.as_ptr(), none, nothing, std::ptr::null_mut(), 0) };
    }
}
