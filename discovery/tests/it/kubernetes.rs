//! Kubernetes beyond what is recorded: watches that break, servers that say wait, watches that are shared, tokens that
//! change, owners that may not be seen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use httpclient::Surroundings;
use metrics::{Format, Registry};
use narthex_discovery::{Context, Manager, Mechanisms, Metrics, SCRAPE, Snapshot};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::replay_server::ReplayServer;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a scripted server answers to a request.
struct Answer {
    status: u16,
    headers: &'static str,
    body: String,
    /// Whether the connection stays open when the body is sent; it has no end then.
    stays: bool,
}

impl Answer {
    fn watch(lines: &[Value], stays: bool) -> Answer {
        Answer {
            status: 200,
            headers: "Content-Type: application/json\r\n",
            body: lines.iter().map(|line| format!("{line}\n")).collect(),
            stays,
        }
    }

    fn refusal(status: u16, headers: &'static str) -> Answer {
        Answer {
            status,
            headers,
            body: json!({"kind": "Status", "code": status}).to_string(),
            stays: false,
        }
    }
}

/// A server that answers its n-th request as a script says. Every answer has a connection of its own.
struct Scripted {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Scripted {
    async fn start(script: impl Fn(usize, &str) -> Answer + Send + Sync + 'static) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let port = listener.local_addr().expect("address").port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        let script = Arc::new(script);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, log.clone(), script.clone()));
            }
        });
        Scripted { port, asked, task }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }

    async fn wait_for_request(&self, what: impl Fn(&str) -> bool) {
        let seen = async {
            while !self.asked().iter().any(|asked| what(asked)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, seen)
            .await
            .unwrap_or_else(|_| panic!("{:#?}", self.asked()));
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    log: Arc<Mutex<Vec<String>>>,
    script: Arc<impl Fn(usize, &str) -> Answer + Send + Sync>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let asked = head.split(' ').nth(1).expect("a path").to_owned();
    let nth = {
        let mut log = log.lock();
        log.push(asked.clone());
        log.len() - 1
    };
    let answer = script(nth, &asked);
    let head = format!(
        "HTTP/1.1 {} x\r\n{}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        answer.status, answer.headers
    );
    let chunk = format!("{:x}\r\n{}\r\n", answer.body.len(), answer.body);
    // Without its last chunk an answer breaks off; refusals are whole.
    let end = if answer.status == 200 { "" } else { "0\r\n\r\n" };
    let _ = stream.write_all(format!("{head}{chunk}{end}").as_bytes()).await;
    if answer.stays {
        std::future::pending::<()>().await;
    }
}

fn pod(name: &str, version: u64, ip: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "n", "resourceVersion": version.to_string()},
        "spec": {"nodeName": "node", "containers": [{"name": "c"}]},
        "status": {"podIP": ip},
    })
}

fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

fn state_ends(version: u64) -> Value {
    let annotations = json!({"k8s.io/initial-events-end": "true"});
    json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version.to_string(), "annotations": annotations}}})
}

/// Discovery that runs.
struct Running {
    registry: Registry,
    found: watch::Receiver<Snapshot>,
    _manager: Manager,
}

impl Running {
    fn start(text: &str, change: impl FnOnce(&mut Context)) -> Running {
        let registry = Registry::new();
        let mut context = Context::new("narthex", Metrics::new(&registry));
        change(&mut context);
        let document = yaml::parse("f.yml", text).expect("YAML");
        let mut root = document.root().section("jobs").expect("mapping");
        let jobs = root.list("jobs", |value| {
            let mut job = value.section("a job")?;
            let name = job.get_or("name", String::new())?;
            Ok((name, Mechanisms::read(&mut job)?))
        });
        let jobs: BTreeMap<_, _> = jobs.expect("valid").into_iter().collect();
        let mut manager = Manager::new(SCRAPE, context);
        let found = manager.subscribe();
        manager.apply(manager.prepare(jobs).expect("settings that hold"));
        Running {
            registry,
            found,
            _manager: manager,
        }
    }

