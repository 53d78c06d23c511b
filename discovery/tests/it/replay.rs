//! Recorded exchanges of every mechanism that is built in, played back (conformance `discovery/`): the same targets,
//! the same after each event, only calls that the reference makes, the same counters.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use httpclient::{Resolve, Resolving, Surroundings};
use metrics::{Format, Registry};
use narthex_discovery::{Context, Manager, Mechanisms, Metrics, SCRAPE, Snapshot};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::dns_server::DnsServer;
use crate::replay_server::{Asked, ReplayServer, VARIES, contains};
use crate::zookeeper_server::ZooKeeperServer;

/// Longest wait for targets to become those expected.
const PATIENCE: Duration = Duration::from_secs(30);
/// Some key, made for these tests.
const RSA_KEY: &str = include_str!("rsa_key.pem");
/// Where the recording has its ZooKeeper.
const ZOOKEEPER: &str = "127.0.0.1:2181";
/// The recording's refresh interval, and ours: half of the time is enough.
const INTERVALS: (&str, &str) = ("refresh_interval: 2s", "refresh_interval: 1s");
/// Two refresh intervals and what spreads them: how long "unchanged" has to hold.
const HOLDS: Duration = Duration::from_millis(2_300);

/// Makes a test of each built-in mechanism, and the list of them.
macro_rules! built_in {
    ($($test:ident: $folder:literal,)*) => {
        /// Folders of the recording that are played back.
        const BUILT_IN: &[&str] = &[$($folder),*];

        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                play_all($folder).await;
            }
        )*
    };
}

// Switching a mechanism's replay on is one line here.
built_in! {
    replay_azure: "azure",
    replay_consul: "consul",
    replay_digitalocean: "digitalocean",
    replay_dns: "dns",
    replay_docker: "docker",
    replay_dockerswarm: "dockerswarm",
    replay_ec2: "ec2",
    replay_ecs: "ecs",
    replay_elasticache: "elasticache",
    replay_eureka: "eureka",
    replay_file: "file",
    replay_gce: "gce",
    replay_hetzner: "hetzner",
    replay_http: "http",
    replay_ionos: "ionos",
    replay_kubernetes: "kubernetes",
    replay_kuma: "kuma",
    replay_lightsail: "lightsail",
    replay_linode: "linode",
    replay_marathon: "marathon",
    replay_msk: "msk",
    replay_nerve: "nerve",
    replay_nomad: "nomad",
    replay_oci: "oci",
    replay_openstack: "openstack",
    replay_outscale: "outscale",
    replay_ovhcloud: "ovhcloud",
    replay_puppetdb: "puppetdb",
    replay_rds: "rds",
    replay_scaleway: "scaleway",
    replay_serverset: "serverset",
    replay_stackit: "stackit",
    replay_static: "static",
    replay_triton: "triton",
    replay_uyuni: "uyuni",
    replay_vultr: "vultr",
}

#[test]
fn every_mechanism_that_is_built_in_is_played_back() {
    for kind in narthex_discovery::KINDS {
        // The umbrella over AWS's kinds has its cases in their folders.
        assert!(
            BUILT_IN.contains(&kind.name) || kind.name == "aws",
            "no replay of {}: add a line to `built_in!`",
            kind.name
        );
    }
}

