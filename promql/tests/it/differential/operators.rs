//! Operators and aggregations at one point in time, as they are defined.

use std::collections::{BTreeMap, BTreeSet};

use narthex_promql::ast::{Aggregate, AggregateOp, Binary, BinaryOp, Cardinality, Grouping, VectorMatching};

use super::functions::{extreme, quantile, sum, variance};
use super::reference::{LabelMap, Outcome, Point, Reference, Vector, Wrong, distinct, unnamed};

/// `None` where a comparison does not hold.
fn apply(op: BinaryOp, a: f64, b: f64) -> Option<f64> {
    let kept = |holds: bool| holds.then_some(a);
    match op {
        BinaryOp::Add => Some(a + b),
        BinaryOp::Sub => Some(a - b),
        BinaryOp::Mul => Some(a * b),
        BinaryOp::Div => Some(a / b),
        BinaryOp::Mod => Some(a % b),
        BinaryOp::Pow => Some(a.powf(b)),
        BinaryOp::Atan2 => Some(a.atan2(b)),
        BinaryOp::Equal => kept(a == b),
        BinaryOp::NotEqual => kept(a != b),
        BinaryOp::Greater => kept(a > b),
        BinaryOp::Less => kept(a < b),
        BinaryOp::GreaterEqual => kept(a >= b),
        BinaryOp::LessEqual => kept(a <= b),
        other => panic!("{other:?} is no operator on floats"),
    }
}

fn rounds(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow | BinaryOp::Atan2
    )
}

pub(super) fn binary(reference: &Reference<'_>, binary: &Binary, lhs: Point, rhs: Point) -> Outcome<Point> {
    let value = |a: f64, b: f64| match apply(binary.op, a, b) {
        found if binary.return_bool => Some(f64::from(u8::from(found.is_some()))),
        Some(found) if rounds(binary.op) => Some(reference.rounded(found)),
        found => found,
    };
    let drops_name = !binary.op.is_comparison() || binary.return_bool;
    let named = |vector: Vector| match drops_name {
        true => unnamed(vector.into_iter()),
        false => distinct(vector.into_iter()),
    };
    match (lhs, rhs) {
        (Point::Scalar(a), Point::Scalar(b)) => Ok(Point::Scalar(value(a, b).expect("a scalar"))),
        (Point::Vector(lhs), Point::Scalar(b)) => {
            let results = lhs.into_iter().filter_map(|(l, a)| Some((l, value(a, b)?)));
            named(results.collect())
        }
        (Point::Scalar(a), Point::Vector(rhs)) => {
            // A comparison keeps the vector's value.
            let result = |b: f64| value(a, b).map(|found| if drops_name { found } else { b });
            let results = rhs.into_iter().filter_map(|(l, b)| Some((l, result(b)?)));
            named(results.collect())
        }
        (Point::Vector(lhs), Point::Vector(rhs)) => {
            let matching = binary.matching.as_ref().expect("vectors are matched");
            match binary.op {
                BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => set(binary.op, matching, lhs, rhs),
                _ => join(matching, drops_name, lhs, rhs, &value),
            }
        }
    }
}

