//! What users see when a file is wrong, and what is taken when it is right.

use std::collections::BTreeMap;

use narthex_yaml::{Bytes, Duration, FromYaml, YamlError, parse, parse_all, parse_json};

fn read<T: FromYaml>(text: &str) -> Result<Option<T>, YamlError> {
    let document = parse("f.yml", text)?;
    let mut section = document.root().section("config")?;
    let value = section.get("k")?;
    section.finish()?;
    Ok(value)
}

#[test]
fn texts_are_taken_as_written() {
    for (yaml, text) in [
        ("k: 1.10", "1.10"),
        ("k: on", "on"),
        ("k: 010", "010"),
        ("k: \"5\"", "5"),
        ("k: 'it''s'", "it's"),
        ("k: |\n  a\n   b\n", "a\n b\n"),
        ("k: 2026-01-01", "2026-01-01"),
        ("# é\nk: 1e3 # é", "1e3"),
        ("x: &x 1.50\nk: *x", "1.50"),
    ] {
        let document = parse("f.yml", yaml).expect("valid");
        let mut section = document.root().section("config").expect("mapping");
        assert_eq!(
            section.get::<String>("k").expect("text").as_deref(),
            Some(text),
            "{yaml}"
        );
    }
}

#[test]
fn numbers_and_switches_are_strict() {
    assert_eq!(read::<u64>("k: 5.0").expect("whole"), Some(5));
    assert_eq!(read::<i64>("k: 0x1F").expect("hex"), Some(31));
    assert_eq!(read::<bool>("k: yes").expect("switch"), Some(true));
    assert_eq!(read::<u64>("k:").expect("null"), None);
    assert_eq!(
        read::<u64>("k: \"5\"").expect_err("quoted").to_string(),
        "f.yml:1:4: expected a whole number, found `5`"
    );
    assert_eq!(
        read::<u16>("k: 70000").expect_err("range").message(),
        "expected a whole number that fits u16, found `70000`"
    );
    assert_eq!(
        read::<bool>("k: [1]").expect_err("list").message(),
        "expected true or false, found a list"
    );
}

#[test]
fn durations_and_sizes() {
    assert_eq!(
        read::<Duration>("k: 1h30m").expect("duration"),
        Some(Duration::from_ms(5_400_000))
    );
    assert_eq!(Duration::from_ms(5_400_000).to_string(), "1h30m");
    assert!(read::<Duration>("k: 1.5h").is_err());
    for (text, bytes) in [
        ("512MB", 512 << 20),
        ("10GiB", 10 << 30),
        ("0", 0),
        ("1KB512B", 1536),
        ("1.5KiB", 1536),
    ] {
        assert_eq!(Bytes::parse(text), Some(Bytes(bytes)), "{text}");
    }
    for text in ["100", "MB", "", "1XB", "1e3B"] {
        assert_eq!(Bytes::parse(text), None, "{text}");
    }
    assert_eq!(Bytes(1536).to_string(), "1KiB512B");
    assert_eq!(Bytes(512 << 20).to_string(), "512MiB");
}

#[test]
fn unknown_keys_are_named_with_what_was_meant() {
    let error = read::<u64>("k: 1\nother: 2\n").expect_err("unknown");
    assert_eq!(error.to_string(), "f.yml:2:1: field other not found in config");
    let document = parse("f.yml", "scrape_intervall: 5s\n").expect("valid");
    let mut section = document.root().section("global").expect("mapping");
    let _ = section.get::<Duration>("scrape_interval");
    let error = section.finish().expect_err("misspelt");
    assert_eq!(
        error.to_string(),
        "f.yml:1:1: field scrape_intervall not found in global (did you mean `scrape_interval`?)"
    );
    let shown = error.render(false);
    assert!(
        shown.contains("f.yml:1:1") && shown.contains("^^^^^^^^^^^^^^^^"),
        "{shown}"
    );
}

#[test]
fn syntax_errors_have_a_place_and_can_be_shown() {
    for (text, line, column) in [
        ("a: 1\na: 2\n", 2, 1),
        ("a: [1\nb: 2\n", 2, 2),
        ("a:\n\t- b\n", 2, 2),
        ("é: b: c\n", 1, 5),
        ("a: @x", 1, 4),
        ("a: \"x", 1, 4),
    ] {
        let error = parse("f.yml", text).expect_err("broken");
        assert_eq!(
            (error.position().line, error.position().column),
            (line, column),
            "{error}"
        );
        assert!(!error.render(false).is_empty());
    }
    assert_eq!(
        parse("f.yml", "a: 1\na: 2\n").expect_err("twice").message(),
        "duplicate mapping key: a"
    );
}

