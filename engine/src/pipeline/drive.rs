//! An intent from its admission to its end. Each turn looks at the stage that the ledger holds and does its one next step.

use std::sync::Arc;

use flyball_core::action::Cause;
use flyball_core::deny::DenyReason;
use flyball_core::facts::Snapshot;
use flyball_core::guardrail::{Scene, Sight, Verdict, inspect_again, screen_again};
use flyball_core::history::History;
use flyball_core::id::IntentId;
use flyball_core::intent::{Event, Execution, Intent, Stage, Writer};
use flyball_core::outcome::Outcome;
use flyball_core::plan::Change;
use flyball_core::record::{Demoted, Record, WaitKey};
use jiff::SignedDuration;

use super::Engine;

/// How often a change is planned anew after a conflict. A target whose status churns conflicts a few times; one that still
/// does after this many is fought over.
const MAX_ATTEMPTS: u32 = 12;
/// The first wait before an unsettled send is read back, and the longest: reads are safe to repeat, and an API server that
/// comes back is noticed within the longest.
const READ_AGAIN: (SignedDuration, SignedDuration) = (SignedDuration::from_millis(100), SignedDuration::from_secs(2));

/// What a step of the drive tells the next turn.
pub(super) enum Step {
    /// Look again: the ledger may have moved.
    On,
    /// It is over, or no longer ours.
    Stop,
}

impl Engine {
    /// Takes an intent to its end, whatever stage it is found in.
    pub async fn drive(self: Arc<Self>, id: IntentId) {
        let mut patience = Patience::default();
        while self.take_over(id).await && !self.stopping.is_cancelled() {
            let Some(intent) = self.book.history().intent(id).cloned() else { return };
            patience.count(&intent);
            let step = match (intent.stage(), intent.cancelled()) {
                (Stage::Recorded, Some(why)) => self.close(&intent, Outcome::Cancelled, why.to_owned()).await,
                (Stage::Recorded, None) if intent.request().only_tells() => self.tell_people(&intent).await,
                (Stage::Recorded, None) => self.send(&intent, &mut patience).await,
                (Stage::Sending { .. } | Stage::Unknown { .. }, _) => self.read_back(&intent, &mut patience).await,
                (Stage::Applied { .. } | Stage::RolledOut { .. }, _) => self.watch(&intent).await,
                (Stage::Undoing { .. }, _) => self.clone().undo(&intent).await,
                (Stage::Closed { .. }, _) => Step::Stop,
            };
            if matches!(step, Step::Stop) {
                return;
            }
        }
    }

    /// Whether it is ours to drive. An intent that another process drove is signed over first, so that the other finds its
    /// appends refused; one that was taken over from us is given up.
    async fn take_over(&self, id: IntentId) -> bool {
        let mine = self.admitter.writer();
        let Some(seen) = self.book.history().intent(id).filter(|it| it.is_open()).cloned() else { return false };
        let writer = seen.writer();
        if writer.process == mine.process {
            return true;
        }
        if !self.may_inherit(writer) && !self.drives_parent_of(&seen) {
            return false;
        }
        let by = Writer { epoch: writer.epoch + 1, ..mine.clone() };
        tracing::info!(intent = %id, from = %writer.replica, epoch = by.epoch, "Takes over an open intent");
        self.book.concluded(&seen, Event::TakenOver { by }).await
    }

    /// An undo is driven by whoever drives its parent, and by nobody else: its last writer may live and never look at it.
    fn drives_parent_of(&self, undo: &Intent) -> bool {
        let history = self.book.history();
        let parent = undo.request().undoes().and_then(|parent| history.intent(parent));
        parent.is_some_and(|it| it.writer().process == self.admitter.writer().process)
    }

    pub(super) async fn close(&self, intent: &Intent, outcome: Outcome, detail: String) -> Step {
        if self.book.concluded(intent, Event::Closed { outcome, detail }).await {
            self.telemetry.ended(intent, outcome, self.book.now());
            self.demote().await;
            self.tell_of_step(&WaitKey::of(intent.request())).await;
        }
        Step::On
    }

