//! The doors of one process: the world's ports, with everything between a process and its servers that can go wrong.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use flyball::pipeline::Engine;
use flyball_core::action::ActionRequest;
use flyball_core::chain::Head;
use flyball_core::expr::TargetView;
use flyball_core::facts::{Sighting, Snapshot};
use flyball_core::id::Revision;
use flyball_core::intent::{Attempt, Event, Execution, Fence};
use flyball_core::ports::{
    Answer, AppendError, Beat, Clock, Cluster, Ledger, PortError, Ports, Replicas, Shelf, Tail, Write,
};
use flyball_core::record::{Entry, Record, Topic};
use flyball_core::workload::Workload;
use flyball_sim::{Ear, MemoryLedger, World};
use jiff::{SignedDuration, Timestamp};

use super::bus::Bus;
use super::chronicle::{Departure, Phase};
use super::judge;
use super::process::{Process, Way};
use super::suspects::Suspects;

/// So long a call waits for an answer that a cut way swallows.
const PATIENCE: SignedDuration = SignedDuration::from_secs(2);

/// All doors of one process.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) process: Arc<Process>,
    pub(super) world: Arc<World>,
    /// The ledger, as the build of this process writes and reads it.
    ledger: Arc<MemoryLedger>,
    pub(super) newer: bool,
    /// When it was first given an entry that its build cannot read.
    pub(super) blind: Arc<OnceLock<Timestamp>>,
    pub(super) suspects: Arc<Suspects>,
    engine: Running,
}

/// The engine of a process, once it has started.
pub(super) type Running = Arc<Mutex<Option<Arc<Engine>>>>;

impl Doors {
    pub(super) fn new(
        process: Arc<Process>,
        world: Arc<World>,
        newer: bool,
        suspects: Arc<Suspects>,
        engine: Running,
    ) -> Self {
        let ledger = if newer { Arc::new(world.ledger.newer()) } else { world.ledger.clone() };
        Self { process, world, ledger, newer, blind: Arc::default(), suspects, engine }
    }

    /// The engine, once it has started.
    pub(super) fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the process was asked to stop.
    fn is_stopping(&self) -> bool {
        self.engine().is_some_and(|it| it.stopping.is_cancelled())
    }

    /// As the engine takes them.
    pub(super) fn ports(&self) -> Ports {
        let doors = Arc::new(self.clone());
        let ear = self.world.air.listen(self.process.clock.clone());
        let (anchor, signals) = (self.world.anchor.clone(), Arc::new(Bus::open(self)));
        let replicas = Arc::new(Voice { doors: self.clone(), ear });
        Ports { signals, ledger: doors.clone(), cluster: doors.clone(), replicas, anchor, clock: doors }
    }

    fn now(&self) -> Timestamp {
        self.process.clock.now()
    }

    /// Waits in vain where the way is cut. Whether it is.
    pub(super) async fn swallowed(&self, way: Way) -> bool {
        let cut = self.process.host.is_cut(way, self.now()).is_some();
        if cut {
            self.process.clock.sleep(PATIENCE).await;
            self.process.alive().await;
        }
        cut
    }

    /// A read: nothing happens by it.
    async fn read<T>(
        &self,
        way: Way,
        point: &'static str,
        read: Answer<'_, Result<T, PortError>>,
    ) -> Result<T, PortError> {
        self.process.cross(point, Phase::Before).await;
        if self.swallowed(way).await {
            return Err(PortError::Unavailable("cut off".into()));
        }
        self.process.travel().await;
        let answer = read.await;
        self.process.cross(point, Phase::After).await;
        answer
    }
}

impl Clock for Doors {
    fn now(&self) -> Timestamp {
        self.process.host.wall(self.process.clock.now())
    }

    fn monotonic(&self) -> SignedDuration {
        self.process.host.monotonic(self.process.clock.monotonic())
    }

    fn sleep(&self, duration: SignedDuration) -> Answer<'static, ()> {
        let (asleep, process) = (self.process.clock.sleep(duration), self.process.clone());
        Box::pin(async move {
            asleep.await;
            process.alive().await;
        })
    }
}

