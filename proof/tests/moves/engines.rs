//! An engine that moves its own ledger under load, killed, and the command that goes on without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use flyball::ledger::stored::Store;
use flyball_core::ports::Ledger;
use flyball_devcluster::wait_until;
use flyball_proof::rig::{Replica, SOON, shared_nats};
use serde_json::{Value, json};

use super::bed::{self, ENTRIES, Source, holds, runtime, told};
use super::scene::{End, How, NOWHERE, Point, Scene, What, each, ends};

/// A request that takes longer has no answer.
const PATIENCE: Duration = Duration::from_secs(10);

fn http() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(PATIENCE).build()?)
}

/// An engine on simulated workloads, with its signals in NATS.
fn dev(scene: &Scene, ledger: &str, url: &str) -> Arc<Replica> {
    let mut engine = Replica::new("engine", scene.path("log"));
    let listen = format!("127.0.0.1:{}", engine.port);
    let texts = ["dev", "--cluster", &scene.cluster, "--listen", &listen, "--ledger", ledger, "--nats", url];
    engine.arguments = texts.into_iter().map(Into::into).collect();
    Arc::new(engine)
}

/// Starts it and waits until it is ready.
fn ready(engine: &Replica) -> Result<()> {
    engine.launch();
    wait_until("a ready engine", SOON, || {
        engine.ensure_running()?;
        let asked = async { anyhow::Ok(http()?.get(format!("{}/readyz", engine.url())).send().await?.status()) };
        let status = runtime().block_on(asked)?;
        ensure!(status == 200, "{status}");
        Ok(())
    })
}

/// Asks it to move; whether it has begun.
fn asked(scene: &Scene, engine: &Replica, to: &str) -> Result<()> {
    let body = json!({"to": to, "cluster": scene.cluster}).to_string();
    runtime().block_on(async {
        let answer = http()?.post(format!("{}/v1/ledger/migrate", engine.url())).body(body).send().await?;
        let (status, said) = (answer.status(), answer.text().await?);
        ensure!(status == 202, "{status}: {said}");
        Ok(())
    })
}

/// How far it says that it is.
pub(crate) fn step(url: &str) -> Result<String> {
    let asked = async { anyhow::Ok(http()?.get(format!("{url}/v1/ledger/migrate")).send().await?.json().await?) };
    let answer: Value = runtime().block_on(asked)?;
    Ok(answer["step"].as_str().unwrap_or_default().to_owned())
}

/// Presses a pause; whether it was confirmed.
pub(crate) async fn press(http: &reqwest::Client, url: &str, name: &str, number: usize) -> Option<String> {
    let reason = format!("{name} {number}");
    let body = json!({"scope": {"namespace": format!("{name}-{number}")}, "reason": reason}).to_string();
    let answer = http.post(format!("{url}/v1/pauses")).body(body).send().await.ok()?;
    (answer.status() == 201).then_some(reason)
}

/// Presses one pause after the other until it is told to stop or nobody answers: those that were confirmed.
pub(crate) async fn presses(url: String, stop: Arc<AtomicBool>, name: &'static str) -> Vec<String> {
    let (Ok(http), mut confirmed) = (http(), Vec::new()) else { return Vec::new() };
    while !stop.load(Ordering::SeqCst) {
        let Some(reason) = press(&http, &url, name, confirmed.len()).await else { break };
        confirmed.push(reason);
    }
    confirmed
}

