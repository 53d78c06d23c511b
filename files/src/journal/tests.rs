//! What was acknowledged is there, whatever fails and whenever the process or the machine ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::clock::ManualClock;

use super::*;
use crate::{Fault, MemFiles, is_not_found};

const FORMAT: Format = Format {
    magic: *b"NTX test",
    version: 3,
};

/// Keys and values; a record is the key and the value.
type State = BTreeMap<u8, Vec<u8>>;

fn path() -> &'static Path {
    Path::new("data/alerts/journal")
}

/// Files with the folder of a store.
fn data() -> MemFiles {
    let files = MemFiles::new();
    files.create_dir_all(Path::new("data")).unwrap();
    files.sync_dir(Path::new("")).unwrap();
    files
}

fn open(files: &MemFiles) -> (Journal, Opened, State) {
    let mut state = State::new();
    let files = Arc::new(files.clone());
    let clock = Arc::new(ManualClock::default());
    let read = |record: &[u8]| {
        state.insert(record[0], record[1..].to_vec());
    };
    let (journal, opened) = Journal::open(files, clock, path(), FORMAT, read).unwrap();
    (journal, opened, state)
}

fn found(files: &MemFiles) -> State {
    let (_, opened, state) = open(files);
    assert_eq!(opened.damage, None);
    state
}

fn write(journal: &Journal, state: &mut State, key: u8, value: Vec<u8>) -> Result<()> {
    let mut record = vec![key];
    record.extend_from_slice(&value);
    state.insert(key, value);
    journal.write(&record, |whole| {
        for (key, value) in &*state {
            let mut record = vec![*key];
            record.extend_from_slice(value);
            whole.push(&record);
        }
    })
}

/// Changes a few keys many times, so that the file outgrows them; gives the states after each step from the last that was
/// acknowledged on. `each` is called after each step with whether it was acknowledged.
fn work(files: &MemFiles, mut each: impl FnMut(&State, bool)) -> Vec<State> {
    let mut states = vec![State::new()];
    let (files, clock) = (Arc::new(files.clone()), Arc::new(ManualClock::default()));
    let Ok((journal, _)) = Journal::open(files, clock, path(), FORMAT, |_| {}) else {
        return states;
    };
    let mut state = State::new();
    for step in 0..36_usize {
        let len = if step.is_multiple_of(3) {
            100_000
        } else {
            10 * step
        };
        let result = write(&journal, &mut state, (step % 4) as u8, vec![step as u8 + 1; len]);
        if result.is_ok() {
            states.clear();
        }
        states.push(state.clone());
        each(&state, result.is_ok());
    }
    states
}

#[test]
fn a_kill_or_a_power_cut_at_any_call_loses_nothing_that_was_acknowledged() {
    let files = data();
    work(&files, |_, acknowledged| assert!(acknowledged));
    let calls = files.calls();
    let mut random = 7_u64;
    for call in data().calls() + 1..=calls {
        for fault in [
            Fault::FreezeAtCall(call),
            Fault::TornAtCall(call),
            Fault::FreezeAtSync(call),
        ] {
            let files = data();
            files.inject(fault);
            let states = work(&files, |_, _| {});
            // The first is what was acknowledged, the second what was under way.
            let may_be = &states[..states.len().min(2)];
            let torn = files.after_torn_power_loss(|below| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) % below
            });
            for after in [files.after_kill(), files.after_power_loss(), torn] {
                let found = found(&after);
                assert!(may_be.contains(&found), "{fault:?}");
                // And it goes on from there.
                let (journal, _, mut state) = open(&after);
                write(&journal, &mut state, 9, vec![9]).unwrap();
                assert_eq!(self::found(&after.after_power_loss()), state, "{fault:?}");
            }
        }
    }
}

#[test]
fn a_call_that_fails_costs_one_acknowledgement() {
    let files = data();
    work(&files, |_, _| {});
    let calls = files.calls();
    for call in data().calls() + 1..=calls {
        for fault in [Fault::Call(call), Fault::ShortWrite(call), Fault::Sync(call)] {
            let files = data();
            files.inject(fault);
            let mut failed = 0;
            let last = work(&files, |state, acknowledged| {
                if acknowledged && failed == 1 {
                    assert_eq!(found(&files.after_power_loss()), *state, "{fault:?}");
                }
                failed += u32::from(failed > 0 || !acknowledged);
            });
            // The last step may be the one that failed; no other is left.
            assert!(last.len() <= 2, "{fault:?}");
            let found = found(&files.after_power_loss());
            assert!(last.contains(&found), "{fault:?}");
        }
    }
}

