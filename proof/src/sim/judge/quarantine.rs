//! What must hold of messages that kill their reader, and of those that were only with them.

use flyball::intake::{KILLS_ITS_READER, SUSPECT, TRIALS};

use super::super::chronicle::{PutAside, Violation, What};
use super::super::process::Way;
use super::super::suspects;
use super::{Case, breach};

/// B2: a message that kills whoever reads it is put aside, after so many deaths.
pub(super) fn b2_put_aside_in_time(case: &Case<'_>) -> Vec<Violation> {
    let log = case.stage.chronicle.log();
    let refused = case.stage.world.signals.refused();
    let untried = usize::try_from(SUSPECT).unwrap_or(usize::MAX) - 1;
    // Whoever looked at the marks before the last one was there tries it once more; a mark without an answer takes all others with it.
    let most = |sequence: u64| {
        let anew = case.stage.suspects.unanswered(&suspects::name(sequence));
        untried + TRIALS * (1 + anew) + case.stage.replicas.len() - 1
    };
    let say = |evidence: String| Violation { invariant: "B2", evidence, at: None };
    let wrong = log.killers.iter().filter_map(|(sequence, dead)| {
        let most = most(*sequence);
        let letter = refused.iter().find(|it| it.message.sequence == *sequence);
        match letter {
            Some(it) if it.reason == KILLS_ITS_READER && dead.len() <= most => None,
            Some(it) if it.reason == KILLS_ITS_READER => {
                Some(say(format!("message {sequence} has killed {} processes, and {most} is the most", dead.len())))
            }
            other => {
                let told = other.map_or("with nobody", |it| it.reason.as_str());
                Some(say(format!("message {sequence} kills its reader, and is {told}")))
            }
        }
    });
    wrong.collect()
}

/// B2: nobody is put aside but for so many trials in which a process that reads ended, or was out of the bus's sight.
pub(super) fn b2_nobody_with_it(case: &Case<'_>) -> Vec<Violation> {
    let log = case.stage.chronicle.log();
    let innocents = log.put_aside.iter().filter(|it| !log.killers.contains_key(&it.sequence));
    let lost = |it: &&PutAside| {
        let ended = it.tried.iter().filter(|tried| {
            let hidden = log.troubles.iter().any(|trouble| {
                matches!(trouble.what, What::Frozen | What::Out(Way::Bus))
                    && trouble.hits(tried.who.replica, tried.at, it.at)
            });
            // Who has read nothing has died of nothing that it read.
            let read = log.readers.contains(&tried.who);
            read && (hidden || log.ended.get(&tried.who).is_some_and(|at| *at <= it.at))
        });
        ended.count() < TRIALS
    };
    let wrong = innocents.filter(lost).map(|it| {
        let tried: Vec<String> = it.tried.iter().map(|it| format!("r{} since {}", it.who.replica, it.at)).collect();
        breach("B2", it.at, format!("message {} was put aside, tried by {}", it.sequence, tried.join(", ")))
    });
    wrong.collect()
}

/// Whether a message that kills nobody was put aside as one that does. That is rare, and B2 asks whether it had to be.
pub(super) fn is_put_aside(case: &Case<'_>, sequence: u64) -> bool {
    case.stage.chronicle.log().put_aside.iter().any(|it| it.sequence == sequence)
}
