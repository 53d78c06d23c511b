//! The recipes under `examples/`: each is read, and its targets become what its `expect.yml` says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use discovery::TargetGroup;
use model::labels::Labels;
use narthex_scraper::{Preview, ScrapeConfig, ScrapeDefaults, preview_group};
use yaml::Value;

/// A target as it is found, and what becomes of it.
struct Case {
    job: String,
    found: Labels,
    /// URL and labels; `None` where relabelling drops it.
    want: Option<(String, Labels)>,
}

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let folders = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.join("expect.yml").exists()).collect();
    folders.sort();
    folders
}

fn labels(pairs: &BTreeMap<String, String>) -> Labels {
    Labels::from_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()))
}

fn case(value: Value<'_>) -> Case {
    let mut section = value.section("a case").unwrap();
    let found: BTreeMap<String, String> = section.get("found").unwrap().unwrap();
    let url: Option<String> = section.get("url").unwrap();
    let want: BTreeMap<String, String> = section.get_or("labels", BTreeMap::new()).unwrap();
    let dropped: bool = section.get_or("dropped", false).unwrap();
    let job = section.get::<String>("job").unwrap().unwrap();
    section.finish().unwrap();
    assert_eq!(dropped, url.is_none(), "{job}: a URL, or dropped");
    Case {
        job,
        found: labels(&found),
        want: url.map(|url| (url, labels(&want))),
    }
}

fn jobs(folder: &Path) -> Vec<ScrapeConfig> {
    let path = folder.join("prometheus.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    let document = yaml::parse(&path.display().to_string(), &text).unwrap();
    let mut section = document.root().section("the file").unwrap();
    let defaults = match section.value("global") {
        Some(global) => ScrapeDefaults::read(&mut global.section("global").unwrap()).unwrap(),
        None => ScrapeDefaults::default(),
    };
    ScrapeConfig::read_list(&mut section, &defaults).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn recipes_do_what_they_say() {
    let examples = examples();
    assert!(examples.len() >= 7, "{examples:?}");
    for folder in examples {
        let jobs = jobs(&folder);
        let path = folder.join("expect.yml");
        let text = std::fs::read_to_string(&path).unwrap();
        let document = yaml::parse(&path.display().to_string(), &text).unwrap();
        for case in document.root().sequence().unwrap().into_iter().map(case) {
            let at = format!("{}: {} {:?}", folder.display(), case.job, case.found);
            let config = jobs.iter().find(|config| config.job_name == case.job).expect(&at);
            let group = TargetGroup {
                source: "0".into(),
                targets: vec![case.found],
                labels: Labels::empty(),
            };
            let Preview { outcome, url, .. } = preview_group(&group, config).remove(0);
            let got = outcome.expect(&at).map(|labels| {
                let public = labels.without(|name| name.starts_with("__"));
                (url.unwrap_or_default(), public)
            });
            assert_eq!(got, case.want, "{at}");
        }
    }
}