    fn addresses(snapshot: &Snapshot, job: &str, label: &str) -> Vec<String> {
        let groups = snapshot.get(job).into_iter().flat_map(|groups| groups.iter());
        let mut all: Vec<String> = groups
            .flat_map(|group| {
                group.targets.iter().map(|target| {
                    let of_group = group.labels.value(label);
                    target.get(label).unwrap_or(of_group).to_owned()
                })
            })
            .collect();
        all.sort();
        all
    }

    /// Waits until a label of a job's targets has these values.
    async fn wait_for(&mut self, job: &str, label: &str, expected: &[&str]) {
        let is_there = |snapshot: &Snapshot| Self::addresses(snapshot, job, label) == expected;
        let waited = timeout(PATIENCE, self.found.wait_for(is_there)).await.is_ok();
        let now = Self::addresses(&self.found.borrow(), job, label);
        assert!(waited, "{now:?} instead of {expected:?}");
    }

    fn failures(&self) -> f64 {
        let text = self.registry.render(Format::Text);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("prometheus_sd_kubernetes_failures_total "));
        line.expect("a counter").parse().expect("a number")
    }
}

fn pods_at(port: u16) -> String {
    format!(
        "jobs: [{{name: j, kubernetes_sd_configs: [{{role: pod, api_server: 'http://127.0.0.1:{port}'}}]}}]"
    )
}

#[tokio::test]
async fn a_watch_that_breaks_within_a_line_goes_on_from_the_last_version() {
    let server = Scripted::start(|nth, _| match nth {
        0 => {
            let lines = [event("ADDED", &pod("a", 9, "192.0.2.1")), state_ends(10)];
            let mut answer = Answer::watch(&lines, false);
            answer.body += r#"{"type":"ADDED","object":{"metadata":{"na"#;
            answer
        }
        _ => Answer::watch(&[event("ADDED", &pod("b", 11, "192.0.2.2"))], true),
    })
    .await;
    let mut running = Running::start(&pods_at(server.port), |_| {});
    running
        .wait_for("j", "__address__", &["192.0.2.1", "192.0.2.2"])
        .await;
    let second = server.asked()[1].clone();
    assert!(
        second.contains("resourceVersion=10&") || second.ends_with("resourceVersion=10"),
        "{second}"
    );
    assert!(!second.contains("sendInitialEvents"), "{second}");
    assert_eq!(running.failures(), 0.0);
}

