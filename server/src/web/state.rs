//! What routes answer from, by areas: a handler takes the state of its area, and sees nothing else.

use crate::cli::feature_flags::FeatureFlags;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::FromRef;
use model::clock::Clock;
use model::storage::Queryable;
use supervise::Supervisor;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::alertmanager::state::AlertmanagerState;
use super::push::PushState;
use super::{AskedMetrics, FederationMetrics};
use crate::cli::flags::FlagValues;
use crate::queries::Queries;
use crate::reload::{ConfigStatus, ReloadRequest};
use crate::storage::Store;

/// The states of all areas.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) query: Arc<QueryState>,
    pub(crate) federate: Arc<FederateState>,
    pub(crate) push: Arc<PushState>,
    pub(crate) targets: Arc<TargetState>,
    pub(crate) alerting: Arc<AlertingState>,
    pub(crate) alertmanager: Arc<AlertmanagerState>,
    pub(crate) status: Arc<StatusState>,
    pub(crate) admin: Arc<AdminState>,
    pub(crate) lifecycle: Arc<LifecycleState>,
    pub(crate) start: Arc<StartState>,
    pub(crate) pages: Arc<PageState>,
}

/// Queries and searches of the index.
pub(crate) struct QueryState {
    pub(crate) storage: Arc<dyn Queryable>,
    /// Exemplars, and what there is to say of head and blocks, are behind no door of their own.
    pub(crate) db: Arc<tsdb::db::Db>,
    pub(crate) engine: Arc<promql::engine::Engine>,
    pub(crate) queries: Arc<Queries>,
    /// Watches over what is done on other threads than those of the network.
    pub(crate) supervisor: Supervisor,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Federation: the newest samples for another server.
pub(crate) struct FederateState {
    pub(crate) storage: Arc<dyn Queryable>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Age up to which a sample is the newest, in milliseconds.
    pub(crate) lookback_ms: i64,
    /// Knows the external labels.
    pub(crate) config: Arc<ArcSwap<ConfigStatus>>,
    pub(crate) metrics: FederationMetrics,
}

/// What is scraped, and what it says of itself.
pub(crate) struct TargetState {
    pub(crate) scraper: Arc<scraper::Manager>,
    /// Where this server is reached from outside.
    pub(crate) external_url: url::Url,
    /// Where it listens.
    pub(crate) own_port: Option<u16>,
    /// What discovery cannot do at the moment.
    pub(crate) troubles: discovery::Troubles,
}

/// Rules, alerts, and where they go.
pub(crate) struct AlertingState {
    pub(crate) rules: Arc<rules::Manager>,
    pub(crate) notifier: Arc<notify::Notifier>,
}

/// What this server is and how it fares.
pub(crate) struct StatusState {
    pub(crate) config: Arc<ArcSwap<ConfigStatus>>,
    pub(crate) flags: FlagValues,
    pub(crate) features: FeatureFlags,
    pub(crate) lifecycle_enabled: bool,
    pub(crate) admin_enabled: bool,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) start_ms: i64,
}

/// What changes the store.
pub(crate) struct AdminState {
    pub(crate) enabled: bool,
    pub(crate) db: Arc<tsdb::db::Db>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Reloading and ending.
pub(crate) struct LifecycleState {
    pub(crate) enabled: bool,
    pub(crate) reload: mpsc::Sender<ReloadRequest>,
    pub(crate) stop: CancellationToken,
}

/// How far the start has come, and whether the end has begun.
pub(crate) struct StartState {
    /// Whether the logs are read.
    pub(crate) ready: watch::Sender<bool>,
    /// How far reading them has come.
    pub(crate) progress: Arc<tsdb::head::ReplayProgress>,
    /// How long a query waits for that, where it needs what is in them.
    pub(crate) patience: Duration,
    pub(crate) stop: CancellationToken,
    pub(crate) store: Arc<dyn Store>,
    /// What probes are told that this is.
    pub(crate) calls_itself: &'static str,
}

/// Pages for people, and our own metrics.
pub(crate) struct PageState {
    pub(crate) title: String,
    /// Folder of what is served under `/user`.
    pub(crate) user_assets: Option<std::path::PathBuf>,
    /// Path in front of everything, without a slash at its end; empty for none.
    pub(crate) prefix: String,
    /// The same as the outside knows it, where something in front of this server changes it.
    pub(crate) external_path: String,
    pub(crate) metrics: metrics::Registry,
    pub(crate) asked: AskedMetrics,
}

macro_rules! areas {
    ($($field:ident: $state:ty),+ $(,)?) => {
        $(impl FromRef<Site> for Arc<$state> {
            fn from_ref(site: &Site) -> Self {
                site.$field.clone()
            }
        })+
    };
}

areas! {
    query: QueryState,
    federate: FederateState,
    push: PushState,
    targets: TargetState,
    alerting: AlertingState,
    alertmanager: AlertmanagerState,
    status: StatusState,
    admin: AdminState,
    lifecycle: LifecycleState,
    start: StartState,
    pages: PageState,
}
