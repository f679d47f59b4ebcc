//! Reading the stream in order, for as long as it is the same stream. A lost connection, a restarted server and a removed
//! consumer are survived here; a missing or unreadable entry never is.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{Context, Message};
use backon::Retryable;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, PortError, Tail};
use flyball_core::record::{Entry, Topic};
use flyball_core::wire;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::append::WRITER;
use super::stream::{Home, Missing};
use crate::ledger::stored::{Beside, Stored, StoredTail};
use crate::nats;

/// The time of an entry that was brought from another ledger and bears none itself.
pub(super) const AT: &str = "Flyball-At";

/// Notes whose nonce is remembered. Copies of a note are at most one append's settling apart, 30 s; notes are flushed in
/// batches, so that this many take longer.
const NONCES: usize = 1024;
/// Messages asked for at once: some hundred kilobytes, and few requests for a long replay.
const BATCH: usize = 512;
/// How long nothing may come before the stream is asked whether there is nothing more.
const SILENCE: Duration = Duration::from_secs(2);
/// How long the server keeps a reader that nobody asks for: longer than a short loss of the connection.
const READER_KEPT: Duration = Duration::from_secs(30);

/// Follows the stream. `next` may be dropped halfway: only an entry that was returned counts as read.
pub(super) struct JetStreamTail {
    home: Home,
    reader: Option<Reader>,
    place: Place,
}

/// A consumer of the stream. The server keeps a thousand of them at most, and each for a while after its last request: who has
/// read enough says so.
struct Reader {
    messages: pull::Stream,
    context: Context,
    stream: String,
    name: String,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Outside of a runtime nobody can say it, and the server finds out by itself.
        let Ok(runtime) = Handle::try_current() else { return };
        let (context, stream, name) =
            (self.context.clone(), std::mem::take(&mut self.stream), std::mem::take(&mut self.name));
        runtime.spawn(async move {
            if let Err(error) = context.delete_consumer_from_stream(name, stream).await {
                tracing::debug!(%error, "a reader of the ledger is left to the server");
            }
        });
    }
}

/// What has been read.
struct Place {
    /// What the caller has already.
    after: u64,
    /// The last sequence that was read.
    position: u64,
    /// The ledger's time there.
    at: Timestamp,
    nonces: Nonces,
}

/// The nonces of the last notes, oldest first.
#[derive(Default)]
struct Nonces {
    order: VecDeque<String>,
    known: HashSet<String>,
}

impl Nonces {
    /// Remembers a nonce; false when it is known.
    fn insert(&mut self, nonce: &str) -> bool {
        if !self.known.insert(nonce.to_owned()) {
            return false;
        }
        self.order.push_back(nonce.to_owned());
        if self.order.len() > NONCES
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl JetStreamTail {
    /// Opens the reader at once, and not with the first `next`: what is appended meanwhile is read as soon as it is there, so
    /// that the time it bears is still the server's.
    pub(super) async fn open(home: Home, after: Revision) -> Result<Self, PortError> {
        // It begins a little earlier, to know the nonces and the time of what the caller has already.
        let position = after.0.saturating_sub(NONCES as u64);
        let (reader, newest) = opened(&home, position + 1).await?;
        if after.0 > newest {
            let name = &home.name;
            return Err(PortError::Unusable(format!("{name} ends at entry {newest}, before entry {after}")));
        }
        let place = Place { after: after.0, position, at: Timestamp::MIN, nonces: Nonces::default() };
        Ok(Self { home, reader: Some(reader), place })
    }

    async fn entry(&mut self) -> Result<Stored, PortError> {
        loop {
            let Some(reader) = &mut self.reader else {
                self.reader = Some(reopened(&self.home, self.place.position + 1).await?);
                continue;
            };
            // Asked beside the reading: on a long link the answer takes as long as the entries.
            let message = tokio::select! {
                biased;
                message = reader.messages.next() => message,
                lost = self.place.lost(&self.home) => return Err(lost),
            };
            match message {
                Some(Ok(message)) => match self.place.read(&self.home, &message) {
                    Ok(Some(entry)) => return Ok(entry),
                    Ok(None) => {}
                    Err(error) => {
                        self.reader = None;
                        return Err(error);
                    }
                },
                trouble => {
                    let why = trouble.and_then(Result::err).map(|error| error.to_string());
                    tracing::debug!(stream = self.home.name, why, "reading the ledger begins again");
                    self.reader = None;
                    tokio::time::sleep(nats::RETRY_FIRST).await;
                }
            }
        }
    }
}

impl Tail for JetStreamTail {
    fn next(&mut self) -> Answer<'_, Result<Entry, PortError>> {
        Box::pin(async { Ok(self.entry().await?.entry) })
    }
}

impl StoredTail for JetStreamTail {
    fn next(&mut self) -> Answer<'_, Result<Stored, PortError>> {
        Box::pin(self.entry())
    }
}

