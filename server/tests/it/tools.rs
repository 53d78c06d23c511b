//! The tools that need no server: looking into data folders, making blocks, checking and healing, editing queries, unit
//! tests of rules. What is expected of the reference's folders is what its own tool printed.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::golden::copy_folder;
use crate::harness::{Server, narthex, own_program};

/// A copy of one of the reference's data folders, as `data` in a folder of its own.
fn reference_data(name: &str) -> Option<TempDir> {
    let folder = tempfile::tempdir().expect("folder");
    copy_folder(
        &testkit::conformance(&format!("tsdb/{name}/data"))?,
        &folder.path().join("data"),
    );
    Some(folder)
}

/// Runs a command line, split at spaces.
fn run(folder: &Path, line: &str, stdin: &str) -> (Option<i32>, String, String) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = narthex(&words, folder, stdin.as_bytes());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Standard output of a command that must succeed and say nothing else.
fn good(folder: &Path, line: &str) -> String {
    let (code, out, err) = run(folder, line, "");
    assert_eq!((code, err.as_str()), (Some(0), ""), "{line}\n{out}");
    out
}

/// Names and lengths of all files below a folder.
fn inventory(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        match path.is_dir() {
            true => found.extend(inventory(&path)),
            false => found.push((path.clone(), path.metadata().expect("metadata").len())),
        }
    }
    found.sort();
    found
}

#[test]
fn blocks_are_listed() {
    let Some(folder) = reference_data("plain") else {
        return;
    };
    assert_eq!(
        good(folder.path(), "tsdb list data"),
        "BLOCK ULID                  MIN TIME       MAX TIME       DURATION     NUM SAMPLES  NUM CHUNKS   NUM SERIES   SIZE\n\
         01M835CSPHF7SSYXPZFW46B180  1700006400000  1700013600000  2h0m0s       9175         92           21           73229\n\
         01M835CSMF18S6AN9Y4TA0PE9A  1700013600000  1700020800000  2h0m0s       15           2            2            937\n"
    );
    let human = good(folder.path(), "tsdb list -r data");
    let last = human.lines().last().expect("lines");
    assert_eq!(
        last,
        "01M835CSMF18S6AN9Y4TA0PE9A  2023-11-15 02:00:00 +0000 UTC  2023-11-15 04:00:00 +0000 UTC  2h0m0s       15           2            2            937B"
    );
    let (code, out, err) = run(folder.path(), "tsdb list nowhere", "");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with("opening the db dir: ") && err.contains("nowhere"),
        "{err}"
    );
}

#[test]
fn a_block_is_analyzed() {
    let Some(folder) = reference_data("plain") else {
        return;
    };
    let text = good(
        folder.path(),
        "tsdb analyze --limit=1 --extended --match=latency data",
    );
    let expected = "Block ID: 01M835CSPHF7SSYXPZFW46B180\nDuration: 2h0m0s\nTotal Series: 21\nMatcher: latency\n\
        Label names: 2\nMatched series: 3\nPostings (unique label pairs): 4\nPostings entries (total label pairs): 6\n\n\
        Label pairs most involved in churning:\n0 __name__=latency\n\n\
        Label names most involved in churning:\n0 __name__\n\n\
        Most common label pairs:\n3 __name__=latency\n\n\
        Label names with highest cumulative label value length:\n7 __name__\n\n\
        Highest cardinality labels:\n3 instance\n\n\
        Highest cardinality metric names:\n3 latency\n\n\
        Compaction analysis:\n\nsamples per float chunk: N/A\n\nbytes per float chunk: N/A\n\n\
        samples per histogram chunk (min/avg/max): ";
    assert!(text.starts_with(expected), "{text}");
    let (code, _, err) = run(folder.path(), "tsdb analyze --match={job= data", "");
    assert_eq!(code, Some(1));
    assert!(err.contains("1 | {job="), "{err}");
    std::fs::create_dir(folder.path().join("empty")).expect("folder");
    let (code, _, err) = run(folder.path(), "tsdb analyze empty", "");
    assert_eq!((code, err.as_str()), (Some(1), "no blocks found\n"));
}

