//! Reading messages into the lists.

use model::protobuf::{Field, Fields, Value, take_varint, zigzag};

use super::{
    AnyValue, Attribute, DECODED_BYTES_MAX, DecodeError, ExemplarPoint, ExponentialPoint, Head,
    HistogramPoint, Kind, Metric, NESTING_MAX, Number, NumberPoint, Request, Resource, Run, Scope, Side,
    SummaryPoint, Temporality,
};

impl<'b> Request<'b> {
    /// Reads an `ExportMetricsServiceRequest`.
    pub(in crate::otlp) fn decode(body: &'b [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader {
            request: Request::default(),
            left: DECODED_BYTES_MAX,
        };
        let mut fields = Fields::new(body);
        while let Some(field) = fields.next_field()? {
            if field.number == 1 {
                reader.resource_metrics(message("a request", &field)?)?;
            }
        }
        Ok(reader.request)
    }
}

struct Reader<'b> {
    request: Request<'b>,
    /// How many bytes the lists may still grow.
    left: usize,
}

type Result<T, E = DecodeError> = std::result::Result<T, E>;

/// A field's value as a message, a text, or bytes.
fn message<'b>(of: &'static str, field: &Field<'b>) -> Result<&'b [u8]> {
    match field.value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err(wrong(of, field)),
    }
}

fn fixed(of: &'static str, field: &Field<'_>) -> Result<u64> {
    match field.value {
        Value::Fixed64(number) => Ok(number),
        _ => Err(wrong(of, field)),
    }
}

fn varint(of: &'static str, field: &Field<'_>) -> Result<u64> {
    match field.value {
        Value::Varint(number) => Ok(number),
        _ => Err(wrong(of, field)),
    }
}

fn double(of: &'static str, field: &Field<'_>) -> Result<f64> {
    Ok(f64::from_bits(fixed(of, field)?))
}

fn wrong(message: &'static str, field: &Field<'_>) -> DecodeError {
    DecodeError::WrongType {
        message,
        field: field.number,
    }
}

fn id<'b>(what: &'static str, field: &Field<'b>, want: usize) -> Result<&'b [u8]> {
    let bytes = message("an exemplar", field)?;
    if !bytes.is_empty() && bytes.len() != want {
        let len = bytes.len();
        return Err(DecodeError::IdLength { what, len, want });
    }
    Ok(bytes)
}

impl<'b> Reader<'b> {
    /// Takes room for one entry more.
    fn room_for<T>(&mut self) -> Result<()> {
        self.left = self
            .left
            .checked_sub(size_of::<T>())
            .ok_or(DecodeError::TooMuch)?;
        Ok(())
    }

