//! All objects of one kind, and those who are told of their changes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use super::objects::Object;
use super::stream::Versioned;

/// Somebody who is told of changes. What it is told it may only note: it is called while the store is locked.
pub(super) trait Listener<T>: Send + Sync {
    /// An object has come (`old` is none), changed, or gone (`new` is none).
    fn changed(&self, key: &Arc<str>, old: Option<&T>, new: Option<&T>);

    /// The store is complete for the first time, or filling it has failed for the first time.
    fn settled(&self);
}

/// Objects by their keys.
pub(super) type Objects<T> = HashMap<Arc<str>, Arc<T>>;

/// All objects of one kind.
pub(super) struct Store<T> {
    objects: Objects<T>,
    /// Last one seen; empty if none was or it is of no use any more.
    pub(super) version: Box<str>,
    is_complete: bool,
    has_failed: bool,
    listeners: Vec<Weak<dyn Listener<T>>>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Store {
            objects: HashMap::new(),
            version: Box::default(),
            is_complete: false,
            has_failed: false,
            listeners: Vec::new(),
        }
    }
}

impl<T> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("objects", &self.objects.len())
            .finish_non_exhaustive()
    }
}

impl<T: Object> Store<T> {
    pub(super) fn get(&self, key: &str) -> Option<&Arc<T>> {
        self.objects.get(key)
    }

    /// Whether all objects are known.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether all objects are known, or an attempt to get them has failed.
    pub(super) fn is_settled(&self) -> bool {
        self.is_complete || self.has_failed
    }

    /// Tells `listener` what is there already, and then of each change.
    pub(super) fn subscribe(&mut self, listener: &Arc<impl Listener<T> + 'static>) {
        for (key, object) in &self.objects {
            listener.changed(key, None, Some(object));
        }
        listener.settled();
        let weak: Weak<dyn Listener<T>> = Arc::<_>::downgrade(listener) as _;
        self.listeners.push(weak);
    }

    /// Puts an object in, which comes with the version that the store has then.
    pub(super) fn put(&mut self, new: Versioned<T>) {
        let object = Arc::new(new.object);
        // The key that is there already goes on being the one.
        let key = match self.objects.get_key_value(&*new.key) {
            Some((key, _)) => key.clone(),
            None => Arc::from(new.key),
        };
        let old = self.objects.insert(key.clone(), object.clone());
        self.tell(|listener| listener.changed(&key, old.as_deref(), Some(&object)));
        self.seen(new.version);
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, old: Versioned<T>) {
        if let Some((key, old)) = self.objects.remove_entry(&*old.key) {
            self.tell(|listener| listener.changed(&key, Some(&old), None));
        }
        self.seen(old.version);
    }

    /// Notes a version, unless there is none.
    pub(super) fn seen(&mut self, version: Box<str>) {
        if !version.is_empty() {
            self.version = version;
        }
    }

    /// An object for a state that will replace this one: what has not changed is the same allocation.
    pub(super) fn shared(&self, new: Versioned<T>) -> (Arc<str>, Arc<T>) {
        match self.objects.get_key_value(&*new.key) {
            Some((key, object)) if **object == new.object => (key.clone(), object.clone()),
            Some((key, _)) => (key.clone(), Arc::new(new.object)),
            None => (Arc::from(new.key), Arc::new(new.object)),
        }
    }

    /// Puts another state in force.
    ///
    /// Compat: every object that was there before counts as changed, whether it is or not (case `pod-watch`).
    pub(super) fn replace(&mut self, all: Objects<T>, version: Box<str>) {
        self.version = version;
        let before = std::mem::replace(&mut self.objects, all);
        for (key, old) in &before {
            if !self.objects.contains_key(key) {
                self.tell(|listener| listener.changed(key, Some(old), None));
            }
        }
        let objects = std::mem::take(&mut self.objects);
        for (key, new) in &objects {
            let old = before.get(key).map(|old| &**old);
            self.tell(|listener| listener.changed(key, old, Some(new)));
        }
        self.objects = objects;
        if !std::mem::replace(&mut self.is_complete, true) {
            self.tell(|listener| listener.settled());
        }
    }

    /// Notes that filling the store has failed.
    pub(super) fn failed(&mut self) {
        if !std::mem::replace(&mut self.has_failed, true) {
            self.tell(|listener| listener.settled());
        }
    }

    fn tell(&mut self, tell: impl Fn(&dyn Listener<T>)) {
        self.listeners.retain(|listener| match listener.upgrade() {
            Some(listener) => {
                tell(&*listener);
                true
            }
            None => false,
        });
    }
}
