//! The embedded bus: signals that came over HTTP, kept in one file until they are decided, so that 202 means durable.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flyball_core::ports::{Answer, Clock, Delivery, Message, PortError, Receipted, Signals};
use jiff::Timestamp;
use redb::{Database, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::publish::{Publish, PublishError};

/// Signals by sequence: those not decided yet.
const PENDING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("pending");
/// What was refused, with the reason in front.
const REFUSED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("refused");
/// The newest sequence ever given.
const NEWEST: TableDefinition<'_, (), u64> = TableDefinition::new("newest");

/// Signals that may wait to be decided. Beyond it the caller is told to come again.
const ROOM: u64 = 65_536;
/// Signals in one commit: one fsync serves them all.
const GROUP: usize = 1_024;
/// Deliveries in one batch.
const BATCH: usize = 256;

#[derive(Clone, Serialize, Deserialize)]
struct Head {
    subject: Option<String>,
    kind: Option<String>,
    headers: Vec<(String, String)>,
    published_at: Timestamp,
}

enum Op {
    Put(u64, Message, oneshot::Sender<Result<(), String>>),
    Done(u64),
    Refused(u64, String, oneshot::Sender<Result<(), String>>),
}

/// The bus of `dev` and `demo`.
pub struct Inbox {
    ops: mpsc::UnboundedSender<Op>,
    ready: Mutex<mpsc::UnboundedReceiver<Message>>,
    clock: Arc<dyn Clock>,
    next: AtomicU64,
    depth: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

impl Inbox {
    /// Dead letters kept since the start of the process.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Opens the file; what it holds is delivered again. Its writer runs until the inbox is dropped.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, PortError> {
        let failed = |error: String| PortError::Unavailable(format!("the signals in {}: {error}", path.display()));
        let (database, pending, newest) = load(path).map_err(failed)?;
        let (deliver, ready) = mpsc::unbounded_channel();
        let depth = Arc::new(AtomicU64::new(pending.len() as u64));
        for message in pending {
            // The receiver lives in `ready`.
            let _ = deliver.send(message);
        }
        let (ops, asked) = mpsc::unbounded_channel();
        tokio::spawn(write(Arc::new(database), asked, deliver, depth.clone()));
        Ok(Self {
            ops,
            ready: Mutex::new(ready),
            clock,
            next: AtomicU64::new(newest + 1),
            depth,
            refused: Arc::default(),
        })
    }
}

type Loaded = (Database, Vec<Message>, u64);

fn load(path: &Path) -> Result<Loaded, String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let database = Database::create(path).map_err(|error| say(&error))?;
    let write = database.begin_write().map_err(|error| say(&error))?;
    let (mut pending, newest);
    {
        let table = write.open_table(PENDING).map_err(|error| say(&error))?;
        write.open_table(REFUSED).map_err(|error| say(&error))?;
        let counter = write.open_table(NEWEST).map_err(|error| say(&error))?;
        newest = counter.get(()).map_err(|error| say(&error))?.map_or(0, |it| it.value());
        pending = Vec::new();
        for row in table.iter().map_err(|error| say(&error))? {
            let (sequence, bytes) = row.map_err(|error| say(&error))?;
            pending.push(decode(sequence.value(), bytes.value())?);
        }
    }
    write.commit().map_err(|error| say(&error))?;
    Ok((database, pending, newest))
}

/// Head as JSON with its length in front, then the body as it came.
fn encode(message: &Message) -> Vec<u8> {
    let head = Head {
        subject: message.subject.clone(),
        kind: message.kind.clone(),
        headers: message.headers.clone(),
        published_at: message.published_at,
    };
    let head = serde_json::to_vec(&head).unwrap_or_default();
    let length = u32::try_from(head.len()).unwrap_or_default();
    [&length.to_be_bytes()[..], &head, &message.body].concat()
}

fn decode(sequence: u64, bytes: &[u8]) -> Result<Message, String> {
    let damaged = || format!("signal {sequence} is damaged");
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| damaged())?;
    let (head, body) = rest.split_at_checked(length).ok_or_else(damaged)?;
    let head: Head = serde_json::from_slice(head).map_err(|_| damaged())?;
    let Head { subject, kind, headers, published_at } = head;
    Ok(Message { subject, kind, headers, body: body.to_vec(), sequence, published_at })
}

