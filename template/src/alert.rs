//! Alert rules: the functions that their templates know, and the data that they see.

use std::sync::Arc;

use crate::error::CallError;
use crate::escape;
use crate::function::{Call, Function, FunctionSet, QuerySample};
use crate::humanize;
use crate::text;
use crate::value::{Object, Type, Value};

/// Functions in annotations and labels of alert rules.
pub const FUNCTIONS: FunctionSet = FunctionSet::new(SHARED);

/// Functions in console pages: those of alerts, and `tmpl`.
pub const CONSOLE_FUNCTIONS: FunctionSet = FUNCTIONS.with(CONSOLE);

/// Definitions of `$labels`, `$externalLabels`, `$externalURL` and `$value`, which stand before each alert template.
pub const PREFIX: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
    {{$externalURL := .ExternalURL}}{{$value := .Value}}";

const SAMPLE: Type = Type::Named("*template.sample");
const RESULT: Type = Type::Named("template.queryResult");

const CONSOLE: &[Function] = &[function("tmpl", &[Type::String, Type::Any], |c| {
    let (name, data) = (c.text(0).to_owned(), c.arg(1).clone());
    Ok(Value::Html(Arc::from(c.render(&name, data)?)))
})];

const SHARED: &[Function] = &[
    function("query", &[Type::String], query),
    function("first", &[RESULT], first),
    function("label", &[Type::String, SAMPLE], |c| {
        Ok(label(c.arg(1), c.text(0)))
    }),
    function("value", &[SAMPLE], |c| Ok(field(c.arg(0), "Value"))),
    function("strvalue", &[SAMPLE], |c| Ok(label(c.arg(0), "__value__"))),
    function("sortByLabel", &[Type::String, RESULT], sort_by_label),
    Function {
        name: "args",
        params: &[Type::Any],
        variadic: true,
        call: |c| {
            let entries = c.args.iter().enumerate();
            let entries = entries.map(|(i, arg)| (Arc::from(format!("arg{i}")), arg.clone()));
            Ok(Value::map(entries.collect()))
        },
    },
    function("reReplaceAll", &[Type::String, Type::String, Type::String], |c| {
        Ok(text::replace(c.text(0), c.text(1), c.text(2))?.into())
    }),
    function("match", &[Type::String, Type::String], |c| {
        Ok(text::matches(c.text(0), c.text(1))?.into())
    }),
    function("safeHtml", &[Type::String], |c| {
        Ok(Value::Html(Arc::from(c.text(0))))
    }),
    function("title", &[Type::String], |c| {
        Ok(text::title(c.text(0), false).into())
    }),
    function("toUpper", &[Type::String], |c| {
        Ok(model::case::to_upper(c.text(0)).into())
    }),
    function("toLower", &[Type::String], |c| {
        Ok(model::case::to_lower(c.text(0)).into())
    }),
    function("graphLink", &[Type::String], |c| {
        Ok(graph_link(c.text(0), 0).into())
    }),
    function("tableLink", &[Type::String], |c| {
        Ok(graph_link(c.text(0), 1).into())
    }),
    function("stripPort", &[Type::String], |c| {
        Ok(text::split_host_port(c.text(0))
            .map_or(c.text(0), |(host, _)| host)
            .into())
    }),
    function("stripDomain", &[Type::String], |c| {
        Ok(text::strip_domain(c.text(0)).into())
    }),
    function("humanize", &[Type::Any], |c| {
        Ok(humanize::metric(humanize::to_float(c.arg(0))?).into())
    }),
    function("humanize1024", &[Type::Any], |c| {
        Ok(humanize::binary(humanize::to_float(c.arg(0))?).into())
    }),
    function("humanizeDuration", &[Type::Any], |c| {
        Ok(humanize::duration(humanize::to_float(c.arg(0))?).into())
    }),
    function("humanizePercentage", &[Type::Any], |c| {
        Ok(humanize::percentage(humanize::to_float(c.arg(0))?).into())
    }),
    function("humanizeTimestamp", &[Type::Any], |c| {
        Ok(humanize::timestamp(humanize::to_float(c.arg(0))?)?.into())
    }),
    function("toTime", &[Type::Any], |c| {
        Ok(Value::Time(Arc::new(humanize::to_time(humanize::to_float(
            c.arg(0),
        )?)?)))
    }),
    function("toDuration", &[Type::Any], |c| {
        // Saturates where 64 bits of nanoseconds end.
        Ok(Value::Duration((humanize::to_float(c.arg(0))? * 1e9) as i64))
    }),
    function("now", &[], |c| Ok((c.host.now_ms() as f64 / 1000.0).into())),
    function("pathPrefix", &[], |c| Ok(c.host.path_prefix().into())),
    function("externalURL", &[], |c| Ok(c.host.external_url().into())),
    function("parseDuration", &[Type::String], |c| {
        Ok((model::duration::parse_signed_duration(c.text(0))? as f64 / 1000.0).into())
    }),
    function("urlQueryEscape", &[Type::String], |c| {
        Ok(escape::query(c.text(0)).into())
    }),
];