    /// Writes down which policies have failed too often. What a crash keeps from being written is written by whoever looks next.
    pub(crate) async fn demote(&self) {
        let due: Vec<Demoted> = self.book.history().to_demote().cloned().collect();
        for it in due {
            let still = |history: &History| history.to_demote().any(|due| *due == it);
            let said = |history: &History| still(history).then(|| Record::Demoted(it.clone()));
            if self.admitter.write(said).await {
                let (policy, failures, last) = (&it.policy, it.failures, it.last);
                tracing::error!(%policy, failures, %last, "Demoted to shadow: its last actions all failed; `flyball policy trust` lets it act again");
            }
        }
    }

    /// The fold has put the next step into the waiting room; the journal hears of it by an entry, like people.
    pub(crate) async fn tell_of_step(&self, key: &WaitKey) {
        let step = |history: &History| {
            let waiting = history.waiter(key).filter(|it| matches!(it.deferral.request.cause, Cause::Step(_)))?;
            Some(waiting.deferral.clone())
        };
        let Some(told) = step(&self.book.history()) else { return };
        let still = |history: &History| step(history).filter(|it| *it == told).map(Record::Deferred);
        self.admitter.write(still).await;
    }

    /// Writes what happened. Whether it was written or somebody else was faster, the fold has moved.
    pub(super) async fn write(&self, intent: &Intent, event: Event) -> Step {
        self.book.concluded(intent, event).await;
        Step::On
    }

    /// Nothing is changed: the entry, the log, the metrics and the trace tell.
    async fn tell_people(&self, intent: &Intent) -> Step {
        let (request, id) = (intent.request(), intent.id());
        let (target, policy, summary) = (&request.target, &request.policy.name, &request.evidence.summary);
        let trace_id = request.evidence.trace.trace_hex();
        tracing::error!(intent = %id, %target, %policy, %summary, trace_id, "Escalated: a person should look");
        self.close(intent, Outcome::Escalated, format!("a person should look: {summary}")).await
    }

    /// Records an attempt, sends it once, and writes down what is known of it.
    async fn send(&self, intent: &Intent, patience: &mut Patience) -> Step {
        if intent.attempts() >= MAX_ATTEMPTS {
            let detail = format!("the target changed under {MAX_ATTEMPTS} attempts in a row");
            return self.close(intent, Outcome::Superseded, detail).await;
        }
        if let Some(step) = self.hold(intent).await {
            return step;
        }
        let mut change = intent.change().clone();
        if intent.attempts() > 0 {
            match self.plan_again(intent, patience).await {
                Ok(again) => change = again,
                Err(step) => return step,
            }
        }
        if self.stopping.is_cancelled() {
            return Step::Stop;
        }
        let number = intent.attempts() + 1;
        if !self.book.concluded(intent, Event::Attempted { number, change }).await {
            return Step::On;
        }
        let Some(recorded) = self.book.history().intent(intent.id()).cloned() else { return Step::Stop };
        // While the entry was on its way another process may have taken the intent over: what is sent is the heir's affair now.
        if recorded.writer().process != self.admitter.writer().process {
            return Step::On;
        }
        // The ledger is one line: a pause that lies before the attempt is in the fold by now, whichever replica pressed it,
        // and one that lies behind it waits until this attempt is settled.
        if !matches!(self.held(&recorded), Verdict::Pass(())) {
            let detail = "held before it was sent".to_owned();
            return self.write(&recorded, Event::Missed { detail }).await;
        }
        let Some(attempt) = recorded.attempt() else { return Step::On };
        let execution = self.telemetry.executing(intent, number, self.cluster.execute(attempt)).await;
        self.settle(&recorded, execution).await
    }

    pub(super) async fn settle(&self, intent: &Intent, execution: Execution) -> Step {
        match execution {
            Execution::Applied(receipt) => self.write(intent, Event::Applied(receipt)).await,
            Execution::Rejected(reason) => {
                tracing::warn!(intent = %intent.id(), target = %intent.request().target, reason = reason.label(), "The API server rejected the change");
                self.close(intent, Outcome::Rejected, rejection(&reason)).await
            }
            Execution::Conflict(detail) | Execution::Unknown(detail) => {
                self.write(intent, Event::Unanswered { detail }).await
            }
        }
    }

