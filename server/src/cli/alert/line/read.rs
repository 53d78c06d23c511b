//! From words to what they ask for.

use std::collections::{HashMap, VecDeque};

use super::error::LineError;
use super::help::usage;
use super::value::{check, check_file};
use super::{Asked, Command, Flag, Kind, Line, Task};

/// Longest file of words (`@file`), in bytes.
const WORDS_BYTES_MAX: u64 = 1 << 20;
/// Most files of words in a line, those that stand in others included.
const WORD_FILES_MAX: usize = 100;

/// Reads the words behind the program's name. `settings` are values for flags of the program and of the command that are
/// not on the line; `version` is what `--version` prints.
///
/// # Errors
/// See [`LineError`].
pub(in crate::cli::alert) fn read(
    program: &'static Command,
    words: &[String],
    settings: &HashMap<String, String>,
    version: &str,
) -> Result<Asked, LineError> {
    let found = Reader::new(program, words).read()?;
    if found.gives("version") {
        return Ok(Asked::Print(version.to_owned()));
    }
    if found.gives("help") || found.path.len() == 1 {
        return Ok(Asked::Print(usage(&found.path)));
    }
    let mut line = found.defaults(settings)?;
    let values = found.take_values(&mut line);
    // Compat: that nobody said which server is told before what is wrong with a value (`misc`: an address without scheme).
    let asks_server = found.path.iter().any(|command| command.asks_server);
    // Where it is said behind that value, the value is what is wrong; scripts know the words of `amtool`.
    let is_said = program.name != "amtool" && found.names("alertmanager.url");
    if asks_server && !is_said && line.get("alertmanager.url").is_none() {
        return Err(LineError::NoServer);
    }
    let task = found.task()?;
    values?;
    found.check_required(&line)?;
    Ok(Asked::Do(task, line))
}

/// A part of a line, in its order.
enum Part {
    Flag(&'static Flag, String),
    Arg(String),
}

/// What stands in a line, before its values are looked at.
struct Found {
    /// The program and its commands, down to the innermost.
    path: Vec<&'static Command>,
    parts: Vec<Part>,
}

impl Found {
    fn flags(&self) -> impl Iterator<Item = &'static Flag> + '_ {
        self.path.iter().flat_map(|command| command.flags)
    }

    fn innermost(&self) -> &'static Command {
        self.path.last().expect("the program is there always")
    }

    /// Whether a switch is on the line.
    fn gives(&self, name: &str) -> bool {
        let is =
            |part: &Part| matches!(part, Part::Flag(flag, value) if flag.name == name && value == "true");
        self.parts.iter().any(is)
    }

    fn names(&self, name: &str) -> bool {
        let is = |part: &Part| matches!(part, Part::Flag(flag, _) if flag.name == name);
        self.parts.iter().any(is)
    }

    /// Values of flags that are not on the line: of settings, and defaults.
    fn defaults(&self, settings: &HashMap<String, String>) -> Result<Line, LineError> {
        let mut line = Line::default();
        for flag in self.flags().filter(|flag| !self.names(flag.name)) {
            // Compat: commands between the program and the innermost do not take settings.
            let takes_settings = [self.path[0], self.innermost()]
                .iter()
                .any(|command| command.flags.iter().any(|own| own.name == flag.name));
            let setting = settings.get(flag.name).filter(|_| takes_settings);
            if let Some(setting) = setting {
                check(flag, setting)?;
            }
            let default = Some(flag.default).filter(|default| !default.is_empty());
            if let Some(value) = setting.map(String::as_str).or(default) {
                line.values.insert(flag.name, vec![value.to_owned()]);
            }
        }
        Ok(line)
    }

    /// Takes the line's values, up to the first that is wrong.
    fn take_values(&self, line: &mut Line) -> Result<(), LineError> {
        let args = self.innermost().args.as_ref();
        for part in &self.parts {
            match part {
                Part::Flag(flag, value) => {
                    let known = line.values.contains_key(flag.name);
                    if known && flag.kind != Kind::Texts {
                        return Err(LineError::Repeated(flag.name));
                    }
                    check(flag, value)?;
                    line.values.entry(flag.name).or_default().push(value.clone());
                }
                Part::Arg(arg) => {
                    if args.is_some_and(|args| args.files) {
                        check_file(arg)?;
                    }
                    line.args.push(arg.clone());
                }
            }
        }
        Ok(())
    }

    fn task(&self) -> Result<Task, LineError> {
        let names = || self.path[1..].iter().map(|command| command.name);
        let task = self.innermost().task;
        task.ok_or_else(|| LineError::NoCommand(names().collect::<Vec<_>>().join(" ")))
    }

    fn check_required(&self, line: &Line) -> Result<(), LineError> {
        let missing = self
            .flags()
            .filter(|flag| flag.required && line.get(flag.name).is_none());
        let names: Vec<String> = missing.map(|flag| format!("'--{}'", flag.name)).collect();
        if names.is_empty() {
            Ok(())
        } else {
            Err(LineError::Required(names.join(", ")))
        }
    }
}

