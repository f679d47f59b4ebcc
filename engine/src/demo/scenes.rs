//! The scenes. Each publishes signals the way everybody does and then waits, with a deadline, for what has to happen.

use std::pin::Pin;
use std::sync::Arc;

use flyball_core::history::History;
use flyball_core::id::Revision;
use flyball_core::intent::{Intent, Stage as At};
use flyball_core::ports::{Message, PortError, Ports, Tail};
use flyball_core::record::{Entry, Folded, Record, Verdict};
use flyball_core::workload::{Workload, WorkloadKind};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::SceneResult;
use super::told::Told;
use crate::app::App;
use crate::intake::Inbox;
use crate::publish::Publish;
use crate::wire::{SHOP, Simulated};

/// No scene takes longer, in virtual time.
const DEADLINE: SignedDuration = SignedDuration::from_mins(30);
/// Signals of the flood.
const FLOOD: u64 = 2_000;

type Playing<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + 'a>>;
type Scene = (&'static str, &'static str, for<'a> fn(&'a mut Stage<'_>) -> Playing<'a>);

const SCENES: [Scene; 7] = [
    ("A memory leak", "restarted, and recovered", |it| Box::pin(leak(it))),
    ("Latency", "one replica more, verified", |it| Box::pin(latency(it))),
    ("The same again", "denied CooldownActive, with the time of release", |it| Box::pin(again(it))),
    ("A bad release, named by an rca", "rolled back, verified", |it| Box::pin(release(it))),
    ("A patch whose pods never become healthy", "verification fails, undone", |it| Box::pin(patch(it))),
    ("A flood on one workload", "one action, everything else accounted for", |it| Box::pin(flood(it))),
    ("Garbage", "refused, with its reason", |it| Box::pin(garbage(it))),
];

struct Stage<'a> {
    app: &'a App,
    simulated: &'a Simulated,
    inbox: &'a Arc<Inbox>,
    ports: &'a Ports,
    tail: Box<dyn Tail>,
    history: History,
    told: Told,
    published: u64,
    seen: Vec<Entry>,
}

/// Plays all scenes in turn.
///
/// # Errors
/// The ledger cannot be followed, so that nothing could be told.
pub(super) async fn play(
    app: &App,
    simulated: &Simulated,
    inbox: &Arc<Inbox>,
    ports: &Ports,
    told: Told,
) -> Result<Vec<SceneResult>, PortError> {
    let tail = ports.ledger.follow(Revision::default()).await?;
    let mut stage =
        Stage { app, simulated, inbox, ports, tail, history: History::default(), told, published: 0, seen: Vec::new() };
    let mut results = Vec::new();
    for (number, (scene, expected, act)) in SCENES.into_iter().enumerate() {
        stage.told.title(number + 1, &format!("{scene}: {expected}"));
        let (began, signals, effects) = (ports.clock.now(), stage.published, stage.effects());
        let end = act(&mut stage).await;
        let took = ports.clock.now().duration_since(began);
        let passed = end.is_ok();
        let happened = end.unwrap_or_else(|why| why);
        if !passed {
            stage.told.line(ports.clock.now(), "NOT SO", happened.clone());
        }
        results.push(SceneResult {
            scene,
            expected,
            happened,
            passed,
            signals: stage.published - signals,
            effects: stage.effects() - effects,
            took: format!("{:#}", SignedDuration::from_secs(took.as_secs())),
            timeline: stage.told.take(),
        });
        stage.seen.clear();
    }
    Ok(results)
}

fn workload(name: &str) -> Workload {
    Workload::new(WorkloadKind::Deployment, SHOP, name)
}

