//! Results as JUnit XML, for build servers.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use rules::unit::UnitReport;

/// Files of tests, as suites.
#[derive(Default)]
pub(super) struct Suites {
    xml: String,
}

impl Suites {
    /// Adds a file that was run.
    pub(super) fn add(&mut self, file: &Path, report: &UnitReport) {
        let mut cases = String::new();
        for test in &report.tests {
            // Writing to a String cannot fail, here and below.
            let _ = write!(cases, "<testcase name=\"{}\">", Escaped(&test.name));
            for failure in &test.failures {
                let _ = write!(cases, "<failure>{}</failure>", Escaped(&failure.to_string()));
            }
            cases.push_str("</testcase>");
        }
        match &report.error {
            Some(error) => self.abort(file, &error.to_string()),
            None => {
                let failures = report.tests.iter().map(|test| test.failures.len()).sum();
                self.suite(file, report.tests.len(), failures, 0, &cases);
            }
        }
    }

    /// Adds a file that could not be run.
    pub(super) fn abort(&mut self, file: &Path, error: &str) {
        let case = format!(
            "<testcase name=\"unknown\"><error>{}</error></testcase>",
            Escaped(error)
        );
        self.suite(file, 1, 0, 1, &case);
    }

    fn suite(&mut self, file: &Path, tests: usize, failures: usize, errors: usize, cases: &str) {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S");
        let name = file.to_string_lossy();
        let _ = write!(
            self.xml,
            "<testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"0\" \
             timestamp=\"{now}\">{cases}</testsuite>",
            Escaped(&name),
        );
    }

    /// The document.
    pub(super) fn xml(&self) -> String {
        format!("<testsuites>{}</testsuites>", self.xml)
    }
}

/// A text as XML has it; characters that XML cannot hold are replaced.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&#34;")?,
                '\'' => f.write_str("&#39;")?,
                '\t' => f.write_str("&#x9;")?,
                '\n' => f.write_str("&#xA;")?,
                '\r' => f.write_str("&#xD;")?,
                c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_safe_in_xml() {
        assert_eq!(
            Escaped("a<b>&\"c'\n\u{1}").to_string(),
            "a&lt;b&gt;&amp;&#34;c&#39;&#xA;\u{fffd}"
        );
    }
}
