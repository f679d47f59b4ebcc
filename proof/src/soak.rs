//! Random kills for as long as you like, on real servers: two replicas are killed again and again, a third lives on and
//! shows whether memory grows. At the end everything is healed, and every signal, effect and window is accounted for.

pub(crate) mod account;
pub(crate) mod load;
pub(crate) mod memory;
mod recovery;
mod windows;
mod witness;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flyball_devcluster::{Cluster, NatsServer, Workload, wait_until, workloads};
use jiff::Timestamp;

use crate::judge::Evidence;
use crate::random::Random;
use crate::rig::{Replica, Rig};
use account::{Findings, Killed};
use load::{Load, Sent};
use memory::Memory;
use witness::Witness;

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);
/// Between two looks at the memory of the replica that lives.
const SAMPLE: Duration = Duration::from_secs(1);
/// Healing: the longest verification, and what waits behind it.
const HEALED: Duration = Duration::from_secs(180);

/// How long, and what.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long to kill
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// Seconds on top of the minutes
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// Chooses signals and victims
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Signals a second
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Workloads that the signals are about
    #[arg(long, default_value_t = 24)]
    workloads: u32,
    /// Replicas that are killed; one more lives
    #[arg(long, default_value_t = 2)]
    mortals: u32,
    /// Mean time between two kills, in milliseconds
    #[arg(long, default_value_t = 1000)]
    every: u64,
    /// Measure instead how soon a new process has caught up with 10,000 signals
    #[arg(long)]
    recovery: bool,
    /// Rounds of that measurement
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

