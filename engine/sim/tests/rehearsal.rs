//! The rehearsal: the core's whole way of a signal, told as it happens.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use flyball_core::action::ActionRequest;
use flyball_core::deny::DenyReason;
use flyball_core::expr::Unevaluated;
use flyball_core::id::SignalId;
use flyball_core::intent::{Intent, Stage};
use flyball_core::policy::{PolicySet, load};
use flyball_core::signal::{Anomaly, AnomalyKind, RankedCause, Rca, Signal, SignalKind, TraceContext};
use flyball_core::workload::Workload;
use flyball_sim::{Decided, Manifest, Rehearsal, Witness};
use jiff::{SignedDuration, Timestamp};

const POLICIES: &str = "
apiVersion: flyball.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: restart}
spec:
  mode: enforce
  match: {signal: rca, causes: [leak]}
  action: {restart: {}}
  verify: {timeout: 1m, stableFor: 5s, recovered: {by: silence, within: 1m}}
---
apiVersion: flyball.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: grow}
spec:
  mode: enforce
  match: {signal: anomaly, types: [latency], when: target.replicas.desired < 4}
  action: {scale: {by: 1}}
---
apiVersion: flyball.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: image}
spec:
  mode: enforce
  match: {signal: anomaly, types: [error]}
  action: {patch: {strategic: {spec: {template: {spec: {containers: [{name: cart, image: cart:9-bad}]}}}}}}
  verify: {timeout: 30s, onFailure: undo}
---
apiVersion: flyball.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: watch}
spec:
  mode: shadow
  priority: 5
  match: {signal: rca, causes: [leak]}
  action: {rollback: {}}
";

fn set() -> Arc<PolicySet> {
    Arc::new(load(&[("p.yaml".to_owned(), POLICIES.to_owned())]).unwrap_or_else(|faults| panic!("{faults}")))
}

fn start() -> Timestamp {
    "2026-01-10T10:00:00Z".parse().unwrap()
}

/// What happened, a line each: seconds since the start, and what.
#[derive(Default)]
struct Log(Vec<String>);

impl Log {
    fn say(&mut self, at: Timestamp, what: &str) {
        self.0.push(format!("{} {what}", at.duration_since(start()).as_secs()));
    }
}

fn reasons(all: &[DenyReason]) -> String {
    all.iter().map(DenyReason::label).collect::<Vec<_>>().join(" ")
}

fn told(what: &Decided<'_>) -> String {
    match what {
        Decided::Nothing(why) => why.label().to_owned(),
        Decided::Denied(it) => format!("denied {}", reasons(&it.reasons)),
        Decided::Deferred(it) => format!("waits {}", reasons(&it.reasons)),
        Decided::Joined(_) => "joined".to_owned(),
        Decided::Admitted(_, request) => format!("admitted {} {}", request.policy.name, request.target.name),
    }
}

impl Witness for Log {
    fn decided(&mut self, at: Timestamp, _: &Signal, what: Decided<'_>) {
        self.say(at, &told(&what));
    }

    fn shadow(&mut self, at: Timestamp, _: &Signal, request: &ActionRequest, all: &[DenyReason]) {
        self.say(at, &format!("shadow {} {}", request.policy.name, reasons(all)));
    }

    fn unevaluated(&mut self, at: Timestamp, _: &Signal, policy: &str, _: &Unevaluated) {
        self.say(at, &format!("not evaluated {policy}"));
    }

    fn released(&mut self, at: Timestamp, _: &ActionRequest, what: Decided<'_>) {
        self.say(at, &format!("then {}", told(&what)));
    }

    fn closed(&mut self, at: Timestamp, intent: &Intent) {
        let Stage::Closed { outcome, .. } = intent.stage() else { panic!("{:?} is not closed", intent.stage()) };
        let request = intent.request();
        self.say(at, &format!("{} {} {}", outcome.label(), request.action.kind(), request.target.name));
    }
}

