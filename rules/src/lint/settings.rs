//! The file for `--config`: which lints count, and what they compare with.

use std::collections::HashMap;

use model::nearest::nearest;
use yaml::{Duration, FromYaml as _, NodeKind, ScalarKind, Section, Value, YamlError};

use super::{LINTS, Lint, Severity};

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Lints with another severity than their own, by code; `None` for those that are off.
    severities: HashMap<&'static str, Option<Severity>>,
    /// How often rules are evaluated whose group does not say so.
    pub evaluation_interval_ms: Option<i64>,
    /// How often targets are scraped.
    pub scrape_interval_ms: Option<i64>,
    /// Numbers from which on something is told.
    pub thresholds: Thresholds,
}

/// Numbers from which on something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Series that a selector may have.
    pub series: u64,
    /// Samples that a selector may have to read at each evaluation.
    pub samples: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            series: 100_000,
            samples: 50_000_000,
        }
    }
}

impl Settings {
    /// Reads the configuration file `text`, called `path`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(path: &str, text: &str) -> Result<Self, YamlError> {
        let document = yaml::parse(path, text)?;
        let mut section = document.root().section("lint configuration")?;
        let mut settings = Settings::default();
        if let Some(lints) = section.value("lints") {
            settings.read_lints(lints)?;
        }
        let interval = |section: &mut Section<'_>, key| -> Result<Option<i64>, YamlError> {
            Ok(section.get::<Duration>(key)?.map(Duration::as_ms))
        };
        settings.evaluation_interval_ms = interval(&mut section, "evaluation_interval")?;
        settings.scrape_interval_ms = interval(&mut section, "scrape_interval")?;
        if let Some(value) = section.value("thresholds") {
            let mut section = value.section("thresholds")?;
            let Thresholds { series, samples } = settings.thresholds;
            settings.thresholds = Thresholds {
                series: section.get_or("series", series)?,
                samples: section.get_or("samples", samples)?,
            };
            section.finish()?;
        }
        section.finish()?;
        Ok(settings)
    }

    fn read_lints(&mut self, lints: Value<'_>) -> Result<(), YamlError> {
        let NodeKind::Mapping(pairs) = &lints.node.kind else {
            return Err(lints.unexpected("a mapping of lints to `off`, `on` or a severity"));
        };
        let at = |node| Value {
            document: lints.document,
            node,
        };
        for (key, value) in pairs {
            let (key, value) = (at(key), at(value));
            let word = String::from_yaml(key)?;
            let Some(lint) = Lint::find(&word) else {
                let known = LINTS.iter().flat_map(|lint| [lint.code, lint.name]);
                let error = key.error(format_args!("there is no lint `{word}`"));
                return Err(match nearest(&word, known) {
                    Some(known) => error.with_help(format!("did you mean `{known}`?")),
                    None => error,
                });
            };
            self.severities.insert(lint.code, severity(lint, value)?);
        }
        Ok(())
    }

    /// How bad findings of `lint` are; `None` where it is off.
    pub fn severity(&self, lint: &Lint) -> Option<Severity> {
        self.severities
            .get(lint.code)
            .copied()
            .unwrap_or(Some(lint.severity))
    }
}

fn severity(lint: &Lint, value: Value<'_>) -> Result<Option<Severity>, YamlError> {
    let scalar = value.scalar();
    match scalar.map(|scalar| (scalar.kind, scalar.text.as_str())) {
        Some((ScalarKind::Bool(on), _)) => Ok(on.then_some(lint.severity)),
        Some((_, "off")) => Ok(None),
        Some((_, "on")) => Ok(Some(lint.severity)),
        Some((_, word)) => [Severity::Info, Severity::Warning, Severity::Error]
            .into_iter()
            .find(|severity| severity.as_str() == word)
            .map(Some)
            .ok_or_else(|| value.unexpected("`off`, `on`, `info`, `warning` or `error`")),
        None => Err(value.unexpected("`off`, `on`, `info`, `warning` or `error`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn severity_of(settings: &Settings, code: &str) -> Option<Severity> {
        settings.severity(Lint::find(code).expect("a lint"))
    }

    #[test]
    fn lints_are_named_by_code_and_by_name() {
        let text = "lints: {NX101: off, rate-of-aggregate: info, nx103: on, NX104: error}\n\
                    scrape_interval: 15s\nthresholds: {series: 5}\n";
        let settings = Settings::read("lint.yml", text).expect("settings");
        let got = ["NX101", "NX102", "NX103", "NX104"].map(|code| severity_of(&settings, code));
        let want = [
            None,
            Some(Severity::Info),
            Some(Severity::Warning),
            Some(Severity::Error),
        ];
        assert_eq!(got, want);
        assert_eq!(
            (settings.scrape_interval_ms, settings.evaluation_interval_ms),
            (Some(15_000), None)
        );
        let thresholds = Thresholds {
            series: 5,
            ..Thresholds::default()
        };
        assert_eq!(settings.thresholds, thresholds);
    }

    #[test]
    fn mistakes_are_refused_with_their_place() {
        for (text, want) in [
            (
                "lints: {rate-of-gage: off}\n",
                "f:1:9: there is no lint `rate-of-gage` (did you mean `rate-of-gauge`?)",
            ),
            (
                "lints:\n  NX101: loud\n",
                "f:2:10: expected `off`, `on`, `info`, `warning` or `error`, found `loud`",
            ),
            (
                "lint: {}\n",
                "f:1:1: field lint not found in lint configuration (did you mean `lints`?)",
            ),
        ] {
            let error = Settings::read("f", text).expect_err(text);
            assert_eq!(error.to_string(), want);
        }
    }
}
