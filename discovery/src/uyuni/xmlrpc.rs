//! XML-RPC: calls, and what answers hold.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;

/// How deep values may lie in each other. What is asked for here is three deep.
const DEPTH_MAX: usize = 32;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Bool(bool),
    /// Text, and all kinds that nothing here needs as what they are.
    Text(String),
    List(Vec<Value>),
    Struct(BTreeMap<String, Value>),
}

/// Why an answer cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RpcError {
    #[error(transparent)]
    Xml(#[from] quick_xml::Error),
    #[error("not UTF-8")]
    NotUtf8,
    #[error("the document ends early")]
    Ends,
    #[error("<{found}> where {wanted} is expected")]
    Unexpected { found: String, wanted: &'static str },
    #[error("{text:?} is not {wanted}")]
    NotA { text: String, wanted: &'static str },
    #[error("values lie more than {DEPTH_MAX} deep in each other")]
    Deep,
    #[error("fault {code}: {text}")]
    Fault { code: i64, text: String },
}

/// A call.
pub(super) fn call(method: &str, parameters: &[Value]) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodCall><methodName>{}</methodName><params>",
        escape(method)
    );
    for parameter in parameters {
        text.push_str("<param>");
        write(&mut text, parameter);
        text.push_str("</param>");
    }
    text + "</params></methodCall>"
}

fn write(text: &mut String, value: &Value) {
    text.push_str("<value>");
    match value {
        Value::Int(number) => text.push_str(&format!("<int>{number}</int>")),
        Value::Bool(is) => text.push_str(&format!("<boolean>{}</boolean>", u8::from(*is))),
        Value::Text(content) => text.push_str(&format!("<string>{}</string>", escape(content.as_str()))),
        Value::List(list) => {
            text.push_str("<array><data>");
            list.iter().for_each(|value| write(text, value));
            text.push_str("</data></array>");
        }
        Value::Struct(members) => {
            text.push_str("<struct>");
            for (name, value) in members {
                text.push_str(&format!("<member><name>{}</name>", escape(name.as_str())));
                write(text, value);
                text.push_str("</member>");
            }
            text.push_str("</struct>");
        }
    }
    text.push_str("</value>");
}

/// What an answer holds.
pub(super) fn answer(body: &[u8]) -> Result<Value, RpcError> {
    let text = std::str::from_utf8(body).map_err(|_| RpcError::NotUtf8)?;
    let mut parser = Parser {
        reader: Reader::from_str(text),
    };
    parser.reader.config_mut().expand_empty_elements = true;
    parser.enter("methodResponse", "methodResponse")?;
    match &*parser.start("params or fault")? {
        "params" => {
            parser.enter("param", "param")?;
            parser.enter("value", "value")?;
            parser.value(0)
        }
        "fault" => {
            parser.enter("value", "value")?;
            let fault = parser.value(0)?;
            Err(RpcError::Fault {
                code: fault.int("faultCode").unwrap_or(0),
                text: fault.text("faultString").unwrap_or_default(),
            })
        }
        other => Err(unexpected(other, "params or fault")),
    }
}

fn unexpected(found: &str, wanted: &'static str) -> RpcError {
    RpcError::Unexpected {
        found: found.to_owned(),
        wanted,
    }
}

struct Parser<'x> {
    reader: Reader<&'x [u8]>,
}

/// The next thing that matters: an element begins, one ends, or text stands between.
enum Next {
    Start(String),
    End,
    Text(String),
}

