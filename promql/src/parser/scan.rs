//! Single words of the grammar, as nom parsers over text.

use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_while, take_while1};
use nom::character::complete::{char, digit1, one_of};
use nom::combinator::{not, opt, peek, recognize};
use nom::multi::many0_count;
use nom::{IResult, Parser};

/// A rest of the text and a word in front of it.
pub(crate) type Scan<'a, T = &'a str> = IResult<&'a str, T>;

pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

pub(crate) fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

pub(crate) fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// Spaces and line ends, maybe none.
pub(crate) fn spaces(text: &str) -> Scan<'_> {
    take_while(is_space).parse(text)
}

/// A label name: letters, digits, underscores; the first is known not to be a digit.
pub(crate) fn label_name(text: &str) -> Scan<'_> {
    take_while1(is_alphanumeric).parse(text)
}

/// A metric name, a function's or a keyword: a label name that may hold colons.
pub(crate) fn name(text: &str) -> Scan<'_> {
    take_while1(|c| is_alphanumeric(c) || c == ':').parse(text)
}

/// A comment from `#` to the end of its line.
pub(crate) fn comment(text: &str) -> Scan<'_> {
    recognize((char('#'), take_while(|c| c != '\n' && c != '\r'))).parse(text)
}

/// Digits, with single underscores between them.
fn digits(text: &str) -> Scan<'_> {
    recognize((digit1, many0_count((char('_'), digit1)))).parse(text)
}

fn hexadecimal(text: &str) -> Scan<'_> {
    let digits = || take_while1(|c: char| c.is_ascii_hexdigit());
    recognize((
        tag_no_case("0x"),
        opt(char('_')),
        digits(),
        many0_count((char('_'), digits())),
    ))
    .parse(text)
}

/// A number without sign in decimal notation: `1`, `.5`, `1.`, `1_000.5e-3`.
pub(crate) fn decimal(text: &str) -> Scan<'_> {
    let exponent = || opt((one_of("eE"), opt(one_of("+-")), digits));
    alt((
        recognize((digits, opt((char('.'), opt(digits))), exponent())),
        recognize((char('.'), digits, exponent())),
    ))
    .parse(text)
}

/// A number without sign, with nothing behind it that could belong to it.
pub(crate) fn number(text: &str) -> Scan<'_> {
    let end = not(take_while1(|c| is_alphanumeric(c) || c == '.'));
    let (rest, (word, _)) = (alt((hexadecimal, decimal)), peek(end)).parse(text)?;
    Ok((rest, word))
}

/// What looks like a duration: numbers with letters of units. Whether the numbers are whole, the units exist and stand
/// in order is for the one who reads its value, who has better words for it.
pub(crate) fn duration(text: &str) -> Scan<'_> {
    let first = (decimal, one_of("smhdwy"), opt(char('s')));
    let part = (digit1, one_of("smhdw"), opt(char('s')));
    let end = not(take_while1(is_alphanumeric));
    let (rest, (word, _)) = (recognize((first, many0_count(part))), peek(end)).parse(text)?;
    Ok((rest, word))
}

/// All that might have been meant as one number or duration: for messages.
pub(crate) fn number_like(text: &str) -> &str {
    let end = text
        .find(|c| !is_alphanumeric(c) && c != '.')
        .unwrap_or(text.len());
    &text[..end]
}