/// The name of an append, by what it says.
pub(super) fn append_point(record: &Record) -> &'static str {
    match record {
        Record::Admitted(_) => "append Admitted",
        Record::Deferred(_) => "append Deferred",
        Record::Released(_) => "append Released",
        Record::Paused(_) => "append Paused",
        Record::Resumed(_) => "append Resumed",
        Record::Folded(_) => "append Folded",
        Record::Symptom(_) => "append Symptom",
        Record::Sighted(_) => "append Sighted",
        Record::Trusted(_) => "append Trusted",
        Record::Demoted(_) => "append Demoted",
        Record::Started(_) => "append Started",
        Record::Accepted(_) => "append Accepted",
        Record::Purged { .. } => "append Purged",
        Record::Fence => "append Fence",
        Record::Happened(Event::Attempted { .. }) => "append Attempted",
        Record::Happened(Event::Unanswered { .. }) => "append Unanswered",
        Record::Happened(Event::Missed { .. }) => "append Missed",
        Record::Happened(Event::Applied(_)) => "append Applied",
        Record::Happened(Event::RolledOut) => "append RolledOut",
        Record::Happened(Event::Undoing { .. }) => "append Undoing",
        Record::Happened(Event::TakenOver { .. }) => "append TakenOver",
        Record::Happened(Event::Closed { .. }) => "append Closed",
        Record::Happened(Event::CancelAsked { .. }) => "append CancelAsked",
        Record::Happened(Event::Resolved { .. }) => "append Resolved",
    }
}

impl Ledger for Doors {
    fn append(&self, write: Write) -> Answer<'_, Result<Head, AppendError>> {
        Box::pin(async move {
            let (point, process) = (append_point(&write.record), &self.process);
            self.may_write(&write);
            if point == "append Attempted" && self.is_stopping() {
                let why = format!("r{} begins an attempt while it stops", process.who.replica);
                process.chronicle.log().breach("O4", Some(process.clock.now()), why);
            }
            process.cross(point, Phase::Before).await;
            if self.swallowed(Way::Ledger).await {
                return Err(AppendError::Unknown("cut off".into()));
            }
            judge::truthful(&mut process.chronicle.log(), process.who, self.now(), &write, &self.world);
            let (ledger, topic, record) = (self.ledger.clone(), write.topic, write.record.clone());
            let answer = process.leave(async move { ledger.append(write).await }).await;
            if let Ok(head) = &answer {
                self.landed(*head, topic, &record);
            }
            process.cross(point, Phase::After).await;
            if process.host.is_cut(Way::Ledger, self.now()).is_some() {
                return Err(AppendError::Unknown("cut off before the answer".into()));
            }
            answer
        })
    }

    fn identity(&self) -> Arc<str> {
        self.ledger.identity()
    }

    fn shelf(&self) -> Option<&dyn Shelf> {
        Some(self)
    }

    fn follow(&self, after: Revision) -> Answer<'_, Result<Box<dyn Tail>, PortError>> {
        Box::pin(async move {
            let tail = self.read(Way::Ledger, "follow", self.ledger.follow(after)).await?;
            Ok(Box::new(SlowTail { tail, doors: self.clone() }) as Box<dyn Tail>)
        })
    }

    fn newest(&self) -> Answer<'_, Result<Revision, PortError>> {
        self.read_boxed(Way::Ledger, "newest", self.ledger.newest())
    }
}

impl Doors {
    pub(super) fn read_boxed<'a, T: Send + 'a>(
        &'a self,
        way: Way,
        point: &'static str,
        read: Answer<'a, Result<T, PortError>>,
    ) -> Answer<'a, Result<T, PortError>> {
        Box::pin(self.read(way, point, read))
    }

    fn landed(&self, head: Head, topic: Topic, record: &Record) {
        let mut log = self.process.chronicle.log();
        log.authors.insert(head, self.process.who);
        let Topic::Intent(id) = topic else { return };
        match record {
            Record::Happened(Event::Attempted { .. }) => {
                log.unsettled.insert(id);
            }
            Record::Happened(Event::Applied(_) | Event::Missed { .. } | Event::Closed { .. }) => {
                log.unsettled.remove(&id);
            }
            _ => {}
        }
    }
}

/// A tail that lags: what a process knows is older than what is.
struct SlowTail {
    tail: Box<dyn Tail>,
    doors: Doors,
}

