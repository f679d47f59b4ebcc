//! What the rows share: an engine that restarts what leaks, and what must hold of every one of them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use flyball_core::facts::STAMP_INTENT;
use flyball_core::id::IntentId;
use flyball_core::intent::Intent;
use flyball_core::workload::Workload as Target;
use flyball_devcluster::{Answer, Cluster, Options, Pods, Workload, wait_until};
use serde_json::Value;

use crate::judge::Evidence;
use crate::proxy::{ApiProxy, NatsProxy};
use crate::rig::{Rig, WIDE, Wires, outcome, policy, shared_nats};
use crate::soak::account::{self, Findings};

/// What the policy of [`ready`] acts on.
pub(super) const RESTART: &str = "{signal: rca, causes: [memory_leak]}";
/// Longer than what is held for a minute, and what follows.
pub(super) const LONG: Duration = Duration::from_secs(240);

/// Gives the rig the policy that restarts what leaks, and wide guardrails.
pub(super) fn prepared(mut rig: Rig) -> Rig {
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).policy("g.yaml", WIDE);
    rig
}

/// An engine on the shared servers, ready.
pub(super) fn ready(row: &str) -> Rig {
    let mut rig = prepared(Rig::new(row));
    rig.start();
    rig
}

/// An engine whose only replica, not started yet, reaches its servers through proxies.
pub(super) struct Wired {
    /// Dropped first, so that the engine never sees its wires go.
    pub(super) rig: Rig,
    /// To the API server.
    pub(super) api: ApiProxy,
    /// To NATS.
    pub(super) nats: NatsProxy,
}

/// One on the shared servers.
pub(super) fn wired(row: &str) -> Wired {
    let mut rig = prepared(Rig::new(row));
    let api = ApiProxy::to(&rig.kubeconfig).expect("a wire to the API server");
    let nats = NatsProxy::to(shared_nats().port()).expect("a wire to NATS");
    let kubeconfig = rig.folder().join("wired.yaml");
    api.write_kubeconfig(&kubeconfig).expect("a kubeconfig");
    rig.add_through("one", &Wires { nats_url: nats.url(), kubeconfig });
    Wired { rig, api, nats }
}

/// Accepted fences on the target.
pub(super) fn fences(rig: &Rig, target: &Target) -> usize {
    rig.requests(target).iter().filter(|it| account::is_fence(it) && (200..300).contains(&it.code)).count()
}

/// A Deployment whose pods take a while to be ready, so that there is a middle of the rollout.
pub(super) fn slow(rig: &Rig, name: &str) -> Target {
    let workload = Workload::new(&rig.namespace, name).replicas(1).pods(Pods::Slow(Duration::from_secs(2)));
    rig.deployment(&workload, name)
}

/// So many of them.
pub(super) fn slow_ones(rig: &Rig, count: usize) -> Vec<Target> {
    (0..count).map(|n| slow(rig, &format!("app-{n}"))).collect()
}

/// Waits until the one intent on the target has ended in success; it had one effect, and all that must hold of the ledger
/// and the audit log holds.
pub(super) fn once(rig: &Rig, target: &Target) -> Intent {
    let ended = rig.ended(target, 1);
    assert_eq!(ended.len(), 1, "one intent on {target}");
    let intent = ended.into_iter().next().expect("it is there");
    assert!(outcome(&intent).is_success(), "{target}: {:?}", intent.stage());
    assert_eq!(effects(rig, target), 1, "effects on {target}");
    lawful(rig);
    intent
}

/// Accepted changes of the target, fences not counted. The API server gives up the request of a process that dies, and may have
/// carried it out all the same: then the stamp tells.
pub(super) fn effects(rig: &Rig, target: &Target) -> usize {
    let accepted = rig.effects(target).iter().filter(|it| !account::is_fence(it)).count();
    accepted.max(usize::from(stamp(rig, target).is_some()))
}

/// The intent whose stamp the target bears.
fn stamp(rig: &Rig, target: &Target) -> Option<IntentId> {
    let path = path(target);
    let object = rig.cluster.api().get(&path).and_then(Answer::ok).ok()?;
    object["metadata"]["annotations"][STAMP_INTENT].as_str()?.parse().ok()
}

/// The same of each.
pub(super) fn each_once(rig: &Rig, targets: &[Target]) {
    for target in targets {
        once(rig, target);
    }
    let found = evidence(rig).judge_at_rest();
    assert!(found.is_empty(), "{found:#?}");
}

/// Publishes for each of the targets that it leaks.
pub(super) fn leak(rig: &Rig, targets: &[Target]) {
    for target in targets {
        rig.rca(&target.name, "w1", "memory_leak");
    }
}

/// The judge of the crash points finds nothing wrong with the audit log and the ledger: S1, S2, S4, S6, S7, S9, S10, G5.
pub(super) fn lawful(rig: &Rig) {
    let found = evidence(rig).judge();
    assert!(found.is_empty(), "{found:#?}");
}

fn evidence(rig: &Rig) -> Evidence {
    let evidence = Evidence::of(rig, &[], &[]).expect("the audit log and the ledger");
    let targets: BTreeSet<Target> = rig.history().intents().map(|it| it.request().target.clone()).collect();
    Evidence { stamped: targets.iter().filter_map(|it| stamp(rig, it)).collect(), ..evidence }
}

/// Waits until every one of these signals has its terminal record: none lost, none twice (S3).
pub(super) fn accounted(rig: &Rig, sequences: &[u64]) {
    let sent = account::asking(sequences);
    rig.eventually("every signal to be accounted for", || {
        let mut findings = Findings::default();
        account::signals(&rig.read_entries()?, &sent, &BTreeSet::new(), &mut findings);
        ensure!(findings.violations.is_empty(), "{:?}", findings.violations.iter().take(5).collect::<Vec<_>>());
        Ok(())
    });
}

/// Waits until the target has an effect of ours.
pub(super) fn acted(rig: &Rig, target: &Target) {
    rig.eventually(&format!("an effect on {target}"), || {
        ensure!(!rig.effects(target).is_empty(), "not yet");
        Ok(())
    });
}

/// Waits as the rig does, but as long as it takes.
pub(super) fn patiently<T>(rig: &Rig, what: &str, probe: impl FnMut() -> anyhow::Result<T>) -> T {
    wait_until(what, LONG, probe).unwrap_or_else(|error| panic!("{error:#}\n{}", rig.last_words()))
}

/// The path of a Deployment.
pub(super) fn path(target: &Target) -> String {
    format!("/apis/apps/v1/namespaces/{}/{}/{}", target.namespace, target.kind.plural(), target.name)
}

/// A person patches the target.
pub(super) fn patch(rig: &Rig, target: &Target, body: &Value) {
    rig.cluster.api().patch(&path(target), body).and_then(Answer::ok).expect("patched");
}

/// A cluster whose parts are killed, for one row at a time.
pub(super) fn mortal() -> (&'static Cluster, MutexGuard<'static, ()>) {
    static MORTAL: OnceLock<Cluster> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    // A row that failed says so itself; the next one has its turn.
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    (MORTAL.get_or_init(|| Cluster::start(&Options::default()).expect("a cluster")), turn)
}
