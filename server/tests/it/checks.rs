//! `check …`: what is said of files that the server would take, refuse, or take without doing all that they ask.

use std::path::Path;

use crate::harness::narthex;

/// Exit code, standard output and standard error of a command.
fn run(folder: &Path, args: &[&str], stdin: &[u8]) -> (Option<i32>, String, String) {
    let output = narthex(args, folder, stdin);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn sections_that_are_not_served_are_warned_of_and_count_on_request() {
    let folder = tempfile::tempdir().expect("folder");
    let config = "remote_write: [{url: http://a/w}]\nremote_read: [{url: http://a/r}]\n\
                  tracing: {endpoint: a:1}\notlp: {}\nruntime: {gogc: 50}\n";
    std::fs::write(folder.path().join("a.yml"), config).expect("write");
    std::fs::write(folder.path().join("plain.yml"), "global: {}\n").expect("write");
    let (code, out, err) = run(folder.path(), &["check", "config", "a.yml"], b"");
    assert_eq!(code, Some(0));
    assert!(out.contains("SUCCESS: a.yml is valid"), "{out}");
    let warnings: Vec<&str> = err.lines().collect();
    let expected = ["tracing", "runtime"]
        .map(|section| format!("  WARNING: {section} is configured, but this version does not serve it"));
    assert_eq!(warnings, expected);
    for (file, expected) in [("a.yml", 3), ("plain.yml", 0)] {
        let (code, ..) = run(folder.path(), &["check", "config", "--unserved-fatal", file], b"");
        assert_eq!(code, Some(expected), "{file}");
    }
}

#[test]
fn files_in_utf16_are_read_and_bytes_that_are_no_text_have_a_place() {
    let folder = tempfile::tempdir().expect("folder");
    let write = |name: &str, text: &str, mark: &[u8], unit: fn(u16) -> [u8; 2]| {
        let units: Vec<u8> = text.encode_utf16().flat_map(unit).collect();
        std::fs::write(folder.path().join(name), [mark, &units].concat()).expect("write");
    };
    write(
        "rules.yml",
        "groups:\n- name: é\n  rules: [{record: a, expr: up}]\n",
        b"\xff\xfe",
        u16::to_le_bytes,
    );
    write(
        "targets.yml",
        "- targets: ['ü:1']\n",
        b"\xfe\xff",
        u16::to_be_bytes,
    );
    write(
        "jobs.yml",
        "scrape_configs: [{job_name: ö}]\n",
        b"\xfe\xff",
        u16::to_be_bytes,
    );
    let config = "rule_files: [rules.yml]\nscrape_config_files: [jobs.yml]\n\
                  scrape_configs: [{job_name: é, file_sd_configs: [{files: [targets.yml]}]}]\n";
    write("main.yml", config, b"\xff\xfe", u16::to_le_bytes);
    let (code, out, err) = run(folder.path(), &["check", "config", "main.yml"], b"");
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("SUCCESS: 1 rules found"), "{out}");
    let (code, out, _) = run(
        folder.path(),
        &["check", "service-discovery", "main.yml", "é"],
        b"",
    );
    assert_eq!(code, Some(0));
    assert!(out.contains("ü:1"), "{out}");
    let stdin = std::fs::read(folder.path().join("rules.yml")).expect("read");
    assert_eq!(run(folder.path(), &["check", "rules"], &stdin).0, Some(0));

    std::fs::write(folder.path().join("bytes.yml"), b"groups:\n- name: \xff\n").expect("write");
    for (args, wanted) in [
        (&["check", "rules", "bytes.yml"][..], 1),
        (&["check", "config", "bytes.yml"], 1),
        (&["test", "rules", "bytes.yml"], 1),
        // Compat: the server ends with 2 for a configuration that it cannot read, its tools with 1.
        (&["--config.file=bytes.yml"], 2),
    ] {
        let (code, out, err) = run(folder.path(), args, b"");
        assert_eq!(code, Some(wanted), "{args:?}");
        let said = format!("{out}{err}");
        assert!(
            said.contains("line 2, column 9: invalid UTF-8 (byte 0xff at offset 16)"),
            "{args:?}: {said}"
        );
    }
}

/// What the reference's tool says of bodies that a scrape would forgive.
#[test]
fn metrics_are_judged_as_strictly_as_by_the_reference() {
    let Some(folder) = testkit::conformance("reports/check-metrics") else {
        return;
    };
    let expected = std::fs::read_to_string(folder.join("expected.txt")).expect("the reference's words");
    let mut said = String::new();
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("cases")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "prom"))
        .collect();
    files.sort();
    for file in files {
        let body = std::fs::read(&file).expect("body");
        let (code, out, err) = run(&folder, &["check", "metrics"], &body);
        let name = file.file_name().expect("name").to_string_lossy();
        said.push_str(&format!("== {name}\n{out}{err}rc={}\n", code.expect("code")));
    }
    assert_eq!(said, expected);
}

#[test]
fn web_configurations_are_checked() {
    let folder = tempfile::tempdir().expect("folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("write");
    write("empty.yml", "");
    write(
        "users.yml",
        "basic_auth_users: {a: $2y$10$qRTBuFoULoYNA7AQ/F3ck.trZBPyjV64.oA4ZsSBCIWvXuvQlQTuu}\n",
    );
    write("wrong.yml", "tls_server_config:\n  cert_filse: a\n");
    write(
        "missing.yml",
        "tls_server_config: {cert_file: a.pem, key_file: a.key}\n",
    );
    let files = [
        "check",
        "web-config",
        "empty.yml",
        "users.yml",
        "wrong.yml",
        "missing.yml",
    ];
    let (code, _, err) = run(folder.path(), &files, b"");
    assert_eq!(code, Some(1));
    for line in [
        "empty.yml SUCCESS",
        "users.yml SUCCESS",
        "wrong.yml FAILED: wrong.yml:2:3: field cert_filse not found in tls_server_config (did you mean `cert_file`?)",
        "  = help: did you mean `cert_file`?",
        "missing.yml FAILED: failed to read cert_file (a.pem): No such file or directory (os error 2)",
    ] {
        assert_eq!(
            err.lines().filter(|said| *said == line).count(),
            1,
            "{line}\n{err}"
        );
    }
    assert_eq!(run(folder.path(), &files[..4], b"").0, Some(0));
}

#[tokio::test]
async fn an_empty_web_configuration_asks_for_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("web.yml"), "# nothing\n").expect("write");
    let server = crate::harness::Server::start(folder.path(), "", &["--web.config.file=web.yml"]).await;
    assert_eq!(server.get("/-/healthy").await.0, 200);
}
