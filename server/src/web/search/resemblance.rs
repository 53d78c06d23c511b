//! How much a text resembles the words that are searched, from 0 to 1.
//!
//! Two measures, the reference's: how well the characters of a word are found in order (`subsequence`), and the distance of
//! Jaro and Winkler (W. E. Winkler, "String Comparator Metrics and Enhanced Decision Rules in the Fellegi-Sunter Model of
//! Record Linkage", 1990), which comes into play where a word is not simply a part of the text.

use std::borrow::Cow;

/// Characters of a text that are compared; what comes behind is looked at as a whole only (`jarowinkler`), or not at all.
pub(super) const TEXT_CHARS_MAX: usize = 1024;
/// How much all but equal texts resemble each other by their order of characters: a little less.
const UNEQUAL: f64 = 0.999;
/// What each of the first characters adds that two texts share, and how many of them do.
const SHARED_BEGIN: (f64, usize) = (0.1, 4);
/// A word at the very end of a text resembles it that much less than one at its begin.
const AT_THE_END: f64 = 0.9;

/// How resemblance is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Subsequence,
    JaroWinkler,
}

/// What is searched.
#[derive(Clone, Debug)]
pub(super) struct Words {
    words: Vec<(String, Vec<char>)>,
    measure: Measure,
    /// From 0 to 1.
    least: f64,
    case_sensitive: bool,
}

impl Words {
    /// `words`, empty ones left out. What resembles one of them by at least `least` is found.
    pub(super) fn new<'w>(
        words: impl IntoIterator<Item = &'w str>,
        measure: Measure,
        least: f64,
        case_sensitive: bool,
    ) -> Self {
        let words = words.into_iter().filter(|word| !word.is_empty()).map(|word| {
            let word = match case_sensitive {
                true => word.to_owned(),
                false => model::case::to_lower(word),
            };
            let chars = word.chars().collect();
            (word, chars)
        });
        Words {
            words: words.collect(),
            measure,
            least,
            case_sensitive,
        }
    }

    /// How much `text` resembles the word that it resembles most; `None` where that is not enough. Without words, all texts
    /// are found.
    pub(super) fn score(&self, text: &str) -> Option<f64> {
        if self.words.is_empty() {
            return Some(1.0);
        }
        let text = match self.case_sensitive {
            true => Cow::Borrowed(text),
            false => Cow::Owned(model::case::to_lower(text)),
        };
        let chars: Vec<char> = text.chars().take(TEXT_CHARS_MAX).collect();
        let scores = self
            .words
            .iter()
            .filter_map(|(word, word_chars)| match self.measure {
                Measure::Subsequence => self.by_order(&text, &chars, word, word_chars),
                Measure::JaroWinkler => self.by_place_or_likeness(&text, &chars, word, word_chars),
            });
        scores.max_by(f64::total_cmp)
    }

    fn by_order(&self, text: &str, chars: &[char], word: &str, word_chars: &[char]) -> Option<f64> {
        if text.starts_with(word) {
            return Some(1.0);
        }
        let score = subsequence(word_chars, chars);
        (score > 0.0 && score >= self.least).then_some(score)
    }

    fn by_place_or_likeness(
        &self,
        text: &str,
        chars: &[char],
        word: &str,
        word_chars: &[char],
    ) -> Option<f64> {
        if let Some(at) = text.find(word) {
            return Some(by_place(at, text, word));
        }
        if self.least == 0.0 {
            return None;
        }
        let score = jaro_winkler(word_chars, chars);
        (score >= self.least).then_some(score)
    }
}

/// The earlier a part begins at byte `at`, the better, counted in characters.
fn by_place(at: usize, text: &str, part: &str) -> f64 {
    let last = text.chars().count() - part.chars().count();
    match last {
        0 => 1.0,
        last => 1.0 - AT_THE_END * text[..at].chars().count() as f64 / last as f64,
    }
}

/// How well `word` is found in `text` character by character, in order.
///
/// From each place where the first character stands, each next one is taken where it comes first. A run of n characters
/// counts n², a character that is passed over -1/length, one behind the last -1/(2 length); the best begin counts, as a
/// part of the most that is possible.
fn subsequence(word: &[char], text: &[char]) -> f64 {
    let Some(first) = word.first() else { return 1.0 };
    if word == text {
        return 1.0;
    }
    let Some(last_begin) = text.len().checked_sub(word.len()) else {
        return 0.0;
    };
    let begins = (0..=last_begin).filter(|begin| text[*begin] == *first);
    let scores = begins.map_while(|begin| score_from(begin, word, text));
    let best = scores.max_by(f64::total_cmp).unwrap_or(0.0).max(0.0);
    best / (word.len() * word.len()) as f64 * UNEQUAL
}

