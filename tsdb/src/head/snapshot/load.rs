//! Reading a snapshot: series on all cores, the index beside them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::labels::LABEL_BYTES_MAX;

use super::SnapshotRefusal;
use super::file::{Damage, Kind, Section, sections};
use super::state::State;
use crate::head::Head;
use crate::head::index::{Index, IndexBuilder};
use crate::head::pages::{PAGE_SERIES, Pages};
use crate::wal::{ExemplarEntry, RecordError, TombstoneEntry, decode_exemplars, decode_tombstones};
use files::Files;
use files::codec::Reader;

/// Threads that read at most.
const THREADS_MAX: usize = 8;

/// What a snapshot holds.
pub(in crate::head) struct Loaded {
    pub(in crate::head) state: State,
    pub(in crate::head) index: Index,
    pub(in crate::head) pages: Pages,
    pub(in crate::head) tombstones: Vec<TombstoneEntry>,
    /// Oldest first.
    pub(in crate::head) exemplars: Vec<ExemplarEntry>,
    pub(in crate::head) aliases: HashMap<u64, u64>,
    pub(in crate::head) kept: HashMap<u64, i64>,
    /// Length of the file.
    pub(in crate::head) bytes: u64,
}

/// Reads the snapshot of a data folder; `None` where there is none.
///
/// # Errors
/// Why it must not be used.
pub(in crate::head) fn load(
    files: &dyn Files,
    dir: &Path,
) -> std::result::Result<Option<Loaded>, SnapshotRefusal> {
    let path = dir.join(Head::SNAPSHOT_FILE);
    if !files.exists(&path) {
        return Ok(None);
    }
    let bytes = files.map(&path)?;
    let damaged = |damage: Damage| SnapshotRefusal::Damaged(damage.to_string());
    let sections = sections(&bytes).map_err(damaged)?;
    let state = read_state(&sections).map_err(damaged)?;
    state.check(files, dir)?;
    let mut loaded = read_all(&sections, state).map_err(damaged)?;
    loaded.bytes = bytes.len() as u64;
    Ok(Some(loaded))
}

fn read_state(sections: &[Section<'_>]) -> Result<State, Damage> {
    let mut states = sections.iter().filter(|s| s.kind == Kind::State);
    match (states.next(), states.next()) {
        (Some(state), None) => state.read(State::read),
        _ => Err(Damage::Contradiction("there is not one section of state")),
    }
}

fn read_all(sections: &[Section<'_>], state: State) -> Result<Loaded, Damage> {
    let images: Vec<&Section<'_>> = sections.iter().filter(|s| s.kind == Kind::Images).collect();
    let (pages, next) = (Pages::default(), AtomicUsize::new(0));
    let read_images = || -> Result<u64, Damage> {
        let mut series = 0;
        while let Some(section) = images.get(next.fetch_add(1, Ordering::Relaxed)) {
            series += read_images(section, &pages)?;
        }
        Ok(series)
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let helpers = cores.min(THREADS_MAX).min(images.len()) - usize::from(!images.is_empty());
    let (index, series) = std::thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(read_images)).collect();
        let index = read_index(sections, &state);
        let mut series = read_images();
        for helper in helpers {
            let more = helper
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            series = series.and_then(|n| more.map(|more| n + more));
        }
        (index, series)
    });
    let (index, series) = (index?, series?);
    if index.len() as u64 != series {
        return Err(Damage::Contradiction("series and label sets are not the same"));
    }
    let mut loaded = Loaded {
        state,
        index,
        pages,
        tombstones: Vec::new(),
        exemplars: Vec::new(),
        aliases: HashMap::new(),
        kept: HashMap::new(),
        bytes: 0,
    };
    for section in sections {
        read_rest(section, &mut loaded)?;
    }
    Ok(loaded)
}

