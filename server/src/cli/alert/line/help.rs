//! Help texts.

use std::fmt::Write as _;

use super::{Args, Command, Flag, Kind};

/// Where the texts of flags begin.
const TEXT_COLUMN: usize = 30;

/// How the innermost command of `path` is used; the first is the program.
pub(super) fn usage(path: &[&'static Command]) -> String {
    let Some(command) = path.last() else {
        return String::new();
    };
    let names: Vec<&str> = path.iter().map(|command| command.name).collect();
    let mut out = format!("usage: {} [<flags>]", names.join(" "));
    if !command.commands.is_empty() {
        out.push_str(" <command> [<args> ...]");
    }
    out.push_str(&arg_words(command.args.as_ref()));
    let help = examples_of(path[0].name, command.help.trim_end());
    write!(out, "\n\n{help}\n").expect("writing to memory");
    out.push_str("\nFlags:\n");
    for flag in path.iter().flat_map(|command| command.flags) {
        if !flag.hidden {
            line_of_flag(&mut out, flag);
        }
    }
    if let Some(args) = &command.args {
        out.push_str("\nArgs:\n");
        aligned(&mut out, &format!("  [<{}>]", args.name), args.help);
    }
    if !command.commands.is_empty() {
        out.push_str("\nCommands:\n");
        let mut names: Vec<&'static str> = path[1..].iter().map(|command| command.name).collect();
        list(&mut out, &mut names, command);
    }
    out
}

/// A help text whose examples call the program that is asked for help. They are written for `amtool`, where alerts are
/// below a command of their own.
fn examples_of(program: &str, help: &str) -> String {
    match program {
        "amtool" => help.to_owned(),
        _ => help
            .replace("    amtool alert ", &format!("    {program} "))
            .replace("    amtool ", &format!("    {program} ")),
    }
}

/// The commands below `command`, innermost ones alone.
fn list(out: &mut String, names: &mut Vec<&'static str>, command: &Command) {
    for below in command.commands.iter().filter(|below| !below.hidden) {
        names.push(below.name);
        if below.commands.is_empty() {
            let default = if below.is_default { "* " } else { "  " };
            let about = below.help.lines().next().unwrap_or("");
            let line = format!("{default}{}{}", names.join(" "), arg_words(below.args.as_ref()));
            writeln!(out, "{line}\n      {about}").expect("writing to memory");
        } else {
            list(out, names, below);
        }
        names.pop();
    }
}

fn arg_words(args: Option<&Args>) -> String {
    match args {
        Some(args) if args.many => format!(" [<{}> ...]", args.name),
        Some(args) => format!(" [<{}>]", args.name),
        None => String::new(),
    }
}

fn line_of_flag(out: &mut String, flag: &Flag) {
    let mut name = match flag.short {
        Some(short) => format!("  -{short}, "),
        None => "      ".to_owned(),
    };
    match flag.kind {
        Kind::Switch => write!(name, "--[no-]{}", flag.name),
        _ if flag.default.is_empty() => write!(name, "--{}={}", flag.name, placeholder(flag)),
        _ => write!(name, "--{}={}", flag.name, flag.default),
    }
    .expect("writing to memory");
    aligned(out, &name, flag.help);
}

fn placeholder(flag: &Flag) -> &'static str {
    match flag.kind {
        Kind::File | Kind::OpenFile => "FILE",
        Kind::Url => "URL",
        Kind::Number => "NUMBER",
        Kind::Duration => "DURATION",
        Kind::Texts => "TEXT ...",
        Kind::Word(_) | Kind::Text | Kind::Switch => "TEXT",
    }
}

fn aligned(out: &mut String, name: &str, text: &str) {
    let gap = match name.chars().count() {
        width if width + 2 <= TEXT_COLUMN => " ".repeat(TEXT_COLUMN - width),
        _ => format!("\n{}", " ".repeat(TEXT_COLUMN)),
    };
    writeln!(out, "{name}{gap}{text}").expect("writing to memory");
}
