//! Amnesia and damage of a ledger in a file, through the real binary: detected, named, and nothing is done until an
//! operator has said so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use flyball::clock::TokioClock;
use flyball::ledger::{FileLedger, inspect};
use flyball_core::ports::Ledger;
use flyball_core::record::Topic;
use flyball_devcluster::free_port;
use support::ledger::{EMPTY, entries, note, write};
use support::{DEADLINE, eventually};
use tokio::time::timeout;

const POLICY: &str = "\
apiVersion: flyball.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: leak}
spec:
  mode: enforce
  match: {signal: rca, causes: [memory_leak]}
  action: {restart: {}}
";

struct Engine(Child, String);

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn flyball(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.args(args).env_remove("FLYBALL_NATS").env("USER", "ann");
    command
}

fn dev(folder: &Path) -> Engine {
    fs::write(folder.join("policy.yaml"), POLICY).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let (ledger, policies) = (folder.join("ledger"), folder.join("policy.yaml"));
    let mut command = flyball(&["dev", "--listen", &address]);
    command.arg("--ledger").arg(ledger).arg("--policies").arg(policies);
    Engine(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(), format!("http://{address}"))
}

fn ledger(folder: &Path, args: &[&str]) -> Output {
    let mut command = flyball(&["ledger"]);
    command.args(args).arg("--mark-beside").arg("--ledger").arg(folder.join("ledger")).output().unwrap()
}

/// Waits until `path` answers with `status` and a text that contains `part`.
async fn answers(engine: &Engine, path: &str, status: u16, part: &str) {
    // Every test does it; the first one wins.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("{}{path}", engine.1);
    eventually(&format!("{path} with {status} and {part:?}"), || async {
        let answer = reqwest::get(&url).await.ok()?;
        let found = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        (found == status && text.contains(part)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_gone_is_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let engine = dev(folder.path());
    answers(&engine, "/readyz", 200, "").await;
    eventually("the mark", async || folder.path().join("ledger.mark").exists().then_some(())).await;
    drop(engine);
    fs::remove_file(&path).unwrap();

    let engine = dev(folder.path());
    answers(&engine, "/readyz", 503, "the ledger is gone").await;
    answers(&engine, "/readyz", 503, "flyball ledger accept").await;
    answers(&engine, "/healthz", 200, "ok").await;
    answers(&engine, "/v1/decisions", 503, "has not started").await;
    assert!(!path.exists());
    let verified = ledger(folder.path(), &["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");

    let accepted = ledger(folder.path(), &["accept", "--reason", "INC-1"]);
    assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
    answers(&engine, "/readyz", 200, "").await;
    drop(engine);
    let verified = ledger(folder.path(), &["verify", "-o", "json"]);
    let text = String::from_utf8(verified.stdout.clone()).unwrap();
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    assert!(text.contains(r#""wrong": []"#), "{text}");
    let kept = FileLedger::open(&path, Arc::new(TokioClock::real())).unwrap();
    let said = format!("{:?}", entries(&kept, 0).await[0].record);
    assert!(said.contains("INC-1") && said.contains("ann") && said.contains("marked: Some"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_a_file_is_not_acted_on() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("ledger"), folder.path().join("copy"));
    let open = || FileLedger::open(&path, Arc::new(TokioClock::real())).unwrap();
    let early = open();
    early.append(note("early")).await.unwrap();
    drop(early);
    fs::copy(&path, &copy).unwrap();
    let engine = dev(folder.path());
    answers(&engine, "/readyz", 200, "").await;
    let marked = async || fs::read_to_string(folder.path().join("ledger.mark")).ok();
    eventually("a mark past the copy", async || marked().await.filter(|it| !it.contains("\"newest\":1}"))).await;
    drop(engine);
    fs::copy(&copy, &path).unwrap();
    let engine = dev(folder.path());
    answers(&engine, "/readyz", 503, "brought back from an older copy").await;
    let verified = ledger(folder.path(), &["verify"]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&verified.stdout).contains("older copy"), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_a_ledger_ends_the_process_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let held = FileLedger::open(&path, Arc::new(TokioClock::real())).unwrap();
    let ended = |why: &str| {
        let mut engine = dev(folder.path());
        assert_eq!(engine.0.wait().unwrap().code(), Some(2), "{why}");
    };
    ended("locked");
    let verified = ledger(folder.path(), &["verify"]);
    assert_eq!(verified.status.code(), Some(2), "{verified:?}");
    drop(held);
    let whole = eventually("the file", async || fs::read(&path).ok()).await;
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    ended("cut short");
    let verified = ledger(folder.path(), &["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
}

/// Every flip is found, or changes nothing that is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_flip_anywhere_in_a_file_is_found_or_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, flipped) = (folder.path().join("ledger"), folder.path().join("flipped"));
    let ledger = FileLedger::open(&path, Arc::new(TokioClock::real())).unwrap();
    let mut head = EMPTY;
    for number in 0..40 {
        head = ledger.append(write(Topic::Admit, head, &format!("entry {number}"))).await.unwrap();
        ledger.append(note(&format!("note {number}"))).await.unwrap();
    }
    let before = entries(&ledger, 0).await;
    drop(ledger);
    let whole = eventually("a closed file", async || {
        FileLedger::open(&path, Arc::new(TokioClock::real())).ok().map(drop)?;
        fs::read(&path).ok()
    })
    .await;
    let (mut refused, mut named, mut nothing) = (0, 0, 0);
    // Most of a young file is empty: the flips are spread over what is written.
    let written: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    for step in 0..160 {
        let mut bytes = whole.clone();
        let at = written[step * written.len() / 160];
        bytes[at] ^= 1 << (step % 8);
        fs::write(&flipped, &bytes).unwrap();
        let Ok(ledger) = FileLedger::open(&flipped, Arc::new(TokioClock::real())) else {
            refused += 1;
            continue;
        };
        let report = timeout(DEADLINE, inspect(&ledger, None, &mut |_, _| ())).await.expect("an end").unwrap();
        if report.wrong.is_empty() && report.newest == before.len() as u64 {
            assert_eq!(entries(&ledger, 0).await, before, "at {at}");
            nothing += 1;
        } else {
            named += 1;
        }
    }
    println!("of 160 flips {refused} were refused at the opening, {named} named, {nothing} changed nothing");
    assert!(refused + named > 20);
}
