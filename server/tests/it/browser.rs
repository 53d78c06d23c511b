//! The pages in a real browser: what `ui/e2e` does with this binary.

use std::path::Path;
use std::process::Command;

use testkit::Need;

use crate::harness::own_program;

#[test]
fn readers_find_what_they_came_for() {
    let (Some(browser), Some(node)) = (testkit::program(Need::Chromium), testkit::program(Need::Node)) else {
        return;
    };
    let ui = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui");
    if !ui.join("node_modules/playwright-core").is_dir() {
        let why = "ui/node_modules is not there; `npm ci` in ui brings it, as `cargo xtask ci ui` does";
        return testkit::skip(Need::Node, why);
    }
    let tests = Command::new(node)
        .arg("e2e/run.mjs")
        .current_dir(&ui)
        .env("CHROMIUM", browser)
        .env("NARTHEX", own_program())
        .output()
        .expect("node starts");
    let said = String::from_utf8_lossy(&tests.stdout);
    assert!(
        tests.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&tests.stderr)
    );
    print!("{said}");
}
