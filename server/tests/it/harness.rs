//! Starting the real binary, and asking it things.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Who asks it; where nobody is named, each request is a new client's, over a connection of its own.
    client: Option<reqwest::Client>,
    pub(crate) url: String,
    pub(crate) folder: PathBuf,
    program: PathBuf,
    args: Vec<String>,
}

/// Our own binary.
pub(crate) fn own_program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_narthex"))
}

/// A client for plain HTTP; the library wants a TLS provider all the same.
pub(crate) fn http_client() -> reqwest::Client {
    // Installed already is fine too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("address").port()
}

/// Runs the binary to its end.
pub(crate) fn narthex(args: &[&str], folder: &Path, stdin: &[u8]) -> Output {
    use std::io::Write as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_narthex"))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that does not read its input may be gone already.
    let _ = child.stdin.take().expect("piped").write_all(stdin);
    child.wait_with_output().expect("the binary ends")
}

/// Waits until something is so.
pub(crate) async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !is_so().await {
        assert!(begin.elapsed() < PATIENCE, "still not so: {what}");
        tokio::time::sleep(POLL).await;
    }
}

impl Server {
    /// Starts a server with `config` in `folder`, and waits until it is ready.
    pub(crate) async fn start(folder: &Path, config: &str, more_args: &[&str]) -> Server {
        Server::start_program(own_program(), folder, config, more_args).await
    }

    /// The same with a path in front of everything.
    pub(crate) async fn start_behind(
        folder: &Path,
        config: &str,
        more_args: &[&str],
        prefix: &str,
    ) -> Server {
        let mut server = Server::begin(own_program(), folder, config, more_args);
        server.wait_for_status(&format!("{prefix}/-/ready")).await;
        server
    }

    /// The same with `program`, which takes our command line.
    pub(crate) async fn start_program(
        program: PathBuf,
        folder: &Path,
        config: &str,
        more_args: &[&str],
    ) -> Server {
        let mut server = Server::begin(program, folder, config, more_args);
        server.wait_ready().await;
        server
    }

    /// Starts a server, and waits until it answers at all.
    pub(crate) async fn start_unready(folder: &Path, config: &str) -> Server {
        let mut server = Server::begin(own_program(), folder, config, &[]);
        server.wait_for_status("/-/healthy").await;
        server
    }

    /// Starts a server without a configuration, and waits until it is ready.
    pub(crate) async fn start_bare(folder: &Path, more_args: &[&str]) -> Server {
        let address = format!("127.0.0.1:{}", free_port());
        let mut args = vec![format!("--web.listen-address={address}")];
        args.extend(more_args.iter().map(|arg| (*arg).to_owned()));
        let mut server = Server {
            child: spawn(&own_program(), &args, folder),
            client: None,
            program: own_program(),
            url: format!("http://{address}"),
            folder: folder.to_owned(),
            args,
        };
        server.wait_ready().await;
        server
    }

    /// Starts one that `web_config` guards, and waits until it is ready for `client`, who has what it takes.
    pub(crate) async fn start_guarded(
        folder: &Path,
        web_config: &str,
        more_args: &[&str],
        client: reqwest::Client,
    ) -> Server {
        std::fs::write(folder.join("web.yml"), web_config).expect("web configuration");
        let flag = format!("--web.config.file={}", folder.join("web.yml").display());
        let args: Vec<&str> = std::iter::once(flag.as_str())
            .chain(more_args.iter().copied())
            .collect();
        let mut server = Server::begin(own_program(), folder, "{}", &args);
        server.client = Some(client);
        if web_config.contains("tls_server_config") {
            server.url = server.url.replace("http://127.0.0.1", "https://localhost");
        }
        server.wait_ready().await;
        server
    }

    /// Starts an Alertmanager alone, and waits until it is ready.
    pub(crate) async fn start_alertmanager(folder: &Path, config: &str, more_args: &[&str]) -> Server {
        std::fs::write(folder.join("am.yml"), config).expect("configuration");
        let mut args = vec![
            "alertmanager".to_owned(),
            format!("--config.file={}", folder.join("am.yml").display()),
            format!("--storage.path={}", folder.join("data").display()),
        ];
        args.extend(more_args.iter().map(|arg| (*arg).to_owned()));
        Server::start_alone(own_program(), folder, args).await
    }

    /// Starts an agent, and waits until it is ready.
    pub(crate) async fn start_agent(folder: &Path, config: &str, more_args: &[&str]) -> Server {
        std::fs::write(folder.join("agent.yml"), config).expect("configuration");
        let mut args = vec![
            "--agent".to_owned(),
            format!("--config.file={}", folder.join("agent.yml").display()),
            format!("--storage.agent.path={}", folder.join("data-agent").display()),
            "--web.enable-lifecycle".to_owned(),
        ];
        args.extend(more_args.iter().map(|arg| (*arg).to_owned()));
        Server::start_alone(own_program(), folder, args).await
    }

