//! How long a start takes on a ledger with a long past: from exec to the first 200 of `/readyz`, of the real program, on a file
//! and on a real nats-server, without a snapshot and with the one that the engine keeps by itself.

mod past;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flyball::clock::TokioClock;
use flyball::ledger::stored::Draft;
use flyball::ledger::{FileDraft, FileLedger, JetStreamLedger, JetStreamOptions, StreamDraft};
use flyball_core::id::Revision;
use flyball_core::ports::{Ledger, Shelf};
use flyball_devcluster::{Cluster, NatsServer, wait_until};
use jiff::Timestamp;

use crate::rig::{Replica, Rig, policy};

pub(crate) use past::Past;

/// The bar, with a snapshot.
const LIMIT: Duration = Duration::from_secs(2);
/// Entries behind the snapshot: nearly as many as there can be before the next one is due.
const BEHIND: u64 = 9_000;
/// A start without a snapshot reads a million entries.
const LATE: Duration = Duration::from_secs(300);
/// What the ledgers are copies of.
const ORIGIN: &str = "made-up past";

/// How much.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Entries of the past
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Starts of each kind with a snapshot
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Starts of each kind without one: they read every entry
    #[arg(long, default_value_t = 5)]
    bare: usize,
}

/// Runs it.
///
/// # Errors
/// It could not be run.
pub fn run(args: &Args) -> Result<ExitCode> {
    let nats = NatsServer::start()?;
    println!("{} entries, load {}", args.entries, fs::read_to_string("/proc/loadavg")?.trim());
    println!("ledger                          rounds   median      min      max");
    let kept = [in_file(args, &nats)?, in_stream(args, &nats)?];
    println!("load {}", fs::read_to_string("/proc/loadavg")?.trim());
    Ok(if kept.iter().all(|it| *it <= LIMIT) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rig(test: &str, nats: &NatsServer) -> Rig {
    let mut rig = Rig::on(test, Cluster::shared(), &nats.url());
    rig.policy("leak.yaml", &policy("leak", "{signal: rca, causes: [memory_leak]}", "{restart: {}}", ""));
    rig
}

/// Prints a row and gives its slowest.
fn told(what: &str, mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    let (Some(min), Some(max)) = (took.first(), took.last()) else { return Duration::ZERO };
    let seconds = |it: &Duration| format!("{:>6.2} s", it.as_secs_f64());
    println!("{what:<31} {:>6} {} {} {}", took.len(), seconds(&took[took.len() / 2]), seconds(min), seconds(max));
    *max
}

/// How the engine of the round before ends.
type End = fn(&Replica);

fn killed(engine: &Replica) {
    engine.kill();
}

fn stopped(engine: &Replica) {
    engine.terminate();
}

/// Ends the engine, prepares, starts it and waits until it is ready; so many times.
fn rounds(
    rig: &Rig,
    engine: &Replica,
    (count, end): (usize, End),
    mut prepare: impl FnMut() -> Result<()>,
) -> Result<Vec<Duration>> {
    let mut all = Vec::new();
    for _ in 0..count {
        end(engine);
        prepare()?;
        let begun = Instant::now();
        engine.launch();
        let took = wait_until("a start", LATE, || {
            engine.ensure_running()?;
            rig.get_from(&engine.name, "/readyz").map(|_| begun.elapsed())
        });
        all.push(took.with_context(|| engine.last_words(20))?);
    }
    Ok(all)
}

/// Writes a past into a ledger that is being made. `tell` hears how many entries it has.
pub(crate) async fn fill(draft: &mut dyn Draft, mut past: Past, mut tell: impl FnMut(u64)) -> Result<()> {
    loop {
        let batch = past.batch()?;
        if batch.is_empty() {
            return Ok(draft.finish().await?);
        }
        draft.put(batch).await?;
        tell(draft.reached().0);
    }
}

fn in_file(args: &Args, nats: &NatsServer) -> Result<Duration> {
    let mut rig = rig("startfile", nats);
    let (bare, path) = (rig.folder().join("bare"), rig.folder().join("ledger"));
    rig.runtime.block_on(async {
        fill(&mut FileDraft::begin(&bare, ORIGIN)?, Past::until(Timestamp::now(), args.entries)?, |_| ()).await
    })?;
    rig.environment.push(("FLYBALL_LEDGER".to_owned(), path.display().to_string()));
    let engine = rig.add("file");
    let took = rounds(&rig, &engine, (args.bare.max(1), killed), || {
        fs::copy(&bare, &path)?;
        accept(&rig, &path)
    })?;
    told("file, no snapshot, killed", took);
    fs::remove_file(&bare)?;
    // Nobody can look into a file that is in use: it is stopped now and then, until it has kept one.
    wait_until("a snapshot", LATE, || {
        engine.terminate();
        let kept = rig.runtime.block_on(async { kept(&open(&path)?).await })?;
        if kept <= Revision(args.entries) {
            rounds(&rig, &engine, (1, killed), || Ok(()))?;
            std::thread::sleep(Duration::from_secs(2));
        }
        ensure!(kept > Revision(args.entries), "none yet");
        Ok(())
    })?;
    rig.runtime.block_on(async { past::go_on(&open(&path)?, BEHIND).await })?;
    // The first one only so that there is an engine to end.
    rounds(&rig, &engine, (1, killed), || Ok(()))?;
    let after_a_stop = told("file, stopped", rounds(&rig, &engine, (args.rounds, stopped), || Ok(()))?);
    let after_a_kill = told("file, killed", rounds(&rig, &engine, (args.rounds, killed), || Ok(()))?);
    engine.kill();
    Ok(after_a_stop.max(after_a_kill))
}

/// The copy is shorter than the ledger of the round before.
fn accept(rig: &Rig, path: &Path) -> Result<()> {
    let (path, kubeconfig) = (path.display().to_string(), rig.kubeconfig.display().to_string());
    let at = ["--ledger", &path, "--kubeconfig", &kubeconfig, "--cluster", &rig.name];
    let arguments = [&["ledger", "accept", "--reason", "a round of a measurement"][..], &at].concat();
    let (code, _, said) = rig.flyball_at("file", &arguments);
    ensure!(code == 0, "{said}");
    Ok(())
}

fn open(path: &Path) -> Result<FileLedger> {
    // The process that had it may still be closing it.
    wait_until("the file", LATE, || Ok(FileLedger::open(path, Arc::new(TokioClock::real()))?))
}

async fn kept(ledger: &dyn Ledger) -> Result<Revision> {
    let shelf: &dyn Shelf = ledger.shelf().context("it keeps snapshots")?;
    Ok(shelf.kept().await?)
}

fn in_stream(args: &Args, nats: &NatsServer) -> Result<Duration> {
    let mut rig = rig("startstream", nats);
    let client = rig.runtime.block_on(flyball::nats::connect(&rig.nats_url, "measurement"))?;
    let options = JetStreamOptions::default();
    rig.runtime.block_on(async {
        let mut draft = StreamDraft::begin(client.clone(), &rig.name, options, ORIGIN, Revision(1)).await?;
        fill(&mut draft, Past::until(Timestamp::now(), args.entries)?, |_| ()).await
    })?;
    let engine = rig.add("stream");
    let took = rounds(&rig, &engine, (args.bare.max(1), killed), || {
        rig.runtime.block_on(async {
            // There is none before the first round.
            let _ = rig.jetstream().await.delete_stream(format!("FLYBALL_SNAPSHOTS_{}", rig.name)).await;
        });
        Ok(())
    })?;
    told("stream, no snapshot, killed", took);
    let ledger = rig.runtime.block_on(JetStreamLedger::connect(client, &rig.name, options))?;
    wait_until("a snapshot", LATE, || {
        let kept = rig.runtime.block_on(kept(&ledger))?;
        ensure!(kept > Revision(args.entries), "none yet");
        Ok(())
    })?;
    engine.kill();
    rig.runtime.block_on(past::go_on(&ledger, BEHIND))?;
    let took = rounds(&rig, &engine, (args.rounds, killed), || Ok(()))?;
    engine.kill();
    Ok(told("stream, killed", took))
}
