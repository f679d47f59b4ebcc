//! Beats over NATS: heard at once by all that listen, and the last of each replica kept in a stream, so that people see who
//! has been there and a beat is confirmed only by a server that can store.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use async_nats::{Client, Subscriber};
use flyball_core::ports::{Answer, Beat, PortError, Replicas};
use futures::StreamExt;
use tokio::sync::Mutex;

use crate::nats;

/// Beats of the replicas of one cluster.
pub struct JetStreamReplicas {
    context: Context,
    prefix: String,
    heard: Mutex<Subscriber>,
}

impl JetStreamReplicas {
    /// Listens, and makes the stream `FLYBALL_REPLICAS_<cluster>` when there is none.
    ///
    /// # Errors
    /// The server does not answer, or the stream cannot be made.
    pub async fn connect(client: Client, cluster: &str) -> Result<Self, PortError> {
        nats::check_cluster(cluster)?;
        let prefix = format!("flyball.replica.{cluster}.");
        let subscriber = client.subscribe(format!("{prefix}>")).await;
        let subscriber = subscriber.map_err(|error| PortError::Unavailable(error.to_string()))?;
        let context = nats::context(client);
        let stream = Config {
            name: format!("FLYBALL_REPLICAS_{cluster}"),
            description: Some("The last beat of each Flyball replica".to_owned()),
            subjects: vec![format!("{prefix}>")],
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_messages_per_subject: 1,
            ..Config::default()
        };
        nats::ensure_stream(&context, stream).await?;
        Ok(Self { context, prefix, heard: Mutex::new(subscriber) })
    }

    async fn keep(&self, beat: Beat) -> Result<(), PortError> {
        let unavailable =
            |error: &dyn std::fmt::Display| PortError::Unavailable(format!("a heartbeat is not kept: {error}"));
        let body = serde_json::to_vec(&beat).map_err(|error| unavailable(&error))?;
        let sent = self.context.publish(format!("{}{}", self.prefix, beat.replica), body.into()).await;
        sent.map_err(|error| unavailable(&error))?.await.map_err(|error| unavailable(&error)).map(drop)
    }

    async fn next(&self) -> Beat {
        let mut heard = self.heard.lock().await;
        loop {
            match heard.next().await {
                // What is no beat is somebody else's mistake, and nobody's sign of life.
                Some(message) => {
                    if let Ok(beat) = serde_json::from_slice(&message.payload) {
                        return beat;
                    }
                }
                // The client is being closed: nothing will be heard any more.
                None => std::future::pending::<()>().await,
            }
        }
    }
}

impl Replicas for JetStreamReplicas {
    fn beat(&self, beat: Beat) -> Answer<'_, Result<(), PortError>> {
        Box::pin(self.keep(beat))
    }

    fn hear(&self) -> Answer<'_, Beat> {
        Box::pin(self.next())
    }
}
