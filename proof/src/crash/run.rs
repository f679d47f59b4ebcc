//! One run: a signal, an engine that dies at a point, heirs, and the judge.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flyball::ledger::{JetStreamOptions, StreamDraft};
use flyball_core::history::History;
use flyball_core::id::Revision;
use flyball_core::intent::{Intent, Stage};
use flyball_core::outcome::Outcome;
use flyball_core::record::Entry;
use flyball_core::workload::Workload as Target;
use flyball_devcluster::wait_until;
use jiff::{SignedDuration, Timestamp};

use super::action::Action;
use super::point::{How, POINTS, Point};
use super::scene::Scene;
use crate::judge::Evidence;
use crate::rig::{Line, Rig, SOON, outcome};
use crate::start::{Past, fill};

/// Entries of a past after which a checkpoint is due at once: 10,000 are.
const PAST: u64 = 10_500;
/// What is younger than this is remembered, so a past that is removed in part ends before.
const TWO_DAYS: SignedDuration = SignedDuration::from_hours(50);

/// Who goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heir {
    /// The same replica, restarted at once. No other runs.
    Same,
    /// Another replica, which ran all the time; the dead one stays dead.
    Other,
    /// Another that ran all the time, while the same is restarted at once.
    Both,
}

/// All of them.
pub const HEIRS: [Heir; 3] = [Heir::Same, Heir::Other, Heir::Both];

impl fmt::Display for Heir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Same => "same",
            Self::Other => "other",
            Self::Both => "both",
        })
    }
}

/// Which run.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Where the engine dies.
    pub point: Point,
    /// What it was doing.
    pub action: Action,
    /// Who goes on.
    pub heir: Heir,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--point {} --action {} --heir {}", self.point.name, self.action, self.heir)
    }
}

impl Case {
    /// Runs it, on the shared servers. Answers with what it took.
    ///
    /// # Errors
    /// What did not hold. The logs and the evidence are kept, and the error says where.
    pub fn run(self) -> Result<Duration> {
        let began = Instant::now();
        let mut rig = Rig::new("crash");
        let lines = self.lay(&mut rig);
        let ran = self.drive(&rig, &lines);
        let kept = ran.as_ref().err().map(|_| keep(&rig, &self));
        for replica in rig.replicas() {
            replica.kill();
        }
        drop(lines);
        match kept {
            None => sweep(&rig),
            Some(folder) => ran.with_context(|| format!("what was seen is in {}", folder.display()))?,
        }
        Ok(began.elapsed())
    }

    /// The replicas behind their wires. A second crash needs a third replica to go on.
    fn lay(self, rig: &mut Rig) -> BTreeMap<String, Line> {
        self.action.write_policies(rig, self.point.needs_undo());
        let names: &[&str] = match (self.heir, self.point.is_second()) {
            (Heir::Same, _) => &["one"],
            (_, false) => &["one", "two"],
            (_, true) => &["one", "two", "three"],
        };
        names.iter().map(|name| ((*name).to_owned(), rig.add_proxied(name).1)).collect()
    }

    fn drive(self, rig: &Rig, lines: &BTreeMap<String, Line>) -> Result<()> {
        let (target, kind, body) = self.action.prepare(rig)?;
        let (killed, deaths) = channel();
        let mut scenes = vec![Scene::new(self.point, killed.clone())];
        if self.point.is_second() {
            // First somebody has to die with an unsettled send.
            let first = POINTS.iter().find(|it| it.name == "patch-seen").expect("the point is in the list");
            scenes.insert(0, Scene::new(*first, killed));
        }
        if self.point.is_upkeep() {
            lay_past(rig)?;
        }
        for (name, line) in lines {
            for scene in &scenes {
                scene.arm(rig.replica(name), line);
            }
            rig.replica(name).launch();
        }
        // What keeps the ledger short comes before anything is ready.
        let dead = if self.point.is_upkeep() { Some(self.bury(rig, &deaths)?) } else { None };
        for name in lines.keys().filter(|it| self.heir != Heir::Other || dead.as_ref() != Some(it)) {
            wait_until("the replicas to be ready", SOON, || {
                rig.replica(name).ensure_running()?;
                rig.get_from(name, "/readyz").map(drop)
            })?;
        }
        let sequence = rig.publish(kind, &body, &[]);
        if self.point.is_cancelled() {
            cancel(rig)?;
        }
        if dead.is_none() {
            for _ in &scenes {
                self.bury(rig, &deaths)?;
            }
        }
        self.wait_for_rest(rig)?;
        self.judge(rig, &[sequence], &target)?;
        if self.point.how == How::Held {
            release(rig, &scenes)?;
            self.judge(rig, &[sequence], &target)?;
        }
        Ok(())
    }