impl Parser<'_> {
    fn next(&mut self) -> Result<Next, RpcError> {
        loop {
            return Ok(match self.reader.read_event()? {
                Event::Start(start) => {
                    Next::Start(String::from_utf8_lossy(start.local_name().as_ref()).into_owned())
                }
                Event::End(_) => Next::End,
                Event::Text(text) => Next::Text(text.decode().map_err(quick_xml::Error::from)?.into_owned()),
                Event::CData(text) => Next::Text(text.decode().map_err(quick_xml::Error::from)?.into_owned()),
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref()?;
                    let name = reference.decode().map_err(quick_xml::Error::from)?;
                    let text = character.map(String::from);
                    let text = text.or_else(|| resolve_predefined_entity(&name).map(str::to_owned));
                    Next::Text(text.unwrap_or_default())
                }
                Event::Eof => return Err(RpcError::Ends),
                _ => continue,
            });
        }
    }

    /// The name of the next element that begins; text before it does not matter.
    fn start(&mut self, wanted: &'static str) -> Result<String, RpcError> {
        loop {
            match self.next()? {
                Next::Start(name) => return Ok(name),
                Next::End => return Err(unexpected("an end", wanted)),
                Next::Text(_) => {}
            }
        }
    }

    fn enter(&mut self, name: &str, wanted: &'static str) -> Result<(), RpcError> {
        let found = self.start(wanted)?;
        if found == name {
            Ok(())
        } else {
            Err(unexpected(&found, wanted))
        }
    }

    /// The next child of an element, or its end.
    fn child(&mut self) -> Result<Option<String>, RpcError> {
        loop {
            match self.next()? {
                Next::Start(name) => return Ok(Some(name)),
                Next::End => return Ok(None),
                Next::Text(_) => {}
            }
        }
    }

    /// The text up to the end of an element without children.
    fn text(&mut self) -> Result<String, RpcError> {
        let mut text = String::new();
        loop {
            match self.next()? {
                Next::Text(part) => text.push_str(&part),
                Next::End => return Ok(text),
                Next::Start(name) => return Err(unexpected(&name, "text")),
            }
        }
    }

    fn end(&mut self, wanted: &'static str) -> Result<(), RpcError> {
        match self.child()? {
            None => Ok(()),
            Some(name) => Err(unexpected(&name, wanted)),
        }
    }

    /// A value, from behind `<value>` to behind its end.
    fn value(&mut self, depth: usize) -> Result<Value, RpcError> {
        if depth == DEPTH_MAX {
            return Err(RpcError::Deep);
        }
        // A value without a kind is text.
        let mut bare = String::new();
        let kind = loop {
            match self.next()? {
                Next::Text(part) => bare.push_str(&part),
                Next::End => return Ok(Value::Text(bare)),
                Next::Start(kind) => break kind,
            }
        };
        let value = match &*kind {
            "array" => {
                self.enter("data", "data")?;
                let mut list = Vec::new();
                while let Some(name) = self.child()? {
                    if name != "value" {
                        return Err(unexpected(&name, "value"));
                    }
                    list.push(self.value(depth + 1)?);
                }
                self.end("the end of an array")?;
                Value::List(list)
            }
            "struct" => {
                let mut members = BTreeMap::new();
                while let Some(name) = self.child()? {
                    if name != "member" {
                        return Err(unexpected(&name, "member"));
                    }
                    self.enter("name", "name")?;
                    let name = self.text()?;
                    self.enter("value", "value")?;
                    members.insert(name, self.value(depth + 1)?);
                    self.end("the end of a member")?;
                }
                Value::Struct(members)
            }
            "nil" => {
                self.text()?;
                Value::Text(String::new())
            }
            kind => {
                let text = self.text()?;
                match kind {
                    "int" | "i4" | "i8" => Value::Int(parse(&text, "a whole number")?),
                    "boolean" => Value::Bool(parse::<u8>(&text, "0 or 1")? != 0),
                    _ => Value::Text(text),
                }
            }
        };
        self.end("the end of a value")?;
        Ok(value)
    }
}

fn parse<T: std::str::FromStr>(text: &str, wanted: &'static str) -> Result<T, RpcError> {
    text.trim().parse().map_err(|_| RpcError::NotA {
        text: text.to_owned(),
        wanted,
    })
}

impl Value {
    /// The members of a list.
    pub(super) fn list(self) -> Result<Vec<Value>, RpcError> {
        match self {
            Value::List(list) => Ok(list),
            other => Err(other.is_not("a list")),
        }
    }

    pub(super) fn into_text(self) -> Result<String, RpcError> {
        match self {
            Value::Text(text) => Ok(text),
            other => Err(other.is_not("text")),
        }
    }

