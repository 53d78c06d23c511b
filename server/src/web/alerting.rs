//! `/api/v1/rules`, `/api/v1/alerts`, `/api/v1/alertmanagers`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::labels::Labels;
use model::matcher::Matcher;
use rules::{AlertSnapshot, AlertingSnapshot, GroupSnapshot, RuleSnapshot};
use serde_json::{Map, Value, json};

use super::answer::{ApiError, success_json};
use super::json::labels_value;
use super::params::{Params, Quoted};
use super::state::AlertingState;
use super::status::NEVER;

pub(crate) async fn alertmanagers(State(state): State<Arc<AlertingState>>) -> Response {
    let targets = state.notifier.alertmanagers();
    let list =
        |urls: Vec<String>| -> Vec<Value> { urls.into_iter().map(|url| json!({ "url": url })).collect() };
    success_json(&json!({
        "activeAlertmanagers": list(targets.active),
        "droppedAlertmanagers": list(targets.dropped),
    }))
}

pub(crate) async fn alerts(State(state): State<Arc<AlertingState>>) -> Response {
    let alerts: Vec<Value> = state.rules.alerts().iter().map(alert_json).collect();
    success_json(&json!({ "alerts": alerts }))
}

/// What a request wants to see of the rules.
struct Filter<'p> {
    groups: Vec<&'p str>,
    files: Vec<&'p str>,
    names: Vec<&'p str>,
    selectors: Vec<Vec<Matcher>>,
    alerting: bool,
    recording: bool,
    exclude_alerts: bool,
    /// Groups on a page; 0 for all.
    page: usize,
    next_token: &'p str,
}

impl<'p> Filter<'p> {
    fn new(params: &'p Params) -> Result<Self, ApiError> {
        params.whole().map_err(|error| ApiError::form(&error))?;
        let kind = params.get("type").to_lowercase();
        if !matches!(kind.as_str(), "" | "alert" | "record") {
            return Err(ApiError::parameter(
                "type",
                format_args!("not supported value {}", Quoted(&kind)),
            ));
        }
        let next_token = params.get("group_next_token");
        let page = match params.get("group_limit") {
            "" if !next_token.is_empty() => {
                let what = "group_limit needs to be present in order to paginate over the groups";
                return Err(ApiError::parameter("group_next_token", what));
            }
            "" => 0,
            text => match text.parse::<i32>() {
                Ok(page) if page > 0 => page as usize,
                Ok(_) => {
                    return Err(ApiError::parameter(
                        "group_limit",
                        "group_limit needs to be greater than 0",
                    ));
                }
                Err(error) => {
                    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
                    let fault = match error.kind() {
                        PosOverflow | NegOverflow => "value out of range",
                        _ => "invalid syntax",
                    };
                    let what = format!(
                        "group_limit needs to be a valid number: strconv.ParseInt: parsing {}: {fault}",
                        Quoted(text)
                    );
                    return Err(ApiError::parameter("group_limit", what));
                }
            },
        };
        Ok(Filter {
            groups: params.all("rule_group[]"),
            files: params.all("file[]"),
            names: params.all("rule_name[]"),
            selectors: params.selectors().map_err(ApiError::bad_data)?,
            alerting: kind != "record",
            recording: kind != "alert",
            exclude_alerts: exclude_alerts(params.get("exclude_alerts"))?,
            page,
            next_token,
        })
    }

    fn takes_group(&self, group: &GroupSnapshot) -> bool {
        (self.groups.is_empty() || self.groups.contains(&group.name.as_str()))
            && (self.files.is_empty() || self.files.contains(&group.file.as_str()))
    }

    fn takes_rule(&self, rule: &RuleSnapshot) -> bool {
        let kind = if rule.alerting.is_some() {
            self.alerting
        } else {
            self.recording
        };
        let name = self.names.is_empty() || self.names.contains(&rule.name.as_str());
        // Compat: a label that is a template matches by its text (api: `rules?match[]={who=~".+"}`).
        let selected = |matchers: &Vec<Matcher>| {
            matchers
                .iter()
                .all(|matcher| matcher.matches_labels(&rule.labels))
        };
        kind && name && (self.selectors.is_empty() || self.selectors.iter().any(selected))
    }
}

fn exclude_alerts(text: &str) -> Result<bool, ApiError> {
    if text.is_empty() {
        return Ok(false);
    }
    // Compat: in any letters, unlike other switches (api: `rules?exclude_alerts=tRuE`).
    match model::go::parse_bool(&text.to_lowercase()) {
        Some(exclude) => Ok(exclude),
        None => {
            let what = format!(
                "error converting exclude_alerts: strconv.ParseBool: parsing {}: invalid syntax",
                Quoted(text)
            );
            Err(ApiError::parameter("exclude_alerts", what))
        }
    }
}

