//! Evaluating a rule at many times at once.
//!
//! A query over many steps gives at each step what a query at that moment gives, and reads samples once instead of at each.
//! So rules that look at nothing that rules give are asked for [`STEPS_MAX`] evaluations ahead; all else goes as ever.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::labels::Labels;
use parking_lot::Mutex;
use promql::ast::{At, Duration, Expr, ExprKind, Modifiers};
use promql::engine::{EvalTime, InstantVector, QueryOptions, StandingQuestion};
use promql::parser::{ParseOptions, parse};
use promql::value::{Sample, SampleValue, Value};

use super::given::Given;
use super::remote::{RemoteSeries, RemoteStore};
use crate::error::EvalError;
use crate::rule::Rule;
use crate::source::{Asker, EngineSource, QuerySource};

/// Most evaluations that a query covers.
const STEPS_MAX: i64 = 240;
/// Evaluations that the first query covers, and the fewest: what cannot be had by so many is not asked ahead.
const STEPS_MIN: i64 = 15;
/// Samples that answers to come of all rules may hold together; a rule's first ones may be more.
const SAMPLES_MAX: usize = 2_000_000;

/// Functions of a query's steps, and the one that looks at series which no selector tells of.
const ALONE: [&str; 5] = ["start", "end", "step", "range", "info"];

/// Answers the rules of a group.
pub(super) struct Ahead {
    pub(super) source: EngineSource,
    /// A server elsewhere that is asked instead, and which series are not its own.
    pub(super) remote: Option<(Arc<RemoteStore>, Arc<Given>)>,
    /// The group's interval.
    pub(super) step_ms: i64,
    /// No evaluation looks at a later time.
    pub(super) last_ms: i64,
    /// Samples that the answers of a rule may hold; see [`samples_each`].
    pub(super) samples_max: usize,
    /// By the rules' numbers: answers of those that can be asked ahead.
    pub(super) rules: Vec<Option<Mutex<Answers>>>,
}

/// Answers to come, one each step.
pub(super) struct Answers {
    first_ms: i64,
    steps: VecDeque<Vec<Sample>>,
    /// How many are asked for next; none where they hold too much. Fewer after a query that fails: it may be one moment
    /// that does.
    wanted: i64,
    /// Up to when each moment is asked for alone.
    alone_until_ms: i64,
}

impl Answers {
    /// Those of a rule that can be asked ahead.
    pub(super) fn of(rule: &Rule, given: &Given) -> Option<Mutex<Self>> {
        can_be_ahead(&rule.expr, given).then(|| {
            Mutex::new(Answers {
                first_ms: 0,
                steps: VecDeque::new(),
                wanted: STEPS_MIN,
                alone_until_ms: i64::MIN,
            })
        })
    }

    /// Asks for more the next time as long as they hold no more than `samples_max`.
    fn adapt(&mut self, num_samples: usize, samples_max: usize) {
        let each = num_samples.div_ceil(self.steps.len().max(1)).max(1);
        let most = i64::try_from(samples_max / each).unwrap_or(i64::MAX);
        self.wanted = (self.wanted * 2).min(STEPS_MAX).min(most);
        if self.wanted < STEPS_MIN {
            self.wanted = 0;
        }
    }

    fn take(&mut self, at_ms: i64, step_ms: i64) -> Option<Vec<Sample>> {
        while self.first_ms < at_ms && self.steps.pop_front().is_some() {
            self.first_ms += step_ms;
        }
        if self.first_ms != at_ms {
            return None;
        }
        let samples = self.steps.pop_front()?;
        self.first_ms += step_ms;
        Some(samples)
    }
}

/// How many samples the answers of each of so many rules may hold.
pub(super) fn samples_each(num_rules: usize) -> usize {
    SAMPLES_MAX / num_rules.max(1)
}

/// Whether a query over many steps gives what many queries give, and nothing that rules write changes it.
fn can_be_ahead(expr: &Expr, given: &Given) -> bool {
    let mut can = true;
    // The first and last step, and the distance of steps, are others then.
    let depends = |modifiers: &Modifiers| {
        matches!(modifiers.at, Some(At::Start | At::End))
            || matches!(modifiers.offset, Some(Duration::Expr(_)))
    };
    let is_expr = |duration: &Duration| matches!(duration, Duration::Expr(_));
    expr.walk(&mut |expr| {
        can &= match &expr.kind {
            ExprKind::Vector(selector) => {
                !depends(&selector.modifiers) && !given.may_match(&selector.matchers)
            }
            ExprKind::Matrix(matrix) => {
                let selector = &matrix.selector;
                let of_steps = depends(&selector.modifiers) || is_expr(&matrix.range);
                !of_steps && !given.may_match(&selector.matchers)
            }
            ExprKind::Subquery(subquery) => {
                let durations = [Some(&subquery.range), subquery.step.as_ref()];
                !depends(&subquery.modifiers) && !durations.into_iter().flatten().any(is_expr)
            }
            ExprKind::Call(call) => !ALONE.contains(&call.function.name),
            _ => true,
        };
    });
    can
}