/// A word as it is meant.
#[derive(Clone, Debug)]
enum Token {
    Long(String),
    Short(char),
    Arg(String),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Long(name) => write!(f, "--{name}"),
            Token::Short(letter) => write!(f, "-{letter}"),
            Token::Arg(word) => f.write_str(word),
        }
    }
}

struct Reader {
    words: VecDeque<String>,
    /// Tokens that were taken out of words already.
    ahead: VecDeque<Token>,
    /// Whether all that follows are arguments (`--`).
    only_args: bool,
    word_files: usize,
    found: Found,
}

impl Reader {
    fn new(program: &'static Command, words: &[String]) -> Self {
        Reader {
            words: words.iter().cloned().collect(),
            ahead: VecDeque::new(),
            only_args: false,
            word_files: 0,
            found: Found {
                path: vec![program],
                parts: Vec::new(),
            },
        }
    }

    fn read(mut self) -> Result<Found, LineError> {
        while let Some(token) = self.next()? {
            match &token {
                Token::Long(_) | Token::Short(_) => match self.flag(&token)? {
                    Some(part) => self.found.parts.push(part),
                    // It may be one of the default command's.
                    None => match self.default_command() {
                        Some(command) => {
                            self.found.path.push(command);
                            self.ahead.push_front(token);
                        }
                        None => {
                            return Err(LineError::UnknownFlag {
                                flag: token.to_string(),
                            });
                        }
                    },
                },
                Token::Arg(word) => self.word(word)?,
            }
        }
        while let Some(command) = self.default_command() {
            self.found.path.push(command);
        }
        Ok(self.found)
    }

