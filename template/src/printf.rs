//! Go's format verbs.

use std::fmt::Write;

use crate::number;
use crate::print;
use crate::value::Value;

/// Widest field and longest precision; more is an error in the output, as in the reference.
const WIDTH_MAX: i64 = 1_000_000;

/// Nesting up to which a verb is applied to the parts of lists and maps.
const DEPTH_MAX: usize = 32;

/// Flags, width and precision of one verb.
#[derive(Clone, Copy, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Formats `args` by `format`, as `fmt.Sprintf` does: what does not fit is told in the output, never an error.
///
/// Output stops growing at `limit` bytes.
pub(crate) fn sprintf(format: &str, args: &[Value], limit: usize) -> String {
    let mut printer = Printer {
        out: String::with_capacity(format.len() + 16),
        args,
        next: 0,
        reordered: false,
        bad_index: false,
        bad: Vec::new(),
    };
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        printer.out.push_str(&rest[..at]);
        rest = printer.directive(&rest[at + 1..]);
        if printer.out.len() > limit {
            return printer.out;
        }
    }
    printer.out.push_str(rest);
    printer.extra();
    printer.out
}

struct Printer<'a> {
    out: String,
    args: &'a [Value],
    next: usize,
    /// Whether an explicit index was used: then arguments may be left over.
    reordered: bool,
    bad_index: bool,
    /// Complaints about width and precision, printed before the value.
    bad: Vec<&'static str>,
}

impl<'a> Printer<'a> {
    /// Handles what follows a percent sign and gives what follows the verb.
    fn directive<'f>(&mut self, format: &'f str) -> &'f str {
        let mut spec = Spec::default();
        let mut rest = format;
        while let Some(c) = rest.chars().next() {
            match c {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        self.bad_index = false;
        let mut indexed = false;
        rest = self.index(rest, &mut indexed);
        rest = self.width(rest, &mut spec, &mut indexed);
        rest = self.precision(rest, &mut spec, &mut indexed);
        if !indexed {
            rest = self.index(rest, &mut indexed);
        }
        for complaint in std::mem::take(&mut self.bad) {
            self.out.push_str(complaint);
        }
        let Some(verb) = rest.chars().next() else {
            self.out.push_str("%!(NOVERB)");
            return "";
        };
        self.verb(verb, spec);
        &rest[verb.len_utf8()..]
    }

    fn verb(&mut self, verb: char, mut spec: Spec) {
        if verb == '%' {
            self.out.push('%');
        } else if self.bad_index {
            let _ = write!(self.out, "%!{verb}(BADINDEX)");
        } else if let Some(arg) = self.args.get(self.next) {
            self.next += 1;
            // Padding on the right is never with zeros.
            spec.zero &= !spec.minus;
            write_value(&mut self.out, verb, &spec, arg, 0);
        } else {
            let _ = write!(self.out, "%!{verb}(MISSING)");
        }
    }

    /// `[2]`
    fn index<'f>(&mut self, rest: &'f str, indexed: &mut bool) -> &'f str {
        if !rest.starts_with('[') {
            return rest;
        }
        self.reordered = true;
        let Some(end) = rest.find(']') else {
            self.bad_index = true;
            return &rest[1..];
        };
        *indexed = true;
        match rest[1..end].parse::<usize>() {
            Ok(n) if n >= 1 && n <= self.args.len() => self.next = n - 1,
            _ => self.bad_index = true,
        }
        &rest[end + 1..]
    }

    fn width<'f>(&mut self, rest: &'f str, spec: &mut Spec, indexed: &mut bool) -> &'f str {
        if let Some(rest) = rest.strip_prefix('*') {
            match self.int_arg() {
                Some(width) => {
                    spec.minus |= width < 0;
                    spec.width = Some(width.unsigned_abs() as usize);
                }
                None => self.bad.push("%!(BADWIDTH)"),
            }
            *indexed = false;
            return rest;
        }
        let (width, rest, too_large) = digits(rest);
        if too_large {
            self.bad.push("%!(BADWIDTH)");
        }
        if width.is_some() && *indexed {
            self.bad_index = true;
        }
        spec.width = width;
        rest
    }

    fn precision<'f>(&mut self, rest: &'f str, spec: &mut Spec, indexed: &mut bool) -> &'f str {
        let Some(rest) = rest.strip_prefix('.') else {
            return rest;
        };
        if *indexed {
            self.bad_index = true;
        }
        let rest = self.index(rest, indexed);
        if let Some(rest) = rest.strip_prefix('*') {
            match self.int_arg() {
                Some(precision) if precision >= 0 => spec.precision = Some(precision as usize),
                Some(_) => {}
                None => self.bad.push("%!(BADPREC)"),
            }
            *indexed = false;
            return rest;
        }
        let (precision, rest, too_large) = digits(rest);
        if too_large {
            self.bad.push("%!(BADPREC)");
        } else {
            spec.precision = Some(precision.unwrap_or(0));
        }
        rest
    }

    /// The next argument, if it is an integer of an acceptable size.
    fn int_arg(&mut self) -> Option<i64> {
        let arg = self.args.get(self.next)?;
        self.next += 1;
        match arg {
            Value::Int(n) if n.unsigned_abs() <= WIDTH_MAX as u64 => Some(*n),
            _ => None,
        }
    }

    fn extra(&mut self) {
        if self.reordered || self.next >= self.args.len() {
            return;
        }
        self.out.push_str("%!(EXTRA ");
        for (i, arg) in self.args[self.next..].iter().enumerate() {
            if i > 0 {
                self.out.push_str(", ");
            }
            self.out.push_str(arg.type_name());
            if !matches!(arg, Value::Nil) {
                self.out.push('=');
                print::value(&mut self.out, arg);
            }
        }
        self.out.push(')');
    }
}

