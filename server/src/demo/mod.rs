//! `narthex demo`: the server with something to look at.
//!
//! Three services run inside the process, the server scrapes them over HTTP like any other target, and its alerts go by
//! HTTP to a receiver that prints them. Nothing in between is special: the configuration is a file that is read.

mod services;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::flags::FlagValues;

/// A running demonstration, apart from the server itself. Its folder goes with it.
pub(crate) struct Demo {
    folder: PathBuf,
    stop: CancellationToken,
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop.cancel();
        // What cannot be removed lies in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts the services and the receiver, and points the flags at a configuration that names them.
pub(crate) async fn prepare(flags: &mut FlagValues) -> Result<Demo> {
    let folder = std::env::temp_dir().join(format!("narthex-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let demo = Demo {
        folder,
        stop: CancellationToken::new(),
    };
    let receiver = start_receiver(demo.stop.clone())
        .await
        .context("starting the alert receiver")?;
    let rules = demo.folder.join("rules.yml");
    let mut config = include_str!("../../../examples/demo/narthex.yml")
        .replace("RULES", &rules.to_string_lossy())
        .replace("RECEIVER", &receiver.to_string())
        .replace("SELF", &reachable(flags.get("web.listen-address")));
    for nature in &services::SERVICES {
        let address = services::start(nature, demo.stop.clone())
            .await
            .with_context(|| format!("starting the service {}", nature.name))?;
        config = config.replace(&nature.name.to_uppercase(), &address.to_string());
    }
    let config_file = demo.folder.join("narthex.yml");
    write(&config_file, &config)?;
    write(&rules, include_str!("../../../examples/demo/rules.yml"))?;
    flags.set("config.file", config_file.to_string_lossy());
    flags.set("storage.tsdb.path", demo.folder.join("data").to_string_lossy());
    // The alerts are the news here; the log speaks up when something is wrong.
    flags.set("log.level", "warn");
    Ok(demo)
}

/// The address under which this machine reaches a listener.
fn reachable(listen: &str) -> String {
    match listen.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => format!("127.0.0.1:{}", address.port()),
        _ => listen.to_owned(),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

async fn start_receiver(stop: CancellationToken) -> Result<SocketAddr> {
    let app = Router::new().route(
        "/alerts",
        post(|Json(message): Json<Value>| async move { print_alerts(&message) }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        axum::serve(listener, app)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    });
    Ok(address)
}

/// One line an alert: what came, of whom, in words.
#[expect(clippy::print_stdout, reason = "the demonstration speaks to its terminal")]
fn print_alerts(message: &Value) {
    let color = std::io::IsTerminal::is_terminal(&std::io::stdout());
    for alert in message["alerts"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let firing = alert["status"] == "firing";
        let word = match (firing, color) {
            (true, true) => "\u{1b}[31mFIRING\u{1b}[0m  ",
            (true, false) => "FIRING  ",
            (false, true) => "\u{1b}[32mRESOLVED\u{1b}[0m",
            (false, false) => "RESOLVED",
        };
        let now = jiff::Zoned::now().strftime("%H:%M:%S");
        let name = text(&alert["labels"]["alertname"]);
        let description = text(&alert["annotations"]["description"]);
        let summary = text(&alert["annotations"]["summary"]);
        println!(
            "{now}  {word}  {name:<20} {}",
            if firing && !description.is_empty() {
                description
            } else {
                summary
            }
        );
    }
}

/// Says where to look, once the server answers.
#[expect(clippy::print_stdout, reason = "the demonstration speaks to its terminal")]
pub(crate) fn print_welcome(url: &str) {
    println!(
        "\nNarthex is running: three services are scraped every two seconds, and one of them has a bad half minute soon.\n\
         \n  page      {url}/\
         \n  query     {url}/api/v1/query?query=instance:http_requests:rate20s\
         \n  alerts    {url}/api/v1/alerts\
         \n  metrics   {url}/metrics\
         \n  Grafana   add a Prometheus data source with the URL {url}\
         \n\nAlerts appear here as they are delivered. Ctrl-C stops everything and leaves nothing behind.\n"
    );
}
