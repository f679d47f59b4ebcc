//! G10: an action that takes several signals has them, whichever replicas saw them; and if they all came, somebody acts on them.

use std::collections::{BTreeMap, BTreeSet};

use flyball_core::policy::Occurrences;
use flyball_core::workload::Workload;
use jiff::Timestamp;

use super::{Case, breach};
use crate::sim::acts::Published;
use crate::sim::chronicle::Violation;
use crate::sim::stage::policies;

/// The policy that counts, and the trouble that it is about.
const POLICY: &str = "thrice";
const TROUBLE: &str = "resource";

fn counts() -> Occurrences {
    let policy = policies().policy(POLICY).and_then(|it| it.matches.correlation.as_ref()?.occurrences);
    policy.expect("policies.yaml has a policy that counts")
}

/// Signals about one target, in the order in which they were observed.
fn by_target<'a>(case: &Case<'a>) -> BTreeMap<&'a Workload, Vec<&'a Published>> {
    let mut all: BTreeMap<&Workload, Vec<&Published>> = BTreeMap::new();
    for it in &case.stage.published {
        if let Some((TROUBLE, target)) = &it.trouble {
            all.entry(target).or_default().push(it);
        }
    }
    for seen in all.values_mut() {
        seen.sort_by_key(|it| it.at);
    }
    all
}

pub(super) fn g10_enough_of_them(case: &Case<'_>) -> Vec<Violation> {
    let (Occurrences { count, within }, all) = (counts(), by_target(case));
    let mut found = Vec::new();
    for (id, it) in &case.fold.intents {
        let request = &it.admission.request;
        if &*request.policy.name != POLICY || request.undoes().is_some() {
            continue;
        }
        let seen = || all.get(&request.target).into_iter().flatten().filter(|seen| seen.at <= it.at);
        let from = |first: Timestamp| {
            let near = seen().filter(|it| it.at >= first && it.at.duration_since(first) <= within);
            near.filter_map(|it| it.id.as_ref()).collect::<BTreeSet<_>>().len()
        };
        if !seen().any(|it| from(it.at) >= count as usize) {
            found.push(breach("G10", it.at, format!("{id} on {} had no {count} signals", request.target)));
        }
    }
    found
}

pub(super) fn g10_nobody_missed_them(case: &Case<'_>) -> Vec<Violation> {
    // What was seen before the ledger forgot is forgotten with it.
    if case.loss.is_some() {
        return Vec::new();
    }
    let Occurrences { count, within } = counts();
    let said =
        |it: &Published| (case.fold.uncorrelated.contains(&it.sequence), case.fold.settled.contains(&it.sequence));
    let mut found = Vec::new();
    for (target, seen) in by_target(case) {
        for (place, run) in seen.windows(count as usize).enumerate() {
            let (first, last) = (run[0].at, run[run.len() - 1].at);
            let ids: BTreeSet<_> = run.iter().map(|it| &it.id).collect();
            // Which time counts of one that was said again is the engine's affair.
            let once = ids.iter().all(|id| seen.iter().filter(|it| it.id == **id).count() == 1);
            // Only the newest are remembered: those that come so late that newer ones are there first may be missed.
            let newest = seen.get(place + run.len()).is_none_or(|next| next.at.duration_since(last) > within * 3);
            if once && newest && last.duration_since(first) <= within && run.iter().all(|it| said(it) == (true, false))
            {
                let sequences: Vec<u64> = run.iter().map(|it| it.sequence).collect();
                found.push(breach("G10", last, format!("{sequences:?} about {target}, and nobody saw them together")));
            }
        }
    }
    found
}
