//! Jira: an issue for each group, found again by a label.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::Method;
use futures_util::future::BoxFuture;
use httpclient::{HttpClientConfig, Request};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;
use url::Url;
use yaml::{Duration, FromYaml as _, Section, YamlError};

use crate::config::Kind;
use crate::group_key::hash;
use crate::http::{Answer, Client, JSON, SILENT_USER_AGENT, json_error};
use crate::integration::{Setup, Unbuilt};
use crate::loose::Loose;
use crate::receiver::{Failure, Memory, Receiver};
use crate::rendering::Rendering;
use crate::settings::{Settings as _, WebUrl, is_default};
use crate::{Global, Notification, json, shorten};

/// Jira's limits, in characters.
const SUMMARY_CHARS_MAX: usize = 255;
const DESCRIPTION_CHARS_MAX: usize = 32_767;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct JiraConfig {
    send_resolved: bool,
    http_config: HttpClientConfig,
    api_url: WebUrl,
    /// `auto`, `cloud` or `datacenter`.
    api_type: String,
    project: String,
    #[serde(skip_serializing_if = "is_default")]
    summary: Text,
    #[serde(skip_serializing_if = "is_default")]
    description: Text,
    #[serde(skip_serializing_if = "is_default")]
    labels: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    priority: String,
    issue_type: String,
    #[serde(skip_serializing_if = "is_default")]
    reopen_transition: String,
    #[serde(skip_serializing_if = "is_default")]
    resolve_transition: String,
    #[serde(skip_serializing_if = "is_default")]
    wont_fix_resolution: String,
    #[serde(skip_serializing_if = "is_default")]
    reopen_duration: Duration,
    #[serde(skip_serializing_if = "is_default")]
    fields: BTreeMap<String, Loose>,
}

/// A text of an issue, and whether an issue that is there already gets it, too.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Text {
    #[serde(skip_serializing_if = "is_default")]
    template: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_update: Option<bool>,
}

impl Text {
    /// Takes the key: a template, or a section.
    fn read(section: &mut Section<'_>, key: &'static str, default: &str) -> Result<Self, YamlError> {
        let template = default.to_owned();
        let text = Text {
            template,
            enable_update: None,
        };
        let Some(value) = section.raw_value(key) else {
            return Ok(text);
        };
        if value.scalar().is_some() {
            let template = String::from_yaml(value)?;
            return Ok(Text { template, ..text });
        }
        let mut section = value.section("type jira.plain")?;
        let text = Text {
            template: section.text_or("template", default)?,
            enable_update: section.get("enable_update")?,
        };
        section.finish()?;
        Ok(text)
    }

    fn is_updated(&self) -> bool {
        self.enable_update.unwrap_or(true)
    }
}

