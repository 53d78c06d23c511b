//! The command line of `amtool`: commands within commands, some of which need not be named, and flags anywhere.
//!
//! The other tools' lines are clap's. This one is read by hand, since its users' scripts depend on what clap does not do: a
//! word that names no command is an argument of the default one (`amtool silence foo`), values of flags come from files,
//! too, and what is wrong is said in given words.

mod error;
mod help;
mod read;
mod value;

use std::collections::HashMap;
use std::time::Duration;

pub(super) use error::LineError;
pub(super) use read::read;

/// A command, or the program itself.
pub(super) struct Command {
    pub(super) name: &'static str,
    /// What it does; the first line stands in lists.
    pub(super) help: &'static str,
    pub(super) flags: &'static [Flag],
    /// What the words behind it are called; none are taken without.
    pub(super) args: Option<Args>,
    pub(super) commands: &'static [Command],
    /// Whether it is meant where none of its kind is named.
    pub(super) is_default: bool,
    /// Whether lists leave it out.
    pub(super) hidden: bool,
    /// Whether it asks a server, so that somebody must have said which.
    pub(super) asks_server: bool,
    /// What is to be done; commands with others below have nothing to do.
    pub(super) task: Option<Task>,
}

/// One with nothing in it, to be filled in.
pub(super) const COMMAND: Command = Command {
    name: "",
    help: "",
    flags: &[],
    args: None,
    commands: &[],
    is_default: false,
    hidden: false,
    asks_server: false,
    task: None,
};

/// Words behind a command.
pub(super) struct Args {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) many: bool,
    /// Whether they name files that must be there.
    pub(super) files: bool,
}

/// A flag.
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) short: Option<char>,
    pub(super) kind: Kind,
    /// Its value where it is not given; empty for none.
    pub(super) default: &'static str,
    pub(super) required: bool,
    pub(super) hidden: bool,
    pub(super) help: &'static str,
}

impl Flag {
    pub(super) const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Flag {
            name,
            short: None,
            kind,
            default: "",
            required: false,
            hidden: false,
            help,
        }
    }

    pub(super) const fn short(self, short: char) -> Self {
        Flag {
            short: Some(short),
            ..self
        }
    }

    pub(super) const fn default(self, default: &'static str) -> Self {
        Flag { default, ..self }
    }

    pub(super) const fn required(self) -> Self {
        Flag {
            required: true,
            ..self
        }
    }

    pub(super) const fn hidden(self) -> Self {
        Flag { hidden: true, ..self }
    }
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing; `--no-name` turns it off.
    Switch,
    /// Any text.
    Text,
    /// Texts; it may stand several times.
    Texts,
    /// One of some words.
    Word(&'static [&'static str]),
    /// `1h30m`
    Duration,
    /// A whole number.
    Number,
    /// `http://host:port/path`
    Url,
    /// A file that is there.
    File,
    /// A file that can be opened.
    OpenFile,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    QueryAlerts,
    AddAlert,
    AddSilence,
    ExpireSilences,
    ImportSilences,
    QuerySilences,
    UpdateSilences,
    CheckConfig,
    ShowCluster,
    ShowConfig,
    ShowRoutes,
    TestRoutes,
    RenderTemplate,
    QueryHistory,
    Preview,
    SendTest,
}

/// What a line asks for.
pub(super) enum Asked {
    /// Do something.
    Do(Task, Line),
    /// Print a text: help, the version.
    Print(String),
}

/// The words of a line, each checked.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// By the names of flags; of one that stands nowhere, its default.
    values: HashMap<&'static str, Vec<String>>,
    args: Vec<String>,
}

impl Line {
    /// A flag's value; `None` where neither the line, nor a file of settings, nor a default gives one.
    pub(super) fn get(&self, flag: &str) -> Option<&str> {
        self.all(flag).last().map(String::as_str)
    }

    /// The same; empty for none.
    pub(super) fn text(&self, flag: &str) -> &str {
        self.get(flag).unwrap_or("")
    }

    /// All values of a flag that may stand several times.
    pub(super) fn all(&self, flag: &str) -> &[String] {
        self.values.get(flag).map_or(&[], Vec::as_slice)
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, flag: &str) -> bool {
        model::go::parse_bool(self.text(flag)) == Some(true)
    }

    /// A length of time; a negative one is none.
    pub(super) fn duration(&self, flag: &str) -> Duration {
        receivers::GoDuration::parse(self.text(flag)).map_or(Duration::ZERO, |duration| duration.0)
    }

    /// A number that is not negative.
    pub(super) fn number(&self, flag: &str) -> usize {
        self.text(flag).parse::<f64>().map_or(0, |number| number as usize)
    }

    /// The words behind the command.
    pub(super) fn args(&self) -> &[String] {
        &self.args
    }
}
