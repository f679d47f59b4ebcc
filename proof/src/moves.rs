//! How long appends wait while the ledger moves to another store: a file with a long past, of an engine that works, to a real
//! nats-server, and back to a file.

mod hands;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flyball::clock::TokioClock;
use flyball::ledger::{FileDraft, FileLedger};
use flyball_core::id::Revision;
use flyball_core::ports::Ledger;
use flyball_core::record::{Entry, Record};
use flyball_devcluster::{Cluster, NatsServer, wait_until};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::rig::{Replica, Rig, SOON, WIDE, policy};
use crate::soak::account::{self, Findings};
use crate::soak::load::{Load, Sent};
use crate::soak::{consumer, workloads_of};
use crate::start::{Past, fill};
use hands::{Hands, Pressed};

/// The bar.
const LIMIT: Duration = Duration::from_secs(1);
/// A first start reads every entry.
const LATE: Duration = Duration::from_secs(600);
/// How long the hands press when nothing is moved, and after a move: the engine on its new ledger counts, too.
const REST: Duration = Duration::from_secs(3);
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(2);
/// Between two looks at how far a move is.
const LOOK: Duration = Duration::from_millis(50);

/// How much.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Entries of the past
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Hands that press and release pauses, each as soon as the last append was confirmed
    #[arg(long, default_value_t = 4)]
    hands: usize,
    /// Signals a second
    #[arg(long, default_value_t = 50)]
    rate: u64,
}

/// What the columns of the rows are.
const COLUMNS: &str = "move              total    copied     held  appends    again    median    switch   longest";

/// What was measured.
struct Row {
    what: &'static str,
    begun: Instant,
    took: Duration,
    copied: u64,
    /// How long the engine says that it held the line, and from when to when it cannot have been before or after.
    held: Option<(Duration, (Instant, Instant))>,
    pressed: Pressed,
}

impl Row {
    fn tell(&self) {
        let ms = |it: Duration| format!("{} ms", it.as_millis());
        let held = self.held.map_or_else(|| "-".to_owned(), |(held, _)| ms(held));
        let switch = self.held.map_or_else(|| "-".to_owned(), |(_, span)| ms(self.pressed.longest_within(span)));
        let (at, longest) = self.pressed.longest().unwrap_or((self.begun, Duration::ZERO));
        println!(
            "{:<14} {:>6.1} s {:>9} {held:>8} {:>8} {:>8} {:>9} {switch:>9} {:>9}, begun {:.1} s after the first",
            self.what,
            self.took.as_secs_f64(),
            self.copied,
            self.pressed.waits.len(),
            self.pressed.again,
            ms(self.pressed.median()),
            ms(longest),
            at.duration_since(self.begun).as_secs_f64()
        );
    }

    fn is_within(&self) -> bool {
        let longest = self.pressed.longest().map_or(Duration::ZERO, |(_, took)| took);
        self.held.is_none_or(|(held, _)| held <= LIMIT && longest <= LIMIT)
    }
}

/// Runs it.
///
/// # Errors
/// It could not be run.
pub fn run(args: &Args) -> Result<ExitCode> {
    // Built before anything is measured.
    crate::binary();
    let nats = NatsServer::start()?;
    let mut rig = Rig::on("move", Cluster::shared(), &nats.url());
    measure(args, &mut rig).with_context(|| rig.last_words())
}

fn measure(args: &Args, rig: &mut Rig) -> Result<ExitCode> {
    rig.policy("p.yaml", &policy("leak", "{signal: rca, causes: [memory_leak]}", "{restart: {}}", ""));
    rig.policy("g.yaml", WIDE);
    println!("{} entries, load {}", args.entries, fs::read_to_string("/proc/loadavg")?.trim());
    let (first, last) = (rig.folder().join("first"), rig.folder().join("last"));
    lay(rig, &first, args.entries)?;
    rig.environment.push(("FLYBALL_LEDGER".to_owned(), first.display().to_string()));
    let engine = rig.add("mover");
    starts(rig, &engine)?;
    let load = Load::new(rig, workloads_of(rig, 6)?, 1, args.rate);
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = std::thread::spawn({
        let stop = stop.clone();
        move || load.run(&stop)
    });
    let rows = [
        rests(rig, &engine, args.hands)?,
        moves(rig, &engine, "file to NATS", "nats", args.hands)?,
        moves(rig, &engine, "NATS to file", &last.display().to_string(), args.hands)?,
    ];
    stop.store(true, Ordering::Relaxed);
    let sent = publishing.join().expect("the publisher does not panic")?;
    wait_until("every signal to be settled", SOON, || {
        let (pending, unsettled) = rig.runtime.block_on(consumer(rig))?;
        ensure!(pending == 0 && unsettled == 0, "{pending} signals pending, {unsettled} unacknowledged");
        Ok(())
    })?;
    engine.terminate();
    let violations = judge(rig, &last, args.entries, &rows, &sent)?;
    println!("{COLUMNS}");
    rows.iter().for_each(Row::tell);
    println!("load {}", fs::read_to_string("/proc/loadavg")?.trim());
    for it in &violations {
        println!("VIOLATION  {it}");
    }
    let kept = violations.is_empty() && rows.iter().all(Row::is_within);
    println!("{}", if kept { "kept" } else { "BROKEN" });
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes the past.
fn lay(rig: &Rig, path: &Path, entries: u64) -> Result<()> {
    let mut told = Instant::now();
    let tell = |count: u64| {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            println!("  made {count} of {entries} entries");
        }
    };
    rig.runtime.block_on(async {
        fill(&mut FileDraft::begin(path, "made-up past")?, Past::until(Timestamp::now(), entries)?, tell).await
    })
}

