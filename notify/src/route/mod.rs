//! The routing tree: which nodes an alert comes to, and by what it is grouped there.
//!
//! Nodes lie in one list and know each other by number. Everything that a node inherits, and its key, is worked out when
//! the tree is built: alerts come by the hundred thousand, trees change with a reload.

mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::go::Quoted;
use model::labels::Labels;

use crate::config::{GroupBy, RouteConfig};
use crate::matcher::Matchers;

/// What holds where no node says otherwise.
const GROUP_WAIT: Duration = Duration::from_secs(30);
const GROUP_INTERVAL: Duration = Duration::from_secs(5 * 60);
const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3600);
/// As good as no repetition.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A routing tree.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Parents before children, siblings in their order.
    routes: Vec<Route>,
}

/// A node with all that it inherits.
#[derive(Clone, Debug)]
pub struct Route {
    /// The matchers of the way down to it: `{}/{team="db"}`. Not unique.
    pub key: String,
    /// The same with the places among siblings: `{}/{team="db"}/0`. Unique.
    pub id: String,
    /// What alerts must be like.
    pub matchers: Matchers,
    /// Whether alerts go on to the siblings that follow.
    pub continues: bool,
    /// What it does with them.
    pub options: RouteOptions,
    children: Vec<usize>,
}

/// What a node does with its alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteOptions {
    /// Whom to tell.
    pub receiver: String,
    /// Labels that alerts are grouped by; `None` for all.
    pub group_by: Option<BTreeSet<String>>,
    /// How long a new group waits for more alerts.
    pub group_wait: Duration,
    /// How long a group waits from one notification to the next.
    pub group_interval: Duration,
    /// After what time a notification is repeated.
    pub repeat_interval: Duration,
    /// Names of intervals in which it is mute; not inherited.
    pub mute_time_intervals: Vec<String>,
    /// Names of intervals outside of which it is mute; not inherited.
    pub active_time_intervals: Vec<String>,
    /// Templates of labels that notifications carry, with those of the nodes above.
    pub labels: BTreeMap<String, String>,
}

impl Route {
    /// A node that stands in no tree, for what is told to `receiver` once.
    pub(crate) fn apart(key: &str, receiver: &str) -> Self {
        Route {
            key: key.to_owned(),
            id: key.to_owned(),
            matchers: Matchers::default(),
            continues: false,
            options: RouteOptions {
                receiver: receiver.to_owned(),
                repeat_interval: NEVER,
                ..RouteOptions::default()
            },
            children: Vec::new(),
        }
    }
}

/// What holds where nothing else is said.
impl Default for RouteOptions {
    fn default() -> Self {
        RouteOptions {
            receiver: String::new(),
            group_by: Some(BTreeSet::new()),
            group_wait: GROUP_WAIT,
            group_interval: GROUP_INTERVAL,
            repeat_interval: REPEAT_INTERVAL,
            mute_time_intervals: Vec::new(),
            active_time_intervals: Vec::new(),
            labels: BTreeMap::new(),
        }
    }
}

impl Tree {
    /// Builds the tree below the root.
    pub fn new(root: &RouteConfig) -> Self {
        let mut tree = Tree { routes: Vec::new() };
        tree.add(root, &RouteOptions::default(), String::new(), String::new(), "");
        tree
    }

    /// Adds a node and those below it; gives its number.
    fn add(
        &mut self,
        config: &RouteConfig,
        above: &RouteOptions,
        key_above: String,
        id_above: String,
        place: &str,
    ) -> usize {
        let number = self.routes.len();
        let matchers = config.all_matchers();
        let (key, id) = (
            format!("{key_above}{matchers}"),
            format!("{id_above}{matchers}{place}"),
        );
        let options = above.with(config);
        self.routes.push(Route {
            key: key.clone(),
            id: id.clone(),
            matchers,
            continues: config.continues,
            options: options.clone(),
            children: Vec::new(),
        });
        for (index, child) in config.routes.iter().enumerate() {
            let place = format!("/{index}");
            let child = self.add(child, &options, format!("{key}/"), format!("{id}/"), &place);
            self.routes[number].children.push(child);
        }
        number
    }

    /// All nodes, parents before children.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Numbers of the nodes that an alert with these labels comes to, in their order; never none.
    pub fn matching(&self, labels: &Labels) -> Vec<usize> {
        let mut found = Vec::new();
        self.descend(0, labels, &mut found);
        found
    }

    fn descend(&self, number: usize, labels: &Labels, found: &mut Vec<usize>) {
        let before = found.len();
        for child in self.matching_children(number, labels) {
            self.descend(child, labels, found);
        }
        if found.len() == before {
            found.push(number);
        }
    }

    /// Children that take the alert: those that match, up to the first that does not let it go on.
    fn matching_children<'t>(
        &'t self,
        number: usize,
        labels: &'t Labels,
    ) -> impl Iterator<Item = usize> + 't {
        let mut done = false;
        let children = self.routes[number].children.iter().copied();
        children.filter(move |child| {
            let route = &self.routes[*child];
            let takes = !done && route.matchers.matches(labels);
            done |= takes && !route.continues;
            takes
        })
    }
}

impl RouteOptions {
    /// What a node makes of what it inherits.
    fn with(&self, config: &RouteConfig) -> RouteOptions {
        let duration =
            |own: Option<yaml::Duration>, above: Duration| own.map_or(above, yaml::Duration::as_std);
        let mut labels = self.labels.clone();
        labels.extend(config.labels.clone());
        RouteOptions {
            receiver: if config.receiver.is_empty() {
                self.receiver.clone()
            } else {
                config.receiver.clone()
            },
            group_by: match &config.group_by {
                None => self.group_by.clone(),
                Some(GroupBy::All) => None,
                Some(GroupBy::Labels(labels)) => Some(labels.iter().cloned().collect()),
            },
            group_wait: duration(config.group_wait, self.group_wait),
            group_interval: duration(config.group_interval, self.group_interval),
            repeat_interval: duration(config.repeat_interval, self.repeat_interval),
            mute_time_intervals: config.mute_time_intervals.clone(),
            active_time_intervals: config.active_time_intervals.clone(),
            labels,
        }
    }

    /// The labels by which an alert is grouped, with its values.
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        match &self.group_by {
            None => labels.clone(),
            Some(names) => labels.without(|name| !names.contains(name)),
        }
    }
}

impl Route {
    /// The key of its group of these labels, as the log of notifications and receivers know it:
    /// `{}/{team="db"}:{alertname="A"}`.
    pub fn group_key(&self, group_labels: &Labels) -> String {
        let pairs: Vec<String> = group_labels
            .iter()
            .map(|(name, value)| format!("{name}={}", Quoted(value)))
            .collect();
        format!("{}:{{{}}}", self.key, pairs.join(", "))
    }
}
