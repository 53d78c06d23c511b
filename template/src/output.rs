//! Where values and text go, by dialect.

use crate::ast::{OperandKind, Pipe};
use crate::error::ExecErrorKind;
use crate::html::{Escaper, HtmlWriter, apply};
use crate::print;
use crate::set::{Dialect, TemplateSet};
use crate::value::Value;

pub(crate) enum Output {
    Text(String),
    Html(Box<HtmlWriter>),
}

/// How an action's value is written.
pub(crate) struct Plan {
    escapers: Vec<Escaper>,
    /// The pipeline's last command is one of `escapers`, and must not run before them as well.
    pub(crate) without_last: bool,
}

impl Output {
    pub(crate) fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Text => Output::Text(String::new()),
            Dialect::Html => Output::Html(Box::new(HtmlWriter::new())),
        }
    }

    pub(crate) fn finish(self) -> Result<String, ExecErrorKind> {
        match self {
            Output::Text(text) => Ok(text),
            Output::Html(writer) => writer.finish(),
        }
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<(), ExecErrorKind> {
        match self {
            Output::Text(out) => {
                out.push_str(text);
                Ok(())
            }
            Output::Html(writer) => writer.text(text),
        }
    }

    /// How the value of `pipe` will be written.
    pub(crate) fn plan(&mut self, set: &TemplateSet, pipe: &Pipe) -> Result<Plan, ExecErrorKind> {
        let Output::Html(writer) = self else {
            return Ok(Plan {
                escapers: Vec::new(),
                without_last: false,
            });
        };
        let mut escapers = writer.escapers();
        let (equal, own): (&[Escaper], Escaper) = match last_function(set, pipe) {
            Some("html") if writer.is_unquoted_value() => {
                return Err(ExecErrorKind::BadHtml(
                    "predefined escaper \"html\" disallowed in an unquoted attribute value",
                ));
            }
            Some("html") => (
                &[Escaper::Attr, Escaper::Html, Escaper::Rcdata],
                Escaper::FunctionHtml,
            ),
            Some("urlquery") => (&[Escaper::Url, Escaper::UrlNormalize], Escaper::FunctionUrlquery),
            _ => (&[], Escaper::Html),
        };
        let mut without_last = false;
        for escaper in escapers.iter_mut().filter(|escaper| equal.contains(escaper)) {
            *escaper = own;
            without_last = true;
        }
        Ok(Plan {
            escapers,
            without_last,
        })
    }

    /// Writes a value; gives the number of bytes.
    pub(crate) fn value(&mut self, value: &Value, plan: &Plan) -> usize {
        match self {
            Output::Text(out) => {
                let before = out.len();
                print::action(out, value);
                out.len() - before
            }
            Output::Html(writer) => {
                let text = apply(value, &plan.escapers);
                writer.escaped(&text);
                text.len()
            }
        }
    }
}

/// Name of the function that a pipeline ends with.
fn last_function(set: &TemplateSet, pipe: &Pipe) -> Option<&'static str> {
    match pipe.commands.last()?.operands[0].kind {
        OperandKind::Function(index) => Some(set.functions().at(index).name),
        _ => None,
    }
}
