//! Tasks and threads that are started without a supervisor. No task ends in silence: each file that starts some by its own
//! hand stands here, with who hears of their panics.

use std::path::Path;

/// Files that may, and why.
const KNOWN: [(&str, &str); 20] = [
    (
        "discovery/src/file.rs",
        "a reader that panics gives nothing, which its round sees",
    ),
    (
        "discovery/src/manager.rs",
        "each round of a mechanism is one of a supervisor",
    ),
    (
        "httpclient/src/connect.rs",
        "a connection that ends fails its request",
    ),
    (
        "httpclient/src/pool.rs",
        "closes idle connections; without it they close when they are used",
    ),
    (
        "httpclient/src/renew.rs",
        "whoever waits for the token sees how the task ended",
    ),
    ("notify/src/outward/notifier.rs", "waits for a queue's own end"),
    (
        "notify/src/outward/queue.rs",
        "each batch is a round of a supervisor",
    ),
    (
        "rules/src/evaluate.rs",
        "threads of a scope: their panics go on in the evaluation that waits for them",
    ),
    (
        "scraper/src/network.rs",
        "a runtime: those who start tasks on it stand here themselves",
    ),
    (
        "scraper/src/scrape_loop.rs",
        "each scrape, and the loop around them, is a round of a supervisor",
    ),
    (
        "scraper/src/workers.rs",
        "each piece of work is a round of a supervisor",
    ),
    (
        "server/src/cli/progress.rs",
        "a command: without the thread an interrupt ends the process",
    ),
    ("server/src/demo/mod.rs", "the demo's own services"),
    ("server/src/demo/services.rs", "the demo's own services"),
    ("server/src/memory.rs", "each look is a round of a supervisor"),
    (
        "server/src/threads.rs",
        "a runtime: those who start tasks on it wait for them",
    ),
    (
        "server/src/web/query/shared.rs",
        "a query: whoever waits hears that its task is gone",
    ),
    (
        "server/src/web/chunks.rs",
        "an answer whose writer panics is cut off, and counted",
    ),
    ("tsdb/src/agent/mod.rs", "each loop is one of a supervisor"),
    ("tsdb/src/db/mod.rs", "each loop is one of a supervisor"),
];
/// Files of which it is the work, or that are watched over by a caller of theirs.
const EXEMPT: [&str; 4] = [
    "supervise/src/",
    "server/src/web/listener/",
    "testkit/",
    "benches/",
];

/// What is to be said of the tasks of a file.
pub(crate) fn findings(file: &Path, text: &str) -> Vec<String> {
    let path = file.to_string_lossy();
    let is_test = path.contains("/tests/") || path.ends_with("tests.rs") || path.starts_with("xtask/");
    if is_test || EXEMPT.iter().any(|exempt| path.starts_with(exempt)) {
        return Vec::new();
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let starts = ["tokio::spawn(", "thread::Builder::new()", "thread::spawn("];
    let starts = code
        .lines()
        .any(|line| !line.trim_start().starts_with("//") && starts.iter().any(|start| line.contains(start)));
    let is_known = KNOWN.iter().any(|(known, _)| *known == path);
    match (starts, is_known) {
        (true, false) => vec![format!(
            "{path}: starts a task by its own hand; use `Supervisor::spawn`, or say in xtask/src/spawns.rs who hears of its panic"
        )],
        (false, true) => vec![format!(
            "{path}: starts no task any more; take it off the list in xtask/src/spawns.rs"
        )],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_nobody_watches_is_found() {
        let found = |path: &str, text: &str| !findings(Path::new(path), text).is_empty();
        assert!(found("rules/src/new.rs", "tokio::spawn(work());"));
        assert!(!found("rules/src/new.rs", "// tokio::spawn(work());"));
        assert!(!found(
            "rules/src/new.rs",
            "#[cfg(test)]\nmod tests { tokio::spawn(work()); }"
        ));
        assert!(!found("rules/tests/it/new.rs", "tokio::spawn(work());"));
        assert!(!found("tsdb/src/db/mod.rs", "thread::Builder::new()"));
        assert!(found("tsdb/src/db/mod.rs", ""), "one that is no longer needed");
    }
}
