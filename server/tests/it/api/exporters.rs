//! The targets of the recorded servers: bodies at the five ports above the server's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Ports that belong together: the server's, five of exporters, and four that stay closed.
const PORTS: u16 = 10;
/// Those of exporters.
const SERVED: std::ops::RangeInclusive<u16> = 1..=5;

/// They answer as long as this lives.
pub(super) struct Exporters {
    /// The server's own port.
    pub(super) base: u16,
    _serving: JoinSet<()>,
}

/// What is served, by port and path.
struct Pages {
    folder: PathBuf,
    index: BTreeMap<String, Value>,
}

pub(super) async fn start(folder: &Path) -> Exporters {
    let index = std::fs::read_to_string(folder.join("index.json")).expect("conformance data");
    let pages = Arc::new(Pages {
        folder: folder.to_owned(),
        index: serde_json::from_str(&index).expect("JSON"),
    });
    let (base, listeners) = free_ports().await;
    let mut serving = JoinSet::new();
    for (offset, listener) in (0..PORTS).zip(listeners) {
        if SERVED.contains(&offset) {
            serving.spawn(serve(listener, offset, pages.clone()));
        }
    }
    Exporters {
        base,
        _serving: serving,
    }
}

/// Ten free ports in a row, all taken for now.
async fn free_ports() -> (u16, Vec<TcpListener>) {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = first.local_addr().expect("address").port();
        let mut listeners = vec![first];
        for offset in 1..PORTS {
            let Some(port) = base.checked_add(offset) else {
                break;
            };
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => listeners.push(listener),
                Err(_) => break,
            }
        }
        if listeners.len() == usize::from(PORTS) {
            return (base, listeners);
        }
    }
}

async fn serve(listener: TcpListener, offset: u16, pages: Arc<Pages>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let pages = pages.clone();
        // A scraper that goes away is no failure of the test.
        tokio::spawn(async move { drop(answer(stream, offset, &pages).await) });
    }
}

async fn answer(mut stream: TcpStream, offset: u16, pages: &Pages) -> std::io::Result<()> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        head.extend_from_slice(&buffer[..read]);
    }
    let text = String::from_utf8_lossy(&head);
    let path = text
        .split(' ')
        .nth(1)
        .unwrap_or("/")
        .split('?')
        .next()
        .unwrap_or("/");
    let page = pages.index.get(&format!("{offset} {path}"));
    let body = match page {
        Some(page) if page.get("text").is_some() => page["text"].as_str().unwrap_or("").as_bytes().to_vec(),
        Some(page) => std::fs::read(pages.folder.join(page["file"].as_str().expect("a name")))?,
        None => b"no such page".to_vec(),
    };
    let code = page.map_or(404, |page| page["code"].as_u64().unwrap_or(200));
    let content_type = page
        .and_then(|page| page["type"].as_str())
        .unwrap_or("text/plain");
    let head = format!(
        "HTTP/1.1 {code} Said\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}
