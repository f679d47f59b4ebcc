//! Scenarios through the real pipeline on the simulated ports, in virtual time: one event a line, the answer after an
//! arrow. `FLYBALL_BLESS=1` writes the answers; read the difference before you believe it.
#![allow(missing_docs, reason = "tests say what they are by their names")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use flyball::app::{App, Settings};
use flyball::clock::TokioClock;
use flyball::intake::Reader;
use flyball::pipeline::Word;
use flyball::ready::Readiness;
use flyball::telemetry::Telemetry;
use flyball_core::deny::DenyReason;
use flyball_core::history::History;
use flyball_core::id::SignalId;
use flyball_core::intent::Stage;
use flyball_core::ports::{Clock, Message};
use flyball_core::record::{Entry, Pause, PauseScope, Record, Resume, Verdict};
use flyball_core::workload::Workload;
use flyball_sim::{Fault, Manifest, Race, World};
use jiff::{SignedDuration, Timestamp};

/// After the last line the world goes on for so long, so that everything comes to its end.
const AFTERMATH: SignedDuration = SignedDuration::from_hours(1);

struct Scenario {
    world: World,
    clock: Arc<dyn Clock>,
    app: Option<App>,
    start: Timestamp,
    policies: String,
    signals: u64,
    boots: u64,
}