impl Kind for JiraConfig {
    const NAME: &'static str = "jira";
    const WHAT: &'static str = "type jira.plain";
    const MISSING: &'static str = "missing jira config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let api_url: Option<WebUrl> = section.get("api_url")?;
        let project = section.text("project")?;
        let issue_type = section.text("issue_type")?;
        let api_type = section.text_or("api_type", "auto")?;
        for (key, text) in [("project", &project), ("issue_type", &issue_type)] {
            if text.is_empty() {
                return Err(section.error(format_args!("missing {key} in jira_config")));
            }
        }
        if !matches!(api_type.as_str(), "auto" | "cloud" | "datacenter") {
            return Err(section.error_at(
                "api_type",
                "unknown api_type on jira_config, must be auto, cloud or datacenter",
            ));
        }
        Ok(JiraConfig {
            send_resolved: section.flag("send_resolved", true)?,
            http_config: section.http_config(global)?,
            api_url: api_url
                .or_else(|| global.jira_api_url.clone())
                .ok_or_else(|| section.error("no global Jira Cloud URL set"))?,
            api_type,
            project,
            summary: Text::read(section, "summary", r#"{{ template "jira.default.summary" . }}"#)?,
            description: Text::read(
                section,
                "description",
                r#"{{ template "jira.default.description" . }}"#,
            )?,
            labels: section.get_or("labels", Vec::new())?,
            priority: section.text_or("priority", r#"{{ template "jira.default.priority" . }}"#)?,
            issue_type,
            reopen_transition: section.text("reopen_transition")?,
            resolve_transition: section.text("resolve_transition")?,
            wont_fix_resolution: section.text("wont_fix_resolution")?,
            reopen_duration: section.get_or("reopen_duration", Duration::default())?,
            fields: section.get_or("fields", BTreeMap::new())?,
        })
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        Some(&mut self.http_config)
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(Arc::new(Jira {
            client: Client::called(&self.http_config, setup, SILENT_USER_AGENT)?.open(),
            config: self.clone(),
            setup: setup.clone(),
        }))
    }
}

struct Jira {
    config: JiraConfig,
    client: Client,
    setup: Setup,
}

/// An issue that was found.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Issue {
    key: String,
    fields: Option<IssueFields>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct IssueFields {
    status: Option<Status>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    #[serde(rename = "statusCategory")]
    category: StatusCategory,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StatusCategory {
    key: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Found {
    issues: Vec<Issue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Transitions {
    transitions: Vec<Transition>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Transition {
    id: String,
    name: String,
}

impl Issue {
    /// Whether it is done, as far as that is known.
    fn is_done(&self) -> Option<bool> {
        let status = self.fields.as_ref()?.status.as_ref()?;
        Some(status.category.key == "done")
    }
}

impl Receiver for Jira {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let found = self.search(notification, deadline).await;
            let found = found.map_err(|failure| failure.within("failed to look up existing issues: "))?;
            let (method, path) = match &found {
                Some(issue) => (Method::PUT, format!("issue/{}", issue.key)),
                // What is over needs no issue.
                None if !notification.is_firing() => return Ok(()),
                None => (Method::POST, "issue".to_owned()),
            };
            let fields = self.fields(notification, found.is_some())?;
            let asked = self
                .ask(
                    &method,
                    self.config.api_url.join(&path),
                    Some(&json!({"fields": fields})),
                    deadline,
                )
                .await;
            asked.map_err(|failure| failure.within(format!("failed to {method} request to {path:?}: ")))?;
            match found {
                Some(issue) => self.transition(&issue, notification.is_firing(), deadline).await,
                None => Ok(()),
            }
        })
    }
}

impl Jira {
    /// The group's issue: an open one, or one that was closed so lately that it is opened again.
    async fn search(&self, notification: &Notification, deadline: Instant) -> Result<Option<Issue>, Failure> {
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let project = texts.address(&self.config.project);
        texts.check("invalid project template or value: ")?;
        drop(texts);
        let jql = self.jql(notification, &project);
        let asked = json!({"fields": ["status"], "jql": jql, "maxResults": 2});
        let answer = self
            .ask(&Method::POST, self.search_url(), Some(&asked), deadline)
            .await;
        let answer = answer.map_err(|failure| failure.within("HTTP request to JIRA API: "))?;
        let found: Found =
            serde_json::from_slice(answer.whole()?).map_err(|error| Failure::last(json_error(&error)))?;
        Ok(found.issues.into_iter().next())
    }

    fn jql(&self, notification: &Notification, project: &str) -> String {
        let config = &self.config;
        let mut jql = String::new();
        if !config.wont_fix_resolution.is_empty() {
            // A resolution that is empty is unequal to nothing in Jira's eyes.
            let resolution = &config.wont_fix_resolution;
            jql.push_str(&format!(
                "(resolution is EMPTY or resolution != {resolution:?}) and "
            ));
        }
        let reopen_minutes = config.reopen_duration.as_ms() / 60_000;
        if notification.is_firing() && !config.reopen_transition.is_empty() && reopen_minutes > 0 {
            jql.push_str(&format!(
                "(resolutiondate is EMPTY OR resolutiondate >= -{reopen_minutes}m) and "
            ));
        } else {
            jql.push_str("statusCategory != Done and ");
        }
        let label = label_of(notification);
        jql.push_str(&format!(
            "project={project:?} and labels={label:?} order by status ASC,resolutiondate DESC"
        ));
        jql
    }

    /// Jira Cloud has given up the old search, and the others have not got the new one.
    fn search_url(&self) -> Url {
        let api = &self.config.api_url;
        let is_cloud = match self.config.api_type.as_str() {
            "cloud" => true,
            "auto" => api
                .url()
                .host_str()
                .is_some_and(|host| host.ends_with("atlassian.net")),
            _ => false,
        };
        if !is_cloud {
            return api.join("search");
        }
        let mut url = api.join("search/jql");
        let path = url.path().replacen("/rest/api/2/", "/rest/api/3/", 1);
        url.set_path(&path);
        url
    }

    /// The fields of an issue that is made, or of one that is there.
    fn fields(&self, notification: &Notification, is_there: bool) -> Result<Map<String, Json>, Failure> {
        let config = &self.config;
        let mut texts = self.setup.rendering(notification, &notification.alerts);
        let summary = render(&mut texts, "summary", &config.summary.template)?;
        let project = render(&mut texts, "project", &config.project)?;
        let issue_type = render(&mut texts, "issue_type", &config.issue_type)?;
        let mut own = Map::new();
        for (name, value) in &config.fields {
            // What a field of somebody's own may be is unknown here.
            let mut is_left_out = false;
            let rendered = value.render(&mut |template| {
                let part = texts.part(template);
                is_left_out |= part.is_none();
                texts.check("")?;
                Ok(part.unwrap_or_default())
            });
            let rendered = rendered.map_err(|failure| failure.within("fields template: "))?;
            if !is_left_out {
                own.insert(name.clone(), rendered);
            }
        }
        let (summary, _) = shorten::to_chars(summary, SUMMARY_CHARS_MAX);
        let description = self.description(&mut texts)?;
        let mut labels = vec![label_of(notification)];
        for (index, label) in config.labels.iter().enumerate() {
            labels.extend(texts.part(label));
            texts.check(&format!("labels[{index}] template: "))?;
        }
        labels.sort();
        let priority = render(&mut texts, "priority", &config.priority)?;
        let mut fields = Map::new();
        if !is_there || config.summary.is_updated() {
            fields.insert("summary".to_owned(), summary.into());
        }
        if let Some(description) = description.filter(|_| !is_there || config.description.is_updated()) {
            fields.insert("description".to_owned(), description);
        }
        fields.insert("issuetype".to_owned(), named(issue_type));
        fields.insert("labels".to_owned(), labels.into());
        fields.insert("project".to_owned(), json!({"key": project}));
        if !priority.is_empty() {
            fields.insert("priority".to_owned(), named(priority));
        }
        fields.extend(own);
        Ok(fields)
    }

    /// A text, or in version 3 of the API a document; none where it is empty.
    fn description(&self, texts: &mut Rendering<'_>) -> Result<Option<Json>, Failure> {
        let path = self.config.api_url.url().path();
        let is_document = path.trim_end_matches('/').ends_with("/3");
        let template = &self.config.description.template;
        let text = match is_document {
            true => texts.document(template),
            false => texts.text(template),
        };
        texts.check("description template: ")?;
        let (text, _) = shorten::to_chars(text, DESCRIPTION_CHARS_MAX);
        if !is_document {
            return Ok((!text.is_empty()).then(|| text.into()));
        }
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let document = serde_json::from_str(text);
        let document =
            document.map_err(|_| Failure::last("description template: invalid JSON for API v3"))?;
        Ok(Some(document))
    }

    /// Closes an issue that is over, opens one that is not.
    async fn transition(&self, issue: &Issue, is_firing: bool, deadline: Instant) -> Result<(), Failure> {
        let name = match (issue.is_done(), is_firing) {
            (Some(true), true) => &self.config.reopen_transition,
            (Some(false), false) => &self.config.resolve_transition,
            _ => return Ok(()),
        };
        if name.is_empty() || issue.key.is_empty() {
            return Ok(());
        }
        let url = self
            .config
            .api_url
            .join(&format!("issue/{}/transitions", issue.key));
        let answer = self.ask(&Method::GET, url.clone(), None, deadline).await?;
        let known: Transitions =
            serde_json::from_slice(answer.whole()?).map_err(|error| Failure::last(json_error(&error)))?;
        let Some(transition) = known.transitions.into_iter().find(|known| known.name == *name) else {
            let message = format!("can't find transition {name} for issue {}", issue.key);
            return Err(Failure::last(message));
        };
        let asked = json!({"transition": {"id": transition.id}});
        self.ask(&Method::POST, url, Some(&asked), deadline).await?;
        Ok(())
    }

    /// One request. Compat: only what the server says may be tried again, not a connection that fails.
    async fn ask(
        &self,
        method: &Method,
        url: Url,
        body: Option<&Json>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let request = Request::new(method.clone(), url)
            .header("content-type", JSON)
            .header("accept-language", "en")
            .body(body.map(json::body).unwrap_or_default());
        let answer = self.client.send(request, deadline).await;
        let answer = answer.map_err(|failure| Failure {
            retry: false,
            ..failure
        })?;
        answer.check(&[429])?;
        Ok(answer)
    }
}

/// The label by which a group's issue is found again.
fn label_of(notification: &Notification) -> String {
    format!("ALERT{{{}}}", hash(&notification.group_key))
}

fn named(name: String) -> Json {
    if name.is_empty() {
        json!({})
    } else {
        json!({"name": name})
    }
}

fn render(texts: &mut Rendering<'_>, what: &str, template: &str) -> Result<String, Failure> {
    let text = match what {
        "summary" => texts.line(template),
        // Jira has one of its own where none is given.
        "priority" => texts.extra(template),
        // Where an issue belongs and what it is: nothing else will do.
        _ => texts.address(template),
    };
    texts.check(&format!("{what} template: "))?;
    Ok(text)
}
