//! Changes to the matchers of a whole query, as `promql label-matchers set` and `delete` make them.

use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};

use super::{Expr, ExprKind, VectorSelector};

impl Expr {
    /// Calls `change` with every selector below this expression, from left to right.
    pub fn for_each_selector_mut(&mut self, change: &mut dyn FnMut(&mut VectorSelector)) {
        let mut waiting = vec![self];
        while let Some(expr) = waiting.pop() {
            match &mut expr.kind {
                ExprKind::Vector(selector) => change(selector),
                ExprKind::Matrix(matrix) => change(&mut matrix.selector),
                other => {
                    let before = waiting.len();
                    other.for_each_child_mut(&mut |child| waiting.push(child));
                    // The last one pushed is looked at first.
                    waiting[before..].reverse();
                }
            }
        }
    }

    /// Makes every selector ask `matcher` of its label: in place of what it asked of that label before, or in addition.
    pub fn set_matcher(&mut self, matcher: &Matcher) {
        self.for_each_selector_mut(&mut |selector| {
            let mut found = false;
            for old in selector
                .matchers
                .iter_mut()
                .filter(|old| old.name == matcher.name)
            {
                *old = matcher.clone();
                found = true;
            }
            if !found {
                selector.matchers.push(matcher.clone());
            }
            selector.settle_name();
        });
    }

    /// Takes every condition on label `name` away. The result may be something that the parser refuses: a selector
    /// without any condition.
    pub fn delete_matchers(&mut self, name: &str) {
        self.for_each_selector_mut(&mut |selector| {
            selector.matchers.retain(|matcher| matcher.name != name);
            selector.settle_name();
        });
    }
}

impl VectorSelector {
    /// Keeps the name in front of the braces only as long as a matcher asks for it, and that one at the end.
    fn settle_name(&mut self) {
        if self.name.is_empty() {
            return;
        }
        let asks_for_it =
            |m: &Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal && m.value == self.name;
        match self.matchers.iter().position(asks_for_it) {
            Some(at) => {
                let matcher = self.matchers.remove(at);
                self.matchers.push(matcher);
            }
            None => self.name.clear(),
        }
    }
}
