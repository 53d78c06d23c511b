//! A mail server that keeps what it is told, and offers and refuses what it is told to.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// The server; it ends with its value.
pub(crate) struct Mailbox {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Value>>>,
    ended: Arc<Notify>,
    serving: JoinHandle<()>,
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Mailbox {
    /// `offers` is the case's `smtp`.
    pub(crate) async fn start(offers: Value, acceptor: TlsAcceptor) -> Self {
        let bind = offers["bind"].as_str().unwrap_or("127.0.0.1");
        let listener = TcpListener::bind((bind, 0)).await.expect("port");
        let port = listener.local_addr().expect("address").port();
        let (seen, ended) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<Notify>::default());
        let (kept, over) = (seen.clone(), ended.clone());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (offers, acceptor) = (offers.clone(), acceptor.clone());
                let (kept, over) = (kept.clone(), over.clone());
                tokio::spawn(async move {
                    let mut dialogue = Dialogue {
                        offers,
                        lines: Vec::new(),
                        message: None,
                        is_tls: false,
                    };
                    dialogue.serve(Box::new(stream), &acceptor).await;
                    kept.lock().expect("seen").push(dialogue.kept());
                    over.notify_one();
                });
            }
        });
        Mailbox {
            port,
            seen,
            ended,
            serving,
        }
    }

    /// The dialogues since the last time, once there are as many as expected.
    pub(crate) async fn take(&self, expected: usize) -> Vec<Value> {
        while self.seen.lock().expect("seen").len() < expected {
            self.ended.notified().await;
        }
        std::mem::take(&mut *self.seen.lock().expect("seen"))
    }
}

struct Dialogue {
    offers: Value,
    lines: Vec<String>,
    message: Option<String>,
    is_tls: bool,
}

impl Dialogue {
    async fn serve(&mut self, stream: Box<dyn Stream>, acceptor: &TlsAcceptor) {
        let mut stream = BufReader::new(stream);
        if self.offers["implicit_tls"] == true {
            let Some(encrypted) = self.encrypt(stream, acceptor).await else {
                return;
            };
            stream = encrypted;
        }
        self.say(&mut stream, "220 mail.example.org ESMTP").await;
        while let Some(line) = self.hear(&mut stream).await {
            let verb = line.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
            if let Some(refusal) = self.offers["refuse"][&verb].as_str().map(str::to_owned) {
                self.say(&mut stream, &refusal).await;
                continue;
            }
            match verb.as_str() {
                "EHLO" => self.welcome(&mut stream).await,
                "HELO" => self.say(&mut stream, "250 mail.example.org").await,
                "STARTTLS" => {
                    self.say(&mut stream, "220 go ahead").await;
                    match self.encrypt(stream, acceptor).await {
                        Some(encrypted) => stream = encrypted,
                        None => return,
                    }
                }
                "AUTH" => self.authenticate(&mut stream, &line).await,
                "MAIL" | "RCPT" => self.say(&mut stream, "250 ok").await,
                "DATA" => {
                    self.say(&mut stream, "354 go on").await;
                    self.content(&mut stream).await;
                    let answer = self.offers["data_answer"]
                        .as_str()
                        .unwrap_or("250 queued")
                        .to_owned();
                    self.say(&mut stream, &answer).await;
                }
                "QUIT" => {
                    self.say(&mut stream, "221 bye").await;
                    return;
                }
                _ => self.say(&mut stream, "502 unknown").await,
            }
        }
    }

    async fn encrypt(
        &mut self,
        stream: BufReader<Box<dyn Stream>>,
        acceptor: &TlsAcceptor,
    ) -> Option<BufReader<Box<dyn Stream>>> {
        let encrypted = acceptor.accept(stream.into_inner()).await;
        // A client that does not trust us says so after the handshake, in TLS 1.3, when it is read on.
        match encrypted {
            Ok(encrypted) => {
                self.is_tls = true;
                self.lines.push("(TLS)".to_owned());
                Some(BufReader::new(Box::new(encrypted)))
            }
            Err(_) => {
                self.lines.push("(SSLError)".to_owned());
                None
            }
        }
    }

