//! The controllers: what becomes of a workload's pods once its spec, or one of them, has changed. Level-triggered: one look
//! does what can be done now and says when to look again.
//!
//! Simpler than the real ones: one pod is replaced at a time, and a StatefulSet does not wait for its broken pods before it
//! replaces them (as with `podManagementPolicy: Parallel`).

use flyball_core::workload::WorkloadKind;
use jiff::{SignedDuration, Timestamp};

use super::manifest::Fate;
use super::object::{Object, Pod, Revision, size};
use crate::random::{Mint, between, draw};

/// Annotation that the Deployment controller keeps.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";

/// Old templates that are kept.
const REVISIONS: usize = 10;
/// A rollout takes from so long
const FASTEST: SignedDuration = SignedDuration::from_millis(800);
/// to so long
const SLOWEST: SignedDuration = SignedDuration::from_millis(2_500);
/// and a slow one so many times longer.
const SLOW: i32 = 20;

/// Looks at the workload and does what can be done now. Returns when to look again, if nothing else happens.
pub(crate) fn reconcile(object: &mut Object, mint: &mut Mint, now: Timestamp) -> Option<Timestamp> {
    for pod in &mut object.pods {
        if pod.ready_at.is_some_and(|at| at <= now) {
            (pod.ready, pod.ready_at) = (true, None);
        }
    }
    if !object.paused() {
        adopt(object, mint, now);
    }
    match object.target.kind {
        WorkloadKind::Deployment => deployment(object, mint, now),
        WorkloadKind::StatefulSet => stateful_set(object, mint, now),
        WorkloadKind::DaemonSet => daemon_set(object, mint, now),
    }
    let deadline = report(object, now);
    object.pods.iter().filter_map(|it| it.ready_at).chain(deadline).min()
}

/// Makes the spec's template the current one: an old revision is numbered anew, a new one is added.
pub(crate) fn adopt(object: &mut Object, mint: &mut Mint, now: Timestamp) {
    let newest = object.revisions.iter().map(|it| it.number).max().unwrap_or(0);
    let known = object.revisions.iter().position(|it| it.template == *object.template());
    let at = known.unwrap_or_else(|| {
        let key = object.revisions.iter().map(|it| it.key).max().unwrap_or(0) + 1;
        let (number, uid, template) = (newest, mint.uid(), object.template().clone());
        object.revisions.push(Revision { key, number, uid, template, annotations: object.annotations.clone() });
        object.revisions.len() - 1
    });
    let key = object.revisions[at].key;
    if key != object.current {
        object.revisions[at].number = newest + 1;
        object.current = key;
        object.progress = Some(now);
        object.status.deadline_exceeded = false;
        object.duration = duration(object, mint);
        prune(object);
    }
    if object.target.kind == WorkloadKind::Deployment {
        let annotations = object.annotations.clone();
        if let Some(current) = object.revisions.iter_mut().find(|it| it.key == key) {
            current.annotations = annotations;
            object.annotations.insert(REVISION.to_owned(), current.number.to_string());
        }
    }
}

fn duration(object: &Object, mint: &Mint) -> SignedDuration {
    let drawn = draw(mint.seed(), &["rollout", &object.target.to_string()], object.generation.unsigned_abs());
    let whole = between(drawn, FASTEST, SLOWEST);
    if object.fate(object.current) == Fate::Slow { whole * SLOW } else { whole }
}

fn prune(object: &mut Object) {
    while object.revisions.len() > REVISIONS + 1 {
        let unused = |it: &&Revision| it.key != object.current && object.pods.iter().all(|pod| pod.template != it.key);
        let Some(oldest) = object.revisions.iter().filter(unused).min_by_key(|it| it.number).map(|it| it.key) else {
            break;
        };
        object.revisions.retain(|it| it.key != oldest);
    }
}

fn deployment(object: &mut Object, mint: &mut Mint, now: Timestamp) {
    let (desired, current) = (object.desired(), object.current);
    while let Some(victim) = surplus(object, desired) {
        object.pods.remove(victim);
    }
    let missing = desired - size(object.pods.len());
    if missing > 0 {
        let pods: Vec<Pod> = (0..missing).map(|_| start(object, mint, (0, current), now + object.duration)).collect();
        object.pods.extend(pods);
        return;
    }
    let old = object.pods.iter().any(|it| it.template != current);
    let starting = object.pods.iter().any(|it| it.template == current && !it.ready);
    if old && !starting && !object.paused() {
        let pod = start(object, mint, (0, current), now + pace(object));
        object.pods.push(pod);
    }
}

