//! A server that stands in every cloud's place: all names and addresses lead to it, with and without TLS.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use httpclient::{Resolve, Resolving, Surroundings};
use model::clock::ManualClock;
use narthex_credentials::Machine;
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The hosts that its certificate is for.
const HOSTS: [&str; 4] = [
    "login.microsoftonline.com",
    "oauth2.googleapis.com",
    "sts.eu-west-1.amazonaws.com",
    "sts.us-east-1.amazonaws.com",
];

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// A parameter of the form.
    pub(crate) fn form(&self, name: &str) -> String {
        let found = url::form_urlencoded::parse(self.body.as_bytes()).find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    }
}

type Answer = dyn Fn(&Asked) -> (u16, String) + Send + Sync;

struct State {
    answer: Box<Answer>,
    asked: Mutex<Vec<Asked>>,
}

pub(crate) struct Server {
    plain: SocketAddr,
    secure: SocketAddr,
    roots: Arc<RootCertStore>,
    state: Arc<State>,
    pub(crate) clock: Arc<ManualClock>,
}

impl Server {
    /// Starts it; the clock stands at the beginning of 2026.
    pub(crate) async fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(HOSTS.map(str::to_owned)).expect("certificate");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("root");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("server");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let plain = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let secure = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let state = Arc::new(State {
            answer: Box::new(answer),
            asked: Mutex::default(),
        });
        let server = Server {
            plain: plain.local_addr().expect("address"),
            secure: secure.local_addr().expect("address"),
            roots: Arc::new(roots),
            state: state.clone(),
            clock: Arc::new(ManualClock::new(1_767_225_600_000)),
        };
        let of_plain = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = plain.accept().await {
                tokio::spawn(serve(stream, of_plain.clone()));
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = secure.accept().await {
                let (acceptor, state) = (acceptor.clone(), state.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, state).await;
                    }
                });
            }
        });
        server
    }

    /// A machine around which everything is this server.
    pub(crate) fn machine(&self, env: &[(&str, &str)]) -> Machine {
        let mut machine = Machine::new("test");
        machine.surroundings = Surroundings {
            resolver: Arc::new(Lead {
                plain: self.plain,
                secure: self.secure,
            }),
            roots: Some(self.roots.clone()),
        };
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        machine.env = Some(Arc::new(env.collect::<HashMap<_, _>>()));
        machine.root = "/nowhere".into();
        machine.clock = self.clock.clone();
        machine
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().expect("not poisoned").clone()
    }

    /// How often something was asked whose first line or body holds `part`.
    pub(crate) fn count(&self, part: &str) -> usize {
        let asked = self.asked();
        let holds = |asked: &&Asked| asked.target.contains(part) || asked.body.contains(part);
        asked.iter().filter(holds).count()
    }
}

#[derive(Debug)]
struct Lead {
    plain: SocketAddr,
    secure: SocketAddr,
}

impl Resolve for Lead {
    fn resolve<'r>(&'r self, _: &'r str, port: u16) -> Resolving<'r> {
        let to = if port == 443 { self.secure } else { self.plain };
        Box::pin(async move { Ok(vec![to]) })
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    while let Some(asked) = read(&mut stream).await {
        state.asked.lock().expect("not poisoned").push(asked.clone());
        let (status, body) = (state.answer)(&asked);
        let head = format!("HTTP/1.1 {status} .\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let mut asked = Asked {
        method: first.next()?.to_owned(),
        target: first.next()?.to_owned(),
        ..Asked::default()
    };
    let headers = lines.filter_map(|line| line.split_once(':'));
    asked.headers = headers
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    let length = asked.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    asked.body = String::from_utf8_lossy(&body).into_owned();
    Some(asked)
}
