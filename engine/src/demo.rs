//! `flyball demo`: the real engine on the embedded ports, in virtual time, told as a story. Each scene says what has to
//! happen and fails if it does not.

mod scenes;
mod told;

use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use flyball_core::ports::Clock;
use serde::Serialize;
use tempfile::TempDir;

use crate::app::{App, Settings};
use crate::clock::TokioClock;
use crate::intake::{Inbox, Reader};
use crate::ledger::FileLedger;
use crate::ready::Readiness;
use crate::replicas::Alone;
use crate::telemetry::Telemetry;
use crate::wire::Simulated;
use told::Told;

/// The policies that the demo runs on: the shipped ones, and one of its own.
const POLICIES: [(&str, &str); 7] = [
    ("policies/guardrails.yaml", include_str!("../../policies/guardrails.yaml")),
    ("policies/restart-on-memory-leak/policy.yaml", include_str!("../../policies/restart-on-memory-leak/policy.yaml")),
    ("policies/scale-on-pressure/policy.yaml", include_str!("../../policies/scale-on-pressure/policy.yaml")),
    ("policies/rollback-bad-release/policy.yaml", include_str!("../../policies/rollback-bad-release/policy.yaml")),
    ("policies/raise-memory-on-oom/policy.yaml", include_str!("../../policies/raise-memory-on-oom/policy.yaml")),
    ("policies/evict-crashlooping-pod/policy.yaml", include_str!("../../policies/evict-crashlooping-pod/policy.yaml")),
    ("demo/policies.yaml", include_str!("demo/policies.yaml")),
];

/// The shipped policies, as `dev` uses them when none are named. All but the last of the demo's.
///
/// # Errors
/// A shipped policy is wrong: a test excludes it.
pub fn shipped() -> Result<flyball_core::policy::PolicySet> {
    load(&POLICIES[..POLICIES.len() - 1])
}

fn load(files: &[(&str, &str)]) -> Result<flyball_core::policy::PolicySet> {
    let files: Vec<(String, String)> =
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Ok(flyball_core::policy::load(&files)?)
}

/// Flags of `demo`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct DemoArgs {
    /// Form of what is told
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
}

/// Form of what is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// A timeline and a table.
    #[default]
    Text,
    /// The same as data.
    Json,
}

/// How a scene ended.
#[derive(Clone, Debug, Serialize)]
pub struct SceneResult {
    /// What it is about.
    pub scene: &'static str,
    /// What had to happen.
    pub expected: &'static str,
    /// What happened.
    pub happened: String,
    /// Whether that is the same.
    pub passed: bool,
    /// Signals published in it.
    pub signals: u64,
    /// Accepted changes of the cluster in it.
    pub effects: usize,
    /// Virtual time that it took.
    pub took: String,
    /// Its timeline.
    pub timeline: Vec<told::Line>,
}

/// Plays all scenes. True if each ended as told.
///
/// # Errors
/// The engine could not be started.
pub fn play(args: DemoArgs) -> Result<bool> {
    // One thread and paused time: five minutes of cooldown take none, and the story is the same each time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let results = runtime.block_on(stage(args.output))?;
    let passed = results.iter().all(|it| it.passed);
    match args.output {
        Form::Text => told::table(&results),
        Form::Json => println!("{}", serde_json::to_string_pretty(&results)?),
    }
    Ok(passed)
}

async fn stage(form: Form) -> Result<Vec<SceneResult>> {
    let folder = TempDir::with_prefix("flyball-demo-").context("making a temporary folder")?;
    let noon = "2026-01-15T12:00:00Z".parse().context("the demo's date")?;
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(noon));
    let simulated = Simulated::new(clock.clone());
    let inbox = Arc::new(Inbox::open(&folder.path().join("signals.redb"), clock.clone())?);
    let ledger = Arc::new(FileLedger::open(&folder.path().join("ledger.redb"), clock.clone())?);
    let ports = flyball_core::ports::Ports {
        signals: inbox.clone(),
        ledger,
        cluster: simulated.cluster(),
        replicas: Arc::<Alone>::default(),
        anchor: Arc::<flyball_sim::MemoryAnchor>::default(),
        clock,
    };
    let reader = Reader {
        cluster: "demo".into(),
        namespace: crate::wire::SHOP.into(),
        aliases: std::collections::BTreeMap::new(),
    };
    let settings = Settings { replica: "demo".into(), process: "1".into(), reader, policies: load(&POLICIES)? };
    let app = App::start(ports.clone(), settings, Telemetry::disabled(), &Readiness::of(&[])).await?;
    let told = Told::new(form == Form::Text, noon);
    let results = scenes::play(&app, &simulated, &inbox, &ports, told).await;
    app.stop().await;
    Ok(results?)
}
