//! Environment variables in external labels: `$NAME`, `${NAME}`, and `$$` for a dollar.

/// Replaces references to variables; `lookup` gives the value of one, or `None` for an unset or empty one. Names that
/// gave nothing are added to `empty`.
///
/// Compat (`variables_in_external_labels_are_replaced`): the shell's special parameters (`$1`, `$?`, `$*` …) are names of
/// one character; a dollar before anything else stays; `${` without its end and `${}` vanish. The rules are those of Go's `os.Expand`.
pub(super) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>, empty: &mut Vec<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let (reference, length) = reference(behind);
        match reference {
            Reference::Dollar => out.push('$'),
            Reference::Malformed => {}
            Reference::Name(name) => match lookup(name).filter(|value| !value.is_empty()) {
                Some(value) => out.push_str(&value),
                None => empty.push(name.to_owned()),
            },
        }
        rest = &behind[length..];
    }
    out.push_str(rest);
    out
}

enum Reference<'t> {
    Name(&'t str),
    /// A dollar that stands for itself.
    Dollar,
    Malformed,
}

/// What stands behind a dollar, and how many bytes of it belong to the reference.
fn reference(behind: &str) -> (Reference<'_>, usize) {
    let is_special = |c: char| "*#$@!?-0123456789".contains(c);
    if let Some(inner) = behind.strip_prefix('{') {
        return match inner.find('}') {
            Some(0) => (Reference::Malformed, 2),
            Some(end) => (named(&inner[..end]), end + 2),
            None => (Reference::Malformed, 1),
        };
    }
    if let Some(c) = behind.chars().next().filter(|c| is_special(*c)) {
        return (named(&behind[..c.len_utf8()]), c.len_utf8());
    }
    let end = behind
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(behind.len());
    if end == 0 {
        (Reference::Dollar, 0)
    } else {
        (named(&behind[..end]), end)
    }
}

fn named(name: &str) -> Reference<'_> {
    if name == "$" {
        Reference::Dollar
    } else {
        Reference::Name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_as_go_replaces_them() {
        let lookup = |name: &str| match name {
            "FOO" => Some("bar".to_owned()),
            "1" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expanded) in [
            ("", ""),
            ("plain", "plain"),
            ("$FOO", "bar"),
            ("a${FOO}b", "abarb"),
            ("$FOO$FOO-x", "barbar-x"),
            ("$$FOO", "$FOO"),
            ("${$}", "$"),
            ("cost: 5$", "cost: 5$"),
            ("$ x", "$ x"),
            ("$1x", "onex"),
            ("${}x", "x"),
            ("${FOO", "FOO"),
            ("$EMPTY.$NONE", "."),
            ("${a b}", ""),
            ("$é", "$é"),
            ("é${FOO}é", "ébaré"),
        ] {
            assert_eq!(expand(text, &lookup, &mut Vec::new()), expanded, "{text}");
        }
        let mut empty = Vec::new();
        expand("$EMPTY $NONE $FOO", &lookup, &mut empty);
        assert_eq!(empty, ["EMPTY", "NONE"]);
    }
}
