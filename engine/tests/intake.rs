//! One contract for every way in, the simulated one included, and what only JetStream promises.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{self, Context, stream};
use flyball::clock::TokioClock;
use flyball::intake::{ForeignStream, Inbox, JetStreamSignals, Observer};
use flyball::publish::Publish;
use flyball_core::ports::{Delivery, Message, Signals};
use futures::StreamExt;
use support::{DEADLINE, client, eventually, server};
use tokio::time::{Instant, timeout};

const CLUSTER: &str = "prod";
const SUBJECT: &str = "flyball.signal.v1.anomaly.prod.shop";

/// Nobody listens.
fn deaf() -> Arc<dyn Observer> {
    Arc::new(())
}

/// Keeps the kinds of what was put aside.
#[derive(Default)]
struct Ears(Mutex<Vec<Option<String>>>);

impl Observer for Ears {
    fn put_aside(&self, kind: Option<&str>) {
        self.0.lock().unwrap().push(kind.map(str::to_owned));
    }
}

/// The next delivery and those that came with it.
async fn next(signals: &dyn Signals) -> Vec<Delivery> {
    let batch = timeout(DEADLINE, signals.next()).await.expect("a delivery in time").expect("no end");
    assert!(!batch.is_empty());
    batch
}

async fn one(signals: &dyn Signals) -> Delivery {
    let mut batch = next(signals).await;
    assert_eq!(batch.len(), 1);
    batch.remove(0)
}

/// What every way in promises: `count` messages are published, numbered in their bodies from 0.
async fn contract(signals: &dyn Signals, count: usize) {
    signals.ready().await.unwrap();
    let (mut bodies, mut sequences) = (BTreeSet::new(), BTreeSet::new());
    while bodies.len() < count {
        for Delivery { message, receipt } in next(signals).await {
            assert_eq!(message.subject.as_deref(), Some(SUBJECT));
            assert!(message.headers.contains(&("X-Trace".to_owned(), "t-1".to_owned())), "{:?}", message.headers);
            let number: usize = String::from_utf8(message.body).unwrap().parse().unwrap();
            assert!(bodies.insert(number) && sequences.insert(message.sequence), "{number} came twice");
            receipt.acknowledge(number.is_multiple_of(100)).await;
        }
    }
    assert!(bodies.into_iter().eq(0..count));
    assert!(sequences.into_iter().eq(1..=count as u64));
}

fn on_the_bus(body: &str) -> Message {
    Message {
        subject: Some(SUBJECT.to_owned()),
        headers: vec![("X-Trace".to_owned(), "t-1".to_owned())],
        body: body.into(),
        ..Message::default()
    }
}

#[tokio::test]
async fn the_simulated_bus_keeps_the_contract() {
    let world = flyball_sim::World::new(3, Arc::new(TokioClock::real()));
    for number in 0..1000 {
        world.signals.publish(on_the_bus(&number.to_string()));
    }
    contract(&*world.signals, 1000).await;
}

#[tokio::test]
async fn the_inbox_keeps_the_contract_and_what_is_not_decided() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("signals.redb");
    let open = || Inbox::open(&path, Arc::new(TokioClock::real())).unwrap();
    let inbox = open();
    for number in 0..1000 {
        inbox.publish(on_the_bus(&number.to_string())).await.unwrap();
    }
    contract(&inbox, 1000).await;
    assert_eq!(inbox.depth(), 0);

    inbox.publish(on_the_bus("bad")).await.unwrap();
    let bad = one(&inbox).await;
    bad.receipt.refuse("not-json", "no JSON").await.unwrap();
    assert_eq!((inbox.refused(), inbox.depth()), (1, 0));

    inbox.publish(on_the_bus("kept")).await.unwrap();
    let undecided = one(&inbox).await.message;
    drop(inbox);
    let again = wait_for("the file to be free", || Inbox::open(&path, Arc::new(TokioClock::real())).ok()).await;
    assert_eq!(one(&again).await.message, undecided, "with its sequence and its time");
    assert_eq!(again.publish(on_the_bus("next")).await.unwrap(), undecided.sequence + 1);
}

/// Closing a file is the work of a task that ends a moment later.
async fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "waited for {what}");
        tokio::task::yield_now().await;
    }
}

async fn publish(context: &Context, subject: &str, headers: &[(&str, &str)], body: Vec<u8>) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, *value);
    }
    let sent = context.publish_with_headers(subject.to_owned(), map, body.into()).await.unwrap();
    timeout(DEADLINE, sent.into_future()).await.unwrap().unwrap();
}

