//! The wire to NATS.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions};
use flyball_devcluster::wait_until;
use flyball_proof::proxy::{Direction, Message, NatsAct, NatsProxy, Rule};
use flyball_proof::rig::{SOON, shared_nats};
use futures::StreamExt;

const PATIENCE: Duration = Duration::from_millis(400);

fn proxy() -> NatsProxy {
    NatsProxy::to(shared_nats().port()).unwrap()
}

async fn client(url: &str) -> Client {
    ConnectOptions::new().request_timeout(Some(PATIENCE)).connect(url).await.unwrap()
}

/// A stream of its own, and a context through the proxy.
async fn bed(proxy: &NatsProxy, name: &str) -> (jetstream::Context, stream::Stream) {
    let straight = jetstream::new(client(&shared_nats().url()).await);
    let config = stream::Config { name: name.into(), subjects: vec![format!("{name}.>")], ..stream::Config::default() };
    let made = straight.create_stream(config).await.unwrap();
    let through = client(&proxy.url()).await;
    (jetstream::context::ContextBuilder::new().ack_timeout(PATIENCE).timeout(PATIENCE).build(through), made)
}

async fn publish(context: &jetstream::Context, subject: &str, body: &str) -> Result<u64, String> {
    let sent = context.publish(subject.to_owned(), body.to_owned().into()).await.map_err(|error| error.to_string())?;
    sent.await.map(|it| it.sequence).map_err(|error| error.to_string())
}

async fn stored(stream: &mut stream::Stream) -> u64 {
    stream.info().await.unwrap().state.messages
}

