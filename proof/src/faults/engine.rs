//! Rows 1 to 4: the engine itself dies, or stands still.

use std::time::Duration;

use anyhow::ensure;

use super::bed::{accounted, acted, each_once, once, prepared, ready, slow, slow_ones};
use super::{Row, quick, slow as slow_row};
use crate::rig::{Rig, shared_nats};
use crate::soak;

pub(super) const ROWS: &[Row] = &[
    quick(1, "engine-killed-after-the-record", "taken up, one effect; every other point: cargo xtask crash", killed),
    quick(1, "engine-killed-in-mid-rollout", "verified by the next process, no second effect", killed_later),
    slow_row(2, "engine-killed-every-50-to-500-ms", "nothing lost, doubled or breached; all is closed after", storm),
    quick(
        4,
        "engine-stopped-with-signals-unacknowledged",
        "another decides; late acknowledgements do no harm",
        stopped,
    ),
];

fn killed() {
    let mut rig = ready("f01");
    let cart = slow(&rig, "cart");
    rig.rca("cart", "w1", "memory_leak");
    rig.eventually("it is recorded", || {
        ensure!(rig.history().intents().count() == 1, "not yet");
        Ok(())
    });
    rig.kill();
    rig.start();
    once(&rig, &cart);
}

fn killed_later() {
    let mut rig = ready("f01b");
    let cart = slow(&rig, "cart");
    rig.rca("cart", "w1", "memory_leak");
    acted(&rig, &cart);
    rig.kill();
    rig.start();
    once(&rig, &cart);
}

fn storm() {
    let nats = flyball_devcluster::NatsServer::start().expect("a nats-server");
    let mut rig = Rig::on("f02", flyball_devcluster::Cluster::shared(), &nats.url());
    assert!(soak::storm_of(&mut rig, Duration::from_secs(40), 275).expect("a soak"), "see above");
}

/// The first replica is frozen before the signals come, so that they lie in its socket; the second gets them when a second
/// has passed. Thawed, the first one decides them as well.
fn stopped() {
    let mut rig = prepared(Rig::on("f04", flyball_devcluster::Cluster::shared(), &shared_nats().url()));
    let (first, _second) = (rig.add("first"), rig.add("second"));
    rig.start_replica("first");
    let targets = slow_ones(&rig, 3);
    first.freeze();
    let sequences: Vec<u64> = targets.iter().map(|it| rig.rca(&it.name, "w1", "memory_leak")).collect();
    rig.eventually("the frozen one has them", || {
        let (pending, unsettled) = rig.runtime.block_on(soak::consumer(&rig))?;
        ensure!(pending == 0 && unsettled == 3, "{pending} pending, {unsettled} delivered");
        Ok(())
    });
    rig.start_replica("second");
    for target in &targets {
        acted(&rig, target);
    }
    first.thaw();
    each_once(&rig, &targets);
    rig.eventually("all are acknowledged", || {
        let left = rig.runtime.block_on(soak::consumer(&rig))?;
        ensure!(left == (0, 0), "{left:?}");
        Ok(())
    });
    accounted(&rig, &sequences);
}