impl Place {
    /// Looks each time nothing has come for a while; ends only with what is wrong.
    async fn lost(&self, home: &Home) -> PortError {
        loop {
            tokio::time::sleep(SILENCE).await;
            if let Err(error) = self.missing(home).await {
                return error;
            }
        }
    }

    /// Whether the stream has given places after this one that hold nothing: a server that finds its newest entry damaged drops
    /// it, and goes on counting from there. Without an answer nothing is concluded.
    async fn missing(&self, home: &Home) -> Result<(), PortError> {
        let newest = match home.info().await {
            Ok(info) => info.state.last_sequence,
            Err(Missing::Unreachable(_)) => return Ok(()),
            Err(gone) => return Err(gone.into()),
        };
        let next = self.position.max(self.after) + 1;
        if newest < next || !home.is_empty_from(next).await {
            return Ok(());
        }
        Err(PortError::Unusable(format!("{}: entries {next} to {newest} are missing", home.name)))
    }

    /// Takes one message; nothing for one that the caller has.
    fn read(&mut self, home: &Home, message: &Message) -> Result<Option<Stored>, PortError> {
        let unreadable = |why: String| PortError::Unusable(format!("{}: {why}", home.name));
        let info = message.info().map_err(|error| unreadable(error.to_string()))?;
        let sequence = info.stream_sequence;
        if sequence <= self.position {
            return Ok(None);
        }
        let expected = self.position.max(self.after) + 1;
        // A ledger read from its beginning begins where its last purge left it.
        if sequence > expected && expected > 1 {
            return Err(unreadable(format!("entries {expected} to {} are missing", sequence - 1)));
        }
        let topic = home.topic(&message.subject);
        let topic = topic.ok_or_else(|| unreadable(format!("entry {sequence} belongs to {}", message.subject)))?;
        let unread = |why: String| unreadable(format!("entry {sequence} cannot be read: {why}"));
        let beside = beside(message).map_err(unread)?;
        let (nonce, published) = (beside.writer.clone(), nats::timestamp(info.published));
        let mut opened = None;
        // An entry that was brought from another ledger keeps the time that it had there.
        let at = if sequence > self.after {
            let revision = Revision(sequence);
            let stored = Stored::open(revision, topic, message.payload.clone(), beside, Some(published));
            opened.insert(stored.map_err(unread)?).entry.at
        } else {
            beside.at.or_else(|| wire::stamp(&message.payload)).unwrap_or(published)
        };
        self.position = sequence;
        self.at = self.at.max(at);
        let copy = topic == Topic::Note && nonce.is_some_and(|it| !self.nonces.insert(&it));
        // A copy says nothing, but whoever waits for its place in the ledger has to see it pass.
        Ok(opened.map(|mut it| {
            it.entry.at = self.at;
            if copy {
                it.silence();
            }
            it
        }))
    }
}

/// What the headers say.
fn beside(message: &Message) -> Result<Beside, String> {
    let header = |name: &str| message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str);
    let at = header(AT).map(|at| at.parse().map_err(|error| format!("its header {AT}: {error}"))).transpose()?;
    Ok(Beside { at, writer: header(WRITER).map(Into::into), copy: false })
}

/// A reader of the stream from `sequence` on; it waits until there is one, and fails only when the stream is gone.
async fn reopened(home: &Home, sequence: u64) -> Result<Reader, PortError> {
    let open = || opened(home, sequence);
    let opened = open.retry(nats::patiently()).when(|missing| matches!(missing, Missing::Unreachable(_))).await;
    opened.map(|(reader, _)| reader).map_err(PortError::from)
}

/// One attempt at it, and the newest sequence that the stream has given.
async fn opened(home: &Home, sequence: u64) -> Result<(Reader, u64), Missing> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: sequence },
        ack_policy: AckPolicy::None,
        inactive_threshold: READER_KEPT,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let asked = Instant::now();
    let made = home.context.create_consumer_on_stream(config, &home.name).await;
    let heartbeat = nats::heartbeat(asked.elapsed());
    // After the reader was made: one that reads another stream is never used.
    let newest = home.info().await?.state.last_sequence;
    if newest + 1 < sequence {
        return Err(Missing::Gone(format!("{} ends at entry {newest}, before entry {}", home.name, sequence - 1)));
    }
    let again = |why: String| Missing::Unreachable(why);
    let consumer = made.map_err(|error| again(error.to_string()))?;
    let messages = consumer.stream().max_messages_per_batch(BATCH).expires(nats::EXPIRES).heartbeat(heartbeat);
    let messages = messages.messages().await.map_err(|error| again(error.to_string()))?;
    let (stream, name) = (home.name.clone(), consumer.cached_info().name.clone());
    Ok((Reader { messages, context: home.context.clone(), stream, name }, newest))
}
