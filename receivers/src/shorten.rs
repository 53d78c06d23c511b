//! Texts that have to fit.

/// Stands where something was left out.
const MARK: &str = "…";

/// Shortens a text to `max` characters, the mark among them; says whether it had to.
pub(crate) fn to_chars(text: String, max: usize) -> (String, bool) {
    let Some((end, _)) = text.char_indices().nth(max) else {
        return (text, false);
    };
    // Compat: no mark where there is hardly room for one.
    if max <= 3 {
        return (text[..end].to_owned(), true);
    }
    let last = text[..end].char_indices().next_back().map_or(0, |(at, _)| at);
    (format!("{}{MARK}", &text[..last]), true)
}

/// Shortens a text to `max` bytes of whole characters, the mark among them; says whether it had to.
pub(crate) fn to_bytes(text: String, max: usize) -> (String, bool) {
    if text.len() <= max {
        return (text, false);
    }
    if max < MARK.len() {
        return (".".repeat(max), true);
    }
    let mut end = max - MARK.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (format!("{}{MARK}", &text[..end]), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_with_its_mark() {
        let chars = |text: &str, max| to_chars(text.to_owned(), max);
        assert_eq!(chars("äöü", 3), ("äöü".to_owned(), false));
        assert_eq!(chars("äöüß", 3), ("äöü".to_owned(), true));
        assert_eq!(chars("äöüßx", 4), ("äöü…".to_owned(), true));
        assert_eq!(chars("abc", 0), (String::new(), true));
        let bytes = |text: &str, max| to_bytes(text.to_owned(), max);
        assert_eq!(bytes("abcd", 4), ("abcd".to_owned(), false));
        assert_eq!(bytes("abcde", 4), ("a…".to_owned(), true));
        assert_eq!(bytes("ääää", 6), ("ä…".to_owned(), true));
        assert_eq!(bytes("ääää", 3), ("…".to_owned(), true));
        assert_eq!(bytes("ääää", 2), ("..".to_owned(), true));
    }
}