/// Leading digits as a number, what follows them, and whether the number was too large.
fn digits(text: &str) -> (Option<usize>, &str, bool) {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(length);
    if digits.is_empty() {
        return (None, rest, false);
    }
    match digits.parse::<i64>() {
        Ok(n) if n <= WIDTH_MAX => (Some(n as usize), rest, false),
        _ => (None, rest, true),
    }
}

fn write_value(out: &mut String, verb: char, spec: &Spec, value: &Value, depth: usize) {
    match (verb, value) {
        ('T', value) => pad(out, spec, value.type_name()),
        (verb, Value::Nil) if verb == 'v' || depth > 0 => pad(out, spec, "<nil>"),
        ('p', value) | (_, value @ Value::Nil) => bad_verb(out, verb, value),
        (_, Value::Bool(b)) if matches!(verb, 't' | 'v') => pad(out, spec, if *b { "true" } else { "false" }),
        (_, Value::Int(i)) => write_int(out, verb, spec, *i, value),
        (_, Value::Float(f)) => write_float(out, verb, spec, *f, value),
        (_, Value::String(s) | Value::Html(s) | Value::Url(s)) => write_text(out, verb, spec, s, value),
        (_, Value::Duration(ns)) if !is_text_verb(verb) => write_int(out, verb, spec, *ns, value),
        (_, Value::Duration(_) | Value::Time(_)) if is_text_verb(verb) => {
            write_text(out, verb, spec, &value.to_string(), value);
        }
        (_, Value::List(list)) if depth < DEPTH_MAX => {
            out.push('[');
            for (i, item) in list.items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                write_value(out, verb, spec, item, depth + 1);
            }
            out.push(']');
        }
        (_, Value::Map(map)) if depth < DEPTH_MAX => {
            out.push_str("map[");
            for (i, (key, item)) in map.entries().iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                write_value(out, verb, spec, &Value::String(key.clone()), depth + 1);
                out.push(':');
                write_value(out, verb, spec, item, depth + 1);
            }
            out.push(']');
        }
        (_, Value::Object(object)) if depth < DEPTH_MAX => {
            if let Some(text) = object.text().filter(|_| is_text_verb(verb)) {
                write_text(out, verb, spec, &text, value);
            } else if let Some(plain) = object.underlying() {
                write_value(out, verb, spec, &plain, depth + 1);
            } else {
                out.push('{');
                for (i, (name, _)) in object.fields().iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    let field = object.field(name).unwrap_or(Value::Nil);
                    write_value(out, verb, spec, &field, depth + 1);
                }
                out.push('}');
            }
        }
        _ => bad_verb(out, verb, value),
    }
}

fn is_text_verb(verb: char) -> bool {
    matches!(verb, 'v' | 's' | 'q' | 'x' | 'X')
}

/// `%!d(string=hi)`
fn bad_verb(out: &mut String, verb: char, value: &Value) {
    let _ = match value {
        Value::Nil => write!(out, "%!{verb}(<nil>)"),
        value => write!(out, "%!{verb}({}={value})", value.type_name()),
    };
}

