//! One crash point, armed on the wires of every replica: whoever comes there first dies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use flyball_core::facts::{STAMP_FENCE, STAMP_INTENT};
use serde_json::Value;

use super::point::{How, Point, What};
use crate::proxy::{ApiAct, Call, Direction, Message, NatsAct, Rule, Trigger};
use crate::rig::{Line, Replica};

/// In the subject of a piece of a checkpoint.
const CHUNK: &str = ".chunk.";

/// What the wires of one run share.
pub(super) struct Scene {
    point: Point,
    /// Somebody came to the point, and is being killed.
    claimed: AtomicBool,
    /// The effect is on the ledger.
    applied: AtomicBool,
    /// The stamp of the first effect: another one is the undo's.
    first: Mutex<Option<String>>,
    /// Takes the names of those that were killed.
    killed: Sender<String>,
    /// What is held on some wire.
    held: Mutex<Vec<Trigger>>,
}

impl Scene {
    pub(super) fn new(point: Point, killed: Sender<String>) -> Arc<Self> {
        Arc::new(Self {
            point,
            claimed: AtomicBool::new(false),
            applied: AtomicBool::new(false),
            first: Mutex::default(),
            killed,
            held: Mutex::default(),
        })
    }

    /// Puts the point's rules on the wires of one replica.
    pub(super) fn arm(self: &Arc<Self>, replica: &Arc<Replica>, line: &Line) {
        if self.point.what == What::VerifyingRead {
            let scene = self.clone();
            let stored = Rule::on(|it: &Message| said(it).as_deref() == Some("Applied"))
                .after(move |_| scene.applied.store(true, Ordering::SeqCst));
            line.nats.add(stored.act(NatsAct::Answer(Box::new(NatsAct::Pass))));
        }
        if self.point.is_cancelled() {
            let effect = Rule::on(|it: &Call| it.verb == "patch" && mark(it, STAMP_INTENT).is_some());
            line.api.add(effect.act(ApiAct::Refuse { status: 504, retry_after: None }));
        }
        match self.point.what {
            What::Delivery
            | What::Append(_)
            | What::UndoAdmission
            | What::Acknowledgement
            | What::Checkpoint
            | What::Label
            | What::Removal => self.arm_nats(replica, line),
            What::Read
            | What::VerifyingRead
            | What::Patch
            | What::UndoPatch
            | What::Eviction
            | What::Fence
            | What::CancelFence => self.arm_api(replica, line),
        }
    }

    fn arm_nats(self: &Arc<Self>, replica: &Arc<Replica>, line: &Line) {
        let scene = self.clone();
        let rule = Rule::on(move |it: &Message| scene.is_the_message(it) && scene.claim());
        let kill = self.killer(replica);
        // What comes down has no answer: it is answered when it has arrived.
        let rule = match (self.point.how, self.point.what) {
            (How::Seen, _) => rule.before(kill).act(NatsAct::Drop),
            (How::Flying, _) => rule.before(kill),
            (How::Held, _) => rule.before(kill).act(NatsAct::Hold),
            (How::Done, _) => rule.before(kill).act(NatsAct::swallow_answer()),
            (How::Answered, What::Delivery) => rule.after(kill),
            (How::Answered, _) => rule.after(kill).act(NatsAct::Answer(Box::new(NatsAct::Pass))),
        };
        self.hold(line.nats.add(rule));
    }

    fn arm_api(self: &Arc<Self>, replica: &Arc<Replica>, line: &Line) {
        let scene = self.clone();
        let rule = Rule::on(move |it: &Call| scene.is_the_call(it) && scene.claim());
        let kill = self.killer(replica);
        let rule = match self.point.how {
            How::Seen => rule.before(kill).act(ApiAct::Swallow),
            How::Flying => rule.before(kill),
            How::Held => rule.before(kill).act(ApiAct::Hold),
            How::Done | How::Answered => rule.after(kill).act(ApiAct::DropAnswer),
        };
        self.hold(line.api.add(rule));
    }

    fn hold(&self, trigger: Trigger) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(trigger);
    }

    /// What the point's rules were: one of them was carried out.
    pub(super) fn triggers(&self) -> Vec<Trigger> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is there and nobody has died of it yet.
    fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::SeqCst)
    }

    fn killer<M>(self: &Arc<Self>, replica: &Arc<Replica>) -> impl Fn(&M) + Send + Sync + use<M> {
        let (replica, killed) = (replica.clone(), Mutex::new(self.killed.clone()));
        move |_| {
            replica.kill();
            // The run may have given up by now.
            let _ = killed.lock().unwrap_or_else(PoisonError::into_inner).send(replica.name.clone());
        }
    }

    fn is_the_message(&self, message: &Message) -> bool {
        match self.point.what {
            What::Delivery => message.direction == Direction::Down && message.subject.starts_with("flyball.signal.v1."),
            What::Acknowledgement => is_acknowledgement(message),
            What::Checkpoint => asks(message, "flyball.snapshot.") && message.subject.contains(CHUNK),
            What::Label => asks(message, "flyball.snapshot.") && !message.subject.contains(CHUNK),
            What::Removal => asks(message, "$JS.API.STREAM.PURGE.FLYBALL_LEDGER_"),
            What::Append(entry) => said(message).as_deref() == Some(entry),
            What::UndoAdmission => said(message).as_deref() == Some("Admitted") && message.text().contains("\"Undo\":"),
            _ => false,
        }
    }

    fn is_the_call(&self, call: &Call) -> bool {
        let on_target = call.resource == "deployments" && call.name == "cart";
        let mark = |name: &str| mark(call, name);
        let patches = on_target && call.verb == "patch";
        match self.point.what {
            What::Read => on_target && call.verb == "get",
            What::VerifyingRead => on_target && call.verb == "get" && self.applied.load(Ordering::SeqCst),
            What::Patch => patches && mark(STAMP_INTENT).is_some(),
            What::UndoPatch => patches && mark(STAMP_INTENT).is_some_and(|stamp| self.is_another(stamp)),
            What::Fence | What::CancelFence => patches && mark(STAMP_FENCE).is_some(),
            What::Eviction => call.subresource == "eviction",
            _ => false,
        }
    }

    fn is_another(&self, stamp: &str) -> bool {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        *first.get_or_insert_with(|| stamp.to_owned()) != stamp
    }
}

/// The annotation that a request writes.
fn mark<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.body["metadata"]["annotations"][name].as_str()
}

/// Something that goes up to the server under a subject that begins so.
fn asks(message: &Message, subject: &str) -> bool {
    message.direction == Direction::Up && message.subject.starts_with(subject)
}

/// An acknowledgement that ends a delivery: not one that asks for more time.
fn is_acknowledgement(message: &Message) -> bool {
    let ends = message.payload.is_empty() || message.payload.starts_with(b"+ACK");
    message.direction == Direction::Up && message.subject.starts_with("$JS.ACK.FLYBALL_SIGNALS.") && ends
}

/// The name of the entry that a message appends to the ledger; of an event, the event's.
fn said(message: &Message) -> Option<String> {
    if !asks(message, "flyball.ledger.") {
        return None;
    }
    let body: Value = serde_json::from_slice(&message.payload).ok()?;
    let record = &body["record"];
    let (name, inner) = variant(record)?;
    if name == "Happened" { variant(inner).map(|(event, _)| event) } else { Some(name) }
}

fn variant(value: &Value) -> Option<(String, &Value)> {
    match value {
        Value::String(name) => Some((name.clone(), &Value::Null)),
        Value::Object(map) => map.iter().next().map(|(name, inner)| (name.clone(), inner)),
        _ => None,
    }
}
