//! Notifications: the functions that their templates know, and the data that they see.

use std::sync::Arc;

use crate::error::CallError;
use crate::escape;
use crate::function::{Call, Function, FunctionSet};
use crate::humanize;
use crate::json;
use crate::text;
use crate::time::Time;
use crate::value::{Object, Type, Value};

/// Functions in notification templates.
pub const FUNCTIONS: FunctionSet = FunctionSet::new(ALL);

/// The templates that receivers use by default, by the names under which users know them. They are parsed under the
/// empty name, before those of users.
pub const DEFAULT_TEMPLATES: &str = concat!(include_str!("default.tmpl"), include_str!("email.tmpl"));

const S: Type = Type::String;

const ALL: &[Function] = &[
    function("toUpper", &[S], |c| Ok(model::case::to_upper(c.text(0)).into())),
    function("toLower", &[S], |c| Ok(model::case::to_lower(c.text(0)).into())),
    function("title", &[S], |c| Ok(text::title(c.text(0), true).into())),
    function("trimSpace", &[S], |c| Ok(c.text(0).trim().into())),
    function("join", &[S, Type::Strings], join),
    function("match", &[S, S], |c| {
        Ok(text::matches(c.text(0), c.text(1))?.into())
    }),
    function("safeHtml", &[S], |c| Ok(Value::Html(Arc::from(c.text(0))))),
    function("safeUrl", &[S], |c| Ok(Value::Url(Arc::from(c.text(0))))),
    function("urlUnescape", &[S], |c| match escape::unquery(c.text(0)) {
        Ok(bytes) => text_of(bytes),
        Err(bad) => Err(CallError::UrlEscape(bad.to_owned())),
    }),
    function("reReplaceAll", &[S, S, S], |c| {
        Ok(text::replace(c.text(0), c.text(1), c.text(2))?.into())
    }),
    variadic("stringSlice", &[S], |c| {
        Ok(Value::list(Type::Strings, c.args.to_vec()))
    }),
    function("routeLabels", &[S], |c| Ok(c.host.route_label(c.text(0))?.into())),
    function("date", &[S, Type::Time], |c| {
        Ok(moment(c.arg(1)).format(c.text(0)).into())
    }),
    function("tz", &[S, Type::Time], |c| {
        Ok(Value::Time(Arc::new(moment(c.arg(1)).in_zone(c.text(0))?)))
    }),
    function("now", &[], |c| Ok(Value::time_ms(c.host.now_ms()))),
    function("since", &[Type::Time], |c| {
        let now = Time::from_unix_ns(i128::from(c.host.now_ms()) * 1_000_000);
        Ok(Value::Duration(now.since(&moment(c.arg(0)))))
    }),
    function("humanizeDuration", &[Type::Any], |c| {
        Ok(humanize::duration(humanize::to_float(c.arg(0))?).into())
    }),
    function("toJson", &[Type::Any], |c| Ok(json::to_json(c.arg(0))?.into())),
    variadic("list", &[Type::Any], |c| {
        Ok(Value::list(Type::Anys, c.args.to_vec()))
    }),
    variadic("append", &[Type::Anys, Type::Any], append),
    variadic("dict", &[Type::Any], dict),
    function("base64encode", &[S], |c| {
        Ok(text::base64_encode(c.text(0).as_bytes()).into())
    }),
    function("base64decode", &[S], |c| text_of(text::base64_decode(c.text(0))?)),
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

const fn variadic(
    name: &'static str,
    params: &'static [Type],
    call: fn(&mut Call<'_>) -> Result<Value, CallError>,
) -> Function {
    Function {
        variadic: true,
        ..function(name, params, call)
    }
}

fn text_of(bytes: Vec<u8>) -> Result<Value, CallError> {
    Ok(String::from_utf8(bytes).map_err(|_| CallError::NotUtf8)?.into())
}

fn moment(value: &Value) -> Arc<Time> {
    match value {
        Value::Time(time) => time.clone(),
        _ => Arc::new(Time::zero()),
    }
}

fn join(call: &mut Call<'_>) -> Result<Value, CallError> {
    let Value::List(list) = call.arg(1) else {
        return Ok("".into());
    };
    let items: Vec<&str> = list.items.iter().filter_map(Value::as_str).collect();
    let bytes = items
        .iter()
        .map(|item| item.len() + call.text(0).len())
        .sum::<usize>();
    if bytes > call.bytes_max {
        return Err(CallError::TooLarge);
    }
    Ok(items.join(call.text(0)).into())
}

fn append(call: &mut Call<'_>) -> Result<Value, CallError> {
    let mut items = match call.arg(0) {
        Value::List(list) => list.items.clone(),
        _ => Vec::new(),
    };
    items.extend_from_slice(&call.args[1..]);
    Ok(Value::list(Type::Anys, items))
}

fn dict(call: &mut Call<'_>) -> Result<Value, CallError> {
    if !call.args.len().is_multiple_of(2) {
        return Err(CallError::DictOdd);
    }
    let mut entries = Vec::with_capacity(call.args.len() / 2);
    for pair in call.args.chunks_exact(2) {
        match &pair[0] {
            Value::String(key) => entries.push((key.clone(), pair[1].clone())),
            _ => return Err(CallError::DictKey),
        }
    }
    Ok(Value::map(entries))
}

/// Labels or annotations, with the methods that notification templates use on them.
#[derive(Clone, Default)]
pub struct Pairs(Arc<Vec<(String, String)>>);

impl Pairs {
    /// Pairs in the order of their names; of several with one name the last counts.
    pub fn new<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs = pairs.into_iter().map(|(n, v)| (n.into(), v.into()));
        let sorted: std::collections::BTreeMap<String, String> = pairs.collect();
        Pairs(Arc::new(sorted.into_iter().collect()))
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Pairs in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The alert's name first, the others in order.
    fn sorted(&self) -> Vec<(&str, &str)> {
        let is_name = |(name, _): &(&str, &str)| *name == model::labels::ALERT_NAME;
        let (mut first, others): (Vec<_>, Vec<_>) = self.iter().partition(is_name);
        first.extend(others);
        first
    }
}

impl Object for Pairs {
    fn type_name(&self) -> &'static str {
        "template.KV"
    }

    fn underlying(&self) -> Option<Value> {
        Some(Value::string_map(self.iter()))
    }

    fn text(&self) -> Option<String> {
        Some(joined(&self.sorted()))
    }

    fn method(&self, name: &str, args: &[Value]) -> Option<Result<Value, CallError>> {
        let sorted = self.sorted();
        let value = match name {
            "SortedPairs" => Value::object(SortedPairs::new(&sorted)),
            "Names" => Value::strings(sorted.iter().map(|(name, _)| name)),
            "Values" => Value::strings(sorted.iter().map(|(_, value)| value)),
            "String" => joined(&sorted).into(),
            "Remove" => return Some(self.remove(args)),
            _ => return None,
        };
        Some(no_arguments(name, args).map(|()| value))
    }
}

impl Pairs {
    fn remove(&self, args: &[Value]) -> Result<Value, CallError> {
        let names = match args {
            [Value::List(list)] => &list.items,
            [other] => {
                let got = other.type_name().to_owned();
                return Err(CallError::WrongType {
                    expected: Type::Strings.name(),
                    got,
                });
            }
            args => {
                return Err(CallError::ArgumentCount {
                    name: "Remove".to_owned(),
                    want: 1,
                    got: args.len(),
                });
            }
        };
        let removed = |name: &str| names.iter().any(|value| value.as_str() == Some(name));
        Ok(Value::object(Pairs::new(
            self.iter().filter(|(name, _)| !removed(name)),
        )))
    }
}

fn no_arguments(name: &str, args: &[Value]) -> Result<(), CallError> {
    if args.is_empty() {
        return Ok(());
    }
    Err(CallError::ArgumentCount {
        name: name.to_owned(),
        want: 0,
        got: args.len(),
    })
}

fn joined(pairs: &[(&str, &str)]) -> String {
    let parts: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.join(", ")
}

/// Pairs as a list.
struct SortedPairs(Vec<Pair>);

impl SortedPairs {
    fn new(pairs: &[(&str, &str)]) -> Self {
        let pair = |(name, value): &(&str, &str)| Pair {
            name: Value::from(*name),
            value: Value::from(*value),
        };
        SortedPairs(pairs.iter().map(pair).collect())
    }

    fn texts(&self) -> Vec<(&str, &str)> {
        self.0
            .iter()
            .map(|pair| {
                (
                    pair.name.as_str().unwrap_or(""),
                    pair.value.as_str().unwrap_or(""),
                )
            })
            .collect()
    }
}

impl Object for SortedPairs {
    fn type_name(&self) -> &'static str {
        "template.Pairs"
    }

    fn underlying(&self) -> Option<Value> {
        let items = self.0.iter().map(|pair| Value::object(pair.clone())).collect();
        Some(Value::list(Type::Named("template.Pairs"), items))
    }

    fn text(&self) -> Option<String> {
        Some(joined(&self.texts()))
    }

    fn method(&self, name: &str, args: &[Value]) -> Option<Result<Value, CallError>> {
        let value = match name {
            "Names" => Value::list(
                Type::Strings,
                self.0.iter().map(|pair| pair.name.clone()).collect(),
            ),
            "Values" => Value::list(
                Type::Strings,
                self.0.iter().map(|pair| pair.value.clone()).collect(),
            ),
            "String" => joined(&self.texts()).into(),
            _ => return None,
        };
        Some(no_arguments(name, args).map(|()| value))
    }
}

