//! The command line of `amtool`: what the reference's own tool printed, replayed.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::harness::{Server, http_client, narthex, own_program};

/// Runs our binary under the tool's name, as the transcripts were made; standard input is a device where there is none.
fn amtool(folder: &Path, argv: &[String], stdin: Option<&str>) -> Output {
    let mut child = Command::new(own_program())
        .arg0("amtool")
        .args(argv)
        .current_dir(folder)
        .env("TZ", "UTC")
        .env("HOME", folder.join("home"))
        .stdin(if stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    if let (Some(text), Some(mut input)) = (stdin, child.stdin.take()) {
        // A command that does not read its input may be gone already.
        let _ = input.write_all(text.as_bytes());
    }
    child.wait_with_output().expect("the binary ends")
}

/// A folder with the files of a transcript, and with settings as they were.
fn folder_of(transcript: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let settings = folder.path().join("home/.config/amtool");
    std::fs::create_dir_all(&settings).expect("folder of settings");
    std::fs::write(settings.join("config.yml"), "author: me\n").expect("settings");
    for (name, text) in transcript["files"].as_object().into_iter().flatten() {
        let path = folder.path().join(name);
        std::fs::write(path, text.as_str().expect("text")).expect("file of the transcript");
    }
    folder
}

/// Without time and source of log lines.
fn without_times(text: &str) -> String {
    let line = |line: &str| {
        let words = line.split(' ');
        let kept = words.filter(|word| !word.starts_with("time=") && !word.starts_with("source="));
        kept.collect::<Vec<&str>>().join(" ")
    };
    text.split('\n').map(line).collect::<Vec<String>>().join("\n")
}

fn words(step: &Value) -> Vec<String> {
    let argv = step["argv"].as_array().expect("argv").iter();
    argv.map(|word| word.as_str().expect("word").to_owned()).collect()
}

/// Commands that ask no server.
#[test]
fn files_get_the_references_verdicts_and_output() {
    let Some(folder) = testkit::conformance("notify/amtool") else {
        return;
    };
    let mut differences = Vec::new();
    let mut agreed = 0;
    for name in ["check-config", "template", "config", "misc"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).expect("transcript");
        let transcript: Value = serde_json::from_str(&text).expect("JSON");
        let folder = folder_of(&transcript);
        for step in transcript["steps"].as_array().expect("steps") {
            let mut argv = words(step);
            match step["url"].as_str() {
                Some(url) if !url.contains("${SERVER}") => {
                    argv.insert(0, format!("--alertmanager.url={url}"));
                }
                Some(_) => continue,
                None if step["no_url"] != true => continue,
                None => {}
            }
            let output = amtool(folder.path(), &argv, step["stdin"].as_str());
            let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let got = (
                output.status.code().map(i64::from),
                without_times(&said(&output.stdout)),
                said(&output.stderr),
            );
            let wanted = (
                step["exit"].as_i64(),
                step["stdout"].as_str().unwrap_or("").to_owned(),
                step["stderr"].as_str().unwrap_or("").to_owned(),
            );
            if got == wanted {
                agreed += 1;
            } else {
                differences.push(format!("{name}: {argv:?}\n  got    {got:?}\n  wanted {wanted:?}"));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {} differ:\n{}",
        differences.len(),
        differences.len() + agreed,
        differences.join("\n")
    );
    assert!(agreed > 80, "{agreed} commands");
}

/// Answers one request with `status`; gives its address, and its text in the end.
fn one_request(status: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("address").to_string();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        // The body is one line of JSON.
        while !text.ends_with("}\n") {
            let count = stream.read(&mut buffer).expect("a request");
            assert!(count > 0, "the request ends early: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).expect("an answer");
        text
    });
    (address, answering)
}

#[test]
fn a_receiver_is_tried_before_an_alert_does() {
    let folder = tempfile::tempdir().expect("folder");
    let run = |address: &str, more: &[&str]| {
        let config = format!(
            "route: {{receiver: hook}}\nreceivers:\n- name: hook\n  webhook_configs: [{{url: 'http://{address}/{{{{ .Status }}}}'}}]\n"
        );
        std::fs::write(folder.path().join("am.yml"), config).expect("configuration");
        let line = ["alert", "test-send", "--config.file=am.yml"];
        let output = narthex(&[&line[..], more].concat(), folder.path(), b"");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (address, request) = one_request("200 OK");
    let (code, out, err) = run(&address, &["--receiver=hook"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.starts_with("hook/webhook[0]: sent, "), "{out}");
    let request = request.join().expect("a request");
    assert!(request.starts_with("POST /firing "), "{request}");
    assert!(request.contains("NarthexTest"), "{request}");

    let (address, request) = one_request("503 Service Unavailable");
    let (code, out, _) = run(&address, &["--receiver=hook"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("the service has failed (would be tried again): "),
        "{out}"
    );
    request.join().expect("a request");

    let (code, _, err) = run("a", &["--receiver=nosuch"]);
    let words = "narthex alert: error: no receiver \"nosuch\" in am.yml; there are: hook\n\n";
    assert_eq!((code, err.as_str()), (Some(1), words));

    std::fs::write(folder.path().join("alerts.json"), "{}").expect("alerts");
    let (code, _, err) = run("a", &["--receiver=hook", "--alerts=alerts.json"]);
    assert_eq!(code, Some(1));
    let words = "alerts.json: a list of alerts is wanted, as they are posted, `[{\"labels\": {…}}]`: ";
    assert!(err.contains(words), "{err}");
}

#[test]
fn a_template_that_fails_is_tried_as_a_server_would_send_it() {
    let folder = tempfile::tempdir().expect("folder");
    let run = |section: &str, more: &[&str]| {
        let config = format!(
            "route: {{receiver: hook}}\nreceivers:\n- {{name: hook, webhook_configs: [{section}]}}\n"
        );
        std::fs::write(folder.path().join("am.yml"), config).expect("configuration");
        let line = ["alert", "test-send", "--config.file=am.yml", "--receiver=hook"];
        let output = narthex(&[&line[..], more].concat(), folder.path(), b"");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), out)
    };
    let (address, request) = one_request("200 OK");
    let section = format!("{{url: 'http://{address}/', payload: {{text: '{{{{ index .Alerts 7 }}}}'}}}}");
    let (code, out) = run(&section, &[]);
    assert_eq!(code, Some(0), "{out}");
    for part in [
        "webhook_configs[0].payload.text: the template fails: ",
        "hook/webhook[0]: sent, ",
        " ms; with the default text, since a template fails: ",
    ] {
        assert!(out.contains(part), "{out}");
    }
    let request = request.join().expect("a request");
    assert!(request.contains("This is the default text"), "{request}");
    let (code, out) = run(&section, &["--template-only"]);
    assert!(code == Some(1) && out.contains("payload.text: FAILED: "), "{out}");

    let (code, out) = run("{url: 'http://a/{{ index .Alerts 7 }}'}", &[]);
    assert!(
        code == Some(1) && out.contains(" ms, not sent (would be given up): "),
        "{out}"
    );
    let (code, out) = run("{url: 'http://a/'}", &["--template-only"]);
    let words = "hook: no templates; its integrations send what is built in\n";
    assert_eq!((code, out.as_str()), (Some(0), words));
}

/// Every command of every transcript, in its order, against an Alertmanager of ours.
#[tokio::test(flavor = "multi_thread")]
async fn transcripts_are_printed_as_the_reference_prints_them() {
    let Some(folder) = testkit::conformance("notify/amtool") else {
        return;
    };
    let mut differences = Vec::new();
    let mut commands = 0;
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("transcripts")
        .map(|entry| entry.expect("entry").path())
        .collect();
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("transcript");
        let transcript: Value = serde_json::from_str(&text).expect("JSON");
        commands += replay(&transcript, &mut differences).await;
    }
    assert!(
        differences.is_empty(),
        "{} of {commands} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    assert!(commands > 230, "{commands} commands");
    println!("amtool: {commands} commands print what the reference's print");
}

/// Replays one transcript; how many commands it has.
async fn replay(transcript: &Value, differences: &mut Vec<String>) -> usize {
    let folder = folder_of(transcript);
    let config = transcript["config"].as_str().expect("config");
    let server = Server::start_alertmanager(folder.path(), config, &["--cluster.listen-address="]).await;
    let mut placeholders = Placeholders::new(&server);
    let mut commands = 0;
    for step in transcript["steps"].as_array().expect("steps") {
        if step["argv"].is_null() {
            send(&server, &placeholders, step).await;
            continue;
        }
        commands += 1;
        let mut argv: Vec<String> = words(step).iter().map(|word| placeholders.fill(word)).collect();
        if step["no_url"] != true {
            let url = step["url"].as_str().unwrap_or("http://${SERVER}");
            argv.insert(0, format!("--alertmanager.url={}", placeholders.fill(url)));
        }
        let stdin = step["stdin"].as_str().map(|text| placeholders.fill(text));
        let output = amtool(folder.path(), &argv, stdin.as_deref());
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let out = placeholders.put(&without_times(&said(&output.stdout)));
        let err = placeholders.put(&said(&output.stderr));
        let is_right = output.status.code().map(i64::from) == step["exit"].as_i64()
            && err == step["stderr"].as_str().unwrap_or("")
            && is_expected(&out, step);
        if !is_right {
            let name = &transcript["name"];
            differences.push(format!(
                "{name}: {argv:?}\n  {:?}\n{out}{err}  wanted {step}",
                output.status
            ));
        }
    }
    commands
}

/// Whether standard output is the step's.
fn is_expected(out: &str, step: &Value) -> bool {
    if let Some(wanted) = step.get("stdout_json") {
        let (mut got, mut wanted) = (serde_json::from_str(out).unwrap_or_default(), wanted.clone());
        for value in [&mut got, &mut wanted] {
            // Who built it, from what and with what.
            if let Some(members) = value.as_object_mut() {
                members.remove("versionInfo");
            }
        }
        return got == wanted;
    }
    let wanted = step["stdout"].as_str().unwrap_or("");
    if wanted.contains("${POINTER}") {
        // Where the reference prints addresses of memory, we print what is there.
        return !out.is_empty();
    }
    if step["sort_lines"] == true {
        let mut lines: Vec<&str> = out.lines().collect();
        lines.sort_unstable();
        return lines == wanted.lines().collect::<Vec<&str>>();
    }
    out == wanted
}

/// Posts what a step posts.
async fn send(server: &Server, placeholders: &Placeholders, step: &Value) {
    let url = format!("{}{}", server.url, step["path"].as_str().expect("path"));
    let request = http_client()
        .post(url)
        .header("content-type", "application/json")
        .body(placeholders.fill(&step["body"].to_string()));
    let answer = request.send().await.expect("an answer");
    assert_eq!(Some(i64::from(answer.status().as_u16())), step["status"].as_i64());
}

/// What stands in a transcript for what is another each time.
struct Placeholders {
    server: String,
    now: Timestamp,
    /// Ids of silences in the order in which they appeared.
    ids: Vec<String>,
}

impl Placeholders {
    fn new(server: &Server) -> Self {
        Placeholders {
            server: server.url.trim_start_matches("http://").to_owned(),
            now: Timestamp::now(),
            ids: Vec::new(),
        }
    }

    /// Puts values in the places of placeholders.
    fn fill(&self, text: &str) -> String {
        let mut text = text.replace("${SERVER}", &self.server);
        for (index, id) in self.ids.iter().enumerate() {
            text = text.replace(&format!("${{SIL{}}}", index + 1), id);
        }
        while let Some(at) = text.find("${NOW") {
            let end = at + text[at..].find('}').expect("a closed placeholder");
            let seconds: i64 = text[at + 5..end].parse().expect("seconds");
            let time = self.now + SignedDuration::from_secs(seconds);
            text.replace_range(at..=end, &time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        }
        text
    }

    /// Puts placeholders in the places of values.
    fn put(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (taken, placeholder) = self
                .id(rest)
                .or_else(|| self.time(rest))
                .unwrap_or((first.len_utf8(), first.to_string()));
            out.push_str(&placeholder);
            rest = &rest[taken..];
        }
        out.replace(&self.server, "${SERVER}")
    }

    /// The id that a text begins with: its length and its placeholder.
    fn id(&mut self, text: &str) -> Option<(usize, String)> {
        const LEN: usize = 36;
        let id = text.get(..LEN)?;
        let is_id = id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
        if !is_id || id.starts_with("00000000") {
            return None;
        }
        let known = self.ids.iter().position(|known| known == id);
        let index = known.unwrap_or_else(|| {
            self.ids.push(id.to_owned());
            self.ids.len() - 1
        });
        Some((LEN, format!("${{SIL{}}}", index + 1)))
    }

    /// The time near now that a text begins with: its length and its placeholder.
    fn time(&self, text: &str) -> Option<(usize, String)> {
        const SECONDS_LEN: usize = 19;
        let whole = text.get(..SECONDS_LEN)?;
        let at: Timestamp = format!("{}Z", whole.replace(' ', "T")).parse().ok()?;
        if (at - self.now).get_seconds().abs() > 48 * 3600 {
            return None;
        }
        let rest = &text[SECONDS_LEN..];
        let fraction = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let zone = [" UTC", "Z"]
            .into_iter()
            .find(|zone| rest[fraction..].starts_with(zone))?;
        Some((SECONDS_LEN + fraction + zone.len(), "${TIME}".to_owned()))
    }
}
