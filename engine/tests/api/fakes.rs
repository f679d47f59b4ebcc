//! The doors, in memory and as plain as they can be.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use flyball::publish::{Publish, PublishError};
use flyball_core::action::ActionRequest;
use flyball_core::chain::Head;
use flyball_core::expr::TargetView;
use flyball_core::facts::{Sighting, Snapshot};
use flyball_core::id::Revision;
use flyball_core::intent::{Attempt, Execution, Fence};
use flyball_core::ports::{Answer, AppendError, Clock, Cluster, Ledger, Message, PortError, Tail, Write};
use flyball_core::record::{Entry, Topic};
use flyball_core::workload::Workload;
use tokio::sync::watch;

/// A ledger that forgets.
pub(crate) struct Paper {
    clock: Arc<dyn Clock>,
    entries: Arc<Mutex<Vec<Entry>>>,
    grown: watch::Sender<usize>,
}

impl Paper {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, entries: Arc::default(), grown: watch::Sender::new(0) }
    }
}

impl Ledger for Paper {
    fn append(&self, write: Write) -> Answer<'_, Result<Head, AppendError>> {
        Box::pin(async move {
            let mut entries = self.entries.lock().unwrap();
            let newest = entries.iter().rev().find(|it| it.topic == write.topic).map_or(Head::default(), Entry::head);
            if write.topic != Topic::Note && write.expect != Some(newest) {
                return Err(AppendError::Lost);
            }
            let revision = Revision(entries.len() as u64 + 1);
            let entry = Entry::sealed(revision, self.clock.now(), write.topic, write.expect, write.record)?;
            let head = entry.head();
            entries.push(entry);
            self.grown.send_replace(entries.len());
            Ok(head)
        })
    }

    fn follow(&self, after: Revision) -> Answer<'_, Result<Box<dyn Tail>, PortError>> {
        Box::pin(async move {
            let next = usize::try_from(after.0).unwrap();
            let tail = Follower { entries: self.entries.clone(), grown: self.grown.subscribe(), next };
            Ok(Box::new(tail) as Box<dyn Tail>)
        })
    }

    fn newest(&self) -> Answer<'_, Result<Revision, PortError>> {
        Box::pin(async move { Ok(Revision(self.entries.lock().unwrap().len() as u64)) })
    }

    fn identity(&self) -> Arc<str> {
        "paper".into()
    }
}

struct Follower {
    entries: Arc<Mutex<Vec<Entry>>>,
    grown: watch::Receiver<usize>,
    next: usize,
}

impl Tail for Follower {
    fn next(&mut self) -> Answer<'_, Result<Entry, PortError>> {
        Box::pin(async move {
            let wanted = self.next + 1;
            self.grown.wait_for(|length| *length >= wanted).await.unwrap();
            let entry = self.entries.lock().unwrap()[self.next].clone();
            self.next = wanted;
            Ok(entry)
        })
    }
}

/// A cluster that nobody reaches: what happens is written to the ledger by the tests.
pub(crate) struct Nowhere;

impl Cluster for Nowhere {
    fn snapshot<'a>(&'a self, _: &'a ActionRequest) -> Answer<'a, Result<Option<Snapshot>, PortError>> {
        Box::pin(async { Err(PortError::Unavailable("there is no cluster".into())) })
    }

    fn view(&self, _: &Workload) -> Option<TargetView> {
        None
    }

    fn execute(&self, _: Attempt) -> Answer<'_, Execution> {
        Box::pin(async { Execution::Unknown("there is no cluster".into()) })
    }

    fn fence(&self, _: Fence) -> Answer<'_, Execution> {
        Box::pin(async { Execution::Unknown("there is no cluster".into()) })
    }

    fn sight<'a>(
        &'a self,
        _: &'a Workload,
        _: Option<(&'a str, &'a str)>,
    ) -> Answer<'a, Result<Option<Sighting>, PortError>> {
        Box::pin(async { Err(PortError::Unavailable("there is no cluster".into())) })
    }

    fn changed<'a>(&'a self, _: &'a Workload) -> Answer<'a, ()> {
        Box::pin(std::future::pending())
    }

    fn ready(&self) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async { Ok(()) })
    }
}

/// A bus that keeps what it is given, or refuses it.
#[derive(Default)]
pub(crate) struct Basket {
    pub(crate) taken: Mutex<Vec<Message>>,
    pub(crate) full: AtomicBool,
    pub(crate) broken: AtomicBool,
    pub(crate) stuck: AtomicBool,
    pub(crate) falls: AtomicBool,
    sequence: AtomicU64,
}

impl Publish for Basket {
    fn publish(&self, message: Message) -> Answer<'_, Result<u64, PublishError>> {
        Box::pin(async move {
            assert!(!self.falls.load(Ordering::Relaxed), "the bus falls over");
            if self.stuck.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            if self.full.load(Ordering::Relaxed) {
                return Err(PublishError::Full);
            }
            if self.broken.load(Ordering::Relaxed) {
                return Err(PublishError::Unavailable("no route".into()));
            }
            self.taken.lock().unwrap().push(message);
            Ok(self.sequence.fetch_add(1, Ordering::Relaxed) + 1)
        })
    }

    fn depth(&self) -> u64 {
        0
    }
}
