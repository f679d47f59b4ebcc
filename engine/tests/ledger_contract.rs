//! One contract for every ledger, the simulated one included, and what only a file promises.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flyball::clock::TokioClock;
use flyball::ledger::{FileLedger, OpenError};
use flyball_core::chain::{Head, Sum};
use flyball_core::id::Revision;
use flyball_core::ports::{AppendError, Clock, Ledger, PortError, Write};
use flyball_core::record::Topic;
use jiff::{SignedDuration, Timestamp};
use support::ledger::{EMPTY, entries, intent, jetstream, next, note, record, write};
use support::server;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What every ledger promises, on an empty one.
async fn contract(ledger: Arc<dyn Ledger>) {
    assert_eq!(ledger.newest().await.unwrap(), Revision(0));
    let mut early = ledger.follow(Revision(0)).await.unwrap();

    let first = ledger.append(write(Topic::Admit, EMPTY, "first")).await.unwrap();
    assert_eq!(ledger.append(write(Topic::Admit, EMPTY, "twin")).await, Err(AppendError::Lost));
    let uncompared = Write { expect: None, ..write(Topic::Admit, EMPTY, "uncompared") };
    assert!(matches!(ledger.append(uncompared).await, Err(AppendError::Refused(_))));
    assert_eq!(
        ledger.append(write(Topic::Admit, Head { revision: Revision(999), ..first }, "ahead")).await,
        Err(AppendError::Lost)
    );

    for text in ["one", "two", "three"] {
        ledger.append(note(text)).await.unwrap();
    }
    let born = ledger.append(write(intent(1), EMPTY, "born")).await.unwrap();
    assert_eq!(ledger.append(write(intent(1), EMPTY, "born twice")).await, Err(AppendError::Lost));
    ledger.append(write(intent(2), EMPTY, "another")).await.unwrap();
    let second = ledger.append(write(Topic::Admit, first, "second")).await.unwrap();
    let lives = ledger.append(write(intent(1), born, "lives")).await.unwrap();
    assert!(second.revision > first.revision);

    let (won, expected) = race(&ledger, second).await;
    let all = entries(&*ledger, 0).await;
    let revisions: Vec<u64> = all.iter().map(|it| it.revision.0).collect();
    assert_eq!(revisions, (1..=9).collect::<Vec<_>>());
    assert!(all.is_sorted_by_key(|it| it.at));
    assert_eq!((all[0].head(), &all[0].topic, &all[0].record), (first, &Topic::Admit, &record("first")));
    assert_eq!((all[8].head(), &all[8].record), (won, &record(&expected)));
    // Each topic is a chain of its own; notes are in none.
    let chain =
        |topic: Topic| -> Vec<_> { all.iter().filter(|it| it.topic == topic).map(|it| (it.prev, it.sum)).collect() };
    assert_eq!(chain(Topic::Admit), [(Sum::NONE, first.sum), (first.sum, second.sum), (second.sum, won.sum)]);
    assert_eq!(chain(intent(1)), [(Sum::NONE, born.sum), (born.sum, lives.sum)]);
    assert!(chain(Topic::Note).iter().all(|(prev, sum)| *prev == Sum::NONE && *sum != Sum::NONE));
    for entry in &all {
        assert_eq!(next(&mut early).await, *entry);
    }
    assert_eq!(entries(&*ledger, second.revision.0).await, all[usize::try_from(second.revision.0).unwrap()..]);
    assert!(matches!(ledger.follow(Revision(10_000)).await, Err(PortError::Unusable(_))));

    // A reader that waits already, dropped halfway and asked again, sees what comes later.
    assert!(timeout(Duration::from_millis(50), early.next()).await.is_err());
    let later = ledger.append(note("later")).await.unwrap();
    assert_eq!(next(&mut early).await.head(), later);
    let mut fresh = ledger.follow(later.revision).await.unwrap();
    let last = ledger.append(write(Topic::Admit, won, "last")).await.unwrap();
    assert_eq!(next(&mut fresh).await.head(), last);
}

/// Twenty writers with one expectation: who won, and what it wrote.
async fn race(ledger: &Arc<dyn Ledger>, expect: Head) -> (Head, String) {
    let mut writers = JoinSet::new();
    for number in 0..20 {
        let (ledger, text) = (ledger.clone(), format!("racer {number}"));
        writers.spawn(async move { (ledger.append(write(Topic::Admit, expect, &text)).await, text) });
    }
    let outcomes = writers.join_all().await;
    let mut won: Vec<_> = outcomes.iter().filter_map(|(it, text)| it.as_ref().ok().map(|it| (*it, text))).collect();
    assert!(outcomes.iter().all(|(it, _)| matches!(it, Ok(_) | Err(AppendError::Lost))));
    assert_eq!(won.len(), 1, "{outcomes:?}");
    let (head, text) = won.remove(0);
    (head, text.clone())
}

fn real_clock() -> Arc<dyn Clock> {
    Arc::new(TokioClock::real())
}

fn file(path: &Path) -> FileLedger {
    FileLedger::open(path, real_clock()).unwrap()
}