/// One transaction for all that was asked meanwhile. It runs as a blocking task, during which virtual time stands still.
async fn write(
    database: Arc<Database>,
    mut asked: mpsc::UnboundedReceiver<Op>,
    deliver: mpsc::UnboundedSender<Message>,
    depth: Arc<AtomicU64>,
) {
    let mut group = Vec::new();
    while asked.recv_many(&mut group, GROUP).await > 0 {
        let ops = std::mem::take(&mut group);
        let database = database.clone();
        let committed = tokio::task::spawn_blocking(move || {
            let result = commit(&database, &ops);
            (ops, result)
        });
        let Ok((ops, result)) = committed.await else { return };
        for op in ops {
            match op {
                Op::Put(sequence, message, answer) => {
                    if result.is_ok() {
                        // Both receivers may be gone when the process stops; the file has it.
                        let _ = deliver.send(Message { sequence, ..message });
                    } else {
                        depth.fetch_sub(1, Ordering::Relaxed);
                    }
                    let _ = answer.send(result.clone());
                }
                Op::Refused(_, _, answer) => {
                    let _ = answer.send(result.clone());
                }
                Op::Done(_) => {}
            }
        }
    }
}

fn commit(database: &Database, ops: &[Op]) -> Result<(), String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let write = database.begin_write().map_err(|error| say(&error))?;
    {
        let mut pending = write.open_table(PENDING).map_err(|error| say(&error))?;
        let mut refused = write.open_table(REFUSED).map_err(|error| say(&error))?;
        let mut newest = write.open_table(NEWEST).map_err(|error| say(&error))?;
        for op in ops {
            match op {
                Op::Put(sequence, message, _) => {
                    pending.insert(sequence, encode(message).as_slice()).map_err(|error| say(&error))?;
                    // Two callers may come here in another order than they drew their numbers.
                    let known = newest.get(()).map_err(|error| say(&error))?.map_or(0, |it| it.value());
                    newest.insert((), known.max(*sequence)).map_err(|error| say(&error))?;
                }
                Op::Done(sequence) => {
                    pending.remove(sequence).map_err(|error| say(&error))?;
                }
                Op::Refused(sequence, why, _) => {
                    let bytes = pending.remove(sequence).map_err(|error| say(&error))?.map(|it| it.value().to_vec());
                    let letter = [why.as_bytes(), b"\n", &bytes.unwrap_or_default()].concat();
                    refused.insert(sequence, letter.as_slice()).map_err(|error| say(&error))?;
                }
            }
        }
    }
    write.commit().map_err(|error| say(&error))
}

struct Receipt {
    sequence: u64,
    ops: mpsc::UnboundedSender<Op>,
    depth: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

impl Receipted for Receipt {
    fn acknowledge(self: Box<Self>, _durable: bool) -> Answer<'static, ()> {
        self.depth.fetch_sub(1, Ordering::Relaxed);
        // If the writer is gone the process stops, and the signal is delivered again: its intent is known by then.
        let _ = self.ops.send(Op::Done(self.sequence));
        Box::pin(std::future::ready(()))
    }

    fn refuse(self: Box<Self>, reason: &str, detail: &str) -> Answer<'static, Result<(), PortError>> {
        let why = format!("{reason}: {detail}").replace('\n', " ");
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let gone = || PortError::Unavailable("the inbox is closed".to_owned());
            self.ops.send(Op::Refused(self.sequence, why, answer)).map_err(|_| gone())?;
            self.depth.fetch_sub(1, Ordering::Relaxed);
            answered.await.map_err(|_| gone())?.map_err(PortError::Unavailable)?;
            self.refused.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }
}

impl Signals for Inbox {
    fn next(&self) -> Answer<'_, Option<Vec<Delivery>>> {
        Box::pin(async {
            let mut ready = self.ready.lock().await;
            let mut batch = Vec::new();
            if ready.recv_many(&mut batch, BATCH).await == 0 {
                return None;
            }
            let receipt = |sequence| {
                let (ops, depth, refused) = (self.ops.clone(), self.depth.clone(), self.refused.clone());
                Receipt { sequence, ops, depth, refused }
            };
            let deliveries =
                batch.into_iter().map(|message| Delivery { receipt: Box::new(receipt(message.sequence)), message });
            Some(deliveries.collect())
        })
    }

    fn ready(&self) -> Answer<'_, Result<(), PortError>> {
        let open = !self.ops.is_closed();
        Box::pin(std::future::ready(if open {
            Ok(())
        } else {
            Err(PortError::Unavailable("the inbox is closed".into()))
        }))
    }
}

impl Publish for Inbox {
    fn publish(&self, message: Message) -> Answer<'_, Result<u64, PublishError>> {
        Box::pin(async move {
            if self.depth.fetch_add(1, Ordering::Relaxed) >= ROOM {
                self.depth.fetch_sub(1, Ordering::Relaxed);
                return Err(PublishError::Full);
            }
            let sequence = self.next.fetch_add(1, Ordering::Relaxed);
            let message = Message { published_at: self.clock.now(), ..message };
            let (answer, answered) = oneshot::channel();
            let gone = || PublishError::Unavailable("the inbox is closed".to_owned());
            self.ops.send(Op::Put(sequence, message, answer)).map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?.map_err(PublishError::Unavailable)?;
            Ok(sequence)
        })
    }

    fn depth(&self) -> u64 {
        self.depth.load(Ordering::Relaxed)
    }
}
