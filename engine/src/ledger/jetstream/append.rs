//! Appending. Nothing is concluded from an error or from silence: what an append came to is read from the stream, at the
//! one place where it could have landed.
//!
//! The first entry of a subject after the expected one is the one that took the place, for ever. If it carries our nonce,
//! we won; if it carries another, no copy of ours can land any more. If there is none, a copy may still be on its way (the
//! client sends what it buffered when it reconnects, a stopped server goes on): a fence at the same place decides it.

use std::error::Error as _;
use std::sync::Mutex;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use backon::Retryable;
use bytes::Bytes;
use flyball_core::chain::{Head, Sum};
use flyball_core::id::Revision;
use flyball_core::ports::{AppendError, PortError, Write};
use flyball_core::record::{Record, Topic};
use flyball_core::wire;
use uuid::Uuid;

use super::stream::Home;
use crate::nats;

/// Says which append wrote an entry: another for each append, the same for each copy of it.
pub(super) const WRITER: &str = "Flyball-Writer";

/// How long an append is settled before it is given up as `Unknown`: a NATS cluster elects a leader in seconds, a server
/// restarts and recovers a large stream in some ten; whoever waits for it holds a place in the engine's queues.
const SETTLE: Duration = Duration::from_secs(30);

/// JetStream's status for "not now": it says nothing about whether the message is stored.
const TEMPORARILY_UNAVAILABLE: usize = 503;

/// One append, whole: every copy of it is the same.
struct Letter {
    subject: String,
    expect: Option<Revision>,
    nonce: String,
    body: Bytes,
    sum: Sum,
}

impl Letter {
    fn new(home: &Home, topic: Topic, expect: Option<Head>, record: &Record) -> Result<Self, AppendError> {
        let sealed = wire::seal(topic, expect.map_or(Sum::NONE, |it| it.sum), None, record)?;
        Ok(Self {
            subject: home.subject(topic),
            expect: expect.map(|it| it.revision),
            nonce: Uuid::now_v7().to_string(),
            body: sealed.body.into(),
            sum: sealed.sum,
        })
    }

    fn placed(&self, revision: Revision) -> Head {
        Head { revision, sum: self.sum }
    }
}

/// What the server said to one publish.
enum Reply {
    Stored(Revision),
    /// The place is taken.
    Taken,
    /// It will not store it.
    Refused(String),
    /// Silence, or an answer that settles nothing.
    Nothing(String),
}

/// Why a step ended without an outcome.
enum Step {
    Again(String),
    Over(AppendError),
}

/// Writes to the ledger's stream.
pub(super) struct Appender {
    home: Home,
    stream: Stream<()>,
}

impl Appender {
    pub(super) async fn new(home: Home) -> Result<Self, PortError> {
        let stream = home.context.get_stream_no_info(&home.name).await;
        let stream = stream.map_err(|error| PortError::Unavailable(format!("stream {}: {error}", home.name)))?;
        Ok(Self { home, stream })
    }

    /// Appends, durably, exactly once or not at all; `Unknown` only when the server stays silent for [`SETTLE`].
    pub(super) async fn append(&self, write: Write) -> Result<Head, AppendError> {
        let letter = Letter::new(&self.home, write.topic, write.expect, &write.record)?;
        match write.expect {
            Some(expect) => self.compared(&letter, write.topic, expect).await,
            None if write.topic == Topic::Note => self.note(&letter).await,
            None => Err(AppendError::Refused("a write that is compared carries what it expects".to_owned())),
        }
    }

    /// A note decides nothing alone, so copies are no danger: the same letter is sent until one is confirmed, and tails
    /// drop all but the first with a nonce.
    async fn note(&self, letter: &Letter) -> Result<Head, AppendError> {
        let attempt = || async {
            match self.publish(letter).await {
                Reply::Stored(revision) => Ok(letter.placed(revision)),
                Reply::Refused(why) => Err(Step::Over(AppendError::Refused(why))),
                Reply::Taken => Err(Step::Again("the server compared a note".to_owned())),
                Reply::Nothing(why) => {
                    let last = self.stream.raw_message_builder().last_by_subject(letter.subject.as_str()).send().await;
                    let ours = found(last)?.filter(|it| is_from(it, &letter.nonce));
                    ours.map(|it| letter.placed(Revision(it.sequence))).ok_or(Step::Again(why))
                }
            }
        };
        settled(attempt).await
    }

