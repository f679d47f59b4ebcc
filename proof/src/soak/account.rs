//! Every signal, every intent, every effect: accounted for once. Asked of the streams and of the API server's audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use flyball_core::id::IntentId;
use flyball_core::intent::{Event, Writer};
use flyball_core::record::{Entry, Record, Topic, Verdict};
use flyball_devcluster::AuditEntry;
use jiff::Timestamp;

use super::load::{Sent, Sort};
use crate::judge::{Evidence, Violation};
use crate::rig::Rig;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What must not be.
    pub(crate) violations: Vec<String>,
    /// Signals by what became of them.
    pub(crate) became: BTreeMap<&'static str, usize>,
    /// Reasons of denials, with how many signals each stands for.
    pub(crate) reasons: BTreeMap<&'static str, u64>,
    /// Intents by outcome.
    pub(crate) outcomes: BTreeMap<&'static str, usize>,
    /// Accepted changes.
    pub(crate) effects: usize,
    /// Changes that were stored although the audit log has an error for their answer: their sender had died.
    pub(crate) unanswered: usize,
    /// Accepted fences.
    pub(crate) fences: usize,
    /// What the fullest windows held.
    pub(crate) windows: String,
}

impl Findings {
    /// Says it.
    pub(crate) fn tell(&self) {
        let list = |of: Vec<String>| of.join(", ");
        println!("became     {}", list(self.became.iter().map(|(what, count)| format!("{what} {count}")).collect()));
        println!("denials    {}", list(self.reasons.iter().map(|(what, count)| format!("{what} {count}")).collect()));
        println!("intents    {}", list(self.outcomes.iter().map(|(what, count)| format!("{what} {count}")).collect()));
        println!(
            "effects    {} accepted by the API server, {} stored and not answered, since their sender was killed; {} fences",
            self.effects, self.unanswered, self.fences
        );
        println!("windows    {}", self.windows);
    }
}

/// What the ledger says of the signals, by sequence.
#[derive(Default)]
struct Fates {
    /// Led to an intent, by the entry that says so.
    admitted: BTreeMap<u64, u64>,
    waited: BTreeSet<u64>,
    /// Came to nothing, by the newest entry that says so.
    folded: BTreeMap<u64, u64>,
    /// Notes that say the same of a signal once more: it was delivered again before its acknowledgement.
    again: usize,
}

impl Fates {
    fn read(entries: &[Entry], findings: &mut Findings) -> Self {
        let mut fates = Self::default();
        for entry in entries {
            match &entry.record {
                Record::Admitted(admissions) => {
                    for request in admissions.iter().map(|it| &it.request).filter(|it| it.undoes().is_none()) {
                        let sequence = request.evidence.sequence;
                        if fates.admitted.insert(sequence, entry.revision.0).is_some() {
                            findings.violations.push(format!("S1: signal {sequence} led to two intents"));
                        }
                    }
                }
                Record::Deferred(it) => {
                    fates.waited.insert(it.request.evidence.sequence);
                }
                Record::Released(it) => {
                    fates.waited.insert(it.request.evidence.sequence);
                }
                Record::Folded(notes) => {
                    for note in notes.iter().filter(|it| !matches!(it.verdict, Verdict::Shadow(_))) {
                        if let Verdict::Denied(reasons) = &note.verdict {
                            for reason in reasons {
                                *findings.reasons.entry(reason.label()).or_default() += note.count;
                            }
                        }
                        for sequence in note.sequences.iter().flat_map(|(first, last)| *first..=*last) {
                            fates.again += usize::from(fates.folded.insert(sequence, entry.revision.0).is_some());
                        }
                    }
                }
                _ => {}
            }
        }
        fates
    }
}

/// S3: every signal has its terminal record, and only one that counts.
pub(crate) fn signals(entries: &[Entry], sent: &[Sent], refused: &BTreeSet<u64>, findings: &mut Findings) {
    let fates = Fates::read(entries, findings);
    let mut became = BTreeMap::new();
    for Sent { sequence, sort } in sent {
        let (admitted, folded) = (fates.admitted.get(sequence), fates.folded.get(sequence));
        let judged = admitted.is_some() || folded.is_some() || fates.waited.contains(sequence);
        let what = match (judged, refused.contains(sequence)) {
            (true, true) => {
                findings.violations.push(format!("S3: signal {sequence} was refused and judged"));
                "both"
            }
            (false, false) => {
                findings.violations.push(format!("S3: signal {sequence} was lost"));
                "lost"
            }
            (false, true) => "refused",
            (true, false) if admitted.is_some() => "admitted",
            (true, false) if folded.is_some() => "denied, joined or of no concern",
            (true, false) => "waited",
        };
        *became.entry(what).or_default() += 1;
        if (*sort == Sort::Garbage) != (what == "refused") {
            findings.violations.push(format!("B1: signal {sequence}, {sort:?}, was {what}"));
        }
        if let (Some(admitted), Some(folded)) = (admitted, folded) {
            *became.entry("denied, delivered again and then admitted").or_default() += 1;
            if folded > admitted {
                findings.violations.push(format!("B4: signal {sequence} was admitted, and denied afterwards"));
            }
        }
    }
    became.insert("verdicts told once more after a redelivery", fates.again);
    findings.became = became;
}