impl Stage<'_> {
    fn effects(&self) -> usize {
        ["cart", "checkout", "payments", "search", "recommendations"]
            .into_iter()
            .map(|it| self.simulated.effects(&workload(it)))
            .sum()
    }

    async fn publish(&mut self, kind: &str, body: Vec<u8>) -> Result<u64, String> {
        self.published += 1;
        let message = Message { kind: Some(kind.to_owned()), body, ..Message::default() };
        self.inbox.publish(message).await.map_err(|error| error.to_string())
    }

    async fn signal(&mut self, kind: &str, body: &Value) -> Result<u64, String> {
        let said = format!("{kind} about {}: {}", body["service"].as_str().unwrap_or_default(), shortened(body));
        self.told.line(self.ports.clock.now(), "signal", said);
        self.publish(kind, body.to_string().into_bytes()).await
    }

    /// Follows the ledger until `found` finds something in what came, telling each entry.
    async fn until<T>(&mut self, what: &str, found: impl Fn(&History, &[Entry]) -> Option<T>) -> Result<T, String> {
        let deadline = self.ports.clock.now().saturating_add(DEADLINE).map_err(|error| error.to_string())?;
        loop {
            if let Some(found) = found(&self.history, &self.seen) {
                return Ok(found);
            }
            let left = deadline.duration_since(self.ports.clock.now());
            let entry = tokio::select! {
                entry = self.tail.next() => entry.map_err(|error| error.to_string())?,
                () = self.ports.clock.sleep(left) => return Err(format!("{what} did not happen within {DEADLINE:#}")),
            };
            self.history.apply(&entry).map_err(|error| error.to_string())?;
            self.told.entry(&entry, &self.history);
            self.seen.push(entry);
        }
    }

    async fn ended(&mut self, name: &str) -> Result<(&'static str, String), String> {
        let target = workload(name);
        let parent = |it: &&Intent| it.request().target == target && it.request().undoes().is_none();
        self.until("the end of the intent", |history, _| match history.intents().filter(parent).last()?.stage() {
            At::Closed { outcome, detail, .. } => Some((outcome.label(), detail.clone())),
            _ => None,
        })
        .await
    }

    async fn denied(&mut self, name: &str) -> Result<Folded, String> {
        let target = workload(name);
        self.until("a denial", |_, seen| {
            notes(seen).find(|it| it.target == target && matches!(it.verdict, Verdict::Denied(_))).cloned()
        })
        .await
    }

    /// The outcome has to be one of `outcomes`, with so many accepted changes.
    async fn ends(&mut self, name: &str, outcome: &str, effects: usize) -> Result<String, String> {
        let before = self.simulated.effects(&workload(name));
        let (label, detail) = self.ended(name).await?;
        let done = self.simulated.effects(&workload(name)) - before;
        if label != outcome || done != effects {
            return Err(format!("{label} with {done} changes ({detail}), expected {outcome} with {effects}"));
        }
        Ok(format!("{label}: {detail}"))
    }
}

fn notes(seen: &[Entry]) -> impl Iterator<Item = &Folded> {
    seen.iter().flat_map(|it| match &it.record {
        Record::Folded(notes) => notes.as_slice(),
        _ => &[],
    })
}

fn shortened(body: &Value) -> String {
    let cause = body["rankedCauses"][0]["cause"].as_str().map(|it| format!("{it}, confidence {}", body["confidence"]));
    cause.unwrap_or_else(|| format!("{} score {}", body["type"].as_str().unwrap_or_default(), body["score"]))
}

fn rca(service: &str, cause: &str, window: &str) -> Value {
    json!({"windowId": window, "service": service, "confidence": 0.93,
        "rankedCauses": [{"svc": service, "cause": cause, "probability": 0.88}]})
}

fn anomaly(service: &str, kind: &str, window: &str) -> Value {
    json!({"windowId": window, "service": service, "isAnomaly": true, "score": 0.96, "type": kind})
}

async fn leak(stage: &mut Stage<'_>) -> Result<String, String> {
    stage.signal("rca", &rca("cart", "memory_leak", "leak-1")).await?;
    stage.ends("cart", "Recovered", 1).await
}

async fn latency(stage: &mut Stage<'_>) -> Result<String, String> {
    stage.signal("anomaly", &anomaly("checkout", "latency", "latency-1")).await?;
    stage.ends("checkout", "RolledOut", 1).await
}

