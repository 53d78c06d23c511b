//! The message of 1.0, `prometheus.WriteRequest`.

use model::protobuf::{Fields, WireError};

use super::error::DecodeError;
use super::gather::{Gather, Gathered};
use super::labels::{LABELS_MAX, Pair, push_bounded};
use crate::histogram;

/// Reads the message.
///
/// # Errors
/// When it is none: nothing of it is to be stored then.
pub(super) fn read<'m>(message: &'m [u8], mut gather: Gather<'m, '_>) -> Result<Gathered<'m>, DecodeError> {
    let mut of_exemplar = Vec::new();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => read_series(field.expect_bytes()?, &mut gather, &mut of_exemplar)?,
            // Compat: metadata is not stored, but it must be right (remote-write: v1/metadata).
            3 => check_metadata(field.expect_bytes()?)?,
            _ => {}
        }
    }
    gather.finish()
}

fn read_series<'m>(
    message: &'m [u8],
    gather: &mut Gather<'m, '_>,
    of_exemplar: &mut Vec<Pair<'m>>,
) -> Result<(), DecodeError> {
    gather.begin();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => {
                let pair = read_label(field.expect_bytes()?)?;
                push_bounded(&mut gather.pairs, pair, LABELS_MAX);
            }
            2 => {
                let (value, timestamp_ms) = read_sample(field.expect_bytes()?)?;
                gather.float(value, timestamp_ms, 0)?;
            }
            3 => read_exemplar(field.expect_bytes()?, gather, of_exemplar)?,
            4 => {
                let timed = histogram::read::<DecodeError>(field.expect_bytes()?, false, &mut gather.budget)?;
                gather.histogram(timed)?;
            }
            _ => {}
        }
    }
    gather.end(message)
}

/// The labels of a series' message.
pub(super) fn labels_of<'m>(message: &'m [u8], pairs: &mut Vec<Pair<'m>>) -> Result<(), DecodeError> {
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        if field.number == 1 {
            push_bounded(pairs, read_label(field.expect_bytes()?)?, LABELS_MAX);
        }
    }
    Ok(())
}

#[inline]
fn read_label(message: &[u8]) -> Result<Pair<'_>, WireError> {
    let (mut name, mut value): Pair<'_> = (&[], &[]);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => name = field.expect_bytes()?,
            2 => value = field.expect_bytes()?,
            _ => {}
        }
    }
    Ok((name, value))
}

#[inline]
fn read_sample(message: &[u8]) -> Result<(f64, i64), WireError> {
    let (mut value, mut timestamp_ms) = (0.0, 0);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => value = field.expect_double()?,
            2 => timestamp_ms = field.expect_varint()? as i64,
            _ => {}
        }
    }
    Ok((value, timestamp_ms))
}

fn read_exemplar<'m>(
    message: &'m [u8],
    gather: &mut Gather<'m, '_>,
    pairs: &mut Vec<Pair<'m>>,
) -> Result<(), DecodeError> {
    pairs.clear();
    let (mut value, mut timestamp_ms) = (0.0, 0);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => push_bounded(pairs, read_label(field.expect_bytes()?)?, LABELS_MAX),
            2 => value = field.expect_double()?,
            3 => timestamp_ms = field.expect_varint()? as i64,
            _ => {}
        }
    }
    gather.exemplar(pairs, value, timestamp_ms)
}

fn check_metadata(message: &[u8]) -> Result<(), WireError> {
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => drop(field.expect_varint()?),
            2 | 4 | 5 => drop(field.expect_bytes()?),
            _ => {}
        }
    }
    Ok(())
}
