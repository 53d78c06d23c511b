//! A connection to one of several ZooKeeper servers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use httpclient::Resolve;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::ZooKeeperError;
use super::jute::{self, Input, Question, Session};

/// Where servers listen that name no port.
const DEFAULT_PORT: u16 = 2181;
/// Questions that are under way at a time.
const QUESTIONS_MAX: usize = 64;

/// Where the servers are, and the session that outlives a connection.
#[derive(Debug)]
pub(super) struct Servers {
    names: Vec<String>,
    /// Which is tried next.
    next: usize,
    resolver: Arc<dyn Resolve>,
    timeout: Duration,
    session: Session,
}

impl Servers {
    pub(super) fn new(names: Vec<String>, resolver: Arc<dyn Resolve>, timeout: Duration) -> Self {
        Servers {
            // Not all clients ask the first.
            next: usize::from(std::process::id() as u16),
            names,
            resolver,
            timeout,
            session: Session::default(),
        }
    }

    /// Connects to the next server, and goes on with the session if the server still knows it.
    pub(super) async fn connect(&mut self) -> Result<Connection, ZooKeeperError> {
        let server = self.names[self.next % self.names.len()].clone();
        self.next = self.next.wrapping_add(1);
        let opened = timeout(self.timeout, self.open(&server)).await;
        let opened = opened.unwrap_or(Err(ZooKeeperError::Silent(self.timeout)));
        opened.map_err(|source| ZooKeeperError::Server {
            server,
            source: Box::new(source),
        })
    }

    async fn open(&mut self, server: &str) -> Result<Connection, ZooKeeperError> {
        let (host, port) = host_and_port(server)?;
        let addresses = self.resolver.resolve(host, port).await?;
        let stream = TcpStream::connect(&*addresses).await?;
        let _ = stream.set_nodelay(true);
        let mut connection = Connection {
            stream,
            input: BytesMut::new(),
            number: 0,
            asked: VecDeque::new(),
            timeout: self.timeout,
            heard_at: Instant::now(),
            said_at: Instant::now(),
        };
        let timeout_ms = i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX);
        connection.send(&jute::connect(&self.session, timeout_ms)).await?;
        let packet = connection.packet().await?;
        let connected = Input(&packet).connected()?;
        if connected.timeout_ms <= 0 {
            self.session = Session::default();
            return Err(ZooKeeperError::Expired);
        }
        self.session = connected.session;
        connection.timeout = Duration::from_millis(connected.timeout_ms as u64);
        Ok(connection)
    }
}

fn host_and_port(server: &str) -> Result<(&str, u16), ZooKeeperError> {
    let unbracketed = |host: &'_ str| -> Option<(usize, usize)> {
        host.starts_with('[')
            .then(|| host.find(']').map(|end| (1, end)))
            .flatten()
    };
    if let Some((start, end)) = unbracketed(server) {
        let port = match server[end + 1..].strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| ZooKeeperError::Address)?,
            None => DEFAULT_PORT,
        };
        return Ok((&server[start..end], port));
    }
    match server.rsplit_once(':') {
        // A bare IPv6 address.
        Some((host, _)) if host.contains(':') => Ok((server, DEFAULT_PORT)),
        Some((host, port)) => Ok((host, port.parse().map_err(|_| ZooKeeperError::Address)?)),
        None => Ok((server, DEFAULT_PORT)),
    }
}

/// What a server says.
#[derive(Debug)]
pub(super) enum Said {
    /// A watched node has changed, come or gone.
    Changed(String),
    Data {
        path: String,
        /// None where the node is not there.
        data: Option<Bytes>,
    },
    Children {
        path: String,
        /// None where the node is not there.
        names: Option<Vec<String>>,
    },
}

/// A connection with a session.
pub(super) struct Connection {
    stream: TcpStream,
    /// What came and was not read yet.
    input: BytesMut,
    number: i32,
    /// Answers come in the order of the questions.
    asked: VecDeque<(i32, Question, String)>,
    /// As agreed.
    timeout: Duration,
    heard_at: Instant,
    said_at: Instant,
}