impl Ahead {
    /// Asks for the answers from `at_ms` on; says whether there are any.
    fn ask(&self, expr: &Expr, text: &str, at_ms: i64, answers: &mut Answers) -> bool {
        let until_ms = at_ms.saturating_add((answers.wanted - 1).saturating_mul(self.step_ms));
        let end_ms = until_ms.min(self.last_ms).max(at_ms);
        let len = (end_ms - at_ms) / self.step_ms + 1;
        let mut steps: VecDeque<Vec<Sample>> = (0..len).map(|_| Vec::new()).collect();
        let mut put = |labels: &Labels, timestamp_ms: i64, value: SampleValue| {
            let step = usize::try_from((timestamp_ms - at_ms) / self.step_ms);
            if let Some(samples) = step.ok().and_then(|step| steps.get_mut(step)) {
                samples.push(Sample {
                    labels: labels.clone(),
                    timestamp_ms,
                    value,
                });
            }
        };
        if !self.series(expr, text, at_ms, end_ms, &mut put) {
            answers.alone_until_ms = end_ms;
            answers.wanted = (answers.wanted / 2).max(STEPS_MIN);
            return false;
        }
        answers.first_ms = at_ms;
        answers.steps = steps;
        let num_samples: usize = answers.steps.iter().map(Vec::len).sum();
        answers.adapt(num_samples, self.samples_max);
        true
    }
}

impl Ahead {
    /// Hands over what an expression gives at many times; says whether it can be had.
    fn series(
        &self,
        expr: &Expr,
        text: &str,
        start_ms: i64,
        end_ms: i64,
        put: &mut dyn FnMut(&Labels, i64, SampleValue),
    ) -> bool {
        let step_ms = self.step_ms;
        if let Some((store, _)) = &self.remote {
            let Ok(answer) = store.remote().range(text, start_ms, end_ms, step_ms) else {
                // Asked for each time alone, it tells what is wrong.
                return false;
            };
            for series in &answer {
                for (timestamp_ms, value) in &series.samples {
                    put(&series.labels, *timestamp_ms, SampleValue::Float(*value));
                }
            }
            return true;
        }
        let time = EvalTime::Range {
            start_ms,
            end_ms,
            step_ms,
        };
        let (engine, storage) = (&self.source.engine, &*self.source.storage);
        let output = engine.evaluate(storage, expr, time, &QueryOptions::default());
        let Ok(Value::Matrix(answer)) = output.map(|output| output.value) else {
            return false;
        };
        for series in answer {
            for (timestamp_ms, value) in series.floats() {
                put(&series.labels, timestamp_ms, SampleValue::Float(value));
            }
            for (timestamp_ms, histogram) in &series.histograms {
                let value = SampleValue::Histogram(Arc::clone(histogram));
                put(&series.labels, *timestamp_ms, value);
            }
        }
        true
    }

    /// What a server elsewhere gives at one time.
    fn elsewhere(&self, store: &RemoteStore, text: &str, at_ms: i64) -> Result<Vec<Sample>, EvalError> {
        let answer = store.remote().range(text, at_ms, at_ms, self.step_ms);
        let answer = answer.map_err(|error| {
            store.note(&error);
            EvalError::Elsewhere(error)
        })?;
        let sample = |series: RemoteSeries| {
            let (timestamp_ms, value) = *series.samples.first()?;
            Some(Sample {
                labels: series.labels,
                timestamp_ms,
                value: SampleValue::Float(value),
            })
        };
        Ok(answer.into_iter().filter_map(sample).collect())
    }
}

impl QuerySource for Ahead {
    fn query(
        &self,
        question: StandingQuestion<'_>,
        text: &str,
        asker: Asker<'_>,
    ) -> Result<InstantVector, EvalError> {
        if let Some(answers) = &self.rules[question.number] {
            let answers = &mut *answers.lock();
            let at_ms = question.at_ms;
            if let Some(samples) = answers.take(at_ms, self.step_ms) {
                return Ok(InstantVector::of_samples(samples, at_ms));
            }
            if at_ms > answers.alone_until_ms
                && answers.wanted > 0
                && self.ask(question.expr, text, at_ms, answers)
                && let Some(samples) = answers.take(at_ms, self.step_ms)
            {
                return Ok(InstantVector::of_samples(samples, at_ms));
            }
            if let Some((store, _)) = &self.remote {
                let samples = self.elsewhere(store, text, at_ms)?;
                return Ok(InstantVector::of_samples(samples, at_ms));
            }
        }
        if let Some((store, _)) = &self.remote {
            store.at_ms.store(question.at_ms, Ordering::Relaxed);
        }
        self.source.query(question, text, asker)
    }

