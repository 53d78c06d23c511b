//! The protocol's messages as a table: <https://github.com/open-telemetry/opentelemetry-proto>, the part about metrics.

/// A message.
pub(super) struct Message {
    pub(super) fields: &'static [Field],
}

/// A field of one.
pub(super) struct Field {
    /// In camel case.
    pub(super) name: &'static str,
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
}

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// In base64.
    Bytes,
    /// In hexadecimal, of so many bytes.
    Id(usize),
    Bool,
    Double,
    /// Unsigned, of eight bytes.
    Fixed64,
    /// Signed, of eight bytes.
    SFixed64,
    UInt64,
    UInt32,
    Int64,
    SInt32,
    /// Names of the numbers from 0 on.
    Enum(&'static [&'static str]),
    Message(&'static Message),
}

impl Field {
    /// Whether `name` is the field's, in camel case or as the protocol's definition has it: `dataPoints` or `data_points`.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let definition_name = self.name.bytes().flat_map(|byte| {
            let before = byte.is_ascii_uppercase().then_some(b'_');
            before.into_iter().chain([byte.to_ascii_lowercase()])
        });
        self.name == name || definition_name.eq(name.bytes())
    }
}

const fn one(name: &'static str, number: u64, kind: Kind) -> Field {
    Field {
        name,
        number,
        kind,
        repeated: false,
    }
}

const fn many(name: &'static str, number: u64, kind: Kind) -> Field {
    Field {
        repeated: true,
        ..one(name, number, kind)
    }
}

const fn message(name: &'static str, number: u64, of: &'static Message) -> Field {
    one(name, number, Kind::Message(of))
}

const fn messages(name: &'static str, number: u64, of: &'static Message) -> Field {
    many(name, number, Kind::Message(of))
}

const fn text(name: &'static str, number: u64) -> Field {
    one(name, number, Kind::Text)
}

const fn double(name: &'static str, number: u64) -> Field {
    one(name, number, Kind::Double)
}

// What messages share, under the same numbers.
const START: Field = one("startTimeUnixNano", 2, Kind::Fixed64);
const TIME: Field = one("timeUnixNano", 3, Kind::Fixed64);
const COUNT: Field = one("count", 4, Kind::Fixed64);
const TOTAL: Field = double("sum", 5);
const TEMPORALITY: Field = one(
    "aggregationTemporality",
    2,
    Kind::Enum(&[
        "AGGREGATION_TEMPORALITY_UNSPECIFIED",
        "AGGREGATION_TEMPORALITY_DELTA",
        "AGGREGATION_TEMPORALITY_CUMULATIVE",
    ]),
);

const fn attributes(number: u64) -> Field {
    messages("attributes", number, &ATTRIBUTE)
}

const fn flags(number: u64) -> Field {
    one("flags", number, Kind::UInt32)
}

const fn exemplars(number: u64) -> Field {
    messages("exemplars", number, &EXEMPLAR)
}

/// The whole request.
pub(super) static REQUEST: Message = Message {
    fields: &[messages("resourceMetrics", 1, &RESOURCE_METRICS)],
};

static RESOURCE_METRICS: Message = Message {
    fields: &[
        message("resource", 1, &RESOURCE),
        messages("scopeMetrics", 2, &SCOPE_METRICS),
        messages("deprecatedScopeMetrics", 1000, &SCOPE_METRICS),
    ],
};

static RESOURCE: Message = Message {
    fields: &[attributes(1)],
};

static SCOPE_METRICS: Message = Message {
    fields: &[
        message("scope", 1, &SCOPE),
        messages("metrics", 2, &METRIC),
        text("schemaUrl", 3),
    ],
};

static SCOPE: Message = Message {
    fields: &[text("name", 1), text("version", 2), attributes(3)],
};

static METRIC: Message = Message {
    fields: &[
        text("name", 1),
        text("description", 2),
        text("unit", 3),
        message("gauge", 5, &GAUGE),
        message("sum", 7, &SUM),
        message("histogram", 9, &HISTOGRAM),
        message("exponentialHistogram", 10, &EXPONENTIAL),
        message("summary", 11, &SUMMARY),
    ],
};

