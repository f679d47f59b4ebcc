//! How soon a new process has caught up: kill -9 with 10,000 signals pending, next to a consumer that does nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::context::PublishAckFuture;
use futures::StreamExt;

use super::{consumer, settled, windows, workloads_of};
use crate::rig::{Replica, Rig, SOON, rca};

/// Signals that are pending at the kill.
const PENDING: u64 = 10_000;
/// Workloads that they are about.
const WORKLOADS: u32 = 20;
/// What the bar allows beside the consumer that does nothing.
const ALLOWED: Duration = Duration::from_secs(2);
/// Messages asked for at once: as the engine does.
const BATCH: usize = 512;
/// Signals published before their answers are awaited.
const HANDFUL: usize = 1_000;

/// Runs so many rounds and says whether each kept the bar.
pub(super) fn measure(rig: &mut Rig, rounds: u32) -> Result<bool> {
    let names = workloads_of(rig, WORKLOADS)?;
    windows::install(rig);
    let engine = rig.add("one");
    rig.start_replica("one");
    // Every workload is helped once and rests then: what follows is denied, as most signals are in life.
    for name in &names {
        rig.rca(name, "first", "memory_leak");
    }
    settled(rig)?;
    println!("round  caught up  does nothing  limit (2 s + 3x)");
    let mut kept = true;
    for round in 1..=rounds {
        let idle = does_nothing(rig, &names, round)?;
        let took = caught_up(rig, &engine, &names, round)?;
        let limit = ALLOWED + idle * 3;
        kept &= took <= limit;
        let verdict = if took <= limit { "kept" } else { "MISSED" };
        println!(
            "{round:>5}  {:>7.2} s  {:>10.2} s  {:>7.2} s  {verdict}",
            took.as_secs_f64(),
            idle.as_secs_f64(),
            limit.as_secs_f64()
        );
    }
    Ok(kept)
}

/// Publishes while the engine stands still, kills it, and waits for its successor to settle the last one.
fn caught_up(rig: &Rig, engine: &Replica, names: &[String], round: u32) -> Result<Duration> {
    let before = rig.runtime.block_on(consumer(rig))?;
    ensure!(before == (0, 0), "{before:?} signals are left of the round before");
    engine.freeze();
    let last = publish(rig, &rig.name, names, round)?;
    let (waiting, given) = rig.runtime.block_on(consumer(rig))?;
    ensure!(waiting + given == PENDING, "{waiting} and {given} are pending");
    let start = Instant::now();
    engine.kill();
    engine.launch();
    rig.runtime.block_on(async {
        let context = rig.jetstream().await;
        let stream = context.get_stream("FLYBALL_SIGNALS").await.context("the stream of signals")?;
        let name = format!("flyball-{}", rig.name);
        let mut consumer: PullConsumer =
            stream.get_consumer(&name).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        drained(&mut consumer, last).await
    })?;
    Ok(start.elapsed())
}

/// A durable consumer of the same shape on the same stream that acknowledges what it is given.
fn does_nothing(rig: &Rig, names: &[String], round: u32) -> Result<Duration> {
    // A cluster of this name has no engine: nobody else reads these.
    let cluster = format!("idle-{}", rig.name);
    let last = publish(rig, &cluster, names, round)?;
    rig.runtime.block_on(async {
        let start = Instant::now();
        let context = rig.jetstream().await;
        let config = pull::Config {
            durable_name: Some(cluster.clone()),
            filter_subject: format!("flyball.signal.v1.*.{cluster}.*"),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 20_000,
            ..pull::Config::default()
        };
        let mut consumer: PullConsumer = context.create_consumer_on_stream(config, "FLYBALL_SIGNALS").await?;
        let mut messages = consumer.stream().max_messages_per_batch(BATCH).messages().await?;
        for _ in 0..PENDING {
            let message = messages.next().await.context("the messages ended")??;
            message.ack().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        }
        drained(&mut consumer, last).await?;
        Ok(start.elapsed())
    })
}

/// Waits until the consumer has nothing pending and nothing unacknowledged, up to this sequence.
async fn drained(consumer: &mut PullConsumer, last: u64) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let info = consumer.info().await?;
        if info.num_pending == 0 && info.num_ack_pending == 0 && info.delivered.stream_sequence >= last {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{} pending, {} unacknowledged", info.num_pending, info.num_ack_pending);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Publishes [`PENDING`] signals and returns the sequence of the last.
fn publish(rig: &Rig, cluster: &str, names: &[String], round: u32) -> Result<u64> {
    let subject = format!("flyball.signal.v1.rca.{cluster}.{}", rig.namespace);
    rig.runtime.block_on(async {
        let context = rig.jetstream().await;
        let (mut answers, mut last) = (Vec::new(), 0);
        for (number, name) in (0..PENDING).zip(names.iter().cycle()) {
            // The client allows some thousand answers to be awaited, and then waits for room.
            if answers.len() == HANDFUL {
                for answer in answers.drain(..) {
                    last = answer_of(answer).await?;
                }
            }
            let body = rca(name, &format!("r{round}-{number}"), "memory_leak").to_string();
            answers.push(context.publish(subject.clone(), body.into()).await?);
        }
        for answer in answers {
            last = answer_of(answer).await?;
        }
        Ok(last)
    })
}

async fn answer_of(answer: PublishAckFuture) -> Result<u64> {
    Ok(answer.await?.sequence)
}
