//! What the watches saw: which neighbours are down, and that a look may be worth it. Nothing that is changed or verified
//! rests on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flyball_core::expr::TargetView;
use flyball_core::facts::Neighbours;
use flyball_core::ports::PortError;
use flyball_core::workload::{Workload, WorkloadKind};
use tokio::sync::broadcast;

/// Numbers older than this no longer tell which neighbours are down.
const STALE: Duration = Duration::from_secs(60);
/// Hints kept for one who is slow to take them; one who is slower is told to look.
const HINTS: usize = 1024;

/// A workload in a few numbers, and the labels that policies may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) desired: i32,
    pub(super) updated: i32,
    pub(super) ready: i32,
    pub(super) available: i32,
    pub(super) generation: i64,
    pub(super) labels: Arc<BTreeMap<String, String>>,
}

/// How a kind's watch is doing.
#[derive(Clone, Debug, Default)]
struct Standing {
    synced: bool,
    failing: Option<(Instant, PortError)>,
}

#[derive(Debug, Default)]
struct State {
    health: BTreeMap<Workload, Health>,
    standing: BTreeMap<WorkloadKind, Standing>,
}

/// What the watches saw.
#[derive(Debug)]
pub(super) struct Watched {
    state: Mutex<State>,
    hints: broadcast::Sender<Workload>,
}

impl Default for Watched {
    fn default() -> Self {
        Self { state: Mutex::default(), hints: broadcast::Sender::new(HINTS) }
    }
}