    async fn welcome(&mut self, stream: &mut BufReader<Box<dyn Stream>>) {
        let mut lines = vec!["mail.example.org".to_owned()];
        if self.offers["starttls"] == true && !self.is_tls {
            lines.push("STARTTLS".to_owned());
        }
        for (key, name) in [("8bitmime", "8BITMIME"), ("smtputf8", "SMTPUTF8")] {
            if self.offers[key] == true {
                lines.push(name.to_owned());
            }
        }
        if let Some(mechanisms) = self.offers["auth"].as_str()
            && (self.is_tls || self.offers["auth_after_tls"] != true)
        {
            lines.push(format!("AUTH {mechanisms}"));
        }
        let (last, others) = lines.split_last().expect("a name");
        for line in others {
            self.say(stream, &format!("250-{line}")).await;
        }
        self.say(stream, &format!("250 {last}")).await;
    }

    async fn authenticate(&mut self, stream: &mut BufReader<Box<dyn Stream>>, line: &str) {
        let challenges: &[&str] = match line {
            "AUTH LOGIN" => &["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"],
            "AUTH CRAM-MD5" => &["334 PDE4OTYuNjk3MTcwOTUyQG1haWwuZXhhbXBsZS5vcmc+"],
            _ => &[],
        };
        for challenge in challenges {
            self.say(stream, challenge).await;
            self.hear(stream).await;
        }
        let answer = self.offers["auth_answer"]
            .as_str()
            .unwrap_or("235 welcome")
            .to_owned();
        self.say(stream, &answer).await;
    }

    async fn content(&mut self, stream: &mut BufReader<Box<dyn Stream>>) {
        let mut message = String::new();
        loop {
            let mut line = String::new();
            let read = stream.read_line(&mut line).await;
            assert!(read.is_ok_and(|read| read > 0), "a message without its end");
            if line == ".\r\n" {
                break;
            }
            message += line.strip_prefix('.').unwrap_or(&line);
        }
        self.lines.push("C: (message)".to_owned());
        self.message = Some(message);
    }

    async fn say(&mut self, stream: &mut BufReader<Box<dyn Stream>>, line: &str) {
        self.lines.push(format!("S: {line}"));
        // Whoever has gone does not hear it.
        let _ = stream.write_all(format!("{line}\r\n").as_bytes()).await;
        let _ = stream.flush().await;
    }

    async fn hear(&mut self, stream: &mut BufReader<Box<dyn Stream>>) -> Option<String> {
        let mut line = String::new();
        match stream.read_line(&mut line).await {
            Ok(read) if read > 0 => {
                let line = line
                    .strip_suffix("\r\n")
                    .expect("lines end with CR LF")
                    .to_owned();
                self.lines.push(format!("C: {line}"));
                Some(line)
            }
            Ok(_) => None,
            Err(_) => {
                if self.is_tls && self.lines.last().is_some_and(|line| line == "(TLS)") {
                    self.lines.pop();
                    self.lines.push("(SSLError)".to_owned());
                }
                None
            }
        }
    }

    fn kept(&self) -> Value {
        let mut kept = json!({"smtp": self.lines});
        if let Some(message) = &self.message {
            kept["message"] = taken_apart(message);
        }
        kept
    }
}

/// Headers and parts.
fn taken_apart(message: &str) -> Value {
    let (head, body) = message.split_once("\r\n\r\n").expect("headers and a body");
    let headers = header_list(head);
    let boundary = head
        .split("boundary=")
        .nth(1)
        .and_then(|rest| rest.lines().next())
        .expect("a boundary");
    let parts: Vec<Value> = body
        .split(&format!("--{boundary}"))
        .skip(1)
        .filter(|part| !part.starts_with("--"))
        .map(|part| {
            let part = part.trim_start_matches("\r\n");
            let (head, body) = part.split_once("\r\n\r\n").unwrap_or((part, ""));
            let body = body.strip_suffix("\r\n").unwrap_or(body);
            json!({"headers": header_list(head), "body": unquoted(body)})
        })
        .collect();
    json!({"headers": headers, "parts": parts, "raw_body": body})
}

fn header_list(head: &str) -> Vec<(&str, &str)> {
    head.split("\r\n")
        .filter_map(|line| line.split_once(": "))
        .collect()
}

fn unquoted(text: &str) -> String {
    let joined = text.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = joined.as_bytes();
    while let [first, others @ ..] = rest {
        if *first == b'=' && others.len() >= 2 {
            let digits = std::str::from_utf8(&others[..2]).expect("digits");
            bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
            rest = &others[2..];
        } else {
            bytes.push(*first);
            rest = others;
        }
    }
    String::from_utf8(bytes).expect("text")
}

/// A mail server that never says a word.
pub(crate) struct Silent {
    pub(crate) port: u16,
    serving: JoinHandle<()>,
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Silent {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let port = listener.local_addr().expect("address").port();
        let serving = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                kept.push(stream);
            }
        });
        Silent { port, serving }
    }
}
