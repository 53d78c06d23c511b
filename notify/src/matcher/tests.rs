//! Both syntaxes, and where they disagree.

use super::*;

fn show(syntax: Syntax, text: &str) -> String {
    match syntax.matchers(text) {
        Ok(matchers) => Matchers::from(matchers).to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn the_utf8_syntax_is_read_and_its_errors_name_columns() {
    for (text, shown) in [
        ("", "{}"),
        ("{}", "{}"),
        ("foo=bar", r#"{foo="bar"}"#),
        ("{foo=bar,}", r#"{foo="bar"}"#),
        ("foo=bar,", r#"{foo="bar"}"#),
        (
            r#"{"foo bar"=~"b\"a\n", x!=y, z!~z}"#,
            r#"{"foo bar"=~"b\"a\n",x!="y",z!~"z"}"#,
        ),
        ("größe=Ä🙂", r#"{größe="Ä🙂"}"#),
        (r#"foo="\u00e9""#, r#"{foo="é"}"#),
        ("{", "error: 0:1: end of input: expected close brace"),
        ("}", "error: 0:1: }: expected opening brace"),
        ("{foo=bar", "error: 0:8: end of input: expected close brace"),
        ("foo=bar}", "error: 0:8: }: expected opening brace"),
        ("{foo=bar}}", "error: 9:10: }: expected end of input"),
        ("{foo=bar},", "error: 9:10: ,: expected end of input"),
        ("{,foo=bar}", "error: 1:2: unexpected ,: expected label name"),
        (
            "foo",
            "error: end of input: expected an operator such as '=', '!=', '=~' or '!~'",
        ),
        ("foo=", "error: end of input: expected label value"),
        (
            "foo!bar",
            "error: 3:4: !: expected one of '=~': expected an operator such as '=', '!=', '=~' or '!~'",
        ),
        (
            "foo!",
            "error: 3:4: unexpected end of input, expected one of '=~': expected an operator such as '=', '!=', '=~' or '!~'",
        ),
        ("foo=~", "error: end of input: expected label value"),
        (
            "foo=bar=baz",
            "error: 7:8: unexpected =: expected a comma or close brace",
        ),
        (
            "foo=bar,,",
            "error: 8:9: unexpected ,: expected a matcher or close brace after comma",
        ),
        ("foo='bar'", "error: 4:5: ': invalid input: expected label value"),
        (
            "foo=\"bar",
            "error: 4:8: \"bar: missing end \": expected label value",
        ),
        (r#"foo="\xf""#, r#"error: 4:9: "\xf": invalid input"#),
        (
            "foo=~\"(\"",
            "error: failed to create matcher: error parsing regexp: missing closing ): `^(?:()$`",
        ),
    ] {
        assert_eq!(show(Syntax::Utf8, text), shown, "{text}");
    }
}

#[test]
fn the_classic_syntax_is_read() {
    for (text, shown) in [
        ("", "{}"),
        ("{}", "{}"),
        ("foo=", r#"{foo=""}"#),
        (" foo = bar ", r#"{foo="bar"}"#),
        (r#"{foo="a,b",bar=~c\d}"#, r#"{foo="a,b",bar=~"c\\d"}"#),
        (r#"foo="\"x\\y\n""#, r#"{foo="\"x\\y\n"}"#),
        ("foo=bar,", r#"{foo="bar"}"#),
        ("foo=bar,,", "error: bad matcher format: "),
        ("x", "error: bad matcher format: x"),
        ("1x=y", "error: bad matcher format: 1x=y"),
        (
            r#"foo="bar"#,
            r#"error: matcher value contains unescaped double quote: "bar"#,
        ),
        (
            r#"foo=b"ar"#,
            r#"error: matcher value contains unescaped double quote: b"ar"#,
        ),
        (
            "foo=~(",
            "error: error parsing regexp: missing closing ): `^(?:()$`",
        ),
    ] {
        assert_eq!(show(Syntax::Classic, text), shown, "{text}");
    }
}

#[test]
fn where_the_syntaxes_disagree_the_classic_one_counts() {
    for (text, shown) in [
        ("größe=XL", r#"{größe="XL"}"#),
        ("foo=", r#"{foo=""}"#),
        (r#"foo="\x41""#, r#"{foo="\\x41"}"#),
        ("x", "error: bad matcher format: x"),
    ] {
        assert_eq!(show(Syntax::Fallback, text), shown, "{text}");
    }
    let one = |text: &str| {
        Syntax::Fallback
            .matcher(text)
            .map(|m| m.to_string())
            .map_err(|e| e.to_string())
    };
    assert_eq!(
        one("{a=b}"),
        Err("unexpected open or close brace: {a=b}".to_owned())
    );
    assert_eq!(one("a=b"), Ok("a=\"b\"".to_owned()));
}

#[test]
fn matchers_look_at_missing_labels_as_empty() {
    let labels = Labels::from_pairs([("a", "b"), ("multi", "x\ny")]);
    for (text, expected) in [
        ("a=b", true),
        ("a!=b", false),
        ("c=\"\"", true),
        ("c!=\"\"", false),
        ("c=~\".*\"", true),
        ("c!~\".+\"", true),
        ("a=~\"b|c\"", true),
        ("multi=~\"x.y\"", false),
    ] {
        let matchers = Matchers::from(Syntax::Utf8.matchers(text).expect(text));
        assert_eq!(matchers.matches(&labels), expected, "{text}");
    }
}
