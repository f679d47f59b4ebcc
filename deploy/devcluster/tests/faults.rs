//! What a cluster of one's own is for: hurting it. And what must hold whatever happens: nothing is left behind.
#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use flyball_devcluster::workloads::{namespace, wait_ready};
use flyball_devcluster::{Cluster, NatsServer, Options, Part, User, Workload, can_run, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Tells a copy of this test binary which role it plays.
const ROLE: &str = "FLYBALL_FAULTS_ROLE";

/// Starts this test binary once more, for one of the tests below that are roles.
fn play(role: &str) -> Command {
    let mut copy = Command::new(env::current_exe().unwrap());
    copy.args(["--exact", role, "--nocapture"]).env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped());
    copy
}

fn plays(role: &str) -> bool {
    env::var(ROLE).is_ok_and(|played| played == role)
}

#[test]
fn parts_die_and_come_back() {
    if !can_run() {
        return;
    }
    let options = Options { nodes: 1, users: vec![User::new("visitor", &[])] };
    let cluster = Cluster::start(&options).unwrap();
    let api = cluster.api();
    api.create(&namespace("shop")).unwrap();
    let cart = Workload::new("shop", "cart").replicas(2);
    api.create(&cart.deployment()).unwrap();
    wait_ready(api, &cart.path("deployments"), SOON).unwrap();

    for part in [Part::ApiServer, Part::Etcd] {
        cluster.kill(part).unwrap();
        assert!(cluster.server(part).unwrap().pid().is_none());
        cluster.restart(part).unwrap();
        assert_eq!(api.get(&cart.path("deployments")).unwrap().status, 200, "after {part} came back");
    }
    assert_eq!(cluster.api_for("visitor").unwrap().get("/api/v1/nodes").unwrap().status, 403);
    assert!(cluster.kubeconfig_for("visitor").unwrap().is_file());
    assert!(cluster.kubeconfig_for("nobody").is_err());

    cluster.stop(Part::Scheduler).unwrap();
    let late = Workload::new("shop", "late");
    api.create(&late.deployment()).unwrap();
    assert!(wait_ready(api, &late.path("deployments"), Duration::from_secs(1)).is_err(), "nobody schedules");
    cluster.cont(Part::Scheduler).unwrap();
    wait_ready(api, &late.path("deployments"), SOON).unwrap();

    for part in [Part::ControllerManager, Part::Scheduler, Part::Kwok] {
        cluster.kill(part).unwrap();
        cluster.restart(part).unwrap();
    }
    let new = Workload::new("shop", "new");
    api.create(&new.deployment()).unwrap();
    wait_ready(api, &new.path("deployments"), SOON).unwrap();
}

#[test]
fn another_process_may_use_a_cluster_but_not_hurt_it() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::shared();
    let guest = Cluster::attach(cluster.folder()).unwrap();
    assert_eq!(guest.api().get("/api/v1/nodes").unwrap().status, 200);
    assert!(guest.kill(Part::ApiServer).is_err());
}

#[test]
fn dropping_leaves_nothing() {
    if !can_run() {
        return;
    }
    let nats = NatsServer::start().unwrap();
    let (pid, store) = (nats.server().pid().unwrap(), nats.store());
    assert!(store.is_dir() && runs(pid));
    drop(nats);
    assert!(!runs(pid) && !store.exists());
}

/// Whether the process exists, not counting one that is dead and only waits to be collected.
fn runs(pid: u32) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

/// A role: holds servers until it is ended from outside.
#[test]
fn holds_servers() {
    if !plays("holds_servers") {
        return;
    }
    let nats = NatsServer::start().unwrap();
    let cluster = Cluster::start(&Options { nodes: 1, users: Vec::new() }).unwrap();
    let pids = Part::ALL.map(|part| cluster.server(part).unwrap().pid().unwrap());
    let pids: Vec<String> = pids.iter().chain(&[nats.server().pid().unwrap()]).map(u32::to_string).collect();
    println!("\nholding {} in {}", pids.join(","), cluster.folder().display());
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn a_killed_process_leaves_nothing() {
    if !can_run() {
        return;
    }
    let mut holder = play("holds_servers").spawn().unwrap();
    let (pids, folder) = held(&mut holder);
    assert_eq!(pids.len(), 6);
    assert!(pids.iter().all(|pid| runs(*pid)) && Path::new(&folder).is_dir());
    holder.kill().unwrap(); // SIGKILL: no destructor runs
    holder.wait().unwrap();
    let gone = wait_until("everything to be gone", SOON, || {
        let left: Vec<_> = pids.iter().filter(|pid| runs(**pid)).collect();
        ensure!(left.is_empty(), "{left:?} are left");
        ensure!(!Path::new(&folder).exists(), "{folder} is left");
        Ok(())
    });
    gone.unwrap();
}

/// The pids and the folder that a holder prints once it holds them.
fn held(holder: &mut Child) -> (Vec<u32>, String) {
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.into_iter().find_map(|line| line.strip_prefix("holding ").map(str::to_owned));
    let line = line.expect("the holder says what it holds");
    let (pids, folder) = line.split_once(" in ").unwrap();
    (pids.split(',').map(|pid| pid.parse().unwrap()).collect(), folder.to_owned())
}

/// A role: a test that asks whether it can run.
#[test]
fn asks_for_go() {
    if plays("asks_for_go") {
        can_run();
    }
}

#[test]
fn without_go_a_test_fails_on_ci_and_is_skipped_loudly_elsewhere() {
    let run = |ci: &str| play("asks_for_go").env("PATH", "").env("CI", ci).output().unwrap();
    let (ci, desk) = (run("true"), run("false"));
    assert!(!ci.status.success());
    assert!(desk.status.success());
    let said = |output: &[u8]| String::from_utf8_lossy(output).into_owned();
    assert!(said(&ci.stderr).contains("install Go") || said(&ci.stdout).contains("install Go"));
    assert!(said(&desk.stderr).contains("SKIPPED"));
}