/// The next `count` dead letters. Read with a consumer: a message that is asked for by its sequence shows only the last of
/// several headers with one name.
async fn dead_letters(context: &Context, count: usize) -> Vec<jetstream::Message> {
    let reader = context.create_consumer_on_stream(pull::Config::default(), "FLYBALL_REFUSED").await.unwrap();
    let read = reader.messages().await.unwrap().take(count).map(Result::unwrap).collect();
    timeout(DEADLINE, read).await.expect("dead letters in time")
}

fn header<'a>(message: &'a jetstream::Message, name: &str) -> &'a str {
    message.headers.as_ref().and_then(|headers| headers.get(name)).map_or("", |it| it.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_keeps_the_contract() {
    let Some(server) = server() else { return };
    let connection = client(&server).await;
    let signals = JetStreamSignals::connect(connection.clone(), CLUSTER, &[], deaf()).await.unwrap();
    let context = jetstream::new(connection);
    for number in 0..1000 {
        publish(&context, SUBJECT, &[("X-Trace", "t-1")], number.to_string().into_bytes()).await;
    }
    // Another cluster's signals are another engine's.
    publish(&context, "flyball.signal.v1.anomaly.other.shop", &[], b"other".to_vec()).await;
    contract(&signals, 1000).await;
    // Started once more, on the streams and the consumer as they are.
    JetStreamSignals::connect(client(&server).await, CLUSTER, &[], deaf()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_what_came() {
    let Some(server) = server() else { return };
    let connection = client(&server).await;
    let signals = JetStreamSignals::connect(connection.clone(), CLUSTER, &[], deaf()).await.unwrap();
    let context = jetstream::new(connection);
    let body = b"\xff\x00 not json".to_vec();
    // Headers that would have the dead letter refused, if they were repeated as they are.
    let headers =
        [("X-Trace", "t-1"), ("X-Trace", "t-2"), ("Nats-Msg-Id", "m-1"), ("Nats-Expected-Stream", "FLYBALL_SIGNALS")];
    publish(&context, SUBJECT, &headers, body.clone()).await;
    let delivery = one(&signals).await;
    assert_eq!(delivery.message.body, body);
    delivery.receipt.refuse("Bad.Json", "line 1\r\ncolumn 2").await.unwrap();

    let letter = &dead_letters(&context, 1).await[0];
    assert_eq!((letter.subject.as_str(), &letter.payload[..]), ("flyball.refused.v1.Bad-Json", &body[..]));
    let traces: Vec<_> = letter.headers.as_ref().unwrap().get_all("X-Trace").map(ToString::to_string).collect();
    assert_eq!(traces, ["t-1", "t-2"]);
    for (name, value) in [
        ("Nats-Msg-Id", "FLYBALL_SIGNALS:1"),
        ("Flyball-Original-Nats-Msg-Id", "m-1"),
        ("Flyball-Original-Nats-Expected-Stream", "FLYBALL_SIGNALS"),
        ("Flyball-Refused-Reason", "Bad-Json"),
        ("Flyball-Refused-Detail", "line 1  column 2"),
        ("Flyball-Refused-Subject", SUBJECT),
        ("Flyball-Refused-Sequence", "1"),
    ] {
        assert_eq!(header(letter, name), value, "{name}");
    }

    // As large as the server takes: with our headers too large, so kept in part rather than coming for ever.
    let room = 1024 * 1024 - 64;
    publish(&context, SUBJECT, &[("X-Trace", "t-3")], vec![b'x'; room]).await;
    one(&signals).await.receipt.refuse("TooLarge", "").await.unwrap();
    let letters = dead_letters(&context, 2).await;
    assert_eq!(
        (header(&letters[1], "Flyball-Refused-Truncated"), letters[1].payload.len()),
        (&*room.to_string(), 512 * 1024)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_comes_again_and_what_is_held_does_not() {
    let Some(server) = server() else { return };
    let connection = client(&server).await;
    let signals = JetStreamSignals::connect(connection.clone(), CLUSTER, &[], deaf()).await.unwrap();
    let context = jetstream::new(connection);
    publish(&context, SUBJECT, &[], b"held".to_vec()).await;
    let held = one(&signals).await;
    publish(&context, SUBJECT, &[], b"dropped".to_vec()).await;
    let (dropped, start) = (one(&signals).await, Instant::now());
    assert_eq!(dropped.message.body, b"dropped");
    drop(dropped);
    // Dropped again and again: each round is longer than the held one would wait, were it not held.
    for _ in 0..4 {
        let again = one(&signals).await;
        assert_eq!((again.message.body.as_slice(), again.message.sequence), (b"dropped".as_slice(), 2));
    }
    // A replica that died costs a second, and the held one was told of through four of them.
    assert!(
        start.elapsed() > Duration::from_secs(3) && start.elapsed() < Duration::from_secs(12),
        "{:?}",
        start.elapsed()
    );
    held.receipt.acknowledge(true).await;
    let again = one(&signals).await;
    assert_eq!(again.message.sequence, 2);
    again.receipt.acknowledge(true).await;
}

/// On a long link copies are sent before the server hears that the delivery is worked on.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_what_is_in_hand_is_no_news_and_no_suspect() {
    let Some(server) = server() else { return };
    let connection = client(&server).await;
    let signals = JetStreamSignals::connect(connection.clone(), CLUSTER, &[], Arc::new(())).await.unwrap();
    let context = jetstream::new(connection.clone());
    publish(&context, SUBJECT, &[], b"held".to_vec()).await;
    let held = one(&signals).await;
    let stream = context.get_stream("FLYBALL_SIGNALS").await.unwrap();
    let consumer = stream.get_consumer::<pull::Config>("flyball-prod").await.unwrap();
    for copies in 1..=4 {
        // As often as it takes to be a suspect, and once more.
        let acknowledgement = format!("$JS.ACK.FLYBALL_SIGNALS.flyball-prod.{copies}.1.{copies}.0.0");
        connection.publish(acknowledgement, "-NAK".into()).await.unwrap();
        eventually("another copy to be sent", async || {
            let info = consumer.get_info().await.unwrap();
            (info.delivered.consumer_sequence > copies).then_some(())
        })
        .await;
    }
    publish(&context, SUBJECT, &[], b"next".to_vec()).await;
    let next = one(&signals).await;
    assert_eq!(next.message.body, b"next", "none of the copies came before it");
    next.receipt.acknowledge(true).await;
    assert!(context.get_stream("FLYBALL_SUSPECTS").await.is_err(), "nobody was suspected");
    held.receipt.acknowledge(true).await;
    let info = consumer.get_info().await.unwrap();
    assert_eq!((info.num_ack_pending, info.num_pending), (0, 0), "the one that was in hand settles them all");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_flow_again_after_a_kill() {
    let Some(server) = server() else { return };
    let connection = client(&server).await;
    let signals = Arc::new(JetStreamSignals::connect(connection.clone(), CLUSTER, &[], deaf()).await.unwrap());
    let context = jetstream::new(connection);
    publish(&context, SUBJECT, &[], b"before".to_vec()).await;
    one(&*signals).await.receipt.acknowledge(true).await;
    server.kill().unwrap();
    assert!(signals.ready().await.is_err());
    server.restart().unwrap();
    let after = jetstream::new(client(&server).await);
    publish(&after, SUBJECT, &[], b"after".to_vec()).await;
    let mut bodies = Vec::new();
    while !bodies.contains(&b"after".to_vec()) {
        // A confirmed acknowledgement may be forgotten by a killed server: it comes again, perhaps beside the next.
        for delivery in next(&*signals).await {
            bodies.push(delivery.message.body.clone());
            delivery.receipt.acknowledge(true).await;
        }
    }
    signals.ready().await.unwrap();
}

/// A process that ends without a word: nothing of it is left that could settle anything.
fn dies(signals: JetStreamSignals, held: Vec<Delivery>) {
    drop(signals);
    // Dropped, a task that is not aborted yet would see that they were given up by a process that lives.
    std::mem::forget(held);
}

/// It ends as soon as it has read the one message, and everything that came with it dies with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_kills_its_reader_is_put_aside_and_what_was_with_it_is_not() {
    let Some(server) = server() else { return };
    let context = jetstream::new(client(&server).await);
    let ears = Arc::new(Ears::default());
    let connect = async || JetStreamSignals::connect(client(&server).await, CLUSTER, &[], ears.clone()).await.unwrap();
    let mut signals = connect().await;
    let (mut deaths, mut settled) = (0, BTreeSet::new());
    for number in 0..5 {
        publish(&context, SUBJECT, &[], format!("good {number}").into_bytes()).await;
        if number == 2 {
            publish(&context, SUBJECT, &[], b"bad".to_vec()).await;
        }
    }
    // At first all of them are in one process that dies, and so as often delivered as the bad one.
    while deaths < 2 {
        let mut held = next(&signals).await;
        while held.len() < 6 {
            held.extend(next(&signals).await);
        }
        dies(signals, held);
        deaths += 1;
        signals = connect().await;
    }
    while settled.len() < 5 || deaths < 5 {
        let mut held = next(&signals).await;
        while let Some(delivery) = held.pop() {
            if delivery.message.body == b"bad" {
                held.push(delivery);
                dies(signals, held);
                deaths += 1;
                signals = connect().await;
                break;
            }
            settled.insert(delivery.message.body.clone());
            delivery.receipt.acknowledge(true).await;
        }
    }
    let letters = dead_letters(&context, 1).await;
    assert_eq!(letters[0].payload, "bad");
    assert_eq!(header(&letters[0], "Flyball-Refused-Reason"), "kills-its-reader");
    assert_eq!((deaths, settled.len()), (5, 5), "twice by chance, three times alone");
    let heard = eventually("it to be told", async || Some(ears.0.lock().unwrap().clone()).filter(|it| !it.is_empty()));
    assert_eq!(heard.await, [Some("anomaly".to_owned())], "once, with its kind");
    // Nothing is left over: not of the bad one, and no mark of the others.
    publish(&context, SUBJECT, &[], b"after".to_vec()).await;
    let after = one(&signals).await;
    assert_eq!(after.message.body, b"after");
    after.receipt.acknowledge(true).await;
    let messages = async |name| context.get_stream(name).await.unwrap().cached_info().state.messages;
    assert_eq!(messages("FLYBALL_REFUSED").await, 1);
    eventually("the marks of the bad one alone", async || (messages("FLYBALL_SUSPECTS").await == 3).then_some(()))
        .await;
}

/// One that cannot start holds nothing: what it had fetched would, after some starts, look as if it were to blame for them.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_before_somebody_reads() {
    let Some(server) = server() else { return };
    let context = jetstream::new(client(&server).await);
    let connect = async || JetStreamSignals::connect(client(&server).await, CLUSTER, &[], Arc::new(())).await.unwrap();
    drop(connect().await);
    publish(&context, SUBJECT, &[], b"fresh".to_vec()).await;
    let (idle, signals) = (connect().await, connect().await);
    idle.ready().await.unwrap();
    let delivery = one(&signals).await;
    assert_eq!(delivery.message.body, b"fresh");
    let mut stream = context.get_stream("FLYBALL_SIGNALS").await.unwrap();
    let mut consumer = stream.get_consumer::<pull::Config>("flyball-prod").await.unwrap();
    assert_eq!(consumer.info().await.unwrap().delivered.consumer_sequence, 1, "it came once");
    delivery.receipt.acknowledge(true).await;
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_streams_are_read_with_their_kind() {
    let Some(server) = server() else { return };
    let connection = client(&server).await;
    let context = jetstream::new(connection.clone());
    let foreign = ForeignStream {
        stream: "ALERTS".into(),
        subjects: vec!["alerts.a.*".into(), "alerts.b".into()],
        kind: "rca".into(),
    };
    let missing = JetStreamSignals::connect(connection.clone(), CLUSTER, std::slice::from_ref(&foreign), deaf()).await;
    assert!(missing.map(drop).unwrap_err().to_string().contains("ALERTS"));
    let config =
        stream::Config { name: "ALERTS".into(), subjects: vec!["alerts.>".into()], ..stream::Config::default() };
    context.create_stream(config).await.unwrap();
    let signals = JetStreamSignals::connect(connection, CLUSTER, &[foreign], deaf()).await.unwrap();
    for subject in ["alerts.a.x", "alerts.c", "alerts.b", SUBJECT] {
        publish(&context, subject, &[], subject.into()).await;
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        for delivery in next(&signals).await {
            seen.insert((delivery.message.subject.clone().unwrap(), delivery.message.kind.clone()));
            delivery.receipt.acknowledge(false).await;
        }
    }
    let rca = Some("rca".to_owned());
    let expected = [("alerts.a.x".to_owned(), rca.clone()), ("alerts.b".to_owned(), rca), (SUBJECT.to_owned(), None)];
    assert_eq!(seen, BTreeSet::from(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_our_subjects_is_refused() {
    let Some(server) = server() else { return };
    let connection = client(&server).await;
    let context = jetstream::new(connection.clone());
    let subjects = vec!["flyball.signal.v1.anomaly.>".to_owned()];
    let config = stream::Config { name: "FLYBALL_SIGNALS".to_owned(), subjects, ..stream::Config::default() };
    context.create_stream(config).await.unwrap();
    let error = JetStreamSignals::connect(connection, CLUSTER, &[], deaf()).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("flyball.signal.v1.rca.prod.*"), "{error}");
}

#[tokio::test]
async fn an_address_where_nothing_listens_is_named() {
    let address = format!("nats://127.0.0.1:{}", flyball_devcluster::free_port());
    let error = flyball::nats::connect(&address, "flyball-test").await.unwrap_err().to_string();
    assert!(error.contains(&address), "{error}");
}
