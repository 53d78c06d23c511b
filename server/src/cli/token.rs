//! `narthex token`: makes a bearer token, and what `--web.config.file` says of it.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::render::{err, out};
use crate::config::web::tokens::{Scope, digest_of, hex};

/// Random bytes of a token: nobody guesses 32.
const RANDOM_BYTES: usize = 32;
/// What tokens begin with, so that a leaked one is known for what it is.
const PREFIX: &str = "ntx_";

pub(super) fn command() -> Command {
    Command::new("token")
        .about("Make a bearer token for --web.config.file")
        .long_about(
            "Prints a new token on standard output, and on standard error the lines that let it in, for the file of \
             --web.config.file. They hold the token's hash: the token itself is shown this once.",
        )
        .arg(
            Arg::new("name")
                .long("name")
                .value_name("NAME")
                .default_value("grafana")
                .help("Whose token it is: the log speaks of it by this name"),
        )
        .arg(
            Arg::new("scope")
                .long("scope")
                .value_name("SCOPE")
                .action(ArgAction::Append)
                .value_parser(["read", "write", "admin"])
                .help("What its bearer may do: read, write or admin. Can be repeated. Default: read"),
        )
}

/// Whose token, and for what.
pub(crate) struct TokenArgs {
    name: String,
    scopes: Vec<Scope>,
}

impl TokenArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        let words = matches.get_many::<String>("scope").into_iter().flatten();
        let mut scopes: Vec<Scope> = words.filter_map(|word| Scope::of_word(word)).collect();
        if scopes.is_empty() {
            scopes.push(Scope::Read);
        }
        TokenArgs {
            name: matches.get_one("name").map_or_else(String::new, String::clone),
            scopes,
        }
    }
}

/// Makes one; the exit code.
pub(crate) fn token(args: &TokenArgs) -> u8 {
    let mut random = [0; RANDOM_BYTES];
    let source = rustls::crypto::ring::default_provider().secure_random;
    if source.fill(&mut random).is_err() {
        err("the system gives no random bytes");
        return 1;
    }
    let token = format!("{PREFIX}{}", hex(&random));
    let words: Vec<&str> = args.scopes.iter().map(|scope| scope.word()).collect();
    out(&token);
    err(format_args!(
        "bearer_tokens:\n  - name: {:?}\n    token_hash: {}\n    scopes: [{}]",
        args.name,
        hex(&digest_of(&token)),
        words.join(", ")
    ));
    0
}