#[tokio::test]
async fn the_simulated_ledger_keeps_the_contract() {
    contract(flyball_sim::World::new(3, Arc::new(TokioClock::real())).ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    contract(Arc::new(file(&folder.path().join("ledger")))).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_keeps_the_contract_on_virtual_time() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let ledger = Arc::new(FileLedger::open(&folder.path().join("ledger"), clock.clone()).unwrap());
    // A timer that would fire if virtual time ran while the file is written.
    timeout(Duration::from_nanos(1), ledger.append(note("now"))).await.expect("time stands still").unwrap();
    assert_eq!(entries(&*ledger, 0).await[0].at, clock.now());
    drop(ledger);
    contract(Arc::new(FileLedger::open(&folder.path().join("other"), clock).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_keeps_everything_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let ledger = file(&path);
    let first = ledger.append(write(Topic::Admit, EMPTY, "first")).await.unwrap();
    let noted = ledger.append(note("noted")).await.unwrap().revision;
    let before = entries(&ledger, 0).await;
    let mut tail = ledger.follow(noted).await.unwrap();
    drop(ledger);
    assert!(tail.next().await.is_err());

    let ledger = file(&path);
    assert_eq!(ledger.newest().await.unwrap(), noted);
    assert_eq!(ledger.append(write(Topic::Admit, EMPTY, "twin")).await, Err(AppendError::Lost));
    assert_eq!(ledger.append(write(Topic::Admit, first, "second")).await.unwrap().revision, Revision(3));
    assert_eq!(entries(&ledger, 0).await[..2], before);
}

struct Fixed(Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> SignedDuration {
        SignedDuration::ZERO
    }

    fn sleep(&self, _: SignedDuration) -> flyball_core::ports::Answer<'static, ()> {
        Box::pin(async {})
    }
}

#[tokio::test]
async fn a_files_time_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let (early, late) = ("2026-01-01T00:00:00Z".parse().unwrap(), "2026-01-02T00:00:00Z".parse().unwrap());
    let ledger = FileLedger::open(&path, Arc::new(Fixed(late))).unwrap();
    ledger.append(note("late")).await.unwrap();
    drop(ledger);
    let ledger = FileLedger::open(&path, Arc::new(Fixed(early))).unwrap();
    ledger.append(note("early")).await.unwrap();
    assert!(entries(&ledger, 0).await.iter().all(|it| it.at == late));
}

#[tokio::test]
async fn a_step_of_the_wall_clock_moves_no_entry() {
    struct Stepping(Timestamp, AtomicBool);
    impl Clock for Stepping {
        fn now(&self) -> Timestamp {
            let hour = SignedDuration::from_hours(i64::from(self.1.load(Ordering::Relaxed)));
            self.0.checked_add(hour).unwrap()
        }

        fn monotonic(&self) -> SignedDuration {
            SignedDuration::ZERO
        }

        fn sleep(&self, _: SignedDuration) -> flyball_core::ports::Answer<'static, ()> {
            Box::pin(async {})
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Stepping("2026-01-01T00:00:00Z".parse().unwrap(), AtomicBool::new(false)));
    let ledger = FileLedger::open(&folder.path().join("ledger"), clock.clone()).unwrap();
    ledger.append(note("before")).await.unwrap();
    clock.1.store(true, Ordering::Relaxed);
    ledger.append(note("after")).await.unwrap();
    let all = entries(&ledger, 0).await;
    assert_eq!(all[0].at, all[1].at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_takes_many_writers_in_few_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let ledger: Arc<dyn Ledger> = Arc::new(file(&folder.path().join("ledger")));
    let mut writers = JoinSet::new();
    for number in 0..2000 {
        let ledger = ledger.clone();
        writers.spawn(async move { ledger.append(note(&number.to_string())).await.unwrap().revision });
    }
    let mut given = writers.join_all().await;
    given.sort_unstable();
    assert_eq!(given, (1..=2000).map(Revision).collect::<Vec<_>>());
    assert_eq!(entries(&*ledger, 0).await.len(), 2000);
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let open = |name: &str| FileLedger::open(&at(name), real_clock()).map(drop).unwrap_err();

    let ledger = file(&at("ledger"));
    for number in 0..50 {
        ledger.append(note(&number.to_string())).await.unwrap();
    }
    let in_use = open("ledger");
    assert!(matches!(in_use, OpenError::InUse(_)), "{in_use}");
    drop(ledger);

    let whole = std::fs::read(at("ledger")).unwrap();
    std::fs::write(at("empty"), b"").unwrap();
    std::fs::write(at("text"), "not a ledger at all\n".repeat(1000)).unwrap();
    for (name, length) in [("cut-1", 100), ("cut-2", 4096), ("cut-3", whole.len() / 2), ("cut-4", whole.len() - 4096)] {
        std::fs::write(at(name), &whole[..length]).unwrap();
    }
    for name in ["empty", "text", "cut-1", "cut-2", "cut-3", "cut-4"] {
        let error = open(name);
        assert!(matches!(error, OpenError::NotALedger { .. }), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = open("no/such/folder");
    assert!(matches!(error, OpenError::Io { .. }) && error.to_string().contains("no/such/folder"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_keeps_the_contract() {
    let Some(server) = server() else { return };
    contract(Arc::new(jetstream(&server).await)).await;
}
