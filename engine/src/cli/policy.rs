//! The command line of `flyball policy`: policies as code. Nothing here needs a running engine, but for `trust`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Connection, Output};

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Look for what is lawful and hardly meant: policies that never act, undo or feed each other, or have no guardrails
    #[command(after_help = "Examples:
  flyball policy lint policies/
  flyball policy lint policies/ --strict
  flyball policy lint policies/ -o sarif > lint.sarif")]
    Lint(Lint),
    /// Run the cases that lie beside policies (*.flyball-test.yaml), in virtual time
    #[command(after_help = "Examples:
  flyball policy test policies/
  flyball policy test policies/ --run cooldown --coverage
  flyball policy test policies/ -o junit > junit.xml")]
    Test(Test),
    /// Say what would have happened to recorded signals, and what a change of the policies changes
    #[command(after_help = "Examples:
  flyball policy backtest --policies new/ --from signals.jsonl
  flyball policy backtest --policies new/ --against current/ --from signals.jsonl -o markdown")]
    Backtest(Backtest),
    /// Say what would happen to a signal, and why, clause by clause
    #[command(after_help = "Examples:
  flyball policy match -f signal.json --policies policies/ -n shop
  flyball policy match -f signal.json --policies policies/ --expect restart-on-memory-leak")]
    Match(Match),
    /// Show policies as they are meant: defaults filled in
    Show(Show),
    /// Say what differs between two sets of policies; exit code 1 if anything does
    Diff(Diff),
    /// Write a policy for a recorded signal, in shadow
    #[command(after_help = "Examples:
  flyball policy new -f signal.json --action restart > policies/restart-cart.yaml")]
    New(New),
    /// Let a policy act again that is in shadow because its last actions all failed their verification
    #[command(after_help = "Examples:
  flyball policy trust restart-on-memory-leak --reason 'the leak is fixed, the probe was wrong'")]
    Trust(Trust),
}

/// Which policy, and why.
#[derive(Args, Debug)]
pub struct Trust {
    /// The policy's name
    pub name: String,
    /// Why: it is kept in the ledger
    #[arg(long)]
    pub reason: String,
    /// Who says so
    #[arg(long, env = "USER", hide_env = true)]
    pub by: Option<String>,
    /// Where the engine is.
    #[command(flatten)]
    pub connection: Connection,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}

/// What to lint.
#[derive(Args, Debug)]
pub struct Lint {
    /// A file, or a folder with everything below it
    pub policies: PathBuf,
    /// Exit with 3 if there are warnings and no errors
    #[arg(long)]
    pub strict: bool,
    /// Compare the rights that the policies need with those of this file: ClusterRoles and Roles, as kubectl prints them
    #[arg(long, value_name = "FILE", conflicts_with = "kubeconfig")]
    pub role: Option<PathBuf>,
    /// Compare them with what the API server grants to this kubeconfig
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, if not its current one
    #[arg(long, requires = "kubeconfig")]
    pub context: Option<String>,
    /// Form of the answer
    #[arg(short = 'o', long = "output", value_name = "FORM", default_value = "text")]
    pub form: LintForm,
}

/// Forms of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LintForm {
    /// For people.
    Text,
    /// A list.
    Json,
    /// For code scanning.
    Sarif,
}

/// Which cases.
#[derive(Args, Debug)]
pub struct Test {
    /// Files or folders with cases
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Only cases whose name contains this text
    #[arg(long, value_name = "TEXT")]
    pub run: Option<String>,
    /// Say which policies and reasons no case has met
    #[arg(long)]
    pub coverage: bool,
    /// Say no if fewer policies than this, in per cent, were met
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub threshold: Option<u8>,
    /// Say no if there is no case
    #[arg(long, env = "CI", value_parser = clap::builder::FalseyValueParser::new())]
    pub require_tests: bool,
    /// Form of the answer
    #[arg(short = 'o', long = "output", value_name = "FORM", default_value = "text")]
    pub form: TestForm,
}

/// Forms of test results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TestForm {
    /// For people.
    Text,
    /// As data.
    Json,
    /// For CI systems.
    Junit,
}

/// What to backtest.
#[derive(Args, Debug)]
pub struct Backtest {
    /// The policies to try: a file, or a folder with everything below it
    #[arg(long, value_name = "PATH")]
    pub policies: PathBuf,
    /// Another set, to compare with
    #[arg(long, value_name = "PATH")]
    pub against: Option<PathBuf>,
    /// The signals: a file that `flyball signal record` has written; - for standard input
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Namespace of signals that name none
    #[arg(short = 'n', long, default_value = "default")]
    pub namespace: String,
    /// Take shadow policies for enforcing ones
    #[arg(long)]
    pub enforce: bool,
    /// Form of the answer
    #[arg(short = 'o', long = "output", value_name = "FORM", default_value = "text")]
    pub form: BacktestForm,
}

/// Forms of a backtest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BacktestForm {
    /// For people.
    Text,
    /// As data.
    Json,
    /// For a pull request.
    Markdown,
}

/// A signal, and what to hold it against.
#[derive(Args, Debug)]
pub struct Match {
    /// The signal; - for standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: PathBuf,
    /// The policies: a file, or a folder with everything below it
    #[arg(long, value_name = "PATH", env = "FLYBALL_POLICIES")]
    pub policies: PathBuf,
    /// Namespace of a signal that names none
    #[arg(short = 'n', long, default_value = "default")]
    pub namespace: String,
    /// Say no unless this policy would act
    #[arg(long, value_name = "POLICY")]
    pub expect: Option<String>,
    /// How many pods the target is taken to want and to have; without it a condition on the target cannot be evaluated
    #[arg(long, value_name = "N")]
    pub replicas: Option<i32>,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}

/// What to show.
#[derive(Args, Debug)]
pub struct Show {
    /// The policies: a file, or a folder with everything below it
    #[arg(long, value_name = "PATH", env = "FLYBALL_POLICIES")]
    pub policies: PathBuf,
    /// Only this one
    pub name: Option<String>,
    /// Say of each limit whether it is the policy's own, its profile's or the default
    #[arg(long)]
    pub resolved: bool,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}

/// Two sets.
#[derive(Args, Debug)]
pub struct Diff {
    /// The set of before
    pub before: PathBuf,
    /// The set of after
    pub after: PathBuf,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}

/// A new policy.
#[derive(Args, Debug)]
pub struct New {
    /// The signal that it is to be about; - for standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: PathBuf,
    /// What it asks for
    #[arg(long, value_parser = ["restart", "scale", "rollback", "deletePod"], default_value = "restart")]
    pub action: String,
    /// Its name; one made of the action and the trouble without it
    #[arg(long)]
    pub name: Option<String>,
    /// Namespace of a signal that names none
    #[arg(short = 'n', long, default_value = "default")]
    pub namespace: String,
}

/// Which schema.
#[derive(Args, Debug)]
pub struct Schema {
    /// Of what
    pub of: SchemaOf,
}

/// What has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// `kind: RemediationPolicy`.
    Policy,
    /// `kind: Guardrails`.
    Guardrails,
    /// An anomaly on the bus.
    Anomaly,
    /// A root cause analysis on the bus.
    Rca,
}
