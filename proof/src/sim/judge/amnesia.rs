//! What must hold where the ledger has forgotten.

use std::collections::BTreeMap;

use flyball_core::action::Action;
use flyball_core::workload::Workload;
use jiff::Timestamp;

use super::super::chronicle::{Departure, Violation};
use super::super::fold;
use super::{Case, Landing, breach};

/// G6: from the moment in which a ledger has forgotten what its mark knows, nothing is begun until people have accepted it.
pub(super) fn g6_no_action(case: &Case<'_>) -> Vec<Violation> {
    let Some(loss) = case.loss.as_ref().filter(|it| it.marked) else { return Vec::new() };
    let until = loss.accepted.unwrap_or(Timestamp::MAX);
    let log = case.stage.chronicle.log();
    let blind = log.departures.iter().filter(|it| loss.at < it.at && it.at <= until);
    let begun_before = |it: &&Departure| {
        case.lost.intents.get(&it.intent).is_some_and(|known| known.attempts.contains_key(&it.number))
    };
    let wrong = blind.filter(|it| !begun_before(it));
    wrong.map(|it| breach("G6", it.at, format!("{} was sent on a ledger that has forgotten", it.intent))).collect()
}

/// G6: what the ledger has forgotten the target still knows. What was done there last is not done again, and nothing of its
/// kind before the cooldown is over.
pub(super) fn g6_the_stamp_remembers(case: &Case<'_>) -> Vec<Violation> {
    let mut last: BTreeMap<&Workload, &Landing<'_>> = BTreeMap::new();
    let mut found = Vec::new();
    for it in case.landings.iter().filter(|it| it.effect.accepted) {
        let before = last.insert(&it.effect.target, it);
        let stamp = it.sent.found.as_ref().and_then(|it| it.stamp);
        // Others may have made the object anew, or wiped its stamp.
        let Some(before) = before.filter(|it| it.forgotten && stamp == Some(it.id)) else { continue };
        let (Some(old), Some(new)) = (before.intent, it.intent.filter(|_| !it.forgotten)) else { continue };
        let (was, is) = (&old.admission.request.action, &new.admission.request);
        let kind = if let Action::Undo { of, .. } = was { *of } else { was.kind() };
        let soon = new.at.duration_since(old.at) < fold::cooldown(is) - fold::SLACK;
        let repeats = is.undoes().is_none() && is.action.kind() == kind && soon;
        if repeats || before.id == it.id {
            found.push(breach("G6", it.effect.at, format!("{} repeats {}, which was forgotten", it.id, before.id)));
        }
    }
    found
}