    fn resource_metrics(&mut self, bytes: &'b [u8]) -> Result<()> {
        const MESSAGE: &str = "resource metrics";
        /// Where scopes were, before they had this name.
        const OLD_SCOPES: u64 = 1000;
        let attributes = self.request.attributes.len();
        let mut has_scopes = false;
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => {
                    let mut parts = Fields::new(message(MESSAGE, &field)?);
                    while let Some(part) = parts.next_field()? {
                        if part.number == 1 {
                            self.attribute(message("a resource", &part)?)?;
                        }
                    }
                }
                2 => has_scopes = true,
                _ => {}
            }
        }
        let attributes = Run::of(attributes, &self.request.attributes);
        let scopes = self.request.scopes.len();
        let wanted = if has_scopes { 2 } else { OLD_SCOPES };
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            if field.number == wanted {
                self.scope_metrics(message(MESSAGE, &field)?)?;
            }
        }
        let scopes = Run::of(scopes, &self.request.scopes);
        self.room_for::<Resource>()?;
        self.request.resources.push(Resource { attributes, scopes });
        Ok(())
    }

    fn scope_metrics(&mut self, bytes: &'b [u8]) -> Result<()> {
        const MESSAGE: &str = "scope metrics";
        let attributes = self.request.attributes.len();
        let mut scope = Scope {
            name: &[],
            version: &[],
            schema_url: &[],
            attributes: Run::default(),
            metrics: Run::default(),
        };
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => {
                    let mut parts = Fields::new(message(MESSAGE, &field)?);
                    while let Some(part) = parts.next_field()? {
                        match part.number {
                            1 => scope.name = message("a scope", &part)?,
                            2 => scope.version = message("a scope", &part)?,
                            3 => self.attribute(message("a scope", &part)?)?,
                            _ => {}
                        }
                    }
                }
                3 => scope.schema_url = message(MESSAGE, &field)?,
                _ => {}
            }
        }
        scope.attributes = Run::of(attributes, &self.request.attributes);
        let metrics = self.request.metrics.len();
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            if field.number == 2 {
                self.metric(message(MESSAGE, &field)?)?;
            }
        }
        scope.metrics = Run::of(metrics, &self.request.metrics);
        self.room_for::<Scope<'_>>()?;
        self.request.scopes.push(scope);
        Ok(())
    }

    fn metric(&mut self, bytes: &'b [u8]) -> Result<()> {
        const MESSAGE: &str = "a metric";
        let mut metric = Metric {
            name: &[],
            description: &[],
            unit: &[],
            kind: Kind::Missing,
            temporality: Temporality::Unspecified,
            monotonic: false,
            points: Run::default(),
        };
        let mut data: &[u8] = &[];
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            // One of these, and the last counts.
            let kind = match field.number {
                1 => {
                    metric.name = message(MESSAGE, &field)?;
                    continue;
                }
                2 => {
                    metric.description = message(MESSAGE, &field)?;
                    continue;
                }
                3 => {
                    metric.unit = message(MESSAGE, &field)?;
                    continue;
                }
                5 => Kind::Gauge,
                7 => Kind::Sum,
                9 => Kind::Histogram,
                10 => Kind::Exponential,
                11 => Kind::Summary,
                _ => continue,
            };
            (metric.kind, data) = (kind, message(MESSAGE, &field)?);
        }
        self.points(&mut metric, data)?;
        self.room_for::<Metric<'_>>()?;
        self.request.metrics.push(metric);
        Ok(())
    }

    fn points(&mut self, metric: &mut Metric<'b>, bytes: &'b [u8]) -> Result<()> {
        const MESSAGE: &str = "a metric's data";
        let list_len = |request: &Request<'_>| match metric.kind {
            Kind::Missing => 0,
            Kind::Gauge | Kind::Sum => request.numbers.len(),
            Kind::Histogram => request.histograms.len(),
            Kind::Exponential => request.exponentials.len(),
            Kind::Summary => request.summaries.len(),
        };
        let begin = list_len(&self.request);
        let has_temporality = matches!(metric.kind, Kind::Sum | Kind::Histogram | Kind::Exponential);
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => {
                    let point = message(MESSAGE, &field)?;
                    match metric.kind {
                        Kind::Missing => {}
                        Kind::Gauge | Kind::Sum => self.number_point(point)?,
                        Kind::Histogram => self.histogram_point(point)?,
                        Kind::Exponential => self.exponential_point(point)?,
                        Kind::Summary => self.summary_point(point)?,
                    }
                }
                2 if has_temporality => metric.temporality = Temporality::of(varint(MESSAGE, &field)?),
                3 if metric.kind == Kind::Sum => metric.monotonic = varint(MESSAGE, &field)? != 0,
                _ => {}
            }
        }
        metric.points = Run {
            begin: begin as u32,
            end: list_len(&self.request) as u32,
        };
        Ok(())
    }

    fn number_point(&mut self, bytes: &'b [u8]) -> Result<()> {
        const MESSAGE: &str = "a number's point";
        let mut head = Head::default();
        let mut value = Number::Missing;
        let attributes = self.request.attributes.len();
        let mut has_exemplars = false;
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            match field.number {
                2 => head.start_ns = fixed(MESSAGE, &field)?,
                3 => head.time_ns = fixed(MESSAGE, &field)?,
                4 => value = Number::Double(double(MESSAGE, &field)?),
                5 => has_exemplars = true,
                6 => value = Number::Int(fixed(MESSAGE, &field)? as i64),
                7 => self.attribute(message(MESSAGE, &field)?)?,
                8 => head.flags = varint(MESSAGE, &field)? as u32,
                _ => {}
            }
        }
        head.attributes = Run::of(attributes, &self.request.attributes);
        if has_exemplars {
            head.exemplars = self.exemplars(MESSAGE, bytes, 5)?;
        }
        self.room_for::<NumberPoint>()?;
        self.request.numbers.push(NumberPoint { head, value });
        Ok(())
    }

    fn histogram_point(&mut self, bytes: &'b [u8]) -> Result<()> {
        const MESSAGE: &str = "a histogram's point";
        let mut head = Head::default();
        let (mut count, mut sum) = (0, None);
        let attributes = self.request.attributes.len();
        let (counts, bounds) = (self.request.counts.len(), self.request.bounds.len());
        let mut has_exemplars = false;
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            match field.number {
                2 => head.start_ns = fixed(MESSAGE, &field)?,
                3 => head.time_ns = fixed(MESSAGE, &field)?,
                4 => count = fixed(MESSAGE, &field)?,
                5 => sum = Some(double(MESSAGE, &field)?),
                6 => self.fixed_list(MESSAGE, &field, |request, bits| request.counts.push(bits))?,
                7 => self.fixed_list(MESSAGE, &field, |request, bits| {
                    request.bounds.push(f64::from_bits(bits));
                })?,
                8 => has_exemplars = true,
                9 => self.attribute(message(MESSAGE, &field)?)?,
                10 => head.flags = varint(MESSAGE, &field)? as u32,
                _ => {}
            }
        }
        head.attributes = Run::of(attributes, &self.request.attributes);
        if has_exemplars {
            head.exemplars = self.exemplars(MESSAGE, bytes, 8)?;
        }
        self.room_for::<HistogramPoint>()?;
        let counts = Run::of(counts, &self.request.counts);
        let bounds = Run::of(bounds, &self.request.bounds);
        self.request.histograms.push(HistogramPoint {
            head,
            count,
            sum,
            counts,
            bounds,
        });
        Ok(())
    }

    fn exponential_point(&mut self, bytes: &'b [u8]) -> Result<()> {
        const MESSAGE: &str = "an exponential histogram's point";
        let mut point = ExponentialPoint {
            head: Head::default(),
            count: 0,
            sum: None,
            scale: 0,
            zero_count: 0,
            zero_threshold: 0.0,
            positive: Side::default(),
            negative: Side::default(),
        };
        let attributes = self.request.attributes.len();
        let mut has_exemplars = false;
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => self.attribute(message(MESSAGE, &field)?)?,
                2 => point.head.start_ns = fixed(MESSAGE, &field)?,
                3 => point.head.time_ns = fixed(MESSAGE, &field)?,
                4 => point.count = fixed(MESSAGE, &field)?,
                5 => point.sum = Some(double(MESSAGE, &field)?),
                6 => point.scale = zigzag(varint(MESSAGE, &field)?) as i32,
                7 => point.zero_count = fixed(MESSAGE, &field)?,
                10 => point.head.flags = varint(MESSAGE, &field)? as u32,
                11 => has_exemplars = true,
                14 => point.zero_threshold = double(MESSAGE, &field)?,
                _ => {}
            }
        }
        point.head.attributes = Run::of(attributes, &self.request.attributes);
        point.positive = self.side(MESSAGE, bytes, 8)?;
        point.negative = self.side(MESSAGE, bytes, 9)?;
        if has_exemplars {
            point.head.exemplars = self.exemplars(MESSAGE, bytes, 11)?;
        }
        self.room_for::<ExponentialPoint>()?;
        self.request.exponentials.push(point);
        Ok(())
    }

    /// Buckets that lie in field `wanted` of `bytes`.
    fn side(&mut self, of: &'static str, bytes: &'b [u8], wanted: u64) -> Result<Side> {
        const MESSAGE: &str = "exponential buckets";
        let begin = self.request.counts.len();
        let mut offset = 0;
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            if field.number != wanted {
                continue;
            }
            let mut parts = Fields::new(message(of, &field)?);
            while let Some(part) = parts.next_field()? {
                match (part.number, part.value) {
                    (1, _) => offset = zigzag(varint(MESSAGE, &part)?) as i32,
                    (2, Value::Bytes(mut packed)) => {
                        while !packed.is_empty() {
                            self.room_for::<u64>()?;
                            self.request.counts.push(take_varint(&mut packed)?);
                        }
                    }
                    (2, _) => {
                        self.room_for::<u64>()?;
                        self.request.counts.push(varint(MESSAGE, &part)?);
                    }
                    _ => {}
                }
            }
        }
        let counts = Run::of(begin, &self.request.counts);
        Ok(Side { offset, counts })
    }

    fn summary_point(&mut self, bytes: &'b [u8]) -> Result<()> {
        const MESSAGE: &str = "a summary's point";
        let mut head = Head::default();
        let (mut count, mut sum) = (0, 0.0);
        let attributes = self.request.attributes.len();
        let quantiles = self.request.quantiles.len();
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            match field.number {
                2 => head.start_ns = fixed(MESSAGE, &field)?,
                3 => head.time_ns = fixed(MESSAGE, &field)?,
                4 => count = fixed(MESSAGE, &field)?,
                5 => sum = double(MESSAGE, &field)?,
                6 => {
                    let mut pair = (0.0, 0.0);
                    let mut parts = Fields::new(message(MESSAGE, &field)?);
                    while let Some(part) = parts.next_field()? {
                        match part.number {
                            1 => pair.0 = double("a quantile", &part)?,
                            2 => pair.1 = double("a quantile", &part)?,
                            _ => {}
                        }
                    }
                    self.room_for::<(f64, f64)>()?;
                    self.request.quantiles.push(pair);
                }
                7 => self.attribute(message(MESSAGE, &field)?)?,
                8 => head.flags = varint(MESSAGE, &field)? as u32,
                _ => {}
            }
        }
        head.attributes = Run::of(attributes, &self.request.attributes);
        let quantiles = Run::of(quantiles, &self.request.quantiles);
        self.room_for::<SummaryPoint>()?;
        self.request.summaries.push(SummaryPoint {
            head,
            count,
            sum,
            quantiles,
        });
        Ok(())
    }

    /// Those in field `wanted` of a point. Read after the point's own attributes, so that these lie beside each other.
    fn exemplars(&mut self, of: &'static str, bytes: &'b [u8], wanted: u64) -> Result<Run> {
        let begin = self.request.exemplars.len();
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            if field.number == wanted {
                self.exemplar(message(of, &field)?)?;
            }
        }
        Ok(Run::of(begin, &self.request.exemplars))
    }

    fn exemplar(&mut self, bytes: &'b [u8]) -> Result<()> {
        const MESSAGE: &str = "an exemplar";
        let mut exemplar = ExemplarPoint {
            attributes: Run::default(),
            time_ns: 0,
            value: Number::Missing,
            trace_id: &[],
            span_id: &[],
        };
        let attributes = self.request.attributes.len();
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            match field.number {
                2 => exemplar.time_ns = fixed(MESSAGE, &field)?,
                3 => exemplar.value = Number::Double(double(MESSAGE, &field)?),
                4 => exemplar.span_id = id("span id", &field, 8)?,
                5 => exemplar.trace_id = id("trace id", &field, 16)?,
                6 => exemplar.value = Number::Int(fixed(MESSAGE, &field)? as i64),
                7 => self.attribute(message(MESSAGE, &field)?)?,
                _ => {}
            }
        }
        exemplar.attributes = Run::of(attributes, &self.request.attributes);
        self.room_for::<ExemplarPoint<'_>>()?;
        self.request.exemplars.push(exemplar);
        Ok(())
    }

    fn attribute(&mut self, bytes: &'b [u8]) -> Result<()> {
        self.room_for::<Attribute<'_>>()?;
        let attribute = Attribute::read(bytes, NESTING_MAX)?;
        self.request.attributes.push(attribute);
        Ok(())
    }

    /// Numbers of eight bytes, packed or one a field.
    fn fixed_list(
        &mut self,
        of: &'static str,
        field: &Field<'b>,
        push: impl Fn(&mut Request<'b>, u64),
    ) -> Result<()> {
        let Value::Bytes(packed) = field.value else {
            self.room_for::<u64>()?;
            push(&mut self.request, fixed(of, field)?);
            return Ok(());
        };
        let (numbers, rest) = packed.as_chunks::<8>();
        if !rest.is_empty() {
            let field = field.number;
            return Err(DecodeError::CutNumber { message: of, field });
        }
        for number in numbers {
            self.room_for::<u64>()?;
            push(&mut self.request, u64::from_le_bytes(*number));
        }
        Ok(())
    }
}

