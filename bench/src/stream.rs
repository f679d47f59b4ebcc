//! The stream that all read, and the consumers on it: filled once, read anew in every round.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, Context};
use jiff::Timestamp;

use crate::load::{self, CLUSTER};

/// The stream of signals, as the engine makes it.
pub(crate) const SIGNALS: &str = "FLYBALL_SIGNALS";
/// The engine's consumer.
pub(crate) const ENGINE: &str = "flyball-bench";
/// The consumer that does nothing.
pub(crate) const LIMIT: &str = "limit";
/// Messages on their way to the stream at once.
const WINDOW: usize = 4_096;
/// How often a consumer is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Where a consumer stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Whether it was given anything.
    pub(crate) begun: bool,
    /// Messages that it has acknowledged, all of them from the first on.
    pub(crate) settled: u64,
    /// When the last acknowledgement came, by the server's clock.
    pub(crate) last: Option<Timestamp>,
}

/// Fills the stream with `count` signals.
pub(crate) async fn fill(context: &Context, count: u64) -> Result<()> {
    let config = Config {
        name: SIGNALS.to_owned(),
        subjects: vec!["flyball.signal.v1.>".to_owned()],
        storage: StorageType::File,
        max_age: Duration::from_secs(7 * 24 * 60 * 60),
        max_message_size: 1 << 20,
        duplicate_window: Duration::from_secs(600),
        ..Config::default()
    };
    context.create_stream(config).await.context("making the stream")?;
    let ended = Timestamp::now().as_second();
    let mut sent = 0;
    while sent < count {
        let upto = count.min(sent + WINDOW as u64);
        let mut stored = Vec::with_capacity(WINDOW);
        for number in sent..upto {
            let (subject, body) = load::signal(number, ended);
            stored.push(context.publish(subject, body.into()).await.context("publishing")?);
        }
        for it in stored {
            it.await.context("storing a signal")?;
        }
        sent = upto;
    }
    let stream = context.get_stream(SIGNALS).await?;
    let there = stream.cached_info().state.messages;
    ensure!(there == count, "{there} signals are in the stream, not {count}");
    Ok(())
}

/// The consumer that does nothing, made anew: the same filter as the engine's, and no limit that it could run into.
pub(crate) async fn limit(context: &Context) -> Result<PullConsumer> {
    let config = pull::Config {
        durable_name: Some(LIMIT.to_owned()),
        filter_subjects: vec![format!("flyball.signal.v1.*.{CLUSTER}.*")],
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 100_000,
        ..pull::Config::default()
    };
    context.create_consumer_on_stream(config, SIGNALS).await.context("making the limit's consumer")
}

/// Removes a consumer and, with the engine's, all that it has written.
pub(crate) async fn forget(context: &Context, consumer: &str) -> Result<()> {
    let stream = context.get_stream(SIGNALS).await?;
    // There is none before the first round.
    let _ = stream.delete_consumer(consumer).await;
    if consumer == ENGINE {
        for kept in ["LEDGER", "SNAPSHOTS"] {
            let _ = context.delete_stream(format!("FLYBALL_{kept}_{CLUSTER}")).await;
        }
    }
    Ok(())
}

/// Where a consumer stands; none while it is not there.
pub(crate) async fn standing(context: &Context, consumer: &str) -> Result<Option<Standing>> {
    let stream = context.get_stream_no_info(SIGNALS).await?;
    let Ok(info) = stream.consumer_info(consumer).await else { return Ok(None) };
    let last = info.ack_floor.last_active;
    Ok(Some(Standing {
        begun: info.delivered.consumer_sequence > 0,
        settled: if info.num_pending == 0 && info.num_ack_pending == 0 {
            info.delivered.stream_sequence
        } else {
            info.ack_floor.stream_sequence
        },
        last: last.and_then(|it| Timestamp::from_nanosecond(it.unix_timestamp_nanos()).ok()),
    }))
}

/// Waits until a consumer stands as asked for.
pub(crate) async fn until(
    context: &Context,
    consumer: &str,
    deadline: Duration,
    wanted: impl Fn(&Standing) -> bool,
) -> Result<Standing> {
    let begun = Instant::now();
    loop {
        let standing = standing(context, consumer).await?;
        if let Some(it) = standing.filter(|it| wanted(it)) {
            return Ok(it);
        }
        ensure!(begun.elapsed() < deadline, "{consumer} came no further than {standing:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A connection of the harness's.
pub(crate) async fn connect(url: &str) -> Result<Context> {
    Ok(jetstream::new(async_nats::connect(url).await.context("connecting to NATS")?))
}
