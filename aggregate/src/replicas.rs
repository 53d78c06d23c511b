//! Which of several senders of the same series counts.
//!
//! Senders that watch the same targets carry one label that names their cluster and one that tells them apart. Of each
//! cluster one replica is elected, the first that is heard of; what others send is left out. When nothing has come from
//! it for the failover time, the next one that sends is elected. The rules are those of Mimir's tracker of replicas,
//! within one process.

use foldhash::HashMap;

/// Most clusters that are told apart; series of others are refused.
pub const CLUSTERS_MAX: usize = 10_000;
/// Most replicas of a cluster that are told apart.
pub const REPLICAS_MAX: usize = 1_000;

/// A cluster and one of its replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    cluster: u32,
    replica: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) replicas: Vec<String>,
    pub(crate) elected: u32,
    heard_ms: i64,
    pub(crate) changes: u64,
    /// Whether the journal does not know of the last election.
    pub(crate) is_changed: bool,
}

/// There are too many clusters or replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

#[derive(Debug, Default)]
pub(crate) struct Election {
    pub(crate) clusters: Vec<Cluster>,
    by_name: HashMap<String, u32>,
}

impl Election {
    /// The member of these names. A cluster that is new elects its first.
    pub(crate) fn member(&mut self, cluster: &str, replica: &str, now_ms: i64) -> Result<Member, TooMany> {
        let number = match self.by_name.get(cluster) {
            Some(number) => *number,
            None if self.clusters.len() >= CLUSTERS_MAX => return Err(TooMany),
            None => {
                let number = self.clusters.len() as u32;
                self.by_name.insert(cluster.to_owned(), number);
                self.clusters.push(Cluster {
                    name: cluster.to_owned(),
                    replicas: vec![replica.to_owned()],
                    elected: 0,
                    heard_ms: now_ms,
                    changes: 0,
                    is_changed: true,
                });
                number
            }
        };
        let replicas = &mut self.clusters[number as usize].replicas;
        let place = match replicas.iter().position(|name| name == replica) {
            Some(place) => place,
            None if replicas.len() >= REPLICAS_MAX => return Err(TooMany),
            None => {
                replicas.push(replica.to_owned());
                replicas.len() - 1
            }
        };
        Ok(Member {
            cluster: number,
            replica: place as u32,
        })
    }

    /// Whether what `member` sends counts.
    pub(crate) fn hears(&mut self, member: Member, now_ms: i64, failover_ms: i64) -> bool {
        let Some(cluster) = self.clusters.get_mut(member.cluster as usize) else {
            return true;
        };
        if cluster.elected != member.replica {
            if now_ms.saturating_sub(cluster.heard_ms) <= failover_ms {
                return false;
            }
            cluster.elected = member.replica;
            cluster.changes += 1;
            cluster.is_changed = true;
        }
        cluster.heard_ms = now_ms;
        true
    }

    /// Goes on from before a restart: the elected one has the failover time to be heard of.
    pub(crate) fn restore(&mut self, cluster: &str, elected: &str, now_ms: i64) {
        if self.member(cluster, elected, now_ms).is_ok()
            && let Some(number) = self.by_name.get(cluster)
        {
            let cluster = &mut self.clusters[*number as usize];
            let place = cluster.replicas.iter().position(|name| name == elected);
            cluster.elected = place.unwrap_or(0) as u32;
            cluster.is_changed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_replica_is_elected_when_the_first_is_silent() {
        let mut election = Election::default();
        let a = election.member("eu", "a", 0).expect("room");
        let b = election.member("eu", "b", 0).expect("room");
        let hears = |election: &mut Election, member, now_ms| election.hears(member, now_ms, 30_000);
        assert!(hears(&mut election, a, 0));
        assert!(!hears(&mut election, b, 1));
        assert!(!hears(&mut election, b, 30_000));
        assert!(hears(&mut election, b, 30_001));
        assert!(!hears(&mut election, a, 30_002));
        assert_eq!(election.clusters[0].changes, 1);
    }

    #[test]
    fn clusters_and_replicas_are_bounded() {
        let mut election = Election::default();
        for number in 0..CLUSTERS_MAX {
            election.member(&number.to_string(), "a", 0).expect("room");
        }
        assert_eq!(election.member("more", "a", 0), Err(TooMany));
        for number in 1..REPLICAS_MAX {
            election.member("0", &number.to_string(), 0).expect("room");
        }
        assert_eq!(election.member("0", "more", 0), Err(TooMany));
        assert!(election.member("0", "a", 0).is_ok());
    }
}
