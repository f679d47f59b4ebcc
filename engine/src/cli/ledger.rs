//! The commands about the ledger itself. They speak to it directly, so they work while no engine does.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Connection, Output};

/// Commands about the ledger.
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Read every entry, and say what is wrong and where
    ///
    /// Sums, chains, gaps, what cannot follow what, and the high-water mark. Writes nothing.
    #[command(after_help = "Examples:
  flyball ledger verify --nats nats://nats:4222 --cluster prod
  flyball ledger verify --ledger /var/lib/flyball/ledger -o json")]
    Verify(Verify),
    /// Say that the ledger that is there is the right one
    ///
    /// Ends a quarantine: sets the high-water mark to what is there, and makes the ledger if it is gone.
    #[command(after_help = "Examples:
  flyball ledger accept --reason \"INC-4411: NATS volume lost, restored from the copy of 02:00\"")]
    Accept(Accept),
    /// Write every entry down as lines of JSON
    ///
    /// A header, an entry a line with its bytes as they are kept, and a trailer. Every sum is checked. A ledger in NATS may be
    /// in use meanwhile; a file may not.
    #[command(after_help = "Examples:
  flyball ledger export ledger.jsonl --nats nats://nats:4222 --cluster prod
  flyball ledger export --ledger /var/lib/flyball/ledger | zstd > ledger.jsonl.zst")]
    Export(Export),
    /// Make a ledger of the lines that `export` wrote
    ///
    /// Only where there is none yet. Entries keep their places, times and bytes. Lines that are damaged are refused before
    /// anything is written. One that was interrupted goes on where it stopped; until it has ended nobody starts on it.
    #[command(after_help = "Examples:
  flyball ledger import ledger.jsonl --ledger /var/lib/flyball/ledger
  zstd -dc ledger.jsonl.zst | flyball ledger import - --nats nats://nats:4222 --cluster prod")]
    Import(Import),
    /// Move the ledger from a file to NATS, or back
    ///
    /// An engine that answers at --server moves its own, and goes on working: appends wait for less than a second. Without one
    /// the command does it. The old ledger is closed for good and says where it went. Killed anywhere, the same command goes on.
    #[command(after_help = "Examples:
  flyball ledger migrate --to nats                                                  an engine on a file, started with --nats
  flyball ledger migrate --to /var/lib/flyball/ledger --cluster prod                the only replica on NATS
  flyball ledger migrate --to nats --ledger /var/lib/flyball/ledger --nats nats://nats:4222 --cluster prod    no engine runs")]
    Migrate(Migrate),
}

/// What says that a ledger is in NATS and not in a file.
pub const NATS: &str = "nats";

/// Where a ledger is kept: the same flags as for `run`.
#[derive(Args, Clone, Debug)]
pub struct Kept {
    /// Where the ledger is kept: `nats`, or a file
    #[arg(long, value_name = "nats|FILE", env = "FLYBALL_LEDGER", default_value = "nats")]
    pub ledger: String,
    /// NATS server
    #[arg(long, value_name = "URL", env = "FLYBALL_NATS")]
    pub nats: Option<String>,
    /// Name of the cluster
    #[arg(long, value_name = "NAME", env = "FLYBALL_CLUSTER", default_value = "local")]
    pub cluster: String,
}

/// Where a ledger and its high-water mark are.
#[derive(Args, Clone, Debug)]
pub struct At {
    /// Where the ledger is kept.
    #[command(flatten)]
    pub kept: Kept,
    /// Kubeconfig file, for the high-water mark; without it KUBECONFIG, ~/.kube/config or the pod's service account
    #[arg(long, value_name = "FILE", env = "FLYBALL_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// The high-water mark lies in a file beside the ledger's, as `dev` without a kubeconfig keeps it
    #[arg(long, conflicts_with = "kubeconfig")]
    pub mark_beside: bool,
}

/// Reads and compares.
#[derive(Args, Debug)]
pub struct Verify {
    /// Where the ledger is.
    #[command(flatten)]
    pub at: At,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}

/// Takes what is there.
#[derive(Args, Debug)]
pub struct Accept {
    /// Why: it is written to the ledger
    #[arg(long)]
    pub reason: String,
    /// Who
    #[arg(long, env = "USER", hide_env = true, default_value = "unknown")]
    pub by: String,
    /// Where the ledger is.
    #[command(flatten)]
    pub at: At,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}

/// Writes down.
#[derive(Args, Debug)]
pub struct Export {
    /// The file to make; `-` is standard output
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// Where the ledger is kept.
    #[command(flatten)]
    pub kept: Kept,
}

/// Makes a ledger of it.
#[derive(Args, Debug)]
pub struct Import {
    /// The file that `export` wrote; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where the ledger will be kept.
    #[command(flatten)]
    pub kept: Kept,
}

/// Moves it.
#[derive(Args, Debug)]
pub struct Migrate {
    /// Where to
    #[arg(long, value_name = "nats|FILE")]
    pub to: String,
    /// Who asks
    #[arg(long, env = "USER", hide_env = true)]
    pub by: Option<String>,
    /// Where the ledger is now.
    #[command(flatten)]
    pub at: At,
    /// Where the engine is.
    #[command(flatten)]
    pub connection: Connection,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}