/// Runs it.
///
/// # Errors
/// It could not be run.
pub fn run(args: &Args) -> Result<ExitCode> {
    let nats = NatsServer::start()?;
    let mut rig = Rig::on("soak", Cluster::shared(), &nats.url());
    let kept = if args.recovery { recovery::measure(&mut rig, args.rounds)? } else { soak(args, &mut rig)? };
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A storm of kills of this length, a kill each `every` milliseconds in the mean, on a rig without replicas. Whether all was
/// kept.
pub(crate) fn storm_of(rig: &mut Rig, length: Duration, every: u64) -> Result<bool> {
    let args = Args {
        minutes: 0,
        seconds: length.as_secs(),
        seed: 2,
        rate: 60,
        workloads: 12,
        mortals: 2,
        every,
        recovery: false,
        rounds: 0,
    };
    soak(&args, rig)
}

fn soak(args: &Args, rig: &mut Rig) -> Result<bool> {
    let names = workloads_of(rig, args.workloads)?;
    let witness = Witness::of(rig)?;
    windows::install(rig);
    println!(
        "soak: seed {}, {} replicas of which {} are killed, {} workloads, {} signals/s",
        args.seed,
        args.mortals + 1,
        args.mortals,
        args.workloads,
        args.rate
    );
    let steady = rig.add("steady");
    let mortals: Vec<Arc<Replica>> = (0..args.mortals).map(|n| rig.add(&format!("mortal-{n}"))).collect();
    rig.replicas().iter().for_each(|it| rig.start_replica(&it.name));
    let stop = Arc::new(AtomicBool::new(false));
    let load = Load::new(rig, names, args.seed, args.rate);
    let publishing = std::thread::spawn({
        let stop = stop.clone();
        move || load.run(&stop)
    });
    let length = Duration::from_secs(args.minutes * 60 + args.seconds);
    let (kills, memory) = storm(args, &steady, &mortals, length)?;
    stop.store(true, Ordering::Relaxed);
    let sent = publishing.join().expect("the publisher does not panic")?;
    println!("healing: {} signals sent, {} kills", sent.len(), kills.len());
    let healing = Instant::now();
    rig.replicas().iter().for_each(|it| rig.wait_ready_of(&it.name));
    settled(rig)?;
    println!("healed within {:.1} s", healing.elapsed().as_secs_f64());
    report(rig, &sent, &kills, &memory, witness)
}

/// Kills until the time is up; samples the memory of the one that lives.
fn storm(args: &Args, steady: &Replica, mortals: &[Arc<Replica>], length: Duration) -> Result<(Vec<Killed>, Memory)> {
    let mut random = Random::new(args.seed);
    let (start, mut kills, mut memory) = (Instant::now(), Vec::new(), Memory::default());
    let pause = |random: &mut Random| Duration::from_millis(args.every / 2 + random.below(args.every.max(1)));
    let (mut next_kill, mut next_line, mut next_sample) = (pause(&mut random), PROGRESS, Duration::ZERO);
    while start.elapsed() < length {
        let now = start.elapsed();
        if now >= next_sample {
            memory.look(now, steady.pid().context("the steady replica runs")?)?;
            next_sample = now + SAMPLE;
        }
        if now >= next_kill && !mortals.is_empty() {
            let victim = random.pick(mortals);
            victim.ensure_running()?;
            kills.push(Killed { replica: victim.name.clone(), at: Timestamp::now() });
            victim.kill();
            victim.launch();
            next_kill = now + pause(&mut random);
        }
        if now >= next_line {
            println!("{:>5.0} s  {:>5} kills  RSS {:>6} KiB", now.as_secs_f64(), kills.len(), memory.newest());
            next_line = now + PROGRESS;
        }
        steady.ensure_running()?;
        // The pace of the storm itself, not a wait for anything.
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((kills, memory))
}

/// Makes so many workloads, and waits until they are ready. Their names.
pub(crate) fn workloads_of(rig: &Rig, count: u32) -> Result<Vec<String>> {
    let names: Vec<String> = (0..count).map(|n| format!("app-{n}")).collect();
    for name in &names {
        rig.cluster.api().create(&Workload::new(&rig.namespace, name).replicas(2).deployment())?;
    }
    for name in &names {
        let path = Workload::new(&rig.namespace, name).path("deployments");
        workloads::wait_ready(rig.cluster.api(), &path, crate::rig::SOON)?;
    }
    Ok(names)
}

/// Waits until no signal is pending, no request waits and no intent is open.
fn settled(rig: &Rig) -> Result<()> {
    wait_until("everything to be closed", HEALED, || {
        let (pending, unsettled) = rig.runtime.block_on(consumer(rig))?;
        ensure!(pending == 0 && unsettled == 0, "{pending} signals pending, {unsettled} unacknowledged");
        let history = rig.history();
        let open = history.open().map(|it| format!("{} {}", it.id(), it.stage().label())).collect::<Vec<_>>();
        ensure!(open.is_empty(), "{} intents open: {}", open.len(), open.join(", "));
        ensure!(history.waiting().count() == 0, "{} requests wait", history.waiting().count());
        Ok(())
    })
}

/// Signals that the engine's consumer has not been given, and those that it has and that are not settled.
pub(crate) async fn consumer(rig: &Rig) -> Result<(u64, u64)> {
    let context = rig.jetstream().await;
    let stream = context.get_stream("FLYBALL_SIGNALS").await.context("the stream of signals")?;
    let mut consumer: async_nats::jetstream::consumer::PullConsumer =
        stream.get_consumer(&format!("flyball-{}", rig.name)).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    let info = consumer.info().await?;
    Ok((info.num_pending, info.num_ack_pending as u64))
}

fn report(rig: &Rig, sent: &[Sent], kills: &[Killed], memory: &Memory, witness: Witness) -> Result<bool> {
    let refused = rig.runtime.block_on(account::refused(rig))?;
    let mut findings = Findings::default();
    // Its signals are of several sorts, and some are told once more: `account` asks for their ends.
    let evidence = Evidence { stamped: witness.stamps(rig)?, ..Evidence::of(rig, &[], &[])? };
    let entries = &evidence.entries;
    account::signals(entries, sent, &refused, &mut findings);
    account::effects(&evidence, &mut findings);
    windows::check(entries, &mut findings);
    let took = account::recoveries(entries, kills);
    println!("kills      {}", kills.len());
    println!("signals    {} published and acknowledged by the stream", sent.len());
    findings.tell();
    println!("ledger     {} entries", entries.len());
    match took.iter().max() {
        None => println!("take-up    no intent was open at a kill"),
        Some(worst) => {
            let median = took[took.len() / 2];
            println!("take-up    {} intents of killed processes; median {median:?}, worst {worst:?}", took.len());
        }
    }
    memory.tell();
    for violation in &findings.violations {
        println!("VIOLATION  {violation}");
    }
    println!("{}", if findings.violations.is_empty() { "kept" } else { "BROKEN" });
    Ok(findings.violations.is_empty())
}
