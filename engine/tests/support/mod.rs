//! What the tests against real servers share.
#![allow(dead_code, reason = "each test crate uses its part")]

pub(crate) mod ledger;
pub(crate) mod proxy;

use std::future::Future;
use std::time::Duration;

use flyball_devcluster::NatsServer;
use tokio::time::{Instant, sleep};

/// Longer than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until the answer is there.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        sleep(PAUSE).await;
    }
}

/// A server of the test's own; none where none can run, which has been said.
pub(crate) fn server() -> Option<NatsServer> {
    flyball_devcluster::can_run().then(|| NatsServer::start().unwrap())
}

/// A connection to it.
pub(crate) async fn client(server: &NatsServer) -> async_nats::Client {
    flyball::nats::connect(&server.url(), "flyball-test").await.unwrap()
}
