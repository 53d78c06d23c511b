//! The log as a whole: grouping, segments, checkpoints, poison.

use super::*;
use files::{Fault, MemFiles};
use model::labels::Labels;

fn open(files: &MemFiles, segment_bytes: u64) -> Wal {
    let files: Arc<dyn Files> = Arc::new(files.clone());
    Wal::open(files, Path::new("wal"), 0, segment_bytes, Compression::Snappy).unwrap()
}

fn read(files: &MemFiles) -> Vec<Vec<u8>> {
    let dir = Path::new("wal");
    let mut records = Vec::new();
    let checkpoint = last_checkpoint(files, dir).unwrap();
    for path in checkpoint::log_sources(files, dir, checkpoint, u64::MAX).unwrap() {
        let bytes = files.map(&path).unwrap();
        let mut reader = SegmentReader::new(&bytes);
        while let Some(record) = reader.read().unwrap() {
            records.push(record.to_vec());
        }
    }
    records
}

#[test]
fn records_of_many_threads_are_all_there_and_segments_stay_within_their_size() {
    let files = MemFiles::new();
    let wal = open(&files, 64 << 10);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let wal = &wal;
            scope.spawn(move || {
                let mut compressor = Compressor::default();
                for i in 0..200u8 {
                    let record: Vec<u8> = (0..600u32)
                        .map(|b| (b * b) as u8 ^ i)
                        .chain([thread, i])
                        .collect();
                    wal.log(&mut compressor, &[&record]).unwrap();
                }
            });
        }
    });
    let records = read(&files);
    for thread in 0..4u8 {
        let seen: Vec<u8> = records
            .iter()
            .filter(|r| r[600] == thread)
            .map(|r| r[601])
            .collect();
        assert_eq!(seen, (0..200).collect::<Vec<u8>>(), "in order within a thread");
    }
    let sizes = files.list(Path::new("wal")).unwrap();
    assert!(
        sizes.len() > 2 && sizes.iter().all(|e| e.len <= 64 << 10),
        "{sizes:?}"
    );
}

#[test]
fn a_failed_sync_closes_the_log() {
    let files = MemFiles::new();
    let wal = open(&files, SEGMENT_BYTES);
    let mut compressor = Compressor::default();
    wal.log(&mut compressor, &[b"before"]).unwrap();
    files.inject(Fault::Sync(files.syncs() + 1));
    assert!(wal.sync().is_err());
    files.heal();
    assert!(wal.is_closed() && wal.failure().is_some());
    assert!(matches!(
        wal.log(&mut compressor, &[b"after"]),
        Err(StorageError::Poisoned(_))
    ));
}

#[test]
fn a_failed_write_is_undone_and_the_next_one_succeeds() {
    // Every call of a write that fills segments, and of what undoes it.
    let big = vec![7u8; 20_000];
    for fault in [Fault::Call as fn(u64) -> Fault, Fault::ShortWrite] {
        for call in 1..=8 {
            for second in [0, 1, 2] {
                let files = MemFiles::new();
                let wal = open(&files, PAGE_BYTES as u64);
                let mut compressor = Compressor::default();
                wal.log(&mut compressor, &[b"before"]).unwrap();
                files.inject(fault(files.calls() + call));
                if second > 0 {
                    files.inject(Fault::Call(files.calls() + call + second));
                }
                wal.enqueue(&mut compressor, b"kept", Keep::Yes);
                let mut logged = vec![b"before".to_vec(), b"kept".to_vec()];
                let mut failed = 0;
                for i in 0..4u8 {
                    let records: [&[u8]; 2] = [&[i], &big];
                    match wal.log(&mut compressor, &records) {
                        Ok(()) => logged.extend([vec![i], big.clone()]),
                        Err(_) => {
                            failed += 1;
                            assert!(wal.failure().is_some());
                        }
                    }
                }
                files.heal();
                wal.log(&mut compressor, &[b"after"]).unwrap();
                logged.push(b"after".to_vec());
                assert!(wal.failure().is_none());
                assert!(failed <= 3, "{failed}");
                wal.sync().unwrap();
                for found in [files.after_kill(), files.after_power_loss()] {
                    assert_eq!(read(&found), logged, "{:?} {second}", fault(call));
                }
            }
        }
    }
}

