//! G1, G2, G11: a million signals that wait on a real stream, decided by the engine and acknowledged by a consumer that does nothing,
//! in turns.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::Context;
use flyball_devcluster::NatsServer;
use jiff::Timestamp;
use tempfile::TempDir;

use crate::count::Ends;
use crate::load::{self, WORKLOADS};
use crate::process::{self, Process};
use crate::report::{self, Report, Round, Row, Variant};
use crate::sink::Sink;
use crate::stream::{self, ENGINE, LIMIT, Standing};
use crate::{machine, start};

/// Nothing here takes longer, even on a loaded machine and with the slowest of engines.
const PATIENCE: Duration = Duration::from_secs(900);
/// Signals that decide nothing about speed are no measurement.
const LEAST: u64 = 20_000;

/// How much.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Signals on the stream
    #[arg(long, default_value_t = 1_000_000)]
    signals: u64,
    /// Rounds: in each, every row is measured once, between two measurements of the limit
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Sizes of the set of policies, one row for each
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 10_000, 100_000])]
    policies: Vec<usize>,
    /// Measure the first set once more without traces
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    untraced: bool,
    /// Measure starts, memory and idling of the real program on a real API server, too
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    starts: bool,
    /// Write the report to `bench/results` and into `bench/README.md`
    #[arg(long)]
    write: bool,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    ensure!(args.signals >= LEAST, "at least {LEAST} signals, so that every workload is among them");
    if args.write {
        let whole = args.signals >= 1_000_000 && args.rounds >= 5 && args.starts && !cfg!(debug_assertions);
        ensure!(whole, "a report that is written has a million signals, five rounds, the starts, and a release build");
    }
    ensure!(args.policies.iter().all(|it| [1, 2, 5, 10].contains(it) || *it >= 1_000), "1, 2, 5, 10, or at least 1000");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(measure(args))?;
    let text = report.to_markdown();
    println!("{text}");
    if args.write {
        report::write(&report)?;
    }
    Ok(if report.rows.iter().all(|it| it.void().is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(args: &Args) -> Result<Report> {
    let nats = NatsServer::start()?;
    let context = stream::connect(&nats.url()).await?;
    eprintln!("filling the stream with {} signals", args.signals);
    stream::fill(&context, args.signals).await?;
    let (endpoint, sink) = Sink::listen().await?;
    let mut bed = Bed { nats, context, sink, endpoint, folder: TempDir::new()?, signals: args.signals };
    let mut variants: Vec<Variant> = args.policies.iter().map(|it| Variant { policies: *it, traces: true }).collect();
    if let Some(first) = args.policies.first().filter(|_| args.untraced) {
        variants.push(Variant { policies: *first, traces: false });
    }
    bed.write_policies(&variants)?;
    let mut rows: Vec<Row> = variants.iter().map(|it| Row::new(*it)).collect();
    let (mut limits, began) = (Vec::new(), machine::load());
    for round in 0..args.rounds {
        let before = bed.limit().await?;
        // Forwards and backwards in turn, so that what drifts hits all alike.
        let order: Vec<usize> =
            if round % 2 == 0 { (0..rows.len()).collect() } else { (0..rows.len()).rev().collect() };
        let mut engines = Vec::new();
        for at in order {
            engines.push((at, bed.engine(variants[at]).await?));
        }
        let after = bed.limit().await?;
        for (at, taken) in engines {
            eprintln!("round {round}: {} {}", variants[at], taken.told(&before, &after));
            rows[at].rounds.push(Round { taken, limit: [before.clone(), after.clone()] });
        }
        limits.extend([before, after]);
    }
    let (url, folder) = (bed.nats.url(), bed.folder.path().to_owned());
    let starts = if args.starts {
        Some(tokio::task::spawn_blocking(move || start::measure(&url, &folder)).await??)
    } else {
        None
    };
    let load = [began, machine::load()];
    Ok(Report { at: Timestamp::now(), machine: machine::describe(), load, signals: args.signals, rows, limits, starts })
}

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// From the first delivery to the last acknowledgement.
    pub(crate) wall: Duration,
    /// On a processor, meanwhile: the process itself.
    pub(crate) own: Duration,
    /// The same of the nats-server.
    pub(crate) server: Duration,
    /// The same of all that is neither, nor the harness.
    pub(crate) others: Duration,
    /// The most memory that the process ever held, in KiB.
    pub(crate) peak: u64,
    /// Signals.
    pub(crate) signals: u64,
    /// What became of them; none for the limit.
    pub(crate) ends: Option<Ends>,
    /// Spans that were exported, and how many of them were admissions.
    pub(crate) spans: (u64, u64),
}

struct Bed {
    nats: NatsServer,
    context: Context,
    sink: Sink,
    endpoint: String,
    folder: TempDir,
    signals: u64,
}

impl Bed {
    fn write_policies(&self, variants: &[Variant]) -> Result<()> {
        for variant in variants {
            let folder = self.folder.path().join(variant.policies.to_string());
            std::fs::create_dir_all(&folder)?;
            for (name, text) in load::policies(variant.policies) {
                std::fs::write(folder.join(name), text)?;
            }
        }
        Ok(())
    }

    async fn limit(&mut self) -> Result<Taken> {
        stream::forget(&self.context, LIMIT).await?;
        let (nats, signals) = (self.nats.url(), self.signals.to_string());
        let arguments = ["limit", "--nats", &nats, "--signals", &signals];
        let process = Process::again(&arguments, &[], &self.folder.path().join("limit.log"))?;
        let taken = self.watch(process, LIMIT).await?;
        stream::forget(&self.context, LIMIT).await?;
        Ok(taken)
    }

    async fn engine(&mut self, variant: Variant) -> Result<Taken> {
        stream::forget(&self.context, ENGINE).await?;
        self.sink.take();
        let (nats, policies) = (self.nats.url(), self.folder.path().join(variant.policies.to_string()));
        let policies = policies.display().to_string();
        let mut environment = Vec::new();
        if variant.traces {
            environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), self.endpoint.clone()));
            environment.push(("OTEL_EXPORTER_OTLP_PROTOCOL".to_owned(), "http/protobuf".to_owned()));
        }
        let arguments = ["engine", "--nats", &nats, "--policies", &policies];
        let process = Process::again(&arguments, &environment, &self.folder.path().join("engine.log"))?;
        let mut taken = self.watch(process, ENGINE).await?;
        taken.ends = Some(Ends::read(&self.nats.url()).await?);
        taken.spans = self.sink.take();
        stream::forget(&self.context, ENGINE).await?;
        Ok(taken)
    }

    /// Follows a process from its first delivery to its last acknowledgement, and ends it.
    async fn watch(&mut self, mut process: Process, consumer: &str) -> Result<Taken> {
        let said = |error| self.last_words(error);
        stream::until(&self.context, consumer, PATIENCE, |it| it.begun).await.map_err(said)?;
        let (begun, before) = (Timestamp::now(), self.costs(process.pid())?);
        let all = |it: &Standing| it.settled >= self.signals;
        let end =
            stream::until(&self.context, consumer, PATIENCE, all).await.map_err(|error| self.last_words(error))?;
        process.ensure_running()?;
        let after = self.costs(process.pid())?;
        let peak = process::memory(process.pid(), "VmHWM")?;
        process.terminate()?;
        let last = end.last.context("when the last acknowledgement came")?;
        let spent: Vec<Duration> =
            after.iter().zip(before).map(|(after, before)| after.saturating_sub(before)).collect();
        Ok(Taken {
            wall: Duration::try_from(last.duration_since(begun)).unwrap_or_default(),
            own: spent[0],
            server: spent[1],
            others: spent[3].saturating_sub(spent[0] + spent[1] + spent[2]),
            peak,
            signals: self.signals,
            ends: None,
            spans: (0, 0),
        })
    }

    /// The process's time, the server's, our own, and the machine's.
    fn costs(&self, pid: u32) -> Result<[Duration; 4]> {
        let server = self.nats.server().pid().context("the server runs")?;
        Ok([process::cpu(pid)?, process::cpu(server)?, process::cpu(std::process::id())?, process::machine_cpu()?])
    }

    fn last_words(&self, error: anyhow::Error) -> anyhow::Error {
        let said = std::fs::read_to_string(self.folder.path().join("engine.log")).unwrap_or_default();
        let lines: Vec<&str> = said.lines().rev().take(20).collect();
        error.context(format!("the engine's last words, newest first:\n{}", lines.join("\n")))
    }
}

