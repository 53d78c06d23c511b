//! The message of 2.0, `io.prometheus.write.v2.Request`: texts stand in a table of symbols, which may follow the series.

use model::protobuf::{Field, Fields, WireError};
use model::sample::{Metadata, MetricType};

use super::Options;
use super::error::{DecodeError, Fault, ReferenceFault};
use super::gather::{Gather, Gathered};
use super::labels::{LABELS_MAX, Pair, push_bounded};
use crate::histogram;

/// Symbols that a table may have: some hundred times as many as senders' tables have.
const SYMBOLS_MAX: usize = 1 << 20;
/// References of as many labels as a series may have, and of nearly one more.
const REFERENCES_MAX: usize = 2 * LABELS_MAX + 1;
const TYPE_LABEL: &[u8] = b"__type__";
const UNIT_LABEL: &[u8] = b"__unit__";

/// The table of symbols.
pub(super) struct Symbols<'m>(Vec<&'m [u8]>);

/// Reads the message.
///
/// # Errors
/// When it is none: nothing of it is to be stored then.
pub(super) fn read<'m>(
    message: &'m [u8],
    mut gather: Gather<'m, '_>,
    options: &Options,
) -> Result<Gathered<'m>, DecodeError> {
    let symbols = read_symbols(message)?;
    let mut reader = Reader {
        symbols: &symbols,
        options,
        references: Vec::new(),
        pairs: Vec::new(),
    };
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        if field.number == 5 {
            reader.series(field.expect_bytes()?, &mut gather)?;
        }
    }
    let mut gathered = gather.finish()?;
    gathered.symbols = Some(symbols);
    Ok(gathered)
}

fn read_symbols(message: &[u8]) -> Result<Symbols<'_>, DecodeError> {
    let mut symbols = Vec::new();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            4 if symbols.len() == SYMBOLS_MAX => return Err(DecodeError::Symbols { max: SYMBOLS_MAX }),
            4 => symbols.push(field.expect_bytes()?),
            _ => {}
        }
    }
    Ok(Symbols(symbols))
}

impl<'m> Symbols<'m> {
    #[inline]
    fn get(&self, reference: u32) -> Result<&'m [u8], ReferenceFault> {
        let symbol = self.0.get(reference as usize);
        symbol.copied().ok_or(ReferenceFault::Outside {
            reference,
            symbols: self.0.len(),
        })
    }

    /// The pairs that references name.
    #[inline]
    fn pairs(&self, references: &[u32], pairs: &mut Vec<Pair<'m>>) -> Result<(), ReferenceFault> {
        pairs.clear();
        let (couples, []) = references.as_chunks::<2>() else {
            return Err(ReferenceFault::Odd {
                count: references.len(),
            });
        };
        for [name, value] in couples {
            pairs.push((self.get(*name)?, self.get(*value)?));
        }
        Ok(())
    }
}

/// The labels of a series' message.
pub(super) fn labels_of<'m>(
    message: &[u8],
    symbols: &Symbols<'m>,
    pairs: &mut Vec<Pair<'m>>,
) -> Result<(), DecodeError> {
    let mut references = Vec::new();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        if field.number == 1 {
            read_references(&field, &mut references)?;
        }
    }
    // Of what was refused nothing is shown.
    let _ = symbols.pairs(&references, pairs);
    Ok(())
}

#[inline]
fn read_references(field: &Field<'_>, references: &mut Vec<u32>) -> Result<(), WireError> {
    field.each_varint(|reference| {
        // Compat: cut to 32 bits (remote-write: v2/symbols/ref-over-32-bits). An even number in all: what is too much is
        // too much, not odd.
        push_bounded(references, reference as u32, REFERENCES_MAX);
        Ok(())
    })
}

/// What a series says of its metric.
#[derive(Clone, Copy, Default)]
struct About {
    kind: u64,
    help: u32,
    unit: u32,
}

struct Reader<'m, 'r> {
    symbols: &'r Symbols<'m>,
    options: &'r Options,
    /// Of the labels of the series that is read.
    references: Vec<u32>,
    /// Labels of an exemplar.
    pairs: Vec<Pair<'m>>,
}