impl<'b> Attribute<'b> {
    /// Reads a pair; `levels` is how deep its value may still nest.
    pub(in crate::otlp) fn read(bytes: &'b [u8], levels: usize) -> Result<Self> {
        const MESSAGE: &str = "an attribute";
        let (mut key, mut value): (&[u8], _) = (&[], AnyValue::Missing);
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => key = message(MESSAGE, &field)?,
                2 => {
                    let read = AnyValue::read(message(MESSAGE, &field)?, levels)?;
                    if !matches!(read, AnyValue::Missing) {
                        value = read;
                    }
                }
                _ => {}
            }
        }
        Ok(Attribute { key, value })
    }
}

impl<'b> AnyValue<'b> {
    /// Reads a value; what nests in it is checked and left as it is.
    pub(in crate::otlp) fn read(bytes: &'b [u8], levels: usize) -> Result<Self> {
        const MESSAGE: &str = "a value";
        let mut value = AnyValue::Missing;
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            value = match field.number {
                1 => AnyValue::Text(message(MESSAGE, &field)?),
                2 => AnyValue::Bool(varint(MESSAGE, &field)? != 0),
                3 => AnyValue::Int(varint(MESSAGE, &field)? as i64),
                4 => AnyValue::Double(double(MESSAGE, &field)?),
                5 | 6 => {
                    let nested = message(MESSAGE, &field)?;
                    let levels = levels.checked_sub(1).ok_or(DecodeError::Nesting)?;
                    let mut parts = Fields::new(nested);
                    while let Some(part) = parts.next_field()? {
                        match (part.number, field.number) {
                            (1, 5) => drop(AnyValue::read(message("a list", &part)?, levels)?),
                            (1, _) => drop(Attribute::read(message("a map", &part)?, levels)?),
                            _ => {}
                        }
                    }
                    if field.number == 5 {
                        AnyValue::Array(nested)
                    } else {
                        AnyValue::Map(nested)
                    }
                }
                7 => AnyValue::Bytes(message(MESSAGE, &field)?),
                _ => continue,
            };
        }
        Ok(value)
    }
}
