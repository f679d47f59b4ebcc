//! A past as an engine leaves it behind: restarts of two hundred workloads, each from its admission to its end, and the signals
//! that were denied in between, spread over nearly a week.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use flyball::ledger::stored::{Beside, Stored};
use flyball_core::action::{Action, ActionKind, ActionRequest, Cause, Evidence, PolicyRef, VerifySpec};
use flyball_core::chain::{Head, Sum};
use flyball_core::deny::DenyReason;
use flyball_core::facts::{Managers, Neighbours, Rollout, Snapshot};
use flyball_core::id::{IntentId, Revision, SignalId};
use flyball_core::intent::{Event, Receipt, Writer};
use flyball_core::limits::PolicyLimits;
use flyball_core::outcome::Outcome;
use flyball_core::plan::plan;
use flyball_core::ports::{Ledger, Write};
use flyball_core::record::{Admission, Entry, Folded, Record, Topic, Verdict};
use flyball_core::signal::TraceContext;
use flyball_core::wire;
use flyball_core::workload::{Workload, WorkloadKind};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

/// Shorter than what the ledger keeps: none of it may be removed.
const SPAN: SignedDuration = SignedDuration::from_hours(7 * 24 - 2);
const WORKLOADS: u64 = 200;
/// Notes about denied signals for each action.
const NOTES: u64 = 5;
/// Entries of one action: its own and the notes.
const EACH: u64 = 5 + NOTES;
/// Actions in a batch of entries.
const BATCH: u64 = 200;

/// Entries still to be made.
pub(crate) struct Past {
    left: u64,
    next: Revision,
    admit: Sum,
    at: Timestamp,
    step: SignedDuration,
}

impl Past {
    /// So many entries, the last of which is of `end`.
    pub(crate) fn until(end: Timestamp, entries: u64) -> Result<Self> {
        let step = SPAN / i32::try_from(entries.max(1)).context("fewer entries")?;
        let at = end - SPAN;
        Ok(Self { left: entries, next: Revision(1), admit: Sum::NONE, at, step })
    }

    /// The next of them; nothing when all are made.
    pub(super) fn batch(&mut self) -> Result<Vec<Stored>> {
        let mut batch = Vec::new();
        for _ in 0..BATCH {
            let number = self.next.0;
            let (admission, events) = life(number, self.at)?;
            let id = admission.id;
            self.admit =
                self.entry(Topic::Admit, self.admit, &Record::Admitted(vec![admission.clone()]), &mut batch)?;
            let mut sum = Sum::NONE;
            for event in events {
                sum = self.entry(Topic::Intent(id), sum, &Record::Happened(event), &mut batch)?;
            }
            for note in 0..NOTES {
                let record = denied(&admission.request, id, number + note, self.at);
                self.entry(Topic::Note, Sum::NONE, &record, &mut batch)?;
            }
        }
        Ok(batch)
    }

    fn entry(&mut self, topic: Topic, prev: Sum, record: &Record, batch: &mut Vec<Stored>) -> Result<Sum> {
        if self.left == 0 {
            return Ok(prev);
        }
        let sealed = wire::seal(topic, prev, Some(self.at), record)?;
        let (body, beside) = (Bytes::from(sealed.body), Beside::default());
        batch.push(Stored::open(self.next, topic, body, beside, None).map_err(|error| anyhow!(error))?);
        self.left -= 1;
        self.next.0 += 1;
        self.at += self.step;
        Ok(sealed.sum)
    }
}

/// Lets a ledger live on by `entries` more, appended as an engine appends them.
pub(super) async fn go_on(ledger: &dyn Ledger, entries: u64) -> Result<()> {
    let newest = ledger.newest().await?;
    let mut admit = newest_admission(ledger, newest).await?;
    for wave in 0..entries / (EACH * BATCH) {
        let mut lives = Vec::new();
        for number in 0..BATCH {
            let (admission, events) = life(newest.0 + 1 + wave * BATCH + number, Timestamp::now())?;
            let record = Record::Admitted(vec![admission.clone()]);
            admit = ledger.append(Write { topic: Topic::Admit, expect: Some(admit), record }).await?;
            lives.push((admission, events));
        }
        let append = |(admission, events): (Admission, Vec<Event>)| async move {
            let mut head = Head::default();
            for event in events {
                let (topic, record) = (Topic::Intent(admission.id), Record::Happened(event));
                head = ledger.append(Write { topic, expect: Some(head), record }).await?;
            }
            for note in 0..NOTES {
                let record = denied(&admission.request, admission.id, note, Timestamp::now());
                ledger.append(Write { topic: Topic::Note, expect: None, record }).await?;
            }
            anyhow::Ok(())
        };
        join_all(lives.into_iter().map(append)).await.into_iter().collect::<Result<()>>()?;
    }
    Ok(())
}

