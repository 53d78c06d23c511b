//! The twin behaves as it says.

use std::path::Path;

use super::*;

#[test]
fn a_power_cut_keeps_what_was_synced_and_a_kill_everything() {
    let files = MemFiles::new();
    let (dir, a, b) = (Path::new("d"), Path::new("d/a"), Path::new("d/b"));
    files.create_dir_all(dir).unwrap();
    files.sync_dir(Path::new("")).unwrap();
    let writer = files.create(a).unwrap();
    writer.write_all(b"one").unwrap();
    writer.sync().unwrap();
    files.sync_dir(dir).unwrap();
    writer.write_all(b"two").unwrap();
    files.rename(a, b).unwrap();
    assert_eq!(files.after_kill().read(b).unwrap(), b"onetwo");
    let cut = files.after_power_loss();
    assert_eq!(cut.read(a).unwrap(), b"one");
    assert!(!cut.exists(b));
}

#[test]
fn faults_strike_where_they_are_told() {
    let files = MemFiles::new();
    files.inject(Fault::Call(2));
    let writer = files.create(Path::new("f")).unwrap();
    assert!(writer.write_all(b"x").is_err());
    writer.write_all(b"abcd").unwrap();
    files.inject(Fault::ShortWrite(0));
    assert!(writer.write_all(b"efgh").is_err());
    assert_eq!(files.read(Path::new("f")).unwrap(), b"abcdef");
    files.inject(Fault::NoSpaceAfter(1));
    assert!(writer.write_all(b"gh").is_err());
    assert_eq!(writer.len(), 7);
    files.heal();
    files.inject(Fault::FreezeAtSync(1));
    writer.sync().unwrap();
    assert!(writer.write_all(b"h").is_err() && files.is_frozen());
    assert_eq!(files.map(Path::new("f")).unwrap().len(), 7);
}

#[test]
fn a_lock_is_held_once() {
    let files = MemFiles::new();
    let lock = files.lock(Path::new("lock")).unwrap();
    assert!(files.lock(Path::new("lock")).is_err());
    drop(lock);
    assert!(files.lock(Path::new("lock")).is_ok());
}
