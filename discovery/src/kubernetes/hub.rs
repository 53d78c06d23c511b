//! One copy for all that want the same objects from the same server.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use httpclient::HttpClient;
use metrics::Counter;
use parking_lot::Mutex;
use supervise::Supervisor;
use tokio::sync::watch;

use super::api::{Access, Api, Client, Scope};
use super::objects::Object;
use super::reflector::{Health, Reflector};
use crate::prepare::Context;

/// Copies in use, by what they are of. Clones know the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hub(Arc<Mutex<HashMap<String, Vec<Entry>>>>);

#[derive(Debug)]
struct Entry {
    access: Arc<Access>,
    scope: Scope,
    reflector: Weak<dyn Any + Send + Sync>,
}

/// Copies from one server.
pub(super) struct Source<'h> {
    hub: &'h Hub,
    access: Arc<Access>,
    client: Client,
    failures: Counter,
    supervisor: Supervisor,
    /// How those fare that were asked for.
    health: Mutex<Vec<watch::Receiver<Health>>>,
}

impl<'h> Source<'h> {
    pub(super) fn new(
        hub: &'h Hub,
        access: Access,
        client: HttpClient,
        failures: &Counter,
        context: &Context,
    ) -> Self {
        // What nobody has any more is forgotten here.
        hub.0.lock().retain(|_, entries| {
            entries.retain(|entry| entry.reflector.strong_count() > 0);
            !entries.is_empty()
        });
        Source {
            hub,
            client: Client::new(client, &access),
            access: Arc::new(access),
            failures: failures.clone(),
            supervisor: context.metrics.supervisor.clone(),
            health: Mutex::default(),
        }
    }

    /// How all copies fare that were asked for.
    pub(super) fn into_health(self) -> Vec<watch::Receiver<Health>> {
        self.health.into_inner()
    }

    /// The copy of these objects: the one in use, or a new one, which is not started.
    pub(super) fn get<T: Object>(&self, scope: &Scope) -> Arc<Reflector<T>> {
        let reflector = self.shared(scope);
        self.health.lock().push(reflector.health());
        reflector
    }

    fn shared<T: Object>(&self, scope: &Scope) -> Arc<Reflector<T>> {
        let api = Api::new(self.client.clone(), &self.access, T::RESOURCE, scope);
        let mut hub = self.hub.0.lock();
        // The URL says all but the credentials.
        let entries = hub.entry(api.url().to_string()).or_default();
        let same = entries
            .iter()
            .find(|entry| entry.access == self.access && entry.scope == *scope)
            .and_then(|entry| entry.reflector.upgrade()?.downcast().ok());
        if let Some(reflector) = same {
            return reflector;
        }
        let reflector = Arc::new(Reflector::<T>::new(
            api,
            self.failures.clone(),
            self.supervisor.clone(),
        ));
        let weak: Weak<dyn Any + Send + Sync> = Arc::<Reflector<T>>::downgrade(&reflector) as _;
        entries.push(Entry {
            access: self.access.clone(),
            scope: scope.clone(),
            reflector: weak,
        });
        reflector
    }
}
