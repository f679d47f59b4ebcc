//! Rows 7 to 16: NATS dies, stands still, loses its memory or its disk; the way to it fails.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use flyball_core::workload::Workload as Target;
use flyball_devcluster::{Cluster, NatsServer};

use super::bed::{acted, each_once, leak, once, patiently, prepared, slow, slow_ones};
use super::{Row, quick, slow as slow_row};
use crate::rig::Rig;

pub(super) const ROWS: &[Row] = &[
    quick(7, "nats-killed-in-mid-flow", "nothing acknowledged is lost; one effect each", killed_in_flow),
    quick(7, "nats-killed-while-admitting", "one effect each", killed_while_admitting),
    quick(7, "nats-killed-while-idle", "it goes on by itself", killed_idle),
    quick(7, "engine-ends-while-nats-is-away", "within its grace; what it could not tell comes again", ends_without),
    quick(8, "nats-stopped-5-s", "no effect meanwhile; one each after", || stopped(5)),
    slow_row(8, "nats-stopped-30-s", "no effect meanwhile; one each after", || stopped(30)),
    slow_row(8, "nats-stopped-120-s", "no effect meanwhile; one each after", || stopped(120)),
    quick(9, "nats-restarted-while-fetching", "every signal accounted for; one effect each", restarted_while_fetching),
    slow_row(13, "nats-disk-full", "not admitted, no effect, not ready; goes on with room", disk_full),
];

fn on(row: &str, nats: &NatsServer) -> Rig {
    let mut rig = prepared(Rig::on(row, Cluster::shared(), &nats.url()));
    rig.start();
    rig
}

fn server() -> NatsServer {
    NatsServer::start().expect("a nats-server")
}

fn killed_in_flow() {
    let nats = server();
    let rig = on("f07", &nats);
    let targets = slow_ones(&rig, 3);
    leak(&rig, &targets);
    rig.eventually("the first effect", || {
        ensure!(targets.iter().any(|it| !rig.effects(it).is_empty()), "not yet");
        Ok(())
    });
    nats.restart().expect("killed and restarted");
    each_once(&rig, &targets);
}

fn killed_while_admitting() {
    let nats = server();
    let rig = on("f07a", &nats);
    let targets = slow_ones(&rig, 6);
    for (number, target) in targets.iter().enumerate() {
        rig.rca(&target.name, "w1", "memory_leak");
        // At once: somewhere between the delivery and the effect.
        if number % 2 == 1 {
            nats.restart().expect("killed and restarted");
        }
    }
    each_once(&rig, &targets);
}

fn killed_idle() {
    let nats = server();
    let rig = on("f07i", &nats);
    let cart = slow(&rig, "cart");
    nats.restart().expect("killed and restarted");
    rig.rca("cart", "w1", "memory_leak");
    once(&rig, &cart);
}

fn ends_without() {
    let nats = server();
    let mut rig = on("f07e", &nats);
    let cart = slow(&rig, "cart");
    rig.rca("cart", "w1", "memory_leak");
    once(&rig, &cart);
    nats.kill().expect("killed");
    rig.terminate();
    let said = rig.replica("one").said();
    assert!(!said.contains("Stopping took too long"), "{said}");
}

/// What was sent before the stop may still land; nothing is sent that is not on the ledger.
fn stopped(seconds: u64) {
    let nats = server();
    let rig = on(&format!("f08-{seconds}"), &nats);
    let targets = slow_ones(&rig, 4);
    leak(&rig, &targets);
    rig.eventually("the first effect", || {
        ensure!(targets.iter().any(|it| !rig.effects(it).is_empty()), "not yet");
        Ok(())
    });
    nats.stop().expect("stopped");
    let effects = |targets: &[Target]| targets.iter().map(|it| rig.effects(it).len()).sum::<usize>();
    // What had its entry before the stop is on its way for some milliseconds.
    let start = Instant::now();
    let mut settled = effects(&targets);
    while start.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(250));
        let now = effects(&targets);
        assert!(now == settled || start.elapsed() < Duration::from_secs(2), "an effect while the ledger stood still");
        settled = now;
    }
    nats.cont().expect("it goes on");
    each_once(&rig, &targets);
}

fn restarted_while_fetching() {
    let nats = server();
    let rig = on("f09", &nats);
    let targets = slow_ones(&rig, 3);
    let mut sequences = Vec::new();
    for round in 0..3 {
        for window in 0..50 {
            for target in &targets {
                sequences.push(rig.rca(&target.name, &format!("w{round}-{window}"), "memory_leak"));
            }
        }
        nats.restart().expect("killed and restarted");
    }
    each_once(&rig, &targets);
    super::bed::accounted(&rig, &sequences);
}

/// The store lies on a small disk of its own, which is then filled by somebody else.
fn disk_full() {
    let nats = server();
    nats.kill().expect("killed");
    let disk = Disk::over(&nats.store());
    nats.restart().expect("restarted");
    let rig = on("f13", &nats);
    let targets = slow_ones(&rig, 2);
    rig.rca("app-0", "w1", "memory_leak");
    acted(&rig, &targets[0]);
    disk.fill();
    // With luck the signal itself is stored; the admission is larger, and after some of them nothing is.
    let stored = rig.runtime.block_on(async {
        let context = rig.jetstream().await;
        let subject = format!("flyball.signal.v1.rca.{}.{}", rig.name, rig.namespace);
        let body = crate::rig::rca("app-1", "w1", "memory_leak").to_string();
        let mut stored = false;
        for _ in 0..200 {
            let Ok(sent) = context.publish(subject.clone(), body.clone().into()).await else { break };
            let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(3), sent).await else { break };
            stored = true;
        }
        stored
    });
    patiently(&rig, "the engine to say that it is not ready", || {
        ensure!(rig.get("/readyz").is_err(), "it is");
        Ok(())
    });
    let effects: usize = targets.iter().map(|it| rig.effects(it).len()).sum();
    disk.empty();
    nats.restart().expect("restarted");
    if !stored {
        rig.rca("app-1", "w2", "memory_leak");
    }
    patiently(&rig, "both are helped", || {
        let ended = |it: &Target| rig.read_entries().is_ok() && !rig.effects(it).is_empty();
        ensure!(targets.iter().all(ended), "{effects} effects while the disk was full");
        Ok(())
    });
    each_once(&rig, &targets);
}

/// A file system of 6 MB, mounted over a folder.
struct Disk(std::path::PathBuf);

impl Disk {
    fn over(folder: &std::path::Path) -> Self {
        let kept = folder.with_extension("kept");
        std::fs::rename(folder, &kept).expect("the store moves aside");
        std::fs::create_dir(folder).expect("a place to mount on");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(folder).status();
        assert!(mounted.expect("mount runs").success(), "a small file system (this row needs the right to mount one)");
        let copied = Command::new("cp").arg("-a").arg(kept.join(".")).arg(folder).status();
        assert!(copied.expect("cp runs").success());
        Self(folder.to_owned())
    }

    fn fill(&self) {
        let zeros = vec![0; 64 * 1024];
        let mut ballast = std::fs::File::create(self.0.join("ballast")).expect("a file");
        while std::io::Write::write_all(&mut ballast, &zeros).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).expect("the ballast goes");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The server may still hold it: lazily, it goes with its last user.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
