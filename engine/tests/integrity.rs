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
use flyball_core::chain::Head;
use flyball_core::ports::{AppendError, Ledger, PortError};
use flyball_core::record::{Entry, Topic};
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

/// A ledger of 40 admissions and 40 notes: its bytes, the newest admission, and the entries.
async fn filled(path: &Path) -> (Vec<u8>, Head, Vec<Entry>) {
    let ledger = FileLedger::open(path, Arc::new(TokioClock::real())).unwrap();
    let mut head = EMPTY;
    for number in 0..40 {
        head = ledger.append(write(Topic::Admit, head, &format!("entry {number}"))).await.unwrap();
        ledger.append(note(&format!("note {number}"))).await.unwrap();
    }
    let before = entries(&ledger, 0).await;
    drop(ledger);
    let whole = eventually("a closed file", async || {
        FileLedger::open(path, Arc::new(TokioClock::real())).ok().map(drop)?;
        fs::read(path).ok()
    })
    .await;
    (whole, head, before)
}

/// Every flip is found, or changes nothing that is read; and no write is lost to it: it lands, or the file is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_flip_anywhere_in_a_file_is_found_or_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let flipped = folder.path().join("flipped");
    let (whole, head, before) = filled(&folder.path().join("ledger")).await;
    // Most of a young file is empty: the flips are spread over what is written.
    let written: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    // The table of topics has the newest sum of each as bytes, with its revision before it.
    let sum = head.sum.bytes();
    let tables: Vec<usize> = (8..whole.len() - 16).filter(|at| whole[*at..*at + 16] == *sum).collect();
    assert!(!tables.is_empty());
    let spread = (0..160).map(|step| written[step * written.len() / 160]);
    let offsets: Vec<usize> = spread.chain(tables.iter().flat_map(|at| at - 8..at + 16)).collect();
    let (mut refused, mut named, mut nothing, mut unwritten) = (0, 0, 0, 0);
    for (step, at) in offsets.iter().copied().enumerate() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (step % 8);
        fs::write(&flipped, &bytes).unwrap();
        let Ok(ledger) = FileLedger::open(&flipped, Arc::new(TokioClock::real())) else {
            refused += 1;
            continue;
        };
        let report = timeout(DEADLINE, inspect(&ledger, None, &mut |_, _| ())).await.expect("an end").unwrap();
        if !report.wrong.is_empty() || report.newest != before.len() as u64 {
            named += 1;
            continue;
        }
        assert_eq!(entries(&ledger, 0).await, before, "at {at}");
        let appended = timeout(DEADLINE, ledger.append(write(Topic::Admit, head, "after"))).await.expect("an answer");
        match appended {
            Ok(_) => nothing += 1,
            Err(AppendError::Lost) => panic!("a flip at {at} loses a compare that nobody has won"),
            Err(AppendError::Refused(why) | AppendError::Unknown(why)) => {
                assert!(why.contains("damage") || why.contains("flipped"), "a flip at {at}: {why}");
                unwritten += 1;
            }
        }
    }
    println!(
        "of {} flips {refused} were refused at the opening, {named} named by a walk, {unwritten} at the first write, {nothing} changed nothing",
        offsets.len()
    );
    assert!(refused + named > 20 && unwritten > 0);
}

/// `verify` mends nothing, writes nothing, and names what redb would only have found while it mends.
#[tokio::test(flavor = "multi_thread")]
async fn verify_leaves_a_file_as_it_is_and_finds_what_a_walk_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let (whole, head, _) = filled(&path).await;
    let verified = ledger(folder.path(), &["verify"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    assert!(fs::read(&path).unwrap() == whole, "a whole file was changed");
    let table = (8..whole.len() - 16).find(|at| whole[*at..*at + 16] == *head.sum.bytes()).unwrap();
    let mut bytes = whole.clone();
    bytes[table - 8] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let verified = ledger(folder.path(), &["verify"]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert!(said.contains("ledger") && said.contains("wrong: "), "{said}");
    assert!(fs::read(&path).unwrap() == bytes, "a damaged file was changed");
}

/// Somebody cuts, removes or replaces the file of a running engine: it takes no more, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_changed_under_a_running_ledger_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let hurt = |what: &str, path: &Path| match what {
        "changed" => fs::File::options().write(true).open(path).unwrap().set_len(8192).unwrap(),
        "removed" => fs::remove_file(path).unwrap(),
        _ => {
            fs::copy(path, path.with_extension("copy")).unwrap();
            fs::rename(path.with_extension("copy"), path).unwrap();
        }
    };
    for what in ["changed", "removed", "replaced"] {
        let path = folder.path().join(what);
        let ledger = FileLedger::open(&path, Arc::new(TokioClock::real())).unwrap();
        let head = ledger.append(write(Topic::Admit, EMPTY, "before")).await.unwrap();
        hurt(what, &path);
        let newest = ledger.newest().await;
        assert!(matches!(&newest, Err(PortError::Unusable(why)) if why.contains(what)), "{what}: {newest:?}");
        for _ in 0..2 {
            let appended = ledger.append(write(Topic::Admit, head, "after")).await;
            assert!(matches!(&appended, Err(AppendError::Refused(_))), "{what}: {appended:?}");
        }
    }
}