fn write_int(out: &mut String, verb: char, spec: &Spec, value: i64, whole: &Value) {
    let (radix, prefix) = match verb {
        'd' | 'v' => (10, ""),
        'b' => (2, if spec.sharp { "0b" } else { "" }),
        'o' => (8, if spec.sharp { "0" } else { "" }),
        'O' => (8, "0o"),
        'x' => (16, if spec.sharp { "0x" } else { "" }),
        'X' => (16, if spec.sharp { "0X" } else { "" }),
        'c' | 'q' | 'U' => return write_rune(out, verb, spec, value),
        // Compat: a float verb with an integer is told as a wrong type.
        _ => return bad_verb(out, verb, whole),
    };
    let magnitude = value.unsigned_abs();
    let mut digits = match radix {
        2 => format!("{magnitude:b}"),
        8 => format!("{magnitude:o}"),
        16 if verb == 'X' => format!("{magnitude:X}"),
        16 => format!("{magnitude:x}"),
        _ => magnitude.to_string(),
    };
    match spec.precision {
        Some(0) if value == 0 => digits.clear(),
        Some(precision) => zeros_to(&mut digits, precision.min(1000)),
        None => {}
    }
    number_with_sign(out, spec, value < 0, prefix, digits, spec.precision.is_none());
}

fn zeros_to(digits: &mut String, length: usize) {
    if let Some(missing) = length.checked_sub(digits.len()) {
        digits.insert_str(0, &"0".repeat(missing));
    }
}

/// Sign, prefix and digits in a field; zeros go between sign and digits.
fn number_with_sign(
    out: &mut String,
    spec: &Spec,
    negative: bool,
    prefix: &str,
    mut digits: String,
    zeros: bool,
) {
    let sign = match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    if zeros && spec.zero {
        zeros_to(
            &mut digits,
            spec.width.unwrap_or(0).saturating_sub(sign.len() + prefix.len()),
        );
    }
    let spec = Spec { zero: false, ..*spec };
    pad(out, &spec, &format!("{sign}{prefix}{digits}"));
}

fn write_rune(out: &mut String, verb: char, spec: &Spec, value: i64) {
    let rune = u32::try_from(value)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or('\u{fffd}');
    let text = match verb {
        'c' => rune.to_string(),
        'q' => {
            let quoted = crate::error::quoted(rune.encode_utf8(&mut [0; 4]));
            let inner = &quoted[1..quoted.len() - 1];
            match rune {
                '\'' => "'\\''".to_owned(),
                '"' => "'\"'".to_owned(),
                _ => format!("'{inner}'"),
            }
        }
        _ if spec.sharp => format!("U+{value:04X} '{rune}'"),
        _ => format!("U+{value:04X}"),
    };
    pad(out, spec, &text);
}

fn write_float(out: &mut String, verb: char, spec: &Spec, value: f64, whole: &Value) {
    let (layout, precision) = match verb {
        'v' => ('g', spec.precision),
        'g' | 'G' => (verb, spec.precision),
        'e' | 'E' => (verb, spec.precision.or(Some(6))),
        'f' | 'F' => ('f', spec.precision.or(Some(6))),
        _ => return bad_verb(out, verb, whole),
    };
    let text = number::format(value, layout, precision);
    let negative = text.starts_with('-');
    let digits = text.trim_start_matches(['+', '-']).to_owned();
    // Infinities keep their sign, and neither they nor NaN are padded with zeros.
    let spec = Spec {
        plus: spec.plus || value.is_infinite(),
        ..*spec
    };
    number_with_sign(out, &spec, negative, "", digits, value.is_finite());
}

fn write_text(out: &mut String, verb: char, spec: &Spec, text: &str, whole: &Value) {
    let cut = |text: &str| match spec.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    };
    match verb {
        's' | 'v' => pad(out, spec, &cut(text)),
        'q' => {
            let text = cut(text);
            let raw = spec.sharp && !text.contains('`') && !text.chars().any(char::is_control);
            let quoted = if raw {
                format!("`{text}`")
            } else {
                crate::error::quoted(&text)
            };
            pad(out, spec, &quoted);
        }
        'x' | 'X' => {
            let bytes = text.as_bytes();
            let length = spec.precision.unwrap_or(bytes.len()).min(bytes.len());
            let mut hex = String::with_capacity(length * 2);
            for (i, byte) in bytes[..length].iter().enumerate() {
                if spec.space && i > 0 {
                    hex.push(' ');
                }
                if spec.sharp && (spec.space || i == 0) {
                    hex.push_str(if verb == 'x' { "0x" } else { "0X" });
                }
                let _ = if verb == 'x' {
                    write!(hex, "{byte:02x}")
                } else {
                    write!(hex, "{byte:02X}")
                };
            }
            pad(out, spec, &hex);
        }
        _ => bad_verb(out, verb, whole),
    }
}

/// Puts `text` into a field, counted in characters.
fn pad(out: &mut String, spec: &Spec, text: &str) {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    let fill = if spec.zero { "0" } else { " " };
    if spec.minus {
        out.push_str(text);
        out.push_str(&" ".repeat(missing));
    } else {
        out.push_str(&fill.repeat(missing));
        out.push_str(text);
    }
}