async fn play_all(mechanism: &'static str) {
    let Some(folder) = testkit::conformance(&format!("discovery/{mechanism}")) else {
        return;
    };
    let mut names: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "{} holds no case", folder.display());
    let only = std::env::var("REPLAY_CASE").unwrap_or_default();
    let cases: Vec<_> = names
        .into_iter()
        .filter(|path| only.is_empty() || path.file_stem().is_some_and(|stem| stem == &*only))
        .map(|path| {
            let name = format!(
                "{mechanism}/{}",
                path.file_stem().unwrap_or_default().to_string_lossy()
            );
            (name, tokio::spawn(async move { play(&path).await }))
        })
        .collect();
    let mut failures = Vec::new();
    for (name, case) in cases {
        match case.await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => failures.push(format!("{name}: {failure}")),
            Err(panic) => failures.push(format!("{name}: {panic}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// A target: job and discovered labels.
type Target = (String, BTreeMap<String, String>);

async fn play(path: &Path) -> Result<(), String> {
    let case: Value = serde_json::from_slice(&std::fs::read(path).expect("case")).expect("JSON");
    let list = |key: &str| case[key].as_array().cloned().unwrap_or_default();
    let texts = |key: &str| -> Vec<String> {
        list(key)
            .iter()
            .map(|text| text.as_str().expect("text").to_owned())
            .collect()
    };
    let (hosts, addresses) = (texts("hosts"), texts("addresses"));
    let server = ReplayServer::start(list("exchanges"), &[hosts.clone(), addresses.clone()].concat()).await;
    let folder = tempfile::tempdir().expect("folder");
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, &server.ca_pem).expect("certificate");
    let fill = |text: &str| {
        text.replace("@PORT@", &server.http.port().to_string())
            .replace("@TLSPORT@", &server.https.port().to_string())
            .replace("@DIR@", &folder.path().to_string_lossy())
            .replace("@CA_FILE@", &ca_file.to_string_lossy())
    };
    write_files(folder.path(), &case["files"], &fill);
    if let Some(name) = case["make_rsa_key"].as_str() {
        std::fs::write(folder.path().join(name), RSA_KEY).expect("key");
    }
    let registry = Registry::new();
    let mut context = Context::new("Prometheus/3.14.0", Metrics::new(&registry));
    context.surroundings = Surroundings {
        resolver: Arc::new(Lead {
            to: hosts.into_iter().chain(addresses).collect(),
            http: server.http,
            https: server.https,
        }),
        roots: Some(server.roots.clone()),
    };
    let env = case["env"].as_object().into_iter().flatten();
    context.env = Some(Arc::new(
        env.map(|(name, value)| (name.clone(), fill(value.as_str().unwrap_or(""))))
            .collect(),
    ));
    context.root = folder.path().to_owned();
    let dns = DnsServer::start(list("exchanges"), server.phase()).await;
    context.dns_port = dns.port;
    let resolv_conf = case["resolv_conf"].as_str().unwrap_or("nameserver 127.0.0.1\n");
    std::fs::create_dir_all(folder.path().join("etc")).expect("folder");
    std::fs::write(folder.path().join("etc/resolv.conf"), resolv_conf).expect("name servers");
    mount(folder.path(), &case, &server.ca_pem);
    let zookeeper = ZooKeeperServer::start(list("exchanges"), server.phase()).await;
    let text = fill(case["config"].as_str().expect("configuration"))
        .replace(INTERVALS.0, INTERVALS.1)
        .replace(ZOOKEEPER, &zookeeper.address.to_string());
    let jobs = read_jobs(&text, folder.path())?;
    let mut manager = Manager::new(SCRAPE, context);
    let mut found = manager.subscribe();
    let prepared = manager.prepare(jobs).map_err(|error| error.to_string())?;
    manager.apply(prepared);

    let mut recorded = list("targets");
    let read_all = |targets: &[Value]| -> Vec<Target> {
        targets.iter().map(|target| read_target(target, &fill)).collect()
    };
    let mut expected = read_all(&recorded);
    if case["crashed"].is_array() && expected.is_empty() {
        // The reference ended, so nobody knows what it would have found; we go on and find something.
        let any = found.wait_for(|snapshot| !targets(snapshot).is_empty());
        let any = timeout(PATIENCE, any).await.is_ok();
        return if any {
            Ok(())
        } else {
            Err("nothing is found".to_owned())
        };
    }
    wait_for(&mut found, &expected, "at the start").await?;
    compare_metrics(&registry, &case["metrics"], "at the start").await?;
    for event in list("events") {
        let what = event["what"].as_str().unwrap_or("an event").to_owned();
        write_files(folder.path(), &event["files"], &fill);
        if let Some(phase) = event["phase"].as_u64() {
            server.advance(phase);
        }
        if event["targets"].is_object() {
            let change = &event["targets"];
            let removed: Vec<u64> = change["removed"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_u64)
                .collect();
            let mut at = 0;
            recorded.retain(|_| {
                at += 1;
                !removed.contains(&(at - 1))
            });
            recorded.extend(change["added"].as_array().into_iter().flatten().cloned());
            // The next event's positions are those of the recorder's order.
            recorded.sort_by_cached_key(recorder_text);
            expected = read_all(&recorded);
            wait_for(&mut found, &expected, &what).await?;
        } else {
            stays(&mut found, &expected, &what).await?;
        }
        compare_metrics(&registry, &event["metrics"], &what).await?;
    }
    compare_requests(&server.asked(), &list("requests"), &fill)?;
    check_signatures(&server.asked(), &case)?;
    let requests = list("requests");
    let known = |asked: &Value| requests.iter().any(|request| request["zookeeper"] == *asked);
    match zookeeper.asked().iter().find(|asked| !known(asked)) {
        Some(own) => Err(format!("a question of our own to ZooKeeper: {own}")),
        None => Ok(()),
    }
}

/// Whatever is signed as AWS wants it is signed with a key that the case gives: in its configuration, environment, or an
/// answer.
fn check_signatures(asked: &[Asked], case: &Value) -> Result<(), String> {
    let secret =
        regex::Regex::new(r#"(?i)secret_?(?:access_?)?key[":\\>=\s]+([A-Za-z0-9]+)"#).expect("pattern");
    let text = case.to_string();
    for asked in asked {
        let authorization = asked.header("authorization").unwrap_or("");
        if !authorization.starts_with("AWS4-HMAC-SHA256 ") {
            continue;
        }
        let request = testkit::sigv4::Signed {
            method: &asked.method,
            target: &asked.target,
            headers: &asked.headers,
            body: asked.body.as_bytes(),
        };
        let mut secrets = secret.captures_iter(&text).map(|found| found[1].to_owned());
        if !secrets.any(|secret| testkit::sigv4::check(request, &secret).is_ok()) {
            let of_first = testkit::sigv4::check(request, "");
            return Err(format!("signed with no key of the case: {asked:?}: {of_first:?}"));
        }
    }
    Ok(())
}

fn write_files(folder: &Path, files: &Value, fill: &impl Fn(&str) -> String) {
    for (name, content) in files.as_object().into_iter().flatten() {
        let path = folder.join(name);
        let Some(content) = content.as_str() else {
            std::fs::remove_file(&path).expect("a file to remove");
            continue;
        };
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        let new = folder.join("being-written");
        std::fs::write(&new, fill(content)).expect("write");
        std::fs::rename(&new, &path).expect("rename");
    }
}

/// Puts folders of the case where the machine would have them, below the test's root.
fn mount(root: &Path, case: &Value, ca_pem: &str) {
    for (from, to) in case["mounts"].as_object().into_iter().flatten() {
        let to = root.join(to.as_str().expect("path").trim_start_matches('/'));
        std::fs::create_dir_all(&to).expect("folder");
        for entry in std::fs::read_dir(root.join(from)).expect("folder of files") {
            let entry = entry.expect("entry");
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
        }
        std::fs::write(to.join("ca.crt"), ca_pem).expect("certificate");
    }
}

fn read_jobs(text: &str, folder: &Path) -> Result<BTreeMap<String, Mechanisms>, String> {
    let document = yaml::parse("prometheus.yml", text).map_err(|error| error.to_string())?;
    let mut root = document
        .root()
        .section("the configuration")
        .map_err(|error| error.to_string())?;
    let jobs = root.list("scrape_configs", |value| {
        let mut job = value.section("a scrape config")?;
        let name = job.get_or("job_name", String::new())?;
        let mut mechanisms = Mechanisms::read(&mut job)?;
        mechanisms.resolve_paths(folder);
        Ok((name, mechanisms))
    });
    Ok(jobs.map_err(|error| error.to_string())?.into_iter().collect())
}

/// A target as the recorder writes it for sorting: JSON as Python writes it.
fn recorder_text(value: &Value) -> String {
    match value {
        Value::Object(pairs) => {
            let mut pairs: Vec<_> = pairs.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            let texts = pairs.into_iter().map(|(key, value)| {
                format!(
                    "{}: {}",
                    recorder_text(&key.as_str().into()),
                    recorder_text(value)
                )
            });
            format!("{{{}}}", texts.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => {
            let quoted = Value::from(text.as_str()).to_string();
            let mut ascii = String::new();
            for c in quoted.chars() {
                if c.is_ascii() {
                    ascii.push(c);
                } else {
                    let mut units = [0; 2];
                    let units = c.encode_utf16(&mut units);
                    ascii.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
                }
            }
            ascii
        }
        other => other.to_string(),
    }
}

/// What the scraper adds to what was discovered; the recording leaves most of it out.
fn read_target(target: &Value, fill: &impl Fn(&str) -> String) -> Target {
    let labels = target["discoveredLabels"].as_object().expect("labels").iter();
    let labels = labels.map(|(name, value)| (name.clone(), fill(value.as_str().expect("text"))));
    (target["job"].as_str().expect("job").to_owned(), labels.collect())
}

/// What was found, as the targets page would show it: without what has no usable address, equal ones once.
fn targets(snapshot: &Snapshot) -> Vec<Target> {
    let mut all = Vec::new();
    for (job, groups) in &**snapshot {
        for group in groups.iter() {
            for target in &group.targets {
                let pairs = group.labels.iter().chain(target.iter());
                let labels: BTreeMap<String, String> = pairs
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                if labels
                    .get("__address__")
                    .is_some_and(|address| !address.is_empty() && !address.contains('/'))
                {
                    all.push((job.clone(), labels));
                }
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

/// The expected ones without what only the scraper knows, where discovery did not find it itself.
fn same(found: &[Target], expected: &[Target]) -> bool {
    // What comes from the job's own settings: the recording shows it, discovery does not know it.
    let of_job = |name: &str| {
        matches!(
            name,
            "job" | "__scheme__" | "__metrics_path__" | "__scrape_interval__" | "__scrape_timeout__"
        ) || name.starts_with("__param_")
    };
    found.len() == expected.len()
        && found.iter().all(|(job, labels)| {
            expected.iter().any(|(wanted_job, wanted)| {
                let extra = |(name, _): &(&String, &String)| !labels.contains_key(*name) && !of_job(name);
                job == wanted_job
                    && !wanted.iter().any(|pair| extra(&pair))
                    && labels.iter().all(|(name, value)| {
                        wanted.get(name) == Some(value) || (wanted.get(name).is_none() && of_job(name))
                    })
            })
        })
}

async fn wait_for(
    found: &mut watch::Receiver<Snapshot>,
    expected: &[Target],
    what: &str,
) -> Result<(), String> {
    let waited = timeout(
        PATIENCE,
        found.wait_for(|snapshot| same(&targets(snapshot), expected)),
    )
    .await
    .is_ok();
    let now = targets(&found.borrow());
    if waited {
        // An empty list may be one that is not filled yet.
        return if expected.is_empty() {
            stays(found, expected, what).await
        } else {
            Ok(())
        };
    }
    Err(format!("{what}: {}", difference(&now, expected)))
}

async fn stays(found: &mut watch::Receiver<Snapshot>, expected: &[Target], what: &str) -> Result<(), String> {
    let changed = timeout(
        HOLDS,
        found.wait_for(|snapshot| !same(&targets(snapshot), expected)),
    )
    .await
    .is_ok();
    if changed {
        let now = targets(&found.borrow());
        return Err(format!("{what}: was to stay; {}", difference(&now, expected)));
    }
    Ok(())
}

fn difference(found: &[Target], expected: &[Target]) -> String {
    let missing = expected.iter().filter(|target| !found.contains(target));
    let extra = found.iter().filter(|target| !expected.contains(target));
    let show = |targets: Vec<&Target>| {
        targets
            .iter()
            .map(|target| format!("\n    {target:?}"))
            .collect::<String>()
    };
    format!(
        "missing:{}\n  instead:{}",
        show(missing.collect()),
        show(extra.collect())
    )
}

/// Waits until the counters say what the recording says.
async fn compare_metrics(registry: &Registry, wanted: &Value, what: &str) -> Result<(), String> {
    let start = tokio::time::Instant::now();
    loop {
        let text = registry.render(Format::Text);
        let values: HashMap<&str, f64> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
            .collect();
        let wrong = wanted.as_object().into_iter().flatten().find(|(name, value)| {
            let found = values.get(name.as_str()).copied();
            match value.as_str().unwrap_or("") {
                ">0" => found.is_none_or(|found| found <= 0.0),
                number => found != number.parse().ok(),
            }
        });
        let Some((name, value)) = wrong else { return Ok(()) };
        if start.elapsed() > PATIENCE / 3 {
            return Err(format!(
                "{what}: {name} is {:?}, not {value}",
                values.get(name.as_str())
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every call is one that the reference makes.
fn compare_requests(
    asked: &[Asked],
    recorded: &[Value],
    fill: &impl Fn(&str) -> String,
) -> Result<(), String> {
    for asked in asked {
        if !recorded
            .iter()
            .any(|recorded| is_same_request(recorded, asked, fill))
        {
            let known: Vec<String> = recorded.iter().map(Value::to_string).collect();
            return Err(format!(
                "a request of our own: {asked:?}\n  recorded:\n    {}",
                known.join("\n    ")
            ));
        }
    }
    Ok(())
}

fn is_same_request(recorded: &Value, asked: &Asked, fill: &impl Fn(&str) -> String) -> bool {
    let text = |key: &str| recorded[key].as_str().map(fill);
    let authorization = recorded["headers"]["Authorization"].as_str().map(fill);
    let has_authorization = match (&authorization, asked.header("authorization")) {
        // What is signed names the headers that a library happens to sign.
        (Some(wanted), Some(found)) if wanted.contains("@SIGNATURE@") => {
            found.split(' ').next() == wanted.split(' ').next()
        }
        (Some(wanted), Some(found)) => like(wanted, found),
        (None, None) => true,
        _ => false,
    };
    recorded["method"] == asked.method.as_str()
        && text("path").is_some_and(|path| like(&path, &asked.path))
        && text("host").is_none_or(|host| host == asked.host)
        && has_authorization
        && same_pairs(recorded, asked, fill)
        && same_body(&recorded_body(recorded, fill), &asked.body)
}

fn same_pairs(recorded: &Value, asked: &Asked, fill: &impl Fn(&str) -> String) -> bool {
    let mut wanted: Vec<(String, String)> = match &recorded["query"] {
        Value::String(text) => url::form_urlencoded::parse(fill(text).as_bytes())
            .into_owned()
            .collect(),
        Value::Object(pairs) => pairs
            .iter()
            .flat_map(|(key, value)| {
                let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                values
                    .into_iter()
                    .map(|value| (key.clone(), fill(value.as_str().unwrap_or(""))))
            })
            .collect(),
        _ => Vec::new(),
    };
    let mut found = asked.query.clone();
    wanted.sort();
    found.sort();
    wanted.len() == found.len()
        && wanted
            .iter()
            .zip(&found)
            .all(|(wanted, found)| wanted.0 == found.0 && like(&wanted.1, &found.1))
}

/// Written out where the recording has it as JSON.
fn recorded_body(recorded: &Value, fill: &impl Fn(&str) -> String) -> String {
    match &recorded["body"] {
        Value::Null => String::new(),
        Value::String(text) => fill(text),
        json => fill(&json.to_string()),
    }
}

fn same_body(wanted: &str, found: &str) -> bool {
    if let (Ok(wanted), Ok(found)) = (
        serde_json::from_str::<Value>(wanted),
        serde_json::from_str::<Value>(found),
    ) {
        return contains(&wanted, &found) && contains(&found, &wanted);
    }
    let pairs = |text: &str| {
        let mut pairs: Vec<String> = text.split('&').map(str::to_owned).collect();
        pairs.sort();
        pairs.join("&")
    };
    like(wanted, found) || like(&pairs(wanted), &pairs(found))
}

/// Equal but for what varies.
fn like(wanted: &str, found: &str) -> bool {
    let parts: Vec<String> = VARIES.split(wanted).map(regex::escape).collect();
    let pattern = format!("^(?s:{})$", parts.join(".*"));
    regex::Regex::new(&pattern).expect("pattern").is_match(found)
}

/// Leads the recording's hosts to the replay server.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) to: Vec<String>,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
}

impl Resolve for Lead {
    fn resolve<'r>(&'r self, host: &'r str, port: u16) -> Resolving<'r> {
        if !self.to.iter().any(|name| name == host) {
            return httpclient::SystemResolver.resolve(host, port);
        }
        let to = if port == 443 { self.https } else { self.http };
        Box::pin(async move { Ok(vec![to]) })
    }
}
