//! Writing to a ledger and reading it, in few words.

use flyball::ledger::{JetStreamLedger, JetStreamOptions as Options};
use flyball_core::chain::{Head, Sum};
use flyball_core::id::Revision;
use flyball_core::ports::{Ledger, Tail, Write};
use flyball_core::record::{Entry, Record, Resume, Topic};
use flyball_devcluster::NatsServer;
use tokio::time::timeout;

use super::{DEADLINE, client};

/// The cluster that every ledger here is of.
pub(crate) const CLUSTER: &str = "prod";

/// A record that says `text` and nothing else.
pub(crate) fn record(text: &str) -> Record {
    Record::Resumed(Resume { id: text.into(), by: "test".to_owned() })
}

/// What the first write of a topic expects.
pub(crate) const EMPTY: Head = Head { revision: Revision(0), sum: Sum::NONE };

/// A compared write.
pub(crate) fn write(topic: Topic, expect: Head, text: &str) -> Write {
    Write { topic, expect: Some(expect), record: record(text) }
}

/// A write that is not compared.
pub(crate) fn note(text: &str) -> Write {
    Write { topic: Topic::Note, expect: None, record: record(text) }
}

/// An intent's topic.
pub(crate) fn intent(number: u8) -> Topic {
    Topic::Intent(format!("00000000-0000-8000-8000-0000000000{number:02}").parse().unwrap())
}

/// The next entry.
pub(crate) async fn next(tail: &mut Box<dyn Tail>) -> Entry {
    timeout(DEADLINE, tail.next()).await.expect("an entry in time").expect("an entry")
}

/// Every entry after `after`.
pub(crate) async fn entries(ledger: &dyn Ledger, after: u64) -> Vec<Entry> {
    let newest = ledger.newest().await.unwrap();
    let mut tail = ledger.follow(Revision(after)).await.unwrap();
    let mut all: Vec<Entry> = Vec::new();
    while all.last().map_or(after, |it| it.revision.0) < newest.0 {
        all.push(next(&mut tail).await);
    }
    all
}

/// The ledger in a server, over a connection of its own.
pub(crate) async fn jetstream(server: &NatsServer) -> JetStreamLedger {
    JetStreamLedger::connect(client(server).await, CLUSTER, Options::default()).await.unwrap()
}
