//! The UTF-8 syntax: `{name=value, "any name"=~"value"}`, the braces optional.

use model::go::unquote;

use super::error::{Expected, MatcherError};
use super::lexer::{Kind, LexError, Lexer, Token};
use super::{MatchOp, Matcher};

/// Reads exactly one matcher.
pub(super) fn matcher(text: &str) -> Result<Matcher, MatcherError> {
    let mut matchers = matchers(text)?;
    match (matchers.pop(), matchers.len()) {
        (None, _) => Err(MatcherError::None),
        (Some(matcher), 0) => Ok(matcher),
        (Some(_), more) => Err(MatcherError::Many(more + 1)),
    }
}

/// Reads a list of matchers.
pub(super) fn matchers(text: &str) -> Result<Vec<Matcher>, MatcherError> {
    let mut lexer = Lexer::new(text);
    let Some(first) = lexer.peek()? else {
        return Ok(Vec::new());
    };
    let braced = first.kind == Kind::OpenBrace;
    if braced {
        lexer.next()?;
    }
    let mut matchers = Vec::new();
    let mut more = lexer.peek()?.is_some_and(|next| next.kind != Kind::CloseBrace);
    while more {
        matchers.push(one(&mut lexer)?);
        more = another(&mut lexer)?;
    }
    close(&mut lexer, braced)?;
    Ok(matchers)
}

/// Name, operator, value.
fn one(lexer: &mut Lexer<'_>) -> Result<Matcher, MatcherError> {
    let texts = [Kind::Quoted, Kind::Unquoted];
    let name = meaning(take(lexer, &texts, Expected::Name)?)?;
    let operators = [Kind::Equal, Kind::NotEqual, Kind::Regex, Kind::NotRegex];
    let op = match take(lexer, &operators, Expected::Operator)?.kind {
        Kind::NotEqual => MatchOp::NotEqual,
        Kind::Regex => MatchOp::Regex,
        Kind::NotRegex => MatchOp::NotRegex,
        _ => MatchOp::Equal,
    };
    let value = meaning(take(lexer, &texts, Expected::Value)?)?;
    Matcher::new(op, name, value).map_err(MatcherError::Pattern)
}

/// What stands behind a matcher: whether there is another one.
fn another(lexer: &mut Lexer<'_>) -> Result<bool, MatcherError> {
    let behind = [Kind::Comma, Kind::CloseBrace];
    match expect(lexer, &behind, Expected::CommaOrBrace)? {
        Some(token) if token.kind == Kind::Comma => {}
        _ => return Ok(false),
    }
    lexer.next()?;
    let next = expect(
        lexer,
        &[Kind::CloseBrace, Kind::Unquoted, Kind::Quoted],
        Expected::MatcherOrBrace,
    )?;
    Ok(next.is_some_and(|token| token.kind != Kind::CloseBrace))
}

/// The closing brace, if one was opened, and the end of the text.
fn close(lexer: &mut Lexer<'_>, braced: bool) -> Result<(), MatcherError> {
    let column = lexer.column();
    let closes = matches!(lexer.peek(), Ok(Some(token)) if token.kind == Kind::CloseBrace);
    if closes {
        lexer.next()?;
    }
    match (braced, closes) {
        (true, false) => return Err(MatcherError::NotClosed { column }),
        (false, true) => {
            return Err(MatcherError::NotOpened {
                column: lexer.column(),
            });
        }
        _ => {}
    }
    match lexer.next() {
        Ok(None) => Ok(()),
        Ok(Some(token)) => Err(MatcherError::Trailing {
            span: token.span,
            text: token.text.to_owned(),
        }),
        Err(error) => Err(MatcherError::TokenFor(error, Expected::End)),
    }
}

fn take<'t>(lexer: &mut Lexer<'t>, kinds: &[Kind], expected: Expected) -> Result<Token<'t>, MatcherError> {
    let token = expect(lexer, kinds, expected)?.ok_or(MatcherError::End(expected))?;
    lexer.next()?;
    Ok(token)
}

/// The next token, which must be of one of `kinds`; it is not read. `None` at the end.
fn expect<'t>(
    lexer: &Lexer<'t>,
    kinds: &[Kind],
    expected: Expected,
) -> Result<Option<Token<'t>>, MatcherError> {
    let peeked: Result<_, LexError> = lexer.peek();
    match peeked.map_err(|error| MatcherError::TokenFor(error, expected))? {
        Some(token) if !kinds.contains(&token.kind) => Err(MatcherError::Unexpected {
            span: token.span,
            text: token.text.to_owned(),
            expected,
        }),
        token => Ok(token),
    }
}

/// What a name or value says.
fn meaning(token: Token<'_>) -> Result<String, MatcherError> {
    if token.kind == Kind::Unquoted {
        return Ok(token.text.to_owned());
    }
    unquote(token.text).ok_or_else(|| MatcherError::Escape {
        span: token.span,
        text: token.text.to_owned(),
    })
}
