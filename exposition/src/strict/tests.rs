//! What is refused and in which words; what families come out.

use super::*;

fn error(body: &str) -> String {
    let error = families(body.as_bytes(), NameScheme::Utf8)
        .expect_err(body)
        .to_string();
    let words = error.strip_prefix("text format parsing error in line ");
    words.expect("the reference's words").to_owned()
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (body, said) in [
        ("a 1", "1: unexpected end of input stream"),
        ("a 1\n# HELP", "2: unexpected end of input stream"),
        ("a{b=\"x\\ty\"} 1\n", "1: invalid escape sequence '\\t'"),
        ("# HELP a x\\ty\n", "1: invalid escape sequence '\\t'"),
        (
            "# HELP a x\n# HELP a y\n",
            "2: second HELP line for metric name \"a\"",
        ),
        (
            "# TYPE a counter\na 1\n# TYPE a counter\n",
            "3: second TYPE line for metric name \"a\", or TYPE reported after samples",
        ),
        (
            "a 1\n# TYPE a gauge\n",
            "2: second TYPE line for metric name \"a\", or TYPE reported after samples",
        ),
        ("# TYPE a gouge\n", "1: unknown metric type \"gouge\""),
        ("# TYPE a-b gauge\n", "1: invalid metric name in comment"),
        (
            "a{b=\"1\",b=\"2\"} 1\n",
            "1: duplicate label names for metric \"a\"",
        ),
        ("a{__name__=\"1\"} 1\n", "1: label name \"__name__\" is reserved"),
        ("a{b} 1\n", "1: expected '=' after label name, found '}'"),
        (
            "a{b=1} 1\n",
            "1: expected '\"' at start of label value, found '1'",
        ),
        ("a{b=\"1\"c} 1\n", "1: unexpected end of label value \"1\""),
        ("a{b=\"1\n", "1: label value \"1\" contains unescaped new-line"),
        ("a{1=\"1\"} 1\n", "1: invalid label name for metric \"a\""),
        ("{} 1\n", "1: invalid metric name"),
        ("{\"a\",\"b\"} 1\n", "1: multiple metric names for metric \"a\""),
        ("1 1\n", "1: invalid metric name"),
        ("\n\na one\n", "3: expected float as value, got \"one\""),
        ("a 0x1p4\n", "1: expected float as value, got \"0x1p4\""),
        ("a 1 now\n", "1: expected integer as timestamp, got \"now\""),
        ("a 1 5 6\n", "1: spurious string after timestamp: \" 6\""),
        (
            "# TYPE s summary\ns{quantile=\"abc\"} 5\n",
            "2: expected float as value for 'quantile' label, got \"abc\"",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"x\"} 5\n",
            "2: expected float as value for 'le' label, got \"x\"",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} -5\n",
            "2: negative bucket population for histogram \"h\"",
        ),
        (
            "# TYPE h histogram\nh_count -5\n",
            "2: negative count for histogram \"h\"",
        ),
    ] {
        assert_eq!(error(body), said, "{body:?}");
    }
    assert!(families(b"a{b=\"\xff\"} 1\n", NameScheme::Utf8).is_err());
}

#[test]
fn families_are_put_together() {
    let body = "# some words\n#\n# HELP h x\n# TYPE h histogram\n\
         h_bucket{le=\"1\",a=\"x\"} 1\nh_bucket{a=\"x\",le=\"+Inf\"} 2\nh_sum{a=\"x\"} 3\nh_count{a=\"x\"} 2 1000\n\
         # TYPE empty gauge\n \t {\"ü.x\",b=\"1\"} NaN\nplain{} +Inf\nplain{a=\"1\",} 5e3\n# HELP plain \n";
    let found = families(body.as_bytes(), NameScheme::Utf8).expect("valid");
    let short: Vec<_> = found
        .iter()
        .map(|(name, f)| {
            (
                name.as_str(),
                f.kind(),
                f.help.is_some(),
                f.metrics.len(),
                f.lines,
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            ("h", MetricType::Histogram, true, 1, 4),
            ("plain", MetricType::Unknown, false, 2, 2),
            ("ü.x", MetricType::Unknown, false, 1, 1),
        ]
    );
    assert!(families(b"", NameScheme::Utf8).expect("nothing").is_empty());
}

#[test]
fn bodies_cut_anywhere_never_panic() {
    let body = "# HELP h x\\n\n# TYPE h histogram\nh_bucket{le=\"1\",a=\"\\\\x\"} 1 5\n{\"a b\",c=\"d\"} 2\n";
    for end in 0..body.len() {
        let _ = families(&body.as_bytes()[..end], NameScheme::Utf8);
        let mut bytes = body.as_bytes().to_vec();
        bytes[end] ^= 0x15;
        let _ = families(&bytes, NameScheme::Utf8);
    }
}
