//! Checkpoints and retention: one contract for every ledger, and what a start makes of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::sync::Arc;

use async_nats::jetstream as js;
use flyball::clock::TokioClock;
use flyball::ledger::FileLedger;
use flyball_core::id::Revision;
use flyball_core::ports::{AppendError, Checkpoint, Ledger, PortError, Shelf};
use flyball_core::record::Topic;
use support::ledger::{CLUSTER, EMPTY, entries, intent, jetstream, next, note, write};
use support::{client, server};

/// Larger than a message may be, and different at each place.
fn checkpoint(revision: u64) -> Checkpoint {
    let body: Vec<u8> = (0..1_700_000u64).map(|at| (at.wrapping_mul(revision + 31) >> 3).to_le_bytes()[0]).collect();
    Checkpoint { revision: Revision(revision), body: body.into() }
}

async fn kept(shelf: &dyn Shelf) -> Option<u64> {
    let read = shelf.read().await.unwrap();
    if let Some(read) = &read {
        assert_eq!(read, &checkpoint(read.revision.0));
    }
    read.map(|it| it.revision.0)
}

/// What every shelf promises, on an empty ledger.
async fn contract(ledger: Arc<dyn Ledger>) {
    let shelf = ledger.shelf().expect("it has one");
    assert_eq!((shelf.first().await.unwrap(), shelf.kept().await.unwrap()), (Revision(1), Revision(0)));
    assert_eq!(kept(shelf).await, None);

    let (mut admit, mut born) = (EMPTY, Vec::new());
    for number in 1..=4u8 {
        admit = ledger.append(write(Topic::Admit, admit, "admitted")).await.unwrap();
        born.push(ledger.append(write(intent(number), EMPTY, "born")).await.unwrap());
        ledger.append(note("noted")).await.unwrap();
    }
    for (revision, newest) in [(3, 3), (2, 3), (6, 6), (6, 6), (9, 9), (5, 9)] {
        shelf.keep(checkpoint(revision)).await.unwrap();
        assert_eq!((kept(shelf).await, shelf.kept().await.unwrap()), (Some(newest), Revision(newest)), "{revision}");
    }

    let all = entries(&*ledger, 0).await;
    for (before, first) in [(5, 5), (3, 5), (8, 8)] {
        shelf.purge(Revision(before)).await.unwrap();
        assert_eq!(shelf.first().await.unwrap(), Revision(first));
        assert_eq!(ledger.newest().await.unwrap(), Revision(12));
        let from = usize::try_from(first - 1).unwrap();
        assert_eq!(entries(&*ledger, 0).await, all[from..], "what is read from the beginning begins with what is left");
        assert_eq!(entries(&*ledger, first - 1).await, all[from..]);
    }
    let missing = match ledger.follow(Revision(5)).await {
        Ok(mut tail) => tail.next().await.map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(missing, Err(PortError::Unusable(_))), "a gap is never passed over: {missing:?}");

    // What is left keeps its compares; what was emptied begins anew.
    assert_eq!(ledger.append(write(Topic::Admit, EMPTY, "anew")).await, Err(AppendError::Lost));
    assert_eq!(ledger.append(write(intent(3), EMPTY, "anew")).await, Err(AppendError::Lost));
    assert_eq!(ledger.append(write(intent(1), born[0], "goes on")).await, Err(AppendError::Lost));
    let mut tail = ledger.follow(Revision(12)).await.unwrap();
    let again = ledger.append(write(intent(1), EMPTY, "anew")).await.unwrap();
    ledger.append(write(Topic::Admit, admit, "goes on")).await.unwrap();
    assert_eq!((again.revision, next(&mut tail).await.head()), (Revision(13), again));
}

#[tokio::test]
async fn the_simulated_ledger_keeps_checkpoints() {
    contract(flyball_sim::World::new(3, Arc::new(TokioClock::real())).ledger).await;
}

fn file(path: &std::path::Path) -> FileLedger {
    FileLedger::open(path, Arc::new(TokioClock::real())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_keeps_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    contract(Arc::new(file(&path))).await;
    let ledger = file(&path);
    let shelf = ledger.shelf().unwrap();
    assert_eq!((kept(shelf).await, shelf.first().await.unwrap()), (Some(9), Revision(8)));
    assert_eq!(entries(&ledger, 0).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_purges_more_than_one_transaction_holds() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(file(&folder.path().join("ledger")));
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..5_000 {
        let ledger = ledger.clone();
        writers.spawn(async move { ledger.append(note(&number.to_string())).await.unwrap() });
    }
    writers.join_all().await;
    ledger.shelf().unwrap().purge(Revision(4_900)).await.unwrap();
    assert_eq!(entries(&*ledger, 0).await[0].revision, Revision(4_900));
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_keeps_checkpoints() {
    let Some(server) = server() else { return };
    contract(Arc::new(jetstream(&server).await)).await;
    let ledger = jetstream(&server).await;
    assert_eq!(kept(ledger.shelf().unwrap()).await, Some(9));
    // The two that are kept, in chunks, and their labels: what went before is gone.
    let context = js::new(client(&server).await);
    let stream = context.get_stream(format!("FLYBALL_SNAPSHOTS_{CLUSTER}")).await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 2 * (4 + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_damaged_half_written_or_of_another_ledger_is_passed_over() {
    let Some(server) = server() else { return };
    let ledger = jetstream(&server).await;
    for number in 1..=9u8 {
        ledger.append(write(intent(number), EMPTY, "born")).await.unwrap();
    }
    let shelf = ledger.shelf().unwrap();
    shelf.keep(checkpoint(3)).await.unwrap();
    shelf.keep(checkpoint(6)).await.unwrap();
    let context = js::new(client(&server).await);
    let name = format!("FLYBALL_SNAPSHOTS_{CLUSTER}");
    let stream = context.get_stream(&name).await.unwrap();

    // Chunks without a label are not there.
    let subject = |end: &str| format!("flyball.snapshot.{CLUSTER}.{end}");
    context.publish(subject("chunk.half.0"), "half".into()).await.unwrap().await.unwrap();
    assert_eq!(kept(shelf).await, Some(6));
    // A chunk of the newest is lost: the one before it is still whole.
    let label = stream.get_last_raw_message_by_subject(&subject("label")).await.unwrap();
    let first = serde_json::from_slice::<serde_json::Value>(&label.payload).unwrap()["first"].as_u64().unwrap();
    stream.delete_message(first + 1).await.unwrap();
    assert_eq!(kept(shelf).await, Some(3));
    // A label that cannot be read is in nobody's way.
    context.publish(subject("label"), r#"{"v":99}"#.into()).await.unwrap().await.unwrap();
    assert_eq!(kept(shelf).await, None);
    shelf.keep(checkpoint(8)).await.unwrap();
    assert_eq!(kept(shelf).await, Some(8));

    context.delete_stream(ledger.stream()).await.unwrap();
    let anew = jetstream(&server).await;
    let shelf = anew.shelf().unwrap();
    assert_eq!((kept(shelf).await, shelf.kept().await.unwrap()), (None, Revision(0)));
    shelf.keep(checkpoint(1)).await.unwrap();
    assert_eq!(kept(shelf).await, Some(1));
}
