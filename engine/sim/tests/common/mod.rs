//! One helper that knows how things are made, so that the tests know inputs and answers only.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use flyball_core::action::{Action, ActionRequest, Cause, Evidence, PolicyRef, VerifySpec};
use flyball_core::facts::{Rollout, Snapshot};
use flyball_core::history::History;
use flyball_core::id::{IntentId, Revision, SignalId};
use flyball_core::intent::{Attempt, Event, Execution, Intent, Receipt, Writer};
use flyball_core::limits::PolicyLimits;
use flyball_core::plan::{Change, plan};
use flyball_core::ports::Cluster;
use flyball_core::record::{Admission, Entry, Record, Topic};
use flyball_core::signal::TraceContext;
use flyball_core::workload::Workload;
use flyball_sim::{ManualClock, SimCluster, World};
use jiff::{SignedDuration, Timestamp};

pub const START: &str = "2026-01-10T01:00:00Z";

pub fn start() -> Timestamp {
    START.parse().expect("a time")
}

pub fn world(seed: u64) -> (World, ManualClock) {
    let clock = ManualClock::starting_at(start());
    (World::new(seed, Arc::new(clock.clone())), clock)
}

pub fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

pub fn millis(milliseconds: i64) -> SignedDuration {
    SignedDuration::from_millis(milliseconds)
}

/// Polls until it is done. Sleeping passes at once, so what stays pending waits for nothing.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..1_000 {
        if let Poll::Ready(value) = poll_once(future.as_mut()) {
            return value;
        }
    }
    panic!("nothing will wake it")
}

pub fn poll_once<T>(future: std::pin::Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

pub fn request(target: &Workload, action: Action, cause: &str) -> ActionRequest {
    ActionRequest {
        policy: PolicyRef { name: "test".into(), digest: "0".into() },
        target: target.clone(),
        action,
        cause: Cause::Signal(SignalId(cause.into())),
        step: 0,
        then: Vec::new(),
        hold: None,
        priority: 0,
        limits: PolicyLimits::default(),
        verify: VerifySpec::default(),
        evidence: Evidence {
            kind: "anomaly".into(),
            summary: "test".into(),
            confidence: None,
            observed_at: start(),
            expires_at: None,
            trace: TraceContext { trace_id: 1, span_id: 0, sampled: false },
            sequence: 0,
            signal: None,
        },
    }
}

pub fn writer() -> Writer {
    Writer { replica: "a".into(), process: "1".into(), epoch: 0 }
}

/// The intent that the ledger would hold, with its send recorded.
pub fn intent(request: &ActionRequest, change: &Change) -> Intent {
    let id = request.id("test");
    let mut history = History::default();
    let admission = Admission { id, request: request.clone(), change: change.clone(), adds: 0, writer: writer() };
    let admitted = Record::Admitted(vec![admission]);
    let attempted = Record::Happened(Event::Attempted { number: 1, change: change.clone() });
    for (revision, topic, record) in [(1, Topic::Admit, admitted), (2, Topic::Intent(id), attempted)] {
        let entry = Entry::sealed(Revision(revision), start(), topic, None, record).expect("JSON");
        history.apply(&entry).expect("a legal history");
    }
    history.intent(id).expect("just admitted").clone()
}

pub fn attempt(request: &ActionRequest, change: &Change) -> Attempt {
    intent(request, change).attempt().expect("just attempted")
}

pub fn snapshot(cluster: &SimCluster, request: &ActionRequest) -> Snapshot {
    block_on(cluster.snapshot(request)).expect("readable").expect("there")
}

/// Reads, plans, and is ready to send.
pub fn planned(cluster: &SimCluster, target: &Workload, action: Action, cause: &str) -> (ActionRequest, Change) {
    let request = request(target, action, cause);
    let seen = snapshot(cluster, &request);
    let change = plan(&request.action, &seen, start()).expect("something to do");
    (request, change)
}

/// Reads, plans and sends.
pub fn act(cluster: &SimCluster, target: &Workload, action: Action, cause: &str) -> (IntentId, Execution) {
    let (request, change) = planned(cluster, target, action, cause);
    (request.id("test"), block_on(cluster.execute(attempt(&request, &change))))
}

pub fn applied(execution: Execution) -> Receipt {
    match execution {
        Execution::Applied(receipt) => receipt,
        other => panic!("not applied: {other:?}"),
    }
}

pub fn rollout(cluster: &SimCluster, target: &Workload) -> Rollout {
    block_on(cluster.sight(target, None)).expect("readable").expect("there").rollout
}

/// `updated/desired updated, available, total`, and what else is to be said.
pub fn shown(cluster: &SimCluster, target: &Workload) -> String {
    let it = rollout(cluster, target);
    let mut text = format!("{}/{} updated, {} available, {} in all", it.updated, it.desired, it.available, it.total);
    if it.observed_generation < it.generation {
        text.push_str(", not observed");
    }
    if it.deadline_exceeded {
        text.push_str(", deadline exceeded");
    }
    if it.complete() {
        text.push_str(", complete");
    }
    text
}
