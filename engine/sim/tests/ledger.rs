//! The ledger's compares, and what its faults leave behind.

mod common;

use std::sync::Arc;

use common::{block_on, poll_once, request, secs, world};
use flyball_core::action::Action;
use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::ports::{AppendError, Ledger, PortError, Write};
use flyball_core::record::{Entry, Record, Started, Topic};
use flyball_core::workload::{Workload, WorkloadKind};
use flyball_sim::{LedgerFault, MemoryLedger};

fn note() -> Write {
    let record = Record::Started(Started { replica: "a".into(), policies: "0".into(), version: "0".into() });
    Write { topic: Topic::Note, expect: None, record }
}

/// A fence after the entry at `expect`, which has the sum that the ledger says.
fn fence(ledger: &MemoryLedger, topic: Topic, expect: u64) -> Write {
    let at = |it: &Entry| it.revision.0 == expect;
    let missing = Head { revision: Revision(expect), ..Head::default() };
    let expect = ledger.entries().iter().find(|it| at(it)).map_or(missing, Entry::head);
    Write { topic, expect: Some(expect), record: Record::Fence }
}

fn append(ledger: &MemoryLedger, write: Write) -> Result<u64, AppendError> {
    block_on(ledger.append(write)).map(|head| head.revision.0)
}

fn intent_topic() -> Topic {
    let target = Workload::new(WorkloadKind::Deployment, "shop", "cart");
    Topic::Intent(request(&target, Action::Restart, "s1").id("test"))
}

#[test]
fn compares_are_per_topic() {
    let (world, _) = world(1);
    let ledger = &world.ledger;
    for (topic, expect, expected) in [
        (Topic::Admit, 0, Ok(1)),
        (Topic::Admit, 0, Err(AppendError::Lost)),
        (Topic::Note, 0, Ok(2)),
        (Topic::Admit, 2, Err(AppendError::Lost)),
        (intent_topic(), 0, Ok(3)),
        (intent_topic(), 0, Err(AppendError::Lost)),
        (Topic::Admit, 1, Ok(4)),
        (intent_topic(), 3, Ok(5)),
    ] {
        let write = if topic == Topic::Note { note() } else { fence(ledger, topic, expect) };
        assert_eq!(append(ledger, write.clone()), expected, "{write:?}");
    }
    let naked = Write { expect: None, ..fence(ledger, Topic::Admit, 0) };
    assert!(matches!(append(ledger, naked), Err(AppendError::Refused(_))));
    assert_eq!(block_on(ledger.newest()), Ok(Revision(5)));
}

#[test]
fn an_unanswered_append_is_settled_by_a_fence() {
    for (fault, landed) in
        [(LedgerFault::Lost, false), (LedgerFault::AnswerLost, true), (LedgerFault::Held(secs(60)), false)]
    {
        let (world, clock) = world(2);
        let ledger = &world.ledger;
        ledger.fault(fault.clone());
        assert!(matches!(append(ledger, fence(ledger, Topic::Admit, 0)), Err(AppendError::Unknown(_))));
        let fenced = append(ledger, fence(ledger, Topic::Admit, 0));
        assert_eq!(fenced, if landed { Err(AppendError::Lost) } else { Ok(1) }, "{fault:?}");
        clock.advance(secs(60));
        assert_eq!(ledger.entries().len(), 1, "{fault:?}: the held one lost its compare");
    }
}

#[test]
fn a_held_append_lands_late_where_nothing_stands_in_its_way() {
    let (world, clock) = world(3);
    world.ledger.fault(LedgerFault::Held(secs(60)));
    assert!(append(&world.ledger, fence(&world.ledger, Topic::Admit, 0)).is_err());
    assert_eq!(block_on(world.ledger.newest()), Ok(Revision(0)));
    clock.advance(secs(60));
    assert_eq!(block_on(world.ledger.newest()), Ok(Revision(1)));
    assert_eq!(world.ledger.entries()[0].at, common::start() + secs(60));
}

#[test]
fn a_tail_gives_what_was_and_what_comes_and_says_when_it_is_cut() {
    let (world, _) = world(4);
    let ledger = Arc::clone(&world.ledger);
    append(&ledger, note()).expect("appended");
    append(&ledger, note()).expect("appended");
    let mut tail = block_on(ledger.follow(Revision(1))).expect("followed");
    assert_eq!(block_on(tail.next()).expect("an entry").revision, Revision(2));
    {
        let mut next = tail.next();
        assert!(poll_once(next.as_mut()).is_pending());
        append(&ledger, note()).expect("appended");
        assert_eq!(block_on(next).expect("an entry").revision, Revision(3));
    }
    // What is held wakes the tail when it lands.
    ledger.fault(LedgerFault::Held(secs(9)));
    append(&ledger, note()).expect_err("held");
    assert_eq!(block_on(tail.next()).expect("an entry").at, common::start() + secs(9));
    ledger.cut();
    assert!(block_on(tail.next()).is_err());
}

#[test]
fn time_never_runs_backwards_and_an_outage_ends() {
    let (world, clock) = world(5);
    let ledger = &world.ledger;
    append(ledger, note()).expect("appended");
    ledger.outage(secs(10));
    assert!(matches!(append(ledger, note()), Err(AppendError::Unknown(_))));
    assert!(matches!(block_on(ledger.newest()), Err(PortError::Unavailable(_))));
    assert!(block_on(ledger.follow(Revision(0))).is_err());
    ledger.fault(LedgerFault::Refused("full".into()));
    clock.advance(secs(10));
    assert_eq!(append(ledger, note()), Err(AppendError::Refused("full".into())));
    assert_eq!(append(ledger, note()), Ok(2));
    let times: Vec<_> = ledger.entries().iter().map(|it| it.at).collect();
    assert!(times.is_sorted());
}

#[test]
fn an_entry_that_was_edited_is_never_read_as_if_it_were_whole() {
    let (world, _) = world(6);
    let ledger = &world.ledger;
    for _ in 0..3 {
        append(ledger, note()).expect("appended");
    }
    assert!(ledger.edit(Revision(2), |record| {
        let Record::Started(started) = record else { panic!("a note of a start") };
        started.version = "1".into();
    }));
    let mut tail = block_on(ledger.follow(Revision(0))).expect("followed");
    assert!(block_on(tail.next()).is_ok());
    for _ in 0..2 {
        let error = block_on(tail.next()).expect_err("edited").to_string();
        assert!(error.contains("entry 2"), "{error}");
    }
}
