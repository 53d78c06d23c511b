//! What labels are made of besides an object itself: the node, the namespace, the service, the owners.

use std::sync::Arc;

use super::config::{AttachMetadata, Role};
use super::objects::{Job, Meta, Namespace, Node, Object, Pod, ReplicaSet, Service};
use super::reflector::Reflector;

/// The objects that labels are made of. What a role does not need is not there.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) attach: AttachMetadata,
    pub(super) nodes: Option<Arc<Reflector<Node>>>,
    pub(super) namespaces: Option<Arc<Reflector<Namespace>>>,
    pub(super) pods: Option<Arc<Reflector<Pod>>>,
    pub(super) services: Option<Arc<Reflector<Service>>>,
    pub(super) replica_sets: Option<Arc<Reflector<ReplicaSet>>>,
    pub(super) jobs: Option<Arc<Reflector<Job>>>,
}

pub(super) fn look<T: Object>(from: Option<&Arc<Reflector<T>>>, key: &str) -> Option<Arc<T>> {
    from?.store().get(key).cloned()
}

/// The name of an object's controller, if it is of this kind.
fn controller(meta: &Meta, kind: &str) -> Option<String> {
    let owner = meta.controller.as_deref().filter(|owner| &*owner.kind == kind)?;
    Some(owner.name.to_string())
}

impl Joined {
    pub(super) fn node(&self, name: &str) -> Option<Arc<Node>> {
        look(self.nodes.as_ref(), name).filter(|_| self.attach.node)
    }

    pub(super) fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        look(self.namespaces.as_ref(), name)
    }

    pub(super) fn pod(&self, key: &str) -> Option<Arc<Pod>> {
        look(self.pods.as_ref(), key)
    }

    pub(super) fn service(&self, key: &str) -> Option<Arc<Service>> {
        look(self.services.as_ref(), key)
    }

    /// The name of the Deployment that a ReplicaSet belongs to.
    pub(super) fn deployment_of(&self, replica_set: &str) -> Option<String> {
        let found = look(self.replica_sets.as_ref(), replica_set)?;
        controller(&found.metadata, "Deployment")
    }

    /// The name of the CronJob that a Job belongs to.
    pub(super) fn cron_job_of(&self, job: &str) -> Option<String> {
        let found = look(self.jobs.as_ref(), job).filter(|_| self.attach.cron_job)?;
        controller(&found.metadata, "CronJob")
    }

    /// Whether all is known that labels are made of.
    pub(super) fn is_ready(&self, role: Role) -> bool {
        let all = [
            complete(self.nodes.as_ref()),
            complete(self.namespaces.as_ref()),
            complete(self.pods.as_ref()),
            complete(self.services.as_ref()),
        ];
        // Compat: endpoints do not wait for what they may have to do without. The reference does not wait at all, so
        // that chance says which names are there; here a failure does.
        let owners = match role {
            Role::Pod => [complete(self.replica_sets.as_ref()), complete(self.jobs.as_ref())],
            _ => [settled(self.replica_sets.as_ref()), settled(self.jobs.as_ref())],
        };
        all.into_iter().chain(owners).all(|is_ready| is_ready)
    }
}

fn complete<T: Object>(reflector: Option<&Arc<Reflector<T>>>) -> bool {
    reflector.is_none_or(|reflector| reflector.store().is_complete())
}

fn settled<T: Object>(reflector: Option<&Arc<Reflector<T>>>) -> bool {
    reflector.is_none_or(|reflector| reflector.store().is_settled())
}
