//! Signals, published as any detector would publish them.

use std::path::Path;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy};
use async_nats::jetstream::{self, Context};

use super::Trouble;

/// How long to wait for a server, and for the confirmation that a signal is durable.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the bus.
pub(super) struct Bus {
    context: Context,
    address: String,
}

impl Bus {
    pub(super) async fn connect(url: &str, credentials: Option<&Path>) -> Result<Self, Trouble> {
        let address = masked(url);
        let unreachable = |detail: String| Trouble::Unreachable { address: address.clone(), detail };
        let options = ConnectOptions::new().name("flyball signal send").connection_timeout(PATIENCE);
        let options = match credentials {
            None => options,
            Some(file) => options
                .credentials_file(file)
                .await
                .map_err(|error| Trouble::Unusable(format!("reading {}: {error}", file.display())))?,
        };
        let servers: Vec<&str> = url.split(',').collect();
        let client = options.connect(servers).await.map_err(|error| unreachable(Trouble::chain(&error)))?;
        let mut context = jetstream::new(client);
        context.set_timeout(PATIENCE);
        Ok(Self { context, address })
    }

    /// The messages of a stream since a moment, in their order, and how many there are.
    pub(super) async fn recorded(
        &self,
        stream: &str,
        subject: Option<String>,
        since: jiff::Timestamp,
    ) -> Result<(u64, Ordered), Trouble> {
        let found =
            self.context.get_stream(stream).await.map_err(|error| self.lost(&format!("stream {stream}"), &error))?;
        let start = DeliverPolicy::ByStartTime { start_time: crate::nats::date(since) };
        let filter_subject = subject.unwrap_or_default();
        let config = OrderedConfig { filter_subject, deliver_policy: start, ..OrderedConfig::default() };
        let mut consumer: Consumer<OrderedConfig> = found
            .create_consumer(config)
            .await
            .map_err(|error| self.lost(&format!("reading stream {stream}"), &error))?;
        let pending = consumer.info().await.map_err(|error| self.lost(stream, &error))?.num_pending;
        let messages = consumer.messages().await.map_err(|error| self.lost(stream, &error))?;
        Ok((pending, messages))
    }

    /// What was being done when the bus did not answer.
    pub(super) fn lost(&self, what: &str, error: &dyn std::error::Error) -> Trouble {
        Trouble::Unreachable { address: self.address.clone(), detail: format!("{what}: {}", Trouble::chain(error)) }
    }

    /// Returns the sequence once the signal is durable, and whether the stream had it already.
    pub(super) async fn publish(&self, subject: &str, body: Vec<u8>) -> Result<(u64, bool), Trouble> {
        let lost = |error: &dyn std::error::Error| Trouble::Unreachable {
            address: self.address.clone(),
            detail: format!("publishing on {subject}: {}", Trouble::chain(error)),
        };
        let confirmed = self.context.publish(subject.to_owned(), body.into()).await.map_err(|error| lost(&error))?;
        let confirmation = confirmed.await.map_err(|error| lost(&error))?;
        Ok((confirmation.sequence, confirmation.duplicate))
    }
}

/// The address without what lets us in.
fn masked(url: &str) -> String {
    let one = |server: &str| match (server.split_once("://"), server.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
        (None, Some((_, host))) => format!("***@{host}"),
        (_, None) => server.to_owned(),
    };
    url.split(',').map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://ana:p@ss@a:4222,tls://token@b", "nats://***@a:4222,tls://***@b"),
            ("ana:secret@a", "***@a"),
        ] {
            assert_eq!(super::masked(url), shown);
        }
    }
}
