//! Values for flags out of files: `~/.config/amtool/config.yml`, and what that leaves open, out of
//! `/etc/amtool/config.yml`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use yaml::{FromYaml as _, YamlError};

/// Longest file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Where the system's settings are.
const SYSTEM_FILE: &str = "/etc/amtool/config.yml";

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum SettingsError {
    /// The file cannot be read.
    #[error("open {}: {}", path.display(), model::go::system_words(.source))]
    Read { path: PathBuf, source: std::io::Error },
    /// It is no list of flags.
    #[error(transparent)]
    Content(#[from] YamlError),
}

/// The settings of this machine's user, by names of flags.
///
/// # Errors
/// When there is a file that cannot be used.
pub(super) fn load() -> Result<HashMap<String, String>, SettingsError> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let own = Path::new(&home).join(".config/amtool/config.yml");
    let mut settings = HashMap::new();
    for path in [own.as_path(), Path::new(SYSTEM_FILE)] {
        let Ok(metadata) = std::fs::metadata(path) else {
            continue;
        };
        let failed = |source| SettingsError::Read {
            path: path.to_owned(),
            source,
        };
        if metadata.len() > FILE_BYTES_MAX {
            return Err(failed(std::io::Error::other("the file is too long")));
        }
        let text = std::fs::read(path).and_then(yaml::text_of).map_err(failed)?;
        for (name, value) in read(&path.to_string_lossy(), &text)? {
            settings.entry(name).or_insert(value);
        }
    }
    Ok(settings)
}

/// Reads a file's text.
fn read(path: &str, text: &str) -> Result<BTreeMap<String, String>, YamlError> {
    /// An old name of a flag, and the flag's.
    const OLD: (&str, &str) = ("comment_required", "require-comment");
    let document = yaml::parse(path, text)?;
    if document.root().is_null() {
        return Ok(BTreeMap::new());
    }
    let mut settings = BTreeMap::<String, String>::from_yaml(document.root())?;
    if let Some(value) = settings.remove(OLD.0) {
        settings.entry(OLD.1.to_owned()).or_insert(value);
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_texts_and_old_names_are_known() {
        let text = "alertmanager.url: http://a:9093\ncomment_required: false\noutput: extended\n";
        let settings = read("config.yml", text).expect("settings");
        assert_eq!(settings["alertmanager.url"], "http://a:9093");
        assert_eq!(settings["require-comment"], "false");
        assert_eq!(settings["output"], "extended");
        let both = read("a", "comment_required: true\nrequire-comment: false\n").expect("settings");
        assert_eq!(both["require-comment"], "false");
        assert!(read("a", "").expect("none").is_empty());
        assert!(read("a", "- x\n").is_err());
        assert!(read("a", "output: [x]\n").is_err());
    }
}
