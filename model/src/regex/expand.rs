//! Replacement texts with references to groups: `$1`, `${1}`, `${name}`, `$$`.

/// A replacement text, taken apart once.
///
/// The rules are Go's: a name without braces is as long as letters, digits and underscores go (`$1x` is the group
/// called `1x`), references to groups that do not exist are empty, and a dollar sign that starts nothing stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
    Named(String),
}

impl Template {
    /// Takes `text` apart; every text is a template.
    pub fn new(text: &str) -> Self {
        let mut template = Template { parts: Vec::new() };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            template.push_text(before);
            if let Some(after) = after.strip_prefix('$') {
                template.push_text("$");
                rest = after;
            } else if let Some((reference, after)) = reference(after) {
                template.parts.push(reference);
                rest = after;
            } else {
                template.push_text("$");
                rest = after;
            }
        }
        template.push_text(rest);
        template
    }

    /// The whole text, if no reference is in it.
    pub fn as_constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text with references filled in: `numbered` gives a group by number, `named` by name; nothing means
    /// that the group does not exist or took no part in the match.
    pub fn expand<'t>(
        &self,
        out: &mut String,
        numbered: impl Fn(usize) -> Option<&'t str>,
        named: impl Fn(&str) -> Option<&'t str>,
    ) {
        for part in &self.parts {
            out.push_str(match part {
                Part::Text(text) => text,
                Part::Group(index) => numbered(*index).unwrap_or(""),
                Part::Named(name) => named(name).unwrap_or(""),
            });
        }
    }

    fn push_text(&mut self, text: &str) {
        match self.parts.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }
}

/// A reference behind its dollar sign, and what follows it.
fn reference(text: &str) -> Option<(Part, &str)> {
    let braced = text.strip_prefix('{');
    let body = braced.unwrap_or(text);
    let len = body
        .find(|c: char| c != '_' && !c.is_alphanumeric())
        .unwrap_or(body.len());
    let (name, rest) = body.split_at(len);
    let rest = if braced.is_some() {
        rest.strip_prefix('}')?
    } else {
        rest
    };
    if name.is_empty() {
        return None;
    }
    let leading_zero = name.len() > 1 && name.starts_with('0');
    let number = name.bytes().all(|b| b.is_ascii_digit()) && !leading_zero && name.len() < 9;
    let part = match name.parse() {
        Ok(index) if number => Part::Group(index),
        _ => Part::Named(name.to_owned()),
    };
    Some((part, rest))
}

#[cfg(test)]
mod tests {
    use super::Template;

    #[test]
    fn references_are_read_as_go_reads_them() {
        for (text, expanded) in [
            ("", ""),
            ("plain", "plain"),
            ("$1", "[1]"),
            ("${1}0", "[1]0"),
            ("$10", "[10]"),
            ("$1x", "<1x>"),
            ("$1_", "<1_>"),
            ("${1}_$2-$name", "[1]_[2]-<name>"),
            ("$$1", "$1"),
            ("$$$1", "$[1]"),
            ("$", "$"),
            ("a$", "a$"),
            ("${", "${"),
            ("${}", "${}"),
            ("${1", "${1"),
            ("${a b}", "${a b}"),
            ("$-$1", "$-[1]"),
            ("$01", "<01>"),
            ("$0", "[0]"),
            ("$é!", "<é>!"),
        ] {
            let numbers = ["[0]", "[1]", "[2]", "", "", "", "", "", "", "", "[10]"];
            let mut out = String::new();
            Template::new(text).expand(
                &mut out,
                |i| numbers.get(i).copied(),
                |name| {
                    ["<1x>", "<1_>", "<name>", "<01>", "<é>"]
                        .into_iter()
                        .find(|n| n[1..n.len() - 1] == *name)
                },
            );
            assert_eq!(out, expanded, "{text}");
        }
    }
}
