//! Hostile input: nothing panics, nothing runs on.

use narthex_template::{
    Dialect, ExecErrorKind, Limits, NoHost, ParseErrorKind, TemplateSet, Value, alert, notification,
};

use crate::Server;

fn run(text: &str, dialect: Dialect) -> Result<String, narthex_template::Error> {
    let limits = Limits {
        steps_max: 20_000,
        bytes_max: 1 << 20,
        ..Limits::default()
    };
    let set = TemplateSet::new(dialect, alert::CONSOLE_FUNCTIONS).with_limits(limits);
    let data = Value::string_map([("job", "api"), ("html", "<x>")]);
    set.expand("t", text, data, &Server::default())
}

fn exec_error(text: &str) -> ExecErrorKind {
    match run(text, Dialect::Text) {
        Err(narthex_template::Error::Exec(error)) => error.kind,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn endless_loops_stop() {
    let looped = exec_error("{{ range 1000000000 }}{{ end }}");
    assert!(matches!(looped, ExecErrorKind::TooManySteps(20_000)), "{looped}");
    let recursive = exec_error("{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}");
    assert!(matches!(recursive, ExecErrorKind::TooDeep(_)), "{recursive}");
    let both = "{{ define \"a\" }}{{ if true }}{{ with 1 }}{{ template \"a\" . }}{{ end }}{{ end }}{{ end }}{{ template \"a\" . }}";
    assert!(matches!(exec_error(both), ExecErrorKind::TooDeep(_)));
}

#[test]
fn growing_values_stop() {
    for text in [
        "{{ $x := \"0123456789\" }}{{ range 1000 }}{{ $x = print $x $x }}{{ end }}",
        "{{ $x := args 1 2 3 }}{{ range 1000 }}{{ $x = printf \"%v %v\" $x $x }}{{ end }}",
        "{{ range 1000 }}{{ printf \"%999999d\" 1 }}{{ end }}",
        "{{ range 1000 }}{{ printf \"%999999d%999999d%999999d%999999d%999999d\" 1 2 3 4 5 }}{{ end }}",
        "{{ $x := \"aaaaaaaaaa\" }}{{ range 100 }}{{ $x = reReplaceAll \"a\" $x $x }}{{ end }}",
        "{{ range 20000 }}0123456789012345678901234567890123456789012345678901234567890123456789{{ end }}",
    ] {
        let kind = exec_error(text);
        let stopped = matches!(kind, ExecErrorKind::TooLarge(_) | ExecErrorKind::Call { .. });
        assert!(stopped, "{text}: {kind}");
    }
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [
        ("(", ")"),
        ("{{ if 1 }}", "{{ end }}"),
        ("{{ with 1 }}", "{{ end }}"),
    ] {
        let deep = format!("{}1{}", open.repeat(5000), close.repeat(5000));
        let text = if open == "(" {
            format!("{{{{ {deep} }}}}")
        } else {
            deep
        };
        match run(&text, Dialect::Text) {
            Err(narthex_template::Error::Parse(error)) => assert_eq!(error.kind, ParseErrorKind::TooDeep),
            other => panic!("{other:?}"),
        }
    }
    // Chains are no nesting.
    let chain = format!("{{{{ if 0 }}}}{}{{{{ end }}}}", "{{ else if 0 }}x".repeat(3000));
    assert_eq!(run(&chain, Dialect::Text).unwrap(), "");
}

/// Templates that use much of the language.
fn seeds() -> Vec<String> {
    let mut seeds: Vec<String> = [
        "{{ $x := .job }}{{ with $x }}{{ . | toUpper | printf \"%-8s|%q\" \"a\" }}{{ else }}b{{ end }}",
        "{{ range $i, $s := query \"up\" }}{{ $i }}{{ $s.Labels.instance }}{{ humanize $s.Value }}{{ break }}{{ end }}",
        "{{ define \"a\" }}<a href=\"{{ . }}\" onclick='f({{ . }})'>{{ end }}{{ template \"a\" .html }}",
        "<script>var x = {{ .html }} / 2; /* c */ `${ {{ .job }} }`</script><style>p{a:url({{ .job }})}</style>",
        "{{- /* c */ -}} {{ (toTime 1435065584.128).Format \"Mon Jan _2 15:04:05.000 MST 2006\" }} {{ 0x1_F }} {{ 'é' }}",
        "{{ index (args 1 \"b\") \"arg1\" | len }} {{ slice \"héllo\" 1 3 }} {{ 1.5e3 | humanizeDuration }}",
    ]
    .map(str::to_owned)
    .to_vec();
    seeds.push(notification::DEFAULT_TEMPLATES.chars().take(1500).collect());
    seeds
}

#[test]
fn cut_anywhere() {
    for seed in seeds() {
        for (at, _) in seed.char_indices() {
            for dialect in [Dialect::Text, Dialect::Html] {
                let _ = run(&seed[..at], dialect);
                let _ = run(&seed[at..], dialect);
            }
        }
    }
}

/// A small generator of numbers, reproducible from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn changed_anywhere() {
    let seed = std::env::var("NARTHEX_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0x5eed);
    println!("NARTHEX_SEED={seed}");
    let mut random = Random(seed);
    let pieces = [
        "{{",
        "}}",
        "-}}",
        "{{-",
        "(",
        ")",
        "|",
        ".",
        "$",
        "\"",
        "'",
        "`",
        "/*",
        "*/",
        "<",
        ">",
        "=",
        "\\",
        "end",
        "if",
        "range",
        "\0",
        "é",
        "\u{2028}",
        "<!--",
        "-->",
        "%",
        "&#",
        "0",
        "9999999999",
    ];
    let seeds = seeds();
    for _ in 0..3000 {
        let mut text = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            let mut at = random.below(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            if random.below(3) == 0 {
                text.truncate(at);
            } else {
                text.insert_str(at, pieces[random.below(pieces.len())]);
            }
        }
        let _ = run(&text, Dialect::Text);
        let _ = run(&text, Dialect::Html);
    }
}

#[test]
fn failed_parse_leaves_the_set() {
    let mut set = TemplateSet::new(Dialect::Text, alert::FUNCTIONS);
    set.add("a", "old").unwrap();
    assert!(set.add("a", "{{ if }}").is_err());
    assert_eq!(set.execute("a", Value::Nil, &NoHost).unwrap(), "old");
}
