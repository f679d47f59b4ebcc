//! A stream that is being filled with another ledger's entries. Each is sent with the sequence that it must follow, so that
//! it lands at its own place or not at all, however often it is sent.

use std::collections::HashMap;
use std::sync::Arc;

use async_nats::Client;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, Info};
use backon::Retryable;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, Clock, PortError, Tail};
use flyball_core::record::Entry;

use super::append::WRITER;
use super::stream::{Home, UNFINISHED, wanted};
use super::tail::{AT, JetStreamTail};
use super::{JetStreamLedger, Options};
use crate::ledger::stored::{Draft, Store, Stored};
use crate::nats;

/// Entries on their way at once: enough to hide the server's answer behind the next ones.
const WINDOW: usize = 256;
/// Attempts at one window before the copy is given up: with the pauses between them, half a minute.
const ATTEMPTS: usize = 20;

/// A stream that nobody starts on.
pub struct StreamDraft {
    home: Home,
    origin: String,
    reached: Revision,
}

fn unreachable(name: &str, error: impl std::fmt::Display) -> PortError {
    PortError::Unavailable(format!("stream {name}: {error}"))
}

impl StreamDraft {
    /// Makes the stream so that its first entry will be `first`, or goes on with one that is an unfinished copy of the same
    /// `origin`.
    ///
    /// # Errors
    /// There is another stream of this name, or it cannot be made.
    pub async fn begin(
        client: Client,
        cluster: &str,
        options: Options,
        origin: &str,
        first: Revision,
    ) -> Result<Self, PortError> {
        nats::check_cluster(cluster)?;
        let context = nats::context(client);
        nats::check_api_level(&context).await?;
        let wanted = wanted(cluster, options);
        let name = wanted.name.clone();
        let marked = Config {
            metadata: HashMap::from([(UNFINISHED.to_owned(), origin.to_owned())]),
            first_sequence: Some(first.0).filter(|it| *it > 1),
            ..wanted.clone()
        };
        let info = nats::ensure_stream(&context, marked).await?;
        match info.config.metadata.get(UNFINISHED) {
            Some(same) if same == origin => {}
            Some(other) => {
                let what =
                    format!("stream {name} is an unfinished {other}: run that command again, or remove the stream");
                return Err(PortError::Unusable(what));
            }
            None => {
                return Err(PortError::Unusable(format!(
                    "there is a stream {name} already: only one that is not there can be filled"
                )));
            }
        }
        let home = Home::checked(context, cluster, &wanted, &plain(&info))?;
        let reached = if info.state.messages == 0 { Revision::default() } else { Revision(info.state.last_sequence) };
        Ok(Self { home, origin: origin.to_owned(), reached })
    }

    /// Sends what follows the stream's last entry. An error says why not all of them are there.
    async fn send(&self, entries: &[Stored]) -> Result<(), PublishError> {
        let mut answers = Vec::with_capacity(entries.len());
        for stored in entries {
            let sequence = stored.entry.revision.0;
            let message = PublishMessage::build()
                .payload(stored.body.clone())
                .expected_stream(&self.home.name)
                .expected_last_sequence(sequence - 1);
            let beside = stored.beside();
            let message = beside.at.iter().fold(message, |it, at| it.header(AT, at.to_string()));
            let message = beside.writer.iter().fold(message, |it, writer| it.header(WRITER, &**writer));
            answers.push(self.home.context.send_publish(self.home.subject(stored.entry.topic), message).await?);
        }
        for answer in answers {
            answer.await?;
        }
        Ok(())
    }

    /// Sends until the stream says that it has all of them; what it has already it refuses, and it is not sent again.
    async fn fill(&self, entries: &[Stored]) -> Result<(), PortError> {
        let Some(last) = entries.last().map(|it| it.entry.revision) else { return Ok(()) };
        let attempt = || async {
            let newest = self.home.newest().await?;
            let from = entries.partition_point(|it| it.entry.revision <= newest);
            let sent = self.send(&entries[from..]).await;
            match sent {
                Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                    Err(PortError::Unusable(format!("stream {}: an entry is too large: {error}", self.home.name)))
                }
                Err(error) if self.home.newest().await? < last => Err(unreachable(&self.home.name, error)),
                _ => Ok(()),
            }
        };
        let again = nats::patiently().with_max_times(ATTEMPTS);
        attempt.retry(again).when(|error| matches!(error, PortError::Unavailable(_))).await
    }

    async fn unmark(&self) -> Result<(), PortError> {
        let found = nats::find_stream(&self.home.context, &self.home.name).await?;
        let Some(info) = found.filter(|it| nats::timestamp(it.created) == self.home.created) else {
            return Err(PortError::Unusable(format!("stream {} is not the one that was filled", self.home.name)));
        };
        if info.state.last_sequence < self.reached.0 {
            return Err(PortError::Unusable(format!(
                "stream {} ends at entry {}, and not at entry {}",
                self.home.name, info.state.last_sequence, self.reached
            )));
        }
        if info.config.metadata.get(UNFINISHED) != Some(&self.origin) {
            return Ok(());
        }
        let updated = self.home.context.update_stream(plain(&info).config).await;
        updated.map(drop).map_err(|error| unreachable(&self.home.name, error))
    }
}

/// The stream as it will be when it is finished.
fn plain(info: &Info) -> Info {
    let mut plain = info.clone();
    plain.config.metadata.remove(UNFINISHED);
    plain
}

impl Draft for StreamDraft {
    fn reached(&self) -> Revision {
        self.reached
    }

    fn entry(&self, revision: Revision) -> Answer<'_, Result<Entry, PortError>> {
        Box::pin(async move {
            let before = Revision(revision.0.saturating_sub(1));
            let mut tail = JetStreamTail::open(self.home.clone(), before).await?;
            Tail::next(&mut tail).await
        })
    }

    fn put(&mut self, entries: Vec<Stored>) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async move {
            for window in entries.chunks(WINDOW) {
                self.fill(window).await?;
                self.reached = window.last().map_or(self.reached, |it| it.entry.revision);
            }
            Ok(())
        })
    }

    fn ledger(&self, _: Arc<dyn Clock>) -> Answer<'_, Result<Arc<dyn Store>, PortError>> {
        Box::pin(async { Ok(Arc::new(JetStreamLedger::at(self.home.clone()).await?) as Arc<dyn Store>) })
    }

    fn finish(&self) -> Answer<'_, Result<(), PortError>> {
        Box::pin(self.unmark())
    }

    fn identity(&self) -> Arc<str> {
        self.home.identity()
    }

    fn place(&self) -> String {
        format!("stream {}", self.home.identity())
    }
}
