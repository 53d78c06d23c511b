//! The language's own functions.

use std::cmp::Ordering;

use crate::error::CallError;
use crate::escape;
use crate::function::{Call, Function};
use crate::print;
use crate::printf;
use crate::value::{Type, Value};

const ANY: Type = Type::Any;

/// `and` and `or` stand here for their names and signatures; they are evaluated where their arguments are, because
/// they stop at the first that decides.
pub(crate) const FUNCTIONS: &[Function] = &[
    function("and", &[ANY, ANY], true, last),
    function("or", &[ANY, ANY], true, last),
    function("not", &[ANY], false, |c| Ok((!c.arg(0).truth()).into())),
    function("call", &[ANY, ANY], true, call),
    function("html", &[ANY], true, |c| {
        Ok(escape::html(&print::joined(c.args)).into())
    }),
    function("index", &[ANY, ANY], true, index),
    function("slice", &[ANY, ANY], true, slice),
    function("js", &[ANY], true, |c| {
        Ok(escape::js(&print::joined(c.args)).into())
    }),
    function("len", &[ANY], false, len),
    function("print", &[ANY], true, |c| Ok(print::sprint(c.args).into())),
    function("printf", &[Type::String, ANY], true, |c| {
        Ok(printf::sprintf(c.text(0), &c.args[1..], c.bytes_max).into())
    }),
    function("println", &[ANY], true, |c| Ok(print::sprintln(c.args).into())),
    function("urlquery", &[ANY], true, |c| {
        Ok(escape::query(&print::joined(c.args)).into())
    }),
    function("eq", &[ANY, ANY], true, |c| Ok(equals_any(c.args)?.into())),
    function("ne", &[ANY, ANY], false, |c| Ok((!equals_any(c.args)?).into())),
    function("lt", &[ANY, ANY], false, |c| {
        Ok(compare(c)?.is_some_and(Ordering::is_lt).into())
    }),
    function("le", &[ANY, ANY], false, |c| Ok(less_or_equal(c)?.into())),
    // Compat: defined as the negations, which differs from the plain comparison where a NaN is involved.
    function("gt", &[ANY, ANY], false, |c| Ok((!less_or_equal(c)?).into())),
    function("ge", &[ANY, ANY], false, |c| {
        Ok((!compare(c)?.is_some_and(Ordering::is_lt)).into())
    }),
];

