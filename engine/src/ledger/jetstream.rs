//! The ledger as a JetStream stream, for any number of processes. Compare-and-append is the server's
//! `Nats-Expected-Last-Subject-Sequence`; what an unanswered append came to is settled by a fence ([`append`]).

mod append;
mod draft;
mod shelf;
mod stream;
mod tail;

use std::sync::Arc;

use async_nats::Client;
use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, AppendError, Ledger, PortError, Shelf, Tail, Write};
use jiff::Timestamp;

use super::stored::{Store, StoredTail};
use crate::nats;
use append::Appender;
pub use draft::StreamDraft;
use stream::Home;
use tail::JetStreamTail;

/// How a ledger's stream is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Copies in a NATS cluster: 1, 3 or 5. A stream that exists keeps what it has.
    pub replicas: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { replicas: 1 }
    }
}

/// A ledger in the stream `FLYBALL_LEDGER_<cluster>`. An entry's revision is its sequence; its time is the server's, never
/// before an earlier entry's.
pub struct JetStreamLedger {
    home: Home,
    appender: Appender,
    moved: Option<String>,
}

impl JetStreamLedger {
    /// Finds the cluster's ledger, or makes it when there is none.
    ///
    /// # Errors
    /// The server does not answer or is too old, the cluster's name is no DNS label, or the stream that exists is
    /// configured in a way that could lose entries: the error lists each setting.
    pub async fn connect(client: Client, cluster: &str, options: Options) -> Result<Self, PortError> {
        nats::check_cluster(cluster)?;
        let context = nats::context(client);
        nats::check_api_level(&context).await?;
        Self::at(Home::make(context, cluster, options).await?).await
    }

    /// Finds the cluster's ledger; none when there is none.
    ///
    /// # Errors
    /// As `connect`.
    pub async fn find(client: Client, cluster: &str, options: Options) -> Result<Option<Self>, PortError> {
        nats::check_cluster(cluster)?;
        let context = nats::context(client);
        nats::check_api_level(&context).await?;
        match Home::find(context, cluster, options).await? {
            Some(home) => Self::at(home).await.map(Some),
            None => Ok(None),
        }
    }

    /// Finds the cluster's ledger to be read, even where it was moved away; none when there is none.
    ///
    /// # Errors
    /// As `connect`; a copy that was not finished is not read either.
    pub async fn reading(client: Client, cluster: &str, options: Options) -> Result<Option<Self>, PortError> {
        nats::check_cluster(cluster)?;
        let context = nats::context(client);
        nats::check_api_level(&context).await?;
        match Home::find_any(context, cluster, options).await? {
            Some((home, moved)) => Ok(Some(Self { moved, ..Self::at(home).await? })),
            None => Ok(None),
        }
    }

    async fn at(home: Home) -> Result<Self, PortError> {
        let appender = Appender::new(home.clone()).await?;
        Ok(Self { home, appender, moved: None })
    }

    async fn tail(&self, after: Revision) -> Result<JetStreamTail, PortError> {
        JetStreamTail::open(self.home.clone(), after).await
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.home.name
    }

    /// When the stream was made: with its name, its identity. A stream that was removed and made again has another.
    pub fn created(&self) -> Timestamp {
        self.home.created
    }
}

impl Ledger for JetStreamLedger {
    fn append(&self, write: Write) -> Answer<'_, Result<Head, AppendError>> {
        Box::pin(self.appender.append(write))
    }

    fn follow(&self, after: Revision) -> Answer<'_, Result<Box<dyn Tail>, PortError>> {
        Box::pin(async move { Ok(Box::new(self.tail(after).await?) as Box<dyn Tail>) })
    }

    fn newest(&self) -> Answer<'_, Result<Revision, PortError>> {
        Box::pin(self.home.newest())
    }

    fn shelf(&self) -> Option<&dyn Shelf> {
        Some(&self.home)
    }

    fn identity(&self) -> Arc<str> {
        self.home.identity()
    }
}

impl Store for JetStreamLedger {
    fn stored(&self, after: Revision) -> Answer<'_, Result<Box<dyn StoredTail>, PortError>> {
        Box::pin(async move { Ok(Box::new(self.tail(after).await?) as Box<dyn StoredTail>) })
    }

    fn oldest(&self) -> Answer<'_, Result<Revision, PortError>> {
        self.home.first()
    }

    fn moved(&self) -> Option<String> {
        self.moved.clone()
    }

    fn close<'a>(&'a self, to: &'a str) -> Answer<'a, Result<Revision, PortError>> {
        Box::pin(self.home.close(to))
    }
}
