//! What the API of an Alertmanager says, and is told: version 2. Members stand in the order in which the reference prints
//! them.

use std::collections::BTreeMap;

use notify::matcher::{MatchOp, Matcher};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::moment::Moment;

/// Labels or annotations.
pub(super) type Pairs = BTreeMap<String, String>;

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alert {
    #[serde(default)]
    pub(super) annotations: Pairs,
    pub(super) ends_at: Moment,
    pub(super) fingerprint: String,
    receivers: Vec<Value>,
    pub(super) starts_at: Moment,
    pub(super) status: AlertStatus,
    updated_at: Moment,
    #[serde(rename = "generatorURL", default, skip_serializing_if = "String::is_empty")]
    pub(super) generator_url: String,
    pub(super) labels: Pairs,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AlertStatus {
    inhibited_by: Vec<String>,
    // Alertmanagers before 0.28 do not tell of it.
    #[serde(default)]
    muted_by: Vec<String>,
    silenced_by: Vec<String>,
    pub(super) state: String,
}

/// A page of what happened. Events are printed as they come, and so are fields of later versions.
#[derive(Debug, Deserialize)]
pub(super) struct HistoryPage {
    pub(super) events: Vec<Value>,
    pub(super) next: Option<String>,
    #[serde(default)]
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewAlert {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: Pairs,
    pub(super) ends_at: Moment,
    pub(super) starts_at: Moment,
    #[serde(rename = "generatorURL", skip_serializing_if = "str::is_empty")]
    pub(super) generator_url: String,
    pub(super) labels: Pairs,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Silence {
    pub(super) id: String,
    status: SilenceStatus,
    pub(super) updated_at: Moment,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: Pairs,
    pub(super) comment: String,
    pub(super) created_by: String,
    pub(super) ends_at: Moment,
    pub(super) matchers: Vec<SilenceMatcher>,
    pub(super) starts_at: Moment,
}

#[derive(Debug, Deserialize, Serialize)]
struct SilenceStatus {
    state: String,
}

/// A silence to be added, or changed where it has an id.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewSilence<'s> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) id: &'s str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: &'s Pairs,
    pub(super) comment: &'s str,
    pub(super) created_by: &'s str,
    pub(super) ends_at: Moment,
    pub(super) matchers: &'s [SilenceMatcher],
    pub(super) starts_at: Moment,
}

/// A silence out of a file. What is wrong with it, the server says.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImportedSilence {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: Pairs,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    created_by: Option<String>,
    #[serde(default)]
    ends_at: Value,
    #[serde(default)]
    matchers: Value,
    #[serde(default)]
    starts_at: Value,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SilenceMatcher {
    // Alertmanagers before 0.22 do not tell of it.
    #[serde(default = "yes")]
    is_equal: bool,
    is_regex: bool,
    name: String,
    value: String,
}

fn yes() -> bool {
    true
}

impl From<&Matcher> for SilenceMatcher {
    fn from(matcher: &Matcher) -> Self {
        SilenceMatcher {
            is_equal: matches!(matcher.op, MatchOp::Equal | MatchOp::Regex),
            is_regex: matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex),
            name: matcher.name.clone(),
            value: matcher.value.clone(),
        }
    }
}

impl SilenceMatcher {
    /// The matcher, to be printed alone: its pattern may be none.
    pub(super) fn to_print(&self) -> Matcher {
        let literal = Matcher::new(MatchOp::Equal, &*self.name, &*self.value);
        let mut matcher = literal.expect("a literal needs no pattern");
        matcher.op = match (self.is_regex, self.is_equal) {
            (false, true) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Regex,
            (true, false) => MatchOp::NotRegex,
        };
        matcher
    }
}

/// What is answered to a new silence.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SilenceId {
    #[serde(rename = "silenceID")]
    pub(super) silence_id: String,
    // Only Narthex has some.
    #[serde(default)]
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) cluster: Cluster,
    pub(super) config: ConfigText,
    pub(super) uptime: Moment,
    pub(super) version_info: VersionInfo,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Cluster {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(default)]
    pub(super) peers: Vec<Peer>,
    pub(super) status: String,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Peer {
    pub(super) address: String,
    pub(super) name: String,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct ConfigText {
    pub(super) original: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VersionInfo {
    pub(super) branch: String,
    pub(super) build_date: String,
    pub(super) build_user: String,
    pub(super) go_version: String,
    pub(super) revision: String,
    pub(super) version: String,
}