    async fn compared(&self, letter: &Letter, topic: Topic, expect: Head) -> Result<Head, AppendError> {
        let reply = self.publish(letter).await;
        if let Reply::Stored(revision) = reply {
            return Ok(letter.placed(revision));
        }
        settled(|| self.settle(letter, topic, expect, &reply)).await
    }

    /// Looks who took the place, and takes it with a fence where nobody did and a copy of ours may be on its way.
    async fn settle(&self, letter: &Letter, topic: Topic, expect: Head, reply: &Reply) -> Result<Head, Step> {
        if let Some(outcome) = self.taken(letter, expect.revision).await? {
            return outcome;
        }
        match reply {
            // The expectation is ahead of the ledger, or was purged: ours was refused, and no copy of it is left.
            Reply::Taken => return Err(Step::Over(AppendError::Lost)),
            Reply::Refused(why) => return Err(Step::Over(AppendError::Refused(why.clone()))),
            Reply::Stored(_) | Reply::Nothing(_) => {}
        }
        let fence = Letter::new(&self.home, topic, Some(expect), &Record::Fence).map_err(Step::Over)?;
        match self.publish(&fence).await {
            Reply::Stored(_) => Err(Step::Over(AppendError::Lost)),
            Reply::Taken => match self.taken(letter, expect.revision).await? {
                Some(outcome) => outcome,
                None => Err(Step::Over(AppendError::Lost)),
            },
            Reply::Refused(why) | Reply::Nothing(why) => Err(Step::Again(why)),
        }
    }

    /// What follows from the entry after the expected one; nothing while there is none.
    async fn taken(&self, letter: &Letter, expect: Revision) -> Result<Option<Result<Head, Step>>, Step> {
        let read = self.stream.raw_message_builder().next_by_subject(letter.subject.as_str()).sequence(expect.0 + 1);
        Ok(found(read.send().await)?.map(|it| {
            if is_from(&it, &letter.nonce) {
                Ok(letter.placed(Revision(it.sequence)))
            } else {
                Err(Step::Over(AppendError::Lost))
            }
        }))
    }

    async fn publish(&self, letter: &Letter) -> Reply {
        let mut message = PublishMessage::build()
            .payload(letter.body.clone())
            .header(WRITER, letter.nonce.as_str())
            .expected_stream(&self.home.name);
        if let Some(expect) = letter.expect {
            message = message.expected_last_subject_sequence(expect.0);
        }
        let sent = self.home.context.send_publish(letter.subject.clone(), message).await;
        let answer = match sent {
            Ok(answer) => answer.await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(stored) => Reply::Stored(Revision(stored.sequence)),
            Err(error) => reply(&error),
        }
    }
}

fn reply(error: &PublishError) -> Reply {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => return Reply::Taken,
        PublishErrorKind::MaxPayloadExceeded => return Reply::Refused(error.to_string()),
        _ => {}
    }
    let answer = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    match answer {
        // What a clustered server says while another append to the place is under way.
        Some(answer) if answer.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => Reply::Taken,
        Some(answer) if answer.code() != TEMPORARILY_UNAVAILABLE => Reply::Refused(answer.to_string()),
        _ => Reply::Nothing(error.to_string()),
    }
}

fn found(read: Result<StreamMessage, jetstream::stream::RawMessageError>) -> Result<Option<StreamMessage>, Step> {
    match read {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(Step::Again(error.to_string())),
    }
}

fn is_from(message: &StreamMessage, nonce: &str) -> bool {
    message.headers.get(WRITER).is_some_and(|it| it.as_str() == nonce)
}

/// Repeats a step until it has an outcome, for [`SETTLE`] at the longest.
async fn settled<F, S>(step: F) -> Result<Head, AppendError>
where
    F: FnMut() -> S,
    S: Future<Output = Result<Head, Step>>,
{
    let last = Mutex::new(String::from("no answer"));
    let persistent = step.retry(nats::patiently()).when(|step| matches!(step, Step::Again(_))).notify(|step, _| {
        if let Step::Again(why) = step {
            why.clone_into(&mut last.lock().expect("nothing panics while it holds the last reason"));
        }
    });
    match tokio::time::timeout(SETTLE, persistent).await {
        Ok(Ok(placed)) => Ok(placed),
        Ok(Err(Step::Over(error))) => Err(error),
        Ok(Err(Step::Again(why))) => Err(AppendError::Unknown(why)),
        Err(_) => Err(AppendError::Unknown(last.into_inner().expect("nothing panics while it holds the last reason"))),
    }
}
