//! Coverage: what a run of many seeds has to have reached. A simulation that never crashed at a point proves nothing of it.

use std::fmt::Write;

use super::chronicle::Marks;

/// Seeds from which on nothing of the list may be missing.
pub(super) const ENOUGH: u64 = 5_000;

/// Calls at which processes have to have died, before and after.
const CRASHES: [&str; 33] = [
    "append Admitted",
    "append Deferred",
    "append Released",
    "append Paused",
    "append Resumed",
    "append Folded",
    "append Symptom",
    "append Sighted",
    "append Started",
    "append Fence",
    "append Attempted",
    "append Unanswered",
    "append Missed",
    "append Applied",
    "append RolledOut",
    "append Undoing",
    "append TakenOver",
    "append Closed",
    "send",
    "fence",
    "read back",
    "read target",
    "read rollout",
    "acknowledge",
    "refuse",
    "fetch",
    "keep checkpoint",
    "read checkpoint",
    "append Purged",
    "purge",
    "count marks",
    "put mark",
    "clear marks",
];

/// What else has to have happened.
const REACHED: [&str; 62] = [
    "event Attempted",
    "event Unanswered",
    "event Missed",
    "event Applied",
    "event RolledOut",
    "event Undoing",
    "event TakenOver",
    "event Closed",
    "outcome Recovered",
    "outcome RolledOut",
    "outcome NotRecovered",
    "outcome Failed",
    "outcome TimedOut",
    "outcome RolledBack",
    "outcome Superseded",
    "outcome Rejected",
    "outcome Cancelled",
    "outcome Escalated",
    "step 1",
    "step 2",
    "a step was denied",
    "a row ended by itself",
    "a policy was demoted",
    "taken over Recorded",
    "taken over Sending",
    "taken over Unknown",
    "taken over Applied",
    "taken over RolledOut",
    "taken over Undoing",
    "fenced off",
    "fault: Kill",
    "fault: Roll",
    "fault: Freeze",
    "fault: Step",
    "fault: Cut",
    "fault: Stall",
    "fault: Outage",
    "fault: Ledger",
    "fault: CutTails",
    "fault: Cluster",
    "fault: Unreadable",
    "fault: LoseAcks",
    "fault: Redeliver",
    "fault: Poison",
    "fault: Hand",
    "fault: Pause",
    "fault: killed",
    "fault: Cancel",
    "event CancelAsked",
    "an undo took a slot again",
    "a checkpoint was read",
    "keep checkpoint",
    "purge",
    "fault: Rot",
    "fault: Killer",
    "killed by a message",
    "fault: Burst",
    "a worker's queue was half full",
    "the waiting room was full",
    "fault: Upgrade",
    "an older build met a newer entry",
    "a verdict under a stalled watch",
];

/// Marks of the list that were never reached.
pub(super) fn missing(marks: &Marks) -> Vec<String> {
    let crashes = CRASHES.iter().flat_map(|it| [format!("crash before {it}"), format!("crash after {it}")]);
    let all = crashes.chain(REACHED.iter().map(|it| (*it).to_owned()));
    all.filter(|it| !marks.contains_key(it)).collect()
}

/// The table: crashes in two columns, then everything else.
pub(super) fn table(marks: &Marks) -> String {
    let count = |name: String| marks.get(&name).copied().unwrap_or(0);
    let mut text = format!("{:<22}{:>10}{:>10}\n", "killed at", "before", "after");
    for point in CRASHES {
        let (before, after) = (count(format!("crash before {point}")), count(format!("crash after {point}")));
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{point:<22}{before:>10}{after:>10}");
    }
    for (name, count) in marks.iter().filter(|(name, _)| !name.starts_with("crash ")) {
        let _ = writeln!(text, "{name:<22}{count:>10}");
    }
    text
}
