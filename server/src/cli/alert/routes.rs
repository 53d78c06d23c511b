//! `config routes show` and `test`: where alerts go by a server's configuration, or by a file's.

use model::labels::Labels;
use notify::config::Config;
use notify::route::Tree;

use super::check_config::read_config;
use super::client::Client;
use super::error::AlertError;
use super::line::Line;
use super::matchers::Words;
use crate::alertmanager::in_the_references_words;
use crate::cli::render::{err, out};

/// Shows the whole tree.
pub(super) async fn show(line: &Line, words: &Words) -> Result<(), AlertError> {
    let tree = load(line, words).await;
    let tree = tree.map_err(|error| AlertError::ConfigOfTree(Box::new(error)))?;
    out(format_args!("Routing tree:\n{}", tree.show()));
    Ok(())
}

/// Shows which receivers an alert comes to, and whether they are the expected ones.
pub(super) async fn test(line: &Line, words: &Words) -> Result<(), AlertError> {
    let tree = load(line, words).await?;
    let labels = words.pairs(line.args(), "Labels").map_err(|error| match error {
        AlertError::Matcher(error) => AlertError::RouteLabel(error),
        other => other,
    })?;
    let labels = Labels::from_pairs(labels);
    if line.is_on("tree") {
        out(format_args!(
            "Matching routes:\n{}\n",
            tree.show_matching(&labels)
        ));
    }
    let nodes = tree.matching(&labels);
    let receivers = nodes
        .iter()
        .map(|node| tree.routes()[*node].options.receiver.as_str());
    let receivers = receivers.collect::<Vec<&str>>().join(",");
    out(&receivers);
    let expected = line.text("verify.receivers");
    if !expected.is_empty() && expected != receivers {
        out("WARNING: Expected receivers did not match resolved receivers.");
        return Err(AlertError::Said);
    }
    Ok(())
}

/// The tree of the file that the line names, or else of the server.
async fn load(line: &Line, words: &Words) -> Result<Tree, AlertError> {
    let config = match (line.get("config.file"), line.get("alertmanager.url")) {
        (Some(file), url) => {
            if url.is_some() {
                err("Warning: --config.file flag overrides the --alertmanager.url.");
            }
            read_config(file, words.syntax())?
        }
        (None, Some(_)) => {
            let text = Client::new(line).await?.status().await?.config.original;
            let config = Config::parse("", &text, words.syntax());
            config.map_err(|error| AlertError::Config(in_the_references_words(&error)))?
        }
        (None, None) => return Err(AlertError::NoConfig),
    };
    Ok(Tree::new(&config.route))
}