/// What the next admission has to follow. It is among the last entries.
async fn newest_admission(ledger: &dyn Ledger, newest: Revision) -> Result<Head> {
    let mut tail = ledger.follow(Revision(newest.0.saturating_sub(10 * EACH))).await?;
    let mut found: Option<Entry> = None;
    loop {
        let entry = tail.next().await?;
        let last = entry.revision == newest;
        if entry.topic == Topic::Admit {
            found = Some(entry);
        }
        if last {
            return Ok(found.context("an admission near the end")?.head());
        }
    }
}

/// A restart that helped.
fn life(number: u64, at: Timestamp) -> Result<(Admission, Vec<Event>)> {
    let place = number % WORKLOADS;
    let target = Workload::new(WorkloadKind::Deployment, &format!("team-{}", place % 20), &format!("service-{place}"));
    let request = request(&target, number, at);
    let change = plan(&request.action, &snapshot(&target), at).map_err(|denied| anyhow!("{denied:?}"))?;
    let writer =
        Writer { replica: "flyball-0".into(), process: "019aa000-0000-7000-8000-000000000000".into(), epoch: 0 };
    let admission = Admission { id: request.id("prod"), request, change: change.clone(), adds: 0, writer };
    let receipt = Receipt { generation: 8, resource_version: "1048576".into() };
    let detail = "recovered: no signal about it for 2m".to_owned();
    let events = vec![
        Event::Attempted { number: 1, change },
        Event::Applied(receipt),
        Event::RolledOut,
        Event::Closed { outcome: Outcome::Recovered, detail },
    ];
    Ok((admission, events))
}

fn request(target: &Workload, number: u64, at: Timestamp) -> ActionRequest {
    ActionRequest {
        policy: PolicyRef { name: "memory-leak".into(), digest: "3f2a6c1d9b7e4a58".into() },
        target: target.clone(),
        action: Action::Restart,
        cause: Cause::Signal(SignalId(format!("detector-1/window-{number:012}").into())),
        step: 0,
        then: Vec::new(),
        hold: None,
        priority: 0,
        limits: PolicyLimits::default(),
        verify: VerifySpec::default(),
        evidence: Evidence {
            kind: "rca".into(),
            summary: format!("memory_leak of {target} with probability 0.93").into(),
            confidence: Some(0.93),
            observed_at: at,
            expires_at: None,
            trace: TraceContext::default(),
            sequence: number,
            signal: None,
        },
    }
}

fn denied(request: &ActionRequest, last: IntentId, number: u64, at: Timestamp) -> Record {
    let until = at + SignedDuration::from_mins(10);
    Record::Folded(vec![Folded {
        target: request.target.clone(),
        policy: Some(request.policy.name.clone()),
        action: Some(ActionKind::Restart),
        verdict: Verdict::Denied(vec![DenyReason::CooldownActive { last, until: Some(until) }]),
        count: 3,
        sequences: vec![(number, number), (number + 2, number + 3)],
        signal: SignalId(format!("detector-1/window-{number:012}-again").into()),
        observed_at: at,
        trace: TraceContext::default(),
        summary: request.evidence.summary.clone(),
    }])
}

/// A healthy target of three pods.
fn snapshot(target: &Workload) -> Snapshot {
    let container = json!({"name": "app", "image": "registry.example/app:1.2.3"});
    let rollout = Rollout {
        kind: target.kind,
        uid: "7c0e7a34-6f0e-4b3c-9a51-0f6a6c3c2c11".into(),
        generation: 7,
        observed_generation: 7,
        desired: 3,
        total: 3,
        updated: 3,
        ready: 3,
        available: 3,
        deadline_exceeded: false,
        on_delete: false,
        partition: 0,
    };
    Snapshot {
        uid: rollout.uid.clone(),
        resource_version: "1048575".into(),
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        spec: json!({"replicas": 3, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}}}),
        rollout,
        deleting: false,
        namespace_opted_out: false,
        managers: Managers::default(),
        revisions: Vec::new(),
        pod: None,
        neighbours: Neighbours { total: 10, ..Neighbours::default() },
        target: target.clone(),
    }
}
