//! Doing what the plan says.

use flyball::pipeline::Word;
use flyball_core::id::SignalId;
use flyball_core::intent::{Intent, Stage as Standing};
use flyball_core::ports::{Message, PortError};
use flyball_core::record::{Pause, Record};
use flyball_core::workload::{Workload, WorkloadKind};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::chronicle::{Phase, Trouble, What};
use super::plan::{Act, Hand, Op, TROUBLES};
use super::process::{Trap, Way};
use super::rare::Burst;
use super::stage::{Stage, Todo, reader};

/// How often somebody who wants to cancel looks for something to cancel: some seven seconds long.
const LOOKS: u32 = 1_000;

/// Calls that only a start makes: the next process of the replica is to die there.
const STARTS: [&str; 4] = ["append Started", "newest", "follow", "read checkpoint"];

/// A message as it was published.
pub(super) struct Published {
    pub(super) sequence: u64,
    /// None for bytes that are no signal.
    pub(super) id: Option<SignalId>,
    pub(super) what: String,
    /// When, of which trouble, about what.
    pub(super) at: Timestamp,
    pub(super) trouble: Option<(&'static str, Workload)>,
}

impl Stage {
    pub(super) fn act(&mut self, op: Op) {
        self.did(&op.act);
        let at = self.clock.now();
        self.chronicle.log().tell(at, || format!("[{}] {}", op.number, self.describe(&op.act)));
        let replicas = self.replicas.len();
        self.note_trouble(&op.act);
        match op.act {
            Act::Signal { trouble, target, window } => self.signal(trouble, target, window),
            Act::Killer => self.killer(),
            Act::Burst(burst) => self.burst(burst),
            Act::Upgrade { replica, rest } => self.upgrade(replica % replicas, rest),
            Act::Poison(kind) => self.poison(kind),
            Act::Redeliver(sequence) => self.world.signals.redeliver(sequence),
            Act::Kill { replica, trap, down } => self.arm(replica % replicas, trap, down),
            Act::Roll { replica } => {
                // A process that does not run cannot hear SIGTERM; one that is stopped hears it when it goes on.
                self.replicas[replica % replicas].stop.notify_one();
            }
            Act::Freeze { replica, lasting } => self.freeze(replica % replicas, lasting),
            Act::Step { replica, by } => self.replicas[replica % replicas].host.step(by),
            Act::Cut { replica, way, lasting } => self.replicas[replica % replicas].host.cut(way, after(at, lasting)),
            Act::Stall { replica, lasting } => self.replicas[replica % replicas].host.stall(after(at, lasting)),
            Act::Outage { way: Way::Ledger, lasting } => self.world.ledger.outage(lasting),
            Act::Outage { way: Way::Cluster, lasting } => self.world.cluster.outage(lasting),
            Act::Outage { way: Way::Bus, lasting } => {
                self.world.signals.outage(lasting);
                self.world.air.set_deaf(true);
                self.later(lasting, Todo::Hear);
            }
            Act::Ledger(fault) => self.world.ledger.fault(fault),
            Act::CutTails => self.world.ledger.cut(),
            Act::Forget { newest, accepted } => self.forget(newest, accepted),
            Act::Rot => self.world.ledger.damage_checkpoint(),
            Act::Cluster(fault) => self.world.cluster.fault(fault),
            Act::Unreadable => self.world.cluster.read_fault(PortError::Unavailable("500".into())),
            Act::LoseAcks(count) => self.world.signals.lose_acknowledgements(count),
            Act::Hand { target, hand } => self.touch(&self.targets[target].clone(), hand),
            Act::Cancel { replica } => self.cancel(replica % replicas),
            Act::Pause { replica, id, scope, lasting } => self.pause(replica % replicas, id, scope, lasting),
        }
    }

