//! What waits for the next flush: signals that ended alike are one note, and each costs a look-up and a number.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use flyball_core::action::ActionRequest;
use flyball_core::deny::DenyReason;
use flyball_core::ports::Receipted;
use flyball_core::record::{Folded, Sighted, Sought, Symptom, Verdict};
use flyball_core::signal::Signal;
use flyball_core::workload::Workload;
use jiff::{SignedDuration, Timestamp};

use crate::pipeline::{Decided, Decision};

/// A target's symptoms are written down at most this often: verification needs the newest only.
pub(super) const SYMPTOM_EVERY: SignedDuration = SignedDuration::from_secs(1);

/// Ranges of sequences in one note. What comes beyond is in another note that says the same, so that every note fits into an entry.
pub(super) const RANGES: usize = 4_096;

/// A target, and whether it is the clearing of its symptom: one must not hide the other.
type Seen = (Workload, bool);

/// What waits.
#[derive(Default)]
pub struct Pending {
    folded: Vec<Folded>,
    /// Where a note stands, by a hash of what makes it one. Only ever looked up.
    index: HashMap<u64, usize>,
    hasher: RandomState,
    receipts: Vec<Box<dyn Receipted>>,
    symptoms: BTreeMap<Seen, Symptom>,
    heard: BTreeMap<Sought, Sighted>,
    written: BTreeMap<Seen, Timestamp>,
}

impl Pending {
    /// Hands in a decision: its own note, if it came to nothing, and one for each shadow. The delivery is acknowledged when they
    /// are durable.
    pub fn hear(&mut self, signal: &Signal, decided: Decided, receipt: Box<dyn Receipted>) {
        let Decided { decision, shadows, heard, .. } = decided;
        for it in heard {
            let newest = self.heard.entry(it.sought.clone()).or_insert_with(|| it.clone());
            if it.observed_at > newest.observed_at {
                *newest = it;
            }
        }
        let known = decision == Decision::Known;
        match decision {
            Decision::Nothing(why) => self.fold(signal, None, Verdict::NoAction(why)),
            Decision::Denied(it) => self.fold(signal, Some(&it.request), Verdict::Denied(it.reasons)),
            Decision::Joined(it) => self.fold(signal, Some(&it.request), Verdict::Joined(it.reasons)),
            Decision::Deferred(_) | Decision::Recorded(_) | Decision::Known => {}
        }
        for it in shadows.into_iter().filter(|_| !known) {
            self.fold(signal, Some(&it.request), Verdict::Shadow(it.reasons));
        }
        self.receipts.push(receipt);
    }

    /// Hands in a symptom.
    pub fn symptom(&mut self, symptom: Symptom) {
        let seen = (symptom.target.clone(), symptom.cleared);
        let newest = self.symptoms.entry(seen).or_insert_with(|| symptom.clone());
        if symptom.observed_at >= newest.observed_at {
            *newest = symptom;
        }
    }

    /// Signals that wait.
    pub(super) fn waiting(&self) -> usize {
        self.receipts.len()
    }

    pub(super) fn holds_symptoms(&self) -> bool {
        !self.symptoms.is_empty()
    }

    /// All notes, and the deliveries that wait for them.
    pub(super) fn take(&mut self) -> (Vec<Folded>, Vec<Box<dyn Receipted>>) {
        self.index.clear();
        let room = self.receipts.len();
        (std::mem::take(&mut self.folded), std::mem::replace(&mut self.receipts, Vec::with_capacity(room)))
    }

    /// What was heard that policies want to be absent.
    pub(super) fn heard(&mut self) -> Vec<Sighted> {
        std::mem::take(&mut self.heard).into_values().collect()
    }

    fn fold(&mut self, signal: &Signal, request: Option<&ActionRequest>, verdict: Verdict) {
        let (target, policy) = request.map_or((&signal.subject, None), |it| (&it.target, Some(&it.policy.name)));
        let hash = self.hasher.hash_one((target, policy, kind(&verdict), set(&verdict)));
        let sequence = signal.sequence;
        let known = self.index.get(&hash).and_then(|at| self.folded.get_mut(*at));
        // Two that share a hash by chance are merely not folded.
        let has_room = |it: &&mut Folded| it.sequences.len() < RANGES && is_one(it, target, policy, &verdict);
        if let Some(known) = known.filter(has_room) {
            known.count += 1;
            known.verdict = verdict;
            known.observed_at = known.observed_at.max(signal.observed_at);
            match known.sequences.last_mut() {
                Some(range) if range.1 + 1 == sequence => range.1 = sequence,
                _ => known.sequences.push((sequence, sequence)),
            }
            return;
        }
        self.index.insert(hash, self.folded.len());
        self.folded.push(Folded {
            target: target.clone(),
            policy: policy.cloned(),
            action: request.map(|it| it.action.kind()),
            verdict,
            count: 1,
            sequences: vec![(sequence, sequence)],
            signal: signal.id.clone(),
            observed_at: signal.observed_at,
            trace: signal.trace,
            summary: request.map_or_else(|| signal.kind.as_str().into(), |it| it.evidence.summary.clone()),
        });
    }