static GAUGE: Message = Message {
    fields: &[messages("dataPoints", 1, &NUMBER_POINT)],
};

static SUM: Message = Message {
    fields: &[
        messages("dataPoints", 1, &NUMBER_POINT),
        TEMPORALITY,
        one("isMonotonic", 3, Kind::Bool),
    ],
};

static HISTOGRAM: Message = Message {
    fields: &[messages("dataPoints", 1, &HISTOGRAM_POINT), TEMPORALITY],
};

static EXPONENTIAL: Message = Message {
    fields: &[messages("dataPoints", 1, &EXPONENTIAL_POINT), TEMPORALITY],
};

static SUMMARY: Message = Message {
    fields: &[messages("dataPoints", 1, &SUMMARY_POINT)],
};

static NUMBER_POINT: Message = Message {
    fields: &[
        START,
        TIME,
        double("asDouble", 4),
        exemplars(5),
        one("asInt", 6, Kind::SFixed64),
        attributes(7),
        flags(8),
    ],
};

static HISTOGRAM_POINT: Message = Message {
    fields: &[
        START,
        TIME,
        COUNT,
        TOTAL,
        many("bucketCounts", 6, Kind::Fixed64),
        many("explicitBounds", 7, Kind::Double),
        exemplars(8),
        attributes(9),
        flags(10),
        double("min", 11),
        double("max", 12),
    ],
};

static EXPONENTIAL_POINT: Message = Message {
    fields: &[
        attributes(1),
        START,
        TIME,
        COUNT,
        TOTAL,
        one("scale", 6, Kind::SInt32),
        one("zeroCount", 7, Kind::Fixed64),
        message("positive", 8, &BUCKETS),
        message("negative", 9, &BUCKETS),
        flags(10),
        exemplars(11),
        double("min", 12),
        double("max", 13),
        double("zeroThreshold", 14),
    ],
};

static BUCKETS: Message = Message {
    fields: &[
        one("offset", 1, Kind::SInt32),
        many("bucketCounts", 2, Kind::UInt64),
    ],
};

static SUMMARY_POINT: Message = Message {
    fields: &[
        START,
        TIME,
        COUNT,
        TOTAL,
        messages("quantileValues", 6, &QUANTILE),
        attributes(7),
        flags(8),
    ],
};

static QUANTILE: Message = Message {
    fields: &[double("quantile", 1), double("value", 2)],
};

static EXEMPLAR: Message = Message {
    fields: &[
        one("timeUnixNano", 2, Kind::Fixed64),
        double("asDouble", 3),
        one("spanId", 4, Kind::Id(8)),
        one("traceId", 5, Kind::Id(16)),
        one("asInt", 6, Kind::SFixed64),
        messages("filteredAttributes", 7, &ATTRIBUTE),
    ],
};

static ATTRIBUTE: Message = Message {
    fields: &[text("key", 1), message("value", 2, &VALUE)],
};

static VALUE: Message = Message {
    fields: &[
        text("stringValue", 1),
        one("boolValue", 2, Kind::Bool),
        one("intValue", 3, Kind::Int64),
        double("doubleValue", 4),
        message("arrayValue", 5, &LIST),
        message("kvlistValue", 6, &MAP),
        one("bytesValue", 7, Kind::Bytes),
    ],
};

static LIST: Message = Message {
    fields: &[messages("values", 1, &VALUE)],
};

static MAP: Message = Message {
    fields: &[messages("values", 1, &ATTRIBUTE)],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_called_by_either_name() {
        let field = text("startTimeUnixNano", 2);
        for (name, is_called) in [
            ("startTimeUnixNano", true),
            ("start_time_unix_nano", true),
            ("start_time_unix_nan", false),
            ("starttimeunixnano", false),
            ("start_timeUnixNano", false),
            ("", false),
        ] {
            assert_eq!(field.is_called(name), is_called, "{name}");
        }
    }
}