impl Tail for SlowTail {
    fn next(&mut self) -> Answer<'_, Result<Entry, PortError>> {
        Box::pin(async move {
            let entry = self.tail.next().await;
            let process = &self.doors.process;
            process.travel().await;
            process.alive().await;
            if process.host.is_cut(Way::Ledger, self.doors.now()).is_some() {
                return Err(PortError::Unavailable("cut off".into()));
            }
            self.doors.given(&entry);
            entry
        })
    }
}

impl Cluster for Doors {
    fn snapshot<'a>(&'a self, request: &'a ActionRequest) -> Answer<'a, Result<Option<Snapshot>, PortError>> {
        Box::pin(async move {
            let process = &self.process;
            let unsettled = process.chronicle.log().unsettled.contains(&request.id(super::stage::CLUSTER));
            let point = if unsettled { "read back" } else { "read target" };
            let seen = self.read(Way::Cluster, point, self.world.cluster.snapshot(request)).await?;
            if let Some(seen) = &seen {
                let version = seen.resource_version.parse().unwrap_or_default();
                process.chronicle.log().reads.insert((process.who, request.target.clone(), version));
            }
            Ok(seen)
        })
    }

    fn view(&self, target: &Workload) -> Option<TargetView> {
        self.world.cluster.view(target)
    }

    fn execute(&self, attempt: Attempt) -> Answer<'_, Execution> {
        Box::pin(async move {
            let process = &self.process;
            process.cross("send", Phase::Before).await;
            {
                let departure =
                    Departure { at: self.now(), who: process.who, intent: attempt.intent(), number: attempt.number() };
                process.chronicle.log().departures.push(departure);
            }
            if self.swallowed(Way::Cluster).await {
                return Execution::Unknown("cut off".into());
            }
            let cluster = self.world.cluster.clone();
            let answer = process.leave(async move { cluster.execute(attempt).await }).await;
            process.cross("send", Phase::After).await;
            if process.host.is_cut(Way::Cluster, self.now()).is_some() {
                return Execution::Unknown("cut off before the answer".into());
            }
            answer
        })
    }

    fn fence(&self, fence: Fence) -> Answer<'_, Execution> {
        Box::pin(async move {
            let process = &self.process;
            process.cross("fence", Phase::Before).await;
            if self.swallowed(Way::Cluster).await {
                return Execution::Unknown("cut off".into());
            }
            let cluster = self.world.cluster.clone();
            let answer = process.leave(async move { cluster.fence(fence).await }).await;
            process.cross("fence", Phase::After).await;
            if process.host.is_cut(Way::Cluster, self.now()).is_some() {
                return Execution::Unknown("cut off before the answer".into());
            }
            answer
        })
    }

    fn sight<'a>(
        &'a self,
        target: &'a Workload,
        evicted: Option<(&'a str, &'a str)>,
    ) -> Answer<'a, Result<Option<Sighting>, PortError>> {
        Box::pin(async move {
            let seen = self.read(Way::Cluster, "read rollout", self.world.cluster.sight(target, evicted)).await?;
            let process = &self.process;
            process.chronicle.log().sights.insert((process.who, target.clone()), seen.clone());
            Ok(seen)
        })
    }

    fn changed<'a>(&'a self, target: &'a Workload) -> Answer<'a, ()> {
        let hint = self.world.cluster.changed(target);
        Box::pin(async move {
            if let Some(until) = self.process.host.is_stalled(self.now()) {
                self.process.clock.sleep(until.duration_since(self.now())).await;
            }
            hint.await;
            self.process.alive().await;
        })
    }

    fn ready(&self) -> Answer<'_, Result<(), PortError>> {
        self.read_boxed(Way::Cluster, "ready", self.world.cluster.ready())
    }
}

/// What a process says to the other replicas and hears of them.
struct Voice {
    doors: Doors,
    ear: Ear,
}

impl Replicas for Voice {
    fn beat(&self, beat: Beat) -> Answer<'_, Result<(), PortError>> {
        self.doors.read_boxed(Way::Bus, "beat", self.ear.beat(beat))
    }

    fn hear(&self) -> Answer<'_, Beat> {
        Box::pin(async move {
            loop {
                let beat = self.ear.hear().await;
                let process = &self.doors.process;
                process.travel().await;
                process.alive().await;
                // Only the newest beat of a replica is kept, and another follows within a second.
                if process.host.is_cut(Way::Bus, self.doors.now()).is_none() {
                    return beat;
                }
            }
        })
    }
}
