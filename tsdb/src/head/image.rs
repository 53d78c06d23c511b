//! A series as bytes: what a snapshot of the head keeps of it, besides its reference and labels.
//!
//! | field | encoding |
//! |---|---|
//! | full chunks | uvarint count; each: 8 bytes file and offset, varint first timestamp, uvarint length in ms |
//! | open chunk | 1 byte encoding, 0 for none; else varint first timestamp, varint distance to its end, 1 byte whether a histogram chunk's end has been computed, uvarint length, the chunk |
//! | late chunks | as full chunks |
//! | late samples | uvarint count of chunks; each: 1 byte encoding, uvarint length, the chunk |
//! | metadata | uvarint length, a log record of metadata with reference 0; length 0 for none |
//!
//! Integers are big-endian. Encoders are not stored: they follow from the open chunk. What isolation remembers is not
//! stored either: no view outlives the process.

use model::columns::Columns;

use super::chunk_files::MappedChunk;
use super::ooo::{Late, LateValue, OutOfOrder};
use super::pages::Locked;
use super::series::Series;
use crate::chunk::{ChunkError, EncodeOptions, Encoding, decode, encode};
use crate::wal::{RecordError, decode_metadata, encode_metadata};
use files::codec::{Reader, put_be64, put_uvarint, put_varint};

/// Bytes that a full chunk takes at least.
const CHUNK_BYTES_MIN: usize = 8 + 1 + 1;

/// Why bytes are no image of a series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ImageError {
    /// The framing is broken.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A chunk is.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}

/// The open chunk of a series, for and from an image.
pub(crate) struct OpenImage<'a> {
    pub(crate) encoding: Encoding,
    pub(crate) min_ms: i64,
    /// The chunk ends before this.
    pub(crate) next_at_ms: i64,
    /// Whether `next_at_ms` of a histogram chunk was computed from how fast the chunk fills.
    pub(crate) end_computed: bool,
    pub(crate) bytes: &'a [u8],
}

impl Locked<'_> {
    /// Appends the image of a series to `out`; false where there is no such series.
    pub(crate) fn write_image(&mut self, reference: u64, out: &mut Vec<u8>) -> bool {
        let Some(series) = self.get(reference) else {
            return false;
        };
        write(&series, out);
        true
    }

    /// Adds a series as its image has it.
    ///
    /// # Errors
    /// When `image` is not an image, whole and nothing else; the series may be there in part then.
    pub(crate) fn insert_image(&mut self, reference: u64, image: &[u8]) -> Result<(), ImageError> {
        self.insert(reference);
        match self.get(reference) {
            Some(mut series) => read(&mut series, image),
            None => Ok(()),
        }
    }
}

fn write(series: &Series<'_>, out: &mut Vec<u8>) {
    let mapped: Vec<MappedChunk> = series.mapped().collect();
    write_chunks(&mapped, out);
    match series.open_image() {
        None => out.push(0),
        Some(open) => {
            out.push(open.encoding as u8);
            put_varint(out, open.min_ms);
            put_varint(out, open.next_at_ms.saturating_sub(open.min_ms));
            out.push(u8::from(open.end_computed));
            put_uvarint(out, open.bytes.len() as u64);
            out.extend_from_slice(open.bytes);
        }
    }
    let late = series.late();
    write_chunks(late.map_or(&[], |o| &o.mapped), out);
    let mut columns = Columns::default();
    OutOfOrder::read_open(late.map_or(&[], |o| &o.open), i64::MIN, i64::MAX, &mut columns);
    let chunks = encode(&columns, &EncodeOptions::default());
    put_uvarint(out, chunks.len() as u64);
    for chunk in chunks {
        out.push(chunk.encoding as u8);
        put_uvarint(out, chunk.bytes.len() as u64);
        out.extend_from_slice(&chunk.bytes);
    }
    let mut record = Vec::new();
    if let Some(metadata) = series.rest().and_then(|r| r.metadata.as_deref()) {
        encode_metadata(&mut record, [(0, metadata)]);
    }
    put_uvarint(out, record.len() as u64);
    out.extend_from_slice(&record);
}

fn read(series: &mut Series<'_>, image: &[u8]) -> Result<(), ImageError> {
    // An image tells more than the page keeps of it.
    series.expect_bytes(image.len());
    let mut reader = Reader::new(image);
    series.extend_mapped(&read_chunks(&mut reader)?);
    if let Some(encoding) = read_encoding(&mut reader)? {
        let min_ms = reader.varint()?;
        let next_at_ms = min_ms.saturating_add(reader.varint()?);
        let end_computed = reader.u8()? != 0;
        series.reopen(&OpenImage {
            encoding,
            min_ms,
            next_at_ms,
            end_computed,
            bytes: read_bytes(&mut reader)?,
        })?;
    }
    let mut late = OutOfOrder {
        open: Vec::new(),
        mapped: read_chunks(&mut reader)?,
    };
    let mut columns = Columns::default();
    for _ in 0..reader.count(2)? {
        let encoding = reader.u8()?;
        decode(
            encoding,
            read_bytes(&mut reader)?,
            i64::MIN,
            i64::MAX,
            &mut columns,
        )?;
    }
    late.open = late_samples(&columns);
    if !late.is_empty() {
        series.rest_mut().ooo = Some(Box::new(late));
    }
    let record = read_bytes(&mut reader)?;
    if !record.is_empty() {
        let mut metadata = Vec::new();
        decode_metadata(record, &mut metadata)?;
        series.rest_mut().metadata = metadata.pop().map(|(_, m)| Box::new(m));
    }
    if reader.is_empty() {
        Ok(())
    } else {
        Err(RecordError::Invalid("an image of a series is too long").into())
    }
}

fn write_chunks(chunks: &[MappedChunk], out: &mut Vec<u8>) {
    put_uvarint(out, chunks.len() as u64);
    for chunk in chunks {
        put_be64(out, chunk.chunk);
        put_varint(out, chunk.min_ms);
        put_uvarint(out, chunk.max_ms.wrapping_sub(chunk.min_ms) as u64);
    }
}

fn read_chunks(reader: &mut Reader<'_>) -> Result<Vec<MappedChunk>, ImageError> {
    let count = reader.count(CHUNK_BYTES_MIN)?;
    let mut chunks = Vec::with_capacity(count);
    for _ in 0..count {
        let chunk = reader.be64()?;
        let min_ms = reader.varint()?;
        chunks.push(MappedChunk {
            chunk,
            min_ms,
            max_ms: min_ms.wrapping_add(reader.uvarint()? as i64),
        });
    }
    Ok(chunks)
}

fn read_encoding(reader: &mut Reader<'_>) -> Result<Option<Encoding>, ImageError> {
    match reader.u8()? {
        0 => Ok(None),
        byte => Ok(Some(Encoding::from_byte(byte)?)),
    }
}

fn read_bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], ImageError> {
    let len = reader.count(1)?;
    Ok(reader.bytes(len)?)
}

fn late_samples(columns: &Columns) -> Vec<Late> {
    let mut histograms = columns.histograms.iter().peekable();
    let rows = columns.timestamps_ms.iter().zip(&columns.values).enumerate();
    rows.map(|(row, (timestamp_ms, value))| {
        let histogram = histograms.next_if(|(at, _)| *at as usize == row);
        Late {
            start_ms: columns.start_timestamps_ms.get(row).copied().unwrap_or(0),
            timestamp_ms: *timestamp_ms,
            value: match histogram {
                Some((_, histogram)) => LateValue::Histogram(histogram.clone()),
                None => LateValue::Float(*value),
            },
        }
    })
    .collect()
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
