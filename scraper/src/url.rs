//! A target's URL, written as Go writes it: it is shown, and targets are told apart by it.

use std::collections::BTreeMap;
use std::fmt::Write;

use model::labels::Labels;

use crate::target::PARAM_PREFIX;

/// The URL that a target's labels and the job's parameters make. No port is added, and none is taken away.
pub(crate) fn target_url(labels: &Labels, params: &BTreeMap<String, Vec<String>>) -> String {
    let mut params = params.clone();
    for (name, value) in labels {
        let Some(name) = name.strip_prefix(PARAM_PREFIX) else {
            continue;
        };
        let values = params.entry(name.to_owned()).or_default();
        match values.first_mut() {
            Some(first) => value.clone_into(first),
            None => values.push(value.to_owned()),
        }
    }
    let mut url = String::new();
    let scheme = labels.value("__scheme__");
    if !scheme.is_empty() {
        url.push_str(scheme);
        url.push(':');
    }
    url.push_str("//");
    url.push_str(labels.value("__address__"));
    let path = labels.value("__metrics_path__");
    if !path.is_empty() && !path.starts_with('/') {
        url.push('/');
    }
    escape(&mut url, path, |b| b"$&+,/:;=@".contains(&b), "%20");
    let mut separator = '?';
    for (name, values) in &params {
        for value in values {
            url.push(separator);
            separator = '&';
            escape(&mut url, name, |_| false, "+");
            url.push('=');
            escape(&mut url, value, |_| false, "+");
        }
    }
    url
}

/// Writes `text` with everything escaped but letters, digits, `-_.~` and what `also` names.
fn escape(url: &mut String, text: &str, also: impl Fn(u8) -> bool, space: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also(byte) {
            url.push(char::from(byte));
        } else if byte == b' ' {
            url.push_str(space);
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let labels = Labels::from_pairs([
            ("__scheme__", "http"),
            ("__address__", "[::1]:80"),
            ("__metrics_path__", "a b/ü?"),
            ("__param_module", "x&y"),
            ("__param_new", "~z z"),
        ]);
        let params = BTreeMap::from([
            ("module".to_owned(), vec!["old".to_owned(), "2".to_owned()]),
            ("a[]".to_owned(), vec![String::new()]),
        ]);
        assert_eq!(
            target_url(&labels, &params),
            "http://[::1]:80/a%20b/%C3%BC%3F?a%5B%5D=&module=x%26y&module=2&new=~z+z"
        );
    }
}
