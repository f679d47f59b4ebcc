//! Checkpoints in a stream of their own, `FLYBALL_SNAPSHOTS_<cluster>`. One is larger than a message may be, so it lies there
//! in chunks, and is not there at all until the label that names them is. Labels are compared, so that an older one never
//! follows a newer; the one before the newest stays until the next.

use std::sync::Arc;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, LastRawMessageErrorKind, RawMessageErrorKind, StorageType, Stream,
};
use flyball_core::chain::Sum;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, Checkpoint, PortError, Shelf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::stream::Home;
use crate::nats;

/// Half of what a server takes by default (1 MiB).
const CHUNK: usize = 512 * 1024;
/// The newest label, and the one before it.
const LABELS: i64 = 2;
/// The version of the labels that this build writes, and the only one that it reads.
const VERSION: u32 = 1;

/// What names the chunks of a checkpoint. Once it is there, they all are.
#[derive(Serialize, Deserialize)]
struct Label {
    v: u32,
    /// When the ledger's stream was made: one that was made anew has other entries at the same places.
    ledger: Timestamp,
    revision: Revision,
    /// Of the whole body.
    sum: Sum,
    /// Part of the chunks' subjects.
    name: String,
    chunks: usize,
    /// Sequence of the first chunk.
    first: u64,
}

fn unreachable(what: &str, error: impl std::fmt::Display) -> PortError {
    PortError::Unavailable(format!("{what}: {error}"))
}

impl Home {
    fn shelf_name(&self) -> String {
        format!("FLYBALL_SNAPSHOTS_{}", self.cluster)
    }

    fn label_subject(&self) -> String {
        format!("flyball.snapshot.{}.label", self.cluster)
    }

    fn chunk_subject(&self, name: &str, number: usize) -> String {
        format!("flyball.snapshot.{}.chunk.{name}.{number}", self.cluster)
    }

    /// The stream, if there is one.
    async fn shelf_stream(&self) -> Result<Option<Stream<()>>, PortError> {
        let name = self.shelf_name();
        if nats::find_stream(&self.context, &name).await?.is_none() {
            return Ok(None);
        }
        let stream = self.context.get_stream_no_info(&name).await;
        stream.map(Some).map_err(|error| unreachable(&name, error))
    }

    async fn made_shelf(&self) -> Result<Stream<()>, PortError> {
        let config = Config {
            name: self.shelf_name(),
            description: Some("Flyball's snapshots of its ledger: derived, safe to lose".to_owned()),
            subjects: vec![format!("flyball.snapshot.{}.>", self.cluster)],
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_messages_per_subject: LABELS,
            num_replicas: self.info().await.map_err(PortError::from)?.config.num_replicas,
            ..Config::default()
        };
        let name = config.name.clone();
        nats::ensure_stream(&self.context, config).await?;
        self.context.get_stream_no_info(&name).await.map_err(|error| unreachable(&name, error))
    }

    /// The labels of this ledger's checkpoints, oldest first, and the sequence of the newest label of any. One that cannot be
    /// read names nothing.
    async fn labels(&self, stream: &Stream<()>) -> Result<(Vec<Label>, u64), PortError> {
        let (mut labels, mut newest) = (Vec::new(), 0);
        loop {
            let read = stream.raw_message_builder().next_by_subject(self.label_subject()).sequence(newest + 1);
            let message = match read.send().await {
                Ok(message) => message,
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok((labels, newest)),
                Err(error) => return Err(unreachable("the snapshots", error)),
            };
            newest = message.sequence;
            let label = serde_json::from_slice::<Label>(&message.payload).ok().filter(|it| it.v == VERSION);
            labels.extend(label.filter(|it| it.ledger == self.created));
        }
    }

    /// The checkpoint that a label names; nothing if it is not of this ledger, or not whole.
    async fn labelled(&self, stream: &Stream<()>, label: &Label) -> Result<Option<Checkpoint>, PortError> {
        let mut body = Vec::new();
        for number in 0..label.chunks {
            let chunk = stream.get_last_raw_message_by_subject(&self.chunk_subject(&label.name, number)).await;
            let Some(chunk) = answered(chunk, "a snapshot")? else { break };
            body.extend_from_slice(&chunk.payload);
        }
        if Sum::of(&[&body]) != label.sum {
            tracing::warn!(revision = label.revision.0, "A snapshot is damaged; it is passed over");
            return Ok(None);
        }
        Ok(Some(Checkpoint { revision: label.revision, body: Arc::from(body) }))
    }