/// The reference's own dump leaves out samples of the log that lie before the end of a block of late samples, so the folder
/// whose blocks are all whole is compared.
#[test]
fn samples_are_dumped_as_the_reference_dumps_them_and_nothing_is_touched() {
    let Some(folder) = reference_data("scraped") else {
        return;
    };
    let before = inventory(folder.path());
    let dump = good(folder.path(), "tsdb dump data");
    assert_eq!(dump.lines().count(), 166_233);
    let series = good(folder.path(), "tsdb dump --format=seriesjson data");
    assert_eq!(series.lines().count(), 1566);
    let one = good(
        folder.path(),
        "tsdb dump --match=up{job=\"node\"} --min-time=1795402200000 --max-time=1795402206000 data",
    );
    let lines: Vec<&str> = one.lines().collect();
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("{__name__=\"up\", instance=\"") && line.contains(" 1 17954022")),
        "{one}"
    );
    assert_eq!(inventory(folder.path()), before);
    // Late samples of the log count, too.
    let Some(folder) = reference_data("plain") else {
        return;
    };
    assert_eq!(good(folder.path(), "tsdb dump data").lines().count(), 22_566);
}

#[test]
fn a_dump_as_open_metrics_can_be_imported() {
    let Some(folder) = reference_data("scraped") else {
        return;
    };
    let path = folder.path();
    let text = good(
        path,
        "tsdb dump-openmetrics --match={__name__=~\"(?:node|go)_.*\"} data",
    );
    assert!(text.ends_with("\n# EOF\n"));
    std::fs::write(path.join("samples.om"), &text).expect("write");
    let printed = good(path, "tsdb create-blocks-from openmetrics samples.om new");
    let rows: Vec<Vec<&str>> = printed
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!((rows.len(), rows[0][0]), (2, "BLOCK"), "{printed}");
    assert_eq!(
        rows[1][4],
        (text.lines().count() - 1).to_string(),
        "samples: {printed}"
    );
    assert_eq!(good(path, "tsdb dump-openmetrics new"), text);
    assert_eq!(good(path, "tsdb list new"), printed);
}

#[test]
fn samples_in_text_become_blocks() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    let text = "# TYPE a counter\na_total{x=\"1\"} 1 7200\na_total{x=\"1\"} 2 7260\na_total{x=\"1\"} 3 14400\n\
        # TYPE h histogram\nh_bucket{le=\"1\"} 5 7199.999\nh_bucket{le=\"+Inf\"} 6 -0.5\n# EOF\n";
    let line = "tsdb create-blocks-from -r openmetrics --label=site=b --label=x=9 - out";
    let (code, out, err) = run(path, line, text);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let rows: Vec<&str> = out.lines().collect();
    assert_eq!(rows.len(), 5, "{out}");
    assert!(rows[1].contains("1969-12-31 23:59:59 +0000 UTC"), "{out}");
    assert_eq!(
        good(path, "tsdb dump out"),
        "{__name__=\"a_total\", site=\"b\", x=\"9\"} 1 7200000\n{__name__=\"a_total\", site=\"b\", x=\"9\"} 2 7260000\n\
         {__name__=\"a_total\", site=\"b\", x=\"9\"} 3 14400000\n\
         {__name__=\"h_bucket\", le=\"+Inf\", site=\"b\", x=\"9\"} 6 -500\n\
         {__name__=\"h_bucket\", le=\"1.0\", site=\"b\", x=\"9\"} 5 7199999\n"
    );
    let left: Vec<_> = std::fs::read_dir(path.join("out")).expect("out").collect();
    assert_eq!(left.len(), 4, "blocks and nothing else");
    for (text, said) in [
        (
            "a 1 5\nb 2\n# EOF\n",
            "line 2: expected timestamp for series b, got none",
        ),
        (
            "a 1 5\na 2 5\n# EOF\n",
            "series {__name__=\"a\"} has two values at 5000: 1 and 2",
        ),
        ("a 1 5\n", "-: "),
        ("a{ 1 5\n# EOF\n", "-: "),
    ] {
        let (code, out, err) = run(path, "tsdb create-blocks-from openmetrics - bad", text);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{text}");
        assert!(err.contains(said), "{text}{err}");
        assert_eq!(std::fs::read_dir(path.join("bad")).expect("bad").count(), 0);
    }
    let (_, out, _) = run(
        path,
        "tsdb create-blocks-from -q openmetrics - quiet",
        "a 1 5\n# EOF\n",
    );
    assert_eq!(out, "");
}