const fn function(
    name: &'static str,
    params: &'static [Type],
    variadic: bool,
    call: fn(&mut Call<'_>) -> Result<Value, CallError>,
) -> Function {
    Function {
        name,
        params,
        variadic,
        call,
    }
}

fn last(call: &mut Call<'_>) -> Result<Value, CallError> {
    Ok(call.args.last().cloned().unwrap_or(Value::Nil))
}

/// Values are never functions here.
fn call(call: &mut Call<'_>) -> Result<Value, CallError> {
    match call.arg(0) {
        Value::Nil => Err(CallError::CallOfNil),
        value => Err(CallError::NonFunction(
            value.to_string(),
            value.type_name().to_owned(),
        )),
    }
}

fn index(call: &mut Call<'_>) -> Result<Value, CallError> {
    let mut item = call.arg(0).clone();
    if matches!(item, Value::Nil) {
        return Err(CallError::IndexOfNil);
    }
    for key in &call.args[1..] {
        item = match item.plain() {
            Value::List(list) => {
                let at = position(key, list.items.len(), false)?;
                list.items[at].clone()
            }
            Value::Map(map) => match key {
                Value::String(key) => map.get(key),
                Value::Nil => map.get(""),
                key => {
                    return Err(CallError::KeyType {
                        got: key.type_name().to_owned(),
                        want: "string",
                    });
                }
            },
            value => match value.as_str() {
                Some(text) => {
                    let at = position(key, text.len(), false)?;
                    Value::Int(text.as_bytes()[at].into())
                }
                None => return Err(CallError::CantIndex(value.type_name().to_owned())),
            },
        };
    }
    Ok(item)
}

/// A position in something of `length`; the end itself where `end_too`.
fn position(key: &Value, length: usize, end_too: bool) -> Result<usize, CallError> {
    let at = match key {
        Value::Int(at) | Value::Duration(at) => *at,
        Value::Nil => return Err(CallError::IndexNil),
        key => return Err(CallError::IndexType(key.type_name().to_owned())),
    };
    let limit = if end_too { length + 1 } else { length };
    match usize::try_from(at) {
        Ok(position) if position < limit => Ok(position),
        _ => Err(CallError::OutOfRange(at)),
    }
}

fn slice(call: &mut Call<'_>) -> Result<Value, CallError> {
    let item = call.arg(0).plain();
    if matches!(item, Value::Nil) {
        return Err(CallError::SliceOfNil);
    }
    let bounds = &call.args[1..];
    if bounds.len() > 3 {
        return Err(CallError::TooManyIndexes(bounds.len()));
    }
    let length = match (&item, item.as_str()) {
        (_, Some(_)) if bounds.len() == 3 => return Err(CallError::ThreeIndexString),
        (_, Some(text)) => text.len(),
        (Value::List(list), _) => list.items.len(),
        (item, _) => return Err(CallError::CantSlice(item.type_name().to_owned())),
    };
    let mut at = [0, length, length];
    for (bound, key) in at.iter_mut().zip(bounds) {
        *bound = position(key, length, true)?;
    }
    for pair in [(at[0], at[1]), (at[1], at[2])] {
        if pair.0 > pair.1 {
            return Err(CallError::SliceOrder(pair.0 as i64, pair.1 as i64));
        }
    }
    match &item {
        Value::List(list) => Ok(Value::list(list.list_type, list.items[at[0]..at[1]].to_vec())),
        item => {
            let text = item.as_str().unwrap_or("");
            // Go slices bytes and may cut a character; broken UTF-8 is of no use to anyone.
            let part = text.get(at[0]..at[1]).ok_or(CallError::SplitCharacter)?;
            Ok(part.into())
        }
    }
}

fn len(call: &mut Call<'_>) -> Result<Value, CallError> {
    let item = call.arg(0);
    let length = match item.plain() {
        Value::Nil => return Err(CallError::LenOfNil),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries().len(),
        value => match value.as_str() {
            Some(text) => text.len(),
            None => return Err(CallError::LenOf(item.type_name().to_owned())),
        },
    };
    Ok(Value::Int(length as i64))
}

/// Whether the first argument equals any other.
fn equals_any(args: &[Value]) -> Result<bool, CallError> {
    let (first, others) = args.split_first().ok_or(CallError::NoComparison)?;
    if others.is_empty() {
        return Err(CallError::NoComparison);
    }
    for other in others {
        if equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal(a: &Value, b: &Value) -> Result<bool, CallError> {
    Ok(match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a) | Value::Duration(a), Value::Int(b) | Value::Duration(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a == b,
        (a, b) => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => a == b,
            (None, None) if is_structured(a) && is_structured(b) => {
                return Err(CallError::NonComparable(a.to_string(), a.type_name().to_owned()));
            }
            _ => return Err(incompatible(a, b)),
        },
    })
}

fn is_structured(value: &Value) -> bool {
    matches!(value, Value::List(_) | Value::Map(_) | Value::Object(_))
}

fn incompatible(a: &Value, b: &Value) -> CallError {
    CallError::Incompatible(a.type_name().to_owned(), b.type_name().to_owned())
}

/// The order of two arguments; `None` where a NaN has none.
fn compare(call: &mut Call<'_>) -> Result<Option<Ordering>, CallError> {
    let (a, b) = (call.arg(0), call.arg(1));
    Ok(match (a, b) {
        (Value::Int(a) | Value::Duration(a), Value::Int(b) | Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (a, b) => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => Some(a.cmp(b)),
            _ if !is_ordered(a) || !is_ordered(b) => return Err(CallError::BadComparison),
            _ => return Err(incompatible(a, b)),
        },
    })
}

fn is_ordered(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Duration(_) | Value::Float(_)) || value.as_str().is_some()
}

fn less_or_equal(call: &mut Call<'_>) -> Result<bool, CallError> {
    Ok(compare(call)?.is_some_and(Ordering::is_le))
}
