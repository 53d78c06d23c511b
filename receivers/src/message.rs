//! A notification as one JSON object: what webhooks get.

use template::{Object, Value};

/// The template data of a notification, and three fields more.
pub(crate) struct Message {
    pub(crate) data: Value,
    /// `firing` or `resolved`, where it is not that of the alerts in `data`.
    pub(crate) status: Option<&'static str>,
    pub(crate) version: &'static str,
    pub(crate) group_key: String,
    pub(crate) truncated_alerts: usize,
}

impl Message {
    /// The body of a request.
    pub(crate) fn body(self) -> Vec<u8> {
        // Labels, times and counts: nothing that JSON has no words for.
        let json = template::to_json(&Value::object(self)).unwrap_or_default();
        format!("{json}\n").into_bytes()
    }
}

impl Object for Message {
    fn type_name(&self) -> &'static str {
        "*webhook.Message"
    }

    fn fields(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("Receiver", "receiver"),
            ("Status", "status"),
            ("Alerts", "alerts"),
            ("NotificationReason", "notification_reason"),
            ("GroupLabels", "groupLabels"),
            ("CommonLabels", "commonLabels"),
            ("CommonAnnotations", "commonAnnotations"),
            ("RouteLabels", "routeLabels"),
            ("ExternalURL", "externalURL"),
            ("Version", "version"),
            ("GroupKey", "groupKey"),
            ("TruncatedAlerts", "truncatedAlerts"),
        ]
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Version" => Some(self.version.into()),
            "GroupKey" => Some(self.group_key.as_str().into()),
            "TruncatedAlerts" => Some(Value::Int(self.truncated_alerts as i64)),
            "Status" if self.status.is_some() => self.status.map(Value::from),
            other => match &self.data {
                Value::Object(data) => data.field(other),
                _ => None,
            },
        }
    }
}