async fn again(stage: &mut Stage<'_>) -> Result<String, String> {
    stage.signal("anomaly", &anomaly("checkout", "latency", "latency-2")).await?;
    let denial = stage.denied("checkout").await?;
    let Verdict::Denied(reasons) = denial.verdict else { return Err("no denial".into()) };
    let until = reasons
        .first()
        .filter(|it| it.label() == "CooldownActive")
        .and_then(flyball_core::deny::DenyReason::allowed_at);
    until.map(|at| format!("denied CooldownActive until {at:.0}")).ok_or_else(|| format!("denied for {reasons:?}"))
}

async fn release(stage: &mut Stage<'_>) -> Result<String, String> {
    stage.simulated.release("payments", "payments:2-bad");
    stage.told.line(stage.ports.clock.now(), "meanwhile", "somebody releases payments:2-bad; its pods crash".into());
    stage.ports.clock.sleep(SignedDuration::from_secs(30)).await;
    stage.signal("rca", &rca("payments", "bad_release", "release-1")).await?;
    stage.ends("payments", "RolledOut", 1).await
}

async fn patch(stage: &mut Stage<'_>) -> Result<String, String> {
    stage.signal("rca", &rca("search", "image_regression", "patch-1")).await?;
    stage.ends("search", "RolledBack", 2).await
}

async fn flood(stage: &mut Stage<'_>) -> Result<String, String> {
    let at = stage.ports.clock.now();
    stage.told.line(at, "signal", format!("{FLOOD} anomalies about recommendations, each with a window of its own"));
    let inbox = stage.inbox.clone();
    let published = (0..FLOOD).map(|window| {
        let body = anomaly("recommendations", "resource", &format!("flood-{window}")).to_string().into_bytes();
        inbox.publish(Message { kind: Some("anomaly".into()), body, ..Message::default() })
    });
    futures::future::try_join_all(published).await.map_err(|error| error.to_string())?;
    stage.published += FLOOD;
    let target = workload("recommendations");
    let others = stage
        .until("every signal of the flood to be accounted for", |history, seen| {
            let others: u64 = notes(seen).filter(|it| it.target == target).map(|it| it.count).sum();
            let intents = history.intents().filter(|it| it.request().target == target).count() as u64;
            (others + intents >= FLOOD).then_some(others)
        })
        .await?;
    stage.ended("recommendations").await?;
    let effects = stage.simulated.effects(&target);
    if effects == 1 && others == FLOOD - 1 {
        Ok(format!("1 action, {others} denied, 0 unaccounted"))
    } else {
        Err(format!("{effects} changes and {others} others of {FLOOD} signals"))
    }
}

async fn garbage(stage: &mut Stage<'_>) -> Result<String, String> {
    let reader = crate::intake::Reader {
        cluster: "demo".into(),
        namespace: SHOP.into(),
        aliases: std::collections::BTreeMap::new(),
    };
    let mut reasons = Vec::new();
    for body in [
        &b"{\"windowId\": "[..],
        br#"{"windowId":"w","service":"cart","isAnomaly":true,"score":"high","type":"error"}"#,
    ] {
        let before = stage.inbox.refused();
        let text = String::from_utf8_lossy(body).into_owned();
        stage.told.line(stage.ports.clock.now(), "signal", text);
        stage.publish("anomaly", body.to_vec()).await?;
        let message = Message { kind: Some("anomaly".into()), body: body.to_vec(), ..Message::default() };
        let Err(refusal) = reader.read(&message) else { return Err("it was not refused".into()) };
        for _ in 0..1_000 {
            if stage.inbox.refused() > before {
                break;
            }
            stage.ports.clock.sleep(SignedDuration::from_millis(10)).await;
        }
        if stage.inbox.refused() == before {
            return Err("it was not kept with the dead letters".into());
        }
        stage.told.line(stage.ports.clock.now(), "refused", refusal.to_string());
        reasons.push(refusal.reason.as_str());
    }
    // What came after it must not have suffered.
    if stage.app.engine.stopping.is_cancelled() {
        Err("the engine has stopped".into())
    } else {
        Ok(format!("refused: {}", reasons.join(", ")))
    }
}