impl Taken {
    /// Signals a second.
    pub(crate) fn rate(&self) -> f64 {
        self.signals as f64 / self.wall.as_secs_f64()
    }

    /// Microseconds on a processor for each signal, of the process and of the server.
    pub(crate) fn cpu_micros(&self) -> (f64, f64) {
        let each = |it: Duration| it.as_secs_f64() * 1e6 / self.signals as f64;
        (each(self.own), each(self.server))
    }

    /// The others' share of the machine.
    pub(crate) fn others_share(&self) -> f64 {
        self.others.as_secs_f64() / (self.wall.as_secs_f64() * machine::cores() as f64)
    }

    /// Signals that were delivered, and decided, more than once.
    pub(crate) fn again(&self) -> u64 {
        self.ends.as_ref().map_or(0, |it| it.again)
    }

    /// Why it does not count.
    pub(crate) fn void(&self) -> Option<String> {
        let ends = self.ends.as_ref()?;
        if ends.are_exact(self.signals, WORKLOADS) { None } else { Some(format!("{ends:?}")) }
    }

    fn told(&self, before: &Self, after: &Self) -> String {
        let (own, server) = self.cpu_micros();
        let (limit_own, limit_server) = before.cpu_micros();
        let limit = f64::midpoint(before.rate(), after.rate());
        format!(
            "{:.0}/s of {:.0}/s = {:.3}, CPU-us {own:.2} + {server:.2} of {limit_own:.2} + {limit_server:.2}, peak {} MiB, \
             others {:.0} %, spans {:?}{}",
            self.rate(),
            limit,
            self.rate() / limit,
            self.peak / 1024,
            100.0 * self.others_share(),
            self.spans,
            self.void().map_or_else(|| format!(", delivered again {}", self.again()), |it| format!(" VOID {it}"))
        )
    }
}
