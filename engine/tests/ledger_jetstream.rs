//! What only the ledger in JetStream has to promise: replicas, killed and stopped servers, lost publishes and lost answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self as js, stream};
use flyball::clock::TokioClock;
use flyball::ledger::{Book, JetStreamLedger, JetStreamOptions as Options, inspect};
use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::ports::{AppendError, Ledger, Write};
use flyball_core::record::{Record, Topic};
use support::ledger::{CLUSTER, EMPTY, entries, intent, jetstream, next, note, record, write};
use support::proxy::Proxy;
use support::{DEADLINE, client, eventually, server};
use tokio::task::JoinSet;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_replicas_share_one_line_of_compares() {
    let Some(server) = server() else { return };
    let (one, other) = (jetstream(&server).await, jetstream(&server).await);
    let mut tail = other.follow(Revision(0)).await.unwrap();
    let first = one.append(write(Topic::Admit, EMPTY, "one")).await.unwrap();
    assert_eq!(other.append(write(Topic::Admit, EMPTY, "other")).await, Err(AppendError::Lost));
    assert_eq!(next(&mut tail).await.head(), first);
    other.append(write(Topic::Admit, first, "other")).await.unwrap();
    assert_eq!(one.append(write(Topic::Admit, first, "one")).await, Err(AppendError::Lost));
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_keeps_everything_over_a_kill() {
    let Some(server) = server() else { return };
    let ledger = jetstream(&server).await;
    let first = ledger.append(write(Topic::Admit, EMPTY, "first")).await.unwrap();
    let mut tail = ledger.follow(Revision(0)).await.unwrap();
    assert_eq!(next(&mut tail).await.head(), first);
    server.kill().unwrap();
    server.restart().unwrap();
    // The same connections, and the same reader, go on.
    assert_eq!(ledger.append(write(Topic::Admit, EMPTY, "twin")).await, Err(AppendError::Lost));
    let second = ledger.append(write(Topic::Admit, first, "second")).await.unwrap();
    assert_eq!(second.revision, Revision(2));
    assert_eq!(next(&mut tail).await.record, record("second"));
    assert_eq!(jetstream(&server).await.newest().await.unwrap(), second.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_while_the_server_stands_still_lands_once_or_not_at_all() {
    let Some(server) = server() else { return };
    let (one, other) = (jetstream(&server).await, jetstream(&server).await);
    let first = one.append(write(Topic::Admit, EMPTY, "first")).await.unwrap();
    server.stop().unwrap();
    let mut writers = JoinSet::new();
    for (ledger, text) in [(one, "one"), (other, "other")] {
        writers.spawn(async move { ledger.append(write(Topic::Admit, first, text)).await.map(|it| (it, text)) });
    }
    // Past the wait for an answer, so that what follows is settled and not just late.
    assert!(timeout(Duration::from_secs(7), writers.join_next()).await.is_err());
    server.cont().unwrap();
    let outcomes = timeout(DEADLINE, writers.join_all()).await.expect("an outcome in time");
    let won: Vec<_> = outcomes.iter().flatten().collect();
    let lost = outcomes.iter().filter(|it| **it == Err(AppendError::Lost)).count();
    assert_eq!(won.len() + lost, 2, "{outcomes:?}");

    let ledger = jetstream(&server).await;
    let after = entries(&ledger, first.revision.0).await;
    let landed: Vec<_> = after.iter().filter(|it| it.record != Record::Fence).collect();
    assert_eq!(landed.len(), won.len(), "{after:?}");
    assert!(won.len() <= 1);
    for ((head, text), entry) in won.into_iter().zip(landed) {
        assert_eq!((entry.head(), &entry.record), (*head, &record(text)));
    }
}

async fn through(proxy: &Proxy) -> JetStreamLedger {
    let client = flyball::nats::connect(&proxy.url, "flyball-test").await.unwrap();
    JetStreamLedger::connect(client, CLUSTER, Options::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_answer_was_lost_is_found_and_not_repeated() {
    let Some(server) = server() else { return };
    let proxy = Proxy::to(server.port()).await;
    let (ledger, witness) = (Arc::new(through(&proxy).await), jetstream(&server).await);
    for (topic, expect, revision) in [(Topic::Admit, Some(EMPTY), 1), (Topic::Note, None, 2)] {
        proxy.down.swallow(true);
        let write = Write { topic, expect, record: record("once") };
        let append = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.append(write).await }
        });
        eventually("the entry", async || (witness.newest().await.unwrap().0 == revision).then_some(())).await;
        proxy.down.swallow(false);
        let found: Head = timeout(DEADLINE, append).await.expect("an outcome in time").unwrap().unwrap();
        assert_eq!(found, entries(&witness, revision - 1).await[0].head());
        assert_eq!(witness.newest().await.unwrap(), found.revision);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_was_lost_is_fenced() {
    let Some(server) = server() else { return };
    let proxy = Proxy::to(server.port()).await;
    let (ledger, witness) = (through(&proxy).await, jetstream(&server).await);
    proxy.up.swallow(true);
    let append = tokio::spawn(async move { (ledger.append(write(intent(1), EMPTY, "lost")).await, ledger) });
    eventually("the publish", async || proxy.up.has_swallowed("Flyball-Writer").then_some(())).await;
    proxy.up.swallow(false);
    let (outcome, ledger) = timeout(DEADLINE, append).await.expect("an outcome in time").unwrap();
    assert_eq!(outcome, Err(AppendError::Lost));
    let all = entries(&witness, 0).await;
    assert!(all.iter().all(|it| it.record == Record::Fence && it.topic == intent(1)), "{all:?}");
    assert_eq!(ledger.append(write(intent(1), EMPTY, "at the old place")).await, Err(AppendError::Lost));
    ledger.append(write(intent(1), all[0].head(), "after the fence")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_note_are_read_as_one() {
    let Some(server) = server() else { return };
    let ledger = jetstream(&server).await;
    let mut tail = ledger.follow(Revision(0)).await.unwrap();
    ledger.append(note("first")).await.unwrap();
    let context = js::new(client(&server).await);
    let stored = context.get_stream(ledger.stream()).await.unwrap().get_raw_message(1).await.unwrap();
    // What a note that was sent again looks like: the same bytes, the same nonce.
    context.publish_with_headers(stored.subject, stored.headers, stored.payload).await.unwrap().await.unwrap();
    let last = ledger.append(note("last")).await.unwrap().revision;
    assert_eq!(last, Revision(3));
    assert_eq!(next(&mut tail).await.revision, Revision(1));
    // It says nothing, but it passes: an append that was confirmed at its place is waited for.
    let copy = next(&mut tail).await;
    assert_eq!((copy.revision, copy.record), (Revision(2), Record::Fence));
    assert_eq!(next(&mut tail).await.revision, last);
    // A reader that begins between the copies knows the first one as well.
    let mut between = ledger.follow(Revision(1)).await.unwrap();
    assert_eq!(next(&mut between).await.record, Record::Fence);
    assert_eq!(next(&mut between).await.revision, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_could_lose_entries_is_refused() {
    let Some(server) = server() else { return };
    let context = js::new(client(&server).await);
    let config = stream::Config {
        name: format!("FLYBALL_LEDGER_{CLUSTER}"),
        subjects: vec![format!("flyball.ledger.{CLUSTER}.>")],
        max_age: Duration::from_secs(3600),
        ..stream::Config::default()
    };
    context.create_stream(config).await.unwrap();
    let refused = JetStreamLedger::connect(client(&server).await, CLUSTER, Options::default()).await;
    let error = refused.map(drop).unwrap_err().to_string();
    for part in ["max_age", "discard", "deny_delete"] {
        assert!(error.contains(part), "{error}");
    }
    let unnamed = JetStreamLedger::connect(client(&server).await, "Not.A.Label", Options::default()).await;
    assert!(unnamed.map(drop).unwrap_err().to_string().contains("DNS label"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_version_or_a_new_stream_is_never_passed_over() {
    let Some(server) = server() else { return };
    let ledger = jetstream(&server).await;
    ledger.append(note("first")).await.unwrap();
    let context = js::new(client(&server).await);
    let newer = r#"{"v":2,"record":"Fence"}"#;
    context.publish(format!("flyball.ledger.{CLUSTER}.note"), newer.into()).await.unwrap().await.unwrap();
    ledger.append(note("third")).await.unwrap();
    let mut tail = ledger.follow(Revision(0)).await.unwrap();
    assert_eq!(next(&mut tail).await.revision, Revision(1));
    for _ in 0..2 {
        let error = tail.next().await.unwrap_err().to_string();
        assert!(error.contains("entry 2") && error.contains("version 2"), "{error}");
    }
    let mut waiting = ledger.follow(Revision(3)).await.unwrap();
    assert!(timeout(Duration::from_millis(200), waiting.next()).await.is_err());
    context.delete_stream(ledger.stream()).await.unwrap();
    let _anew = jetstream(&server).await;
    let error = timeout(DEADLINE, waiting.next()).await.expect("an error in time").unwrap_err().to_string();
    assert!(error.contains("made anew"), "{error}");
    assert!(ledger.newest().await.is_err());
}

/// A replica that was frozen wakes up behind what others have removed meanwhile: its fold lacks entries that it can never read. It
/// ends, so that its next start begins at a checkpoint, and does not follow again for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_fold_that_was_frozen_past_a_removal_ends_and_the_next_start_goes_on() {
    let Some(server) = server() else { return };
    let (frozen, other) = (Arc::new(jetstream(&server).await), jetstream(&server).await);
    other.append(note("seen")).await.unwrap();
    let clock = Arc::new(TokioClock::real());
    let (book, tail) = Book::open(frozen, clock.clone()).await.unwrap();
    // More than the tail has asked for ahead of time.
    let mut last = Revision::default();
    for number in 0..1_200 {
        last = other.append(note(&number.to_string())).await.unwrap().revision;
    }
    let before = Revision(last.0 - 5);
    let purged = Write { topic: Topic::Note, expect: None, record: Record::Purged { before } };
    other.append(purged).await.unwrap();
    other.shelf().unwrap().purge(before).await.unwrap();
    // The reader that it had is gone, too: a server keeps one that nobody asks for some 30 s.
    server.restart().unwrap();
    let halt = timeout(DEADLINE, tail).await.expect("it ends").to_string();
    assert!(halt.contains("are missing"), "{halt}");
    assert!(book.history().revision() < before);
    let (again, _tail) = Book::open(Arc::new(jetstream(&server).await), clock).await.unwrap();
    assert_eq!(again.history().revision().0, last.0 + 1);
    // What was given up is not missing; what somebody else removes is.
    let wrong = async || inspect(&other, None, &mut |_, _| ()).await.unwrap().wrong;
    assert!(wrong().await.is_empty(), "{:?}", wrong().await);
    other.shelf().unwrap().purge(Revision(before.0 + 3)).await.unwrap();
    let found = wrong().await;
    let said = format!("entries {before} to {} are missing, and it was not us who removed them", before.0 + 2);
    assert!(found.len() == 1 && found[0].what == said, "{found:?}");
}