#[test]
fn a_transaction_that_another_ones_failure_takes_along_is_told() {
    let files = MemFiles::new();
    let wal = open(&files, SEGMENT_BYTES);
    let (mut one, mut two) = (Compressor::default(), Compressor::default());
    one.stage(wal.compression(), b"one");
    let mark = wal.frame_staged(&mut one, Keep::No);
    files.inject(Fault::Call(files.calls() + 1));
    assert!(wal.log(&mut two, &[b"two"]).is_err());
    assert!(wal.flush_to(mark).is_err(), "it went down with the other");
    wal.log(&mut two, &[b"three"]).unwrap();
    assert_eq!(read(&files), [b"three"]);
}

#[test]
fn a_checkpoint_keeps_what_is_asked_and_survives_a_crash_at_every_call() {
    const LONG: u32 = 4000;
    let build = || {
        let files = MemFiles::new();
        let wal = open(&files, SEGMENT_BYTES);
        let mut compressor = Compressor::default();
        let mut record = Vec::new();
        begin(&mut record, RecordType::Series);
        for series in 1..=3 {
            put_series(
                &mut record,
                series,
                &Labels::from_pairs([("n", series.to_string())]),
            );
        }
        wal.log(&mut compressor, &[&record]).unwrap();
        let entry = |series, timestamp_ms| FloatEntry {
            series,
            start_ms: 0,
            timestamp_ms,
            value: 1.0,
        };
        encode_floats(&mut record, [entry(1, 10), entry(2, 20), entry(3, 30)]);
        wal.log(&mut compressor, &[&record]).unwrap();
        // Left out and taken over as a whole; the latter over two pages.
        encode_floats(&mut record, [entry(1, 5), entry(2, 6)]);
        wal.log(&mut compressor, &[&record]).unwrap();
        let values = (0..LONG).map(|n| f64::from(n).sqrt());
        encode_floats(
            &mut record,
            values.map(|value| FloatEntry {
                value,
                ..entry(2, 25)
            }),
        );
        wal.log(&mut compressor, &[&record]).unwrap();
        wal.next_segment().unwrap();
        encode_floats(&mut record, [entry(1, 40)]);
        wal.log(&mut compressor, &[&record]).unwrap();
        wal.sync().unwrap();
        (files, wal)
    };
    let check = |files: &MemFiles| {
        let mut floats: Vec<FloatEntry> = Vec::new();
        let mut series = Vec::new();
        for record in read(files) {
            match RecordType::of(&record) {
                Some(RecordType::Series) => decode_series(&record, |r, _| series.push(r)).unwrap(),
                _ => decode_floats(&record, &mut floats).unwrap(),
            }
        }
        let long = floats.iter().filter(|f| f.timestamp_ms == 25).map(|f| f.value);
        assert!(long.eq((0..LONG).map(|n| f64::from(n).sqrt())));
        floats.dedup_by_key(|f| f.timestamp_ms);
        let times: Vec<i64> = floats.iter().map(|f| f.timestamp_ms).collect();
        (series, times)
    };
    let write = |files: &MemFiles, wal: &Wal| {
        let files: Arc<dyn Files> = Arc::new(files.clone());
        write_checkpoint(&files, wal, 0, 20, |series| series != 3)
            .and_then(|stats| remove_superseded(&*files, wal, 0).map(|()| stats))
    };
    let (before, after) = (
        (vec![1, 2, 3], vec![10, 20, 30, 5, 6, 25, 40]),
        (vec![1, 2], vec![20, 30, 25, 40]),
    );
    let (files, wal) = build();
    let stats = write(&files, &wal).unwrap();
    assert_eq!(
        (stats.series, stats.series_dropped, stats.samples_dropped),
        (2, 1, 3)
    );
    assert_eq!(stats.samples, 2 + u64::from(LONG));
    assert_eq!(check(&files), after);
    assert_eq!(segments(&files, Path::new("wal")).unwrap(), [1]);
    for call in 1..100 {
        let (files, wal) = build();
        files.inject(Fault::FreezeAtCall(files.calls() + call));
        let done = write(&files, &wal).is_ok();
        for found in [files.after_kill(), files.after_power_loss()] {
            let got = check(&found);
            assert!(got == before || got == after, "call {call}: {got:?}");
        }
        if done {
            return;
        }
    }
    panic!("the checkpoint never ended");
}
