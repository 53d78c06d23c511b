//! Right checksums for wrong files.

fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Writes the checksum of `covered` behind it, where there is room.
fn seal(bytes: &mut [u8], covered: std::ops::Range<usize>) {
    let Some(body) = bytes.get(covered.clone()) else {
        return;
    };
    let crc = crc32c(body).to_be_bytes();
    if let Some(place) = bytes.get_mut(covered.end..covered.end.saturating_add(4)) {
        place.copy_from_slice(&crc);
    }
}

fn be64(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk::<8>()?;
    usize::try_from(u64::from_be_bytes(*word)).ok()
}

fn be32(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word) as usize)
}

/// A varint at `at`: its value and where it ends.
fn uvarint(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut value = 0usize;
    for i in 0..5 {
        let byte = *bytes.get(at + i)?;
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, at + i + 1));
        }
    }
    None
}

/// Seals the table of contents, the symbols, the postings table, and every series and postings list.
pub fn seal_index(bytes: &mut [u8]) {
    let Some(toc) = bytes.len().checked_sub(52) else {
        return;
    };
    let offset = |bytes: &[u8], i: usize| be64(bytes, toc + 8 * i).filter(|at| *at < bytes.len());
    for section in [0, 5] {
        if let Some(at) = offset(bytes, section)
            && let Some(len) = be32(bytes, at)
        {
            seal(bytes, at + 4..(at + 4).saturating_add(len));
        }
    }
    if let (Some(mut at), Some(end)) = (offset(bytes, 1), offset(bytes, 2)) {
        while at < end {
            let Some((len, start)) = uvarint(bytes, at) else {
                break;
            };
            seal(bytes, start..start.saturating_add(len));
            at = start.saturating_add(len).saturating_add(4).next_multiple_of(16);
        }
    }
    if let (Some(mut at), Some(end)) = (offset(bytes, 4), offset(bytes, 5)) {
        while at < end {
            let Some(len) = be32(bytes, at) else {
                break;
            };
            seal(bytes, at + 4..(at + 4).saturating_add(len));
            at = (at + 8).saturating_add(len).next_multiple_of(4);
        }
    }
    seal(bytes, toc..toc + 48);
}

/// Seals every chunk of a block's segment.
pub fn seal_segment(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some((len, start)) = uvarint(bytes, at) {
        let end = start.saturating_add(len).saturating_add(1);
        seal(bytes, start..end);
        at = end.saturating_add(4);
    }
}

/// Seals a tombstones file.
pub fn seal_tombstones(bytes: &mut [u8]) {
    if let Some(end) = bytes.len().checked_sub(4).filter(|end| *end >= 5) {
        seal(bytes, 5..end);
    }
}

/// Seals every chunk of a file of `chunks_head`.
pub fn seal_chunk_file(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some((len, data)) = uvarint(bytes, at + 25) {
        let end = data.saturating_add(len);
        seal(bytes, at..end);
        at = end.saturating_add(4);
    }
}

/// Seals every section of a snapshot of the head.
pub fn seal_snapshot(bytes: &mut [u8]) {
    const HEADER: usize = 16;
    let mut at = 12;
    while let Some(len) = be64(bytes, at + 8) {
        let body = at + HEADER + 4;
        let Some(header) = bytes.get(at..at + HEADER) else {
            return;
        };
        let mut sum = crc32fast::Hasher::new();
        sum.update(header);
        let Some(covered) = bytes.get(body..body.saturating_add(len)) else {
            return;
        };
        sum.update(covered);
        let sum = sum.finalize();
        bytes[at + HEADER..body].copy_from_slice(&sum.to_be_bytes());
        at = body + len;
    }
}

/// A log segment of the records in `input`, each behind two bytes of length; records that do not fit a page end it.
pub fn frame_records(input: &[u8]) -> Vec<u8> {
    const PAGE: usize = 32 << 10;
    let mut out = Vec::new();
    let mut rest = input;
    while let Some((head, tail)) = rest.split_first_chunk::<2>() {
        let (record, tail) = tail.split_at(usize::from(u16::from_le_bytes(*head)).min(tail.len()));
        rest = tail;
        let left = PAGE - out.len() % PAGE;
        if left < record.len() + 7 {
            out.resize(out.len() + left, 0);
        }
        if record.len() + 7 > PAGE {
            break;
        }
        out.push(1);
        out.extend_from_slice(&(record.len() as u16).to_be_bytes());
        out.extend_from_slice(&crc32c(record).to_be_bytes());
        out.extend_from_slice(record);
    }
    out
}
