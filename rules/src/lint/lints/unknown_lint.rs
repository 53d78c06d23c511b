//! NX001: a comment that turns off what is not there.

use model::nearest::nearest;
use yaml::Position;

use super::{Check, Explanation, LINTS, Lint, Report, Severity};
use crate::lint::view::View;

pub(super) static LINT: Lint = Lint {
    code: "NX001",
    name: "unknown-lint",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "A comment turns off a lint that does not exist.",
        why: "The comment has no effect, and what it was meant to turn off comes up again. Name the lint by its code or by \
              its name; `narthex lint explain` lists them.",
        wrong: "# lint:disable NX999
- record: job:requests:rate5m
  expr: sum by (job) (rate(requests_total[5m]))",
        right: "# lint:disable NX101
- record: job:requests:rate5m
  expr: sum by (job) (rate(requests_total[5m]))",
        needs_server: false,
    },
    check: Check::Files(check),
};

fn check(view: &View<'_>, report: &mut Report<'_>) {
    for file in view.files {
        for unknown in &file.comments.unknown {
            let word = &unknown.word;
            let position = Position {
                line: unknown.line,
                column: unknown.column,
                offset: unknown.offset,
                bytes: word.len(),
            };
            let finding = report.at(file.number, position, format!("there is no lint `{word}`"));
            let known = LINTS.iter().flat_map(|lint| [lint.code, lint.name]);
            if let Some(known) = nearest(word, known) {
                finding.help(format!("did you mean `{known}`?"));
            }
        }
    }
}