/// `leak cart` or `latency cart`, at so many seconds.
fn signal(at: i64, text: &str) -> (Timestamp, Signal) {
    let (word, name) = text.split_once(' ').unwrap();
    let subject: Workload = format!("shop/{name}").parse().unwrap();
    let kind = match word {
        "latency" | "error" => {
            let kind = if word == "error" { AnomalyKind::Error } else { AnomalyKind::Latency };
            SignalKind::Anomaly(Anomaly { is_anomaly: true, score: 0.9, kind })
        }
        cause => {
            let cause = RankedCause { target: subject.clone(), cause: cause.into(), probability: 0.9 };
            SignalKind::Rca(Rca { causes: vec![cause], confidence: 0.9 })
        }
    };
    let time = start() + SignedDuration::from_secs(at);
    let signal = Signal {
        id: SignalId(format!("{text} {at}").into()),
        kind,
        subject,
        service: name.into(),
        pod: None,
        window_id: "w".into(),
        observed_at: time,
        expires_at: None,
        trace: TraceContext::default(),
        sequence: 1,
    };
    (time, signal)
}

fn rehearse(put: &[Manifest], adopts: bool, signals: &[(i64, &str)]) -> Vec<String> {
    let mut log = Log::default();
    let mut rehearsal = Rehearsal::new(set(), start(), adopts);
    for it in put {
        rehearsal.cluster().put(it);
    }
    for (at, text) in signals {
        let (at, signal) = signal(*at, text);
        rehearsal.signal(at, &signal, &mut log);
    }
    rehearsal.until(start() + SignedDuration::from_hours(2), &mut log);
    assert_eq!(rehearsal.history().open().count(), 0, "{:?}", log.0);
    log.0
}

#[test]
fn a_restart_is_verified_and_rests() {
    let signals = [(0, "leak cart"), (100, "gc cart"), (200, "leak cart")];
    let told = rehearse(&[Manifest::deployment("shop", "cart")], false, &signals);
    // The rollout takes up to 2.5 s and silence a minute from there; then the cooldown of five minutes holds.
    assert_eq!(told[..2], ["0 shadow watch ", "0 admitted restart cart"]);
    assert!(["61 Recovered restart cart", "62 Recovered restart cart"].contains(&told[2].as_str()), "{told:?}");
    assert_eq!(told[3..], ["100 NoPolicyMatched", "200 shadow watch CooldownActive", "200 denied CooldownActive"]);
}

#[test]
fn a_symptom_that_comes_again_is_no_recovery() {
    let told = rehearse(&[Manifest::deployment("shop", "cart")], false, &[(0, "leak cart"), (20, "leak cart")]);
    assert!(told.contains(&"20 NotRecovered restart cart".to_owned()), "{told:?}");
}

#[test]
fn what_fails_is_undone() {
    let told = rehearse(&[Manifest::deployment("shop", "cart")], false, &[(0, "error cart")]);
    assert_eq!(told[0], "0 admitted image cart");
    assert!(told.last().unwrap().ends_with("RolledBack patch cart"), "{told:?}");
    assert_eq!(told.len(), 3, "the undo, and what it undoes: {told:?}");
}

#[test]
fn a_condition_sees_the_target_as_it_is_by_then() {
    let told = rehearse(&[Manifest::deployment("shop", "cart")], false, &[(0, "latency cart"), (600, "latency cart")]);
    assert_eq!((told[0].as_str(), told[2].as_str()), ("0 admitted grow cart", "600 NoPolicyMatched"), "{told:?}");
}

#[test]
fn nobody_is_acted_on_who_is_not_there_unless_he_is_taken_to_be() {
    assert_eq!(rehearse(&[], false, &[(0, "error cart")]), ["0 denied TargetNotFound"]);
    assert_eq!(rehearse(&[], false, &[(0, "latency cart")]), ["0 not evaluated grow", "0 NoPolicyMatched"]);
    let told = rehearse(&[], true, &[(0, "latency cart")]);
    assert_eq!(told[0], "0 admitted grow cart");
}

#[test]
fn who_waits_is_helped_when_a_slot_frees() {
    // Two rollouts at once in a namespace; forty per cent of ten workloads.
    let all: Vec<Manifest> = (0..10).map(|n| Manifest::deployment("shop", &format!("app-{n}"))).collect();
    let told = rehearse(
        &all,
        false,
        &[(0, "latency app-0"), (0, "latency app-1"), (0, "latency app-2"), (0, "latency app-2")],
    );
    assert_eq!(told[..4], ["0 admitted grow app-0", "0 admitted grow app-1", "0 waits ConcurrencyLimit", "0 joined"]);
    assert!(told.iter().any(|it| it.ends_with("then admitted grow app-2")), "{told:?}");
    assert_eq!(told.iter().filter(|it| it.contains("RolledOut scale")).count(), 3, "{told:?}");
}
