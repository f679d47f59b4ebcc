//! The command line of `flyball signal`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use flyball_core::workload::WorkloadKind;
use jiff::SignedDuration;

use super::{Connection, Output};

/// What to do with signals.
#[derive(Debug, Subcommand)]
pub enum Signal {
    /// Send a signal, over HTTP or over NATS
    #[command(after_help = "Examples:
  flyball signal send --anomaly resource --service cart -n shop
  flyball signal send --rca memory_leak --service cart -n shop --confidence 0.9
  flyball signal send --anomaly resource --service cart -n shop --window w-7 --clear
  flyball signal send -f signal.json --nats nats://127.0.0.1:4222 --cluster prod")]
    Send(Box<Send>),
    /// Check a signal without sending it
    Validate(Validate),
    /// Write down the signals of the last days, a line of JSON each
    #[command(after_help = "Examples:
  flyball signal record --nats nats://127.0.0.1:4222 --since 7d > signals.jsonl
  flyball policy backtest --policies policies/ --from signals.jsonl")]
    Record(Record),
}

/// What to write down.
#[derive(Args, Debug)]
pub struct Record {
    /// The NATS server
    #[arg(long, value_name = "URL", env = "FLYBALL_NATS")]
    pub nats: String,
    /// Credentials for NATS
    #[arg(long, value_name = "FILE", env = "FLYBALL_NATS_CREDS")]
    pub nats_creds: Option<PathBuf>,
    /// How far back
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = days)]
    pub since: SignedDuration,
    /// Only signals about this cluster
    #[arg(long, env = "FLYBALL_CLUSTER")]
    pub cluster: Option<String>,
    /// Another stream than Flyball's own
    #[arg(long, default_value = "FLYBALL_SIGNALS")]
    pub stream: String,
    /// What the signals of that stream are, where their subjects do not say it
    #[arg(long, value_parser = ["anomaly", "rca"])]
    pub kind: Option<String>,
}

/// A duration in which a day has 24 hours: `7d`, `12h`, `90m`.
fn days(text: &str) -> Result<SignedDuration, String> {
    if let Some(days) = text.strip_suffix('d').and_then(|it| it.parse::<i64>().ok()) {
        return Ok(SignedDuration::from_hours(days.saturating_mul(24)));
    }
    text.parse().map_err(|_| "write such as `7d`, `12h` or `90m`".to_owned())
}

/// A signal to send.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("signal").args(["file", "anomaly", "rca"]).required(true))]
pub struct Send {
    /// Send this file, as it is; - for standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Send an anomaly of this type
    #[arg(long, value_name = "TYPE", value_parser = ["latency", "error", "resource", "other"], requires = "service")]
    pub anomaly: Option<String>,
    /// Send an analysis with this cause
    #[arg(long, value_name = "CAUSE", requires = "service")]
    pub rca: Option<String>,
    /// The workload, or an alias of it
    #[arg(long, requires = "namespace", conflicts_with = "file")]
    pub service: Option<String>,
    /// The workload's namespace; of a file it is the subject's, over NATS
    #[arg(short = 'n', long)]
    pub namespace: Option<String>,
    /// The workload's kind
    #[arg(long, value_name = "KIND", default_value = "Deployment", conflicts_with = "file")]
    pub kind: WorkloadKind,
    /// The anomaly's score, or the cause's probability
    #[arg(long, default_value_t = 0.95, conflicts_with = "file")]
    pub score: f64,
    /// How sure the analysis is of itself
    #[arg(long, default_value_t = 0.9, conflicts_with_all = ["file", "anomaly"])]
    pub confidence: f64,
    /// The window's id; each signal has a new one without it. The same id twice is the same signal
    #[arg(long, value_name = "ID", conflicts_with = "file")]
    pub window: Option<String>,
    /// Say that the symptom is gone
    #[arg(long, conflicts_with_all = ["file", "rca"])]
    pub clear: bool,
    /// The pod at fault
    #[arg(long, conflicts_with = "file")]
    pub pod: Option<String>,
    /// How often
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// Publish to this NATS server instead of calling the engine
    #[arg(long, value_name = "URL", requires = "cluster")]
    pub nats: Option<String>,
    /// Credentials for NATS
    #[arg(long, value_name = "FILE", env = "FLYBALL_NATS_CREDS")]
    pub nats_creds: Option<PathBuf>,
    /// The cluster that the signal is about
    #[arg(long, env = "FLYBALL_CLUSTER")]
    pub cluster: Option<String>,
    /// Where the engine is.
    #[command(flatten)]
    pub connection: Connection,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}

/// A signal to check.
#[derive(Args, Debug)]
pub struct Validate {
    /// The file; - for standard input
    pub file: PathBuf,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}