const fn function(
    name: &'static str,
    params: &'static [Type],
    call: fn(&mut Call<'_>) -> Result<Value, CallError>,
) -> Function {
    Function {
        name,
        params,
        variadic: false,
        call,
    }
}

fn query(call: &mut Call<'_>) -> Result<Value, CallError> {
    let samples = call.host.query(call.text(0))?;
    let items = samples
        .into_iter()
        .map(|sample| Value::object(Sample::from(sample)))
        .collect();
    Ok(Value::list(RESULT, items))
}

fn first(call: &mut Call<'_>) -> Result<Value, CallError> {
    match call.arg(0) {
        Value::List(list) => list.items.first().cloned().ok_or(CallError::FirstOfNone),
        _ => Err(CallError::FirstOfNone),
    }
}

fn field(sample: &Value, name: &str) -> Value {
    match sample {
        Value::Object(object) => object.field(name).unwrap_or(Value::Nil),
        _ => Value::Nil,
    }
}

fn label(sample: &Value, name: &str) -> Value {
    match field(sample, "Labels") {
        Value::Map(map) => map.get(name),
        _ => Value::from(""),
    }
}

fn sort_by_label(call: &mut Call<'_>) -> Result<Value, CallError> {
    let Value::List(list) = call.arg(1) else {
        return Ok(call.arg(1).clone());
    };
    let name = call.text(0);
    let mut keyed: Vec<(Value, Value)> = list
        .items
        .iter()
        .map(|item| (label(item, name), item.clone()))
        .collect();
    keyed.sort_by(|a, b| a.0.as_str().cmp(&b.0.as_str()));
    Ok(Value::list(
        RESULT,
        keyed.into_iter().map(|(_, item)| item).collect(),
    ))
}

/// Path of the page that shows `expr` as a graph (tab 0) or a table (tab 1).
pub fn graph_link(expr: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", escape::query(expr))
}

/// One series of a query's answer.
struct Sample {
    labels: Value,
    value: Value,
}

impl From<QuerySample> for Sample {
    fn from(sample: QuerySample) -> Self {
        Sample {
            labels: Value::string_map(sample.labels.iter()),
            value: sample.value,
        }
    }
}

impl Object for Sample {
    fn type_name(&self) -> &'static str {
        SAMPLE.name()
    }

    fn fields(&self) -> &'static [(&'static str, &'static str)] {
        &[("Labels", "Labels"), ("Value", "Value")]
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Labels" => Some(self.labels.clone()),
            "Value" => Some(self.value.clone()),
            _ => None,
        }
    }
}

/// What templates of an alert see.
pub struct AlertData {
    /// `$labels`
    pub labels: Value,
    /// `$externalLabels`
    pub external_labels: Value,
    /// `$externalURL`
    pub external_url: Value,
    /// `$value`: a float, or a histogram as text.
    pub value: Value,
}

impl Object for AlertData {
    fn type_name(&self) -> &'static str {
        "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }"
    }

    fn fields(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("Labels", "Labels"),
            ("ExternalLabels", "ExternalLabels"),
            ("ExternalURL", "ExternalURL"),
            ("Value", "Value"),
        ]
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Labels" => Some(self.labels.clone()),
            "ExternalLabels" => Some(self.external_labels.clone()),
            "ExternalURL" => Some(self.external_url.clone()),
            "Value" => Some(self.value.clone()),
            _ => None,
        }
    }
}
