//! Patterns mean what they mean in Go.

use narthex_model::regex::{Regex, RegexErrorKind, Template};
use serde_json::Value;

fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// Whether the facts that an index would use agree with what matches.
fn facts_hold(regex: &Regex, text: &str, matches: bool) -> bool {
    let affixes = !matches || (text.starts_with(regex.prefix()) && text.ends_with(regex.suffix()));
    let literals = regex
        .literals()
        .is_none_or(|all| all.iter().any(|l| l == text) == matches);
    let all = !regex.matches_everything() || matches;
    let non_empty = !regex.matches_non_empty() || matches != text.is_empty();
    let starts = regex.starts().is_none_or(|starts| {
        let is_word = starts.words.iter().any(|word| word == text);
        let narrowed = is_word || starts.prefixes.iter().any(|prefix| text.starts_with(prefix));
        let words_match = starts.words.iter().all(|word| regex.is_match(word));
        words_match && starts.prefixes.is_sorted() && (narrowed || !matches)
    });
    affixes && literals && all && non_empty && starts
}

#[test]
fn conformance_matchers() {
    let Some(text) = super::conformance("relabel-regex.jsonl") else {
        return;
    };
    let mut checked = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON line");
        let Some(pattern) = case["regex"].as_str() else {
            continue;
        };
        checked += 1;
        let regex = match (Regex::new(pattern), case["error"].as_str()) {
            (Err(e), Some(error)) => {
                assert_eq!(e.to_string(), error);
                continue;
            }
            (Err(e), None) => panic!("{pattern:?} refused: {e}"),
            (Ok(_), Some(error)) => panic!("{pattern:?} accepted instead of {error}"),
            (Ok(regex), None) => regex,
        };
        for (list, expected) in [("matches", true), ("rejects", false)] {
            for text in texts(&case[list]) {
                assert_eq!(regex.is_match(text), expected, "{pattern:?} on {text:?}");
                assert!(
                    facts_hold(&regex, text, expected),
                    "facts of {pattern:?} on {text:?}"
                );
            }
        }
    }
    assert!(checked > 70, "{checked} patterns");
}