    /// What an act makes go wrong, and for how long: what is asked of a process to which nothing is wrong has to know.
    fn note_trouble(&self, act: &Act) {
        let (from, replicas) = (self.clock.now(), self.replicas.len());
        let for_ever = SignedDuration::from_hours(24);
        let (replica, what, lasting) = match act {
            Act::Freeze { replica, lasting } => (Some(replica % replicas), What::Frozen, *lasting),
            Act::Cut { replica, way, lasting } => (Some(replica % replicas), What::Out(*way), *lasting),
            Act::Stall { replica, lasting } => (Some(replica % replicas), What::Stalled, *lasting),
            Act::Outage { way, lasting } => (None, What::Out(*way), *lasting),
            // It is met by whoever appends next, whenever that is.
            Act::Ledger(_) | Act::Forget { .. } | Act::Burst(_) => (None, What::Out(Way::Ledger), for_ever),
            Act::CutTails => (None, What::Out(Way::Ledger), SignedDuration::from_secs(3)),
            // Whoever is well reads every other second, to tell whether it is ready.
            Act::Unreadable => (None, What::Out(Way::Cluster), SignedDuration::from_secs(15)),
            _ => return,
        };
        let trouble = Trouble { replica, what, from, until: after(from, lasting) };
        self.chronicle.log().troubles.push(trouble);
    }

    fn describe(&self, act: &Act) -> String {
        match act {
            Act::Signal { trouble, target, window } => {
                let (kind, word) = TROUBLES[*trouble];
                format!("{kind} {word} {} window w{window}", self.targets[*target])
            }
            Act::Hand { target, hand } => format!("somebody: {hand:?} {}", self.targets[*target]),
            Act::Kill { replica, trap, down } => {
                let (Trap { point, phase, after }, back) =
                    (trap, down.map_or("after the storm".into(), |it| format!("after {it:#}")));
                format!("r{replica} will die {phase:?} {point:?} (not the first {after}), back {back}")
            }
            other => format!("{other:?}"),
        }
    }

    pub(super) fn signal(&mut self, trouble: usize, target: usize, window: u64) {
        self.publish(trouble, &self.targets[target].clone(), target as u64, window);
        // What is counted seldom comes alone.
        if TROUBLES[trouble] == ("anomaly", "resource") {
            self.publish(trouble, &self.targets[target].clone(), target as u64, window + 5_000);
        }
    }

    /// A signal about a workload, which is number `about` of those that signals are about.
    fn publish(&mut self, trouble: usize, target: &Workload, about: u64, window: u64) {
        let window = format!("w{window}");
        let message = self.message(TROUBLES[trouble], target, &window);
        let id = reader().read(&message).expect("our own signals can be read").id;
        let sequence = self.world.signals.publish(message);
        self.chronicle.log().subjects.insert(sequence, about);
        let what = format!("{} {target} {window}", TROUBLES[trouble].1);
        let trouble = Some((TROUBLES[trouble].1, target.clone()));
        self.published.push(Published { sequence, id: Some(id), what, at: self.clock.now(), trouble });
    }

    fn message(&self, (kind, word): (&str, &str), target: &Workload, window: &str) -> Message {
        let pods = self.world.cluster.pods(target);
        let pod = if word == "error" { pods.first().map(|it| it.0.to_string()) } else { None };
        let metadata = json!({"namespace": &*target.namespace, "kind": target.kind.as_str(), "pod": pod});
        let body = if kind == "rca" {
            json!({"windowId": window, "service": &*target.name, "confidence": 0.9, "metadata": metadata,
                "rankedCauses": [{"svc": &*target.name, "cause": word, "probability": 0.9}]})
        } else {
            json!({"windowId": window, "service": &*target.name, "isAnomaly": kind == "anomaly", "score": 0.95,
                "type": word, "metadata": metadata})
        };
        let kind = if kind == "rca" { "rca" } else { "anomaly" };
        Message {
            kind: Some(kind.into()),
            body: body.to_string().into_bytes(),
            published_at: self.clock.now(),
            ..Message::default()
        }
    }

    /// A signal like any other, but for what it does to its reader.
    fn killer(&mut self) {
        let message = self.message(TROUBLES[0], &self.targets[0], "deadly");
        let sequence = self.world.signals.publish(message);
        self.chronicle.log().killers.insert(sequence, Vec::new());
        self.published.push(Published {
            sequence,
            id: None,
            what: "what kills its reader".to_owned(),
            at: self.clock.now(),
            trouble: None,
        });
    }

    fn burst(&mut self, burst: Burst) {
        // Its windows are nobody else's.
        match burst {
            Burst::Flood { target, count } => (0..count).for_each(|it| self.signal(1, target, 10_000 + it)),
            Burst::Crowd { count } => {
                for it in 0..count {
                    let one = Workload::new(WorkloadKind::Deployment, "crowd", &format!("one-{it}"));
                    self.publish(0, &one, 1_000 + it, 10_000);
                }
            }
        }
    }