/// A name and a value.
#[derive(Clone)]
struct Pair {
    name: Value,
    value: Value,
}

impl Object for Pair {
    fn type_name(&self) -> &'static str {
        "template.Pair"
    }

    fn fields(&self) -> &'static [(&'static str, &'static str)] {
        &[("Name", "Name"), ("Value", "Value")]
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Name" => Some(self.name.clone()),
            "Value" => Some(self.value.clone()),
            _ => None,
        }
    }
}

/// One alert of a notification.
#[derive(Clone)]
pub struct Alert {
    /// Whether it fires; resolved otherwise.
    pub firing: bool,
    /// Its labels.
    pub labels: Pairs,
    /// Its annotations.
    pub annotations: Pairs,
    /// When it started to fire.
    pub starts_at: Time,
    /// When it ended; the zero time while that is unknown.
    pub ends_at: Time,
    /// Where its rule is shown.
    pub generator_url: String,
    /// Hash of its labels, in hexadecimal.
    pub fingerprint: String,
}

impl Object for Alert {
    fn type_name(&self) -> &'static str {
        "template.Alert"
    }

    fn fields(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("Status", "status"),
            ("Labels", "labels"),
            ("Annotations", "annotations"),
            ("StartsAt", "startsAt"),
            ("EndsAt", "endsAt"),
            ("GeneratorURL", "generatorURL"),
            ("Fingerprint", "fingerprint"),
        ]
    }

    fn field(&self, name: &str) -> Option<Value> {
        Some(match name {
            "Status" => status(self.firing).into(),
            "Labels" => Value::object(self.labels.clone()),
            "Annotations" => Value::object(self.annotations.clone()),
            "StartsAt" => Value::Time(Arc::new(self.starts_at.clone())),
            "EndsAt" => Value::Time(Arc::new(self.ends_at.clone())),
            "GeneratorURL" => self.generator_url.as_str().into(),
            "Fingerprint" => self.fingerprint.as_str().into(),
            _ => return None,
        })
    }
}

