//! Relabelling gives what the reference gives.

use narthex_model::labels::{LabelsBuilder, NameScheme};
use narthex_model::relabel::{RelabelAction, RelabelConfig, RelabelError, RelabelRule, apply};
use serde_json::Value;

/// Reads the rules of a case: YAML in the one form that the cases use, `- {key: value, …}` with values that are bare,
/// in single quotes, or lists of those.
fn rules(yaml: &str) -> Result<Vec<RelabelRule>, RelabelError> {
    yaml.lines().map(rule).collect()
}

fn rule(line: &str) -> Result<RelabelRule, RelabelError> {
    let mut config = RelabelConfig::default();
    let mut rest = line
        .strip_prefix("- {")
        .and_then(|l| l.strip_suffix('}'))
        .expect("flow mapping");
    while let Some((key, value)) = rest.split_once(": ") {
        let (values, after) = match value.strip_prefix('[') {
            Some(list) => {
                let (mut values, mut list) = (Vec::new(), list);
                while !list.starts_with(']') {
                    let (item, after) = scalar(list);
                    values.push(item);
                    list = after.trim_start_matches([',', ' ']);
                }
                (values, &list[1..])
            }
            None => {
                let (value, after) = scalar(value);
                (vec![value], after)
            }
        };
        rest = after.strip_prefix(", ").unwrap_or(after);
        let single = values[0].clone();
        match key {
            "source_labels" => config.source_labels = values,
            "separator" => config.separator = single,
            "regex" => config.regex = Some(single),
            "modulus" => config.modulus = single.parse().expect("number"),
            "target_label" => config.target_label = single,
            "replacement" => config.replacement = single,
            "action" => config.action = single.parse()?,
            _ => panic!("key {key}"),
        }
    }
    assert_eq!(rest, "");
    RelabelRule::new(config, NameScheme::Utf8)
}

fn scalar(text: &str) -> (String, &str) {
    match text.strip_prefix('\'') {
        Some(quoted) => quoted
            .split_once('\'')
            .map(|(s, rest)| (s.to_owned(), rest))
            .expect("closing quote"),
        None => {
            let end = text.find([',', ']']).unwrap_or(text.len());
            (text[..end].to_owned(), &text[end..])
        }
    }
}

fn pairs(object: &Value) -> Vec<(String, String)> {
    let object = object.as_object().expect("labels");
    let mut pairs: Vec<_> = object
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned()))
        .collect();
    pairs.sort();
    pairs
}

#[test]
fn conformance_relabelling() {
    let Some(text) = super::conformance("relabel-regex.jsonl") else {
        return;
    };
    let mut checked = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON line");
        let Some(yaml) = case["relabel"].as_str() else {
            continue;
        };
        checked += 1;
        let rules = match (rules(yaml), case["error"].as_str()) {
            (Ok(rules), None) => rules,
            (Err(refused), Some(error)) => {
                assert_eq!(refused.to_string(), error, "{yaml}");
                continue;
            }
            (result, error) => panic!("{yaml}: {:?} instead of {error:?}", result.err()),
        };
        let mut labels = LabelsBuilder::new();
        for (name, value) in pairs(&case["in"]) {
            labels.set(&name, &value);
        }
        assert_eq!(Value::Bool(apply(&rules, &mut labels)), case["keep"], "{line}");
        if case["keep"] == Value::Bool(true) {
            let out: Vec<_> = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            assert_eq!(out, pairs(&case["out"]), "{line}");
        }
    }
    assert!(checked > 120, "{checked} cases");
}