/// Lists, analyses and dumps of what we wrote, by the reference's tool where it is installed.
#[test]
fn the_references_tool_says_the_same_of_our_blocks() {
    let Some(promtool) = testkit::program(testkit::Need::Promtool) else {
        return;
    };
    let promtool = |folder: &Path, line: &str| -> String {
        let output = Command::new(&promtool)
            .args(line.split(' '))
            .current_dir(folder)
            .output()
            .expect("promtool starts");
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    let mut text = "# TYPE m gauge\n".to_owned();
    for series in 0..30 {
        for step in 0..250 {
            let value = f64::from(step * series) / 8.0;
            text += &format!(
                "m{{i=\"{series}\",j=\"{}\"}} {value} {}\n",
                series % 4,
                1000 + step * 60
            );
        }
    }
    text += "# EOF\n";
    let (code, ..) = run(path, "tsdb create-blocks-from openmetrics - data", &text);
    assert_eq!(code, Some(0));
    assert_eq!(good(path, "tsdb list data"), promtool(path, "tsdb list data"));
    // Items of one size have no order there, and older versions have another word.
    let sorted = |text: &str| {
        let text = text.replace("Total Series", "Series");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let line = "tsdb analyze --limit=1000 data";
    assert_eq!(sorted(&good(path, line)), sorted(&promtool(path, line)));
    // Its dump wants a log.
    std::fs::create_dir(path.join("data/wal")).expect("folder");
    assert_eq!(good(path, "tsdb dump data"), promtool(path, "tsdb dump data"));
}

/// Flips a bit of a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).expect("write");
}

#[test]
fn a_label_that_stands_twice_makes_no_block() {
    let folder = tempfile::tempdir().expect("folder");
    let text = "# TYPE m gauge\nm{a=\"1\"} 1 1700000000\nm{b=\"1\",a=\"2\",b=\"3\"} 1 1700000000\n# EOF\n";
    let line = "tsdb create-blocks-from openmetrics - out";
    let (code, out, err) = run(folder.path(), line, text);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(
        err.contains("line 3") && err.contains("label name \"b\" is not unique"),
        "{err}"
    );
    let blocks = std::fs::read_dir(folder.path().join("out")).map_or(0, Iterator::count);
    assert_eq!(blocks, 0, "nothing is left of it");
    // A label of the command line takes the place of both.
    let line = "tsdb create-blocks-from openmetrics --label=b=4 - out";
    assert_eq!(run(folder.path(), line, text).0, Some(0));
}

#[test]
fn a_folder_that_holds_no_store_is_not_all_well() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    std::fs::create_dir_all(path.join("apt/sources.list.d")).expect("folder");
    std::fs::write(path.join("apt/sources.list"), "deb").expect("file");
    for command in ["verify", "repair", "repair --yes"] {
        let (code, out, err) = run(path, &format!("tsdb {command} apt"), "");
        assert_eq!((code, out.as_str()), (Some(1), ""), "{command}");
        assert!(
            err.contains("apt holds no store") && err.contains("--storage.tsdb.path"),
            "{err}"
        );
    }
    // What a server has just made is one, empty as it is.
    std::fs::create_dir_all(path.join("data/wal")).expect("folder");
    assert!(good(path, "tsdb verify data").contains("0 checked: all is well"));
}

