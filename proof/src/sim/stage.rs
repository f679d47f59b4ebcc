//! One run: a world, replicas of the real engine on it, a storm, then calm in which everything has to come to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError};

use flyball::app::{App, Settings};
use flyball::clock::TokioClock;
use flyball::intake::Reader;
use flyball::ledger::{Pace, Retention, upkeep};
use flyball::pipeline::Engine;
use flyball::ready::Readiness;
use flyball::telemetry::Telemetry;
use flyball_core::policy::PolicySet;
use flyball_core::ports::Clock;
use flyball_core::record::{PauseScope, Record, Resume};
use flyball_core::workload::Workload;
use flyball_sim::{Manifest, World};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc};

use super::acts;
use super::chronicle::{Chronicle, Violation, Who};
use super::doors::{Doors, Running};
use super::fold::Fold;
use super::judge;
use super::plan::{Act, Op, Plan};
use super::process::{Host, Process, Trap};
use super::story;
use super::suspects::Suspects;

/// The cluster's name.
pub(super) const CLUSTER: &str = "sim";
/// After a process ended by itself its keeper starts another.
const RESTART: SignedDuration = SignedDuration::from_secs(1);
/// In the calm everything has to end within this: the longest verification, its undo's, a cooldown that a waiter sits out,
/// a signal's age, and what was held back.
const CALM: SignedDuration = SignedDuration::from_secs(150);
/// A checkpoint is due so soon that each run makes some.
const PACE: Pace = Pace { entries: 40, after: SignedDuration::from_secs(20) };
/// How often it is looked whether all has ended.
const LOOK: SignedDuration = SignedDuration::from_millis(500);

/// What a run came to.
pub(super) struct Report {
    pub(super) violations: Vec<Violation>,
    pub(super) marks: super::chronicle::Marks,
    pub(super) hash: u64,
    pub(super) calls: u64,
    pub(super) story: Vec<String>,
}

/// What is due.
#[derive(Clone, Debug)]
pub(super) enum Todo {
    Act(Op),
    Start(usize),
    Thaw(Who),
    Resume(u64),
    /// The replicas hear each other again.
    Hear,
    /// People look at a ledger that has forgotten, and accept it.
    Accept,
    /// The replicas that are not yet of the newer build become it.
    Upgrade,
}

/// One replica: its machine, and the process on it.
pub(super) struct Replica {
    pub(super) host: Arc<Host>,
    pub(super) process: Option<Arc<Process>>,
    pub(super) engine: Running,
    pub(super) stop: Arc<Notify>,
    /// Its next process is of the newer build.
    pub(super) newer: bool,
    lives: u32,
}

impl Replica {
    /// The engine of the process that runs, once it has started.
    pub(super) fn engine(&self) -> Option<Arc<Engine>> {
        self.process.as_ref().filter(|it| it.is_alive())?;
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A run under way.
pub(super) struct Stage {
    pub(super) plan: Plan,
    pub(super) world: Arc<World>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) chronicle: Arc<Chronicle>,
    pub(super) replicas: Vec<Replica>,
    pub(super) targets: Vec<Workload>,
    pub(super) published: Vec<acts::Published>,
    pub(super) suspects: Arc<Suspects>,
    /// Traps for each replica's next process: what happens at a start only.
    pub(super) traps: BTreeMap<usize, Trap>,
    /// How long each replica that died stays down.
    pub(super) downs: BTreeMap<usize, Option<SignedDuration>>,
    agenda: BTreeMap<(Timestamp, u64), Todo>,
    noted: u64,
    deaths: (mpsc::UnboundedSender<Who>, mpsc::UnboundedReceiver<Who>),
    start: Timestamp,
}

/// The policies of the simulated engines.
pub(super) fn policies() -> &'static PolicySet {
    static POLICIES: OnceLock<PolicySet> = OnceLock::new();
    POLICIES.get_or_init(|| {
        let text = include_str!("policies.yaml").to_owned();
        flyball_core::policy::load(&[("proof/src/sim/policies.yaml".to_owned(), text)])
            .expect("our own policies are sound")
    })
}

