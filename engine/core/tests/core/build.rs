//! Small builders: a request, a target as read, and a ledger to remember things in.

use std::collections::BTreeMap;

use flyball_core::action::{Action, ActionRequest, Cause, Evidence, PolicyRef, VerifySpec};
use flyball_core::chain::Head;
use flyball_core::facts::{Managers, Neighbours, Rollout, Sighting, Snapshot};
use flyball_core::history::{Contradiction, History};
use flyball_core::id::{IntentId, Revision, SignalId};
use flyball_core::intent::{Event, Intent, Receipt, Writer};
use flyball_core::limits::PolicyLimits;
use flyball_core::outcome::Outcome;
use flyball_core::plan::{Change, plan};
use flyball_core::record::{Admission, Entry, Record, Topic};
use flyball_core::signal::TraceContext;
use flyball_core::workload::{Workload, WorkloadKind};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

pub(crate) const POLICY: &str = "\
apiVersion: flyball.dev/v1alpha1
kind: RemediationPolicy
metadata:
  name: leak
spec:
  mode: enforce
  match: {signal: rca, causes: [leak]}
  action: {restart: {}}
  guardrails: {cooldown: 10m}
";

/// `10:02` or `10:02:30` of one day.
pub(crate) fn at(clock: &str) -> Timestamp {
    let seconds = if clock.len() == 5 { ":00" } else { "" };
    format!("2026-01-10T{clock}{seconds}Z").parse().unwrap()
}

pub(crate) fn duration(text: &str) -> SignedDuration {
    text.parse().unwrap()
}

pub(crate) fn workload(text: &str) -> Workload {
    text.parse().unwrap()
}

/// A request of the policy `p` for `target`, by a signal that bears the time and the target in its name.
pub(crate) fn request(target: &str, action: Action, observed: &str) -> ActionRequest {
    let kind = action.kind();
    ActionRequest {
        policy: PolicyRef { name: "p".into(), digest: "d".into() },
        target: workload(target),
        action,
        cause: Cause::Signal(SignalId(format!("{target} {kind} {observed}").into())),
        step: 0,
        then: Vec::new(),
        hold: None,
        priority: 0,
        // Each test has the one guardrail in mind that it is about.
        limits: PolicyLimits { demote_after: 0, ..PolicyLimits::default() },
        verify: VerifySpec::default(),
        evidence: Evidence {
            kind: "rca".into(),
            summary: "leaks".into(),
            confidence: Some(0.9),
            observed_at: at(observed),
            expires_at: None,
            trace: TraceContext::default(),
            sequence: 0,
            signal: None,
        },
    }
}

pub(crate) fn restart(target: &str, observed: &str) -> ActionRequest {
    request(target, Action::Restart, observed)
}

/// A healthy rollout of three pods.
pub(crate) fn rollout(kind: WorkloadKind) -> Rollout {
    Rollout {
        kind,
        uid: "uid-1".into(),
        generation: 1,
        observed_generation: 1,
        desired: 3,
        total: 3,
        updated: 3,
        ready: 3,
        available: 3,
        deadline_exceeded: false,
        on_delete: false,
        partition: 0,
    }
}

/// A healthy target of three pods, alone in a namespace of ten.
pub(crate) fn snapshot(target: &str) -> Snapshot {
    let target = workload(target);
    let container = json!({"name": "app", "image": "app:1", "env": [{"name": "A", "value": "1"}]});
    Snapshot {
        uid: "uid-1".into(),
        resource_version: "7".into(),
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        spec: json!({"replicas": 3, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}}}),
        rollout: rollout(target.kind),
        deleting: false,
        namespace_opted_out: false,
        managers: Managers::default(),
        revisions: Vec::new(),
        pod: None,
        neighbours: Neighbours { total: 10, ..Neighbours::default() },
        target,
    }
}

pub(crate) fn sighting(rollout: Rollout, seen: &Snapshot, read_at: Timestamp) -> Sighting {
    Sighting { rollout, spec: seen.spec.clone(), stamp: None, pod_still_there: false, read_at }
}

pub(crate) fn admission(request: &ActionRequest, change: Change, adds: u32) -> Admission {
    let writer = Writer { replica: "a".into(), process: "1".into(), epoch: 0 };
    Admission { id: request.id("c"), request: request.clone(), change, adds, writer }
}

/// What is planned for a request on a target as `snapshot` gives it.
pub(crate) fn change(request: &ActionRequest) -> Change {
    let seen = snapshot(&request.target.to_string());
    plan(&request.action, &seen, request.evidence.observed_at).unwrap()
}

pub(crate) fn receipt(generation: i64) -> Receipt {
    Receipt { generation, resource_version: "8".into() }
}

/// A ledger of one replica, folded as it is written.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) history: History,
    entries: Vec<Entry>,
}

impl Ledger {
    pub(crate) fn try_append(&mut self, clock: &str, topic: Topic, record: Record) -> Result<(), Contradiction> {
        let revision = Revision(self.entries.len() as u64 + 1);
        let entry = Entry::sealed(revision, at(clock), topic, self.head(topic), record).unwrap();
        self.history.apply(&entry)?;
        self.entries.push(entry);
        Ok(())
    }

    /// What the next entry of a topic has to follow.
    fn head(&self, topic: Topic) -> Option<Head> {
        let compared = self.entries.iter().rev().find(|it| it.topic == topic && topic != Topic::Note);
        compared.map(Entry::head)
    }

    pub(crate) fn append(&mut self, clock: &str, topic: Topic, record: Record) {
        self.try_append(clock, topic, record).unwrap();
    }

    /// Admits a request as it stands, whatever the guardrails would say.
    pub(crate) fn admit(&mut self, clock: &str, request: &ActionRequest) -> IntentId {
        self.admit_adding(clock, request, 0)
    }

    pub(crate) fn admit_adding(&mut self, clock: &str, request: &ActionRequest, adds: u32) -> IntentId {
        let admission = admission(request, change(request), adds);
        self.append(clock, Topic::Admit, Record::Admitted(vec![admission.clone()]));
        admission.id
    }

    pub(crate) fn happen(&mut self, clock: &str, id: IntentId, event: Event) {
        self.append(clock, Topic::Intent(id), Record::Happened(event));
    }

    /// Sends and lands it, with generation 2.
    pub(crate) fn land(&mut self, clock: &str, id: IntentId) {
        let change = self.intent(id).change().clone();
        self.happen(clock, id, Event::Attempted { number: 1, change });
        self.happen(clock, id, Event::Applied(receipt(2)));
    }

    pub(crate) fn close(&mut self, clock: &str, id: IntentId, outcome: Outcome) {
        self.happen(clock, id, Event::Closed { outcome, detail: String::new() });
    }

    /// Admitted, and closed at the second time.
    pub(crate) fn done(&mut self, admitted: &str, closed: &str, request: &ActionRequest, outcome: Outcome) -> IntentId {
        let id = self.admit(admitted, request);
        self.close(closed, id, outcome);
        id
    }

    pub(crate) fn intent(&self, id: IntentId) -> &Intent {
        self.history.intent(id).unwrap()
    }
}
