//! Bodies of requests, read with the strictness and in the words of the reference: JSON first, then the types of values
//! (both 400), then whether all that must be there is (422), field by field in the order of the alphabet.

use std::collections::BTreeMap;
use std::fmt;

use http::StatusCode;
use jiff::tz::Offset;
use model::labels::{LabelTooLong, Labels};
use notify::matcher::MatchOp;
use notify::{Offsets, PostedAlert, PostedMatcher, PostedSilence};
use serde::de::{Deserialize as _, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::de::StrRead;
use serde_json::{Map, Value};

use super::answer::{Code, Fault};
use super::time::{Moment, TimeError};
use super::{syntax, uri};

/// A value that is not of its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Mismatch {
    /// Go says where it would have gone.
    #[error("json: cannot unmarshal {kind} into Go {place} of type {wanted}")]
    Type {
        kind: &'static str,
        place: String,
        wanted: &'static str,
    },
    #[error(transparent)]
    Time(#[from] TimeError),
    #[error(transparent)]
    TooLong(#[from] LabelTooLong),
}

/// What is wrong with a value that can be read.
enum Invalid {
    Mismatch(Mismatch),
    Value(Code, String),
}

impl From<Mismatch> for Invalid {
    fn from(mismatch: Mismatch) -> Self {
        Invalid::Mismatch(mismatch)
    }
}

impl From<LabelTooLong> for Invalid {
    fn from(error: LabelTooLong) -> Self {
        Invalid::Mismatch(error.into())
    }
}

fn required(path: impl fmt::Display) -> Invalid {
    Invalid::Value(Code::Required, format!("{path} in body is required"))
}

/// Reads the alerts of a post.
///
/// # Errors
/// What is wrong with them, in the reference's words.
pub(super) fn alerts(body: &[u8]) -> Result<Vec<PostedAlert>, Fault> {
    let text = String::from_utf8_lossy(body);
    let posted = first_value(&text, "alerts", |reader| reader.deserialize_any(PostedAlerts))?;
    match posted {
        Ok(alerts) => Ok(alerts),
        Err(invalid) => Err(refuse("alerts", invalid)),
    }
}

/// Reads a silence.
///
/// # Errors
/// What is wrong with it, in the reference's words.
pub(super) fn silence(body: &[u8]) -> Result<PostedSilence, Fault> {
    let text = String::from_utf8_lossy(body);
    let value = first_value(&text, "silence", |reader| Value::deserialize(reader))?;
    read_silence(&value).map_err(|invalid| refuse("silence", invalid))
}

/// Reads what stands first in a text; what stands behind it is not looked at, as Go's reader of streams does it.
fn first_value<T>(
    text: &str,
    name: &str,
    read: impl Fn(&mut serde_json::Deserializer<StrRead<'_>>) -> serde_json::Result<T>,
) -> Result<T, Fault> {
    if text.trim_ascii().is_empty() {
        return Err(refuse(name, required(name)));
    }
    let read = |text: &str| read(&mut serde_json::Deserializer::from_str(text));
    let mended = || syntax::without_half_pairs(text).and_then(|mended| read(&mended).ok());
    match read(text) {
        Ok(value) => Ok(value),
        Err(_) => mended().ok_or_else(|| unreadable(name, syntax::fault(text))),
    }
}

fn unreadable(name: &str, why: impl fmt::Display) -> Fault {
    let message = format!("parsing {name} body from \"\" failed, because {why}");
    Fault::Request(StatusCode::BAD_REQUEST, message)
}

fn refuse(name: &str, invalid: Invalid) -> Fault {
    match invalid {
        Invalid::Mismatch(mismatch) => unreadable(name, mismatch),
        Invalid::Value(code, message) => Fault::Value(code, message),
    }
}

/// Reads a list of alerts, one after the other: no tree of all of them is built.
struct PostedAlerts;

impl<'d> Visitor<'d> for PostedAlerts {
    type Value = Result<Vec<PostedAlert>, Invalid>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of alerts")
    }

    fn visit_seq<A: SeqAccess<'d>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut alerts, mut wrong) = (Vec::new(), None);
        let mut index = 0;
        // All of it is read whatever is wrong: what is no JSON is said before anything else.
        while let Some(value) = list.next_element::<Value>()? {
            match read_alert(&value, index) {
                Ok(alert) => alerts.push(alert),
                Err(mismatch @ Invalid::Mismatch(_)) if !matches!(wrong, Some(Invalid::Mismatch(_))) => {
                    wrong = Some(mismatch);
                }
                Err(invalid) => drop(wrong.get_or_insert(invalid)),
            }
            index += 1;
        }
        Ok(match wrong {
            None => Ok(alerts),
            Some(invalid) => Err(invalid),
        })
    }

    /// Compat: no list at all is taken for an empty one (`alerts-post`: null).
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Ok(Vec::new()))
    }

    fn visit_map<A: MapAccess<'d>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(no_list("object"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(no_list("bool"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(no_list("number"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(no_list("number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(no_list("number"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(no_list("string"))
    }
}