#[test]
fn wrong_rules_say_what_is_wrong() {
    let refused = |line: &str, scheme| {
        let config = rule(line).map(|rule| rule.config().clone());
        config
            .and_then(|config| RelabelRule::new(config, scheme))
            .err()
            .map(|e| e.to_string())
    };
    use NameScheme::{Legacy, Utf8};
    for (line, scheme, error) in [
        ("- {action: KEEP, regex: a}", Utf8, None),
        (
            "- {action: keepequal, source_labels: [a]}",
            Utf8,
            Some("relabel configuration for keepequal action requires 'target_label' value"),
        ),
        (
            "- {action: dropequal, source_labels: [a], target_label: b, regex: '(.*)'}",
            Utf8,
            Some("dropequal action requires only 'source_labels' and `target_label`, and no other fields"),
        ),
        (
            "- {action: keepequal, source_labels: [a], target_label: b, replacement: x}",
            Utf8,
            Some("'replacement' can not be set for keepequal action"),
        ),
        (
            "- {action: labelkeep, modulus: 8}",
            Utf8,
            Some("labelkeep action requires only 'regex', and no other fields"),
        ),
        (
            "- {action: labeldrop, separator: '-'}",
            Utf8,
            Some("labeldrop action requires only 'regex', and no other fields"),
        ),
        (
            "- {action: uppercase, source_labels: [a], target_label: b, replacement: x}",
            Utf8,
            Some("'replacement' can not be set for uppercase action"),
        ),
        (
            "- {action: labelmap, regex: a, replacement: ''}",
            Utf8,
            Some(r#""" is invalid 'replacement' for labelmap action"#),
        ),
        ("- {action: labelmap, regex: a, replacement: '$1-x'}", Utf8, None),
        (
            "- {action: labelmap, regex: a, replacement: '$1-x'}",
            Legacy,
            Some(r#""$1-x" is invalid 'replacement' for labelmap action"#),
        ),
        (
            "- {action: labelmap, regex: a, replacement: 'x_${1}_9$n'}",
            Legacy,
            None,
        ),
        (
            "- {action: labelmap, regex: a, replacement: '9${1}'}",
            Legacy,
            Some(r#""9${1}" is invalid 'replacement' for labelmap action"#),
        ),
        (
            "- {action: labelmap, regex: a, replacement: '${1'}",
            Legacy,
            Some(r#""${1" is invalid 'replacement' for labelmap action"#),
        ),
        (
            "- {action: replace, target_label: '$'}",
            Legacy,
            Some(r#""$" is invalid 'target_label' for replace action"#),
        ),
        ("- {action: replace, target_label: '${x}y'}", Legacy, None),
        (
            "- {action: replace, target_label: 'a-b'}",
            Legacy,
            Some(r#""a-b" is invalid 'target_label' for replace action"#),
        ),
        (
            "- {action: hashmod, modulus: 2, target_label: 'a-b'}",
            Legacy,
            Some(r#""a-b" is invalid 'target_label' for hashmod action"#),
        ),
        (
            "- {action: lowercase, target_label: '${1}'}",
            Legacy,
            Some(r#""${1}" is invalid 'target_label' for lowercase action"#),
        ),
        (
            "- {source_labels: [''], target_label: b}",
            Utf8,
            Some(r#""" is not a valid label name"#),
        ),
        (
            "- {regex: 'a**', target_label: b}",
            Utf8,
            Some("error parsing regexp: invalid nested repetition operator: `**`"),
        ),
    ] {
        assert_eq!(refused(line, scheme).as_deref(), error, "{line} {scheme:?}");
    }
    assert_eq!("Drop".parse::<RelabelAction>(), Ok(RelabelAction::Drop));
}

#[test]
fn a_dropping_rule_ends_the_chain() {
    let rules = rules("- {action: drop, source_labels: [a], regex: x}\n- {target_label: b, replacement: y}")
        .expect("rules");
    let mut labels = LabelsBuilder::new();
    labels.set("a", "x");
    assert!(!apply(&rules, &mut labels));
    assert_eq!(labels.value("b"), "");
    // Rule by rule, for explaining a chain.
    assert!(rules[1].apply(&mut labels));
    assert_eq!(labels.value("b"), "y");
}

#[test]
fn labelmap_does_not_see_its_own_labels() {
    let rules = rules("- {action: labelmap, regex: '(a+)', replacement: 'a$1'}").expect("rules");
    let mut labels = LabelsBuilder::new();
    labels.set("a", "1").set("aa", "2");
    assert!(apply(&rules, &mut labels));
    let out: Vec<_> = labels.iter().collect();
    assert_eq!(out, [("a", "1"), ("aa", "1"), ("aaa", "2")]);
}