    fn poison(&mut self, kind: usize) {
        let body = ["{\"windowId\": ", "[]", "{\"service\": 7, \"isAnomaly\": true}"][kind];
        let message = Message { kind: Some("anomaly".into()), body: body.as_bytes().to_vec(), ..Message::default() };
        let sequence = self.world.signals.publish(message);
        self.published.push(Published {
            sequence,
            id: None,
            what: format!("poison {body}"),
            at: self.clock.now(),
            trouble: None,
        });
    }

    fn arm(&mut self, replica: usize, trap: Trap, down: Option<SignedDuration>) {
        if STARTS.contains(&trap.point) {
            self.traps.insert(replica, trap);
            return;
        }
        let Some(process) = self.replicas[replica].process.clone() else { return };
        if trap.point == "fence" {
            // Only a send that somebody left unsettled is fenced off: this process leaves one, its next one is to die.
            process.arm(Some(Trap { point: "send", phase: Phase::Before, after: 0 }));
            self.traps.insert(replica, trap);
        } else {
            process.arm(Some(trap));
        }
        self.downs.insert(replica, down);
    }

    fn freeze(&mut self, replica: usize, lasting: SignedDuration) {
        let Some(process) = self.replicas[replica].process.clone().filter(|it| !it.is_stopped()) else { return };
        process.stop(true);
        self.later(lasting, Todo::Thaw(process.who));
    }

    fn pause(&mut self, replica: usize, id: u64, scope: usize, lasting: SignedDuration) {
        let scope = self.scope(scope);
        let Some(engine) = self.replicas[replica].engine() else { return };
        let pause =
            Pause { id: format!("p{id}").into(), scope, reason: "a look".into(), by: "people".into(), until: None };
        tokio::spawn(async move {
            engine.admitter.write(|_| Some(Record::Paused(pause.clone()))).await;
        });
        self.later(lasting, Todo::Resume(id));
    }

    /// Waits until there is something to cancel: most intents can be cancelled for a few milliseconds only.
    fn cancel(&mut self, replica: usize) {
        let Some(engine) = self.replicas[replica].engine() else { return };
        let (clock, word) = (self.clock.clone(), Word { by: "people".into(), reason: "a mistake".into() });
        tokio::spawn(async move {
            for _ in 0..LOOKS {
                let found = {
                    let history = engine.book.history();
                    let early = |it: &&Intent| {
                        matches!(it.stage(), Standing::Recorded | Standing::Sending { .. } | Standing::Unknown { .. })
                    };
                    history.open().find(early).map(Intent::id)
                };
                if let Some(id) = found {
                    // Whether they were in time is not for them to know beforehand.
                    let _ = engine.cancel(id, word).await;
                    return;
                }
                clock.sleep(SignedDuration::from_millis(7)).await;
            }
        });
    }

    fn touch(&mut self, target: &Workload, hand: Hand) {
        let cluster = &self.world.cluster;
        let edit = |patch: Value| {
            cluster.edit(target, &patch);
        };
        let image = |tag: String| json!({"spec": {"template": {"spec": {"containers": [{"name": &*target.name, "image": tag}]}}}});
        match hand {
            Hand::Annotate => edit(json!({"metadata": {"annotations": {"somebody": self.clock.now().to_string()}}})),
            Hand::Scale(replicas) => edit(json!({"spec": {"replicas": replicas}})),
            Hand::Release => edit(image(format!("release:{}", self.clock.now().as_second()))),
            Hand::BadRelease => edit(image("release-bad".into())),
            Hand::RolloutUndo => {
                cluster.rollout_undo(target);
            }
            Hand::Recreate => cluster.recreate(target),
            Hand::Crash => cluster.crash(target),
            Hand::Heal => cluster.heal(target),
            Hand::Autoscaler(on) => cluster.set_hpa(target, on.then_some("front")),
            Hand::Budget(on) => cluster.set_pdb(&target.namespace, on.then_some("strict")),
            Hand::OptOut(on) => {
                cluster.set_namespace_annotation(&target.namespace, "flyball.dev/paused", on.then_some("true"));
            }
        }
    }
}

fn after(at: Timestamp, lasting: SignedDuration) -> Timestamp {
    at.saturating_add(lasting).unwrap_or(Timestamp::MAX)
}