impl Scenario {
    fn new() -> Self {
        let start: Timestamp = "2026-01-15T10:00:00Z".parse().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(start));
        Self {
            world: World::new(7, clock.clone()),
            clock,
            app: None,
            start,
            policies: String::new(),
            signals: 0,
            boots: 0,
        }
    }

    async fn boot(&mut self) {
        let reader = Reader { cluster: "sim".into(), namespace: "shop".into(), aliases: BTreeMap::new() };
        let policies = flyball_core::policy::load(&[("scenario".to_owned(), self.policies.clone())])
            .unwrap_or_else(|error| panic!("{error}"));
        self.boots += 1;
        let process = self.boots.to_string().into();
        let settings = Settings { replica: "one".into(), process, reader, policies };
        let told = Readiness::of(&[]);
        self.app = Some(App::start(self.world.ports(), settings, Telemetry::disabled(), &told).await.unwrap());
    }

    async fn until(&self, at: SignedDuration) {
        let left = self.start.checked_add(at).unwrap().duration_since(self.clock.now());
        self.clock.sleep(left.max(SignedDuration::ZERO)).await;
    }

    /// Does one line; a signal answers with its id.
    async fn act(&mut self, words: &[&str]) -> Option<SignalId> {
        let target = |text: &str| -> Workload { text.parse().unwrap() };
        match words {
            ["anomaly" | "rca" | "clear", ..] => return Some(self.signal(words)),
            ["edit", name, patch] => {
                assert!(self.world.cluster.edit(&target(name), &serde_json::from_str(patch).unwrap()));
            }
            ["bad-release", name] => {
                let workload = target(name);
                let image = serde_json::json!([{"name": &*workload.name, "image": "release-bad"}]);
                assert!(
                    self.world
                        .cluster
                        .edit(&workload, &serde_json::json!({"spec": {"template": {"spec": {"containers": image}}}}))
                );
            }
            ["undo-by-hand", name] => assert!(self.world.cluster.rollout_undo(&target(name))),
            ["recreate", name] => self.world.cluster.recreate(&target(name)),
            ["crash", name] => self.world.cluster.crash(&target(name)),
            ["heal", name] => self.world.cluster.heal(&target(name)),
            ["hpa", name] => self.world.cluster.set_hpa(&target(name), Some("HorizontalPodAutoscaler/front")),
            ["pdb", namespace, "on"] => self.world.cluster.set_pdb(namespace, Some("strict")),
            ["pdb", namespace, "off"] => self.world.cluster.set_pdb(namespace, None),
            ["opt-out", namespace] => {
                self.world.cluster.set_namespace_annotation(namespace, "flyball.dev/paused", Some("true"));
            }
            ["fault", "lost"] => self.world.cluster.fault(Fault::Lost),
            ["fault", "answer-lost"] => self.world.cluster.fault(Fault::AnswerLost),
            ["fault", "forbidden"] => self.world.cluster.fault(Fault::Forbidden),
            ["fault", "raced-status"] => self.world.cluster.fault(Fault::Raced(Race::Status)),
            ["fault", "raced-opt-out"] => {
                let opt_out = serde_json::json!({"metadata": {"annotations": {"flyball.dev/paused": "true"}}});
                self.world.cluster.fault(Fault::Raced(Race::Edit(opt_out)));
            }
            ["fault", "held", duration] => self.world.cluster.fault(Fault::Held(duration.parse().unwrap())),
            ["outage", duration] => self.world.cluster.outage(duration.parse().unwrap()),
            ["ledger-outage", duration] => self.world.ledger.outage(duration.parse().unwrap()),
            ["pause"] => self.pause().await,
            ["resume"] => self.resume().await,
            ["cancel", name] => self.cancel(&target(name)),
            ["restart-engine"] => {
                self.app.take().unwrap().stop().await;
                self.boot().await;
            }
            other => panic!("what is {other:?}?"),
        }
        None
    }

    async fn pause(&self) {
        let engine = &self.app.as_ref().unwrap().engine;
        let pause =
            Pause { id: "p1".into(), scope: PauseScope::All, reason: "a look".into(), by: "ana".into(), until: None };
        assert!(engine.admitter.write(|_| Some(Record::Paused(pause.clone()))).await);
    }

    /// Asks, and does not wait for the answer: what became of it is told by the intent.
    fn cancel(&self, target: &Workload) {
        let engine = self.app.as_ref().unwrap().engine.clone();
        let id = engine.book.history().open_on(target)[0];
        let word = Word { by: "ana".into(), reason: "a look".into() };
        tokio::spawn(async move { engine.cancel(id, word).await });
    }

    async fn resume(&self) {
        let resume = Resume { id: "p1".into(), by: "ana".into() };
        assert!(self.app.as_ref().unwrap().engine.admitter.write(|_| Some(Record::Resumed(resume.clone()))).await);
    }

    /// `rca CAUSE ns/name [confidence] [window=W]`, `anomaly TYPE ns/name [pod=P]`, `clear TYPE ns/name`.
    fn signal(&mut self, words: &[&str]) -> SignalId {
        self.signals += 1;
        let option = |name: &str| words.iter().find_map(|it| it.strip_prefix(name)).map(str::to_owned);
        let target: Workload = words[2].parse().unwrap();
        let window = option("window=").unwrap_or_else(|| format!("w{}", self.signals));
        let mut pod = serde_json::Value::Null;
        if option("pod=").is_some() {
            pod = self.world.cluster.pods(&target)[0].0.to_string().into();
        }
        let metadata = serde_json::json!({"namespace": &*target.namespace, "kind": target.kind.as_str(), "pod": pod});
        let body = if words[0] == "rca" {
            let confidence: f64 = option("confidence=").map_or(0.9, |it| it.parse().unwrap());
            serde_json::json!({"windowId": window, "service": &*target.name, "confidence": confidence, "metadata": metadata,
                "rankedCauses": [{"svc": &*target.name, "cause": words[1], "probability": 0.9}]})
        } else {
            serde_json::json!({"windowId": window, "service": &*target.name, "isAnomaly": words[0] == "anomaly", "score": 0.95,
                "type": words[1], "metadata": metadata})
        };
        let kind = if words[0] == "rca" { "rca" } else { "anomaly" };
        let mut message =
            Message { kind: Some(kind.into()), body: body.to_string().into_bytes(), ..Message::default() };
        message.published_at = self.clock.now();
        let reader = Reader { cluster: "sim".into(), namespace: "shop".into(), aliases: BTreeMap::new() };
        let id = reader.read(&message).unwrap_or_else(|refusal| panic!("{refusal}")).id;
        self.world.signals.publish(message);
        id
    }

    /// What became of a signal, in words.
    fn answer(&self, entries: &[Entry], id: &SignalId, nth: usize) -> String {
        let mut history = History::default();
        let mut answers = Vec::new();
        let since =
            |at: Timestamp| format!("+{:#}", SignedDuration::from_secs(at.duration_since(self.start).as_secs()));
        let reasons = |list: &[DenyReason]| {
            let word = |it: &DenyReason| {
                it.allowed_at()
                    .map_or_else(|| it.label().to_owned(), |at| format!("{} until {}", it.label(), since(at)))
            };
            list.iter().map(word).collect::<Vec<_>>().join(", ")
        };
        let about = |request: &flyball_core::action::ActionRequest| {
            request.cause == flyball_core::action::Cause::Signal(id.clone())
        };
        for entry in entries {
            history.apply(entry).unwrap();
            match &entry.record {
                Record::Admitted(list) => {
                    for it in list.iter().filter(|it| about(&it.request)) {
                        answers.push(format!("admit {}|{}", it.request.action, it.id));
                    }
                }
                Record::Deferred(it) if about(&it.request) => answers.push(format!("wait {}", reasons(&it.objections))),
                Record::Released(it) if about(&it.request) => answers.push(format!("deny {}", reasons(&it.reasons))),
                Record::Folded(notes) => {
                    for note in notes.iter().filter(|it| it.signal == *id) {
                        answers.push(match &note.verdict {
                            Verdict::Denied(list) => format!("deny {}", reasons(list)),
                            Verdict::Joined(list) => format!("join {}", reasons(list)),
                            Verdict::Shadow(list) if list.is_empty() => "shadow".to_owned(),
                            Verdict::Shadow(list) => format!("shadow-denied {}", reasons(list)),
                            Verdict::NoAction(why) => format!("none {}", why.label()),
                        });
                    }
                }
                _ => {}
            }
        }
        let told = answers.into_iter().map(|it| match it.split_once('|') {
            None => it,
            Some((admitted, intent)) => {
                let intent = history.intent(intent.parse().unwrap()).unwrap();
                let end = match intent.stage() {
                    Stage::Closed { outcome, at, .. } => format!("{} at {}", outcome.label(), since(*at)),
                    open => format!("still {}", open.label()),
                };
                let sends =
                    self.world.effects().iter().filter(|it| it.intent == Some(intent.id()) && it.accepted).count();
                format!("{admitted}, {end}, {sends} effect{}", if sends == 1 { "" } else { "s" })
            }
        });
        let told: Vec<String> = told.collect();
        // The same signal twice: each line tells the part that it added.
        if nth == 0 { told.join("; ") } else { told.last().cloned().unwrap_or_default() }
    }
}