    fn member(&self, name: &str) -> Result<Option<&Value>, RpcError> {
        match self {
            Value::Struct(members) => Ok(members.get(name)),
            other => Err(other.is_not("a struct")),
        }
    }

    /// A member that is a list; empty where there is none.
    pub(super) fn members(&self, name: &str) -> Result<Vec<Value>, RpcError> {
        self.member(name)?.cloned().map_or(Ok(Vec::new()), Value::list)
    }

    /// A member that is a number; 0 where there is none.
    pub(super) fn int(&self, name: &str) -> Result<i64, RpcError> {
        match self.member(name)? {
            None => Ok(0),
            Some(Value::Int(number)) => Ok(*number),
            Some(other) => Err(other.is_not("a whole number")),
        }
    }

    /// A member that is text; empty where there is none.
    pub(super) fn text(&self, name: &str) -> Result<String, RpcError> {
        self.member(name)?
            .cloned()
            .map_or(Ok(String::new()), Value::into_text)
    }

    /// A member that is true or false; false where there is none.
    pub(super) fn bool(&self, name: &str) -> Result<bool, RpcError> {
        match self.member(name)? {
            None => Ok(false),
            Some(Value::Bool(is)) => Ok(*is),
            Some(other) => Err(other.is_not("true or false")),
        }
    }

    fn is_not(&self, wanted: &'static str) -> RpcError {
        let text: String = format!("{self:?}").chars().take(64).collect();
        RpcError::NotA { text, wanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(value: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<methodResponse><params><param>{value}</param></params></methodResponse>"
        )
    }

    #[test]
    fn values_of_all_kinds_are_read() {
        let value = answer(
            response(
                "<value><struct>\n<member><name>id</name><value><i4> 7 </i4></value></member>\
                 <member><name>up</name><value><boolean>1</boolean></value></member>\
                 <member><name>bare</name><value>a &lt;b&gt;&#33;</value></member>\
                 <member><name>list</name><value><array><data><value><string/></value></data></array></value>\
                 </member></struct></value>",
            )
            .as_bytes(),
        );
        let value = value.expect("valid");
        assert_eq!(value.int("id").expect("number"), 7);
        assert!(value.bool("up").expect("boolean"));
        assert_eq!(value.text("bare").expect("text"), "a <b>!");
        assert_eq!(value.members("list").expect("list"), [Value::Text(String::new())]);
        assert_eq!(
            (value.int("none").expect("0"), value.text("none").expect("")),
            (0, String::new())
        );
        assert!(value.int("bare").is_err());
    }

    #[test]
    fn a_call_is_written_with_its_texts_escaped() {
        let text = call(
            "a.b",
            &[Value::Text("<&>".to_owned()), Value::List(vec![Value::Int(1)])],
        );
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodCall><methodName>a.b</methodName><params>\
             <param><value><string>&lt;&amp;&gt;</string></value></param>\
             <param><value><array><data><value><int>1</int></value></data></array></value></param>\
             </params></methodCall>"
        );
    }

    #[test]
    fn faults_and_broken_answers_are_errors() {
        let fault = "<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>5</int></value>\
                     </member><member><name>faultString</name><value>no</value></member></struct></value></fault>\
                     </methodResponse>";
        assert_eq!(
            answer(fault.as_bytes()).expect_err("fault").to_string(),
            "fault 5: no"
        );
        let deep = response(&format!(
            "{}{}",
            "<value><array><data>".repeat(DEPTH_MAX + 1),
            "</data></array></value>".repeat(DEPTH_MAX + 1)
        ));
        assert!(matches!(answer(deep.as_bytes()), Err(RpcError::Deep)));
        let whole = response("<value><array><data><value><int>1</int></value></data></array></value>");
        let needed = whole.find("</value></param>").expect("end") + "</value>".len();
        for length in 0..needed {
            assert!(
                answer(&whole.as_bytes()[..length]).is_err(),
                "{}",
                &whole[..length]
            );
        }
    }
}
