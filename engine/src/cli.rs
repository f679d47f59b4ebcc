//! The command line as typed. What it means is said in `config` for the engine and in `client` for everything else.

mod hand;
pub mod ledger;
pub mod policy;
mod signal;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use flyball_core::workload::Workload;
use jiff::SignedDuration;

pub use hand::{Cancel, Resolve};
pub use signal::{Record, Send, Signal, Validate};

use crate::view::{self, Verdict};

/// What every help text ends with.
const EXIT_CODES: &str = "\
Exit codes:
  0  ok
  1  negative answer: denied, not found, not valid
  2  could not run: usage, configuration, connection
  3  only warnings, under --strict
  4  not authorised";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "flyball", version, about = "Closes the loop: signals in, guarded remediation of workloads out")]
#[command(after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the engine
    Run(crate::config::RunArgs),
    /// Run the engine with nothing around it: signals, ledger and workloads in this process
    Dev(crate::config::RunArgs),
    /// Watch a failure being mended, in virtual time
    Demo(crate::demo::DemoArgs),
    /// Everything that talks to a running engine.
    #[command(flatten)]
    Client(Box<ClientCommand>),
}

/// The commands of the client.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// List decisions, actions, pauses or policies
    #[command(subcommand)]
    Get(Get),
    /// Explain a decision: the signal, every reason with its numbers, and what happened since
    Why(Why),
    /// Press the stop button
    ///
    /// Returns when the pause is durable and nothing that it stops is on its way any more.
    #[command(after_help = "Examples:
  flyball pause --all --reason \"INC-4411 database failover\" --for 2h
  flyball pause --namespace shop --reason \"load test\"
  flyball pause --target shop/Deployment/cart --reason \"being debugged\"")]
    Pause(Pause),
    /// Release the stop button
    #[command(after_help = "Examples:
  flyball resume p-1a2b3c4d
  flyball resume --all")]
    Resume(Resume),
    /// End an action before it has an effect
    ///
    /// Returns when it has ended. What is on its way to the cluster is fenced first, so that it cannot land later.
    Cancel(Cancel),
    /// Say what became of a send that had no answer, where the API server cannot be asked
    ///
    /// An action in stage Unknown keeps its slot until the target can be read. This is the way out where it never can be.
    #[command(after_help = "Examples:
  flyball resolve 8f14e45f --as absent --reason \"cluster restored from backup\"")]
    Resolve(Resolve),
    /// Verify, accept, copy or move the ledger itself
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// Send or check signals
    #[command(subcommand)]
    Signal(Signal),
    /// Policies as code: lint, test, backtest, match, show, compare, begin
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Print the JSON Schema of a form, for editors
    #[command(after_help = "Example:
  flyball schema policy > policy.v1alpha1.json    # and in the file: # yaml-language-server: $schema=policy.v1alpha1.json")]
    Schema(policy::Schema),
}

/// Where the engine is.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// The engine's address
    #[arg(long, value_name = "URL", env = "FLYBALL_SERVER", default_value = "http://127.0.0.1:8080")]
    pub server: String,
    /// File that holds the API token; without it FLYBALL_TOKEN counts
    #[arg(long, value_name = "FILE", env = "FLYBALL_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The API token. From the environment alone: what is on a command line, others can read
    #[arg(long, hide = true, env = "FLYBALL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// How to answer.
#[derive(Args, Clone, Copy, Debug)]
pub struct Output {
    /// Form of the answer
    #[arg(short = 'o', long = "output", value_name = "FORM", default_value = "text")]
    pub form: Form,
}

/// Forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Text,
    /// As the API says it.
    Json,
    /// The same in YAML.
    Yaml,
}

/// What to list.
#[derive(Debug, Subcommand)]
pub enum Get {
    /// What became of signals, the newest first
    #[command(
        visible_alias = "decision",
        after_help = "Examples:
  flyball get decisions --since 1h -n shop
  flyball get decisions --reason CooldownActive -o json"
    )]
    Decisions(GetDecisions),
    /// What was done, the newest first
    #[command(visible_alias = "action")]
    Actions(Which),
    /// The pauses in force, with what each has suppressed
    #[command(visible_alias = "pause")]
    Pauses(Plain),
    /// The policies in force, in the order in which they are asked
    #[command(visible_alias = "policy")]
    Policies(Plain),
}

/// A question without details.
#[derive(Args, Debug)]
pub struct Plain {
    /// Where the engine is.
    #[command(flatten)]
    pub connection: Connection,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}

/// Which decisions, of all verdicts.
#[derive(Args, Debug)]
pub struct GetDecisions {
    /// Only this verdict
    #[arg(long)]
    pub verdict: Option<Verdict>,
    /// Which of them.
    #[command(flatten)]
    pub which: Which,
}

/// Which decisions.
#[derive(Args, Debug)]
pub struct Which {
    /// Only on targets in this namespace
    #[arg(short = 'n', long)]
    pub namespace: Option<String>,
    /// Only since: a duration (1h, 7d) or a moment
    #[arg(long)]
    pub since: Option<String>,
    /// Only what ended in this word, or was denied for this reason
    #[arg(long)]
    pub reason: Option<String>,
    /// Only what this policy asked for
    #[arg(long)]
    pub policy: Option<String>,
    /// How many at most
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: Option<u16>,
    /// Where the engine is.
    #[command(flatten)]
    pub connection: Connection,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}

/// Which decision.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  flyball why 8f14e45f
  flyball why n42-0 -o yaml")]
pub struct Why {
    /// The decision's id, or the first six characters and more
    pub id: String,
    /// Where the engine is.
    #[command(flatten)]
    pub connection: Connection,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}

/// What a pause stops.
#[derive(Args, Clone, Debug, Default)]
#[group(id = "scope", multiple = false)]
pub struct Scope {
    /// Everything
    #[arg(long)]
    pub all: bool,
    /// One namespace
    #[arg(short = 'n', long)]
    pub namespace: Option<String>,
    /// One workload: namespace/Kind/name, or namespace/name for a Deployment
    #[arg(long)]
    pub target: Option<Workload>,
}

/// The stop button, pressed.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").args(["all", "namespace", "target"]).required(true))]
pub struct Pause {
    /// What it stops.
    #[command(flatten)]
    pub scope: Scope,
    /// Why: everybody who is denied reads it
    #[arg(long)]
    pub reason: String,
    /// For how long (2h); without it until it is released
    #[arg(long = "for", value_name = "DURATION", value_parser = view::time::duration)]
    pub lasting: Option<SignedDuration>,
    /// Who presses
    #[arg(long, env = "USER", hide_env = true)]
    pub by: Option<String>,
    /// Where the engine is.
    #[command(flatten)]
    pub connection: Connection,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}

/// The stop button, released.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").args(["id", "all", "namespace", "target"]).required(true))]
pub struct Resume {
    /// The pause's id
    pub id: Option<String>,
    /// Every pause of exactly this scope.
    #[command(flatten)]
    pub scope: Scope,
    /// Who releases
    #[arg(long, env = "USER", hide_env = true)]
    pub by: Option<String>,
    /// Where the engine is.
    #[command(flatten)]
    pub connection: Connection,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}