/// Lets it move, kills it at the point, goes on with the command, and compares.
fn killed(scene: &Scene, engine: &Arc<Replica>, to: &str, point: Point) -> Result<String> {
    let (from, file) = (if to == "nats" { scene.text("ledger") } else { "nats".to_owned() }, scene.text("ledger"));
    let stop = Arc::new(AtomicBool::new(false));
    let mut pressing = None;
    scene.armed.store(false, Ordering::SeqCst);
    let end = scene.dies(engine, point, || {
        // Not before a whole lease has gone by in which nobody else was heard.
        wait_until("a move", SOON, || {
            scene.armed.store(true, Ordering::SeqCst);
            let begun = asked(scene, engine, to);
            scene.armed.store(begun.is_ok(), Ordering::SeqCst);
            begun
        })?;
        pressing = Some(runtime().spawn(presses(engine.url(), stop.clone(), "load")));
        Ok(())
    })?;
    let End::Killed(late) = end else { anyhow::bail!("it ended by itself: {}", engine.said()) };
    stop.store(true, Ordering::SeqCst);
    let confirmed = match pressing {
        Some(pressing) => runtime().block_on(pressing)?,
        None => Vec::new(),
    };
    let url = shared_nats().url();
    let arguments =
        ["ledger", "migrate", "--to", to, "--ledger", &from, "--nats", &url, "--mark-beside", "--server", NOWHERE];
    let (code, said) = ends(&scene.process(&arguments))?;
    ensure!(code == 0 || (code == 1 && said.contains("was moved to")), "{code}: {said}");
    let compared = |what: &str| -> Result<()> {
        let (stream, file) = (bed::stream(&scene.cluster)?, bed::open(&scene.path("ledger"))?);
        let (old, new): (&dyn Store, &dyn Store) = if to == "nats" { (&file, &stream) } else { (&stream, &file) };
        let (before, after) = runtime().block_on(async { anyhow::Ok((told(old).await?, told(new).await?)) })?;
        ensure!(
            after.len() >= before.len() && after[..before.len()] == before,
            "{what}: the old one is not its beginning"
        );
        let new: &dyn Ledger = if to == "nats" { &stream } else { &file };
        holds(new, &confirmed)
    };
    compared("run again")?;
    let mut told = format!("{} confirmed, {}", confirmed.len(), if code == 0 { "went on" } else { "was over" });
    if let Some(late) = late {
        let answer = late.arrives()?;
        ensure!(answer.contains(r#""error""#) || !matches!(point.0, What::Entry(_)), "it landed late: {answer}");
        compared("after what came late")?;
        told += ", and what was held changed nothing";
    }
    let place = if to == "nats" { "nats" } else { &file };
    ready(&dev(scene, place, &url))?;
    compared("started")?;
    Ok(told)
}

fn points(seed: &[(usize, How)], what: fn(usize) -> What) -> Vec<Point> {
    seed.iter().map(|(place, how)| Point(what(*place), *how)).collect()
}

#[test]
fn an_engine_killed_on_its_way_to_a_stream_loses_nothing() -> Result<()> {
    use How::{Answered, Done, Held, Seen};
    let source = Source::new(false)?;
    let entries = [(1, Done), (257, Held), (1_300, Seen), (1_999, Answered), (ENTRIES, Seen), (ENTRIES, Done)];
    let create = [Seen, Done].map(|how| Point(What::Create, how)).to_vec();
    let own = [Seen, Done, Answered].map(|how| Point(What::Own, how)).to_vec();
    let update = [Seen, Done, Answered, Held].map(|how| Point(What::Update, how)).to_vec();
    each("engine to NATS", [create, points(&entries, What::Entry), own, update].concat(), |point| {
        let scene = Scene::new()?;
        source.copy(&scene.path("ledger"))?;
        let engine = dev(&scene, &scene.text("ledger"), &scene.proxy.url());
        ready(&engine)?;
        killed(&scene, &engine, "nats", point)
    })
}

#[test]
fn an_engine_killed_on_its_way_to_a_file_loses_nothing() -> Result<()> {
    use How::{Answered, Done, Held, Seen};
    let source = Source::new(false)?;
    let entries = [(1, Seen), (700, Seen), (1_024, Answered), (1_777, Seen), (ENTRIES, Answered)];
    let update = [Seen, Done, Answered, Held].map(|how| Point(What::Update, how)).to_vec();
    each("engine to a file", [points(&entries, What::Delivery), update].concat(), |point| {
        let scene = Scene::new()?;
        source.stream(&scene.cluster)?;
        let engine = dev(&scene, "nats", &scene.proxy.url());
        ready(&engine)?;
        killed(&scene, &engine, &scene.text("ledger"), point)
    })
}
