//! Writing a snapshot while the head goes on.

use std::time::Instant;

use parking_lot::MutexGuard;

use super::file::{Kind, Writer, put_be32, temporary};
use super::state::{ChunkFileState, Position, State};
use super::{OnDisk, SnapshotStats};
use crate::head::Head;
use crate::head::index::NO_PAIR;
use crate::head::pages::{PAGE_SERIES, Page};
use crate::wal::{TombstoneEntry, encode_exemplars, encode_tombstones, last_checkpoint};
use files::Result;
use files::codec::{put_be64, put_text, put_uvarint, put_varint};

/// Series whose label sets are copied under one lock of the index.
const SETS_AT_A_TIME: usize = 1 << 14;
/// Label pairs that are copied under one lock of the index.
const PAIRS_AT_A_TIME: usize = 1 << 15;

/// The moment that a snapshot begins at.
struct Frozen {
    /// References below this were given out.
    next_reference: u64,
    max_ms: i64,
    wal: (u64, u64),
    wbl: Option<(u64, u64)>,
    chunk: u64,
    written_bytes: u64,
}

impl Head {
    /// Writes what is in the head beside the logs, so that the next start need not read them from their beginning. The
    /// head goes on meanwhile; compaction waits. `None` where a snapshot would be of no use: damage has been found that
    /// only a replay of the logs can heal.
    ///
    /// # Errors
    /// When the disk refuses, or has refused before. The snapshot before this one then stays as it is.
    pub fn write_snapshot(&self) -> Result<Option<SnapshotStats>> {
        let on_disk = self.on_disk.lock();
        let started = Instant::now();
        let written = self.write_snapshot_locked(on_disk);
        if written.is_err() {
            // Where this fails too, the next snapshot writes over it.
            let _ = self.files.remove_file(&temporary(&self.snapshot_path()));
        }
        if let Ok(Some(stats)) = &written {
            tracing::debug!(
                series = stats.series,
                bytes = stats.bytes,
                took_ms = started.elapsed().as_millis() as u64,
                "wrote a snapshot of the head"
            );
        }
        written
    }

    fn write_snapshot_locked(&self, mut on_disk: MutexGuard<'_, OnDisk>) -> Result<Option<SnapshotStats>> {
        self.check_open()?;
        if self.chunk_files.leave_missing()? || self.is_damaged() {
            self.remove_snapshot(&mut on_disk)?;
            return Ok(None);
        }
        let started = Instant::now();
        let created_ms = self.clock.now_ms();
        let frozen = self.freeze()?;
        let mut out = Writer::create(&*self.files, &self.snapshot_path())?;
        let series = self.put_images(&mut out, frozen.next_reference)?;
        self.put_index(&mut out, frozen.next_reference)?;
        self.put_tombstones(&mut out)?;
        self.put_exemplars(&mut out)?;
        self.put_references(&mut out)?;
        // What the snapshot holds must be durable in the files that it abridges before it counts. Late samples are logged
        // after they were applied: those in the images are once the transactions that brought them have ended.
        drop(self.gate.write());
        self.check_open()?;
        self.sync_inherited(&mut on_disk)?;
        self.chunk_files.sync()?;
        self.sync()?;
        let state = State {
            created_ms,
            next_reference: frozen.next_reference,
            max_ms: frozen.max_ms,
            checkpoint: last_checkpoint(&*self.files, self.wal.dir())?,
            wal: Position::take(&*self.files, self.wal.dir(), frozen.wal)?,
            wbl: match (self.wbl(), frozen.wbl) {
                (Some(wbl), Some(place)) => Some(Position::take(&*self.files, wbl.dir(), place)?),
                _ => None,
            },
            chunk: frozen.chunk,
            chunk_files: ChunkFileState::all(&*self.files, &self.dir.join(Self::CHUNKS_DIR))?,
        };
        state.put(out.begin(Kind::State));
        out.end(1)?;
        let finished = out.finish()?;
        let bytes = finished.bytes;
        finished.publish()?;
        *on_disk = OnDisk {
            bytes,
            written_bytes: frozen.written_bytes,
            ..OnDisk::default()
        };
        Ok(Some(SnapshotStats {
            series,
            bytes,
            duration: started.elapsed(),
        }))
    }

