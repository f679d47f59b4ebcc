//! Signals, published as any detector would publish them.

use std::path::Path;
use std::time::Duration;

use async_nats::ConnectOptions;
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