#[test]
fn a_full_disk_costs_durability_while_it_is_full() {
    let files = data();
    let (journal, _, mut state) = open(&files);
    write(&journal, &mut state, 1, vec![1; 1000]).unwrap();
    let before = state.clone();
    files.inject(Fault::NoSpaceAfter(500));
    for step in 2..9 {
        write(&journal, &mut state, step, vec![step; 1000]).unwrap_err();
        assert_eq!(found(&files.after_power_loss()), before);
    }
    // What was tried does not fill what is left of it.
    assert!(!files.exists(&temporary(path())));
    files.heal();
    write(&journal, &mut state, 1, vec![]).unwrap();
    assert_eq!(found(&files.after_power_loss()), state);
}

#[test]
fn a_disk_that_takes_nothing_is_left_alone_for_a_while() {
    let files = data();
    let clock = Arc::new(ManualClock::default());
    let (journal, _) = Journal::open(Arc::new(files.clone()), clock.clone(), path(), FORMAT, |_| {}).unwrap();
    files.inject(Fault::CallsFrom(files.calls() + 3));
    let slow = |whole: &mut Whole<'_>| {
        clock.set(1_000);
        whole.push(b"a");
    };
    journal.write(b"a", slow).unwrap_err();
    let calls = files.calls();
    for at_ms in [1_001, 9_999] {
        clock.set(at_ms);
        journal.write(b"a", |_| panic!("too early")).unwrap_err();
    }
    assert_eq!(files.calls(), calls);
    files.heal();
    clock.set(10_000);
    journal.write(b"a", |whole| whole.push(b"a")).unwrap();
}

#[test]
fn a_file_that_outgrows_its_state_is_written_anew() {
    let files = data();
    let (journal, _, mut state) = open(&files);
    let mut longest = 0;
    for step in 0..100 {
        write(&journal, &mut state, step % 3, vec![step; 300_000]).unwrap();
        longest = longest.max(journal.file_bytes());
        assert_eq!(journal.file_bytes(), files.len(path()).unwrap());
    }
    assert!((1_000_000..2_500_000).contains(&longest), "{longest}");
    assert!(journal.written_bytes() < 100 * 300_000 * 3);
    assert_eq!(found(&files), state);
}

#[test]
fn a_panic_while_the_whole_is_made_is_like_a_failure() {
    let files = data();
    let (journal, _, mut state) = open(&files);
    let panics = || drop(journal.write(b"x", |_| panic!("as prepared")));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).unwrap_err();
    write(&journal, &mut state, 1, vec![1]).unwrap();
    assert_eq!(found(&files), state);
}

#[test]
fn threads_that_write_at_the_same_time_are_served_together() {
    let files = MemFiles::new();
    let (journal, _, _) = open(&files);
    let before = files.syncs();
    std::thread::scope(|scope| {
        for key in 0..8 {
            let journal = &journal;
            scope.spawn(move || {
                let whole = |whole: &mut Whole<'_>| {
                    while journal.waiting.lock().last < 8 {
                        std::thread::yield_now();
                    }
                    whole.push(&[key, 1]);
                };
                journal.write(&[key, 1], whole).unwrap();
            });
        }
    });
    // The new file and its folder for the first, the file for all others.
    assert_eq!(files.syncs() - before, 3);
    assert_eq!(found(&files), (0..8).map(|key| (key, vec![1])).collect());
}

#[test]
fn threads_build_on_each_other_whatever_fails() {
    let files = data();
    let (journal, _, _) = open(&files);
    for call in (0..2000).step_by(37) {
        files.inject(Fault::Call(files.calls() + call));
    }
    let state = Mutex::new(State::new());
    std::thread::scope(|scope| {
        for key in 0..8 {
            let (journal, state, files) = (&journal, &state, &files);
            scope.spawn(move || {
                for step in 0..100 {
                    state.lock().insert(key, vec![step]);
                    let whole = |whole: &mut Whole<'_>| {
                        for (key, value) in &*state.lock() {
                            whole.push(&[*key, value[0]]);
                        }
                    };
                    if journal.write(&[key, step], whole).is_ok() && step % 10 == 0 {
                        assert_eq!(found(&files.after_power_loss())[&key], [step]);
                    }
                }
            });
        }
    });
}

