//! B7: what one process keeps in memory has an end, at any rate of signals.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use flyball::intake::most_undecided;
use flyball::pipeline::ROOM;
use flyball_core::history::WHOLE;

use super::doors::Doors;

/// Asked whenever a process asks for more: `held` are the messages that it has in hand.
pub(super) fn kept(doors: &Doors, held: &[u64]) {
    let Some(engine) = doors.engine() else { return };
    let process = &doors.process;
    let undecided = engine.undecided.load(Ordering::Relaxed);
    let (waiting, open, closed) = {
        let history = engine.book.history();
        let open = history.open().count();
        (
            history.waiting().filter(|(_, it)| it.deferral.request.step == 0).count(),
            open,
            history.intents().count() - open,
        )
    };
    let mut log = process.chronicle.log();
    let about: BTreeSet<u64> = held.iter().map(|it| log.subjects.get(it).copied().unwrap_or(*it)).collect();
    let bounds = [
        ("signals taken up and not decided", undecided, most_undecided(about.len())),
        ("requests that wait", waiting, ROOM),
        // An undo is kept until its parent has learnt how it ended.
        ("closed intents kept whole", closed, WHOLE + open),
        // A target has one open intent at most, perhaps its undo, and perhaps one that tells a person.
        ("intents that are driven", engine.drivers.len(), 3 * doors.world.cluster.targets().len()),
    ];
    if undecided > most_undecided(1) / 2 {
        log.mark("a worker's queue was half full");
    }
    if waiting == ROOM {
        log.mark("the waiting room was full");
    }
    let over: Vec<String> = bounds
        .iter()
        .filter(|(_, is, most)| is > most)
        .map(|(what, is, most)| format!("r{} holds {is} {what}, and {most} is the most", process.who.replica))
        .collect();
    for evidence in over {
        log.breach("B7", Some(process.clock.now()), evidence);
    }
}