#[test]
fn several_documents_and_none() {
    assert_eq!(parse_all("f.yml", "a: 1\n---\nb: 2\n").expect("two").len(), 2);
    assert!(parse("f.yml", "").expect("empty").root().is_null());
    assert!(
        parse("f.yml", "# only a comment\n")
            .expect("empty")
            .root()
            .is_null()
    );
    let document = parse("f.yml", "base: &b {x: 1}\nk:\n  <<: *b\n  y: 2\n").expect("merge");
    let mut section = document.root().section("config").expect("mapping");
    let map: BTreeMap<String, u64> = section.get("k").expect("numbers").expect("there");
    assert_eq!(map, BTreeMap::from([("x".into(), 1), ("y".into(), 2)]));
}

#[test]
fn hostile_texts_give_errors_not_panics() {
    let text = "a: &x [1, {b: 'é'}, |-\n  t\n]\nc: *x\n? [k]\n: \"\\u00e9\"\n";
    for cut in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
        if let Err(error) = parse("f.yml", &text[..cut]) {
            error.render(false);
        }
    }
    let deep = "[".repeat(100_000);
    assert!(parse("f.yml", &deep).is_err());
}

#[test]
fn null_is_empty_and_never_the_word() {
    type Lists = BTreeMap<String, Vec<String>>;
    for null in ["null", "~", "Null", "NULL", ""] {
        let text = format!("k: {{a: {null}, b: 'null'}}\n");
        let labels: BTreeMap<String, String> = read(&text).expect("valid").expect("there");
        assert_eq!(labels["a"], "", "{text}");
        assert_eq!(labels["b"], "null", "{text}");
        let list: Vec<String> = read(&format!("k:\n- {null}\n- x\n"))
            .expect("valid")
            .expect("there");
        assert_eq!(list, ["", "x"]);
        let lists: Lists = read(&format!("k: {{x: {null}}}")).expect("valid").expect("there");
        assert_eq!(lists["x"], [""; 0]);
    }
    let document = parse("f.yml", "text: ~\nswitch:\nnumber: null\ntime: ~\n").expect("valid");
    let mut section = document.root().section("config").expect("mapping");
    assert_eq!(section.get_or("text", "default".to_owned()).expect("text"), "");
    assert!(!section.get_or("switch", true).expect("switch"));
    assert_eq!(section.get_or("number", 7).expect("number"), 0);
    assert_eq!(
        section
            .get_or("time", Duration::from_ms(7))
            .expect("time")
            .as_ms(),
        7
    );
    assert_eq!(section.get_or("absent", 7).expect("number"), 7);
    section.finish().expect("all read");
}

fn read_json<T: FromYaml>(text: &str) -> Result<Option<T>, YamlError> {
    let document = parse_json("f.json", text.as_bytes())?;
    let mut section = document.root().section("config")?;
    let value = section.get("k")?;
    section.finish()?;
    Ok(value)
}

