//! Which call fails, and how.

use std::io;

/// What goes wrong, and when. Calls are counted from 1 over all operations that change something (`create`, `append`,
/// `write_all`, `sync`, `rename`, `hard_link`, `remove_*`, `create_dir_all`, `sync_dir`, `truncate`), reads over those
/// that look (`map`, `read`, `len`, `list`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Call number `.0` fails with an I/O error and changes nothing.
    Call(u64),
    /// The first write at or after call number `.0` writes only half of its bytes and then fails.
    ShortWrite(u64),
    /// No space is left once this many bytes have been written since the fault was set; what fits is written.
    NoSpaceAfter(u64),
    /// Sync number `.0` (of files and folders together, counted from 1) fails; what it should have made durable is not.
    Sync(u64),
    /// Sync number `.0` succeeds, and every changing call after it fails: the machine has stopped. What is durable then
    /// is what [`MemFiles::after_power_loss`](super::MemFiles::after_power_loss) shows.
    FreezeAtSync(u64),
    /// Call number `.0` and all changing ones after it fail: the process has been killed. What it had written is what
    /// [`MemFiles::after_kill`](super::MemFiles::after_kill) shows.
    FreezeAtCall(u64),
    /// Call number `.0` and all changing ones after it fail until [`MemFiles::heal`](super::MemFiles::heal): the disk is
    /// there and takes nothing.
    CallsFrom(u64),
    /// Read number `.0` fails: a bad sector, or no room for another mapping.
    Read(u64),
    /// Call number `.0` panics: stands for a fault in our own code at that place.
    Panic(u64),
    /// The next call in the thread of this name panics.
    PanicIn(&'static str),
    /// Like [`Fault::FreezeAtCall`], but if the call is a write, half of it is done.
    TornAtCall(u64),
}

/// Faults to come, and how far counting has come.
#[derive(Clone, Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
    pub(super) calls: u64,
    pub(super) syncs: u64,
    pub(super) reads: u64,
    pub(super) space_left: Option<u64>,
    pub(super) frozen: bool,
}

/// What the system says of a failing disk (EIO).
fn failure() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        if let Fault::NoSpaceAfter(bytes) = fault {
            self.space_left = Some(bytes);
        } else {
            self.list.push(fault);
        }
    }

    pub(super) fn heal(&mut self) {
        self.list.clear();
        self.space_left = None;
        self.frozen = false;
    }

    /// Counts a changing call, and fails it where a fault says so.
    pub(super) fn step(&mut self) -> io::Result<()> {
        self.calls += 1;
        let calls = self.calls;
        assert!(
            !self.list.contains(&Fault::Panic(calls)),
            "call {calls} was told to panic"
        );
        let thread = std::thread::current();
        let here = |fault: &Fault| matches!(fault, Fault::PanicIn(name) if thread.name() == Some(name));
        if let Some(at) = self.list.iter().position(here) {
            self.list.swap_remove(at);
            panic!("thread {} was told to panic", thread.name().unwrap_or_default());
        }
        if self.list.contains(&Fault::FreezeAtCall(calls)) {
            self.frozen = true;
        }
        let refuses = |fault: &Fault| match fault {
            Fault::Call(call) => *call == calls,
            Fault::CallsFrom(call) => *call <= calls,
            _ => false,
        };
        if self.frozen || self.list.iter().any(refuses) {
            return Err(failure());
        }
        Ok(())
    }

    /// Counts a call that changes something and does not write.
    pub(super) fn change(&mut self) -> io::Result<()> {
        self.step()?;
        if self.list.contains(&Fault::TornAtCall(self.calls)) {
            self.frozen = true;
            return Err(failure());
        }
        Ok(())
    }

    /// Counts a write of so many bytes: how many of them are written, and what is said then.
    pub(super) fn write(&mut self, bytes: usize) -> (usize, io::Result<()>) {
        if let Err(error) = self.step() {
            return (0, Err(error));
        }
        let calls = self.calls;
        let (mut fits, mut result) = (bytes, Ok(()));
        if self.list.contains(&Fault::TornAtCall(calls)) {
            self.frozen = true;
            return (bytes / 2, Err(failure()));
        }
        let short = |fault: &Fault| matches!(fault, Fault::ShortWrite(call) if *call <= calls);
        if let Some(at) = self.list.iter().position(short) {
            self.list.swap_remove(at);
            fits /= 2;
            result = Err(failure());
        }
        if let Some(space) = &mut self.space_left {
            let room = usize::try_from(*space).unwrap_or(usize::MAX);
            if room < fits {
                fits = room;
                result = Err(io::ErrorKind::StorageFull.into());
            }
            *space -= fits as u64;
        }
        (fits, result)
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.change()?;
        self.syncs += 1;
        if self.list.contains(&Fault::Sync(self.syncs)) {
            return Err(failure());
        }
        Ok(())
    }

    pub(super) fn after_sync(&mut self) {
        if self.list.contains(&Fault::FreezeAtSync(self.syncs)) {
            self.frozen = true;
        }
    }

    pub(super) fn read(&mut self) -> io::Result<()> {
        self.reads += 1;
        if self.list.contains(&Fault::Read(self.reads)) {
            return Err(failure());
        }
        Ok(())
    }
}