#[test]
fn folders_are_verified_and_healed() {
    for name in ["plain", "deleted", "scraped"] {
        let Some(folder) = reference_data(name) else {
            return;
        };
        let before = inventory(folder.path());
        let text = good(folder.path(), "tsdb verify data");
        assert!(text.lines().all(|line| !line.starts_with("DAMAGED")), "{text}");
        assert_eq!(inventory(folder.path()), before);
    }
    let Some(folder) = reference_data("plain") else {
        return;
    };
    let path = folder.path();
    let block = "01M835CSPHF7SSYXPZFW46B180";
    flip(&path.join("data").join(block).join("chunks/000001"), 5000);
    let segments = inventory(&path.join("data/wal"));
    let (segment, _) = segments.iter().find(|(_, len)| *len > 1000).expect("a segment");
    flip(segment, 900);
    // The next number: a gap would be damage of its own.
    let numbers = segments
        .iter()
        .filter_map(|(path, _)| path.file_name()?.to_str()?.parse().ok());
    let next = numbers.max().unwrap_or(0_u64) + 1;
    std::fs::write(path.join(format!("data/wal/{next:08}")), "").expect("a later segment");
    let (code, out, err) = run(path, "tsdb verify data", "");
    assert_eq!((code, err.as_str()), (Some(1), ""), "{out}");
    assert!(out.contains(&format!("DAMAGED {block}")), "{out}");
    assert!(out.contains("checksum of the chunk does not match"), "{out}");
    assert!(
        out.contains(" cannot be read\n        remedy: cut data/wal/"),
        "{out}"
    );
    let before = inventory(path);
    let (code, out, _) = run(path, "tsdb repair data", "");
    assert_eq!(code, Some(1));
    assert!(
        out.contains(&format!("would move data/{block} to quarantine/\n")),
        "{out}"
    );
    assert!(out.ends_with("nothing was changed; --yes does it\n"), "{out}");
    assert_eq!(inventory(path), before);
    let (code, out, err) = run(path, "tsdb repair --yes data", "");
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(path.join("data/quarantine").join(block).join("index").exists());
    let (code, out, _) = run(path, "tsdb verify data", "");
    assert_eq!(code, Some(0), "{out}");
    let (code, out, _) = run(path, "tsdb repair --yes data", "");
    assert_eq!((code, out.as_str()), (Some(0), "nothing to heal\n"));
    // The lock file is new.
    let bytes = |files: &[(PathBuf, u64)]| {
        let kept = files.iter().filter(|(path, _)| !path.ends_with("lock"));
        kept.map(|(_, len)| len).sum::<u64>()
    };
    let now = inventory(path);
    assert_eq!(bytes(&now), bytes(&before), "nothing is thrown away: {now:?}");
}

/// A running server keeps its files; what it has written may be looked at all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_not_disturbed() {
    let folder = tempfile::tempdir().expect("folder");
    let config = "global: {scrape_interval: 1h}\nrule_files: [rules.yml]\n";
    let rules = "groups: [{name: g, interval: 100ms, rules: [{record: r, expr: vector(7)}]}]";
    std::fs::write(folder.path().join("rules.yml"), rules).expect("write");
    let server = Server::start(folder.path(), config, &[]).await;
    server.wait_for("r", |result| !result.is_empty()).await;
    let dump = good(folder.path(), "tsdb dump --match=r data");
    assert!(dump.starts_with("{__name__=\"r\"} 7 1"), "{dump}");
    let (code, out, _) = run(folder.path(), "tsdb verify data", "");
    assert_eq!(code, Some(0), "{out}");
    std::fs::create_dir(
        folder
            .path()
            .join("data/01M835CSPHF7SSYXPZFW46B180.tmp-for-creation"),
    )
    .expect("left over");
    let (code, _, err) = run(folder.path(), "tsdb repair --yes data", "");
    assert_eq!(
        (code, err.as_str()),
        (Some(1), "data is in use by another process: stop it first\n")
    );
    drop(server);
    let (code, out, err) = run(folder.path(), "tsdb repair --yes data", "");
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(
        !folder
            .path()
            .join("data/01M835CSPHF7SSYXPZFW46B180.tmp-for-creation")
            .exists()
    );
}