fn no_list<T>(kind: &'static str) -> Result<T, Invalid> {
    Err(Invalid::Mismatch(Mismatch::Type {
        kind,
        place: "value".to_owned(),
        wanted: "models.PostableAlerts",
    }))
}

fn read_alert(value: &Value, index: usize) -> Result<PostedAlert, Invalid> {
    // The reference reads the fields of its two structures one after the other.
    let object = Object::new(
        value,
        "struct { Annotations models.LabelSet \"json:\\\"annotations,omitempty\\\"\"; EndsAt strfmt.DateTime \
         \"json:\\\"endsAt,omitempty\\\"\"; StartsAt strfmt.DateTime \"json:\\\"startsAt,omitempty\\\"\" }",
        "",
    )?;
    let annotations = object.texts("annotations")?.unwrap_or_default();
    let (ends_at, starts_at) = (object.time("endsAt")?, object.time("startsAt")?);
    let object = object.called("Alert");
    let generator_url = object.text("generatorURL")?.unwrap_or_default();
    let labels = object.texts("labels")?;
    // Compat: the fault of the URL is told before that of the labels: it is the first field (`alerts-post`).
    if !generator_url.is_empty() && !uri::is_request_uri(&generator_url) {
        let shown = model::go::Quoted(&generator_url);
        let message = format!("{index}.generatorURL in body must be of type uri: {shown}");
        return Err(Invalid::Value(Code::Type, message));
    }
    // Compat: null in the list ends the reference's connection; here it lacks what every alert must have.
    let labels = labels.ok_or_else(|| required(format_args!("{index}.labels")))?;
    let (starts_at, ends_at) = (starts_at.and_then(Moment::given), ends_at.and_then(Moment::given));
    let offset = |moment: Option<Moment>| moment.map_or(Offset::UTC, |moment| moment.offset);
    Ok(PostedAlert {
        // Labels with empty values are none.
        labels: Labels::try_from_pairs(labels)?,
        annotations,
        starts_at: starts_at.map(|moment| moment.at),
        ends_at: ends_at.map(|moment| moment.at),
        generator_url,
        offsets: Offsets {
            starts_at: offset(starts_at),
            ends_at: offset(ends_at),
        },
    })
}

fn read_silence(value: &Value) -> Result<PostedSilence, Invalid> {
    let object = Object::new(value, "struct { ID string \"json:\\\"id,omitempty\\\"\" }", "")?;
    let id = object.text("id")?.unwrap_or_default();
    let object = object.called("Silence");
    let annotations = object.texts("annotations")?.unwrap_or_default();
    let (comment, created_by) = (object.text("comment")?, object.text("createdBy")?);
    let ends_at = object.time("endsAt")?;
    let matchers = object.matchers()?;
    let starts_at = object.time("startsAt")?;
    let comment = comment.ok_or_else(|| required("comment"))?;
    let created_by = created_by.ok_or_else(|| required("createdBy"))?;
    let ends_at = ends_at.ok_or_else(|| required("endsAt"))?;
    let matchers = matchers.ok_or_else(|| required("matchers"))?;
    if matchers.is_empty() {
        let message = "matchers in body should have at least 1 items".to_owned();
        return Err(Invalid::Value(Code::TooFew, message));
    }
    let matchers = matchers.into_iter().enumerate();
    let matchers = matchers
        .map(|(index, matcher)| matcher.whole(index))
        .collect::<Result<_, _>>()?;
    let starts_at = starts_at.ok_or_else(|| required("startsAt"))?;
    Ok(PostedSilence {
        id,
        matchers,
        starts_at: Some(starts_at.at),
        ends_at: Some(ends_at.at),
        created_by,
        comment,
        annotations,
    })
}

/// A matcher of a silence, with what of it is there.
#[derive(Default)]
struct ReadMatcher {
    name: Option<String>,
    value: Option<String>,
    is_regex: Option<bool>,
    is_equal: Option<bool>,
}