/// A journal of a few small records, each a frame of its own.
fn small() -> (MemFiles, Vec<u8>) {
    let files = data();
    let (journal, _, mut state) = open(&files);
    for key in 0..4 {
        write(&journal, &mut state, key, vec![key; 5]).unwrap();
    }
    let bytes = files.read(path()).unwrap();
    (files, bytes)
}

#[test]
fn a_flipped_byte_costs_its_frame_and_is_told() {
    let (files, bytes) = small();
    let whole = found(&files);
    let frame = (bytes.len() - frame::HEADER_BYTES) / 4;
    for at in 0..bytes.len() {
        let files = files.after_kill();
        files.flip(path(), at, 0x10).unwrap();
        let (journal, opened, mut state) = open(&files);
        let mut left = whole.clone();
        let kept = match at.checked_sub(frame::HEADER_BYTES).map(|at| (at / frame) as u8) {
            None => {
                left.clear();
                assert_eq!(opened.damage, Some(Damage::Foreign));
                true
            }
            // What a crash leaves of the last write looks the same.
            Some(3) => {
                left.remove(&3);
                assert_eq!((opened.damage, opened.torn_bytes), (None, frame as u64));
                false
            }
            Some(number) => {
                left.remove(&number);
                let offset = (frame::HEADER_BYTES + frame * usize::from(number)) as u64;
                let bytes = frame as u64;
                assert_eq!(opened.damage, Some(Damage::Middle { offset, bytes }));
                true
            }
        };
        assert_eq!(state, left, "byte {at}");
        assert_eq!(opened.kept_as.is_some(), kept);
        write(&journal, &mut state, 7, vec![7]).unwrap();
        assert_eq!(found(&files), state);
        if let Some(kept) = opened.kept_as {
            assert_eq!(files.read(&kept).unwrap().len(), bytes.len());
        }
    }
}

#[test]
fn a_file_that_is_cut_at_any_length_is_read_up_to_there() {
    let (files, bytes) = small();
    let frame = (bytes.len() - frame::HEADER_BYTES) / 4;
    for len in 0..bytes.len() {
        let files = files.after_kill();
        files.truncate(path(), len as u64).unwrap();
        let (journal, opened, mut state) = open(&files);
        let foreign = (1..frame::HEADER_BYTES).contains(&len);
        assert_eq!(opened.damage, foreign.then_some(Damage::Foreign), "{len}");
        assert_eq!(
            state.len(),
            len.saturating_sub(frame::HEADER_BYTES) / frame,
            "{len}"
        );
        write(&journal, &mut state, 7, vec![7]).unwrap();
        assert_eq!(found(&files), state);
    }
}

#[test]
fn another_version_is_kept_aside() {
    let (files, bytes) = small();
    let other = Format { version: 4, ..FORMAT };
    let mut newer = bytes;
    newer[..frame::HEADER_BYTES].copy_from_slice(&other.header());
    crate::replace_file(&files, path(), &newer).unwrap();
    let (journal, opened, mut state) = open(&files);
    assert_eq!(opened.damage, Some(Damage::Version(4)));
    assert!(state.is_empty());
    write(&journal, &mut state, 1, vec![1]).unwrap();
    assert_eq!(files.read(&opened.kept_as.unwrap()).unwrap(), newer);
    assert_eq!(found(&files), state);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_stays() {
    let (files, bytes) = small();
    files.inject(Fault::Read(files.reads() + 1));
    let clock = Arc::new(ManualClock::default());
    let result = Journal::open(Arc::new(files.clone()), clock, path(), FORMAT, |_| {});
    assert!(!is_not_found(&result.err().unwrap()));
    assert_eq!(files.read(path()).unwrap(), bytes);
}

/// The example of `files/docs/journal.md`.
#[test]
fn the_documented_example_is_what_is_written() {
    let text = include_str!("../../docs/journal.md");
    let (_, block) = text.split_once("```hex file\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let digits: String = block
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(|line| line.chars().filter(char::is_ascii_hexdigit))
        .collect();
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect();
    let files = data();
    let (journal, _, mut state) = open(&files);
    write(&journal, &mut state, 1, b"up".to_vec()).unwrap();
    write(&journal, &mut state, 2, b"".to_vec()).unwrap();
    let written = files.read(path()).unwrap();
    let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(written, bytes, "{hex}");
}
