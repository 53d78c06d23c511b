//! One watcher of the file system for all jobs: the kernel gives a user 128 of them, and a thousand jobs may name files.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use metrics::Counter;
use notify_watch::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;

static HUB: LazyLock<Mutex<Hub>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Hub {
    watcher: Option<RecommendedWatcher>,
    listeners: Listeners,
}

/// Who is told of changes in a folder.
type Listeners = Arc<Mutex<HashMap<PathBuf, Vec<Listener>>>>;

struct Listener {
    /// Patterns of the names that it wants to hear of: a thousand jobs may have their files in one folder.
    names: Vec<PathBuf>,
    changed: Arc<Notify>,
}

/// Changes in some folders, until it is dropped.
pub(super) struct Changes {
    folders: Vec<PathBuf>,
    changed: Arc<Notify>,
}

impl Changes {
    /// Waits for the next change; where nothing can be watched, for ever.
    pub(super) async fn changed(&mut self) {
        self.changed.notified().await;
    }

    /// Forgets a change that came meanwhile.
    pub(super) fn forget(&mut self) {
        let mut waiting = std::pin::pin!(self.changed.notified());
        // Enabled, it takes a notification that is there, and none that is to come.
        waiting.as_mut().enable();
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let mut hub = HUB.lock();
        let mut deserted = Vec::new();
        {
            let mut listeners = hub.listeners.lock();
            for folder in &self.folders {
                let Some(list) = listeners.get_mut(folder) else {
                    continue;
                };
                list.retain(|listener| !Arc::ptr_eq(&listener.changed, &self.changed));
                if list.is_empty() {
                    listeners.remove(folder);
                    deserted.push(folder);
                }
            }
        }
        // Without the lock that the watcher's own thread takes: it has to answer this.
        for folder in deserted {
            if let Some(watcher) = &mut hub.watcher {
                // A folder that is gone is watched no more anyway.
                let _ = watcher.unwatch(folder);
            }
        }
    }
}

/// Watches the folders, not the files: editors and orchestrators replace files by renaming. `names` are patterns
/// of those that matter in each folder. A folder that cannot be watched is counted in `errors`, and its files are read at each refresh
/// only.
pub(super) fn watch(names: BTreeMap<PathBuf, Vec<PathBuf>>, errors: &Counter) -> Changes {
    let mut changes = Changes {
        folders: Vec::new(),
        changed: Arc::default(),
    };
    let mut hub = HUB.lock();
    if hub.watcher.is_none() {
        match new_watcher(hub.listeners.clone()) {
            Ok(watcher) => hub.watcher = Some(watcher),
            Err(error) => {
                errors.inc();
                tracing::error!(%error, "Error adding file watcher; changes are seen at each refresh only");
            }
        }
    }
    let listeners = hub.listeners.clone();
    for (folder, names) in names {
        // Events come with whole paths, whatever was asked for. What has none is not there either.
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let is_watched = listeners.lock().contains_key(&folder);
        let watched = match &mut hub.watcher {
            Some(watcher) if !is_watched => watcher.watch(&folder, RecursiveMode::NonRecursive),
            Some(_) => Ok(()),
            None => continue,
        };
        match watched {
            Ok(()) => {
                let changed = changes.changed.clone();
                listeners
                    .lock()
                    .entry(folder.clone())
                    .or_default()
                    .push(Listener { names, changed });
                changes.folders.push(folder);
            }
            Err(error) => {
                errors.inc();
                tracing::warn!(%error, folder = %folder.display(), "Error adding file watch");
            }
        }
    }
    changes
}

fn new_watcher(listeners: Listeners) -> notify_watch::Result<RecommendedWatcher> {
    notify_watch::recommended_watcher(move |event: notify_watch::Result<notify_watch::Event>| {
        let listeners = listeners.lock();
        let Ok(event) = event else {
            // Events were lost: whoever listens has to look.
            listeners
                .values()
                .flatten()
                .for_each(|listener| listener.changed.notify_one());
            return;
        };
        // Reading a file is an event too, and would go round in circles.
        if event.kind.is_access() {
            return;
        }
        for path in &event.paths {
            if let Some(whole) = listeners.get(path) {
                whole.iter().for_each(|listener| listener.changed.notify_one());
            }
            let (Some(folder), Some(name)) = (
                path.parent(),
                path.file_name().map(std::ffi::OsStr::to_string_lossy),
            ) else {
                continue;
            };
            // What orchestrators exchange is a link beside the files, by convention with two dots in front.
            let is_link = name.starts_with("..");
            for listener in listeners.get(folder).into_iter().flatten() {
                if is_link || listener.names.iter().any(|wanted| yaml::glob_name(wanted, &name)) {
                    listener.changed.notify_one();
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn folders_that_are_named_relatively_are_heard_of() {
        let here = std::env::current_dir().expect("folder");
        let folder = tempfile::tempdir_in(&here).expect("folder");
        let relative = folder.path().strip_prefix(&here).expect("below");
        let errors = metrics::Registry::new().counter("errors_total", "Errors.");
        for named in [relative.to_owned(), PathBuf::from(".").join(relative)] {
            let mut changes = watch(BTreeMap::from([(named, vec![PathBuf::from("*.yml")])]), &errors);
            std::fs::write(folder.path().join("a.yml"), "[]").expect("written");
            let heard = tokio::time::timeout(Duration::from_secs(30), changes.changed());
            heard.await.expect("heard of");
        }
    }
}