impl Connection {
    /// Whether another question may be asked before an answer was read.
    pub(super) fn may_ask(&self) -> bool {
        self.asked.len() < QUESTIONS_MAX
    }

    /// Whether answers are to come.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Asks for a node and watches it; the answer comes from [`Connection::listen`].
    pub(super) async fn ask(&mut self, question: Question, path: String) -> Result<(), ZooKeeperError> {
        self.number = self.number.wrapping_add(1) & i32::MAX;
        self.send(&jute::ask(self.number, question, &path)).await?;
        self.asked.push_back((self.number, question, path));
        Ok(())
    }

    /// The next that the server says. Tells it between that this side is alive; a server that says nothing for two
    /// thirds of what was agreed is given up. May be dropped at any time.
    pub(super) async fn listen(&mut self) -> Result<Said, ZooKeeperError> {
        loop {
            let ping_at = self.said_at + self.timeout / 3;
            let silent_at = self.heard_at + self.timeout * 2 / 3;
            let Ok(packet) = timeout_at(ping_at.min(silent_at), self.packet()).await else {
                if Instant::now() >= silent_at {
                    return Err(ZooKeeperError::Silent(self.timeout * 2 / 3));
                }
                self.send(&jute::ping()).await?;
                continue;
            };
            let packet = packet?;
            self.heard_at = Instant::now();
            if let Some(said) = self.read(&packet)? {
                return Ok(said);
            }
        }
    }

    fn read(&mut self, packet: &Bytes) -> Result<Option<Said>, ZooKeeperError> {
        let mut input = Input(packet);
        let head = input.head()?;
        match head.number {
            jute::PING => return Ok(None),
            jute::EVENT => {
                let path = input.event()?;
                return Ok((!path.is_empty()).then(|| Said::Changed(path.to_owned())));
            }
            _ => {}
        }
        let (number, question, path) = self.asked.pop_front().ok_or(ZooKeeperError::Order)?;
        if number != head.number {
            return Err(ZooKeeperError::Order);
        }
        let is_there = match head.error {
            0 => true,
            jute::NO_NODE => false,
            code => return Err(ZooKeeperError::Refused { path, code }),
        };
        Ok(Some(match question {
            Question::Data => Said::Data {
                path,
                data: is_there
                    .then(|| input.data().map(|data| packet.slice_ref(data)))
                    .transpose()?,
            },
            Question::Children => Said::Children {
                path,
                names: is_there
                    .then(|| input.children())
                    .transpose()?
                    .map(|names| names.into_iter().map(str::to_owned).collect()),
            },
        }))
    }

    async fn send(&mut self, packet: &[u8]) -> Result<(), ZooKeeperError> {
        self.said_at = Instant::now();
        let sent = timeout(self.timeout, self.stream.write_all(packet)).await;
        Ok(sent.map_err(|_| ZooKeeperError::Silent(self.timeout))??)
    }

    /// The next packet. What was read of one stays when this is dropped.
    async fn packet(&mut self) -> Result<Bytes, ZooKeeperError> {
        loop {
            if let Some(length) = jute::length(&self.input)?
                && self.input.len() >= 4 + length
            {
                let mut packet = self.input.split_to(4 + length);
                return Ok(packet.split_off(4).freeze());
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(ZooKeeperError::Closed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts_with_or_without_a_port() {
        for (text, host, port) in [
            ("zk", "zk", 2181),
            ("zk.example:99", "zk.example", 99),
            ("[2001:db8::1]:99", "2001:db8::1", 99),
            ("[2001:db8::1]", "2001:db8::1", 2181),
            ("2001:db8::1", "2001:db8::1", 2181),
        ] {
            assert_eq!(host_and_port(text).expect("good"), (host, port), "{text}");
        }
        assert!(host_and_port("zk:port").is_err());
    }
}
