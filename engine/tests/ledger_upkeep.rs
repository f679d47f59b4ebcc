//! A start from a checkpoint is a start from the entries, and what retention removes is missed by nobody.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flyball::clock::TokioClock;
use flyball::ledger::{Book, Pace, Retention, upkeep};
use flyball_core::chain::Head;
use flyball_core::history::History;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, AppendError, Clock, Ledger, PortError, Shelf, Tail, Write};
use flyball_core::record::{Entry, Pause, PauseScope, Record, Started, Topic};
use flyball_sim::World;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

const DAY: SignedDuration = SignedDuration::from_hours(24);

struct Bed {
    world: World,
    clock: Arc<TokioClock>,
    book: Arc<Book>,
    stopping: CancellationToken,
}

impl Bed {
    async fn new() -> Self {
        let clock = Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap()));
        let world = World::new(7, clock.clone());
        let (book, tail) = Book::open(world.ledger.clone(), clock.clone()).await.unwrap();
        let stopping = CancellationToken::new();
        tokio::spawn(tail);
        tokio::spawn(upkeep(book.clone(), clock.clone(), Pace::default(), Retention::default(), stopping.clone()));
        Self { world, clock, book, stopping }
    }

    fn shelf(&self) -> &dyn Shelf {
        self.world.ledger.shelf().unwrap()
    }

    async fn notes(&self, count: usize) {
        let started = |number: usize| Started {
            replica: "one".into(),
            policies: number.to_string().into(),
            version: "test".to_owned(),
        };
        for number in 0..count {
            self.book.note(Record::Started(started(number))).await;
        }
    }

    /// So many days, each with its entries.
    async fn days(&self, count: usize) {
        for _ in 0..count {
            self.notes(20).await;
            self.clock.sleep(DAY).await;
        }
    }

    async fn pause(&self, id: &str) {
        let expect = Some(self.book.history().admit_head());
        let pause = Pause { id: id.into(), scope: PauseScope::All, reason: "r".into(), by: "b".into(), until: None };
        let write = Write { topic: Topic::Admit, expect, record: Record::Paused(pause) };
        self.book.append(write).await.unwrap();
    }

    async fn resume(&self, id: &str) {
        let expect = Some(self.book.history().admit_head());
        let resume = flyball_core::record::Resume { id: id.into(), by: "b".into() };
        self.book.append(Write { topic: Topic::Admit, expect, record: Record::Resumed(resume) }).await.unwrap();
    }

    /// The fold that a process begins with now.
    async fn started(&self) -> Result<History, PortError> {
        let ledger: Arc<dyn Ledger> = self.world.ledger.clone();
        let (book, _tail) = Book::open(ledger, self.clock.clone()).await?;
        Ok(book.history().clone())
    }

    async fn first(&self) -> u64 {
        self.shelf().first().await.unwrap().0
    }

    async fn kept(&self) -> u64 {
        self.shelf().kept().await.unwrap().0
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_kept_every_ten_thousand_entries_or_hour_and_a_start_begins_there() {
    let bed = Bed::new().await;
    bed.pause("p-1").await;
    bed.notes(9_998).await;
    assert_eq!(bed.kept().await, 0);
    bed.notes(3).await;
    tokio::task::yield_now().await;
    let kept = bed.kept().await;
    assert!((10_000..=10_002).contains(&kept), "{kept}");
    assert_eq!(bed.started().await.unwrap(), *bed.book.history());
    bed.notes(1).await;
    bed.clock.sleep(SignedDuration::from_mins(61)).await;
    assert_eq!(bed.kept().await, 10_003);
    // With nothing new there is nothing to keep.
    bed.clock.sleep(DAY).await;
    assert_eq!(bed.kept().await, 10_003);
    // A damaged one costs time and nothing else.
    bed.world.ledger.damage_checkpoint();
    bed.world.ledger.damage_checkpoint();
    assert_eq!(bed.kept().await, 0);
    assert_eq!(bed.started().await.unwrap(), *bed.book.history());
    bed.stopping.cancel();
}

#[tokio::test(start_paused = true)]
async fn what_is_old_and_over_is_removed_and_what_is_not_stays() {
    let bed = Bed::new().await;
    bed.notes(50).await;
    bed.pause("p-1").await;
    bed.days(9).await;
    // Two days' worth of the nine lie behind the retention of seven; the pause holds what follows it.
    assert_eq!(bed.first().await, 51);
    assert_eq!(bed.started().await.unwrap(), *bed.book.history());

    bed.resume("p-1").await;
    bed.pause("p-2").await;
    bed.days(9).await;
    let first = bed.first().await;
    assert!(first > 51 && bed.book.history().pauses(bed.clock.now()).count() == 1, "{first}");
    let whole = bed.started().await.unwrap();
    assert_eq!(whole, *bed.book.history());
    // The entries alone say the same.
    bed.world.ledger.damage_checkpoint();
    bed.world.ledger.damage_checkpoint();
    assert_eq!(bed.started().await.unwrap(), whole);
    bed.stopping.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_of_another_past_is_not_believed() {
    let (bed, other) = (Bed::new().await, Bed::new().await);
    bed.pause("p-1").await;
    other.pause("p-2").await;
    bed.notes(10).await;
    other.notes(9).await;
    other.clock.sleep(SignedDuration::from_mins(61)).await;
    let foreign = other.shelf().read().await.unwrap().unwrap();
    assert_eq!(foreign.revision, Revision(10));
    bed.shelf().keep(foreign).await.unwrap();
    assert_eq!(bed.started().await.unwrap(), *bed.book.history());
    let garbage = flyball_core::ports::Checkpoint { revision: Revision(11), body: Arc::from(*b"{\"v\":2}") };
    bed.shelf().keep(garbage).await.unwrap();
    assert_eq!(bed.started().await.unwrap(), *bed.book.history());
}

/// As in an upgrade that is rolled out: the newer build keeps a checkpoint, and an older replica starts once more.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_of_a_newer_build_leads_nobody_past_entries_that_it_cannot_read() {
    let bed = Bed::new().await;
    bed.notes(3).await;
    bed.stopping.cancel();
    let newer = Arc::new(bed.world.ledger.newer());
    let (book, tail) = Book::open(newer.clone(), bed.clock.clone()).await.unwrap();
    tokio::spawn(tail);
    let started = Started { replica: "two".into(), policies: "4".into(), version: "newer".to_owned() };
    book.note(Record::Started(started.clone())).await;
    // One that this build wrote before it met the other's: the snapshot ends with what it can read.
    let write = Write { topic: Topic::Note, expect: None, record: Record::Started(started) };
    bed.world.ledger.append(write).await.unwrap();
    let stopping = CancellationToken::new();
    let keeping = upkeep(book, bed.clock.clone(), Pace::default(), Retention::default(), stopping.clone());
    let kept = tokio::spawn(keeping);
    bed.clock.sleep(SignedDuration::from_mins(61)).await;
    stopping.cancel();
    kept.await.unwrap();
    // What a build says that reads the entries of that version.
    let checkpoint = bed.shelf().read().await.unwrap().unwrap();
    assert_eq!(checkpoint.revision, Revision(5));
    let text = String::from_utf8(checkpoint.body.to_vec()).unwrap();
    let body = text.replacen("\"records\":1", "\"records\":2", 1);
    bed.world.ledger.damage_checkpoint();
    bed.shelf().keep(flyball_core::ports::Checkpoint { body: body.into_bytes().into(), ..checkpoint }).await.unwrap();
    let said = bed.started().await.unwrap_err().to_string();
    assert!(said.contains("entry 4 cannot be read: it has version 2"), "{said}");
}

/// A ledger that is read slowly: two days pass when the third entry has been read for the first time.
struct Slow {
    ledger: Arc<dyn Ledger>,
    bed: Arc<Bed>,
    passed: Arc<AtomicBool>,
}

struct SlowTail {
    tail: Box<dyn Tail>,
    read: usize,
    bed: Arc<Bed>,
    passed: Arc<AtomicBool>,
}

impl Tail for SlowTail {
    fn next(&mut self) -> Answer<'_, Result<Entry, PortError>> {
        Box::pin(async {
            self.read += 1;
            if self.read > 3 && !self.passed.swap(true, Ordering::Relaxed) {
                self.bed.days(2).await;
            }
            self.tail.next().await
        })
    }
}