    /// The command that is meant where none is named; none where help is asked for.
    fn default_command(&self) -> Option<&'static Command> {
        let mut commands = self.found.innermost().commands.iter();
        commands.find(|command| command.is_default && !self.found.gives("help"))
    }

    /// Takes a word: a command's name or an argument.
    fn word(&mut self, word: &str) -> Result<(), LineError> {
        let innermost = self.found.innermost();
        if !innermost.commands.is_empty() {
            let named = innermost.commands.iter().find(|command| command.name == word);
            if let Some(command) = named {
                self.found.path.push(command);
                return Ok(());
            }
            let Some(command) = self.default_command() else {
                return Err(LineError::UnknownCommand(word.to_owned()));
            };
            self.found.path.push(command);
            return self.word(word);
        }
        let taken = self.found.parts.iter().any(|part| matches!(part, Part::Arg(_)));
        match &innermost.args {
            Some(args) if args.many || !taken => {
                self.found.parts.push(Part::Arg(word.to_owned()));
                Ok(())
            }
            _ => Err(LineError::TooMany(word.to_owned())),
        }
    }

    /// Takes a flag and its value; `None` where no command so far has it.
    fn flag(&mut self, token: &Token) -> Result<Option<Part>, LineError> {
        let named = |name: &str| self.found.flags().find(|flag| flag.name == name);
        let (flag, on) = match token {
            Token::Long(name) => match (named(name), name.strip_prefix("no-").and_then(named)) {
                (Some(flag), _) => (Some(flag), true),
                (None, Some(flag)) if flag.kind == Kind::Switch => (Some(flag), false),
                _ => (None, true),
            },
            Token::Short(letter) => (self.short(*letter), true),
            Token::Arg(_) => (None, true),
        };
        let Some(flag) = flag else {
            return Ok(None);
        };
        if flag.kind == Kind::Switch {
            // Compat: what stands behind `=` is a word of its own.
            return Ok(Some(Part::Flag(flag, on.to_string())));
        }
        match self.next()? {
            Some(Token::Arg(value)) => Ok(Some(Part::Flag(flag, value))),
            _ => Err(LineError::NoValue(token.to_string())),
        }
    }

    fn short(&self, letter: char) -> Option<&'static Flag> {
        self.found.flags().find(|flag| flag.short == Some(letter))
    }

    fn next(&mut self) -> Result<Option<Token>, LineError> {
        if let Some(token) = self.ahead.pop_front() {
            return Ok(Some(token));
        }
        let Some(word) = self.words.pop_front() else {
            return Ok(None);
        };
        if self.only_args {
            return Ok(Some(Token::Arg(word)));
        }
        if word == "--" {
            self.only_args = true;
            return self.next();
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            self.ahead.extend(value.map(|value| Token::Arg(value.to_owned())));
            return Ok(Some(Token::Long(name.to_owned())));
        }
        if let Some(letters) = word.strip_prefix('-') {
            return Ok(Some(self.letters(letters)));
        }
        match word.strip_prefix('@') {
            Some(path) => {
                self.read_words(path)?;
                self.next()
            }
            None => Ok(Some(Token::Arg(word))),
        }
    }

    /// The first of letters that stand together: a flag with its value, or several switches.
    fn letters(&mut self, letters: &str) -> Token {
        let mut chars = letters.chars();
        let Some(letter) = chars.next() else {
            // Compat: a hyphen alone is an empty word (`check-config`: a hyphen).
            return Token::Arg(String::new());
        };
        let rest = chars.as_str();
        let takes_value = self.short(letter).is_some_and(|flag| flag.kind != Kind::Switch);
        if !rest.is_empty() && takes_value {
            self.ahead.push_back(Token::Arg(rest.to_owned()));
        } else if !rest.is_empty() {
            self.words.push_front(format!("-{rest}"));
        }
        Token::Short(letter)
    }

    /// Puts the lines of a file in the place of its name; empty lines and such that begin with `#` are left out.
    fn read_words(&mut self, path: &str) -> Result<(), LineError> {
        let failed = |source| LineError::Open {
            path: path.to_owned(),
            source,
        };
        self.word_files += 1;
        if self.word_files > WORD_FILES_MAX {
            return Err(failed(std::io::Error::other("too many files of words")));
        }
        if std::fs::metadata(path).map_err(failed)?.len() > WORDS_BYTES_MAX {
            return Err(failed(std::io::Error::other("the file is too long")));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines.collect::<Vec<&str>>().into_iter().rev() {
            self.words.push_front(line.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::commands::{AMTOOL, NARTHEX};
    use super::*;

    fn read_line(program: &'static Command, line: &str) -> Result<Asked, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let settings = HashMap::from([("author".to_owned(), "me".to_owned())]);
        read(program, &words, &settings, "1").map_err(|error| error.to_string())
    }

    fn done(line: &str) -> (Task, Line) {
        match read_line(&AMTOOL, &format!("--alertmanager.url=http://a {line}")) {
            Ok(Asked::Do(task, line)) => (task, line),
            Ok(Asked::Print(text)) => panic!("{line}: {text}"),
            Err(error) => panic!("{line}: {error}"),
        }
    }

    #[test]
    fn commands_need_not_be_named_and_flags_stand_anywhere() {
        for (line, task, args) in [
            ("alert", Task::QueryAlerts, &[][..]),
            ("alert foo a=b", Task::QueryAlerts, &["foo", "a=b"]),
            ("alert -s query", Task::QueryAlerts, &["query"]),
            ("alert -o json query foo", Task::QueryAlerts, &["foo"]),
            ("silence add foo -c why a=b", Task::AddSilence, &["foo", "a=b"]),
            ("silence -- -q", Task::QuerySilences, &["-q"]),
            ("config", Task::ShowConfig, &[]),
            ("config routes", Task::ShowRoutes, &[]),
            ("config routes test a=b", Task::TestRoutes, &["a=b"]),
            ("cluster", Task::ShowCluster, &[]),
        ] {
            let (found, read) = done(line);
            assert_eq!(
                (found, read.args()),
                (
                    task,
                    &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>()[..]
                )
            );
        }
    }

    #[test]
    fn values_are_the_lines_or_of_settings_or_defaults() {
        let (_, line) = done("silence add -cwhy --no-require-comment x=y --annotation a=b --annotation=c=d");
        assert_eq!((line.text("comment"), line.text("author")), ("why", "me"));
        assert_eq!(
            (line.text("duration"), line.is_on("require-comment")),
            ("1h", false)
        );
        assert_eq!(line.all("annotation"), ["a=b", "c=d"]);
        let (_, line) = done("silence add --author= y=z");
        assert_eq!(line.get("author"), Some(""));
    }

    #[test]
    fn what_is_wrong_is_said_in_the_references_words() {
        let url = "--alertmanager.url=http://a";
        for (line, words) in [
            ("nosuch".to_owned(), "expected command but got \"nosuch\""),
            ("alert --nosuch".to_owned(), "unknown long flag '--nosuch'"),
            ("alert -x".to_owned(), "unknown short flag '-x'"),
            ("alert -r".to_owned(), "expected argument for flag '-r'"),
            (
                "alert".to_owned(),
                "required flag --alertmanager.url not provided",
            ),
            (
                format!("{url} {url} alert"),
                "flag 'alertmanager.url' cannot be repeated",
            ),
            (format!("{url} silence import a b"), "unexpected b"),
            ("template".to_owned(), "must select a subcommand of 'template'"),
            (
                "template render".to_owned(),
                "required flag(s) '--template.glob', '--template.text' not provided",
            ),
            (
                format!("{url} alert -o x"),
                "enum value must be one of simple,extended,json, got 'x'",
            ),
        ] {
            let outcome = read_line(&AMTOOL, &line);
            assert_eq!(outcome.err().as_deref(), Some(words), "{line}");
        }
    }

    #[test]
    fn every_command_has_its_help_and_names_no_flag_twice() {
        fn walk(path: &mut Vec<&'static Command>) {
            let command = *path.last().expect("the program");
            let mut names: Vec<&str> = path
                .iter()
                .flat_map(|command| command.flags)
                .map(|flag| flag.name)
                .collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{}", command.name);
            assert!(usage(path).contains(command.help.lines().next().expect("a help text")));
            assert_eq!(
                command.task.is_some(),
                command.commands.is_empty(),
                "{}",
                command.name
            );
            for below in command.commands {
                path.push(below);
                walk(path);
                path.pop();
            }
        }
        walk(&mut vec![&AMTOOL]);
        walk(&mut vec![&NARTHEX]);
    }
}