#[tokio::test]
async fn a_server_that_asks_for_patience_is_given_it_and_counts_as_no_failure() {
    let server = Scripted::start(|nth, _| match nth {
        0 => Answer::refusal(429, "Retry-After: 2\r\n"),
        _ => Answer::watch(&[event("ADDED", &pod("a", 9, "192.0.2.1")), state_ends(10)], true),
    })
    .await;
    let start = std::time::Instant::now();
    let mut running = Running::start(&pods_at(server.port), |_| {});
    running.wait_for("j", "__address__", &["192.0.2.1"]).await;
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(running.failures(), 0.0);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_version_that_is_too_old_makes_the_state_be_read_anew_and_what_vanished_goes() {
    let server = Scripted::start(|nth, asked| match nth {
        0 => {
            let (a, b) = (pod("a", 8, "192.0.2.1"), pod("b", 9, "192.0.2.2"));
            Answer::watch(&[event("ADDED", &a), event("ADDED", &b), state_ends(10)], false)
        }
        // To the watch, then to the state from a version.
        _ if asked.contains("resourceVersion=10") => Answer::refusal(410, ""),
        _ => Answer::watch(&[event("ADDED", &pod("b", 9, "192.0.2.2")), state_ends(20)], true),
    })
    .await;
    let mut running = Running::start(&pods_at(server.port), |_| {});
    running
        .wait_for("j", "__address__", &["192.0.2.1", "192.0.2.2"])
        .await;
    running.wait_for("j", "__address__", &["192.0.2.2"]).await;
    let asked = server.asked();
    assert!(
        asked[3].contains("sendInitialEvents") && !asked[3].contains("resourceVersion="),
        "{asked:#?}"
    );
}

#[tokio::test]
async fn garbage_changes_nothing_and_is_counted() {
    let server = Scripted::start(|nth, _| match nth {
        0 => Answer::watch(
            &[event("ADDED", &pod("a", 9, "192.0.2.1")), state_ends(10)],
            false,
        ),
        1..=3 => Answer {
            body: "<html>a proxy's page</html>\n".to_owned(),
            ..Answer::watch(&[], false)
        },
        _ => Answer::watch(
            &[event("ADDED", &pod("b", 19, "192.0.2.2")), state_ends(20)],
            true,
        ),
    })
    .await;
    let mut running = Running::start(&pods_at(server.port), |_| {});
    running.wait_for("j", "__address__", &["192.0.2.1"]).await;
    server.wait_for_request(|_| server.asked().len() > 3).await;
    assert_eq!(
        Running::addresses(&running.found.borrow(), "j", "__address__"),
        ["192.0.2.1"]
    );
    assert!(running.failures() > 0.0);
    running.wait_for("j", "__address__", &["192.0.2.2"]).await;
}

#[tokio::test]
async fn what_may_not_be_watched_is_shown_until_it_may() {
    let may = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let allowed = may.clone();
    let server = Scripted::start(move |_, _| {
        if allowed.load(std::sync::atomic::Ordering::SeqCst) {
            Answer::watch(&[event("ADDED", &pod("a", 9, "192.0.2.1")), state_ends(10)], true)
        } else {
            Answer::refusal(403, "")
        }
    })
    .await;
    let mut troubles = narthex_discovery::Troubles::default();
    let mut running = Running::start(&pods_at(server.port), |context| {
        troubles = context.troubles.clone();
    });
    // The first attempt asks twice: for a watch, and for a list.
    server.wait_for_request(|_| server.asked().len() > 2).await;
    let now = troubles.now();
    assert_eq!(
        (now[0].jobs.clone(), now[0].mechanism),
        (vec!["j".to_owned()], "kubernetes")
    );
    assert!(
        now[0].error.contains("/api/v1/pods") && now[0].error.contains("403"),
        "{now:?}"
    );
    may.store(true, std::sync::atomic::Ordering::SeqCst);
    running.wait_for("j", "__address__", &["192.0.2.1"]).await;
    assert_eq!(troubles.now(), []);
}

#[tokio::test]
async fn jobs_that_want_the_same_objects_share_a_watch() {
    let server = Scripted::start(|_, asked| {
        let lines = [event("ADDED", &pod("a", 9, "192.0.2.1")), state_ends(10)];
        if asked.starts_with("/api/v1/pods") {
            Answer::watch(&lines, true)
        } else {
            Answer::watch(&lines[1..], true)
        }
    })
    .await;
    let entry = |role: &str, more: &str| {
        format!(
            "[{{role: {role}, api_server: 'http://127.0.0.1:{}'{more}}}]",
            server.port
        )
    };
    let text = format!(
        "jobs:\n- {{name: a, kubernetes_sd_configs: {}}}\n- {{name: b, kubernetes_sd_configs: {}}}\n\
         - {{name: c, kubernetes_sd_configs: {}}}\n- {{name: d, kubernetes_sd_configs: {}}}\n",
        entry("pod", ""),
        entry("pod", ", attach_metadata: {namespace: true}"),
        entry("endpoints", ""),
        entry("pod", ", follow_redirects: false"),
    );
    let mut running = Running::start(&text, |_| {});
    for job in ["a", "b", "d"] {
        running.wait_for(job, "__address__", &["192.0.2.1"]).await;
    }
    server
        .wait_for_request(|asked| asked.starts_with("/api/v1/endpoints"))
        .await;
    let of_pods = server
        .asked()
        .iter()
        .filter(|asked| asked.starts_with("/api/v1/pods"))
        .count();
    assert_eq!(
        of_pods,
        2,
        "one for a, b and c, and one for d, whose client differs: {:#?}",
        server.asked()
    );
}

/// A list and watch of the replay server.
fn exchange(path: &str, phases: Value, items: &Value, events: &Value) -> Value {
    let resource =
        json!({"kind": "X", "apiVersion": "v1", "resourceVersion": "1", "items": items, "events": events});
    json!({"phases": phases, "request": {"path": path}, "response": {"kubernetes": resource}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_token_of_the_service_account_is_used() {
    let expired = json!([{"phase": 1, "type": "ERROR", "object": {"code": 410}}]);
    let mut first = exchange(
        "/api/v1/pods",
        json!([0, 1]),
        &json!([pod("a", 1, "192.0.2.1")]),
        &expired,
    );
    first["request"]["headers"] = json!({"Authorization": "Bearer old"});
    let mut second = exchange(
        "/api/v1/pods",
        json!([1, null]),
        &json!([pod("b", 2, "192.0.2.2")]),
        &json!([]),
    );
    second["request"]["headers"] = json!({"Authorization": "Bearer new"});
    let server = ReplayServer::start(vec![second, first], &[]).await;
    let root = tempfile::tempdir().expect("folder");
    let account = root.path().join("var/run/secrets/kubernetes.io/serviceaccount");
    std::fs::create_dir_all(&account).expect("folder");
    std::fs::write(account.join("ca.crt"), &server.ca_pem).expect("certificate");
    std::fs::write(account.join("token"), "old\n").expect("token");
    let env = [
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()),
        ("KUBERNETES_SERVICE_PORT", server.https.port().to_string()),
    ];
    let mut running = Running::start(
        "jobs: [{name: j, kubernetes_sd_configs: [{role: pod}]}]",
        |context| {
            context.root = root.path().to_owned();
            context.env = Some(Arc::new(
                env.into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            ));
        },
    );
    running.wait_for("j", "__address__", &["192.0.2.1"]).await;
    std::fs::write(account.join("token"), "new\n").expect("token");
    server.advance(1);
    running.wait_for("j", "__address__", &["192.0.2.2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_do_not_wait_for_owners_that_may_not_be_seen_and_look_again_when_they_may() {
    let mut of_set = pod("a", 1, "192.0.2.1");
    of_set["metadata"]["ownerReferences"] = json!([{"kind": "ReplicaSet", "name": "r", "controller": true}]);
    let target = json!({"kind": "Pod", "namespace": "n", "name": "a"});
    let subsets = json!([{"addresses": [{"ip": "192.0.2.1", "targetRef": target}], "ports": [{"port": 80}]}]);
    let endpoints = json!([{"metadata": {"name": "e", "namespace": "n"}, "subsets": subsets}]);
    let owner = json!([{"kind": "Deployment", "name": "d", "controller": true}]);
    let sets = json!([{"metadata": {"name": "r", "namespace": "n", "ownerReferences": owner}}]);
    let always = || json!([0, null]);
    let forbidden = json!({"status": 403, "json": {"kind": "Status", "code": 403}});
    let exchanges = vec![
        exchange("/api/v1/pods", always(), &json!([of_set]), &json!([])),
        exchange("/api/v1/services", always(), &json!([]), &json!([])),
        exchange("/api/v1/endpoints", always(), &endpoints, &json!([])),
        json!({"phases": [0, 0], "request": {"path": "/apis/apps/v1/replicasets"}, "response": forbidden}),
        exchange("/apis/apps/v1/replicasets", json!([1, null]), &sets, &json!([])),
    ];
    let server = ReplayServer::start(exchanges, &[]).await;
    let entry = format!(
        "{{role: endpoints, api_server: 'http://127.0.0.1:{}', attach_metadata: {{deployment: true}}}}",
        server.http.port()
    );
    let text = format!("jobs: [{{name: j, kubernetes_sd_configs: [{entry}]}}]");
    let mut running = Running::start(&text, |_| {});
    running.wait_for("j", "__address__", &["192.0.2.1:80"]).await;
    let deployment = "__meta_kubernetes_pod_deployment_name";
    running.wait_for("j", deployment, &[""]).await;
    server.advance(1);
    running.wait_for("j", deployment, &["d"]).await;
}

#[tokio::test]
async fn what_the_surroundings_lack_costs_the_job_and_not_the_reload() {
    let folder = tempfile::tempdir().expect("folder");
    let missing = folder.path().join("no-such-file");
    let prepare = |entry: &str, root: &Path| {
        let registry = Registry::new();
        let mut context = Context::new("narthex", Metrics::new(&registry));
        (context.env, context.root) = (Some(Arc::default()), root.to_owned());
        context.surroundings = Surroundings::default();
        let document = yaml::parse("f.yml", &format!("kubernetes_sd_configs: [{entry}]")).expect("YAML");
        let mut section = document.root().section("a job").expect("mapping");
        let mechanisms = Mechanisms::read(&mut section).expect("valid");
        let jobs = BTreeMap::from([("j".to_owned(), mechanisms)]);
        let mut manager = Manager::new(SCRAPE, context);
        let prepared = manager.prepare(jobs).map_err(|error| error.to_string())?;
        manager.apply(prepared);
        let failed = r#"prometheus_sd_failed_configs{name="scrape"} 1"#;
        Ok::<bool, String>(registry.render(Format::Text).contains(failed))
    };
    assert_eq!(prepare("{role: pod}", folder.path()), Ok(true));
    let kubeconfig = format!("{{role: pod, kubeconfig_file: {}}}", missing.display());
    assert_eq!(prepare(&kubeconfig, folder.path()), Ok(true));
    let certificate = format!(
        "{{role: pod, api_server: 'https://a.example', tls_config: {{ca_file: {}}}}}",
        missing.display()
    );
    let refused = prepare(&certificate, folder.path()).expect_err("a mistake in the settings");
    assert!(refused.contains("no-such-file"), "{refused}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_of_a_kubeconfig_gives_tokens_until_they_are_refused() {
    let expired = json!([{"phase": 1, "type": "ERROR", "object": {"code": 410}}]);
    let mut first = exchange(
        "/api/v1/pods",
        json!([0, 1]),
        &json!([pod("a", 1, "192.0.2.1")]),
        &expired,
    );
    first["request"]["headers"] = json!({"Authorization": "Bearer token-1"});
    first["phases"] = json!([0, 0]);
    let mut second = exchange(
        "/api/v1/pods",
        json!([1, null]),
        &json!([pod("b", 2, "192.0.2.2")]),
        &json!([]),
    );
    second["request"]["headers"] = json!({"Authorization": "Bearer token-2"});
    let unauthorized = json!({"request": {"path": "/api/v1/pods"}, "response": {"status": 401}});
    let server = ReplayServer::start(vec![first, second, unauthorized], &[]).await;
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("ca.pem"), &server.ca_pem).expect("certificate");
    // Each run gives the next token.
    let script = "n=$(cat count 2>/dev/null || echo 0); n=$((n+1)); echo $n > count; \
                  echo \"{\\\"status\\\": {\\\"token\\\": \\\"$PREFIX-$n\\\"}}\"";
    let script = format!("cd '{}'; {script}", folder.path().display());
    let exec = json!({
        "command": "sh", "args": ["-c", script], "apiVersion": "client.authentication.k8s.io/v1",
        "env": [{"name": "PREFIX", "value": "token"}],
    });
    let address = format!("https://127.0.0.1:{}", server.https.port());
    let kubeconfig = json!({
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": address, "certificate-authority": "ca.pem"}}],
        "users": [{"name": "u", "user": {"exec": exec}}],
    });
    let path = folder.path().join("kube.json");
    std::fs::write(&path, kubeconfig.to_string()).expect("a file");
    let entry = format!("{{role: pod, kubeconfig_file: '{}'}}", path.display());
    let text = format!("jobs: [{{name: j, kubernetes_sd_configs: [{entry}]}}]");
    let mut running = Running::start(&text, |_| {});
    running.wait_for("j", "__address__", &["192.0.2.1"]).await;
    server.advance(1);
    running.wait_for("j", "__address__", &["192.0.2.2"]).await;
    let runs = std::fs::read_to_string(folder.path().join("count")).expect("a count");
    assert_eq!(runs.trim(), "2");
}
