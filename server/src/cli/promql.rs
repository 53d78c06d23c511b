//! `narthex promql …`: queries formatted and edited, without a server.

use clap::{Arg, ArgMatches, Command};
use model::matcher::{MatchOp, Matcher};
use promql::ast::Expr;
use promql::parser::{ParseError, ParseOptions};

use super::render::{err, err_text, out};

/// What is to become of a query.
pub(crate) struct PromqlArgs {
    query: String,
    edit: Edit,
}

enum Edit {
    Format,
    Set {
        op: MatchOp,
        name: String,
        value: String,
    },
    Delete {
        name: String,
    },
}

/// The command and its subcommands.
pub(crate) fn command() -> Command {
    let query = || word("query", "QUERY", "PromQL");
    let set = Command::new("set")
        .about("Make every selector ask this of a label, in place of what it asked before")
        .after_help(
            "Example:\n  narthex promql label-matchers set -t '=~' 'rate(requests_total[5m]) / up' job 'api|web'",
        )
        .arg(
            Arg::new("type")
                .long("type")
                .short('t')
                .value_name("OPERATOR")
                .help("How to compare")
                .value_parser(["=", "!=", "=~", "!~"])
                .default_value("="),
        )
        .args([
            query(),
            word("name", "NAME", "Name of the label"),
            word("value", "VALUE", "What to compare with"),
        ]);
    let delete = Command::new("delete")
        .about("Make no selector ask anything of a label")
        .after_help("Example:\n  narthex promql label-matchers delete 'sum(up{job=\"api\",zone=\"a\"})' zone")
        .args([query(), word("name", "NAME", "Name of the label")]);
    Command::new("promql")
        .about("Format and edit queries")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(super::experimental_arg())
        .subcommand(
            Command::new("format")
                .about("Lay a query out over several lines where it is long")
                .after_help("Example:\n  narthex promql format 'sum by(job)(rate(requests_total[5m]))/sum by(job)(up)'")
                .arg(query()),
        )
        .subcommand(
            Command::new("label-matchers")
                .about("Change what selectors ask of labels")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommand(set)
                .subcommand(delete),
        )
}

fn word(id: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(id)
        .value_name(value)
        .help(help)
        .required(true)
        .allow_hyphen_values(true)
}

/// What a command line asks for.
pub(crate) fn args(matches: &ArgMatches) -> PromqlArgs {
    let text = |matches: &ArgMatches, id: &str| matches.get_one::<String>(id).cloned().unwrap_or_default();
    let (name, matches) = matches.subcommand().unwrap_or(("", matches));
    if name == "format" {
        return PromqlArgs {
            query: text(matches, "query"),
            edit: Edit::Format,
        };
    }
    let (action, matches) = matches.subcommand().unwrap_or(("", matches));
    let name = text(matches, "name");
    let edit = if action == "set" {
        Edit::Set {
            op: match text(matches, "type").as_str() {
                "!=" => MatchOp::NotEqual,
                "=~" => MatchOp::Regex,
                "!~" => MatchOp::NotRegex,
                _ => MatchOp::Equal,
            },
            name,
            value: text(matches, "value"),
        }
    } else {
        Edit::Delete { name }
    };
    PromqlArgs {
        query: text(matches, "query"),
        edit,
    }
}

/// Says what is wrong with a query, with a mark under the place and the name that may have been meant.
pub(super) fn say(error: &ParseError) {
    err(error);
    let shown = error.render();
    // The message that stands in front of the first mark has been said.
    err_text(shown.split_once('\n').map_or("", |(_, marked)| marked));
}

/// Prints the query as it has become; the exit code.
pub(crate) fn run(args: &PromqlArgs) -> u8 {
    let mut expr: Expr = match promql::parser::parse(&args.query, &ParseOptions::ALL) {
        Ok(expr) => expr,
        Err(error) => {
            say(&error);
            return 1;
        }
    };
    match &args.edit {
        Edit::Format => {}
        Edit::Set { op, name, value } => match Matcher::new(*op, name, value) {
            Ok(matcher) => expr.set_matcher(&matcher),
            Err(error) => {
                err(error);
                return 1;
            }
        },
        Edit::Delete { name } => expr.delete_matchers(name),
    }
    match expr.pretty() {
        Ok(text) => {
            out(text);
            0
        }
        Err(error) => {
            err(error);
            1
        }
    }
}
