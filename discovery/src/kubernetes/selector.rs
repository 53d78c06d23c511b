//! Selectors are the API server's to apply; here they are only read as it would read them, so that a mistake is told
//! before a request is.

/// Longest label value, and longest name of a label behind its prefix, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// Longest prefix of a label's name, in bytes.
const PREFIX_BYTES_MAX: usize = 253;

/// What is wrong with a field selector: `metadata.name=x,status.phase!=y`.
pub(super) fn check_fields(selector: &str) -> Result<(), String> {
    let mut terms: Vec<&str> = Vec::new();
    let (mut start, mut is_escaped) = (0, false);
    for (at, c) in selector.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ',' => {
                terms.push(&selector[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms.sort_unstable();
    for term in terms.into_iter().filter(|term| !term.is_empty()) {
        let operator = term.char_indices().find_map(|(at, _)| {
            let length = ["!=", "==", "="]
                .iter()
                .find(|operator| term[at..].starts_with(**operator))?
                .len();
            Some(at + length)
        });
        let Some(value_at) = operator else {
            return Err(format!(
                "invalid selector: '{selector}'; can't understand '{term}'"
            ));
        };
        check_field_value(&term[value_at..])?;
    }
    Ok(())
}

fn check_field_value(value: &str) -> Result<(), String> {
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\\' | ',' | '=') => {}
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    ));
                }
            },
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: '{c}'"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'s> {
    End,
    Comma,
    Open,
    Close,
    Not,
    /// `=`, `==`, `!=`
    Equals,
    /// `<`, `>`
    Order,
    Word(&'s str),
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Token::End => "",
            Token::Comma => ",",
            Token::Open => "(",
            Token::Close => ")",
            Token::Not => "!",
            Token::Equals => "=",
            Token::Order => ">",
            Token::Word(word) => word,
        }
    }
}

/// What is wrong with a label selector: `app=x,tier in (a,b),!canary`.
pub(super) fn check_labels(selector: &str) -> Result<(), String> {
    let mut parser = Parser { rest: selector };
    loop {
        match parser.peek() {
            Token::End => return Ok(()),
            Token::Word(_) | Token::Not => {}
            other => {
                let text = other.text();
                return Err(format!(
                    "found '{text}', expected: !, identifier, or 'end of string'"
                ));
            }
        }
        parser
            .requirement()
            .map_err(|error| format!("unable to parse requirement: {error}"))?;
        match parser.next() {
            Token::End => return Ok(()),
            Token::Comma if matches!(parser.peek(), Token::Word(_) | Token::Not) => {}
            Token::Comma => {
                let text = parser.peek().text().to_owned();
                return Err(format!("found '{text}', expected: identifier after ','"));
            }
            other => {
                let text = other.text();
                return Err(format!("found '{text}', expected: ',' or 'end of string'"));
            }
        }
    }
}

struct Parser<'s> {
    rest: &'s str,
}

impl<'s> Parser<'s> {
    fn peek(&self) -> Token<'s> {
        Parser { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'s> {
        let rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let (token, length) = match rest.as_bytes() {
            [] => (Token::End, 0),
            [b',', ..] => (Token::Comma, 1),
            [b'(', ..] => (Token::Open, 1),
            [b')', ..] => (Token::Close, 1),
            [b'=', b'=', ..] | [b'!', b'=', ..] => (Token::Equals, 2),
            [b'=', ..] => (Token::Equals, 1),
            [b'!', ..] => (Token::Not, 1),
            [b'<' | b'>', ..] => (Token::Order, 1),
            _ => {
                let ends = |c: char| {
                    matches!(
                        c,
                        ',' | '(' | ')' | '=' | '!' | '<' | '>' | ' ' | '\t' | '\r' | '\n'
                    )
                };
                let end = rest.find(ends).unwrap_or(rest.len());
                (Token::Word(&rest[..end]), end)
            }
        };
        self.rest = &rest[length..];
        token
    }