/// How the simulated engines read signals.
pub(super) fn reader() -> Reader {
    Reader { cluster: CLUSTER.into(), namespace: "shop".into(), aliases: BTreeMap::new() }
}

/// Runs a plan. With `told` the report has a story.
pub(super) fn run(plan: Plan, told: bool) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without IO needs nothing of the system");
    let panics = super::panics::Watch::begin();
    let report = runtime.block_on(async {
        let mut stage = Stage::new(plan, told);
        stage.remember().await;
        stage.storm().await;
        stage.heal();
        stage.calm().await;
        stage.report()
    });
    drop((runtime, panics));
    report
}

impl Stage {
    fn new(plan: Plan, told: bool) -> Self {
        let start: Timestamp = "2026-01-15T10:00:00Z".parse().expect("a time");
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(start));
        let world = Arc::new(World::new(plan.seed, clock.clone()));
        let mut targets = Vec::new();
        for (namespace, kind, name, replicas) in &plan.targets {
            let target = Workload::new(*kind, namespace, name);
            let manifest = Manifest::new(&target).replicas(*replicas);
            world.cluster.put(&manifest.image("old:1").then().image("new:1"));
            targets.push(target);
        }
        world.ledger.chaos(plan.odds.ledger.clone());
        world.cluster.chaos(plan.odds.cluster.clone());
        world.signals.chaos(plan.odds.acks);
        world.signals.set_ack_wait(SignedDuration::from_secs(2));
        world.cluster.keep_past();
        let replica = |at: usize| Replica {
            host: Arc::new(Host::new(plan.seed, at, plan.rates[at], plan.slow)),
            process: None,
            engine: Arc::default(),
            stop: Arc::default(),
            newer: false,
            lives: 0,
        };
        let replicas = (0..plan.replicas).map(replica).collect();
        Self {
            world,
            clock,
            chronicle: Arc::new(Chronicle::new(told)),
            replicas,
            targets,
            published: Vec::new(),
            suspects: Arc::default(),
            traps: BTreeMap::new(),
            downs: BTreeMap::new(),
            agenda: BTreeMap::new(),
            noted: 0,
            deaths: mpsc::unbounded_channel(),
            start,
            plan,
        }
    }

    /// Puts something on the agenda, so long after the start.
    fn note(&mut self, after: SignedDuration, todo: Todo) {
        self.noted += 1;
        let at = self.start.saturating_add(after).expect("a run is short");
        self.agenda.insert((at, self.noted), todo);
    }

    /// Puts something on the agenda, so long from now.
    pub(super) fn later(&mut self, wait: SignedDuration, todo: Todo) {
        let after = self.clock.now().duration_since(self.start) + wait;
        self.note(after, todo);
    }

    /// Forgets what was to be done.
    pub(super) fn clear_agenda(&mut self) {
        self.agenda.clear();
    }

    /// Goes on for so long.
    pub(super) async fn wait(&mut self, lasting: SignedDuration) {
        let end = self.clock.now().saturating_add(lasting).expect("a run is short");
        self.until(end).await;
    }

    async fn storm(&mut self) {
        self.start = self.clock.now();
        for op in self.plan.ops.clone() {
            self.note(op.at, Todo::Act(op));
        }
        (0..self.replicas.len()).for_each(|at| self.boot(at));
        let end = self.start.saturating_add(self.plan.storm).expect("a run is short");
        self.until(end).await;
    }

    /// Does what is due until then.
    async fn until(&mut self, end: Timestamp) {
        loop {
            let next = self.agenda.first_key_value().map_or(end, |((at, _), _)| (*at).min(end));
            let wait = next.duration_since(self.clock.now());
            tokio::select! {
                biased;
                Some(who) = self.deaths.1.recv() => self.died(who),
                () = self.clock.sleep(wait.max(SignedDuration::ZERO)) => {
                    let now = self.clock.now();
                    while let Some(first) = self.agenda.first_entry().filter(|it| it.key().0 <= now) {
                        let todo = first.remove();
                        self.perform(todo);
                    }
                    if now >= end {
                        return;
                    }
                }
            }
        }
    }

    fn perform(&mut self, todo: Todo) {
        match todo {
            Todo::Act(op) => self.act(op),
            Todo::Start(at) => self.boot(at),
            Todo::Thaw(who) => {
                if let Some(process) = self.replicas[who.replica].process.as_ref().filter(|it| it.who == who) {
                    process.stop(false);
                }
            }
            Todo::Resume(id) => self.resume(id),
            Todo::Accept => self.accept(),
            Todo::Upgrade => self.upgrade_all(),
            Todo::Hear => self.world.air.set_deaf(false),
        }
    }

    fn died(&mut self, who: Who) {
        let replica = &mut self.replicas[who.replica];
        if replica.process.as_ref().is_none_or(|it| it.who != who) {
            return;
        }
        replica.process = None;
        if let Some(wait) = self.downs.remove(&who.replica).unwrap_or(Some(RESTART)) {
            self.later(wait, Todo::Start(who.replica));
        }
    }

    /// Starts a process of a replica, if none runs.
    pub(super) fn boot(&mut self, at: usize) {
        if self.replicas[at].process.is_some() {
            return;
        }
        let replica = &mut self.replicas[at];
        replica.lives += 1;
        let who = Who { replica: at, life: replica.lives };
        let (host, chronicle, deaths) = (replica.host.clone(), self.chronicle.clone(), self.deaths.0.clone());
        let process = Arc::new(Process::new(who, host, chronicle, self.clock.clone(), deaths));
        process.arm(self.traps.remove(&at));
        replica.process = Some(process.clone());
        (replica.engine, replica.stop) = (Arc::default(), Arc::default());
        let (engine, stop) = (replica.engine.clone(), replica.stop.clone());
        let (world, suspects) = (self.world.clone(), self.suspects.clone());
        let doors = Doors::new(process.clone(), world, replica.newer, suspects, engine.clone());
        self.chronicle.log().tell(self.clock.now(), || format!("r{at} starts, life {}", who.life));
        tokio::spawn(live(process, doors, engine, stop));
    }

    /// All faults end: servers answer, clocks are right, people take back what they switched.
    fn heal(&mut self) {
        let now = self.clock.now();
        self.chronicle.log().tell(now, || "all faults end".to_owned());
        self.world.cluster.calm();
        self.world.ledger.calm();
        self.world.signals.calm();
        self.world.air.set_deaf(false);
        for target in &self.targets {
            self.world.cluster.set_hpa(target, None);
            self.world.cluster.set_pdb(&target.namespace, None);
            self.world.cluster.set_namespace_annotation(&target.namespace, "flyball.dev/paused", None);
        }
        self.agenda.retain(|_, todo| !matches!(todo, Todo::Act(_)));
        self.downs.clear();
        self.traps.clear();
        self.finish_upgrade();
        self.accept();
        for at in 0..self.replicas.len() {
            let replica = &self.replicas[at];
            replica.host.heal();
            if let Some(process) = &replica.process {
                process.arm(None);
                process.stop(false);
            }
        }
        // Who is dead may stay so, as long as somebody is left or comes back.
        let returns = self.agenda.values().any(|it| matches!(it, Todo::Start(_)));
        if !returns && self.replicas.iter().all(|it| it.process.is_none()) {
            self.boot(0);
        }
    }

    async fn calm(&mut self) {
        let end = self.clock.now().saturating_add(CALM).expect("a run is short");
        let mut fold = Fold::default();
        while self.clock.now() < end {
            let next = self.clock.now().saturating_add(LOOK).expect("a run is short");
            self.until(next).await;
            self.world.ledger.read(|entries| fold.follow(entries));
            self.release(&fold);
            self.accept();
            if self.is_quiet(&fold) {
                // Once more, so that whoever would act a second time does.
                self.wait(LOOK * 4).await;
                self.world.ledger.read(|entries| fold.follow(entries));
                if self.is_quiet(&fold) {
                    return;
                }
            }
        }
    }

    fn is_quiet(&self, fold: &Fold) -> bool {
        fold.is_quiet() && self.world.signals.unsettled() == 0
    }

    /// People release every pause that is still in force.
    fn release(&self, fold: &Fold) {
        let Some(engine) = self.replicas.iter().find_map(Replica::engine) else { return };
        for id in fold.pauses.keys().cloned() {
            let engine = engine.clone();
            tokio::spawn(async move {
                let record = Record::Resumed(Resume { id: id.clone(), by: "people".into() });
                let open = |it: &flyball_core::history::History, now| it.pauses(now).any(|(_, pause)| pause.id == id);
                engine.admitter.write(|it| open(it, engine.book.now()).then(|| record.clone())).await;
            });
        }
    }

    fn resume(&self, id: u64) {
        let Some(engine) = self.replicas.iter().find_map(Replica::engine) else { return };
        tokio::spawn(async move {
            let record = Record::Resumed(Resume { id: format!("p{id}").into(), by: "people".into() });
            engine.admitter.write(|_| Some(record.clone())).await;
        });
    }

    /// What a pause of the plan covers.
    pub(super) fn scope(&self, scope: usize) -> PauseScope {
        match scope {
            0 => PauseScope::All,
            1 => PauseScope::Namespace("shop".into()),
            other => PauseScope::Target(self.targets[(other - 2) % self.targets.len()].clone()),
        }
    }

    fn report(self) -> Report {
        for text in super::panics::Watch::seen() {
            self.chronicle.log().breach("panic", None, text);
        }
        judge::judge(&self);
        let told = story::told(&self);
        let log = self.chronicle.log();
        let (violations, marks, calls) = (log.violations.clone(), log.marks.clone(), log.calls);
        drop(log);
        let hash = self.chronicle.hash(&story::history(&self));
        Report { violations, marks, hash, calls, story: told }
    }

    /// Since the start.
    pub(super) fn since(&self, at: Timestamp) -> SignedDuration {
        at.duration_since(self.start)
    }

    /// Kinds of acts that were done.
    pub(super) fn did(&self, act: &Act) {
        let name = format!("{act:?}");
        let word = name.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
        self.chronicle.log().mark(format!("fault: {word}"));
    }
}

