//! The table of lints, and a file for each.
//!
//! Codes: NX0 the linter itself, NX1 counters and gauges, NX2 conditions, NX3 labels and templates, NX4 lengths of time,
//! NX5 selectors, NX6 joins, NX7 rules beside each other.

mod absent_label;
mod alert_without_condition;
mod always_true;
mod counter_without_rate;
mod delta_of_counter;
mod dropped_label;
mod duplicate_rule;
mod failing_template;
mod for_below_interval;
mod glob_in_regex;
mod heavy_selector;
mod join_never_matches;
mod keep_firing_below_interval;
mod label_typo;
mod many_to_many;
mod never_true;
mod no_such_metric;
mod no_such_value;
mod quantile_without_le;
mod range_below_scrape_interval;
mod rate_of_aggregate;
mod rate_of_gauge;
mod regex_in_equality;
mod same_output;
mod selects_everything;
mod shadowed_alert;
mod template_in_recording_rule;
mod unknown_lint;
mod value_in_label;
mod wrong_unit;

use super::{Check, Explanation, Lint, Report, Severity};

/// All lints, by code.
pub static LINTS: &[&Lint] = &[
    &unknown_lint::LINT,
    &rate_of_gauge::LINT,
    &rate_of_aggregate::LINT,
    &delta_of_counter::LINT,
    &counter_without_rate::LINT,
    &quantile_without_le::LINT,
    &never_true::LINT,
    &always_true::LINT,
    &alert_without_condition::LINT,
    &wrong_unit::LINT,
    &dropped_label::LINT,
    &absent_label::LINT,
    &failing_template::LINT,
    &template_in_recording_rule::LINT,
    &value_in_label::LINT,
    &for_below_interval::LINT,
    &keep_firing_below_interval::LINT,
    &range_below_scrape_interval::LINT,
    &no_such_metric::LINT,
    &no_such_value::LINT,
    &glob_in_regex::LINT,
    &regex_in_equality::LINT,
    &selects_everything::LINT,
    &heavy_selector::LINT,
    &label_typo::LINT,
    &many_to_many::LINT,
    &join_never_matches::LINT,
    &duplicate_rule::LINT,
    &same_output::LINT,
    &shadowed_alert::LINT,
];
