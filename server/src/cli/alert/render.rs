//! `template render`: what a text looks like with the templates of files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use receivers::Templates;
use serde::Deserialize;
use template::notification::{self, Data, Pairs, WrittenData};
use template::{Dialect, Value};

use super::error::AlertError;
use super::line::Line;
use super::moment::Moment;
use crate::cli::render::out_text;

/// What templates see, as a file has it: the JSON that webhooks get. What is not there is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DataFile {
    receiver: Option<String>,
    status: Option<String>,
    alerts: Option<Vec<AlertFile>>,
    #[serde(rename = "notification_reason")]
    reason: Option<String>,
    group_labels: Option<Texts>,
    common_labels: Option<Texts>,
    common_annotations: Option<Texts>,
    route_labels: Option<Texts>,
    #[serde(rename = "externalURL")]
    external_url: Option<String>,
}

type Texts = BTreeMap<String, String>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AlertFile {
    status: Option<String>,
    labels: Option<Texts>,
    annotations: Option<Texts>,
    starts_at: Option<Moment>,
    ends_at: Option<Moment>,
    #[serde(rename = "generatorURL")]
    generator_url: Option<String>,
    fingerprint: Option<String>,
}

/// Renders the line's text.
pub(super) fn run(line: &Line) -> Result<(), AlertError> {
    let patterns: Vec<PathBuf> = line.all("template.glob").iter().map(PathBuf::from).collect();
    let templates = Templates::load(&patterns, "")?;
    let data = match line.get("template.data") {
        Some(path) => read(path)?,
        None => sample(),
    };
    let dialect = match line.text("template.type") {
        "html" => Dialect::Html,
        _ => Dialect::Text,
    };
    let data = Value::object(WrittenData::from(data));
    let text = templates.render(dialect, line.text("template.text"), data, Timestamp::now())?;
    out_text(&text);
    Ok(())
}

fn read(path: &str) -> Result<DataFile, AlertError> {
    let bytes = std::fs::read(path).map_err(|source| AlertError::Read {
        path: PathBuf::from(path),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(AlertError::Data)
}

impl From<DataFile> for WrittenData {
    fn from(file: DataFile) -> Self {
        let pairs = |texts: Option<Texts>| Pairs::new(texts.unwrap_or_default());
        let alerts = file
            .alerts
            .unwrap_or_default()
            .into_iter()
            .map(notification::Alert::from);
        WrittenData {
            status: file.status.unwrap_or_default(),
            data: Data {
                receiver: file.receiver.unwrap_or_default(),
                alerts: Arc::new(alerts.collect()),
                reason: file.reason.unwrap_or_default(),
                group_labels: pairs(file.group_labels),
                common_labels: pairs(file.common_labels),
                common_annotations: pairs(file.common_annotations),
                route_labels: pairs(file.route_labels),
                external_url: file.external_url.unwrap_or_default(),
            },
        }
    }
}

impl From<AlertFile> for notification::Alert {
    fn from(file: AlertFile) -> Self {
        let pairs = |texts: Option<Texts>| Pairs::new(texts.unwrap_or_default());
        let time = |moment: Option<Moment>| moment.unwrap_or_else(Moment::none).for_templates();
        notification::Alert {
            firing: file.status.as_deref() == Some("firing"),
            labels: pairs(file.labels),
            annotations: pairs(file.annotations),
            starts_at: time(file.starts_at),
            ends_at: time(file.ends_at),
            generator_url: file.generator_url.unwrap_or_default(),
            fingerprint: file.fingerprint.unwrap_or_default(),
        }
    }
}

/// Two made-up alerts, one of them resolved. Compat: with the reference's labels and values (`template`: no data).
fn sample() -> DataFile {
    let texts = |pairs: &[(&str, &str)]| -> Option<Texts> {
        Some(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    };
    let common = |of: &str| {
        [1, 2].map(|number| {
            (
                format!("common{of}key{number}"),
                format!("common{of}value{number}"),
            )
        })
    };
    let with_common = |pairs: &[(&str, &str)], of: &str| -> Option<Texts> {
        texts(pairs).map(|mut texts| {
            texts.extend(common(of));
            texts
        })
    };
    let now = Timestamp::now();
    let alert = |status: &str, labels, annotations, number: i64| AlertFile {
        status: Some(status.to_owned()),
        labels: with_common(labels, "label"),
        annotations: with_common(annotations, "annotation"),
        starts_at: Some(Moment::utc(now - SignedDuration::from_mins(5 * number))),
        ends_at: Some(Moment::utc(now)),
        generator_url: Some("https://generatorurl.com".to_owned()),
        fingerprint: Some(format!("fingerprint{number}")),
    };
    let first = [
        ("label1", "value1"),
        ("label2", "value2"),
        ("instance", "foo.bar:1234"),
    ];
    DataFile {
        receiver: Some("receiver".to_owned()),
        status: Some("alertstatus".to_owned()),
        alerts: Some(vec![
            alert(
                "firing",
                &first,
                &[("annotation1", "value1"), ("annotation2", "value2")],
                1,
            ),
            alert(
                "resolved",
                &[("foo", "bar"), ("baz", "qux")],
                &[("aaa", "bbb"), ("ccc", "ddd")],
                2,
            ),
        ]),
        group_labels: texts(&[
            ("grouplabelkey1", "grouplabelvalue1"),
            ("grouplabelkey2", "grouplabelvalue2"),
        ]),
        common_labels: with_common(&[], "label"),
        common_annotations: with_common(&[], "annotation"),
        external_url: Some("https://example.com".to_owned()),
        ..DataFile::default()
    }
}