async fn play(text: &str) -> String {
    let mut scenario = Scenario::new();
    let (policies, story) = text.split_once("\n===\n").expect("policies, a line of ===, then the story");
    scenario.policies = policies.to_owned();
    let mut lines: Vec<(String, Option<(SignalId, usize)>)> = Vec::new();
    let mut seen: BTreeMap<SignalId, usize> = BTreeMap::new();
    for line in story.lines() {
        let event = line.split(" -> ").next().unwrap_or_default().trim_end();
        let words: Vec<&str> = event.split_whitespace().collect();
        let mut signal = None;
        match words.as_slice() {
            [] => {}
            [comment, ..] if comment.starts_with('#') => {}
            ["put", name, replicas, rest @ ..] => {
                let mut manifest = Manifest::new(&name.parse().unwrap()).replicas(replicas.parse().unwrap());
                for option in rest {
                    let (key, value) = option.split_once('=').unwrap();
                    manifest = if let Some(label) = key.strip_prefix("label:") {
                        manifest.label(label, value)
                    } else {
                        manifest.annotation(key, value)
                    };
                }
                scenario.world.cluster.put(&manifest);
            }
            ["at", time, rest @ ..] => {
                if scenario.app.is_none() {
                    scenario.boot().await;
                }
                scenario.until(time.parse().unwrap()).await;
                signal = scenario.act(rest).await.map(|id| {
                    let nth = seen.entry(id.clone()).or_default();
                    *nth += 1;
                    (id, *nth - 1)
                });
            }
            other => panic!("what is {other:?}?"),
        }
        lines.push((event.to_owned(), signal));
    }
    scenario.clock.sleep(AFTERMATH).await;
    scenario.app.take().unwrap().stop().await;
    let entries = scenario.world.ledger.entries();
    let width = lines.iter().filter(|(_, signal)| signal.is_some()).map(|(event, _)| event.len()).max().unwrap_or(0);
    let told = lines.into_iter().map(|(event, signal)| match signal {
        Some((id, nth)) => format!("{event:width$} -> {}\n", scenario.answer(&entries, &id, nth)),
        None => format!("{event}\n"),
    });
    format!("{policies}\n===\n{}", told.collect::<String>())
}

#[test]
fn scenarios_end_as_told() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the scenarios are gone");
    let mut wrong = Vec::new();
    for file in files {
        let expected = fs::read_to_string(&file).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let told = runtime.block_on(play(&expected));
        if std::env::var_os("FLYBALL_BLESS").is_some() {
            fs::write(&file, &told).unwrap();
        } else if told != expected {
            let differs = |(want, got): (&str, &str)| format!("  - {want}\n  + {got}");
            let pairs = expected.lines().zip(told.lines()).filter(|(want, got)| want != got);
            wrong.push(format!("{}\n{}", file.display(), pairs.map(differs).collect::<Vec<_>>().join("\n")));
        }
    }
    assert!(wrong.is_empty(), "scenarios that did not end as told:\n{}", wrong.join("\n"));
}
