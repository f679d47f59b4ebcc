//! Sums and chains: what is stored is read back as it was, and nothing that was changed, moved or taken away is.

use flyball_core::action::Cause;
use flyball_core::chain::{Head, NoSum, Sum};
use flyball_core::history::History;
use flyball_core::id::Revision;
use flyball_core::intent::{Event, Writer};
use flyball_core::record::{Entry, Record, Resume, Topic};
use flyball_core::wire;
use proptest::prelude::*;

use crate::build::{Ledger, at, restart};

fn said(text: &str) -> Record {
    Record::Resumed(Resume { id: text.into(), by: "ann".to_owned() })
}

fn intent() -> Topic {
    Topic::Intent(restart("shop/cart", "10:00").id("c"))
}

#[test]
fn what_is_sealed_is_opened_as_it_was() {
    let before = wire::seal(Topic::Admit, Sum::NONE, None, &said("a")).unwrap().sum;
    for topic in [Topic::Admit, Topic::Note, intent()] {
        assert_eq!(wire::topic(&wire::topic_text(topic)), Some(topic));
        for (prev, at) in [(Sum::NONE, None), (before, Some(at("10:00")))] {
            let sealed = wire::seal(topic, prev, at, &said("b")).unwrap();
            let opened = wire::open(topic, &sealed.body).unwrap();
            assert_eq!(opened, wire::Opened { prev, sum: sealed.sum, at, record: said("b") });
        }
    }
    let text = String::from_utf8(wire::seal(Topic::Admit, Sum::NONE, None, &Record::Fence).unwrap().body).unwrap();
    assert_eq!(text, r#"{"v":1,"prev":"","sum":"e96c8ed64a880dc686f4114d49709b7c","record":"Fence"}"#);
}

#[test]
fn an_entry_moved_to_another_topic_is_not_read() {
    let sealed = wire::seal(Topic::Admit, Sum::NONE, None, &said("a")).unwrap();
    for topic in [Topic::Note, intent()] {
        assert!(wire::open(topic, &sealed.body).unwrap_err().contains("it was changed"));
    }
}

#[test]
fn another_version_is_named_whatever_its_shape() {
    for body in [r#"{"v":2,"record":"Fence"}"#, r#"{"v":2,"prev":"","sum":"","record":{}}"#, r#"{"v":2}"#] {
        let why = wire::open(Topic::Note, body.as_bytes()).unwrap_err();
        assert_eq!(why, "it has version 2, and this build reads version 1", "{body}");
    }
    assert!(wire::open(Topic::Note, br#"{"v":1,"record":"Fence"}"#).unwrap_err().contains("missing field"));
}

proptest! {
    /// The sum is over all that an entry says: a flip is found, unless it is one that says the same (`10:00:00z`).
    #[test]
    fn a_flipped_bit_never_says_something_else(text in "[a-z]{1,40}", position in 0usize..4096, bit in 0u8..8) {
        let sealed = wire::seal(intent(), Sum::of(&[b"x"]), Some(at("10:00")), &said(&text)).unwrap();
        let mut body = sealed.body.clone();
        let position = position % body.len();
        body[position] ^= 1 << bit;
        let whole = wire::open(intent(), &sealed.body);
        let flipped = wire::open(intent(), &body);
        prop_assert!(flipped.is_err() || flipped == whole, "{}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn a_sum_is_32_small_hex_digits_or_nothing() {
    let sum = Sum::of(&[b"x"]);
    let text = sum.to_string();
    assert_eq!((text.len(), text.parse(), Sum::from(*sum.bytes())), (32, Ok(sum), sum));
    assert_eq!((Sum::NONE.to_string(), "".parse(), Sum::NONE.bytes()), (String::new(), Ok(Sum::NONE), &[0; 16]));
    for bad in [&text[1..], &text[..18], &format!("{text}0"), &text.to_uppercase(), &"g".repeat(32), "0a", " "] {
        assert_eq!(bad.parse::<Sum>(), Err(NoSum), "{bad}");
    }
}

#[test]
fn the_time_of_an_entry_is_read_without_the_rest() {
    let sealed = |at| wire::seal(Topic::Note, Sum::NONE, at, &said("a")).unwrap().body;
    assert_eq!(wire::stamp(&sealed(Some(at("10:00")))), Some(at("10:00")));
    assert_eq!(wire::stamp(&sealed(None)), None);
    assert_eq!(wire::stamp(b"nonsense"), None);
}

fn sealed(revision: u64, topic: Topic, before: Sum, record: Record) -> Entry {
    let before = Head { revision: Revision(0), sum: before };
    Entry::sealed(Revision(revision), at("10:00"), topic, Some(before), record).unwrap()
}

#[test]
fn a_chain_that_does_not_continue_is_named() {
    let first = sealed(1, Topic::Admit, Sum::NONE, said("1"));
    let second = sealed(2, Topic::Admit, first.sum, said("2"));
    let third = sealed(3, Topic::Admit, second.sum, said("3"));
    let fold = |entries: &[&Entry]| {
        let mut history = History::default();
        entries.iter().try_for_each(|it| history.apply(it)).map(|()| history.admit_head())
    };
    assert_eq!(fold(&[&first, &second, &third]), Ok(third.head()));
    // One was taken away.
    let error = fold(&[&first, &third]).unwrap_err().to_string();
    for part in ["entry 3 of admit", &first.sum.to_string(), &second.sum.to_string()] {
        assert!(error.contains(part), "{error}");
    }
    // Two changed places.
    assert!(fold(&[&first, &third, &second]).is_err());
    // One was written again, with another text and a sum that fits it.
    let forged = sealed(2, Topic::Admit, first.sum, said("forged"));
    assert!(fold(&[&first, &forged]).is_ok());
    assert!(fold(&[&first, &forged, &third]).is_err());
    // A ledger that was purged begins anywhere.
    assert!(fold(&[&second, &third]).is_ok());
    // Notes are in no chain.
    assert!(
        fold(&[&first, &sealed(2, Topic::Note, Sum::NONE, said("n")), &sealed(3, Topic::Admit, first.sum, said("2"))])
            .is_ok()
    );
}

#[test]
fn an_intents_chain_begins_with_its_admission() {
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &restart("shop/cart", "10:00"));
    let mut history = ledger.history.clone();
    let loose = sealed(2, Topic::Intent(id), Sum::of(&[b"x"]), Record::Fence);
    assert!(history.apply(&loose).unwrap_err().to_string().contains(&format!("entry 2 of intent.{id}")));
    ledger.append("10:00", Topic::Intent(id), Record::Fence);
    ledger.append("10:00", Topic::Intent(id), Record::Fence);
    assert_eq!(ledger.intent(id).head().revision, Revision(3));
}

#[test]
fn sends_and_epochs_have_no_gaps() {
    let mut ledger = Ledger::default();
    let request = restart("shop/cart", "10:00");
    assert!(matches!(request.cause, Cause::Signal(_)));
    let id = ledger.admit("10:00", &request);
    let change = ledger.intent(id).change().clone();
    let attempted = |number| Record::Happened(Event::Attempted { number, change: change.clone() });
    let taken = |epoch| {
        let by = Writer { replica: "b".into(), process: "2".into(), epoch };
        Record::Happened(Event::TakenOver { by })
    };
    let topic = Topic::Intent(id);
    for number in [0, 2, 7] {
        let error = ledger.try_append("10:01", topic, attempted(number)).unwrap_err().to_string();
        assert!(error.ends_with(&format!("send {number} cannot follow send 0")), "{error}");
    }
    for epoch in [0, 2, u32::MAX] {
        let error = ledger.try_append("10:01", topic, taken(epoch)).unwrap_err().to_string();
        assert!(error.ends_with(&format!("epoch {epoch} cannot follow epoch 0")), "{error}");
    }
    ledger.append("10:01", topic, attempted(1));
    ledger.append("10:02", topic, taken(1));
    ledger.append("10:03", topic, Record::Happened(Event::Missed { detail: String::new() }));
    assert!(ledger.try_append("10:04", topic, attempted(1)).is_err());
    ledger.append("10:04", topic, attempted(2));
    assert!(ledger.try_append("10:05", topic, taken(1)).is_err());
    ledger.append("10:05", topic, taken(2));
    assert_eq!((ledger.intent(id).attempts(), ledger.intent(id).writer().epoch), (2, 2));
}