    /// Waits for a death, and restarts the dead where the case says so. Answers with its name.
    fn bury(self, rig: &Rig, deaths: &Receiver<String>) -> Result<String> {
        let Ok(dead) = deaths.recv_timeout(SOON) else {
            let stages: Vec<_> = rig.history().intents().map(|it| it.stage().clone()).collect();
            bail!("nobody came to the point; intents: {stages:?}")
        };
        if self.heir != Heir::Other {
            rig.replica(&dead).launch();
        }
        Ok(dead)
    }

    /// Until every intent is closed and no delivery is outstanding.
    fn wait_for_rest(self, rig: &Rig) -> Result<()> {
        let intents = if self.point.needs_undo() { 2 } else { 1 };
        wait_until("everything to come to its end", SOON, || {
            let mut history = History::default();
            self.own(rig.read_entries()?).iter().try_for_each(|entry| history.apply(entry))?;
            let stages: Vec<&str> = history.intents().map(|it| it.stage().label()).collect();
            ensure!(history.intents().count() >= intents && history.open().next().is_none(), "intents: {stages:?}");
            let (pending, unacknowledged) = rig.unsettled()?;
            ensure!(pending == 0 && unacknowledged == 0, "{pending} deliveries wait, {unacknowledged} are outstanding");
            Ok(())
        })
    }

    /// The entries of this run: those of a past tell of other clusters, and some of them are removed.
    fn own(self, mut entries: Vec<Entry>) -> Vec<Entry> {
        if self.point.is_upkeep() {
            entries.retain(|it| it.revision.0 > PAST);
        }
        entries
    }

    fn judge(self, rig: &Rig, signals: &[u64], target: &Target) -> Result<()> {
        let mut evidence = Evidence::of(rig, &[], signals)?;
        evidence.entries = self.own(evidence.entries);
        if self.point.is_upkeep() {
            whole(rig)?;
        }
        let found: Vec<String> = evidence.judge_at_rest().iter().map(ToString::to_string).collect();
        ensure!(found.is_empty(), "{}", found.join("\n"));
        let history = rig.history();
        let intents: Vec<_> = history.intents().filter(|it| it.request().target == *target).collect();
        let wanted = if self.point.needs_undo() { 2 } else { 1 };
        ensure!(intents.len() == wanted, "{} intents instead of {wanted}", intents.len());
        let effects = evidence.effects();
        for intent in intents {
            let count = effects.get(&intent.id()).copied().unwrap_or(0);
            let end = outcome(intent);
            if self.point.is_cancelled() {
                ensure!(count == 0 && end == Outcome::Cancelled, "cancelled: {count} effects, {:?}", intent.stage());
                continue;
            }
            ensure!(count == 1, "S1: {} had {count} effects instead of one", intent.id());
            let taken_back = self.point.needs_undo() && intent.request().undoes().is_none();
            let good = if taken_back { end == Outcome::RolledBack } else { end.is_success() };
            ensure!(good, "{} ended as {end:?}: {:?}", intent.id(), intent.stage());
        }
        Ok(())
    }
}

/// Gives the ledger a past of which the beginning is older than what is kept.
fn lay_past(rig: &Rig) -> Result<()> {
    rig.runtime.block_on(async {
        let client = flyball::nats::connect(&rig.nats_url, "past").await?;
        let (options, first) = (JetStreamOptions::default(), Revision(1));
        let mut draft = StreamDraft::begin(client, &rig.name, options, "made-up past", first).await?;
        fill(&mut draft, Past::until(Timestamp::now() - TWO_DAYS, PAST)?, |_| ()).await
    })
}

