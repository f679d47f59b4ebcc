//! Records as the engine would write them.

use flyball_core::action::{Action, ActionRequest, Cause, Evidence, PolicyRef, VerifySpec};
use flyball_core::deny::DenyReason;
use flyball_core::id::{IntentId, SignalId};
use flyball_core::intent::{Event, Receipt, Writer};
use flyball_core::outcome::Outcome;
use flyball_core::plan::{Change, Edit};
use flyball_core::record::{Admission, Deferral, Folded, Record, Topic, Verdict};
use flyball_core::signal::TraceContext;
use flyball_core::workload::{Workload, WorkloadKind};
use jiff::Timestamp;

use crate::world::{World, epoch};

pub(crate) fn at(text: &str) -> Timestamp {
    format!("2026-01-10T{text}Z").parse().unwrap()
}

pub(crate) fn request(name: &str) -> ActionRequest {
    let signal = SignalId(format!("w-{name}").into());
    ActionRequest {
        policy: PolicyRef { name: "restart-on-leak".into(), digest: "3f2a".into() },
        target: Workload::new(WorkloadKind::Deployment, "shop", name),
        action: Action::Restart,
        cause: Cause::Signal(signal.clone()),
        step: 0,
        then: Vec::new(),
        hold: None,
        priority: 0,
        limits: flyball_core::limits::PolicyLimits::default(),
        verify: VerifySpec::default(),
        evidence: Evidence {
            kind: "rca".into(),
            summary: format!("{name} memory_leak (0.9), confidence 0.8").into(),
            confidence: Some(0.8),
            observed_at: epoch(),
            expires_at: None,
            trace: TraceContext::derive(&signal),
            sequence: 7,
            signal: None,
        },
    }
}

pub(crate) fn change() -> Change {
    let apply = serde_json::json!({"spec": {"replicas": 4}});
    Change {
        uid: "u1".into(),
        resource_version: "41".into(),
        generation: 3,
        base: "b".into(),
        edit: Edit::Fields { summary: "restart at 2026-01-10T14:00:00Z".into(), apply, revert: None },
    }
}

pub(crate) fn cooldown() -> DenyReason {
    let last = request("cart").id("test");
    DenyReason::CooldownActive { last, until: Some(at("14:12:11")) }
}

pub(crate) fn slots() -> DenyReason {
    DenyReason::ConcurrencyLimit { scope: "namespace".into(), used: 2, max: 2 }
}

pub(crate) fn folded(name: &str, verdict: Verdict, policy: Option<&str>, count: u64) -> Folded {
    let asked = request(name);
    Folded {
        target: asked.target,
        policy: policy.map(Into::into),
        action: policy.map(|_| asked.action.kind()),
        verdict,
        count,
        sequences: vec![(8, 7 + count)],
        signal: SignalId(format!("w-{name}").into()),
        observed_at: epoch(),
        trace: asked.evidence.trace,
        summary: asked.evidence.summary,
    }
}

/// An intent on `shop/cart`, just admitted.
pub(crate) async fn admitted(world: &World) -> IntentId {
    let asked = request("cart");
    let id = asked.id("test");
    let writer = Writer { replica: "replica-0".into(), process: "p0".into(), epoch: 0 };
    let admission = Admission { id, request: asked, change: change(), adds: 0, writer };
    world.write(Topic::Admit, Record::Admitted(vec![admission])).await;
    id
}

/// An intent on `shop/cart`, taken to the end.
pub(crate) async fn recovered(world: &World) -> IntentId {
    let id = admitted(world).await;
    for event in [
        Event::Attempted { number: 1, change: change() },
        Event::Applied(Receipt { generation: 4, resource_version: "42".into() }),
        Event::RolledOut,
        Event::Closed { outcome: Outcome::Recovered, detail: "no signal for 5m after the rollout".into() },
    ] {
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        world.write(Topic::Intent(id), Record::Happened(event)).await;
    }
    id
}

/// A world in which a bit of everything was decided.
pub(crate) async fn busy_world() -> (World, IntentId) {
    let world = World::new().await;
    let id = recovered(&world).await;
    let notes = vec![
        folded("cart", Verdict::Denied(vec![cooldown(), slots()]), Some("restart-on-leak"), 14),
        folded("db", Verdict::Shadow(vec![]), Some("restart-in-shadow"), 1),
        folded("web", Verdict::NoAction(flyball_core::deny::NoAction::NoPolicyMatched), None, 3),
    ];
    world.write(Topic::Note, Record::Folded(notes)).await;
    let deferral = Deferral { request: request("queue"), objections: vec![slots()] };
    world.write(Topic::Admit, Record::Deferred(deferral)).await;
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    (world, id)
}