pub(crate) async fn rules(State(state): State<Arc<AlertingState>>, params: Params) -> Response {
    let filter = match Filter::new(&params) {
        Ok(filter) => filter,
        Err(error) => return error.into_response(),
    };
    let groups = state.rules.snapshot();
    let mut rest = groups.iter().filter(|group| filter.takes_group(group));
    if !filter.next_token.is_empty() {
        let from = rest.clone().position(|group| token(group) == filter.next_token);
        let Some(from) = from else {
            let what = format!(
                "invalid group_next_token '{}'. were rule groups changed?",
                filter.next_token
            );
            return ApiError::parameter("group_next_token", what).into_response();
        };
        if from > 0 {
            rest.nth(from - 1);
        }
    }
    let mut shown = Vec::new();
    let mut data = Map::new();
    for group in rest {
        let rules: Vec<Value> = group
            .rules
            .iter()
            .filter(|rule| filter.takes_rule(rule))
            .map(|rule| rule_json(rule, filter.exclude_alerts))
            .collect();
        if rules.is_empty() {
            continue;
        }
        if filter.page > 0 && shown.len() == filter.page {
            data.insert("groupNextToken".to_owned(), token(group).into());
            break;
        }
        shown.push(group_json(group, rules));
    }
    data.insert("groups".to_owned(), shown.into());
    success_json(&data)
}

/// Names a group to the next request of a client that reads page by page.
fn token(group: &GroupSnapshot) -> String {
    let names = Labels::from_sorted([("file", group.file.as_str()), ("name", group.name.as_str())]);
    format!("{:016x}", names.hash64())
}

fn group_json(group: &GroupSnapshot, rules: Vec<Value>) -> Value {
    let mut json = json!({
        "name": group.name,
        "file": group.file,
        "rules": rules,
        "interval": seconds(group.interval_ms),
        "limit": group.limit,
        "evaluationTime": group.evaluation_time.as_secs_f64(),
        "lastEvaluation": time(group.last_evaluation_ns),
    });
    // Ours, hence only where it was asked for.
    if group.no_data != rules::NoData::default() {
        json["noData"] = group.no_data.as_str().into();
    }
    json
}

fn rule_json(rule: &RuleSnapshot, exclude_alerts: bool) -> Value {
    let mut map = Map::new();
    let mut set = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    set("name", rule.name.as_str().into());
    set("query", rule.query.as_str().into());
    set("labels", labels_value(&rule.labels));
    set("health", rule.health.as_str().into());
    if let Some(error) = &rule.last_error {
        set("lastError", error.to_string().into());
    }
    set("evaluationTime", rule.evaluation_time.as_secs_f64().into());
    set("lastEvaluation", time(rule.last_evaluation_ns).into());
    match &rule.alerting {
        None => set("type", "recording".into()),
        Some(alerting) => {
            set("type", "alerting".into());
            set("state", alerting.state.as_str().into());
            set("duration", seconds(alerting.for_ms));
            set("keepFiringFor", seconds(alerting.keep_firing_for_ms));
            set("annotations", labels_value(&alerting.annotations));
            set("alerts", alerts_json(alerting, exclude_alerts));
        }
    }
    Value::Object(map)
}

/// Compat: without the alerts the field is null, not missing.
fn alerts_json(alerting: &AlertingSnapshot, exclude: bool) -> Value {
    if exclude {
        Value::Null
    } else {
        alerting.alerts.iter().map(alert_json).collect()
    }
}

fn alert_json(alert: &AlertSnapshot) -> Value {
    let mut json = json!({
        "labels": labels_value(&alert.labels),
        "annotations": labels_value(&alert.annotations),
        "state": alert.state.as_str(),
        "activeAt": time(Some(alert.active_at_ns)),
        "value": alert.value_text(),
    });
    if let Some(since_ns) = alert.keep_firing_since_ns {
        json["keepFiringSince"] = time(Some(since_ns)).into();
    }
    json
}

/// Whole numbers without a fraction, as Go writes floats.
fn seconds(ms: i64) -> Value {
    if ms % 1000 == 0 {
        (ms / 1000).into()
    } else {
        (ms as f64 / 1000.0).into()
    }
}

fn time(ns: Option<i64>) -> String {
    let Some(ns) = ns else { return NEVER.to_owned() };
    let time = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S%.fZ").to_string()
}