/// Nothing is missing that was not given up: `flyball ledger verify` finds nothing wrong.
fn whole(rig: &Rig) -> Result<()> {
    let kubeconfig = rig.kubeconfig.display().to_string();
    let at = ["--ledger", "nats", "--nats", &rig.nats_url, "--kubeconfig", &kubeconfig, "--cluster", &rig.name];
    let name = &rig.replicas().first().context("a rig has a replica")?.name;
    let (code, told, said) = rig.flyball_at(name, &[&["ledger", "verify"][..], &at].concat());
    ensure!(code == 0, "the ledger is not whole: {told}{said}");
    Ok(())
}

/// A person cancels what has been sent and has no answer. The command may be cut off by the death that it leads to.
fn cancel(rig: &Rig) -> Result<()> {
    let unsettled = wait_until("a send without an answer", SOON, || {
        let history = rig.history();
        let found = history.open().find(|it| matches!(it.stage(), Stage::Sending { .. } | Stage::Unknown { .. }));
        found.map(Intent::id).context("not yet")
    })?;
    let name = &rig.replicas().first().context("a rig has a replica")?.name;
    rig.flyball_at(name, &["cancel", &unsettled.to_string(), "--reason", "a drill"]);
    Ok(())
}

/// Lets the held request go, long after an heir has done the work: the API server must refuse it.
fn release(rig: &Rig, scenes: &[Arc<Scene>]) -> Result<()> {
    let before = rig.audit.find(crate::judge::is_ours)?.len();
    let triggers: Vec<_> = scenes.iter().flat_map(|it| it.triggers()).collect();
    triggers.iter().for_each(crate::proxy::Trigger::release);
    wait_until("the held request to be answered", SOON, || {
        ensure!(triggers.iter().any(|it| it.hits() > 0), "not yet");
        Ok(())
    })?;
    let late = rig.audit.find(|it| crate::judge::is_ours(it) && it.namespace == rig.namespace)?;
    let last = late.last().context("nothing was asked of the API server")?;
    ensure!(before < rig.audit.find(crate::judge::is_ours)?.len(), "the held request never arrived");
    ensure!(!(200..300).contains(&last.code), "S6: the held request landed: {} {}", last.verb, last.uri);
    Ok(())
}

/// Puts the logs and the evidence of a run that failed where they outlive it.
fn keep(rig: &Rig, case: &Case) -> PathBuf {
    let name = format!("{}-{}-{}", case.point.name, case.action, case.heir);
    let folder = std::env::temp_dir().join(format!("flyball-crash-{}", std::process::id())).join(name);
    let save = || -> Result<()> {
        std::fs::create_dir_all(&folder)?;
        for replica in rig.replicas() {
            std::fs::copy(&replica.log, folder.join(format!("{}.log", replica.name)))?;
        }
        let evidence = Evidence::of(rig, &[], &[])?;
        std::fs::write(folder.join("ledger.txt"), format!("{:#?}\n", evidence.entries))?;
        std::fs::write(folder.join("requests.txt"), format!("{:#?}\n", evidence.requests))?;
        Ok(())
    };
    if let Err(error) = save() {
        eprintln!("what was seen could not be kept whole: {error:#}");
    }
    folder
}

/// Takes away what a good run left on the shared servers, so that hundreds of runs do not slow each other down. Best effort.
fn sweep(rig: &Rig) {
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/cart", rig.namespace);
    let _ = rig.cluster.api().delete(&path);
    rig.runtime.block_on(async {
        let context = rig.jetstream().await;
        let _ = context.delete_stream(format!("FLYBALL_LEDGER_{}", rig.name)).await;
        let _ = context.delete_stream(format!("FLYBALL_REPLICAS_{}", rig.name)).await;
        let _ = context.delete_stream(format!("FLYBALL_SNAPSHOTS_{}", rig.name)).await;
        let _ = context.delete_consumer_from_stream(format!("flyball-{}", rig.name), "FLYBALL_SIGNALS").await;
    });
}