/// The labels by which series match.
fn signature(matching: &VectorMatching, labels: &LabelMap) -> LabelMap {
    let counts = |name: &String| match matching.on {
        true => matching.labels.contains(name),
        false => !matching.labels.contains(name) && name != "__name__",
    };
    let kept = labels.iter().filter(|(name, _)| counts(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn set(op: BinaryOp, matching: &VectorMatching, lhs: Vector, rhs: Vector) -> Outcome<Point> {
    let signatures = |vector: &Vector| -> BTreeSet<LabelMap> {
        vector
            .iter()
            .map(|(labels, _)| signature(matching, labels))
            .collect()
    };
    let (left, right) = (signatures(&lhs), signatures(&rhs));
    let mut result = lhs;
    match op {
        BinaryOp::And => result.retain(|(labels, _)| right.contains(&signature(matching, labels))),
        BinaryOp::Unless => result.retain(|(labels, _)| !right.contains(&signature(matching, labels))),
        _ => {
            let added = |(labels, _): &(LabelMap, f64)| !left.contains(&signature(matching, labels));
            result.extend(rhs.into_iter().filter(added));
        }
    }
    distinct(result.into_iter())
}

fn join(
    matching: &VectorMatching,
    drops_name: bool,
    lhs: Vector,
    rhs: Vector,
    value: &dyn Fn(f64, f64) -> Option<f64>,
) -> Outcome<Point> {
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if !fills && (lhs.is_empty() || rhs.is_empty()) {
        return Ok(Point::Vector(Vec::new()));
    }
    let one_left = matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if one_left { (rhs, lhs) } else { (lhs, rhs) };
    let mut partners: BTreeMap<LabelMap, (LabelMap, f64)> = BTreeMap::new();
    for (labels, value) in one {
        if partners
            .insert(signature(matching, &labels), (labels, value))
            .is_some()
        {
            return Err(Wrong::Refused);
        }
    }
    let mut matched = BTreeSet::new();
    let mut results = Vec::new();
    let mut lonely = partners.clone();
    // Fills are generated between single partners only, where the many side is the left one.
    let mut pairs: Vec<(LabelMap, f64, LabelMap, f64)> = Vec::new();
    for (labels, many_value) in many {
        let signature = signature(matching, &labels);
        lonely.remove(&signature);
        match (partners.get(&signature), matching.fill_right) {
            (Some((one_labels, one_value)), _) => {
                pairs.push((labels, many_value, one_labels.clone(), *one_value));
            }
            (None, Some(fill)) => pairs.push((labels, many_value, signature, fill)),
            (None, None) => {}
        }
    }
    for (signature, (labels, value)) in lonely {
        pairs.extend(matching.fill_left.map(|fill| (signature, fill, labels, value)));
    }
    for (labels, many_value, one_labels, one_value) in pairs {
        let signature = signature(matching, &labels);
        let mut result = labels;
        if drops_name {
            result.remove("__name__");
        }
        if matching.cardinality == Cardinality::OneToOne {
            result.retain(|name, _| matching.labels.contains(name) == matching.on);
        }
        for name in &matching.include {
            match one_labels.get(name) {
                Some(value) => result.insert(name.clone(), value.clone()),
                None => result.remove(name),
            };
        }
        // Each partner may be taken once, or once for each result where one side may repeat; comparisons filter later.
        let taken = match matching.cardinality {
            Cardinality::OneToOne => (signature, LabelMap::new()),
            _ => (signature, result.clone()),
        };
        if !matched.insert(taken) {
            return Err(Wrong::Refused);
        }
        let found = match one_left {
            false => value(many_value, one_value),
            true => value(one_value, many_value),
        };
        results.extend(found.map(|found| (result, found)));
    }
    distinct(results.into_iter())
}

impl Reference<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate, at_ms: i64) -> Outcome<Vector> {
        let op = aggregate.op;
        let mut vector = self.vector(&aggregate.expr, at_ms)?;
        let mut grouping = aggregate.grouping.clone().unwrap_or(Grouping {
            without: false,
            labels: Vec::new(),
        });
        let mut parameter = f64::NAN;
        match aggregate.param.as_deref().map(|param| &param.kind) {
            None => {}
            Some(narthex_promql::ast::ExprKind::String(label)) => {
                for (labels, value) in &mut vector {
                    labels.insert(label.clone(), shown(*value));
                }
                if !grouping.without {
                    grouping.labels.push(label.clone());
                }
            }
            Some(_) => {
                parameter = self.scalar(aggregate.param.as_deref().expect("a parameter"), at_ms)?;
            }
        }
        let mut groups: BTreeMap<LabelMap, Vector> = BTreeMap::new();
        for (labels, value) in vector {
            let group = grouped(&grouping, &labels);
            groups.entry(group).or_default().push((labels, value));
        }
        if matches!(op, AggregateOp::TopK | AggregateOp::BottomK) {
            let largest = op == AggregateOp::TopK;
            let chosen = groups
                .into_values()
                .map(|group| ranked(parameter, largest, group));
            return Ok(chosen.collect::<Outcome<Vec<Vector>>>()?.concat());
        }
        let result = |members: &Vector| {
            let values: Vec<f64> = members.iter().map(|(_, value)| *value).collect();
            let count = values.len() as f64;
            match op {
                AggregateOp::Sum => sum(&values),
                AggregateOp::Avg => self.rounded(sum(&values) / count),
                AggregateOp::Count | AggregateOp::CountValues => count,
                AggregateOp::Group => 1.0,
                AggregateOp::Min => extreme(&values, |new, old| new < old),
                AggregateOp::Max => extreme(&values, |new, old| new > old),
                AggregateOp::Stddev => self.rounded(variance(&values).sqrt()),
                AggregateOp::Stdvar => self.rounded(variance(&values)),
                AggregateOp::Quantile => self.rounded(quantile(parameter, &values)),
                other => panic!("{other:?} has no definition here"),
            }
        };
        Ok(groups
            .iter()
            .map(|(labels, members)| (labels.clone(), result(members)))
            .collect())
    }
}

/// A value as the label that `count_values` writes.
fn shown(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

fn grouped(grouping: &Grouping, labels: &LabelMap) -> LabelMap {
    let kept = |name: &String| match grouping.without {
        true => !grouping.labels.contains(name) && name != "__name__",
        false => grouping.labels.contains(name),
    };
    let kept = labels.iter().filter(|(name, _)| kept(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The first `k` by value, NaN behind all others.
fn ranked(k: f64, largest: bool, mut group: Vector) -> Outcome<Vector> {
    if k.is_nan() {
        return Err(Wrong::Refused);
    }
    if k < 1.0 {
        return Ok(Vec::new());
    }
    let order = |a: &f64, b: &f64| {
        let by_value = if largest {
            b.partial_cmp(a)
        } else {
            a.partial_cmp(b)
        };
        a.is_nan()
            .cmp(&b.is_nan())
            .then(by_value.unwrap_or(std::cmp::Ordering::Equal))
    };
    group.sort_by(|(_, a), (_, b)| order(a, b));
    let k = k as usize;
    if k < group.len() && order(&group[k - 1].1, &group[k].1).is_eq() {
        return Err(Wrong::Open);
    }
    group.truncate(k);
    Ok(group)
}
