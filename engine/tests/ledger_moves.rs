//! A ledger moves from a file to a stream and back: by the command, interrupted after each step, and by an engine that goes
//! on working, killed at any moment. Judged by what the old and the new ledger hold, byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flyball::anchor::head_at;
use flyball::clock::TokioClock;
use flyball::ledger::dump::export;
use flyball::ledger::migration::{catch_up, origin, remark};
use flyball::ledger::stored::{Draft, Store};
use flyball::ledger::{FileDraft, FileLedger, JetStreamLedger, JetStreamOptions, StreamDraft};
use flyball_core::id::Revision;
use flyball_core::mark::Mark;
use flyball_core::ports::{Anchor, Checkpoint, Clock, Ledger};
use flyball_core::record::{Record, Topic};
use flyball_devcluster::{NatsServer, free_port};
use serde_json::{Value, json};
use support::ledger::{CLUSTER, EMPTY, entries, jetstream, note, write};
use support::{client, eventually, server};

fn clock() -> Arc<dyn Clock> {
    Arc::new(TokioClock::real())
}

/// The lines without the sums, which the first line goes into, and without the first and last one.
async fn told(ledger: &dyn Store) -> Vec<String> {
    let mut text = Vec::new();
    export(ledger, CLUSTER, &mut text, &mut |_, _| ()).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    let mut all: Vec<String> =
        text.lines().skip(1).map(|it| it.rsplit_once(r#","sum":"#).unwrap().0.to_owned()).collect();
    all.pop();
    all
}

async fn file(path: &Path) -> FileLedger {
    eventually("the file", async || FileLedger::reading(path, clock()).ok()).await
}

async fn stream(server: &NatsServer) -> JetStreamLedger {
    JetStreamLedger::reading(client(server).await, CLUSTER, JetStreamOptions::default()).await.unwrap().unwrap()
}

fn flyball(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.args(args).args(["--cluster", CLUSTER]).env_remove("FLYBALL_NATS");
    command.stdin(Stdio::null()).output().unwrap()
}

fn says(output: &Output, code: i32, part: &str) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(part), "{part:?} in {text}");
}

async fn write_some(ledger: &dyn Ledger, count: u32) {
    let mut admit = EMPTY;
    for number in 0..count {
        ledger.append(note(&format!("note {number} 1.10"))).await.unwrap();
        admit = ledger.append(write(Topic::Admit, admit, &format!("admit {number}"))).await.unwrap();
    }
}

/// The steps of a move, of which the first `steps` are made, and then the process dies.
async fn moved_halfway(source: &dyn Store, mut draft: Box<dyn Draft>, anchor: &dyn Anchor, steps: u32) {
    if steps > 1 {
        // Some of what is there.
        let mut tail = source.stored(draft.reached()).await.unwrap();
        let first = tail.next().await.unwrap();
        draft.put(vec![first, tail.next().await.unwrap()]).await.unwrap();
    }
    if steps > 2 {
        catch_up(source, &mut *draft, &mut |_, _| ()).await.unwrap();
    }
    if steps > 3 {
        let last = source.close(&draft.place()).await.unwrap();
        if steps > 4 {
            remark(anchor, &source.identity(), &draft.identity(), head_at(source, last).await.unwrap()).await.unwrap();
        }
    }
    if steps > 5 {
        draft.finish().await.unwrap();
    }
}

