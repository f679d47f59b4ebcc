//! The audit log against the ledger: which requests changed something, whose they were, and whether they might.

use std::collections::{BTreeMap, BTreeSet};

use flyball_core::facts::{STAMP_FENCE, STAMP_INTENT};
use flyball_core::id::IntentId;
use flyball_core::intent::Event;
use flyball_core::outcome::Outcome;
use flyball_core::plan::{Change, Edit};
use flyball_devcluster::AuditEntry;
use jiff::Timestamp;
use serde_json::Value;

use super::ledger::Life;
use super::{Violation, violation};

/// A request by what it is for.
enum Kind {
    /// It carries the stamp of an intent.
    Effect(IntentId),
    /// It carries the mark of a fence.
    Fence,
    /// An eviction: it carries no stamp, its pod's uid says whose it is.
    Eviction(String),
    /// Anything else has no business here.
    Stray,
}

fn kind(request: &AuditEntry) -> Kind {
    let mark = |name: &str| request.object["metadata"]["annotations"][name].as_str();
    if request.subresource == "eviction" {
        let uid = request.object["deleteOptions"]["preconditions"]["uid"].as_str();
        return uid.map_or(Kind::Stray, |uid| Kind::Eviction(uid.to_owned()));
    }
    match (mark(STAMP_INTENT).and_then(|it| it.parse().ok()), mark(STAMP_FENCE)) {
        (Some(id), None) => Kind::Effect(id),
        (None, Some(_)) => Kind::Fence,
        _ => Kind::Stray,
    }
}

/// A change that was sent, as the ledger knows it.
struct Sent<'a> {
    change: &'a Change,
    at: Timestamp,
    /// When it was declared impossible, or another attempt was begun.
    over: Option<Timestamp>,
}

/// How many stamped changes of each intent were accepted.
pub(super) fn accepted(requests: &[AuditEntry]) -> BTreeMap<IntentId, usize> {
    let mut accepted = BTreeMap::new();
    for request in requests.iter().filter(|it| !it.dry_run && (200..300).contains(&it.code)) {
        if let Kind::Effect(id) = kind(request) {
            *accepted.entry(id).or_default() += 1;
        }
    }
    accepted
}

/// All that is wrong with what was changed.
pub(super) fn judge(
    lives: &BTreeMap<IntentId, Life>,
    requests: &[AuditEntry],
    stamped: &BTreeSet<IntentId>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let accepted = accepted(requests);
    let mut evicted: BTreeMap<String, usize> = BTreeMap::new();
    let mut bodies: BTreeMap<(IntentId, String), &Value> = BTreeMap::new();
    for request in requests.iter().filter(|it| !it.dry_run) {
        let took = (200..300).contains(&request.code);
        match kind(request) {
            Kind::Effect(id) => {
                let token = request.object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
                if bodies.insert((id, token), &request.object).is_some_and(|before| *before != request.object) {
                    found.push(violation("S7", format!("{id} was sent again with other bytes")));
                }
                match lives.get(&id) {
                    None => found.push(violation("S2", format!("{id} was sent and is not on the ledger"))),
                    Some(life) => found.extend(effect(id, life, request, took)),
                }
            }
            Kind::Eviction(uid) => *evicted.entry(uid).or_default() += usize::from(took),
            Kind::Fence => {}
            // Who has no right is refused before the body is read, so the audit log has none.
            Kind::Stray if request.code == 403 && request.object.is_null() => {}
            Kind::Stray => found.push(violation("S2", format!("without a stamp: {} {}", request.verb, request.uri))),
        }
    }
    found.extend(evictions(lives, &evicted));
    // What was answered with success was seen or not; what was seen did land, whatever was answered.
    let landed = |id: &IntentId| accepted.get(id).copied().unwrap_or(0).max(usize::from(stamped.contains(id)));
    found.extend(lives.iter().filter_map(|(id, life)| counted(*id, life, landed(id))));
    let unknown = stamped.iter().filter(|id| !lives.contains_key(id));
    found.extend(unknown.map(|id| violation("S2", format!("the stamp of {id} was seen, which is not on the ledger"))));
    found
}

/// One request with a stamp against the life of its intent.
fn effect(id: IntentId, life: &Life, request: &AuditEntry, took: bool) -> Vec<Violation> {
    let mut found = Vec::new();
    let body = &request.object["metadata"];
    let Ok(received) = request.received.parse::<Timestamp>() else {
        return vec![violation("audit", format!("no time: {}", request.received))];
    };
    let sent = sends(life).into_iter().find(|it| body["resourceVersion"] == *it.change.resource_version);
    match sent {
        None => found.push(violation("S2", format!("{id} was sent on a version that no attempt names: {body}"))),
        Some(sent) => {
            if sent.at > received {
                found.push(violation("S2", format!("{id} was sent at {received}, recorded at {}", sent.at)));
            }
            if body["uid"] != *sent.change.uid {
                found.push(violation("S4", format!("{id} was sent to uid {}", body["uid"])));
            }
            if took && sent.over.is_some_and(|over| over < received) {
                found.push(violation("S6", format!("{id}: an attempt that was settled landed at {received}")));
            }
        }
    }
    if let Some((at, _)) = life.end().filter(|(at, _)| took && *at < received) {
        found.push(violation("S9", format!("{id} ended at {at} and landed at {received}")));
    }
    found
}

fn sends(life: &Life) -> Vec<Sent<'_>> {
    let mut sent: Vec<Sent<'_>> = Vec::new();
    for (at, event) in &life.events {
        let settles = matches!(event, Event::Missed { .. } | Event::Attempted { .. });
        if let Some(last) = sent.last_mut().filter(|it| settles && it.over.is_none()) {
            last.over = Some(*at);
        }
        if let Event::Attempted { change, .. } = event {
            sent.push(Sent { change, at: *at, over: None });
        }
    }
    sent
}

/// At most one effect; one if it is told that it landed, none if it is told that it did not.
fn counted(id: IntentId, life: &Life, effects: usize) -> Option<Violation> {
    let applied = life.events.iter().any(|(_, it)| matches!(it, Event::Applied(_)));
    let refused =
        matches!(life.end(), Some((_, Event::Closed { outcome: Outcome::Cancelled | Outcome::Rejected, .. })));
    // The stamp of an eviction may be there although a budget refused the eviction.
    let evicts = matches!(life.admission.change.edit, Edit::Evict { .. });
    match effects {
        2.. => Some(violation("S1", format!("{id} had {effects} effects"))),
        0 if applied => Some(violation("S8", format!("{id} is told to have landed and did not"))),
        1 if refused && !evicts => Some(violation("S9", format!("{id} is told not to have landed and did"))),
        _ => None,
    }
}

/// A pod dies once, and only for an intent that names it.
fn evictions(lives: &BTreeMap<IntentId, Life>, evicted: &BTreeMap<String, usize>) -> Vec<Violation> {
    let named = |uid: &str| {
        lives.values().any(|life| {
            let edits = sends(life).into_iter().map(|it| &it.change.edit);
            let mut uids = edits.filter_map(|it| if let Edit::Evict { uid, .. } = it { Some(&**uid) } else { None });
            uids.any(|it| it == uid)
        })
    };
    let mut found = Vec::new();
    for (uid, count) in evicted {
        if *count > 1 {
            found.push(violation("S1", format!("pod {uid} was evicted {count} times")));
        }
        if !named(uid) {
            found.push(violation("S2", format!("pod {uid} was evicted and no attempt names it")));
        }
    }
    found
}