fn read_images(section: &Section<'_>, pages: &Pages) -> Result<u64, Damage> {
    let mut body = section.body()?;
    let mut series = 0;
    while !body.is_empty() {
        let damage = |e: RecordError| section.damage(e);
        let number = body.be64().map_err(damage)?;
        let count = body.be32().map_err(damage)?;
        if number > u64::MAX / PAGE_SERIES {
            return Err(section.damage("a page is out of range"));
        }
        let mut ahead = body.clone();
        let mut bytes = 0;
        for _ in 0..count {
            let len = ahead.u8().and_then(|_| ahead.be32()).map_err(damage)?;
            bytes += ahead.bytes(len as usize).map_err(damage)?.len();
        }
        let page = pages.get_or_create(number);
        let mut page = page.lock();
        page.begin_filling(count as usize, bytes);
        for _ in 0..count {
            let low = body.u8().map_err(damage)?;
            let len = body.be32().map_err(damage)?;
            let image = body.bytes(len as usize).map_err(damage)?;
            let reference = number * PAGE_SERIES + u64::from(low);
            page.insert_image(reference, image)
                .map_err(|e| section.damage(format_args!("series {reference}: {e}")))?;
        }
        page.end_filling();
        series += u64::from(count);
    }
    if series != u64::from(section.entries) {
        return Err(section.damage("series are missing, or too many"));
    }
    Ok(series)
}

fn read_index(sections: &[Section<'_>], state: &State) -> Result<Index, Damage> {
    // As replay does it: old stores have used up the first billions of references.
    let first = sections.iter().find(|s| s.kind == Kind::Series);
    let first = first.map_or(Ok(0), |s| s.body()?.uvarint().map_err(|e| s.damage(e)))?;
    let base = if state.next_reference > u64::from(u32::MAX / 2) {
        first - first % PAGE_SERIES
    } else {
        0
    };
    let mut builder = IndexBuilder::new(base);
    let mut pairs = Vec::new();
    for section in sections {
        let entries = 0..section.entries;
        match section.kind {
            Kind::Names => section.read(|body| {
                for _ in entries {
                    builder.add_name(label_text(body)?);
                }
                Ok(())
            })?,
            Kind::Pairs => section.read(|body| {
                for _ in entries {
                    let name = body.uvarint()? as u32;
                    if !builder.add_pair(name, label_text(body)?) {
                        return Err(RecordError::Invalid("a pair has no name"));
                    }
                }
                Ok(())
            })?,
            Kind::Series => section.read(|body| {
                let mut reference = 0u64;
                for _ in entries {
                    reference = reference.wrapping_add(body.uvarint()?);
                    read_set(body, reference, &mut pairs, &mut builder)?;
                }
                Ok(())
            })?,
            _ => {}
        }
    }
    Ok(builder.finish())
}

/// A name or value, of a length that a label can have.
fn label_text<'a>(body: &mut Reader<'a>) -> Result<&'a str, RecordError> {
    let text = body.text()?;
    if text.len() > LABEL_BYTES_MAX {
        return Err(RecordError::Invalid("a label is longer than any can be"));
    }
    Ok(text)
}

fn read_set(
    body: &mut Reader<'_>,
    reference: u64,
    pairs: &mut Vec<u32>,
    builder: &mut IndexBuilder,
) -> Result<(), RecordError> {
    let key = body.be32()?;
    pairs.clear();
    for _ in 0..body.count(1)? {
        pairs.push(u32::try_from(body.uvarint()?).unwrap_or(u32::MAX));
    }
    if builder.add_series(reference, key, pairs) {
        Ok(())
    } else {
        Err(RecordError::Invalid(
            "a series is out of order, or has unknown pairs",
        ))
    }
}

fn read_rest(section: &Section<'_>, loaded: &mut Loaded) -> Result<(), Damage> {
    match section.kind {
        Kind::Tombstones => {
            section.body()?;
            decode_tombstones(section.bytes(), &mut loaded.tombstones).map_err(|e| section.damage(e))
        }
        Kind::Exemplars => {
            section.body()?;
            decode_exemplars(section.bytes(), &mut loaded.exemplars).map_err(|e| section.damage(e))
        }
        Kind::Aliases => section.read(|body| {
            for _ in 0..section.entries {
                let alias = body.be64()?;
                loaded.aliases.insert(alias, body.be64()?);
            }
            Ok(())
        }),
        Kind::Kept => section.read(|body| {
            for _ in 0..section.entries {
                let reference = body.be64()?;
                loaded.kept.insert(reference, body.varint()?);
            }
            Ok(())
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use files::codec::put_text;

    #[test]
    fn a_text_that_no_label_can_hold_is_damage() {
        for (len, fits) in [(LABEL_BYTES_MAX, true), (LABEL_BYTES_MAX + 1, false)] {
            let mut body = Vec::new();
            put_text(&mut body, &"a".repeat(len));
            assert_eq!(label_text(&mut Reader::new(&body)).is_ok(), fits, "{len}");
        }
    }
}
