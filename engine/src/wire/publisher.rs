//! Signals that came over HTTP take the way of all others: onto the stream.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context};
use flyball_core::ports::{Answer, Message};
use flyball_signals::{Kind, Subject};

use crate::publish::{Publish, PublishError};

/// How long the stream may take to confirm: an HTTP caller waits for it.
const CONFIRM: Duration = Duration::from_secs(5);

/// Publishes on `flyball.signal.v1.<kind>.<cluster>.<namespace>`.
pub struct NatsPublisher {
    context: Context,
    cluster: Arc<str>,
    namespace: Arc<str>,
}

impl NatsPublisher {
    /// A publisher for one cluster; `namespace` is where signals belong that name none.
    pub fn new(client: async_nats::Client, cluster: Arc<str>, namespace: Arc<str>) -> Self {
        let mut context = jetstream::new(client);
        context.set_timeout(CONFIRM);
        Self { context, cluster, namespace }
    }

    fn subject(&self, message: &Message) -> Result<String, PublishError> {
        let kind = message.kind.as_deref().and_then(Kind::from_token);
        let parsed = flyball_signals::parse(&flyball_signals::Message {
            subject: None,
            kind,
            cluster: Some(&self.cluster),
            namespace: Some(&self.namespace),
            headers: &message.headers,
            body: &message.body,
        });
        let parsed = parsed.map_err(|refusal| PublishError::Unavailable(refusal.to_string()))?;
        let namespace = parsed.namespace.as_deref().unwrap_or(&self.namespace);
        let subject = Subject::new(parsed.body.kind(), &self.cluster, namespace);
        subject.map(|it| it.to_string()).map_err(|refusal| PublishError::Unavailable(refusal.to_string()))
    }
}

impl Publish for NatsPublisher {
    fn publish(&self, message: Message) -> Answer<'_, Result<u64, PublishError>> {
        Box::pin(async move {
            let subject = self.subject(&message)?;
            let mut headers = HeaderMap::new();
            for (name, value) in &message.headers {
                headers.append(name.as_str(), value.as_str());
            }
            let unavailable = |error: &dyn std::fmt::Display| PublishError::Unavailable(error.to_string());
            let sent = self.context.publish_with_headers(subject, headers, message.body.into());
            let ack = sent.await.map_err(|error| unavailable(&error))?.await.map_err(|error| unavailable(&error))?;
            Ok(ack.sequence)
        })
    }

    fn depth(&self) -> u64 {
        0
    }
}