#[test]
fn json_is_read_as_go_reads_it() {
    let text = |json: &str| read_json::<String>(json).expect(json).expect(json);
    assert_eq!(text(r#"{"K": "\u00e9\n\"\/"}"#), "é\n\"/");
    assert_eq!(text(r#" {"k": "a", "k": "b"} "#), "b");
    assert_eq!(
        text(r#"{"k": "\ud83d\ude00 \ud83d! \ud83d\u0041 \ude00"}"#),
        "😀 \u{fffd}! \u{fffd}A \u{fffd}"
    );
    let labels: BTreeMap<String, String> = read_json(r#"{"k": {"a": null, "b": "x", "b": "y"}}"#)
        .expect("valid")
        .expect("there");
    assert_eq!(
        labels,
        BTreeMap::from([("a".into(), String::new()), ("b".into(), "y".into())])
    );
    assert_eq!(
        read_json::<f64>(r#"{"k": -1.5e2}"#).expect("number"),
        Some(-150.0)
    );
    assert!(
        read_json::<bool>(r#"{"k": true}"#)
            .expect("switch")
            .expect("there")
    );
    let lossy = parse_json("f.json", b"[\"\xff\"]").expect("bytes that are no text");
    let items: Vec<String> = FromYaml::from_yaml(lossy.root()).expect("texts");
    assert_eq!(items, ["\u{fffd}"]);
}

/// Counting columns from the line's beginning each time took minutes.
#[test]
fn a_line_of_json_may_be_long() {
    let group = r#"{"targets":["x:1"],"labels":{"a":"ü"}},"#;
    let text = format!("[\n{}!", group.repeat(100_000));
    let error = parse_json("f.json", text.as_bytes()).expect_err("a mark of exclamation");
    let columns = group.chars().count() as u32 * 100_000;
    assert_eq!((error.position().line, error.position().column), (2, columns + 1));
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (text, message) in [
        ("", "1:1: unexpected end of JSON input"),
        (" \n\t", "2:2: unexpected end of JSON input"),
        (
            "[1,]",
            "1:4: invalid character ']' looking for beginning of value",
        ),
        (
            "{\"k\": 1,}",
            "1:9: invalid character '}' looking for beginning of object key string",
        ),
        ("{\"k\" 1}", "1:6: invalid character '1' after object key"),
        (
            "{k: 1}",
            "1:2: invalid character 'k' looking for beginning of object key string",
        ),
        (
            "[01]",
            "1:2: invalid character '0' looking for beginning of value",
        ),
        ("[1] x", "1:5: invalid character 'x' after top-level value"),
        ("[\"a\nb\"]", "1:4: invalid character '\\n' in string literal"),
        ("[\"\\x\"]", "1:4: invalid character 'x' in string escape code"),
        (
            "# no\n[]",
            "1:1: invalid character '#' looking for beginning of value",
        ),
        (
            "\u{feff}[]",
            "1:1: invalid character '\\u{feff}' looking for beginning of value",
        ),
        ("[\"é\", \"", "1:8: unexpected end of JSON input"),
    ] {
        let error = parse_json("f.json", text.as_bytes()).expect_err(text);
        assert_eq!(error.to_string(), format!("f.json:{message}"), "{text}");
        assert!(!error.render(false).is_empty());
    }
    let error = read_json::<String>(r#"{"k": 1}"#).expect_err("a number");
    assert_eq!(
        error.to_string(),
        "f.json:1:7: expected a text in quotes, found `1`"
    );
    let error = read_json::<String>(r#"{"other": 1}"#).expect_err("unknown");
    assert_eq!(error.message(), "field other not found in config");
    assert!(parse_json("f.json", "[".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn json_cut_anywhere_gives_an_error_not_a_panic() {
    let text = r#"[{"targets": ["é:1", "\ud83d\ude00"], "labels": {"a": null, "b": -1.5e+3}}, true]"#;
    for cut in 0..text.len() {
        if let Err(error) = parse_json("f.json", &text.as_bytes()[..cut]) {
            error.render(false);
        }
        let mut flipped = text.as_bytes().to_vec();
        flipped[cut] ^= 0x15;
        let _ = parse_json("f.json", &flipped);
    }
}

#[test]
fn a_misspelt_action_is_guessed() {
    let document = parse("f.yml", "rules: [{action: repalce}]").expect("valid");
    let mut section = document.root().section("config").expect("mapping");
    let scheme = model::labels::NameScheme::default();
    let error = narthex_yaml::relabel_rules(&mut section, "rules", "empty", scheme).expect_err("misspelt");
    assert!(
        error.to_string().ends_with("(did you mean `replace`?)"),
        "{error}"
    );
}

/// Whatever a file nests, and however deep, it is read or refused on the stack of a thread that a server starts.
#[test]
fn nesting_is_bounded() {
    const STACK_BYTES: usize = 1 << 20;
    let work = || {
        for many in [99, 1_000, 200_000] {
            let indented: String = (0..many.min(2_000))
                .map(|level| format!("{}a:\n", " ".repeat(level)))
                .collect();
            for (what, text) in [
                (
                    "lists",
                    format!("a: {}{}\n", "[".repeat(many - 1), "]".repeat(many - 1)),
                ),
                (
                    "mappings",
                    format!("{}1{}\n", "{a: ".repeat(many), "}".repeat(many)),
                ),
                ("dashes", format!("{}x\n", "- ".repeat(many))),
                ("questions", format!("{}x\n", "? ".repeat(many))),
                ("lines", indented),
                ("open lists", "[".repeat(many)),
                ("open mappings", "{a: ".repeat(many)),
            ] {
                let read = narthex_yaml::parse("deep.yml", &text);
                let closed = !what.starts_with("open");
                if many < 100 && closed {
                    read.unwrap_or_else(|error| panic!("{what}: {error}"));
                } else if let Err(error) = read {
                    assert!(
                        !closed || error.to_string().contains("deep") || error.to_string().contains("limit"),
                        "{what}: {error}"
                    );
                } else {
                    panic!("{what}: {many} levels are read");
                }
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    thread.expect("a thread").join().expect("no overflow");
}