impl<'m> Reader<'m, '_> {
    fn series(&mut self, message: &'m [u8], gather: &mut Gather<'m, '_>) -> Result<(), DecodeError> {
        gather.begin();
        self.references.clear();
        let mut about = About::default();
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => read_references(&field, &mut self.references)?,
                2 => {
                    let (value, timestamp_ms, start_ms) = read_sample(field.expect_bytes()?)?;
                    gather.float(value, timestamp_ms, start_ms)?;
                }
                3 => {
                    let timed =
                        histogram::read::<DecodeError>(field.expect_bytes()?, true, &mut gather.budget)?;
                    gather.histogram(timed)?;
                }
                4 => self.exemplar(field.expect_bytes()?, gather)?,
                5 => read_about(field.expect_bytes()?, &mut about)?,
                _ => {}
            }
        }
        if let Err(fault) = self.symbols.pairs(&self.references, &mut gather.pairs) {
            gather.refuse(&Fault::References(fault), true);
            return Ok(());
        }
        let (unit, help) = match (self.symbols.get(about.unit), self.symbols.get(about.help)) {
            (Ok(unit), Ok(help)) => (unit, help),
            // Compat: these do not count as ones with bad labels (remote-write: v2/metadata-unit-ref-out-of-range).
            (Err(fault), _) | (_, Err(fault)) => {
                gather.refuse(&Fault::References(fault), false);
                return Ok(());
            }
        };
        let kind = metric_type(about.kind);
        if self.options.type_and_unit_labels {
            add_type_and_unit(kind, unit, &mut gather.pairs);
        }
        if gather.samples() == 0 {
            return gather.end_empty();
        }
        let is_told = kind != MetricType::Unknown || !unit.is_empty() || !help.is_empty();
        if self.options.keep_metadata && is_told {
            let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
            gather.metadata(Metadata {
                metric_type: kind,
                unit: text(unit),
                help: text(help),
            })?;
        }
        gather.end(message)
    }

    fn exemplar(&mut self, message: &[u8], gather: &mut Gather<'m, '_>) -> Result<(), DecodeError> {
        let mut references = Vec::new();
        let (mut value, mut timestamp_ms) = (0.0, 0);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => read_references(&field, &mut references)?,
                2 => value = field.expect_double()?,
                3 => timestamp_ms = field.expect_varint()? as i64,
                _ => {}
            }
        }
        match self.symbols.pairs(&references, &mut self.pairs) {
            Ok(()) => gather.exemplar(&self.pairs, value, timestamp_ms),
            Err(fault) => gather.fault(Fault::Exemplar(fault)),
        }
    }
}

#[inline]
fn read_sample(message: &[u8]) -> Result<(f64, i64, i64), WireError> {
    let (mut value, mut timestamp_ms, mut start_ms) = (0.0, 0, 0);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => value = field.expect_double()?,
            2 => timestamp_ms = field.expect_varint()? as i64,
            3 => start_ms = field.expect_varint()? as i64,
            _ => {}
        }
    }
    Ok((value, timestamp_ms, start_ms))
}

fn read_about(message: &[u8], about: &mut About) -> Result<(), WireError> {
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => about.kind = field.expect_varint()?,
            3 => about.help = field.expect_varint()? as u32,
            4 => about.unit = field.expect_varint()? as u32,
            _ => {}
        }
    }
    Ok(())
}

fn metric_type(number: u64) -> MetricType {
    match number {
        1 => MetricType::Counter,
        2 => MetricType::Gauge,
        3 => MetricType::Histogram,
        4 => MetricType::GaugeHistogram,
        5 => MetricType::Summary,
        6 => MetricType::Info,
        7 => MetricType::StateSet,
        _ => MetricType::Unknown,
    }
}

/// Compat: what the metadata say takes the place of such labels (remote-write: v2/metadata-type-in-labels-type-unit).
fn add_type_and_unit<'m>(kind: MetricType, unit: &'m [u8], pairs: &mut Vec<Pair<'m>>) {
    if kind == MetricType::Unknown && unit.is_empty() {
        return;
    }
    pairs.retain(|(name, _)| *name != TYPE_LABEL && *name != UNIT_LABEL);
    if kind != MetricType::Unknown {
        pairs.push((TYPE_LABEL, kind.as_str().as_bytes()));
    }
    if !unit.is_empty() {
        pairs.push((UNIT_LABEL, unit));
    }
}
