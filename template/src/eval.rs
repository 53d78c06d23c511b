//! Evaluation of pipelines, commands and operands.

use crate::ast::{Command, Number, Operand, OperandKind, Pipe};
use crate::error::{CallError, ExecErrorKind};
use crate::exec::{Executed, Run, squeezed};
use crate::function::{Call, Function};
use crate::time;
use crate::value::{Type, Value};

impl<'r> Run<'r> {
    /// The value of a pipeline, after binding its variables.
    pub(crate) fn pipeline(&mut self, pipe: &'r Pipe, dot: &Value) -> Executed<Value> {
        let value = self.commands(pipe, dot)?;
        self.bind(pipe, &value)?;
        Ok(value)
    }

    /// The value of a pipeline, its variables left alone.
    pub(crate) fn commands(&mut self, pipe: &'r Pipe, dot: &Value) -> Executed<Value> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or(Value::Nil))
    }

    /// What the last command of a pipeline, a function of text, would be called with, as text.
    pub(crate) fn pipeline_without_last(&mut self, pipe: &'r Pipe, dot: &Value) -> Executed<Value> {
        let Some((last, before)) = pipe.commands.split_last() else {
            return Ok(Value::Nil);
        };
        let mut value = None;
        for command in before {
            value = Some(self.command(command, dot, value)?);
        }
        let mut args = Vec::with_capacity(last.operands.len());
        for operand in &last.operands[1..] {
            args.push(self.argument(operand, Type::Any, dot)?);
        }
        args.extend(value);
        Ok(match <[Value; 1]>::try_from(args) {
            Ok([one]) => one,
            Err(args) => crate::print::joined(&args).into(),
        })
    }

    /// The value of a command; `piped` is the value of the one before it.
    fn command(&mut self, command: &'r Command, dot: &Value, piped: Option<Value>) -> Executed<Value> {
        self.step(command.span)?;
        let (first, args) = (&command.operands[0], &command.operands[1..]);
        match &first.kind {
            OperandKind::Function(index) => {
                let function = self.set.functions().at(*index);
                self.call(function, first, Some(command), args, piped, dot)
            }
            OperandKind::Field(fields) => self.chain(dot.clone(), fields, first, args, piped, dot),
            OperandKind::Variable(name, fields) if !fields.is_empty() => {
                let value = self.variable_value(name, first)?;
                self.chain(value, fields, first, args, piped, dot)
            }
            OperandKind::Chain(inner, fields) => {
                if matches!(inner.kind, OperandKind::Nil) {
                    return Err(self.error(first.pos, first.span, ExecErrorKind::NilCommand));
                }
                let value = self.argument(inner, Type::Any, dot)?;
                self.chain(value, fields, first, args, piped, dot)
            }
            kind => {
                if !args.is_empty() || piped.is_some() {
                    let text = squeezed(self.code(first));
                    return Err(self.error(first.pos, first.span, ExecErrorKind::NotAFunction(text)));
                }
                match kind {
                    OperandKind::Nil => Err(self.error(first.pos, first.span, ExecErrorKind::NilCommand)),
                    _ => self.simple(first, dot),
                }
            }
        }
    }