/// `None` where not all of `word` is found, which holds for later begins, too.
fn score_from(begin: usize, word: &[char], text: &[char]) -> Option<f64> {
    let (mut runs, mut run, mut passed) = (0usize, 1usize, begin);
    let mut at = begin;
    for wanted in &word[1..] {
        let skipped = text[at + 1..].iter().position(|c| c == wanted)?;
        at += 1 + skipped;
        match skipped {
            0 => run += 1,
            _ => {
                runs += run * run;
                run = 1;
                passed += skipped;
            }
        }
    }
    let behind = text.len() - 1 - at;
    let length = text.len() as f64;
    Some((runs + run * run) as f64 - (passed as f64 + 0.5 * behind as f64) / length)
}

fn jaro_winkler(a: &[char], b: &[char]) -> f64 {
    if a == b {
        return 1.0;
    }
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let reach = (long.len() / 2).saturating_sub(1);
    let mut is_taken = vec![false; long.len()];
    let mut of_short = Vec::new();
    for (at, c) in short.iter().enumerate() {
        let near = at.saturating_sub(reach)..(at + reach + 1).min(long.len());
        let partner = near
            .into_iter()
            .find(|other| !is_taken[*other] && long[*other] == *c);
        if let Some(partner) = partner {
            is_taken[partner] = true;
            of_short.push(*c);
        }
    }
    if of_short.is_empty() {
        return 0.0;
    }
    let of_long = long
        .iter()
        .zip(&is_taken)
        .filter(|(_, taken)| **taken)
        .map(|(c, _)| c);
    let out_of_place = of_short.iter().zip(of_long).filter(|(a, b)| a != b).count();
    let shared = of_short.len() as f64;
    let in_order = (shared - out_of_place as f64 / 2.0) / shared;
    let jaro = (shared / short.len() as f64 + shared / long.len() as f64 + in_order) / 3.0;
    let (each, most) = SHARED_BEGIN;
    let begin = short
        .iter()
        .zip(long)
        .take(most)
        .take_while(|(a, b)| a == b)
        .count();
    jaro + begin as f64 * each * (1.0 - jaro)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores of the reference's (api: `search/metric_names`), and borders.
    #[test]
    fn texts_resemble_words_as_much_as_in_the_reference() {
        let (order, likeness) = (Measure::Subsequence, Measure::JaroWinkler);
        for (word, text, measure, least, score) in [
            ("jb", "job", order, 0.0, Some(0.41625)),
            ("jb", "scrape_job", order, 0.0, Some(0.299_7)),
            (
                "jb",
                "go_gc_heap_objects_objects",
                order,
                0.0,
                Some(0.292_975_961_538_461_5),
            ),
            (
                "prmths",
                "process_num_threads",
                order,
                0.0,
                Some(0.258_513_157_894_736_9),
            ),
            ("job", "jobs", order, 1.0, Some(1.0)),
            ("jobs", "job", order, 0.0, None),
            ("é", "aé", order, 0.5, None),
            ("", "anything", order, 1.0, Some(1.0)),
            ("procss", "process_cpu_seconds_total", likeness, 0.8, Some(0.848)),
            ("procss", "protocol", likeness, 0.8, Some(0.805_555_555_555_555_6)),
            ("procss", "protocol", likeness, 0.0, None),
            ("process", "process_cpu", likeness, 0.0, Some(1.0)),
            ("b", "ab", likeness, 0.0, Some(0.1)),
            ("é", "aéb", likeness, 0.0, Some(0.55)),
        ] {
            let found = Words::new([word], measure, least, true).score(text);
            let same = match (found, score) {
                (Some(found), Some(score)) => (found - score).abs() < 1e-12,
                (found, score) => found == score,
            };
            assert!(same, "{word} {text} {measure:?}: {found:?}");
        }
        let any = Words::new(["", "JOB", "node"], order, 0.0, false);
        assert_eq!((any.score("nodename"), any.score("Job")), (Some(1.0), Some(1.0)));
        assert_eq!(any.score("x"), None);
    }

    #[test]
    fn long_texts_are_compared_within_a_bound() {
        let long = "a".repeat(1 << 20);
        for measure in [Measure::Subsequence, Measure::JaroWinkler] {
            let word = format!("{}b", "a".repeat(TEXT_CHARS_MAX));
            let begin = std::time::Instant::now();
            assert!(
                Words::new([word.as_str()], measure, 0.5, true)
                    .score(&long)
                    .is_none_or(|score| score < 1.0)
            );
            assert!(begin.elapsed().as_secs() < 2, "{measure:?}");
        }
    }
}