    /// What was admitted but not yet sent is held by a pause, and dropped if its signal expires meanwhile. An undo puts
    /// things right and is held like everything else: a person said stop.
    pub(super) async fn hold(&self, intent: &Intent) -> Option<Step> {
        match self.held(intent) {
            Verdict::Pass(()) => None,
            Verdict::Defer(_) => {
                let mut changes = self.book.changes();
                tokio::select! {
                    biased;
                    () = self.stopping.cancelled() => return Some(Step::Stop),
                    _ = changes.changed() => {}
                    () = self.clock.sleep(SignedDuration::from_secs(1)) => {}
                }
                Some(Step::On)
            }
            Verdict::Deny(objections) => {
                let why = objections.reasons.first().map_or("denied", DenyReason::label);
                Some(self.close(intent, Outcome::Cancelled, format!("not sent: {why}")).await)
            }
        }
    }

    pub(super) fn held(&self, intent: &Intent) -> Verdict<()> {
        let policies = self.policies.load_full();
        let history = self.book.history();
        screen_again(&Scene {
            request: intent.request(),
            history: &history,
            rules: &policies.guardrails,
            now: self.book.now(),
        })
    }

    /// After a conflict: the same change against the newest version, if the reason to act still holds.
    async fn plan_again(&self, intent: &Intent, patience: &mut Patience) -> Result<Change, Step> {
        match self.cluster.snapshot(intent.request()).await {
            Ok(Some(seen)) if seen.uid == intent.change().uid && seen.spec_digest() == intent.change().base => {
                if let Some(reason) = self.objects_now(intent, &seen) {
                    let detail = format!("not sent: {}", reason.label());
                    return Err(self.close(intent, Outcome::Cancelled, detail).await);
                }
                let mut change = intent.change().clone();
                change.resource_version = seen.resource_version.clone();
                change.generation = seen.rollout.generation;
                Ok(change)
            }
            Ok(_) => {
                let detail = "somebody else changed the target before we did".to_owned();
                Err(self.close(intent, Outcome::Superseded, detail).await)
            }
            Err(error) => Err(self.look_later(intent, &error.to_string(), patience).await),
        }
    }

    /// What the target itself says may have changed with the write that came first: an owner who opted out, say.
    fn objects_now(&self, intent: &Intent, seen: &Snapshot) -> Option<DenyReason> {
        let policies = self.policies.load_full();
        let history = self.book.history();
        let now = self.book.now();
        let scene = Scene { request: intent.request(), history: &history, rules: &policies.guardrails, now };
        inspect_again(&Sight { scene, seen, id: intent.id() })
    }

    /// Waits before the target is read again.
    pub(super) async fn look_later(&self, intent: &Intent, why: &str, patience: &mut Patience) -> Step {
        tracing::warn!(intent = %intent.id(), target = %intent.request().target, why, "Not settled; the target is read again");
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Step::Stop,
            () = self.clock.sleep(patience.next()) => Step::On,
        }
    }
}

/// How long to wait before the next look, longer each time as long as the intent does not move.
#[derive(Default)]
pub(super) struct Patience {
    events: usize,
    looks: u32,
}

impl Patience {
    /// Starts anew when something has happened to the intent.
    fn count(&mut self, intent: &Intent) {
        if intent.events().len() != self.events {
            *self = Self { events: intent.events().len(), looks: 0 };
        }
    }

    fn next(&mut self) -> SignedDuration {
        let doubled = 2_i32.saturating_pow(self.looks);
        self.looks += 1;
        READ_AGAIN.0.saturating_mul(doubled).min(READ_AGAIN.1)
    }
}

fn rejection(reason: &DenyReason) -> String {
    let detail = serde_json::to_value(reason).unwrap_or_default();
    let words: Vec<String> = detail
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != "reason")
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    format!("{}: {}", reason.label(), words.join(", "))
}
