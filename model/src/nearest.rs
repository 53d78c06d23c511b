//! The word that was probably meant.

/// Longest word that is looked at, in letters: nobody means a novel.
const LETTERS_MAX: usize = 128;

/// The known word that is nearest to `word`, if it is near enough to have been meant: one change in three letters is a
/// slip, more is another word. Of several equally near ones one that goes on where `word` ends, then the first in
/// alphabetical order.
///
/// ```
/// use narthex_model::nearest::nearest;
/// assert_eq!(nearest("scrape_intervall", ["scrape_interval", "scrape_timeout"]), Some("scrape_interval"));
/// assert_eq!(nearest("scrape", ["alerting"]), None);
/// ```
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let letters = word.chars().count();
    if letters > LETTERS_MAX {
        return None;
    }
    let changes_max = (letters / 3).max(1);
    known
        .into_iter()
        .map(|known| (distance(word, known), !known.starts_with(word), known))
        .filter(|(changes, ..)| *changes <= changes_max)
        .min()
        .map(|(.., known)| known)
}

/// Levenshtein's distance, with a transposition of neighbours as one change.
///
/// ```
/// use narthex_model::nearest::distance;
/// assert_eq!(distance("severity", "severty"), 1);
/// assert_eq!(distance("severity", "sevreity"), 1);
/// ```
pub fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["rad", "rate", "irate", "replace", "sum", "storage.tsdb.path"];
        for (word, meant) in [
            ("rat", Some("rate")),
            ("reate", Some("rate")),
            ("raet", Some("rate")),
            ("repalce", Some("replace")),
            ("storage.tsdb.pth", Some("storage.tsdb.path")),
            ("average", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(LETTERS_MAX + 1), known), None);
    }
}