fn status(firing: bool) -> &'static str {
    if firing { "firing" } else { "resolved" }
}

/// The alerts of a notification.
#[derive(Clone)]
struct Alerts(Arc<Vec<Alert>>);

impl Alerts {
    fn list(&self, name: &'static str, keep: impl Fn(&Alert) -> bool) -> Value {
        let kept = self.0.iter().filter(|alert| keep(alert));
        Value::list(
            Type::Named(name),
            kept.map(|alert| Value::object(alert.clone())).collect(),
        )
    }
}

impl Object for Alerts {
    fn type_name(&self) -> &'static str {
        "template.Alerts"
    }

    fn underlying(&self) -> Option<Value> {
        Some(self.list("template.Alerts", |_| true))
    }

    fn method(&self, name: &str, args: &[Value]) -> Option<Result<Value, CallError>> {
        let value = match name {
            "Firing" => self.list("[]template.Alert", |alert| alert.firing),
            "Resolved" => self.list("[]template.Alert", |alert| !alert.firing),
            _ => return None,
        };
        Some(no_arguments(name, args).map(|()| value))
    }
}

/// What templates of a notification see.
#[derive(Clone)]
pub struct Data {
    /// Name of the receiver, as it is written in a pattern.
    pub receiver: String,
    /// The alerts; the notification fires while one of them does.
    pub alerts: Arc<Vec<Alert>>,
    /// Why the notification is sent; empty for the ordinary reasons.
    pub reason: String,
    /// Labels by which the alerts were grouped.
    pub group_labels: Pairs,
    /// Labels that all alerts have.
    pub common_labels: Pairs,
    /// Annotations that all alerts have.
    pub common_annotations: Pairs,
    /// Labels that the route adds.
    pub route_labels: Pairs,
    /// The URL under which users reach the notifier.
    pub external_url: String,
}

impl Object for Data {
    fn type_name(&self) -> &'static str {
        "*template.Data"
    }

    fn fields(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("Receiver", "receiver"),
            ("Status", "status"),
            ("Alerts", "alerts"),
            ("NotificationReason", "notification_reason"),
            ("GroupLabels", "groupLabels"),
            ("CommonLabels", "commonLabels"),
            ("CommonAnnotations", "commonAnnotations"),
            ("RouteLabels", "routeLabels"),
            ("ExternalURL", "externalURL"),
        ]
    }

    fn field(&self, name: &str) -> Option<Value> {
        Some(match name {
            "Receiver" => self.receiver.as_str().into(),
            "Status" => status(self.alerts.iter().any(|alert| alert.firing)).into(),
            "Alerts" => Value::object(Alerts(self.alerts.clone())),
            "NotificationReason" => self.reason.as_str().into(),
            "GroupLabels" => Value::object(self.group_labels.clone()),
            "CommonLabels" => Value::object(self.common_labels.clone()),
            "CommonAnnotations" => Value::object(self.common_annotations.clone()),
            "RouteLabels" => Value::object(self.route_labels.clone()),
            "ExternalURL" => self.external_url.as_str().into(),
            _ => return None,
        })
    }
}

/// [`Data`] that somebody wrote down, with a status of its own: what `amtool template render` shows.
pub struct WrittenData {
    /// What it says of the notification as a whole.
    pub status: String,
    /// All else.
    pub data: Data,
}

impl Object for WrittenData {
    fn type_name(&self) -> &'static str {
        // Compat: a value here, not a pointer (`template`: a field that is not there).
        "template.Data"
    }

    fn fields(&self) -> &'static [(&'static str, &'static str)] {
        self.data.fields()
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Status" => Some(self.status.as_str().into()),
            name => self.data.field(name),
        }
    }
}
