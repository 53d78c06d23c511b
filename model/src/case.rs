//! Upper and lower case as Go maps it: character by character, never to more than one.
//!
//! Rust's mappings turn `ß` into `SS` and look at a word's end; relabelling and templates must not.

/// `text` with each character in its simple upper case: Go's `strings.ToUpper`.
pub fn to_upper(text: &str) -> String {
    text.chars().map(upper).collect()
}

/// `text` with each character in its simple lower case: Go's `strings.ToLower`.
pub fn to_lower(text: &str) -> String {
    text.chars().map(lower).collect()
}

/// Simple upper case of a character.
pub fn upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(single), None) => single,
        // Greek letters with iota: their capital is one character, though printing may want two.
        _ => match c {
            '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => offset(c, 8),
            '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => offset(c, 9),
            _ => c,
        },
    }
}

/// Simple lower case of a character.
pub fn lower(c: char) -> char {
    let mut mapped = c.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(single), None) => single,
        // A capital I with a dot, the only one whose full mapping has two characters.
        _ => 'i',
    }
}

fn offset(c: char, by: u32) -> char {
    char::from_u32(u32::from(c) + by).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::{to_lower, to_upper};

    #[test]
    fn one_character_stays_one() {
        assert_eq!(to_upper("straße ŉ ﬁ ᾳᾧ dž ÿ ΐ"), "STRAßE ŉ ﬁ ᾼᾯ DŽ Ÿ ΐ");
        assert_eq!(to_lower("ÄÖ İI ΟΔΟΣ ẞ Kelvin"), "äö ii οδοσ ß kelvin");
    }
}
