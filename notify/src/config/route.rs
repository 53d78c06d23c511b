//! Nodes of the routing tree as they are written.

use std::collections::{BTreeMap, BTreeSet};

use model::go::Quoted;
use model::labels::is_legacy_label_name;
use model::regex::Regex;
use serde::{Serialize, Serializer};
use yaml::{Duration, FromYaml, Section, Value, YamlError};

use crate::matcher::{MatchOp, Matcher, Matchers, Syntax};

/// A node, with what it says itself; what it inherits is found by [`crate::route::Tree`]. In the order of printing.
#[derive(Clone, Debug, Serialize)]
pub struct RouteConfig {
    /// Whom to tell; inherited where it is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub receiver: String,
    /// What alerts are grouped by; inherited where it is absent.
    #[serde(skip_serializing_if = "GroupBy::is_not_shown")]
    pub group_by: Option<GroupBy>,
    /// Labels and their values: the old way.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub r#match: BTreeMap<String, String>,
    /// Labels and patterns of their values: the old way.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_re: BTreeMap<String, String>,
    /// What alerts must be like.
    #[serde(skip_serializing_if = "Matchers::is_empty")]
    pub matchers: Matchers,
    /// Names of intervals in which it is mute.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mute_time_intervals: Vec<String>,
    /// Names of intervals outside of which it is mute.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub active_time_intervals: Vec<String>,
    /// Whether alerts go on to the siblings that follow.
    #[serde(rename = "continue")]
    pub continues: bool,
    /// Nodes below.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteConfig>,
    /// How long a new group waits for more alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_wait: Option<Duration>,
    /// How long a group waits from one notification to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_interval: Option<Duration>,
    /// After what time a notification is repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_interval: Option<Duration>,
    /// Labels that notifications carry; values are templates.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What alerts are grouped by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// All their labels: `['...']`.
    All,
    /// These labels, in the order written.
    Labels(Vec<String>),
}

impl GroupBy {
    fn is_not_shown(group_by: &Option<GroupBy>) -> bool {
        match group_by {
            None => true,
            Some(GroupBy::All) => false,
            Some(GroupBy::Labels(labels)) => labels.is_empty(),
        }
    }

    fn read(section: &Section<'_>, value: Value<'_>, syntax: Syntax) -> Result<Self, YamlError> {
        let names = Vec::<String>::from_yaml(value)?;
        let mut labels = Vec::with_capacity(names.len());
        let all = names.iter().any(|name| name == "...");
        for (index, name) in names.into_iter().enumerate().filter(|(_, name)| name != "...") {
            let refuse = |message: String| Err(section.error_at_item("group_by", index, message));
            if !syntax.is_label_name(&name) {
                return refuse(format!("invalid label name {} in group_by list", Quoted(&name)));
            }
            if labels.contains(&name) && !all {
                return refuse(format!("duplicated label {} in group_by", Quoted(&name)));
            }
            labels.push(name);
        }
        match (all, labels.is_empty()) {
            (true, true) => Ok(GroupBy::All),
            (true, false) => Err(section.error_at(
                "group_by",
                "cannot have wildcard group_by (`...`) and other labels at the same time",
            )),
            (false, _) => Ok(GroupBy::Labels(labels)),
        }
    }
}

impl Serialize for GroupBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            GroupBy::All => ["..."].serialize(serializer),
            GroupBy::Labels(labels) => labels.serialize(serializer),
        }
    }
}

impl Serialize for Matchers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(ToString::to_string))
    }
}

impl RouteConfig {
    /// Reads a node and those below it.
    ///
    /// # Errors
    /// When a value is malformed or a key unknown.
    pub fn read(value: Value<'_>, syntax: Syntax) -> Result<Self, YamlError> {
        let mut section = value.section("type config.plain")?;
        let group_by = section.value("group_by");
        let route = RouteConfig {
            receiver: section.get_or("receiver", String::new())?,
            group_by: group_by
                .map(|value| GroupBy::read(&section, value, syntax))
                .transpose()?,
            r#match: equals(&mut section, "match")?,
            match_re: patterns(&mut section, "match_re")?,
            matchers: matchers(&mut section, "matchers", syntax)?,
            mute_time_intervals: section.get_or("mute_time_intervals", Vec::new())?,
            active_time_intervals: section.get_or("active_time_intervals", Vec::new())?,
            continues: section.get_or("continue", false)?,
            routes: section.list("routes", |value| RouteConfig::read(value, syntax))?,
            group_wait: section.get("group_wait")?,
            group_interval: not_zero(&mut section, "group_interval")?,
            repeat_interval: not_zero(&mut section, "repeat_interval")?,
            labels: section.get_or("labels", BTreeMap::new())?,
        };
        if let Some(name) = route.labels.keys().find(|name| !syntax.is_label_name(name)) {
            let message = format!("invalid label name {} in route labels", Quoted(name));
            return Err(section.error_at("labels", message));
        }
        section.finish()?;
        Ok(route)
    }

