//! A ledger as lines of JSON and back, in a file and in a stream: byte for byte, interrupted anywhere, and refused where it
//! is damaged.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use async_nats::HeaderMap;
use flyball::clock::TokioClock;
use flyball::ledger::dump::{Lines, export};
use flyball::ledger::stored::{Draft, Store, Stored};
use flyball::ledger::{FileDraft, FileLedger, JetStreamLedger, JetStreamOptions, StreamDraft};
use flyball_core::id::Revision;
use flyball_core::ports::Ledger;
use flyball_core::record::{Entry, Topic};
use flyball_devcluster::NatsServer;
use support::ledger::{CLUSTER, EMPTY, entries, intent, jetstream, note, record, write};
use support::{client, server};

fn file(path: &Path) -> FileLedger {
    FileLedger::open(path, Arc::new(TokioClock::real())).unwrap()
}

async fn lines(ledger: &dyn Store) -> Vec<u8> {
    let mut text = Vec::new();
    export(ledger, CLUSTER, &mut text, &mut |_, _| ()).await.unwrap();
    text
}

/// The lines without the sums, which the first line goes into, and without the first one, which names the ledger.
fn told(lines: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(lines).unwrap();
    text.lines().skip(1).map(|it| it.rsplit_once(r#","sum":"#).unwrap().0.to_owned()).collect()
}

/// Fills a draft with the lines, `batch` entries at a time, for as long as `more`.
async fn fill(draft: &mut dyn Draft, text: &[u8], batch: usize, more: impl Fn(usize) -> bool) {
    let mut lines = Lines::begin(text).unwrap();
    let reached = draft.reached();
    let mut all: Vec<Stored> = Vec::new();
    while let Some(stored) = lines.entry().unwrap() {
        all.push(stored);
    }
    all.retain(|it| it.entry.revision > reached);
    for (round, part) in all.chunks(batch).enumerate() {
        if !more(round) {
            return;
        }
        draft.put(part.to_vec()).await.unwrap();
    }
    draft.finish().await.unwrap();
}

async fn into_file(path: &Path, text: &[u8]) -> FileLedger {
    let mut draft = FileDraft::begin(path, "import of a test").unwrap();
    fill(&mut draft, text, 7, |_| true).await;
    drop(draft);
    file(path)
}

async fn stream_draft(server: &NatsServer, first: Revision) -> StreamDraft {
    let options = JetStreamOptions::default();
    StreamDraft::begin(client(server).await, CLUSTER, options, "import of a test", first).await.unwrap()
}

async fn into_stream(server: &NatsServer, text: &[u8]) -> JetStreamLedger {
    let first = Lines::begin(text).unwrap().header().first;
    fill(&mut stream_draft(server, first).await, text, 7, |_| true).await;
    jetstream(server).await
}

/// Compared entries of several topics, and notes; the oldest are removed again. Texts that a careless copy would change.
async fn write_some(ledger: &dyn Ledger) {
    let (mut admit, mut life) = (EMPTY, EMPTY);
    for number in 0..20 {
        ledger.append(note(&format!("note {number} \u{e9}\u{2028}\"\\ 1.10 1e3"))).await.unwrap();
        admit = ledger.append(write(Topic::Admit, admit, &format!("admit {number}"))).await.unwrap();
        life = ledger.append(write(intent(1), life, &format!("life {number}"))).await.unwrap();
    }
    ledger.shelf().unwrap().purge(Revision(8)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_file_through_a_stream_to_a_file_nothing_changes() {
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let first = file(&folder.path().join("first"));
    write_some(&first).await;
    let text = lines(&first).await;
    let stream = into_stream(&server, &text).await;
    assert_eq!(entries(&stream, 0).await, entries(&first, 0).await);
    let there = lines(&stream).await;
    assert_eq!(told(&there), told(&text));
    let last = into_file(&folder.path().join("last"), &there).await;
    assert_eq!(told(&lines(&last).await), told(&text));
    assert_eq!(told(&text).len(), 60 - 7 + 1);
    goes_on(&last).await;
    goes_on(&stream).await;
}

/// A copy takes up where the original ended: the same place, the same compare.
async fn goes_on(ledger: &dyn Ledger) {
    let known = entries(ledger, 0).await;
    let heads = |topic: Topic| known.iter().rfind(|it| it.topic == topic).map(Entry::head).unwrap();
    let (admit, life) = (heads(Topic::Admit), heads(intent(1)));
    ledger.append(write(Topic::Admit, EMPTY, "begun anew")).await.unwrap_err();
    let next = ledger.append(write(Topic::Admit, admit, "goes on")).await.unwrap();
    assert_eq!(next.revision.0, known.last().unwrap().revision.0 + 1);
    ledger.append(write(intent(1), life, "goes on")).await.unwrap();
    let all = entries(ledger, 0).await;
    assert!(all.is_sorted_by_key(|it| it.at), "its time does not go back");
    assert_eq!(all[..known.len()], known);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_stream_through_a_file_to_a_stream_nothing_changes() {
    let (Some(server), Some(other)) = (server(), server()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let first = jetstream(&server).await;
    write_some(&first).await;
    // A note that was sent twice, because its first answer was lost: the second one says nothing, wherever it is.
    let sealed = flyball_core::wire::seal(Topic::Note, EMPTY.sum, None, &record("twice")).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Flyball-Writer", "a writer");
    for _ in 0..2 {
        let subject = format!("flyball.ledger.{CLUSTER}.note");
        let context = async_nats::jetstream::new(client(&server).await);
        let sent = context.publish_with_headers(subject, headers.clone(), sealed.body.clone().into()).await.unwrap();
        sent.await.unwrap();
    }
    let (text, known) = (lines(&first).await, entries(&first, 0).await);
    let kept = into_file(&folder.path().join("kept"), &text).await;
    assert_eq!(entries(&kept, 0).await, known);
    let last = into_stream(&other, &lines(&kept).await).await;
    assert_eq!(entries(&last, 0).await, known);
    assert_eq!(entries(&last, 30).await, known[known.iter().position(|it| it.revision.0 == 31).unwrap()..]);
    assert_eq!(told(&lines(&last).await), told(&text));
    goes_on(&kept).await;
    goes_on(&last).await;
    kept.shelf().unwrap().purge(Revision(20)).await.unwrap();
    assert_eq!(entries(&kept, 0).await[0].revision, Revision(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_interrupted_anywhere_goes_on_and_nobody_starts_on_it() {
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = file(&folder.path().join("source"));
    write_some(&source).await;
    let text = lines(&source).await;
    for batches in 0..8 {
        let path = folder.path().join(format!("copy {batches}"));
        let mut draft = FileDraft::begin(&path, "import of a test").unwrap();
        fill(&mut draft, &text, 7, |round| round < batches).await;
        drop(draft);
        let refused = FileLedger::open(&path, Arc::new(TokioClock::real())).err().unwrap().to_string();
        assert!(refused.contains("is an unfinished import of a test: run the same command again"), "{refused}");
        let other = FileDraft::begin(&path, "import of another").err().unwrap().to_string();
        assert!(other.contains("unfinished import of a test"), "{other}");
        assert_eq!(told(&lines(&into_file(&path, &text).await).await), told(&text));

        let first = Lines::begin(&*text).unwrap().header().first;
        fill(&mut stream_draft(&server, first).await, &text, 7, |round| round < batches).await;
        let refused = JetStreamLedger::find(client(&server).await, CLUSTER, JetStreamOptions::default()).await;
        let refused = refused.err().unwrap().to_string();
        assert!(refused.contains("is an unfinished import of a test: run the same command again"), "{refused}");
        assert_eq!(told(&lines(&into_stream(&server, &text).await).await), told(&text));
        let context = async_nats::jetstream::new(client(&server).await);
        context.delete_stream(format!("FLYBALL_LEDGER_{CLUSTER}")).await.unwrap();
    }
}

fn flyball(args: &[&str], stdin: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.arg("ledger").args(args).args(["--cluster", CLUSTER]).env_remove("FLYBALL_NATS");
    command.stdin(stdin).output().unwrap()
}

fn says(output: &Output, code: i32, part: &str) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(part), "{part:?} in {text}");
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_say_what_is_wrong_and_change_nothing() {
    let files = Files { folder: tempfile::tempdir().unwrap() };
    let source = file(&files.path("source"));
    write_some(&source).await;
    let (from, dump, to) = (files.text("source"), files.text("dump"), files.text("to"));
    says(&flyball(&["export", &dump, "--ledger", &from], Stdio::null()), 2, "in use by another process");
    drop(source);
    support::eventually("a closed file", async || {
        let exported = flyball(&["export", &dump, "--ledger", &from], Stdio::null());
        exported.status.success().then_some(())
    })
    .await;
    says(&flyball(&["export", &dump, "--ledger", &from], Stdio::null()), 2, "is there already");
    says(&flyball(&["export", "--ledger", &to], Stdio::null()), 1, "there is no ledger");
    says(&flyball(&["export", "--ledger", &dump], Stdio::null()), 2, "is not a ledger");
    let piped = flyball(&["export", "--ledger", &from], Stdio::null());
    says(&piped, 0, "exported 53 entries, 8 to 60");
    let text = fs::read(files.path("dump")).unwrap();
    assert_eq!(piped.stdout, text);

    let import = |lines: &str| flyball(&["import", lines, "--ledger", &to], Stdio::null());
    says(&import(&files.text("none")), 2, "No such file");
    let wrong = |name: &str, bytes: &[u8], part: &str| {
        fs::write(files.path(name), bytes).unwrap();
        says(&import(&files.text(name)), 1, part);
        assert!(!files.path("to").exists(), "{name}");
    };
    wrong("empty", b"", "line 1: there is nothing");
    wrong("prose", b"once upon a time\n", "line 1: it is no header of a ledger");
    wrong("binary", &fs::read(files.path("source")).unwrap(), "line 1: it");
    let all: Vec<&[u8]> = text.split_inclusive(|it| *it == b'\n').collect();
    wrong("cut", &text[..text.len() - 10], "line 55: it was cut");
    wrong("short", &all[..54].concat(), "line 55: the lines end here");
    wrong(
        "gap",
        &[&all[..9], &all[10..]].concat().concat(),
        "line 10: it was changed, or the line before it is missing",
    );
    wrong("more", &[&all[..], &all[..1]].concat().concat(), "line 56: it stands behind the last one");
    let edited = String::from_utf8(text.clone()).unwrap().replacen("admit 7", "admit 9", 1);
    wrong("edited", edited.as_bytes(), "line 17: it was changed");
    let moved = String::from_utf8(text.clone()).unwrap().replacen("\"first\":8", "\"first\":7", 1);
    wrong("moved", moved.as_bytes(), "line 2: it was changed");
    let later = String::from_utf8(text.clone()).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    wrong("later", later.as_bytes(), "this build reads flyball-ledger in version 1");
    let elsewhere = flyball(&["import", &dump, "--ledger", &to, "--cluster", "other"], Stdio::null());
    assert_ne!(elsewhere.status.code(), Some(0), "{elsewhere:?}");

    says(&import(&dump), 0, "imported 53 entries, 8 to 60");
    says(&import(&dump), 1, "only an empty one can be filled");
    let spool = fs::File::open(files.path("dump")).unwrap();
    let second = files.text("second");
    says(&flyball(&["import", "-", "--ledger", &second], spool.into()), 0, "imported 53 entries");
    let again = flyball(&["export", "--ledger", &second], Stdio::null());
    assert_eq!(told(&again.stdout), told(&text));
}