/// Made by the engine's own `dev` without a cluster: a file beside the ledger.
fn anchor(path: &Path) -> flyball::anchor::FileAnchor {
    flyball::anchor::FileAnchor::beside(path)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_a_stream_goes_on_after_each_step() {
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    for steps in 0..=6 {
        let path = folder.path().join(format!("ledger {steps}"));
        let source = FileLedger::open(&path, clock()).unwrap();
        write_some(&source, 20).await;
        let snapshot = Checkpoint { revision: Revision(39), body: b"a snapshot".as_slice().into() };
        source.shelf().unwrap().keep(snapshot.clone()).await.unwrap();
        let (before, identity) = (told(&source).await, source.identity());
        let mark =
            Mark { ledger: identity.clone(), newest: head_at(&source, source.newest().await.unwrap()).await.unwrap() };
        assert!(anchor(&path).write(None, mark).await.unwrap());
        if steps > 0 {
            let first = source.oldest().await.unwrap();
            let (options, origin) = (JetStreamOptions::default(), origin(&source));
            let draft = StreamDraft::begin(client(&server).await, CLUSTER, options, &origin, first);
            moved_halfway(&source, Box::new(draft.await.unwrap()), &anchor(&path), steps).await;
        }
        drop(source);
        drop(file(&path).await);
        let (text, url) = (path.display().to_string(), server.url());
        let nowhere = ["--server", "http://127.0.0.1:1"];
        let migrate = ["ledger", "migrate", "--to", "nats", "--ledger", &text, "--nats", &url, "--mark-beside"];
        let run = || flyball(&[&migrate[..], &nowhere].concat());
        if steps == 6 {
            says(&run(), 1, "was moved to stream FLYBALL_LEDGER_prod of");
        } else {
            says(&run(), 0, "start the engine with --ledger nats from now on");
            says(&run(), 1, "was moved to stream FLYBALL_LEDGER_prod of");
        }
        let there = jetstream(&server).await;
        assert_eq!(told(&there).await, before, "after {steps} steps");
        assert_eq!(told(&file(&path).await).await, before, "the old one stays as it was");
        let kept = there.shelf().unwrap().read().await.unwrap();
        assert!(steps == 6 || kept == Some(snapshot), "{kept:?}");
        let marked = anchor(&path).read().await.unwrap().unwrap();
        assert_eq!((marked.ledger, marked.newest.revision.0), (there.identity(), 40));
        drop(file(&path).await);
        says(
            &flyball(&["dev", "--listen", "127.0.0.1:0", "--ledger", &text]),
            2,
            "was moved to stream FLYBALL_LEDGER_prod of",
        );
        says(&flyball(&["ledger", "verify", "--ledger", &text, "--mark-beside"]), 2, "start there");
        let context = async_nats::jetstream::new(client(&server).await);
        context.delete_stream(format!("FLYBALL_LEDGER_{CLUSTER}")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_a_file_goes_on_after_each_step_and_the_server_refuses_whoever_is_late() {
    let folder = tempfile::tempdir().unwrap();
    for steps in 0..=6 {
        let Some(server) = server() else { return };
        let (path, other) = (folder.path().join(format!("ledger {steps}")), folder.path().join("elsewhere"));
        let (source, late) = (jetstream(&server).await, jetstream(&server).await);
        write_some(&source, 20).await;
        let before = told(&source).await;
        if steps > 0 {
            let draft = FileDraft::begin(&path, &origin(&source)).unwrap();
            moved_halfway(&source, Box::new(draft), &anchor(&path), steps).await;
        }
        let (text, elsewhere, url) = (path.display().to_string(), other.display().to_string(), server.url());
        if steps > 3 {
            let wrong = flyball(&[
                "ledger",
                "migrate",
                "--to",
                &elsewhere,
                "--nats",
                &url,
                "--mark-beside",
                "--server",
                "http://127.0.0.1:1",
            ]);
            says(&wrong, 1, "was moved to");
            fs::remove_file(&other).unwrap();
        }
        if (1..6).contains(&steps) {
            says(
                &flyball(&["dev", "--listen", "127.0.0.1:0", "--ledger", &text]),
                2,
                "is an unfinished migration of FLYBALL_LEDGER_prod of",
            );
        }
        let run = || {
            flyball(&[
                "ledger",
                "migrate",
                "--to",
                &text,
                "--nats",
                &url,
                "--mark-beside",
                "--server",
                "http://127.0.0.1:1",
            ])
        };
        if steps == 6 {
            says(&run(), 1, "was moved to");
        } else {
            says(&run(), 0, "start the engine with --ledger");
        }
        assert_eq!(told(&file(&path).await).await, before, "after {steps} steps");
        assert_eq!(told(&stream(&server).await).await, before, "the old one stays as it was");
        // A process that slept through all of it, and its housekeeping.
        let woken = late.append(note("late")).await.unwrap_err().to_string();
        assert!(woken.contains("sealed"), "{woken}");
        late.shelf().unwrap().purge(Revision(10)).await.unwrap_err();
        let seen = late.newest().await.unwrap_err().to_string();
        assert!(seen.contains("was moved to") && seen.contains(&text), "{seen}");
        let begun = flyball(&["dev", "--listen", "127.0.0.1:0", "--ledger", "nats", "--nats", &url]);
        says(&begun, 2, "was moved to");
    }
}

struct Engine {
    child: Child,
    url: String,
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An engine on simulated workloads, with its signals in NATS.
fn dev(folder: &Path, nats: &NatsServer, ledger: &str) -> Engine {
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.args(["dev", "--cluster", CLUSTER, "--listen", &address, "--ledger", ledger, "--nats", &nats.url()]);
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    Engine { child, url: format!("http://{address}") }
}

async fn get(engine: &Engine, path: &str) -> Option<Value> {
    let answer = reqwest::get(format!("{}{path}", engine.url)).await.ok()?.error_for_status().ok()?;
    serde_json::from_str(&answer.text().await.ok()?).ok()
}

async fn ready(engine: &Engine) {
    eventually("a ready engine", async || {
        reqwest::get(format!("{}/readyz", engine.url)).await.ok().filter(|it| it.status() == 200)
    })
    .await;
}

/// Presses pauses, one after the other, until it is told to stop or nobody answers: those that were confirmed, and the longest
/// that one took.
async fn press(url: String, stop: Arc<AtomicBool>, name: &str) -> (Vec<String>, Duration) {
    let (http, mut confirmed, mut longest) = (reqwest::Client::new(), Vec::new(), Duration::ZERO);
    for number in 0.. {
        let reason = format!("{name} {number}");
        let body = json!({"scope": {"namespace": format!("n{number}")}, "reason": reason}).to_string();
        let begun = Instant::now();
        let answer = http.post(format!("{url}/v1/pauses")).body(body).send().await;
        match answer {
            Ok(answer) if answer.status() == 201 => confirmed.push(reason),
            _ => break,
        }
        longest = longest.max(begun.elapsed());
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    (confirmed, longest)
}

/// Every confirmed pause is in the ledger, once.
async fn holds(ledger: &dyn Ledger, confirmed: &[String]) {
    let mut there: Vec<String> = entries(ledger, 0)
        .await
        .into_iter()
        .filter_map(|it| if let Record::Paused(pause) = it.record { Some(pause.reason) } else { None })
        .collect();
    let count = there.len();
    there.sort_unstable();
    there.dedup();
    assert_eq!(there.len(), count, "none is there twice");
    let lost: Vec<_> = confirmed.iter().filter(|it| there.binary_search(it).is_err()).collect();
    assert!(lost.is_empty(), "of {} confirmed pauses: {lost:?}", confirmed.len());
}

async fn migrate(engine: &Engine, to: &str) -> Output {
    let (url, to) = (engine.url.clone(), to.to_owned());
    let run = move || flyball(&["ledger", "migrate", "--to", &to, "--server", &url, "-o", "json"]);
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Moves under load; the confirmed pauses, and how long appends had to wait.
async fn move_under_load(engine: &Engine, to: &str, name: &str) -> (Vec<String>, u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let pressing = tokio::spawn({
        let (url, stop, name) = (engine.url.clone(), stop.clone(), name.to_owned());
        async move { press(url, stop, &name).await }
    });
    let moved = migrate(engine, to).await;
    says(&moved, 0, "\"step\": \"done\"");
    let told: Value = serde_json::from_slice(&moved.stdout).unwrap();
    stop.store(true, Ordering::Relaxed);
    let (confirmed, longest) = pressing.await.unwrap();
    let held = told["held_ms"].as_u64().unwrap();
    println!("to {to}: appends waited for {held} ms, the slowest of {} pauses took {longest:?}", confirmed.len());
    assert!(confirmed.len() > 2, "there was load");
    assert!(held < 1_000 && longest < Duration::from_secs(5), "{held} ms, {longest:?}");
    (confirmed, held)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_moves_its_ledger_to_nats_and_back_and_goes_on() {
    // Every test does it; the first one wins.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(nats) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let text = |name: &str| path(name).display().to_string();
    let first = FileLedger::open(&path("first"), clock()).unwrap();
    write_some(&first, 2_000).await;
    drop(first);
    drop(file(&path("first")).await);
    let engine = dev(folder.path(), &nats, &text("first"));
    ready(&engine).await;
    let elsewhere = tokio::task::spawn_blocking({
        let url = engine.url.clone();
        move || flyball(&["ledger", "migrate", "--to", "nats", "--ledger", "/another", "--server", &url])
    });
    says(&elsewhere.await.unwrap(), 1, "the ledger of this engine is kept in");
    let (mut confirmed, _) = move_under_load(&engine, "nats", "there").await;
    let old = told(&file(&path("first")).await).await;
    let new = told(&stream(&nats).await).await;
    assert_eq!(new[..old.len()], old, "what the old one had");
    ready(&engine).await;
    assert_eq!(get(&engine, "/v1/ledger/migrate").await.unwrap()["step"], "done");
    // It hears itself over NATS now, and after its lease that nobody else is there.
    says(&migrate(&engine, "nats").await, 1, "in NATS already");
    let other = dev(folder.path(), &nats, "nats");
    drop(other);
    eventually("to be alone", async || {
        let body = json!({"to": text("second"), "cluster": CLUSTER}).to_string();
        let asked = reqwest::Client::new().post(format!("{}/v1/ledger/migrate", engine.url)).body(body).send().await;
        asked.ok().filter(|it| it.status() == 202)
    })
    .await;
    let (more, _) = move_under_load(&engine, &text("second"), "back").await;
    confirmed.extend(more);
    ready(&engine).await;
    let old = told(&stream(&nats).await).await;
    drop(engine);
    let back = file(&path("second")).await;
    assert_eq!(told(&back).await[..old.len()], old, "what the stream had");
    assert_eq!(old[..new.len()], new, "and that had what the file had");
    holds(&back, &confirmed).await;
    drop(back);
    drop(file(&path("second")).await);
    let mut stale = dev(folder.path(), &nats, "nats");
    assert_eq!(stale.child.wait().unwrap().code(), Some(2), "the old place says where the ledger went");
    ready(&dev(folder.path(), &nats, &text("second"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_killed_while_its_ledger_moves_loses_nothing() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for delay in [0, 5, 10, 15, 20, 30, 40, 60] {
        let Some(nats) = server() else { return };
        let folder = tempfile::tempdir().unwrap();
        let (path, text) = (folder.path().join("ledger"), folder.path().join("ledger").display().to_string());
        let first = FileLedger::open(&path, clock()).unwrap();
        write_some(&first, 300).await;
        drop(first);
        drop(file(&path).await);
        let mut engine = dev(folder.path(), &nats, &text);
        ready(&engine).await;
        let stop = Arc::new(AtomicBool::new(false));
        let pressing = tokio::spawn(press(engine.url.clone(), stop.clone(), "load"));
        let body = json!({"to": "nats", "cluster": CLUSTER}).to_string();
        let asked = reqwest::Client::new().post(format!("{}/v1/ledger/migrate", engine.url)).body(body).send().await;
        assert_eq!(asked.unwrap().status(), 202);
        // Chosen moments: what the process is doing by then is chance.
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let seen = get(&engine, "/v1/ledger/migrate").await.map(|it| it["step"].clone());
        engine.child.kill().unwrap();
        engine.child.wait().unwrap();
        let (confirmed, _) = pressing.await.unwrap();
        drop(file(&path).await);
        let url = nats.url();
        let run = || {
            flyball(&[
                "ledger",
                "migrate",
                "--to",
                "nats",
                "--ledger",
                &text,
                "--nats",
                &url,
                "--mark-beside",
                "--server",
                "http://127.0.0.1:1",
            ])
        };
        let again = run();
        let over = again.status.code() == Some(1);
        if over {
            says(&again, 1, "was moved to stream");
        } else {
            says(&again, 0, "from now on");
        }
        println!(
            "killed after {delay} ms, seen {seen:?}: {} confirmed; {}",
            confirmed.len(),
            if over { "was over" } else { "went on" }
        );
        let there = jetstream(&nats).await;
        holds(&there, &confirmed).await;
        let (old, new) = (told(&file(&path).await).await, told(&there).await);
        assert_eq!(new[..old.len()], old);
        ready(&dev(folder.path(), &nats, "nats")).await;
    }
}
