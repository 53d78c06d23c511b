//! Routing against the reference's: receivers in order, the tree as it is drawn, groups and their keys.

use std::collections::BTreeMap;

use model::labels::Labels;
use narthex_notify::config::Config;
use narthex_notify::matcher::Syntax;
use narthex_notify::route::Tree;
use serde::Deserialize;

#[derive(Deserialize)]
struct Line {
    config: String,
    yaml: Option<String>,
    show: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    receivers: Vec<String>,
    #[serde(default)]
    tree: String,
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
struct Group {
    receiver: String,
    group_key: String,
    group_labels: BTreeMap<String, String>,
}

#[test]
fn routes_are_the_references() {
    let Some(path) = testkit::conformance("notify/routes.jsonl") else {
        return;
    };
    let text = std::fs::read_to_string(path).expect("cases");
    let mut trees = BTreeMap::new();
    let mut alerts = 0;
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).expect("case");
        if let Some(yaml) = line.yaml {
            let config = Config::parse("alertmanager.yml", &yaml, Syntax::Fallback).expect(&line.config);
            let tree = Tree::new(&config.route);
            let shown = format!("Routing tree:\n{}\n", tree.show());
            assert_eq!(shown, line.show.expect("a tree"), "{}", line.config);
            trees.insert(line.config, tree);
            continue;
        }
        let (tree, labels) = (&trees[&line.config], line.labels.expect("labels"));
        check(
            tree,
            &Labels::from_pairs(&labels),
            &line.receivers,
            &line.tree,
            line.groups,
        );
        alerts += 1;
    }
    assert!(alerts > 100);
}

fn check(tree: &Tree, labels: &Labels, receivers: &[String], drawn: &str, mut groups: Vec<Group>) {
    let found: Vec<_> = tree
        .matching(labels)
        .into_iter()
        .map(|number| &tree.routes()[number])
        .collect();
    let names: Vec<&str> = found
        .iter()
        .map(|route| route.options.receiver.as_str())
        .collect();
    assert_eq!(names, receivers, "{labels}");
    assert_eq!(tree.show_matching(labels).trim_end(), drawn, "{labels}");
    let mut ours: Vec<Group> = found
        .iter()
        .map(|route| {
            let group_labels = route.options.group_labels(labels);
            Group {
                receiver: route.options.receiver.clone(),
                group_key: route.group_key(&group_labels),
                group_labels: group_labels
                    .iter()
                    .map(|(n, v)| (n.to_owned(), v.to_owned()))
                    .collect(),
            }
        })
        .collect();
    // Two nodes may have the same key; then their groups share what the log knows, and one of them is seen.
    ours.sort();
    ours.dedup();
    groups.sort();
    assert_eq!(ours, groups, "{labels}");
}