/// The life of a process: it starts, runs until it is asked to stop or something in it fails, and ends.
async fn live(process: Arc<Process>, doors: Doors, engine: Running, stop: Arc<Notify>) {
    let settings = Settings {
        replica: format!("r{}", process.who.replica).into(),
        process: process.who.process().into(),
        reader: reader(),
        policies: policies().clone(),
    };
    let end = match App::start(doors.ports(), settings, Telemetry::disabled(), &Readiness::of(&[])).await {
        Err(error) => format!("could not start: {error:#}"),
        Ok(mut app) => {
            let (book, stopping) = (app.engine.book.clone(), app.engine.stopping.clone());
            let keeping = upkeep(book, app.engine.clock.clone(), PACE, Retention::default(), stopping);
            app.spawn("upkeep", keeping);
            *engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(app.engine.clone());
            match app.run(stop.notified()).await {
                Ok(()) => "as it was asked to".to_owned(),
                Err(error) => format!("by itself: {error:#}"),
            }
        }
    };
    // One that cannot read the ledger has to halt, and an upgrade ends that.
    let blind = doors.blind.get().is_some();
    let forgot = process.chronicle.log().loss.is_some();
    if end.contains("cannot be trusted") && !forgot && !blind {
        let at = process.clock.now();
        process.chronicle.log().breach("L1", Some(at), format!("r{} halts {end}", process.who.replica));
    }
    process.kill(&end);
}