impl Ledger for Slow {
    fn append(&self, write: Write) -> Answer<'_, Result<Head, AppendError>> {
        self.ledger.append(write)
    }

    fn follow(&self, after: Revision) -> Answer<'_, Result<Box<dyn Tail>, PortError>> {
        Box::pin(async move {
            let tail = self.ledger.follow(after).await?;
            let (bed, passed) = (self.bed.clone(), self.passed.clone());
            Ok(Box::new(SlowTail { tail, read: 0, bed, passed }) as Box<dyn Tail>)
        })
    }

    fn newest(&self) -> Answer<'_, Result<Revision, PortError>> {
        self.ledger.newest()
    }

    fn shelf(&self) -> Option<&dyn Shelf> {
        self.ledger.shelf()
    }

    fn identity(&self) -> Arc<str> {
        self.ledger.identity()
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_overtaken_by_a_removal_begins_again_from_the_newer_checkpoint() {
    let bed = Arc::new(Bed::new().await);
    bed.pause("p-1").await;
    bed.days(9).await;
    bed.resume("p-1").await;
    bed.world.ledger.damage_checkpoint();
    bed.world.ledger.damage_checkpoint();
    let (before, passed) = (bed.first().await, Arc::new(AtomicBool::new(false)));
    let slow = Slow { ledger: bed.world.ledger.clone(), bed: bed.clone(), passed: passed.clone() };
    let (book, _tail) = Book::open(Arc::new(slow), bed.clock.clone()).await.unwrap();
    assert!(passed.load(Ordering::Relaxed) && bed.first().await > before + 3, "it was overtaken");
    assert_eq!(*book.history(), *bed.book.history());
    bed.stopping.cancel();
}

#[tokio::test(start_paused = true)]
async fn entries_that_somebody_else_removed_are_missed() {
    let bed = Bed::new().await;
    bed.notes(9_999).await;
    bed.stopping.cancel();
    for (before, missing) in [(5, "entries 1 to 4"), (9_999, "entries 1 to 9998"), (20_000, "entries 1 to 9999")] {
        bed.shelf().purge(Revision(before)).await.unwrap();
        let said = bed.started().await.unwrap_err().to_string();
        assert!(said.contains(missing) && said.contains("cannot be trusted"), "{said}");
    }
}
