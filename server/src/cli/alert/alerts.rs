//! `alert query` and `alert add`.

use super::api::NewAlert;
use super::client::Client;
use super::error::AlertError;
use super::line::Line;
use super::matchers::Words;
use super::moment::Moment;
use super::print::Printer;

/// Shows alerts.
pub(super) async fn query(line: &Line, words: &Words) -> Result<(), AlertError> {
    let matchers = words.with_alertname(line.args());
    let states = ["active", "inhibited", "silenced", "unprocessed"];
    let none = !states.iter().any(|state| line.is_on(state));
    let shown = |state: &str| {
        let on = line.is_on(state) || (none && state == "active");
        if on { "true" } else { "false" }
    };
    let mut params = vec![("active", shown("active"))];
    params.extend(matchers.iter().map(|matcher| ("filter", matcher.as_str())));
    params.push(("inhibited", shown("inhibited")));
    if !line.text("receiver").is_empty() {
        params.push(("receiver", line.text("receiver")));
    }
    params.push(("silenced", shown("silenced")));
    params.push(("unprocessed", shown("unprocessed")));
    let alerts = Client::new(line).await?.alerts(&params).await?;
    Printer::new(line).alerts(alerts);
    Ok(())
}

/// Adds an alert.
pub(super) async fn add(line: &Line, words: &Words) -> Result<(), AlertError> {
    let labels = words.with_alertname(line.args());
    let labels = words.pairs(&labels, "labels")?;
    let annotations = words.pairs(line.all("annotation"), "annotations")?;
    let time = |flag| match line.text(flag) {
        "" => Ok(Moment::none()),
        text => Moment::parse(text),
    };
    let alert = NewAlert {
        starts_at: time("start")?,
        ends_at: time("end")?,
        annotations,
        generator_url: line.text("generator-url").to_owned(),
        labels,
    };
    Ok(Client::new(line).await?.add_alert(alert).await?)
}