    async fn newest_whole(&self) -> Result<Option<Checkpoint>, PortError> {
        let Some(stream) = self.shelf_stream().await? else { return Ok(None) };
        for label in self.labels(&stream).await?.0.iter().rev() {
            if let Some(whole) = self.labelled(&stream, label).await? {
                return Ok(Some(whole));
            }
        }
        Ok(None)
    }

    async fn put(&self, checkpoint: Checkpoint) -> Result<(), PortError> {
        let stream = self.made_shelf().await?;
        let (labels, newest) = self.labels(&stream).await?;
        let last = labels.last();
        if last.is_some_and(|it| it.revision >= checkpoint.revision) {
            return Ok(());
        }
        let name = Uuid::now_v7().simple().to_string();
        let mut first = None;
        let chunks: Vec<&[u8]> = checkpoint.body.chunks(CHUNK).collect();
        for (number, chunk) in chunks.iter().enumerate() {
            let message = PublishMessage::build().payload(chunk.to_vec().into());
            let stored = self.store(self.chunk_subject(&name, number), message).await?;
            first.get_or_insert(stored.unwrap_or_default());
        }
        let label = Label {
            v: VERSION,
            ledger: self.created,
            revision: checkpoint.revision,
            sum: Sum::of(&[&checkpoint.body]),
            name,
            chunks: chunks.len(),
            first: first.unwrap_or_default(),
        };
        let body = serde_json::to_vec(&label).map_err(|error| unreachable("a snapshot's label", error))?;
        let message = PublishMessage::build().payload(body.into()).expected_last_subject_sequence(newest);
        // Who lost the compare was a moment later than another replica with the same thing to keep.
        if self.store(self.label_subject(), message).await?.is_some() {
            let oldest = last.map_or(label.first, |it| it.first);
            let chunks = format!("flyball.snapshot.{}.chunk.>", self.cluster);
            let swept = stream.purge().filter(chunks).sequence(oldest).await;
            swept.map_err(|error| unreachable("removing old snapshots", error))?;
        }
        Ok(())
    }

    /// Its sequence, or nothing if a compare was lost.
    async fn store(&self, subject: String, message: PublishMessage) -> Result<Option<u64>, PortError> {
        let message = message.expected_stream(self.shelf_name());
        let sent = self.context.send_publish(subject, message).await;
        let stored = match sent {
            Ok(answer) => answer.await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(stored) => Ok(Some(stored.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
            Err(error) => Err(unreachable("keeping a snapshot", error)),
        }
    }

    async fn remove(&self, before: Revision) -> Result<(), PortError> {
        // A stream that was made anew has other entries there.
        self.info().await.map_err(PortError::from)?;
        let stream = self.context.get_stream_no_info(&self.name).await;
        let stream = stream.map_err(|error| unreachable(&self.name, error))?;
        let purged = stream.purge().sequence(before.0).await;
        purged.map(drop).map_err(|error| unreachable(&self.name, error))
    }
}

impl Shelf for Home {
    fn first(&self) -> Answer<'_, Result<Revision, PortError>> {
        Box::pin(async move {
            let state = self.info().await?.state;
            // A stream that nothing was ever stored in says 0.
            Ok(Revision(state.first_sequence.max(1)))
        })
    }

    fn kept(&self) -> Answer<'_, Result<Revision, PortError>> {
        Box::pin(async move {
            let Some(stream) = self.shelf_stream().await? else { return Ok(Revision::default()) };
            let (labels, _) = self.labels(&stream).await?;
            Ok(labels.last().map(|it| it.revision).unwrap_or_default())
        })
    }

    fn read(&self) -> Answer<'_, Result<Option<Checkpoint>, PortError>> {
        Box::pin(self.newest_whole())
    }

    fn keep(&self, checkpoint: Checkpoint) -> Answer<'_, Result<(), PortError>> {
        Box::pin(self.put(checkpoint))
    }

    fn purge(&self, before: Revision) -> Answer<'_, Result<(), PortError>> {
        Box::pin(self.remove(before))
    }
}

fn answered(
    read: Result<StreamMessage, async_nats::jetstream::stream::LastRawMessageError>,
    what: &str,
) -> Result<Option<StreamMessage>, PortError> {
    match read {
        Ok(message) => Ok(Some(message)),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                Ok(None)
            }
            _ => Err(unreachable(what, error)),
        },
    }
}
