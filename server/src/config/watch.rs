//! What `--config.auto-reload` looks at: the contents of a configuration file and of every file that it names.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use yaml::{Document, FromYaml, Value};

use super::load::{folder_of, join};

/// Sections that name files whose contents are part of the configuration. Compat: as in the reference, files of discovery
/// and of credentials are not among them; whoever reads them follows their changes.
const NAMING_FILES: [&str; 2] = ["rule_files", "scrape_config_files"];

/// A number that changes when the file or one of `others`, which stand beside it, changes, when one that it names does, or
/// when other files are named. What cannot be read counts as changed once: the reload that follows says why.
pub(crate) fn fingerprint<'p>(path: &Path, others: impl IntoIterator<Item = &'p Path>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let text = std::fs::read(path).and_then(yaml::text_of);
    add_contents(&text, &mut hasher);
    for path in others {
        add_contents(&std::fs::read(path), &mut hasher);
    }
    let document = text
        .ok()
        .and_then(|text| yaml::parse(&path.to_string_lossy(), &text).ok());
    for key in NAMING_FILES {
        key.hash(&mut hasher);
        for file in document
            .iter()
            .flat_map(|document| named_files(path, document, key))
        {
            file.hash(&mut hasher);
            add_contents(&std::fs::read(&file), &mut hasher);
        }
    }
    hasher.finish()
}

/// Files that the patterns at `key` of the configuration `path` name now; none where there are no patterns to read.
pub(super) fn named_files(path: &Path, document: &Document, key: &'static str) -> Vec<PathBuf> {
    let patterns = document
        .root()
        .section("the configuration")
        .and_then(|mut section| section.list(key, |value: Value<'_>| String::from_yaml(value)));
    let patterns = patterns.unwrap_or_default();
    let files = patterns
        .iter()
        .map(|pattern| yaml::glob(&join(folder_of(path), pattern)).unwrap_or_default());
    files.flatten().collect()
}

fn add_contents<T: Hash>(contents: &std::io::Result<T>, hasher: &mut DefaultHasher) {
    match contents {
        Ok(contents) => contents.hash(hasher),
        Err(error) => error.kind().hash(hasher),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_counts_and_only_what_is_in_it() {
        let folder = tempfile::tempdir().expect("folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("write");
        let main = folder.path().join("main.yml");
        let own = folder.path().join("alertmanager.yml");
        let mut last = fingerprint(&main, [&*own]);
        let mut changed = |what: &str, expected: bool| {
            let now = fingerprint(&main, [&*own]);
            assert_eq!(now != last, expected, "{what}");
            last = now;
        };
        changed("nothing", false);
        write(
            "main.yml",
            "rule_files: ['r*.yml']\nscrape_config_files: [scrape.yml]\n",
        );
        changed("the file is there", true);
        write("r1.yml", "groups: []\n");
        changed("a rule file more", true);
        write("r1.yml", "groups: []\n");
        changed("the same text again", false);
        write("r1.yml", "groups: \n");
        changed("a rule file", true);
        write("scrape.yml", "scrape_configs: []\n");
        changed("a scrape configuration file", true);
        write("alertmanager.yml", "route: {}\n");
        changed("the Alertmanager's file", true);
        write("other.yml", "x");
        changed("a file that is not named", false);
        std::fs::rename(folder.path().join("r1.yml"), folder.path().join("r2.yml")).expect("rename");
        changed("a rule file's name", true);
        std::fs::remove_file(folder.path().join("r2.yml")).expect("remove");
        changed("a rule file less", true);
        write("main.yml", "rule_files: [\n");
        changed("not YAML any more", true);
        changed("still not", false);
        std::fs::remove_file(&main).expect("remove");
        changed("the file is gone", true);
        changed("still gone", false);
    }
}