    /// Syncs what the process before this one has written, once.
    fn sync_inherited(&self, on_disk: &mut OnDisk) -> Result<()> {
        for path in &on_disk.inherited {
            if self.files.exists(path) {
                self.files.append(path)?.sync()?;
            }
        }
        on_disk.inherited.clear();
        Ok(())
    }

    /// Notes the positions at a moment when no transaction is under way: everything logged before them is applied.
    fn freeze(&self) -> Result<Frozen> {
        let mut scratch = self.take_scratch();
        let frozen = (|| {
            let _gate = self.gate.write();
            // While no series can be created: those that there are have their records before the position, all others
            // behind it.
            let _index = self.index.read();
            self.queue_fresh_series(&mut scratch);
            // A position is a place between records that are written: what is only queued can still move.
            self.wal.flush()?;
            self.wbl().map_or(Ok(()), crate::wal::Wal::flush)?;
            Ok(Frozen {
                next_reference: self.next_reference.load(std::sync::atomic::Ordering::Acquire),
                max_ms: self.max_ms(),
                wal: self.wal.position(),
                wbl: self.wbl().map(crate::wal::Wal::position),
                chunk: self.chunk_files.position(),
                written_bytes: self.log_bytes(),
            })
        })();
        self.return_scratch(scratch);
        frozen
    }

    /// Writes what series hold, page by page; returns how many there are.
    fn put_images(&self, out: &mut Writer<'_>, next_reference: u64) -> Result<u64> {
        let (mut series, mut in_section) = (0, 0);
        for (number, page) in self.pages.all() {
            if in_section == 0 {
                out.begin(Kind::Images);
            }
            in_section += put_page(out.body(), number, &page, next_reference);
            if in_section == 0 {
                // All of the page came behind the position.
                out.abandon();
            } else if out.is_long() {
                out.end(in_section)?;
                series += in_section as u64;
                in_section = 0;
            }
        }
        if in_section > 0 {
            out.end(in_section)?;
        }
        Ok(series + in_section as u64)
    }

    /// Writes names, label pairs and the label sets of series. The index is locked for one section at a time, and not
    /// while a file is written.
    fn put_index(&self, out: &mut Writer<'_>, next_reference: u64) -> Result<()> {
        let (mut new_places, keys, names) = {
            let index = self.index.read();
            let body = out.begin(Kind::Names);
            index.name_texts().for_each(|name| put_text(body, name));
            let new_places = vec![NO_PAIR; index.pair_places()];
            (new_places, index.keys(), index.name_texts().len())
        };
        out.end(names)?;
        let (mut next, mut pairs, places_len) = (0, 0, new_places.len());
        loop {
            let before = pairs;
            let index = self.index.read();
            let places = index.used_pairs(next, PAIRS_AT_A_TIME);
            for (place, name, value) in places.take_while(|(place, ..)| *place < places_len) {
                let body = match pairs == before {
                    true => out.begin(Kind::Pairs),
                    false => out.body(),
                };
                put_uvarint(body, u64::from(name));
                put_text(body, value);
                new_places[place] = pairs;
                next = place + 1;
                pairs += 1;
            }
            drop(index);
            if pairs == before {
                break;
            }
            out.end((pairs - before) as usize)?;
        }
        self.put_sets(out, next_reference, &new_places, &keys)
    }