/// A server whose answer to every range query is one series with a sample at the start and one at the end.
async fn range_server() -> String {
    let answer = async |body: String| {
        let asked: std::collections::BTreeMap<_, _> = url::form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
        if asked["query"] == "broken" {
            return r#"{"status":"error","errorType":"execution","error":"too much"}"#.to_owned();
        }
        let values = format!(
            r#"[[{},"{}"],[{},"{}"]]"#,
            asked["start"], asked["step"], asked["end"], "2.5"
        );
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"__name__":"x","job":"a","l":"old"}},"values":{values}}}]}}}}"#
        )
    };
    let router = axum::Router::new().route("/api/v1/query_range", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_evaluated_over_the_past() {
    let server = range_server().await;
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    let rules = "groups:\n- name: g\n  interval: 100s\n  rules:\n  - {record: r, expr: sum(x), labels: {l: new}}\n  \
        - {alert: A, expr: vector(1)}\n- name: h\n  rules: [{record: s, expr: x + 1}]\n";
    std::fs::write(path.join("r.yml"), rules).expect("write");
    let line = format!(
        "tsdb create-blocks-from -q rules --url={server} --start=3600 --end=10800 --output-dir=out r.yml"
    );
    assert_eq!(good(path, &line), "");
    let blocks = good(path, "tsdb list out");
    assert_eq!(blocks.lines().count(), 3, "{blocks}");
    let dump = good(path, "tsdb dump out");
    let lines: Vec<&str> = dump.lines().collect();
    assert_eq!(lines.len(), 8, "{dump}");
    // Steps are those of the groups; times begin at the first evaluation of each in the range.
    assert!(
        lines[0].starts_with("{__name__=\"r\", job=\"a\", l=\"new\"} 100 3"),
        "{dump}"
    );
    assert_eq!(lines[1], "{__name__=\"r\", job=\"a\", l=\"new\"} 2.5 7199000");
    assert!(
        lines[4].starts_with("{__name__=\"s\", job=\"a\", l=\"old\"} 60 36"),
        "{dump}"
    );
    assert_eq!(lines[7], "{__name__=\"s\", job=\"a\", l=\"old\"} 2.5 10800000");
    std::fs::write(
        path.join("b.yml"),
        "groups: [{name: g, rules: [{record: r, expr: broken}]}]",
    )
    .expect("write");
    for (arguments, said) in [
        (
            "--start=3600 --end=10800 b.yml",
            "rule importer error: r: query range: execution: too much\n",
        ),
        (
            "--start=3600 --end=3600 r.yml",
            "start time is not before end time\n",
        ),
        (
            "--start=3600 none.yml",
            "rule importer parse error: none.yml: No such file",
        ),
        (
            "--start=soon r.yml",
            "error parsing start time: cannot parse \"soon\"",
        ),
    ] {
        let line = format!("tsdb create-blocks-from rules --url={server} --output-dir=bad {arguments}");
        let (code, out, err) = run(path, &line, "");
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments}");
        assert!(err.starts_with(said), "{err}");
    }
}

#[test]
fn the_storage_is_measured() {
    let folder = tempfile::tempdir().expect("folder");
    let text = good(
        folder.path(),
        "tsdb bench write --metrics=50 --scrapes=800 --out=b",
    );
    assert!(
        text.contains("samples             40000\n") && text.contains(" bytes a sample\n"),
        "{text}"
    );
}

#[test]
fn queries_are_formatted_and_edited() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    assert_eq!(
        good(path, "promql format sum(rate(a[5m]))by(b)"),
        "sum by (b) (rate(a[5m]))\n"
    );
    assert_eq!(
        good(path, "promql label-matchers set -t =~ a/on(b)c{d=\"1\"} d x|y"),
        "a{d=~\"x|y\"} / on (b) c{d=~\"x|y\"}\n"
    );
    assert_eq!(
        good(path, "promql label-matchers delete a{b=\"1\",c!=\"2\"} b"),
        "a{c!=\"2\"}\n"
    );
    let (code, out, err) = run(path, "promql format sum(su(up))", "");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(
        err,
        "1:5: parse error: unknown function with name \"su\"\n  |\n1 | sum(su(up))\n  |     ^^\n  = help: did you mean sum?\n"
    );
    let (code, _, err) = run(path, "promql label-matchers set -t =~ up a (", "");
    assert_eq!(code, Some(1));
    assert!(err.contains('('), "{err}");
}

/// What the reference's `test rules` said about real test files, by the command itself.
#[test]
fn unit_tests_of_rules_get_the_references_verdict() {
    let Some(folder) = testkit::conformance("") else {
        return;
    };
    let verdicts = std::fs::read_to_string(folder.join("verdicts.jsonl")).expect("verdicts");
    let mut checked = 0;
    for line in verdicts.lines() {
        let case: serde_json::Value = serde_json::from_str(line).expect("JSON");
        if case["check"] != "test rules" {
            continue;
        }
        checked += 1;
        let file = case["file"].as_str().expect("file");
        let features = "--enable-feature=promql-experimental-functions";
        let (code, out, err) = run(&folder, &format!("test {features} rules {file}"), "");
        assert_eq!(code.map(i64::from), case["exit"].as_i64(), "{file}\n{err}");
        let want = case["stderr"].as_str().expect("text");
        // Unknown fields are told in our own words, with line and column.
        if !want.contains("unmarshal errors") {
            assert_eq!(
                (out.as_str(), err.as_str()),
                (case["stdout"].as_str().expect("text"), want),
                "{file}"
            );
        }
    }
    assert!(checked >= 14, "{checked}");
}

