//! The command line of `amtool`: what the reference's own tool printed, replayed.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{narthex, own_program};

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
    assert!(out.contains("serverError (would be tried again): "), "{out}");
    request.join().expect("a request");

    let (code, _, err) = run("a", &["--receiver=nosuch"]);
    let words = "narthex alert: error: no receiver \"nosuch\" in am.yml; there are: hook\n\n";
    assert_eq!((code, err.as_str()), (Some(1), words));
}
