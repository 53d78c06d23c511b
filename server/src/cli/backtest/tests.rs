//! Times of a command line.

use super::*;

const NOW: f64 = 1_793_491_200.0;

#[test]
fn times_are_of_three_kinds() {
    let read = |text: &str| moment(Some(&text.to_owned()), "from", NOW);
    for (text, want) in [
        ("2026-11-01T00:00:00Z", NOW),
        ("1793491200.5", NOW + 0.5),
        ("-5", -5.0),
        ("-1h", NOW - 3600.0),
        ("-1h30m", NOW - 5400.0),
        ("-7d", NOW - 7.0 * 86_400.0),
        ("-0", NOW),
    ] {
        assert_eq!(read(text).ok(), Some(want), "{text}");
    }
    assert_eq!(moment(None, "to", NOW).ok(), Some(NOW));
    for text in ["yesterday", "1h", "--1h", "-1x", "2026-11-01"] {
        let error = read(text).expect_err(text).to_string();
        let said = format!("--from: {text:?} is no time; give one like 2026-11-01T00:00:00Z, ");
        assert!(error.starts_with(&said), "{error}");
    }
}