fn starts(rig: &Rig, engine: &Replica) -> Result<()> {
    println!("  the engine reads them");
    let begun = Instant::now();
    engine.launch();
    wait_until("a start", LATE, || {
        engine.ensure_running()?;
        rig.get_from(&engine.name, "/readyz").map(drop)
    })?;
    println!("  ready after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// What an append waits for when nothing is moved.
fn rests(rig: &Rig, engine: &Replica, count: usize) -> Result<Row> {
    let (hands, begun) = (Hands::begin(rig, engine, "rest", count), Instant::now());
    std::thread::sleep(REST);
    Ok(Row { what: "at rest", begun, took: begun.elapsed(), copied: 0, held: None, pressed: hands.end(rig)? })
}

fn moves(rig: &Rig, engine: &Replica, what: &'static str, to: &str, count: usize) -> Result<Row> {
    println!("{what}");
    let (hands, first) =
        (Hands::begin(rig, engine, if to == "nats" { "there" } else { "back" }, count), Instant::now());
    let body = json!({"to": to, "cluster": rig.name, "by": "a measurement"}).to_string();
    let url = format!("{}/v1/ledger/migrate", engine.url());
    // To a file only when no other replica was heard for some seconds.
    wait_until("the move to begin", SOON, || {
        rig.runtime.block_on(async {
            let answer = reqwest::Client::new().post(&url).body(body.clone()).send().await?;
            let (status, said) = (answer.status(), answer.text().await?);
            ensure!(status == 202, "{status}: {said}");
            Ok(())
        })
    })?;
    let begun = Instant::now();
    let (told, switch) = follow(rig, engine)?;
    let took = begun.elapsed();
    std::thread::sleep(REST);
    let held = told["held_ms"].as_u64().context("how long appends were held")?;
    let copied = told["copied"].as_u64().unwrap_or_default();
    println!("  moved within {:.1} s", took.as_secs_f64());
    let held = Some((Duration::from_millis(held), switch));
    Ok(Row { what, begun: first, took, copied, held, pressed: hands.end(rig)? })
}

/// Tells how far the move is, until it is over; with the span in which it changed over to the new ledger.
fn follow(rig: &Rig, engine: &Replica) -> Result<(Value, (Instant, Instant))> {
    let (mut line, mut copying, mut switched) = (Instant::now(), Instant::now(), None);
    loop {
        engine.ensure_running()?;
        let asked = Instant::now();
        let told = rig.get_from(&engine.name, "/v1/ledger/migrate")?;
        let step = told["step"].as_str().unwrap_or_default();
        match step {
            "copying" => copying = asked,
            "switching" => {}
            _ => switched = switched.or_else(|| Some(Instant::now())),
        }
        match (step, switched) {
            ("done", Some(switched)) => return Ok((told, (copying, switched))),
            ("failed" | "none", _) => bail!("the move failed: {told}"),
            _ if line.elapsed() >= PROGRESS => {
                line = Instant::now();
                println!("  {step}: copied {} of {} entries", told["copied"], told["of"]);
            }
            _ => {}
        }
        std::thread::sleep(LOOK);
    }
}

/// What was not kept: a pause lost or there twice, a signal without its end, a ledger that is not whole.
fn judge(rig: &Rig, path: &Path, past: u64, rows: &[Row], sent: &[Sent]) -> Result<Vec<String>> {
    println!("  the ledger is verified");
    let mut verify = Command::new(crate::binary());
    verify.args(["ledger", "verify", "--cluster", &rig.name, "--ledger"]).arg(path);
    verify.arg("--kubeconfig").arg(&rig.kubeconfig).stderr(Stdio::inherit());
    let verified = verify.output()?;
    let entries = rig.runtime.block_on(since(path, past))?;
    let refused: BTreeSet<u64> = rig.runtime.block_on(account::refused(rig))?;
    let mut findings = Findings::default();
    account::signals(&entries, sent, &refused, &mut findings);
    if !verified.status.success() {
        findings.violations.push(String::from_utf8_lossy(&verified.stdout).into_owned());
    }
    let mut there: Vec<&str> = Vec::new();
    for entry in &entries {
        if let Record::Paused(pause) = &entry.record {
            there.push(&pause.reason);
        }
    }
    there.sort_unstable();
    let twice = there.windows(2).filter(|it| it[0] == it[1]).map(|it| format!("a pause is there twice: {}", it[0]));
    findings.violations.extend(twice);
    let confirmed = rows.iter().flat_map(|it| &it.pressed.confirmed);
    let lost = confirmed.filter(|it| there.binary_search(&it.as_str()).is_err());
    findings.violations.extend(lost.map(|it| format!("a confirmed pause is lost: {it}")));
    println!("  {} signals, {} pauses, {} entries behind the past", sent.len(), there.len(), entries.len());
    Ok(findings.violations)
}

/// The entries after the past.
async fn since(path: &Path, past: u64) -> Result<Vec<Entry>> {
    let ledger = FileLedger::open(path, Arc::new(TokioClock::real()))?;
    let newest = ledger.newest().await?;
    let mut tail = ledger.follow(Revision(past)).await?;
    let mut entries: Vec<Entry> = Vec::new();
    while entries.last().is_none_or(|it| it.revision < newest) {
        entries.push(tail.next().await?);
    }
    Ok(entries)
}