/// The pod of a Deployment that is one too many, if there is one: an old one that is not ready; without old ones any; a
/// ready old one only as long as enough others are ready.
fn surplus(object: &Object, desired: i32) -> Option<usize> {
    if size(object.pods.len()) <= desired {
        return None;
    }
    let find = |which: &dyn Fn(&Pod) -> bool| object.pods.iter().position(which);
    let old = |it: &Pod| it.template != object.current;
    let Some(any_old) = find(&old) else {
        return find(&|it| !it.ready).or(object.pods.len().checked_sub(1));
    };
    let enough = size(object.pods.iter().filter(|it| it.ready).count()) > desired;
    find(&|it| old(it) && !it.ready).or(enough.then_some(any_old))
}

fn stateful_set(object: &mut Object, mint: &mut Mint, now: Timestamp) {
    let (desired, current, partition) = (object.desired(), object.current, object.partition());
    object.pods.retain(|it| it.ordinal < desired);
    for ordinal in 0..desired {
        if object.pods.iter().all(|it| it.ordinal != ordinal) {
            // Below the partition pods come back as they were.
            let key = if ordinal < partition { before(object) } else { current };
            let pod = start(object, mint, (ordinal, key), now + object.duration);
            object.pods.push(pod);
        }
    }
    object.pods.sort_by_key(|it| it.ordinal);
    if let Some(at) = object.pods.iter().rposition(|it| it.template != current && it.ordinal >= partition) {
        replace(object, mint, at, now);
    }
}

/// Key of the newest template but the current one.
fn before(object: &Object) -> u32 {
    let others = object.revisions.iter().filter(|it| it.key != object.current);
    others.max_by_key(|it| it.number).map_or(object.current, |it| it.key)
}

fn daemon_set(object: &mut Object, mint: &mut Mint, now: Timestamp) {
    let (desired, current) = (object.desired(), object.current);
    while size(object.pods.len()) > desired {
        object.pods.pop();
    }
    while size(object.pods.len()) < desired {
        let pod = start(object, mint, (0, current), now + object.duration);
        object.pods.push(pod);
    }
    // What is down already is replaced first: it costs nothing.
    let old = |down: bool| object.pods.iter().position(|it| it.template != current && it.ready != down);
    if let Some(at) = old(true).or_else(|| old(false)) {
        replace(object, mint, at, now);
    }
}

/// Replaces one pod in place, unless another replacement is not ready yet.
fn replace(object: &mut Object, mint: &mut Mint, at: usize, now: Timestamp) {
    let starting = object.pods.iter().any(|it| it.template == object.current && !it.ready);
    if !starting && !object.on_delete() {
        let place = (object.pods[at].ordinal, object.current);
        object.pods[at] = start(object, mint, place, now + pace(object));
    }
}

/// How long one pod takes, so that all of them together take the rollout's time.
fn pace(object: &Object) -> SignedDuration {
    object.duration / object.desired().max(1)
}

/// A new pod at an ordinal, of a template.
fn start(object: &Object, mint: &mut Mint, (ordinal, template): (i32, u32), ready_at: Timestamp) -> Pod {
    let (workload, fate) = (&object.target.name, object.fate(template));
    let name = match object.target.kind {
        WorkloadKind::Deployment => {
            // Pods of one template share a hash, as those of one ReplicaSet do.
            let hash = draw(mint.seed(), &[&object.uid], template.into()) >> 32;
            format!("{workload}-{hash:08x}-{}", mint.suffix())
        }
        WorkloadKind::StatefulSet => format!("{workload}-{ordinal}"),
        WorkloadKind::DaemonSet => format!("{workload}-{}", mint.suffix()),
    };
    Pod {
        name: name.into(),
        uid: mint.uid(),
        ordinal,
        template,
        ready: false,
        ready_at: fate.starts().then_some(ready_at),
        crashing: fate == Fate::Crash,
    }
}

/// Writes the status. Returns when the rollout's progress deadline ends, if one runs.
fn report(object: &mut Object, now: Timestamp) -> Option<Timestamp> {
    let before = std::mem::take(&mut object.status);
    object.status.deadline_exceeded = before.deadline_exceeded;
    object.status = object.count();
    let status = &object.status;
    if (status.updated, status.ready, status.total) != (before.updated, before.ready, before.total) {
        object.progress = object.progress.map(|_| now);
    }
    if object.target.kind != WorkloadKind::Deployment || object.paused() {
        return None;
    }
    if object.rollout().complete() {
        // Only a rollout has a deadline: pods that fail after it do not start a new one.
        object.progress = None;
        object.status.deadline_exceeded = false;
    }
    let deadline = object.progress?.saturating_add(object.progress_deadline()).unwrap_or(Timestamp::MAX);
    if now >= deadline {
        object.status.deadline_exceeded = true;
        return None;
    }
    Some(deadline)
}
