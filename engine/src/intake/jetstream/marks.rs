//! The marks of messages on trial, in a stream of their own, made at the first suspect: one subject for each message, one
//! entry for each trial.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType, Stream};
use flyball_core::ports::{Answer, PortError};
use futures::TryStreamExt;

use crate::intake::trial::Marks;
use crate::nats;

/// The stream of the marks.
const STREAM: &str = "FLYBALL_SUSPECTS";
/// Marks of messages that their stream has forgotten go with it.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The marks.
pub(super) struct JetStreamMarks(pub(super) Context);

/// The subject of a message's marks.
pub(super) fn name(cluster: &str, stream: &str, sequence: u64) -> String {
    format!("flyball.suspect.{cluster}.{stream}.{sequence}")
}

impl JetStreamMarks {
    async fn stream(&self) -> Result<Stream, PortError> {
        self.0.get_stream(STREAM).await.map_err(|error| unavailable(&error))
    }

    async fn made(&self) -> Result<Stream, PortError> {
        let config = Config {
            name: STREAM.to_owned(),
            description: Some("Signals that Flyball reads alone, since they came too often".to_owned()),
            subjects: vec!["flyball.suspect.>".to_owned()],
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_age: KEPT,
            ..Config::default()
        };
        nats::ensure_stream(&self.0, config).await?;
        self.stream().await
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> PortError {
    PortError::Unavailable(error.to_string())
}

impl Marks for JetStreamMarks {
    fn count<'a>(&'a self, name: &'a str) -> Answer<'a, Result<usize, PortError>> {
        Box::pin(async move {
            let stream = self.made().await?;
            let marks = stream.info_builder().subjects(name).fetch().await.map_err(|error| unavailable(&error))?;
            let marks: Vec<(String, usize)> = marks.try_collect().await.map_err(|error| unavailable(&error))?;
            Ok(marks.iter().map(|(_, count)| count).sum())
        })
    }

    fn put<'a>(&'a self, name: &'a str) -> Answer<'a, Result<u64, PortError>> {
        Box::pin(async move {
            let sent = self.0.publish(name.to_owned(), "".into()).await.map_err(|error| unavailable(&error))?;
            sent.await.map(|stored| stored.sequence).map_err(|error| unavailable(&error))
        })
    }

    fn take_back(&self, number: u64) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async move {
            let stream = self.stream().await?;
            stream.delete_message(number).await.map(drop).map_err(|error| unavailable(&error))
        })
    }

    fn clear<'a>(&'a self, name: &'a str) -> Answer<'a, Result<(), PortError>> {
        Box::pin(async move {
            let stream = self.stream().await?;
            stream.purge().filter(name).await.map(drop).map_err(|error| unavailable(&error))
        })
    }
}