    /// Writes the label sets of series below `next_reference`: they carry no pair that has come since.
    fn put_sets(
        &self,
        out: &mut Writer<'_>,
        next_reference: u64,
        new_places: &[u32],
        keys: &[u32],
    ) -> Result<()> {
        let mut next = 0;
        loop {
            let (mut series, mut last) = (0, 0);
            let index = self.index.read();
            for (number, reference, set) in index.sets_from(next, SETS_AT_A_TIME) {
                let (Some(key), true) = (keys.get(number as usize), reference < next_reference) else {
                    break;
                };
                let body = match series {
                    0 => out.begin(Kind::Series),
                    _ => out.body(),
                };
                put_uvarint(body, reference - last);
                put_be32(body, *key);
                put_uvarint(body, set.len() as u64);
                for place in set {
                    let new_place = new_places.get(*place as usize).unwrap_or(&NO_PAIR);
                    put_uvarint(body, u64::from(*new_place));
                }
                last = reference;
                next = number + 1;
                series += 1;
            }
            drop(index);
            if series == 0 {
                return Ok(());
            }
            out.end(series)?;
        }
    }

    fn put_tombstones(&self, out: &mut Writer<'_>) -> Result<()> {
        let mut entries: Vec<TombstoneEntry> = {
            let tombstones = self.tombstones.read();
            let entry = |series: u64, &(min_ms, max_ms): &(i64, i64)| TombstoneEntry {
                series,
                min_ms,
                max_ms,
            };
            tombstones
                .iter()
                .flat_map(|(series, ranges)| ranges.iter().map(move |range| entry(*series, range)))
                .collect()
        };
        if entries.is_empty() {
            return Ok(());
        }
        entries.sort_by_key(|e| (e.series, e.min_ms));
        let mut record = Vec::new();
        encode_tombstones(&mut record, entries.iter().copied());
        out.begin(Kind::Tombstones).extend_from_slice(&record);
        out.end(entries.len())
    }

    fn put_exemplars(&self, out: &mut Writer<'_>) -> Result<()> {
        let entries = self.exemplars.lock().entries();
        if entries.is_empty() {
            return Ok(());
        }
        let mut record = Vec::new();
        encode_exemplars(&mut record, &entries);
        out.begin(Kind::Exemplars).extend_from_slice(&record);
        out.end(entries.len())
    }

    /// Writes second references of series, and references whose records must be kept.
    fn put_references(&self, out: &mut Writer<'_>) -> Result<()> {
        let mut aliases: Vec<(u64, u64)> = self.aliases.lock().iter().map(|(a, b)| (*a, *b)).collect();
        if !aliases.is_empty() {
            aliases.sort_unstable();
            let body = out.begin(Kind::Aliases);
            for (alias, reference) in &aliases {
                put_be64(body, *alias);
                put_be64(body, *reference);
            }
            out.end(aliases.len())?;
        }
        let mut kept: Vec<(u64, i64)> = self.wal_keep.lock().iter().map(|(a, b)| (*a, *b)).collect();
        if !kept.is_empty() {
            kept.sort_unstable();
            let body = out.begin(Kind::Kept);
            for (reference, until_ms) in &kept {
                put_be64(body, *reference);
                put_varint(body, *until_ms);
            }
            out.end(kept.len())?;
        }
        Ok(())
    }
}

/// Appends the images of a page's series; returns their number.
fn put_page(out: &mut Vec<u8>, number: u64, page: &Page, next_reference: u64) -> usize {
    let mut page = page.lock();
    let first = number * PAGE_SERIES;
    let mut lows = Vec::with_capacity(PAGE_SERIES as usize);
    page.for_each(|series| lows.push(series.low()));
    let old = lows
        .into_iter()
        .filter(|low| first + u64::from(*low) < next_reference);
    let start = out.len();
    put_be64(out, number);
    put_be32(out, 0);
    let mut series = 0;
    for low in old {
        let at = out.len();
        out.push(low);
        put_be32(out, 0);
        if !page.write_image(first + u64::from(low), out) {
            out.truncate(at);
            continue;
        }
        let len = (out.len() - at - 5) as u32;
        out[at + 1..at + 5].copy_from_slice(&len.to_be_bytes());
        series += 1;
    }
    if series == 0 {
        out.truncate(start);
    } else {
        out[start + 8..start + 12].copy_from_slice(&(series as u32).to_be_bytes());
    }
    series
}