/// Signals that a policy matches, by their sequences.
pub(crate) fn asking(sequences: &[u64]) -> Vec<Sent> {
    let distinct: BTreeSet<u64> = sequences.iter().copied().collect();
    distinct.into_iter().map(|sequence| Sent { sequence, sort: Sort::Asking }).collect()
}

/// The sequences of the dead letters of this rig's engine.
pub(crate) async fn refused(rig: &Rig) -> Result<BTreeSet<u64>> {
    let context = rig.jetstream().await;
    let mut stream = context.get_stream("FLYBALL_REFUSED").await.context("the dead letters")?;
    let last = stream.info().await?.state.last_sequence;
    let mut found = BTreeSet::new();
    for sequence in 1..=last {
        let Ok(letter) = stream.get_raw_message(sequence).await else { continue };
        let header = |name: &str| letter.headers.get(name).map(|it| it.as_str().to_owned()).unwrap_or_default();
        if header("Flyball-Refused-Subject").ends_with(&format!(".{}.{}", rig.name, rig.namespace)) {
            found.insert(header("Flyball-Refused-Sequence").parse().context("a dead letter without its sequence")?);
        }
    }
    Ok(found)
}

/// Effects, fences and outcomes, and what the judge of the crash points says of them.
pub(crate) fn effects(evidence: &Evidence, findings: &mut Findings) {
    let accepted = evidence.requests.iter().filter(|it| !it.dry_run && (200..300).contains(&it.code));
    let (fences, effects): (Vec<_>, Vec<_>) = accepted.partition(|it| is_fence(it));
    (findings.fences, findings.effects) = (fences.len(), effects.len());
    findings.unanswered = evidence.stamped.len().saturating_sub(evidence.effects().len());
    for entry in &evidence.entries {
        if let Record::Happened(Event::Closed { outcome, .. }) = &entry.record {
            *findings.outcomes.entry(outcome.label()).or_default() += 1;
        }
    }
    findings.violations.extend(evidence.judge_at_rest().iter().map(Violation::to_string));
}

/// A write that only takes the single-use token of an unsettled send: it changes nothing that anybody asked for.
pub(crate) fn is_fence(request: &AuditEntry) -> bool {
    request.object["metadata"]["annotations"]["flyball.dev/fence"].is_string() && request.object["spec"].is_null()
}

/// One SIGKILL.
#[derive(Clone, Debug)]
pub(crate) struct Killed {
    /// Whom.
    pub(crate) replica: String,
    /// When.
    pub(crate) at: Timestamp,
}

/// For each intent that a process had open when it was killed: how long until another process wrote its next entry. Sorted.
pub(crate) fn recoveries(entries: &[Entry], kills: &[Killed]) -> Vec<Duration> {
    let mut open: BTreeMap<IntentId, (Writer, Timestamp)> = BTreeMap::new();
    let mut took = Vec::new();
    for entry in entries {
        match (&entry.topic, &entry.record) {
            (_, Record::Admitted(admissions)) => {
                open.extend(admissions.iter().map(|it| (it.id, (it.writer.clone(), entry.at))));
            }
            (Topic::Intent(id), Record::Happened(Event::TakenOver { by })) => {
                if let Some((writer, newest)) = open.insert(*id, (by.clone(), entry.at)) {
                    // The kill that ended the writer: its first after its last entry.
                    let kill = kills.iter().find(|it| *it.replica == *writer.replica && it.at >= newest);
                    let since = kill.map(|it| entry.at.duration_since(it.at));
                    took.extend(since.and_then(|it| Duration::try_from(it).ok()));
                }
            }
            (Topic::Intent(id), Record::Happened(Event::Closed { .. })) => {
                open.remove(id);
            }
            (Topic::Intent(id), Record::Happened(_)) => {
                if let Some((_, newest)) = open.get_mut(id) {
                    *newest = entry.at;
                }
            }
            _ => {}
        }
    }
    took.sort();
    took
}