#[test]
fn unit_tests_are_chosen_explained_and_reported() {
    let Some(folder) = testkit::conformance("") else {
        return;
    };
    let file = "promtool/rules_run.yml";
    let (code, out, _) = run(&folder, &format!("test rules --run=^correct {file}"), "");
    assert_eq!((code, out.as_str()), (Some(0), "  SUCCESS\n\n"));
    let (code, _, err) = run(&folder, &format!("test rules --run=^wrong --diff {file}"), "");
    assert_eq!(code, Some(1));
    assert!(
        err.contains("diff:\n          - {__name__=\"test\"} 1E+00\n          + {__name__=\"test\"} 0E+00\n"),
        "{err}"
    );
    let (_, _, err) = run(&folder, "test rules --debug promtool/start-time-test.yml", "");
    let begin = "DEBUG: Starting test default_start_time\nDEBUG: Dump of all data (input_series and rules) at 5m1s:\n\
        {__name__=\"ALERTS\", alertname=\"AlwaysFiring\", alertstate=\"firing\"} =>\n1 @[60000]\n1 @[120000]\n";
    assert!(err.starts_with(begin), "{err}");
    assert!(
        err.contains("\nDEBUG: Test default_start_time finished, took "),
        "{err}"
    );
    let results = tempfile::tempdir().expect("folder");
    let xml = results.path().join("junit.xml");
    let line = format!("test --junit={} rules {file} none.yml", xml.display());
    let (code, _, err) = run(&folder, &line, "");
    assert_eq!(code, Some(1));
    assert!(err.contains("none.yml: No such file"), "{err}");
    let written = std::fs::read_to_string(xml).expect("results");
    let suite = "<testsuites><testsuite name=\"promtool/rules_run.yml\" tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\" timestamp=\"";
    let case = "<testcase name=\"correct test\"></testcase><testcase name=\"wrong test\"><failure>    expr: &#34;test&#34;, time: 0s,&#xA;";
    assert!(written.starts_with(suite) && written.contains(case), "{written}");
    assert!(
        written.contains("<testcase name=\"unknown\"><error>none.yml: No such file"),
        "{written}"
    );
    // Which file failed, where there are several; and that nothing was run.
    let (_, _, err) = run(&folder, &format!("test rules {file} {file}"), "");
    assert!(err.starts_with("promtool/rules_run.yml:\n  FAILED:\n"), "{err}");
    let (code, out, err) = run(&folder, &format!("test rules --run=nope {file}"), "");
    assert_eq!((code, out.as_str()), (Some(0), "  SUCCESS\n\n"));
    assert_eq!(err, "--run matches the name of no test: nothing was run\n");
    let lonely = results.path().join("lonely.yml");
    let text = "rule_files: [gone.yml]\ntests: [{promql_expr_test: [{expr: a, eval_time: 0s, exp_samples: [{labels: a, value: 1}]}]}]\n";
    std::fs::write(&lonely, text).expect("written");
    let (code, _, err) = run(results.path(), "test rules lonely.yml", "");
    assert_eq!(code, Some(1));
    let last = "lonely.yml: no rules were loaded from gone.yml: there is no such file. What failed above may need them\n";
    assert!(err.ends_with(last), "{err}");
    let (code, _, err) = run(&folder, &format!("test rules --run=( {file}"), "");
    assert_eq!(code, Some(1));
    assert!(err.starts_with("--run: "), "{err}");
}

/// Called by the name of the reference's tool, the program takes its command line.
#[test]
fn the_tools_go_by_the_references_name() {
    let folder = tempfile::tempdir().expect("folder");
    let promtool = folder.path().join("promtool");
    std::os::unix::fs::symlink(own_program(), &promtool).expect("link");
    let run = |line: &str| {
        let output = Command::new(&promtool)
            .args(line.split(' '))
            .output()
            .expect("runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("UTF-8"))
    };
    assert_eq!(
        run("--experimental promql format up+1"),
        (Some(0), "up + 1\n".to_owned())
    );
    let (code, text) = run("tsdb lst");
    assert_eq!(code, Some(1));
    assert!(text.contains("'lst'") && text.contains("'list'"), "{text}");
    assert_eq!(run("--config.file=x.yml").0, Some(1), "the tool does not serve");
    let (code, text) = run("--help");
    assert_eq!(code, Some(0));
    assert!(
        text.contains("promql") && !text.contains("--storage.tsdb.path"),
        "{text}"
    );
}