fn up(subject: &'static str) -> impl Fn(&Message) -> bool {
    move |it| it.direction == Direction::Up && it.subject == subject
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_sees_both_directions() {
    let proxy = proxy();
    let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
    let keep = seen.clone();
    proxy.add(
        Rule::on(|it: &Message| it.subject.starts_with("see.") || it.direction == Direction::Down)
            .before(move |it| keep.lock().unwrap().push(it.clone())),
    );
    let (context, _stream) = bed(&proxy, "see").await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Colour", "blue");
    context.publish_with_headers("see.a", headers, "hello".into()).await.unwrap().await.unwrap();
    let seen = seen.lock().unwrap();
    let sent = seen.iter().find(|it| it.subject == "see.a").unwrap();
    assert_eq!((sent.direction, &*sent.text()), (Direction::Up, "hello"));
    assert!(String::from_utf8_lossy(&sent.headers).contains("Colour: blue"));
    let answer = seen.iter().find(|it| Some(&it.subject) == sent.reply.as_ref()).unwrap();
    assert!(answer.text().contains("\"stream\":\"see\""), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_is_not_stored_and_what_is_swallowed_is() {
    let proxy = proxy();
    let (context, mut stream) = bed(&proxy, "lose").await;
    proxy.add(Rule::on(up("lose.a")).act(NatsAct::Drop));
    proxy.add(Rule::on(up("lose.b")).nth(2).act(NatsAct::swallow_answer()));
    assert!(publish(&context, "lose.a", "1").await.is_err());
    assert_eq!(stored(&mut stream).await, 0);
    assert_eq!(publish(&context, "lose.b", "1").await, Ok(1));
    assert!(publish(&context, "lose.b", "2").await.is_err(), "its answer is swallowed");
    assert_eq!(stored(&mut stream).await, 2);
    assert_eq!(publish(&context, "lose.b", "3").await, Ok(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_twice_is_stored_twice() {
    let proxy = proxy();
    let (context, mut stream) = bed(&proxy, "twice").await;
    let trigger = proxy.add(Rule::on(up("twice.a")).times(1).act(NatsAct::Twice));
    assert_eq!(publish(&context, "twice.a", "1").await, Ok(1));
    assert_eq!(publish(&context, "twice.a", "2").await, Ok(3));
    assert_eq!((stored(&mut stream).await, trigger.hits()), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_arrives_after_its_sender_is_gone() {
    let proxy = proxy();
    let (context, mut stream) = bed(&proxy, "held").await;
    let trigger = proxy.add(Rule::on(up("held.a")).times(1).act(NatsAct::Hold));
    assert!(publish(&context, "held.a", "first").await.is_err());
    assert_eq!(publish(&context, "held.a", "second").await, Ok(1), "others overtake it");
    drop(context);
    proxy.cut_all();
    assert_eq!(stored(&mut stream).await, 1);
    trigger.release();
    let late = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        wait_until("the late message", SOON, || {
            let count = runtime.block_on(stored(&mut stream));
            anyhow::ensure!(count == 2, "{count}");
            Ok(())
        })
    });
    late.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_comes_back_and_a_black_hole_does_not_answer() {
    let proxy = proxy();
    let (context, mut stream) = bed(&proxy, "cut").await;
    proxy.add(Rule::on(up("cut.before")).times(1).act(NatsAct::CutBefore));
    proxy.add(Rule::on(up("cut.after")).times(1).act(NatsAct::CutAfter));
    assert!(publish(&context, "cut.before", "1").await.is_err());
    // The client connects again by itself.
    while publish(&context, "cut.x", "2").await.is_err() {}
    let before = stored(&mut stream).await;
    assert!(publish(&context, "cut.after", "3").await.is_err());
    while publish(&context, "cut.x", "4").await.is_err() {}
    assert_eq!(stored(&mut stream).await, before + 2, "what was cut after it was forwarded is stored");
    proxy.black_hole(true);
    assert!(publish(&context, "cut.x", "5").await.is_err());
    proxy.black_hole(false);
    proxy.cut_all();
    while publish(&context, "cut.x", "6").await.is_err() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_before_a_call_is_over() {
    let proxy = proxy();
    let (context, stream) = bed(&proxy, "call").await;
    let counted: Arc<Mutex<Vec<u64>>> = Arc::default();
    let note = |stream: stream::Stream| {
        let counted = counted.clone();
        move |_: &Message| {
            let mut stream = stream.clone();
            let count = tokio::runtime::Runtime::new().unwrap().block_on(stored(&mut stream));
            counted.lock().unwrap().push(count);
        }
    };
    proxy.add(Rule::on(up("call.a")).before(note(stream.clone())));
    let answered = Rule::on(up("call.b")).before(note(stream)).act(NatsAct::Answer(Box::new(NatsAct::Pass)));
    let trigger = proxy.add(answered);
    let context = jetstream::new(context.client());
    assert_eq!(publish(&context, "call.a", "1").await, Ok(1));
    assert_eq!(publish(&context, "call.b", "2").await, Ok(2));
    // The answer is on its way before its rule has been counted.
    trigger.wait(1, SOON).unwrap();
    assert_eq!(trigger.hits(), 1);
    assert_eq!(*counted.lock().unwrap(), [0, 2], "before the first was forwarded; before the second's answer was");
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_and_their_acknowledgements_are_seen() {
    let proxy = proxy();
    let (context, stream) = bed(&proxy, "pull").await;
    let config = jetstream::consumer::pull::Config { durable_name: Some("d".into()), ..Default::default() };
    stream.create_consumer(config.clone()).await.unwrap();
    publish(&context, "pull.a", "1").await.unwrap();
    let delivered = proxy.add(Rule::on(|it: &Message| it.direction == Direction::Down && it.subject == "pull.a"));
    let acked = proxy.add(Rule::on(|it: &Message| it.direction == Direction::Up && it.subject.starts_with("$JS.ACK.")));
    let consumer: jetstream::consumer::PullConsumer =
        context.get_stream("pull").await.unwrap().get_consumer("d").await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let message = messages.next().await.unwrap().unwrap();
    message.double_ack().await.unwrap();
    assert_eq!((delivered.hits(), acked.hits()), (1, 1));
}
