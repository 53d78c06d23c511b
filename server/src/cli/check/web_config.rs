//! `check web-config`: files for `--web.config.file`, and the certificates that they name.

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::{FAILURE, files, files_arg};
use crate::cli::render::{color, err};
use crate::config::web::tokens::BearerToken;
use crate::config::web::{WebConfig, WebConfigError, tls};

pub(super) fn command() -> Command {
    Command::new("web-config")
        .about("Check web configuration files: TLS, users, headers")
        .arg(files_arg("Web configuration files").required(true))
}

/// Which files.
pub(crate) struct WebConfigArgs {
    files: Vec<PathBuf>,
}

impl WebConfigArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        WebConfigArgs {
            files: files(matches),
        }
    }
}

/// Checks; the exit code.
pub(crate) fn web_config(args: &WebConfigArgs) -> u8 {
    let mut code = 0;
    for file in &args.files {
        let checked = WebConfig::load(file).and_then(|config| {
            // What it names is read as for serving.
            config.tls.as_ref().map(tls::server).transpose()?;
            config
                .tokens
                .iter()
                .try_for_each(|token| token.digest().map(drop))?;
            Ok::<_, WebConfigError>(config)
        });
        match checked {
            Ok(config) => {
                err(format_args!("{} SUCCESS", file.display()));
                config.tokens.iter().for_each(show);
                if config.tokens.is_empty() && config.users.is_empty() {
                    err(
                        "  nobody has to say who they are: there are neither basic_auth_users nor bearer_tokens",
                    );
                }
            }
            Err(error) => {
                err(format_args!("{} FAILED: {error}", file.display()));
                if let Some(place) = error.render(color()) {
                    err(place);
                }
                code = FAILURE;
            }
        }
    }
    code
}

/// Who may do what is to be seen at a glance.
fn show(token: &BearerToken) {
    let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.word()).collect();
    err(format_args!(
        "  bearer token {:?} may {}",
        token.name,
        scopes.join(", ")
    ));
}