    /// Starts what `args` begin with, and waits until it is ready.
    pub(crate) async fn start_alone(program: PathBuf, folder: &Path, mut args: Vec<String>) -> Server {
        let address = format!("127.0.0.1:{}", free_port());
        args.push(format!("--web.listen-address={address}"));
        let mut server = Server {
            child: spawn(&program, &args, folder),
            client: None,
            program,
            url: format!("http://{address}"),
            folder: folder.to_owned(),
            args,
        };
        server.wait_ready().await;
        server
    }

    /// `SELF` in the configuration is the server's own address.
    fn begin(program: PathBuf, folder: &Path, config: &str, more_args: &[&str]) -> Server {
        let port = free_port();
        let config = config.replace("SELF", &format!("127.0.0.1:{port}"));
        std::fs::write(folder.join("narthex.yml"), config).expect("configuration");
        let mut args: Vec<String> = vec![
            format!("--config.file={}", folder.join("narthex.yml").display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-lifecycle".to_owned(),
        ];
        args.extend(more_args.iter().map(|arg| (*arg).to_owned()));
        let child = spawn(&program, &args, folder);
        Server {
            child,
            client: None,
            program,
            url: format!("http://127.0.0.1:{port}"),
            folder: folder.to_owned(),
            args,
        }
    }

    fn client(&self) -> reqwest::Client {
        self.client.clone().unwrap_or_else(http_client)
    }

    async fn wait_ready(&mut self) {
        self.wait_for_status("/-/ready").await;
    }

    /// Waits until a path answers with 200.
    async fn wait_for_status(&mut self, path: &str) {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("child") {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            let answer = self.client().get(format!("{}{path}", self.url)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "the server is not ready:\n{}",
                self.log()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        let file = std::fs::File::open(self.folder.join("log.txt"));
        let _ = file.and_then(|mut file| file.read_to_string(&mut text));
        text
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("gone");
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(&mut self) {
        self.ask_to_end().await;
        self.wait_for_end().await;
    }

    /// Asks it to end.
    pub(crate) async fn ask_to_end(&self) {
        let quit = self.client().post(format!("{}/-/quit", self.url)).send().await;
        assert!(quit.is_ok_and(|answer| answer.status() == 200), "{}", self.log());
    }

    /// Waits until it has ended.
    pub(crate) async fn wait_for_end(&mut self) {
        let begin = Instant::now();
        while self.child.try_wait().expect("child").is_none() {
            assert!(
                begin.elapsed() < PATIENCE,
                "the server does not end:\n{}",
                self.log()
            );
            tokio::time::sleep(POLL).await;
        }
        let lock = self.folder.join("data/lock");
        // The reference of version 2 leaves its own behind.
        let ours = self.program == own_program();
        assert!(!ours || !lock.exists(), "a clean stop leaves {}", lock.display());
    }

    /// Starts it again on the same folder.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(&self.program, &self.args, &self.folder);
        self.wait_ready().await;
    }

    /// Starts `program` in the place of the one that has ended.
    pub(crate) async fn restart_as(&mut self, program: PathBuf) {
        self.program = program;
        self.restart().await;
    }

    /// Asks for a path; status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = self
            .client()
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.text().await.expect("a body"))
    }

    /// Asks the API; the whole answer.
    pub(crate) async fn api(&self, path: &str, params: &[(&str, &str)]) -> Value {
        let mut url = url::Url::parse(&format!("{}/api/v1/{path}", self.url)).expect("URL");
        if !params.is_empty() {
            url.query_pairs_mut().extend_pairs(params);
        }
        let answer = self.client().get(url).send().await.expect("an answer");
        let text = answer.text().await.expect("a body");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// The result of an instant query.
    pub(crate) async fn query(&self, query: &str) -> Vec<Value> {
        let answer = self.api("query", &[("query", query)]).await;
        answer["data"]["result"]
            .as_array()
            .unwrap_or_else(|| panic!("{query}: {answer}"))
            .clone()
    }

    /// Waits until `query` has a result that `enough` accepts.
    pub(crate) async fn wait_for(&self, query: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let begin = Instant::now();
        loop {
            let result = self.query(query).await;
            if enough(&result) {
                return result;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{query} still gives {result:?}\n{}",
                self.log()
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is fine too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, args: &[String], folder: &Path) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log.txt"))
        .expect("log file");
    Command::new(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the binary starts")
}