impl ReadMatcher {
    fn whole(self, index: usize) -> Result<PostedMatcher, Invalid> {
        let missing = |field: &str| required(format_args!("matchers.{index}.{field}"));
        let is_regex = self.is_regex.ok_or_else(|| missing("isRegex"))?;
        let name = self.name.ok_or_else(|| missing("name"))?;
        let value = self.value.ok_or_else(|| missing("value"))?;
        // Compat: clients of old do not know negative matchers.
        let op = match (is_regex, self.is_equal.unwrap_or(true)) {
            (false, true) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Regex,
            (true, false) => MatchOp::NotRegex,
        };
        Ok(PostedMatcher { name, op, value })
    }
}

/// A JSON object on its way into one of the reference's structures.
struct Object<'v> {
    fields: Option<&'v Map<String, Value>>,
    /// The structure's name; anonymous ones have none.
    name: &'static str,
    /// What stands in front of its fields' names.
    path: &'static str,
}

impl<'v> Object<'v> {
    /// `whole` is what Go calls the structure where the value is no object; `null` is one without fields.
    fn new(value: &'v Value, whole: &'static str, path: &'static str) -> Result<Self, Mismatch> {
        let fields = match value {
            Value::Object(fields) => Some(fields),
            Value::Null => None,
            other => {
                return Err(Mismatch::Type {
                    kind: kind(other),
                    place: "value".to_owned(),
                    wanted: whole,
                });
            }
        };
        Ok(Object {
            fields,
            name: "",
            path,
        })
    }

    fn called(self, name: &'static str) -> Self {
        Object { name, ..self }
    }

    /// A field's value; case does not matter where no field has the very name.
    fn field(&self, key: &str) -> Option<&'v Value> {
        let fields = self.fields?;
        let alike = || {
            let found = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
            found.map(|(_, value)| value)
        };
        fields.get(key).or_else(alike).filter(|value| !value.is_null())
    }

    fn mismatch(&self, key: &str, value: &Value, wanted: &'static str) -> Mismatch {
        Mismatch::Type {
            kind: kind(value),
            place: format!("struct field {}.{}{key}", self.name, self.path),
            wanted,
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>, Mismatch> {
        match self.field(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.mismatch(key, other, "string")),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, Mismatch> {
        match self.field(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.mismatch(key, other, "bool")),
        }
    }

    fn time(&self, key: &str) -> Result<Option<Moment>, Mismatch> {
        let text = self.text(key)?;
        Ok(text.as_deref().map(Moment::parse).transpose()?)
    }

    /// A map of texts; `null` is the empty one.
    fn texts(&self, key: &str) -> Result<Option<BTreeMap<String, String>>, Mismatch> {
        let map = match self.field(key) {
            None => return Ok(None),
            Some(Value::Object(map)) => map,
            Some(other) => return Err(self.mismatch(key, other, "models.LabelSet")),
        };
        let text = |(name, value): (&String, &Value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            Value::Null => Ok((name.clone(), String::new())),
            other => Err(self.mismatch(key, other, "string")),
        };
        map.iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    fn matchers(&self) -> Result<Option<Vec<ReadMatcher>>, Mismatch> {
        const KEY: &str = "matchers";
        let list = match self.field(KEY) {
            None => return Ok(None),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(self.mismatch(KEY, other, "models.Matchers")),
        };
        let matcher = |value: &Value| {
            if !matches!(value, Value::Object(_) | Value::Null) {
                return Err(self.mismatch(KEY, value, "models.Matcher"));
            }
            let object = Object::new(value, "models.Matcher", "matchers.")?.called("Matcher");
            Ok(ReadMatcher {
                is_equal: object.flag("isEqual")?,
                is_regex: object.flag("isRegex")?,
                name: object.text("name")?,
                value: object.text("value")?,
            })
        };
        list.iter().map(matcher).collect::<Result<_, _>>().map(Some)
    }
}

/// What Go calls a value's kind.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_surrogate_pair_costs_a_character_and_no_alert() {
        let body = r#"[{"labels": {"a": "x\ud800y", "\udc00": "\ud83d\ude00"}}, {"labels": {"a": "b"}}]"#;
        let Ok(alerts) = alerts(body.as_bytes()) else {
            panic!("refused")
        };
        assert_eq!(
            alerts[0].labels,
            Labels::from_pairs([("a", "x\u{fffd}y"), ("\u{fffd}", "\u{1f600}")])
        );
        assert_eq!(alerts.len(), 2);
    }

    #[test]
    fn an_alert_for_ever_is_taken() {
        let body = r#"[{"labels": {"a": "b"}, "startsAt": "2026-03-01T10:00:00Z", "endsAt": "9999-12-31T23:59:59.999999999Z"}]"#;
        let Ok(alerts) = alerts(body.as_bytes()) else {
            panic!("refused")
        };
        assert_eq!(alerts[0].ends_at, Some(jiff::Timestamp::MAX));
    }
}
