//! `check healthy` and `check ready`: what a running server says of itself.

use std::time::Duration;

use clap::{ArgMatches, Command};

use super::{FAILURE, text, word};
use crate::cli::client::{self, Client};
use crate::cli::render::err;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Whom to ask, and what.
pub(crate) struct ServerArgs {
    path: &'static str,
    server: String,
    http_config: Option<String>,
}

pub(super) fn commands() -> [Command; 2] {
    let with_args = |command: Command| {
        command
            .arg(text("url", "URL", "The server").default_value("http://localhost:9090"))
            .arg(client::http_config_arg())
    };
    [
        with_args(Command::new("healthy").about("Ask whether a server is alive")),
        with_args(Command::new("ready").about("Ask whether a server is ready to answer")),
    ]
}

impl ServerArgs {
    pub(super) fn new(name: &str, matches: &ArgMatches) -> Self {
        ServerArgs {
            path: if name == "healthy" { "-/healthy" } else { "-/ready" },
            server: word(matches, "url").to_owned(),
            http_config: matches.get_one("http.config.file").cloned(),
        }
    }
}

/// Asks; the exit code.
pub(crate) async fn server(args: &ServerArgs) -> u8 {
    let answer = async {
        let client = Client::new(&args.server, args.http_config.as_deref(), &[])?;
        client.get(args.path, TIMEOUT).await
    };
    match answer.await {
        Ok((200, body)) => {
            err(format_args!("  SUCCESS:  {body}"));
            0
        }
        Ok((status, _)) => {
            err(format_args!("check failed: URL={}, status={status}", args.server));
            FAILURE
        }
        Err(error) => {
            err(error);
            FAILURE
        }
    }
}
