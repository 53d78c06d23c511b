//! A receiver behind a socket that answers by script.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) at: Instant,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// An answer; the header `X-Answer-After-Seconds` is what it says.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

#[derive(Default)]
pub(super) struct Receiver {
    pub(super) asked: Mutex<Vec<Asked>>,
    pub(super) script: Mutex<VecDeque<Said>>,
}

impl Receiver {
    /// Listens; answers 204 when the script has come to its end.
    pub(super) async fn listen(self: &Arc<Self>, listener: TcpListener) {
        let receiver = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = receiver.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(asked) = ask(&mut stream).await {
                        let said = receiver.answer(asked);
                        if respond(&mut stream, said).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }

    fn answer(&self, asked: Asked) -> Said {
        let is_token = asked.path == "/token";
        self.asked.lock().push(asked);
        if is_token {
            return Said {
                status: 200,
                headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
                body: r#"{"access_token": "tok-123", "token_type": "Bearer", "expires_in": 3600}"#.to_owned(),
            };
        }
        let none = Said {
            status: 204,
            headers: Vec::new(),
            body: String::new(),
        };
        self.script.lock().pop_front().unwrap_or(none)
    }
}

async fn ask(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("a head");
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut asked = Asked {
        at: Instant::now(),
        method,
        path,
        headers,
        body: Vec::new(),
    };
    let len = asked
        .header("content-length")
        .map_or(0, |len| len.parse().expect("a length"));
    asked.body.resize(len, 0);
    stream.read_exact(&mut asked.body).await.ok()?;
    Some(asked)
}

async fn respond(stream: &mut BufReader<TcpStream>, said: Said) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Said\r\n", said.status);
    for (name, value) in &said.headers {
        if name == "X-Answer-After-Seconds" {
            tokio::time::sleep(Duration::from_secs_f64(value.parse().expect("seconds"))).await;
        }
        head += &format!("{name}: {value}\r\n");
    }
    if said.status != 204 {
        head += &format!("Content-Length: {}\r\n", said.body.len());
    }
    head += "\r\n";
    head += &said.body;
    stream.write_all(head.as_bytes()).await
}