    pub(super) fn due(&mut self, now: Timestamp, all: bool) -> Vec<Symptom> {
        self.written.retain(|_, at| now.duration_since(*at) < SYMPTOM_EVERY);
        let written = &self.written;
        let due: Vec<Seen> = self.symptoms.keys().filter(|it| all || !written.contains_key(it)).cloned().collect();
        let take = |seen: Seen| {
            self.written.insert(seen.clone(), now);
            self.symptoms.remove(&seen)
        };
        due.into_iter().filter_map(take).collect()
    }
}

/// Whether a signal with this end belongs to the note.
fn is_one(note: &Folded, target: &Workload, policy: Option<&Arc<str>>, verdict: &Verdict) -> bool {
    note.target == *target
        && note.policy.as_ref() == policy
        && kind(&note.verdict) == kind(verdict)
        && set(&note.verdict) == set(verdict)
}

fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Denied(_) => "denied",
        Verdict::Joined(_) => "joined",
        Verdict::Shadow(_) => "shadow",
        Verdict::NoAction(why) => why.label(),
    }
}

/// The reasons as a set: they come in the order of the guardrails, whatever their numbers.
fn set(verdict: &Verdict) -> u64 {
    let reasons = match verdict {
        Verdict::Denied(it) | Verdict::Joined(it) | Verdict::Shadow(it) => it.as_slice(),
        Verdict::NoAction(_) => &[],
    };
    reasons.iter().fold(0, |set, it| set | 1 << DenyReason::place(it))
}

#[cfg(test)]
mod tests {
    use flyball_core::deny::NoAction;
    use flyball_core::ports::{Answer, PortError};

    use super::*;
    use crate::telemetry::fixture;

    struct Unasked;

    impl Receipted for Unasked {
        fn acknowledge(self: Box<Self>, _durable: bool) -> Answer<'static, ()> {
            Box::pin(std::future::ready(()))
        }

        fn refuse(self: Box<Self>, _reason: &str, _detail: &str) -> Answer<'static, Result<(), PortError>> {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    fn hear(pending: &mut Pending, sequence: u64, verdict: Decision) {
        let signal = Signal { sequence, ..fixture::signal() };
        pending.hear(&signal, Decided::nothing(verdict), Box::new(Unasked));
    }

    #[test]
    fn signals_that_ended_alike_are_one_note_with_their_sequences_in_ranges() {
        let mut pending = Pending::default();
        for sequence in [1, 2, 3, 7, 8, 5] {
            hear(&mut pending, sequence, Decision::Nothing(NoAction::NoPolicyMatched));
        }
        hear(&mut pending, 4, Decision::Nothing(NoAction::NotAnomalous));
        hear(&mut pending, 6, Decision::Known);
        assert_eq!(pending.waiting(), 8);
        let (notes, receipts) = pending.take();
        let told: Vec<_> = notes.iter().map(|it| (it.count, it.sequences.as_slice())).collect();
        assert_eq!(told, [(6, [(1, 3), (7, 8), (5, 5)].as_slice()), (1, [(4, 4)].as_slice())]);
        assert_eq!((receipts.len(), pending.waiting()), (8, 0));
        hear(&mut pending, 9, Decision::Nothing(NoAction::NotAnomalous));
        assert_eq!(pending.take().0.len(), 1, "what was taken is not added to");
    }

    #[test]
    fn a_note_never_grows_larger_than_an_entry_may_be() {
        let mut pending = Pending::default();
        let most = RANGES as u64;
        // With two replicas that take turns, no two neighbours come to one of them.
        for n in 0..=2 * most {
            hear(&mut pending, 10_000_000_000 + 2 * n, Decision::Nothing(NoAction::NoPolicyMatched));
        }
        let (notes, _) = pending.take();
        assert_eq!(notes.iter().map(|it| it.sequences.len()).collect::<Vec<_>>(), [RANGES, RANGES, 1]);
        assert_eq!(notes.iter().map(|it| it.count).sum::<u64>(), 2 * most + 1);
        assert!(serde_json::to_vec(&notes[0]).unwrap().len() < 128 * 1024);
    }
}