    /// What alerts must be like, in all three ways of writing it, in the reference's order.
    pub(crate) fn all_matchers(&self) -> Matchers {
        all_matchers(&self.r#match, &self.match_re, &self.matchers).sorted()
    }

    /// What is asked of the root.
    pub(super) fn check_root(&self, section: &Section<'_>) -> Result<(), YamlError> {
        let complaint = if self.receiver.is_empty() {
            "root route must specify a default receiver"
        } else if !self.r#match.is_empty() || !self.match_re.is_empty() || !self.matchers.is_empty() {
            "root route must not have any matchers"
        } else if !self.mute_time_intervals.is_empty() {
            "root route must not have any mute time intervals"
        } else if !self.active_time_intervals.is_empty() {
            "root route must not have any active time intervals"
        } else {
            return Ok(());
        };
        Err(section.error_at("route", complaint))
    }

    /// Whether all receivers that are named exist; `value` is the node's own.
    pub(super) fn check_receivers(&self, value: Value<'_>, names: &BTreeSet<&str>) -> Result<(), YamlError> {
        self.check_below(value, |route, value| route.check_receivers(value, names))?;
        if self.receiver.is_empty() || names.contains(self.receiver.as_str()) {
            return Ok(());
        }
        let message = format!("undefined receiver {} used in route", Quoted(&self.receiver));
        Err(value.entry("receiver").unwrap_or(value).error(message))
    }

    /// Whether all intervals that are named exist.
    pub(super) fn check_intervals(&self, value: Value<'_>, names: &BTreeSet<&str>) -> Result<(), YamlError> {
        self.check_below(value, |route, value| route.check_intervals(value, names))?;
        let lists = [
            ("active_time_intervals", &self.active_time_intervals),
            ("mute_time_intervals", &self.mute_time_intervals),
        ];
        for (key, used) in lists {
            if let Some(name) = used.iter().find(|name| !names.contains(name.as_str())) {
                let message = format!("undefined time interval {} used in route", Quoted(name));
                return Err(value.entry(key).unwrap_or(value).error(message));
            }
        }
        Ok(())
    }

    fn check_below(
        &self,
        value: Value<'_>,
        check: impl Fn(&RouteConfig, Value<'_>) -> Result<(), YamlError>,
    ) -> Result<(), YamlError> {
        let below = value.entry("routes").map(|list| list.sequence()).transpose()?;
        let mut pairs = self.routes.iter().zip(below.unwrap_or_default());
        pairs.try_for_each(|(route, value)| check(route, value))
    }
}

/// Matchers of the two old maps and of the list.
pub(super) fn all_matchers(
    equals: &BTreeMap<String, String>,
    patterns: &BTreeMap<String, String>,
    list: &Matchers,
) -> Matchers {
    let equals = equals
        .iter()
        .map(|(name, value)| Matcher::new(MatchOp::Equal, name, value));
    // Compat: the pattern is shown with its anchors (`match and match_re`).
    let patterns = patterns
        .iter()
        .map(|(name, pattern)| Matcher::new(MatchOp::Regex, name, format!("^(?:{pattern})$")));
    let old = equals
        .chain(patterns)
        .map(|m| m.expect("compiled when it was read"));
    old.chain(list.iter().cloned()).collect()
}

/// A map from labels to values.
pub(super) fn equals(
    section: &mut Section<'_>,
    key: &'static str,
) -> Result<BTreeMap<String, String>, YamlError> {
    let map: BTreeMap<String, String> = section.get_or(key, BTreeMap::new())?;
    match map.keys().find(|name| !is_legacy_label_name(name)) {
        Some(name) => Err(section.error_at(key, format_args!("invalid label name {}", Quoted(name)))),
        None => Ok(map),
    }
}

/// A map from labels to patterns.
pub(super) fn patterns(
    section: &mut Section<'_>,
    key: &'static str,
) -> Result<BTreeMap<String, String>, YamlError> {
    let map = equals(section, key)?;
    for (name, pattern) in &map {
        let value = section.peek(key).and_then(|map| map.entry(name));
        if value.is_some_and(|value| value.is_null()) {
            let message = format!("invalid regexp value for {}", Quoted(name));
            return Err(section.error_at(key, message));
        }
        if let Err(error) = Regex::anchored_in_line(pattern) {
            return Err(value.map_or_else(|| section.error_at(key, &error), |value| value.error(&error)));
        }
    }
    Ok(map)
}

/// A list of texts that are matchers or lists of matchers, sorted.
pub(super) fn matchers(
    section: &mut Section<'_>,
    key: &'static str,
    syntax: Syntax,
) -> Result<Matchers, YamlError> {
    let lists = section.list(key, |value| {
        let text = String::from_yaml(value)?;
        syntax.matchers(&text).map_err(|error| value.error(error))
    })?;
    Ok(lists.into_iter().flatten().collect::<Matchers>().sorted())
}

fn not_zero(section: &mut Section<'_>, key: &'static str) -> Result<Option<Duration>, YamlError> {
    let duration: Option<Duration> = section.get(key)?;
    match duration {
        Some(zero) if zero.as_ms() == 0 => Err(section.error_at(key, format_args!("{key} cannot be zero"))),
        duration => Ok(duration),
    }
}