    fn query_text(&self, text: &str, at_ms: i64, asker: Asker<'_>) -> Result<Vec<Sample>, EvalError> {
        if let Some((store, given)) = &self.remote
            && let Ok(expr) = parse(text, &ParseOptions::ALL)
            && can_be_ahead(&expr, given)
        {
            return self.elsewhere(store, text, at_ms);
        }
        self.source.query_text(text, at_ms, asker)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use promql::engine::{Engine, EngineOptions, Standing};
    use promql::script::{Command, MemoryStore, load, parse_script};

    use super::*;
    use crate::format::{self, RuleKind};

    const MINUTE_MS: i64 = 60_000;
    const STEPS: i64 = 2 * STEPS_MAX + 7;
    const DATA: &str = "load 1m
  x{a=\"1\"} 0+1x300 _x20 stale 5x100
  x{a=\"2\"} 9-1x50 _x100 7x400
  y{a=\"1\"} _x30 1x500
  y{a=\"2\"} _x60 2x10 _x30 3x500
  z{a=\"1\", le=\"1\"} 0+2x500
  z{a=\"1\", le=\"+Inf\"} 0+3x500
  h{a=\"1\"} {{schema:0 sum:1 count:3 buckets:[1 2]}}+{{schema:0 sum:1 count:3 buckets:[1 2]}}x500
";

    fn rule(expr: &str) -> Rule {
        let rule = format::Rule {
            kind: RuleKind::Recording,
            name: "recorded".to_owned(),
            expr: parse(expr, &ParseOptions::ALL).expect("PromQL"),
            for_ms: 0,
            keep_firing_for_ms: 0,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        };
        Rule::new(&rule, &BTreeMap::new()).expect("a rule")
    }

    /// What each evaluation gives, in order of labels, or that it fails.
    fn answers(source: &dyn QuerySource, rule: &Rule) -> Vec<String> {
        let standing = Standing::new(1);
        let asker = Asker {
            file: "f",
            group: "g",
        };
        let ask = |step| {
            let question = StandingQuestion {
                expr: &rule.expr,
                standing: &standing,
                number: 0,
                round: None,
                at_ms: step * MINUTE_MS + 17,
            };
            let Ok(vector) = source.query(question, &rule.query, asker) else {
                return "fails".to_owned();
            };
            let mut samples: Vec<Sample> = vector.samples().collect();
            samples.sort_by(|a, b| a.labels.cmp(&b.labels));
            format!("{samples:?}")
        };
        (0..STEPS).map(ask).collect()
    }

    #[test]
    fn answers_ahead_are_those_of_each_moment() {
        let store = Arc::new(MemoryStore::new());
        for statement in parse_script(DATA) {
            let Command::Load(data) = statement.command.expect("a script") else {
                panic!("only data");
            };
            load(&data, &*store).expect("loaded");
        }
        let engine = Arc::new(Engine::new(EngineOptions {
            threads: 1,
            ..EngineOptions::default()
        }));
        let source = || EngineSource::new(engine.clone(), store.clone());
        let given = Given::new([rule("up")].iter());
        for (expr, is_ahead) in [
            ("x", true),
            ("rate(x[5m]) > 0", true),
            ("x offset -7m", true),
            ("x @ 600", true),
            ("topk(1, x)", true),
            ("absent(y)", true),
            ("vector(time()) or x", true),
            ("time() / 2", true),
            ("-{__name__=~\"x|y\"}", true),
            ("x + on () group_left () y", true),
            ("rate(h[5m])", true),
            ("histogram_quantile(0.5, rate(z[10m]))", true),
            ("max_over_time(sum(x)[10m:3m])", true),
            ("x @ end()", false),
            ("sum_over_time(x[10m] @ start())", false),
            ("x + recorded", false),
            ("count({a=\"1\"})", false),
        ] {
            let rule = rule(expr);
            // A few steps at a time, and then none.
            let samples_max = if expr == "x" { 20 } else { samples_each(3) };
            let rules = vec![Answers::of(&rule, &given)];
            assert_eq!(rules[0].is_some(), is_ahead, "{expr}");
            let ahead = Ahead {
                source: source(),
                remote: None,
                step_ms: MINUTE_MS,
                last_ms: STEPS * MINUTE_MS,
                samples_max,
                rules,
            };
            let (got, want) = (answers(&ahead, &rule), answers(&source(), &rule));
            let differs = got.iter().zip(&want).position(|(got, want)| got != want);
            if let Some(step) = differs {
                panic!("{expr} at step {step}: {} instead of {}", got[step], want[step]);
            }
        }
    }
}
