//! Row 24: what nobody can read, on a server that takes messages far larger than a signal may be.

use std::collections::BTreeMap;

use anyhow::ensure;
use async_nats::HeaderMap;
use async_nats::jetstream::{Context, stream};
use flyball_devcluster::{Cluster, NatsOptions, NatsServer};

use super::bed::{once, prepared, slow};
use super::{Row, quick};
use crate::rig::Rig;
use crate::soak::memory;

pub(super) const ROWS: &[Row] = &[quick(
    24,
    "malformed-signals",
    "each a dead letter with its reason and its bytes, 8 MB too; the next one acts; memory flat",
    malformed,
)];

/// What the server of this row takes.
const TAKES: usize = 16 << 20;
/// What the largest signal has.
const HUGE: usize = 8 << 20;
/// The corpus so many times.
const ROUNDS: usize = 10;
/// What memory may have grown by at rest beyond the first half of them, in KiB: less than a single one of the largest.
const FLAT: u64 = 4 * 1024;

/// A body that cannot be used, and why not.
struct Bad {
    name: String,
    body: Vec<u8>,
    reason: &'static str,
}

fn malformed() {
    let nats =
        NatsServer::start_with(&NatsOptions { config: format!("max_payload: {TAKES}"), ..NatsOptions::default() });
    let nats = nats.expect("a nats-server");
    let mut rig = prepared(Rig::on("f24", Cluster::shared(), &nats.url()));
    let context = rig.runtime.block_on(rig.jetstream());
    let theirs =
        stream::Config { name: "ALERTS".into(), subjects: vec!["alerts.>".into()], ..stream::Config::default() };
    rig.runtime.block_on(context.create_stream(theirs)).expect("a stream of somebody else's");
    let file = rig.folder().join("flyball.yaml");
    let streams = "signals: {streams: [{stream: ALERTS, subjects: [alerts.>], kind: anomaly}]}\n";
    std::fs::write(&file, streams).expect("a configuration");
    rig.arguments.extend(["--config".into(), file.into()]);
    rig.start();
    let cart = slow(&rig, "cart");
    let here = format!("flyball.signal.v1.anomaly.{}.{}", rig.name, rig.namespace);
    let huge = Bad { name: "8 MB".into(), body: huge(), reason: "too-large" };
    let sent = rig.runtime.block_on(publish(&context, &here, &huge));
    assert!(sent.is_err_and(|it| it.contains("maximum")), "the stream of signals takes no such message");
    let (bad, pid) = (corpus(), rig.replica("one").pid().expect("it runs"));
    let mut took = Vec::new();
    for round in 1..=ROUNDS {
        for it in &bad {
            rig.runtime.block_on(publish(&context, &here, it)).expect("stored");
        }
        rig.runtime.block_on(publish(&context, "alerts.a", &huge)).expect("stored: nothing limits a stream of theirs");
        rig.eventually("all are dead letters", || {
            let count = rig.runtime.block_on(letters(&context));
            ensure!(count == (round * (bad.len() + 1)) as u64, "{count} letters after {round} rounds");
            Ok(())
        });
        took.push(memory::resident(pid).expect("its memory"));
    }
    let before = took[..ROUNDS / 2].iter().copied().max().unwrap_or_default();
    // A letter is stored before its sender lets go of what it was made of, so a sample may hold some of the last ones. What is kept
    // for good stays.
    rig.eventually("memory to be as it was", || {
        let now = memory::resident(pid)?;
        let grown = now.saturating_sub(before);
        ensure!(grown <= FLAT, "{now} KiB; after each round of {} bad signals: {took:?}", bad.len() + 1);
        Ok(())
    });
    let letters = rig.runtime.block_on(dead_letters(&context));
    for Bad { name, body, reason } in bad.iter().chain([&huge]) {
        let (said, kept) = letters.get(name).unwrap_or_else(|| panic!("{name} is no dead letter"));
        assert_eq!(said, reason, "{name}");
        assert!(kept == body, "{name}: {} bytes of {} are kept", kept.len(), body.len());
    }
    rig.rca("cart", "after", "memory_leak");
    once(&rig, &cart);
    rig.replica("one").ensure_running().expect("it goes on");
    assert_eq!(rig.replica("one").pid(), Some(pid), "it is the same process");
    let metrics = rig.get("/metrics").expect("metrics");
    assert!(metrics.as_str().unwrap_or_default().contains(r#"result="refused""#), "people see it, too");
}

fn anomaly(more: &str) -> String {
    format!(r#"{{"windowId":"w","service":"a","isAnomaly":true,"score":1,"type":"error"{more}}}"#)
}

fn huge() -> Vec<u8> {
    let mut body = anomaly(r#","metadata":{"a":""#).into_bytes();
    // Inside of the string that is its last value.
    body.truncate(body.len() - 1);
    body.resize(HUGE - 3, b'x');
    body.extend(b"\"}}");
    body
}

/// Everything that the matrix names, in the ways in which it comes.
fn corpus() -> Vec<Bad> {
    let mut all = Vec::new();
    let mut add = |name: &str, reason, body: Vec<u8>| all.push(Bad { name: name.to_owned(), body, reason });
    let whole = anomaly("");
    // A prefix of an object is no JSON wherever it ends.
    for end in 0..whole.len() {
        add(&format!("cut at {end}"), "not-json", whole.as_bytes()[..end].to_vec());
    }
    let instead = |old: &str, new: &str| whole.replace(old, new).into_bytes();
    for (name, reason, old, new) in [
        ("a word for a truth", "wrong-type", "true", r#""yes""#),
        ("a word for a number", "wrong-type", r#""score":1"#, r#""score":"1""#),
        ("a number for a name", "wrong-type", r#""service":"a""#, r#""service":5"#),
        ("a list for a name", "wrong-type", r#""service":"a""#, r#""service":["a"]"#),
        ("a type that is none", "out-of-range", r#""error""#, r#""odd""#),
        ("NaN", "not-json", r#""score":1"#, r#""score":NaN"#),
        ("-Infinity", "not-json", r#""score":1"#, r#""score":-Infinity"#),
        ("too large for a number", "out-of-range", r#""score":1"#, r#""score":1e999"#),
        ("NUL in a name", "bad-name", r#""service":"a""#, "\"service\":\"a\\u0000b\""),
        ("NUL as it is", "not-json", r#""service":"a""#, "\"service\":\"a\0b\""),
        ("no service", "missing-field", r#""service":"a","#, ""),
    ] {
        add(name, reason, instead(old, new));
    }
    let digits = "9".repeat(400);
    add("400 digits", "out-of-range", instead(r#""score":1"#, &format!(r#""score":{digits}"#)));
    add("a time of 400 digits", "out-of-range", anomaly(&format!(r#","tsRange":[0,{digits}]"#)).into_bytes());
    add("duplicate key", "duplicate-field", anomaly(r#","score":1"#).into_bytes());
    add("deep", "too-deep", "[".repeat(100_000).into_bytes());
    add("deep and closed", "too-deep", ["[".repeat(100_000), "]".repeat(100_000)].concat().into_bytes());
    let objects = [r#"{"a":"#.repeat(40_000), "1".into(), "}".repeat(40_000)].concat();
    add("deep inside", "too-deep", anomaly(&format!(r#","metadata":{objects}"#)).into_bytes());
    add("another namespace", "namespace-mismatch", anomaly(r#","metadata":{"namespace":"kube-system"}"#).into_bytes());
    add("too large", "too-large", anomaly(&format!(r#","more":"{}""#, "x".repeat(300 * 1024))).into_bytes());
    let bytes = |name: &str| anomaly(&format!(r#","more":"{name}""#)).into_bytes();
    for (name, bad) in [("0xff", &b"\xff\xfe"[..]), ("a surrogate", b"\xed\xa0\x80"), ("overlong", b"\xc0\xaf")] {
        let mut body = bytes("");
        let at = body.len() - 2;
        body.splice(at..at, bad.iter().copied());
        add(&format!("not UTF-8: {name}"), "invalid-utf8", body);
    }
    add("NULs", "not-json", vec![0; 64]);
    for (name, body) in [("a list", "[]"), ("a number", "7"), ("nothing", "null"), ("a word", "\"w\""), ("none", "{}")]
    {
        add(name, if body == "{}" { "missing-field" } else { "wrong-type" }, body.into());
    }
    for (name, version, kind) in [("version 9.9", "9.9", "anomaly.v1"), ("type of version 9", "1.0", "anomaly.v9")] {
        let event = format!(
            r#"{{"specversion":"{version}","id":"1","source":"x","type":"dev.flyball.signal.{kind}","data":{whole}}}"#
        );
        add(name, "unknown-version", event.into_bytes());
    }
    all
}

async fn publish(context: &Context, subject: &str, it: &Bad) -> Result<u64, String> {
    let mut headers = HeaderMap::new();
    headers.insert("X-Name", it.name.as_str());
    let sent = context.publish_with_headers(subject.to_owned(), headers, it.body.clone().into()).await;
    let stored = sent.map_err(|error| error.to_string())?.await.map_err(|error| error.to_string())?;
    Ok(stored.sequence)
}

/// How many dead letters there are: of this row alone, as the server is.
async fn letters(context: &Context) -> u64 {
    let found = context.get_stream("FLYBALL_REFUSED").await;
    found.map_or(0, |it| it.cached_info().state.messages)
}

/// Reason and bytes of the dead letters, by their `X-Name`.
async fn dead_letters(context: &Context) -> BTreeMap<String, (String, Vec<u8>)> {
    let stream = context.get_stream("FLYBALL_REFUSED").await.expect("dead letters");
    let mut found = BTreeMap::new();
    for sequence in 1..=stream.cached_info().state.last_sequence {
        let letter = stream.get_raw_message(sequence).await.expect("a dead letter");
        let header = |name: &str| letter.headers.get(name).map(|it| it.as_str().to_owned()).unwrap_or_default();
        found.insert(header("X-Name"), (header("Flyball-Refused-Reason"), letter.payload.to_vec()));
    }
    found
}