    fn code(&self, operand: &Operand) -> &'r str {
        &self.definition.source.text[operand.span.start..operand.span.end]
    }

    fn variable_value(&mut self, name: &str, operand: &Operand) -> Executed<Value> {
        match self.variable(name) {
            Some(value) => Ok(value.clone()),
            None => {
                let kind = ExecErrorKind::UndefinedVariable(name.to_owned());
                Err(self.error(operand.pos, operand.span, kind))
            }
        }
    }

    /// An operand that takes no arguments.
    fn simple(&mut self, operand: &'r Operand, dot: &Value) -> Executed<Value> {
        Ok(match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil => Value::Nil,
            OperandKind::Bool(truth) => Value::Bool(*truth),
            OperandKind::String(text) => Value::String(text.clone()),
            OperandKind::Number(number) => self.constant(*number, operand)?,
            OperandKind::Variable(name, fields) => {
                let value = self.variable_value(name, operand)?;
                match fields.is_empty() {
                    true => value,
                    false => self.chain(value, fields, operand, &[], None, dot)?,
                }
            }
            OperandKind::Field(fields) => self.chain(dot.clone(), fields, operand, &[], None, dot)?,
            OperandKind::Function(index) => {
                let function = self.set.functions().at(*index);
                self.call(function, operand, None, &[], None, dot)?
            }
            OperandKind::Pipe(pipe) => {
                self.deeper(pipe.span)?;
                let value = self.pipeline(pipe, dot)?;
                self.shallower();
                value
            }
            OperandKind::Chain(inner, fields) => {
                let value = self.argument(inner, Type::Any, dot)?;
                self.chain(value, fields, operand, &[], None, dot)?
            }
        })
    }

    /// A number where any value will do.
    fn constant(&self, number: Number, operand: &Operand) -> Executed<Value> {
        if number.is_float {
            return Ok(Value::Float(number.float));
        }
        number.int.map(Value::Int).ok_or_else(|| {
            let kind = ExecErrorKind::Overflow(self.code(operand).to_owned());
            self.error(operand.pos, operand.span, kind)
        })
    }

    /// An argument for a parameter of type `wanted`.
    fn argument(&mut self, operand: &'r Operand, wanted: Type, dot: &Value) -> Executed<Value> {
        let literal = match &operand.kind {
            OperandKind::Nil if wanted.can_be_nil() => return Ok(Value::Nil),
            OperandKind::Nil => {
                let kind = ExecErrorKind::NilArgument(wanted.name().to_owned());
                return Err(self.error(operand.pos, operand.span, kind));
            }
            OperandKind::Bool(truth) => (wanted == Type::Bool).then_some(Value::Bool(*truth)),
            OperandKind::String(text) => (wanted == Type::String).then(|| Value::String(text.clone())),
            OperandKind::Number(number) => match wanted {
                Type::Float => Some(Value::Float(number.float)),
                Type::Int => number.int.map(Value::Int),
                Type::Duration => number.int.map(Value::Duration),
                _ => None,
            },
            _ => {
                let value = self.simple(operand, dot)?;
                return self.validated(value, wanted, operand);
            }
        };
        match (literal, wanted) {
            (Some(value), _) => Ok(value),
            (None, Type::Any) => self.simple(operand, dot),
            (None, wanted) => {
                let found = self.code(operand).to_owned();
                let expected = match wanted {
                    Type::Int | Type::Duration => Some("integer"),
                    Type::Float => Some("float"),
                    Type::Bool | Type::String => Some(wanted.name()),
                    _ => None,
                };
                let kind = match expected {
                    Some(expected) => ExecErrorKind::Expected { expected, found },
                    None => ExecErrorKind::CantHandle {
                        found,
                        wanted: wanted.name(),
                    },
                };
                Err(self.error(operand.pos, operand.span, kind))
            }
        }
    }

    fn validated(&self, value: Value, wanted: Type, at: &Operand) -> Executed<Value> {
        let kind = match &value {
            _ if wanted == Type::Any => return Ok(value),
            Value::Nil if wanted.can_be_nil() => return Ok(value),
            Value::Nil => ExecErrorKind::InvalidValue(wanted.name().to_owned()),
            value if value.type_name() == wanted.name() => return Ok(value.clone()),
            value => ExecErrorKind::WrongType {
                expected: wanted.name().to_owned(),
                got: value.type_name().to_owned(),
            },
        };
        Err(self.error(at.pos, at.span, kind))
    }

    /// Calls a function; `command` is where a refusal points, unless the function stands alone.
    fn call(
        &mut self,
        function: &'static Function,
        at: &'r Operand,
        command: Option<&'r Command>,
        args: &'r [Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Executed<Value> {
        let given = args.len() + usize::from(piped.is_some());
        let fixed = function.params.len() - usize::from(function.variadic);
        if given < fixed || (given > fixed && !function.variadic) {
            let kind = ExecErrorKind::ArgumentCount {
                name: function.name.to_owned(),
                at_least: function.variadic,
                want: fixed,
                // Compat: a variadic function counts what is written, not what is piped.
                got: if function.variadic { args.len() } else { given },
            };
            return Err(self.error(at.pos, at.span, kind));
        }
        let deciding = match function.name {
            "and" => Some(false),
            "or" => Some(true),
            _ => None,
        };
        let param = |index: usize| function.params[index.min(function.params.len() - 1)];
        let mut values = Vec::with_capacity(given);
        for (i, operand) in args.iter().enumerate() {
            let value = self.argument(operand, param(i), dot)?;
            if deciding == Some(value.truth()) {
                return Ok(value);
            }
            values.push(value);
        }
        if let Some(value) = piped {
            values.push(self.validated(value, param(args.len()), at)?);
        }
        let (pos, span) = command.map_or((at.pos, at.span), |command| (command.span.start, command.span));
        let host = self.host;
        let bytes_max = self.bytes_left();
        let mut call = Call {
            args: &values,
            host,
            bytes_max,
            renderer: self,
        };
        let result = (function.call)(&mut call);
        self.called(result, function.name, pos, span)
    }

    /// The value of a call, or its refusal as an error at `pos`.
    fn called(
        &mut self,
        result: Result<Value, CallError>,
        name: &str,
        pos: usize,
        span: crate::ast::Span,
    ) -> Executed<Value> {
        match result {
            Ok(value) => {
                self.charge(value.weight(), span)?;
                Ok(value)
            }
            Err(error) => {
                let name = name.to_owned();
                Err(self.error(pos, span, ExecErrorKind::Call { name, error }))
            }
        }
    }

    /// `receiver.A.B`; arguments belong to the last field.
    fn chain(
        &mut self,
        mut receiver: Value,
        fields: &'r [Box<str>],
        at: &'r Operand,
        args: &'r [Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Executed<Value> {
        let Some((last, before)) = fields.split_last() else {
            return Ok(receiver);
        };
        for (i, field) in before.iter().enumerate() {
            receiver = self.field(&receiver, field, i, at, &[])?;
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        for operand in args {
            values.push(self.argument(operand, Type::Any, dot)?);
        }
        values.extend(piped);
        self.field(&receiver, last, before.len(), at, &values)
    }

    /// A field, a map's value or a method's result; `index` tells the how manieth field of its chain this is.
    fn field(
        &mut self,
        receiver: &Value,
        name: &str,
        index: usize,
        at: &Operand,
        args: &[Value],
    ) -> Executed<Value> {
        self.step(at.span)?;
        let method = match receiver {
            Value::Nil if index == 0 => return Ok(Value::Nil),
            Value::Nil => {
                let kind = ExecErrorKind::NilPointer(name.to_owned());
                return Err(self.error(at.pos, at.span, kind));
            }
            Value::Object(object) => object.method(name, args),
            Value::Time(time) => time.method(name, args),
            Value::Duration(ns) => time::duration_method(*ns, name, args),
            _ => None,
        };
        if let Some(result) = method {
            // What is wrong with the arguments is not the method's failure.
            let kind = match result {
                Err(CallError::ArgumentCount { name, want, got }) => ExecErrorKind::ArgumentCount {
                    name,
                    at_least: false,
                    want,
                    got,
                },
                Err(CallError::WrongType { expected, got }) => ExecErrorKind::WrongType {
                    expected: expected.to_owned(),
                    got,
                },
                result => return self.called(result, name, at.pos, at.span),
            };
            return Err(self.error(at.pos, at.span, kind));
        }
        let has_args = !args.is_empty();
        let kind = match receiver.plain() {
            Value::Map(_) if has_args => ExecErrorKind::NotAMethod(name.to_owned()),
            Value::Map(map) => return Ok(map.get(name)),
            Value::Object(object) => match object.field(name) {
                Some(_) if has_args => ExecErrorKind::FieldWithArguments(name.to_owned()),
                Some(value) => return Ok(value),
                None => no_field(receiver, name),
            },
            _ => no_field(receiver, name),
        };
        Err(self.error(at.pos, at.span, kind))
    }
}

fn no_field(receiver: &Value, name: &str) -> ExecErrorKind {
    ExecErrorKind::NoField {
        field: name.to_owned(),
        type_name: receiver.type_name().to_owned(),
    }
}