#[test]
fn patterns_agree_with_go() {
    let text = super::testdata("regex.jsonl");
    let mut lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON line"));
    let head = lines.next().expect("samples");
    let samples = texts(&head["samples"]);
    let mut wrong = Vec::new();
    for case in lines {
        let pattern = case["pattern"].as_str().expect("pattern");
        let matches = case["matches"].as_array().cloned().unwrap_or_default();
        let expected = |i: usize| matches.iter().any(|m| m.as_u64() == Some(i as u64));
        // The two readers of the reference differ in which names of classes they take; we take both's.
        let errors = [&case["error"], &case["wrapped_error"]].map(Value::as_str);
        let lenient = errors.iter().flatten().count() == 1 && pattern.starts_with("\\p");
        for (how, error, compiled) in [
            ("matcher", errors[0], Regex::new(pattern)),
            ("relabelling", errors[1], Regex::anchored(pattern)),
            ("groups", errors[1], Regex::anchored_with_groups(pattern)),
        ] {
            let regex = match (compiled, error) {
                (Ok(regex), None) => regex,
                (Ok(regex), Some(_)) if lenient => regex,
                (Err(refused), Some(error)) if refused.to_string() == error => continue,
                (result, error) => {
                    let result = result.map(drop).map_err(|e| e.to_string());
                    wrong.push(format!("{pattern:?} as {how}: {result:?} instead of {error:?}"));
                    continue;
                }
            };
            for (i, sample) in samples.iter().enumerate() {
                if regex.is_match(sample) != expected(i) || !facts_hold(&regex, sample, expected(i)) {
                    wrong.push(format!(
                        "{pattern:?} as {how} on {sample:?}: expected {}",
                        expected(i)
                    ));
                }
                if how == "groups" && regex.captures(sample).is_some() != expected(i) {
                    wrong.push(format!(
                        "groups of {pattern:?} on {sample:?}: expected {}",
                        expected(i)
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn replacements_agree_with_go() {
    let text = super::testdata("regex-replace.jsonl");
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON line");
        let field = |name: &str| case[name].as_str().expect("text").to_owned();
        let regex = Regex::unanchored(&field("Pattern")).expect("valid pattern");
        let out = regex.replace_all(&field("Text"), &Template::new(&field("Template")));
        assert_eq!(out, field("Out"), "{case}");
    }
}

#[test]
fn facts_for_the_index() {
    let literals = |pattern: &str| {
        Regex::new(pattern)
            .expect(pattern)
            .literals()
            .map(<[String]>::to_vec)
    };
    let words = |words: &[&str]| Some(words.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(literals("b|a|b"), words(&["a", "b"]));
    assert_eq!(
        literals("(foo|bar)-[12]"),
        words(&["bar-1", "bar-2", "foo-1", "foo-2"])
    );
    assert_eq!(literals("^a?b$"), words(&["ab", "b"]));
    assert_eq!(literals("(?i)ab"), words(&["AB", "Ab", "aB", "ab"]));
    assert_eq!(literals(""), words(&[""]));
    assert_eq!(literals("a.*"), None);
    assert_eq!(literals("[a-zA-Z0-9][a-z][a-z]"), None);
    let many = (0..1000).map(|i| format!("host-{i}")).collect::<Vec<_>>();
    assert_eq!(literals(&many.join("|")).map(|l| l.len()), Some(1000));

    for (pattern, prefix, suffix) in [
        ("foo.*", "foo", ""),
        (".*foo", "", "foo"),
        ("foo(bar|baz)[0-9]+", "fooba", ""),
        ("(foo|bar)", "", ""),
        ("(?i)foo.*", "", ""),
        ("(ab)+x", "ab", "x"),
        ("a*b", "", "b"),
    ] {
        let regex = Regex::new(pattern).expect(pattern);
        assert_eq!((regex.prefix(), regex.suffix()), (prefix, suffix), "{pattern}");
    }
    for (pattern, everything, non_empty) in [
        (".*", true, false),
        ("(.*)", true, false),
        (".+", false, true),
        ("^.*$", true, false),
        ("|.+", true, false),
        ("a.*", false, false),
        ("..+", false, false),
        ("(?-s).*", false, false),
        (".*|foo", true, false),
    ] {
        let regex = Regex::new(pattern).expect(pattern);
        assert_eq!(
            (regex.matches_everything(), regex.matches_non_empty()),
            (everything, non_empty),
            "{pattern}"
        );
    }
}

#[test]
fn limits_are_errors() {
    let kind = |pattern: &str| Regex::new(pattern).map_err(|e| e.kind).err();
    // At the limit everything behind the parser recurses as deeply as it ever will.
    let nested = |depth: usize| format!("{}a.c{}", "((?:x|".repeat(depth / 2), "y)+)*".repeat(depth / 2));
    assert_eq!(kind(&nested(100)), None);
    assert_eq!(kind(&nested(1000)), None);
    assert_eq!(kind(&nested(1002)), Some(RegexErrorKind::NestingDepth));
    assert_eq!(kind(&"(".repeat(1_000_000)), Some(RegexErrorKind::NestingDepth));
    assert_eq!(kind("a{1001}"), Some(RegexErrorKind::InvalidRepeatCount));
    assert_eq!(kind("(?:[^x]{30}y[^z]{30}){16}"), None);
    assert_eq!(kind(&"\\pL{1000}".repeat(40)), Some(RegexErrorKind::TooLarge));
    assert_eq!(kind(&"\\pL".repeat(3_000)), Some(RegexErrorKind::TooLarge));
}

/// Whatever recurses into a pattern does so on a stack that is large enough for it.
#[test]
fn deep_patterns_need_no_deep_stack() {
    const STACK_BYTES: usize = 512 << 10;
    let deep = |open: &str, close: &str| format!("{}a{}", open.repeat(1000), close.repeat(1000));
    let work = move || {
        for pattern in [
            deep("(", ")"),
            deep("(?:", ")?"),
            deep("(?:b|", ")"),
            deep("(?:bc|", "d)"),
            deep("(x", ")*"),
            deep("(?i:(", "))")[1500..].to_owned() + "(",
        ] {
            for compiled in [
                Regex::new(&pattern),
                Regex::anchored(&pattern),
                Regex::anchored_with_groups(&pattern),
                Regex::unanchored(&pattern),
            ] {
                let Ok(regex) = compiled else { continue };
                let _ = (regex.is_match("a"), regex.clone().is_match("xxxxa"));
                assert!(regex.memory_bytes() > pattern.len());
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    thread.expect("a thread").join().expect("no overflow");
}

#[test]
fn large_patterns_are_refused_before_they_take_memory() {
    const MANY: usize = 4_000_000;
    let kind = |pattern: &str| Regex::new(pattern).map_err(|e| e.kind).err();
    // One word, however long, is one node.
    assert_eq!(kind(&"x".repeat(200_000)), None);
    let number = |unit: &str| unit.repeat(MANY / unit.len());
    for pattern in [
        number("x|"),
        number("."),
        number("x*"),
        number("(a)"),
        number("[ab]"),
        number("^"),
    ] {
        assert_eq!(
            kind(&pattern),
            Some(RegexErrorKind::TooLarge),
            "{}",
            &pattern[..6]
        );
    }
    // Braces that are no repetition are looked at, but not to the end of the text each time.
    let begin = std::time::Instant::now();
    let _ = kind(&number("{"));
    assert!(begin.elapsed() < std::time::Duration::from_secs(20));
    // A smaller budget is kept, too: a tenth of what is refused there fits, and all of it fits into the larger one.
    let within = |pattern: &str| Regex::new_within(pattern, 1 << 20).map_err(|e| e.kind).err();
    let part = "(?:[a-z]{1,50}\\pL){20}";
    assert_eq!(kind(&part.repeat(10)), None);
    assert_eq!(within(&part.repeat(10)), Some(RegexErrorKind::TooLarge));
    assert_eq!(within(part), None);
}

#[test]
fn broken_patterns_never_panic() {
    // Every prefix of a pattern that uses the whole syntax, and each with one byte replaced.
    let pattern = r"^(?i:a{2,3}?|[[:alpha:]\d\p{Greek}-z]+)(?P<n>\x{263a}\101\Q.*\E)[^a-z&&\]]*?\b(?s-m:.)é$";
    for end in (0..=pattern.len()).filter(|end| pattern.is_char_boundary(*end)) {
        for junk in ["", "(", "[", "\\", "{", "*", "\u{10ffff}", "?", "]"] {
            let _ = Regex::new(&format!("{}{junk}", &pattern[..end]));
            let _ = Regex::new(&format!("{}{junk}{}", &pattern[..end], &pattern[end..]));
        }
    }
}