    fn requirement(&mut self) -> Result<(), String> {
        let mut token = self.next();
        let is_negated = token == Token::Not;
        if is_negated {
            token = self.next();
        }
        let Token::Word(key) = token else {
            return Err(format!("found '{}', expected: identifier", token.text()));
        };
        check_key(key)?;
        if is_negated || matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(());
        }
        match self.next() {
            Token::Word("in" | "notin") => self.values(),
            Token::Equals => check_value(self.value()?),
            Token::Order => {
                let value = self.value()?;
                if value.parse::<i64>().is_err() {
                    return Err(format!(
                        "{value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                    ));
                }
                check_value(value)
            }
            other => Err(format!(
                "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                other.text()
            )),
        }
    }

    fn value(&mut self) -> Result<&'s str, String> {
        match self.peek() {
            Token::End | Token::Comma => Ok(""),
            Token::Word(value) => {
                self.next();
                Ok(value)
            }
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    /// Values in brackets; each may be empty.
    fn values(&mut self) -> Result<(), String> {
        let open = self.next();
        if open != Token::Open {
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        let mut may_be_word = true;
        loop {
            match self.next() {
                Token::Close => return Ok(()),
                Token::Comma => may_be_word = true,
                Token::Word(value) if may_be_word => {
                    check_value(value)?;
                    may_be_word = false;
                }
                other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            }
        }
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_prefix = |prefix: &str| {
        let is_part =
            |part: &str| is_word(part, |c| c == b'-') && !part.bytes().any(|c| c.is_ascii_uppercase());
        prefix.len() <= PREFIX_BYTES_MAX && prefix.split('.').all(is_part)
    };
    if prefix.is_none_or(is_prefix) && name.len() <= NAME_BYTES_MAX && is_word(name, is_inner) {
        Ok(())
    } else {
        Err(format!("{key:?} is no name of a label"))
    }
}

fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() || value.len() <= NAME_BYTES_MAX && is_word(value, is_inner) {
        Ok(())
    } else {
        Err(format!("{value:?} is no value of a label"))
    }
}

fn is_inner(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'.')
}

/// Letters and digits, with other bytes between them.
fn is_word(text: &str, inner: impl Fn(u8) -> bool) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.iter()
        .all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || inner(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_are_read_as_the_api_server_reads_them() {
        let good = [
            "",
            " ",
            "a",
            "!a",
            "a=b",
            "a==b",
            "a!=b",
            "a=",
            "a!=",
            "a in (b)",
            "a in (b,c),d notin (e)",
            "a in ()",
            "a notin (,b)",
            "a in (b,,c)",
            "x.y/z-1=V_2.3",
            "a>1",
            "in in (in)",
            "a = b , c",
            "a,b,!c",
            "notin",
            "a=in",
            "\ta\n",
        ];
        for selector in good {
            assert_eq!(check_labels(selector), Ok(()), "{selector:?}");
        }
        let bad = [
            ",",
            "a,",
            "a,,b",
            "a b=c",
            "a in",
            "a in b",
            "a in (b",
            "a in (b c)",
            "a in b)",
            "=b",
            "a==!b",
            "!",
            "!a=b",
            "a<-2",
            "a>x",
            "a>",
            "-a",
            "a-",
            "A/",
            "/a",
            "A.b/c",
            "a/b/c",
            "a=b=c",
            "a=b c",
            "ä=b",
            "a=ä",
            "a&b",
            "a in (b))",
        ];
        for selector in bad {
            assert!(check_labels(selector).is_err(), "{selector:?}");
        }
        let long = "x".repeat(64);
        assert!(check_labels(&format!("a={long}")).is_err());
        assert!(check_labels(&long).is_err());
        assert!(check_labels(&long[1..]).is_ok());
    }

    #[test]
    fn field_selectors_are_read_as_the_api_server_reads_them() {
        for selector in [
            "",
            "a=b",
            "a==b",
            "a!=b,c=d",
            "a=",
            "=b",
            ",,a=b,",
            "a=\\,\\=\\\\",
            "a b=c d",
            "a=b!",
        ] {
            assert_eq!(check_fields(selector), Ok(()), "{selector:?}");
        }
        for selector in ["a", "a in (b)", "a=b=c", "a=\\x", "a=\\", "a=b,c", "a!b"] {
            assert!(check_fields(selector).is_err(), "{selector:?}");
        }
    }
}