impl Watched {
    /// Workloads that may have changed, from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Workload> {
        self.hints.subscribe()
    }

    pub(super) fn health(&self) -> Vec<(Workload, i32, i32)> {
        self.lock().health.iter().map(|(it, health)| (it.clone(), health.desired, health.available)).collect()
    }

    /// A workload as it was seen last, while its kind is followed.
    pub(super) fn view(&self, target: &Workload) -> Option<TargetView> {
        let state = self.lock();
        state.standing.get(&target.kind).filter(|it| it.failing.is_none())?;
        let health = state.health.get(target)?;
        let Health { desired, updated, ready, available, .. } = *health;
        Some(TargetView { workload: target.clone(), desired, updated, ready, available, labels: health.labels.clone() })
    }

    /// The workloads of a namespace that want pods, and those of them that lack some.
    pub(super) fn neighbours(&self, namespace: &str) -> Result<Neighbours, PortError> {
        self.ready()?;
        let first = Workload::new(WorkloadKind::Deployment, namespace, "");
        let state = self.lock();
        let here = state.health.range(first..).take_while(|(it, _)| *it.namespace == *namespace);
        let wanted: Vec<_> = here.filter(|(_, health)| health.desired > 0).collect();
        let unhealthy = wanted.iter().filter(|(_, health)| health.available < health.desired);
        Ok(Neighbours {
            total: u32::try_from(wanted.len()).unwrap_or(u32::MAX),
            unhealthy: unhealthy.map(|(it, _)| (*it).clone()).collect::<BTreeSet<_>>(),
        })
    }

    /// Whether every kind was listed and none is too old to be believed; else which, and why.
    pub(super) fn ready(&self) -> Result<(), PortError> {
        let state = self.lock();
        WorkloadKind::ALL.iter().try_for_each(|kind| {
            let standing = state.standing.get(kind).cloned().unwrap_or_default();
            let watch = format!("the watch of {}", kind.plural());
            match standing.failing {
                Some((since, error)) if !standing.synced || since.elapsed() > STALE => Err(match error {
                    PortError::Unavailable(why) => PortError::Unavailable(format!("{watch}: {why}")),
                    PortError::Forbidden(why) => PortError::Forbidden(format!("{watch}: {why}")),
                    PortError::Unusable(why) => PortError::Unusable(format!("{watch}: {why}")),
                }),
                None if !standing.synced => Err(PortError::Unavailable(format!("{watch} has not begun"))),
                _ => Ok(()),
            }
        })
    }

    /// One workload as it is now; none if it is gone.
    pub(super) fn set(&self, target: Workload, health: Option<Health>) {
        let mut state = self.lock();
        state.standing.entry(target.kind).or_default().failing = None;
        match health {
            Some(health) => state.health.insert(target.clone(), health),
            None => state.health.remove(&target),
        };
        drop(state);
        self.hint(target);
    }

    /// A whole new list of a kind.
    pub(super) fn replace(&self, kind: WorkloadKind, list: BTreeMap<Workload, Health>) {
        let mut state = self.lock();
        state.standing.insert(kind, Standing { synced: true, failing: None });
        let (old, kept) = std::mem::take(&mut state.health).into_iter().partition(|(it, _)| it.kind == kind);
        state.health = kept;
        state.health.extend(list.clone());
        drop(state);
        let old: BTreeMap<Workload, Health> = old;
        let names: BTreeSet<_> = old.keys().chain(list.keys()).collect();
        names.into_iter().filter(|it| old.get(it) != list.get(it)).for_each(|it| self.hint(it.clone()));
    }

    pub(super) fn is_synced(&self, kind: WorkloadKind) -> bool {
        self.lock().standing.get(&kind).is_some_and(|it| it.synced)
    }

    /// The kind cannot be followed, for now.
    pub(super) fn failed(&self, kind: WorkloadKind, error: PortError) {
        let mut state = self.lock();
        let standing = state.standing.entry(kind).or_default();
        let since = standing.failing.take().map_or_else(Instant::now, |(since, _)| since);
        standing.failing = Some((since, error));
    }

    fn hint(&self, target: Workload) {
        // Nobody may be waiting.
        let _ = self.hints.send(target);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(kind: WorkloadKind, namespace: &str, name: &str) -> Workload {
        Workload::new(kind, namespace, name)
    }

    fn health(desired: i32, available: i32) -> Health {
        Health { desired, available, generation: 1, ..Health::default() }
    }

    fn all_synced() -> Watched {
        let watched = Watched::default();
        for kind in WorkloadKind::ALL {
            watched.replace(kind, BTreeMap::new());
        }
        watched
    }

    #[test]
    fn neighbours_are_those_of_the_namespace_that_want_pods() {
        use WorkloadKind::{DaemonSet, Deployment, StatefulSet};
        let watched = all_synced();
        for (kind, namespace, name, desired, available) in [
            (Deployment, "shop", "cart", 2, 2),
            (Deployment, "shop", "web", 2, 1),
            (Deployment, "shop", "asleep", 0, 0),
            (StatefulSet, "shop", "db", 3, 0),
            (DaemonSet, "shop", "agent", 3, 3),
            (Deployment, "shop-2", "cart", 1, 0),
            (Deployment, "a", "cart", 1, 0),
        ] {
            watched.set(workload(kind, namespace, name), Some(health(desired, available)));
        }
        let seen = watched.neighbours("shop").unwrap();
        assert_eq!(seen.total, 4);
        assert_eq!(seen.unhealthy, [workload(Deployment, "shop", "web"), workload(StatefulSet, "shop", "db")].into());
        assert_eq!(watched.neighbours("nowhere").unwrap(), Neighbours::default());
        watched.set(workload(StatefulSet, "shop", "db"), None);
        assert_eq!(watched.neighbours("shop").unwrap().total, 3);
        assert!(watched.health().contains(&(workload(Deployment, "shop", "web"), 2, 1)));
    }

    #[test]
    fn it_is_ready_once_every_kind_was_listed() {
        let watched = Watched::default();
        let said = || watched.ready().map_err(|error| error.to_string());
        assert_eq!(said(), Err("the watch of deployments has not begun".into()));
        watched.replace(WorkloadKind::Deployment, BTreeMap::new());
        watched.failed(WorkloadKind::StatefulSet, PortError::Forbidden("no list for you".into()));
        assert_eq!(said(), Err("forbidden: the watch of statefulsets: no list for you".into()));
        watched.replace(WorkloadKind::StatefulSet, BTreeMap::new());
        watched.replace(WorkloadKind::DaemonSet, BTreeMap::new());
        assert_eq!(said(), Ok(()));
        // What was seen a moment ago is still good.
        watched.failed(WorkloadKind::Deployment, PortError::Unavailable("gone".into()));
        assert_eq!(said(), Ok(()));
    }

    #[test]
    fn stale_numbers_are_not_believed() {
        let Some(long_ago) = Instant::now().checked_sub(STALE * 2) else { return };
        let watched = all_synced();
        let failing = Some((long_ago, PortError::Unavailable("gone".into())));
        watched.lock().standing.insert(WorkloadKind::DaemonSet, Standing { synced: true, failing });
        // A further failure does not make the numbers younger.
        watched.failed(WorkloadKind::DaemonSet, PortError::Unavailable("still gone".into()));
        assert_eq!(watched.neighbours("shop").unwrap_err().to_string(), "the watch of daemonsets: still gone");
        watched.replace(WorkloadKind::DaemonSet, BTreeMap::new());
        assert!(watched.neighbours("shop").is_ok());
    }

    #[test]
    fn a_new_list_hints_at_what_differs() {
        let watched = all_synced();
        let [same, other, gone, new] =
            ["same", "other", "gone", "new"].map(|it| workload(WorkloadKind::Deployment, "a", it));
        let agent = workload(WorkloadKind::DaemonSet, "a", "agent");
        for it in [&same, &other, &gone, &agent] {
            watched.set(it.clone(), Some(health(1, 1)));
        }
        let mut hints = watched.subscribe();
        let list = [(same, health(1, 1)), (other.clone(), health(1, 0)), (new.clone(), health(1, 1))];
        watched.replace(WorkloadKind::Deployment, list.into());
        let mut heard = BTreeSet::new();
        while let Ok(hint) = hints.try_recv() {
            heard.insert(hint);
        }
        assert_eq!(heard, [other, gone, new].into());
        assert!(watched.health().iter().any(|(it, ..)| *it == agent));
    }
}
