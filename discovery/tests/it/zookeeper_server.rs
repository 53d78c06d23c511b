//! The ZooKeeper of the recordings: a tree of each phase, with sessions and watches.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Paths and data.
type Tree = BTreeMap<String, String>;

/// Ends with it.
pub(crate) struct ZooKeeperServer {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    exchanges: Vec<Value>,
    phase: watch::Receiver<u64>,
    asked: Mutex<Vec<Value>>,
    /// Sessions that were opened or continued, by number.
    sessions: Mutex<Vec<i64>>,
    /// Grows when connections have to end.
    cuts: watch::Sender<u64>,
    /// Whether sessions are forgotten.
    expires: std::sync::atomic::AtomicBool,
}

impl Drop for ZooKeeperServer {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

impl ZooKeeperServer {
    pub(crate) async fn start(exchanges: Vec<Value>, phase: watch::Receiver<u64>) -> ZooKeeperServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address");
        let state = Arc::new(State {
            exchanges,
            phase,
            asked: Mutex::default(),
            sessions: Mutex::default(),
            cuts: watch::Sender::new(0),
            expires: false.into(),
        });
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move {
                    let mut cuts = state.cuts.subscribe();
                    tokio::select! {
                        _ = serve(stream, &state) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        ZooKeeperServer { address, state, task }
    }

    /// The questions so far, as the recording has them.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.state.asked.lock().clone()
    }

    /// The sessions that connections asked for; 0 is a new one.
    pub(crate) fn sessions(&self) -> Vec<i64> {
        self.state.sessions.lock().clone()
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// From now on, sessions that are continued have expired.
    pub(crate) fn expire(&self) {
        self.state
            .expires
            .store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

impl State {
    fn tree(&self) -> Tree {
        let phase = *self.phase.borrow();
        let holds = |exchange: &&Value| {
            let span = &exchange["phases"];
            exchange["zookeeper"].is_object()
                && span.as_array().is_none_or(|span| {
                    phase >= span[0].as_u64().unwrap_or(0)
                        && span[1].as_u64().is_none_or(|last| phase <= last)
                })
        };
        let found = self.exchanges.iter().find(holds);
        let nodes = found
            .into_iter()
            .filter_map(|exchange| exchange["zookeeper"].as_object());
        nodes
            .flatten()
            .map(|(path, data)| (path.clone(), data.as_str().unwrap_or("").to_owned()))
            .collect()
    }
}

fn children<'t>(tree: &'t Tree, path: &str) -> Vec<&'t str> {
    let prefix = format!("{}/", path.trim_end_matches('/'));
    tree.keys()
        .filter_map(|node| node.strip_prefix(&*prefix))
        .filter(|name| !name.is_empty() && !name.contains('/'))
        .collect()
}

fn buffer(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as i32).to_be_bytes(), bytes].concat()
}

async fn packet(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_i32().await.ok()?;
    let mut packet = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut packet).await.ok()?;
    Some(packet)
}

async fn send(stream: &mut TcpStream, parts: &[&[u8]]) -> Option<()> {
    stream.write_all(&buffer(&parts.concat())).await.ok()
}

async fn serve(mut stream: TcpStream, state: &State) -> Option<()> {
    let opening = packet(&mut stream).await?;
    let session = i64::from_be_bytes(*opening.get(16..)?.first_chunk()?);
    state.sessions.lock().push(session);
    let timeout: [u8; 4] = *opening.get(12..)?.first_chunk()?;
    if session != 0 && state.expires.load(std::sync::atomic::Ordering::SeqCst) {
        let nothing = [0; 16];
        send(&mut stream, &[&nothing, &buffer(&[0; 16])]).await?;
        return None;
    }
    let given: i64 = if session == 0 { 77 } else { session };
    send(
        &mut stream,
        &[&[0; 4], &timeout, &given.to_be_bytes(), &buffer(&[7; 16]), &[0]],
    )
    .await?;
    let (mut on_data, mut on_children) = (BTreeSet::new(), BTreeSet::new());
    let mut known = state.tree();
    let mut phase = state.phase.clone();
    loop {
        let mut first = [0];
        tokio::select! {
            length = stream.peek(&mut first) => {
                if length.ok()? == 0 {
                    return None;
                }
                let question = packet(&mut stream).await?;
                answer(&mut stream, state, &question, &mut on_data, &mut on_children).await?;
            }
            changed = phase.changed() => {
                changed.ok()?;
                let now = state.tree();
                for (kind, path) in events(&known, &now, &mut on_data, &mut on_children) {
                    let head = [&(-1_i32).to_be_bytes()[..], &0_i64.to_be_bytes(), &0_i32.to_be_bytes()].concat();
                    send(
                        &mut stream,
                        &[&head, &i32::to_be_bytes(kind), &3_i32.to_be_bytes(), &buffer(path.as_bytes())],
                    )
                    .await?;
                }
                known = now;
            }
        }
    }
}

/// Watches that fire between two trees; each fires once.
fn events(
    before: &Tree,
    now: &Tree,
    on_data: &mut BTreeSet<String>,
    on_children: &mut BTreeSet<String>,
) -> Vec<(i32, String)> {
    const DELETED: i32 = 2;
    const DATA: i32 = 3;
    const CHILDREN: i32 = 4;
    let mut fired = Vec::new();
    for (path, data) in before {
        match now.get(path) {
            None => {
                if on_data.remove(path) | on_children.remove(path) {
                    fired.push((DELETED, path.clone()));
                }
            }
            Some(new) => {
                if new != data && on_data.remove(path) {
                    fired.push((DATA, path.clone()));
                }
                if children(before, path) != children(now, path) && on_children.remove(path) {
                    fired.push((CHILDREN, path.clone()));
                }
            }
        }
    }
    fired
}

async fn answer(
    stream: &mut TcpStream,
    state: &State,
    question: &[u8],
    on_data: &mut BTreeSet<String>,
    on_children: &mut BTreeSet<String>,
) -> Option<()> {
    const STAT: [u8; 68] = [0; 68];
    let number = question.first_chunk::<4>()?;
    let kind = i32::from_be_bytes(*question.get(4..)?.first_chunk()?);
    let head = |error: i32| [&number[..], &1_i64.to_be_bytes(), &error.to_be_bytes()].concat();
    if kind == 11 {
        return send(stream, &[&head(0)]).await;
    }
    let rest = question.get(8..)?;
    let length = i32::from_be_bytes(*rest.first_chunk()?) as usize;
    let path = String::from_utf8(rest.get(4..4 + length)?.to_vec()).ok()?;
    let watched = rest.get(4 + length) == Some(&1);
    let operation = match kind {
        4 => "getData",
        12 => "getChildren2",
        other => panic!("no operation {other}"),
    };
    state
        .asked
        .lock()
        .push(json!({"operation": operation, "path": path, "watch": watched}));
    let tree = state.tree();
    let Some(data) = tree.get(&path) else {
        return send(stream, &[&head(-101)]).await;
    };
    if kind == 4 {
        on_data.insert(path);
        return send(stream, &[&head(0), &buffer(data.as_bytes()), &STAT]).await;
    }
    let names = children(&tree, &path);
    let mut list = (names.len() as i32).to_be_bytes().to_vec();
    names.iter().for_each(|name| list.extend(buffer(name.as_bytes())));
    on_children.insert(path);
    send(stream, &[&head(0), &list, &STAT]).await
}
