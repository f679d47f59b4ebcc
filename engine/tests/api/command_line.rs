//! The command line: how it reads, and what it says of a running engine.

use clap::Parser;
use flyball::cli::{Cli, Command};
use flyball::client::{Answer, Trouble, answer};
use flyball::http::{Auth, Secret, serve};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::asked::recovered;
use crate::world::World;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let words = line.split(' ').filter(|it| !it.is_empty()).map(|it| it.replace('_', " "));
    Cli::try_parse_from(std::iter::once("flyball".to_owned()).chain(words))
}

async fn run(line: &str) -> Result<Answer, Trouble> {
    match parse(line).unwrap_or_else(|error| panic!("{line}: {error}")).command {
        Command::Client(command) => answer(*command).await,
        other => panic!("{other:?} is no command of the client"),
    }
}

#[test]
fn what_reads_and_what_does_not() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
    for good in [
        "get decisions",
        "get decisions -n shop --since 1h --reason CooldownActive -o json",
        "get actions --limit 5",
        "get pauses -o yaml",
        "get policies",
        "why 8f14e45f",
        "pause --all --reason INC-1 --for 2h",
        "pause --target shop/Deployment/cart --reason x",
        "resume p-1a2b3c4d",
        "resume --namespace shop",
        "signal send -f signal.json",
        "signal send --anomaly latency --service cart -n shop --count 3 --clear",
        "signal send --rca memory_leak --service cart -n shop --confidence 0.9 --pod cart-0",
        "signal send -f x.json -n shop --nats nats://a --cluster prod",
        "signal validate -",
    ] {
        assert!(parse(good).is_ok(), "{good}: {}", parse(good).unwrap_err());
    }
    for bad in [
        "",
        "get",
        "get runs",
        "get decisions -o xml",
        "get decisions --limit 0",
        "get actions --verdict denied",
        "why",
        "pause --all",
        "pause --reason x",
        "pause --all --namespace shop --reason x",
        "pause --all --reason x --for soon",
        "pause --target cart --reason x",
        "resume",
        "resume p-1 --all",
        "signal send",
        "signal send --anomaly slow --service cart -n shop",
        "signal send --anomaly latency -n shop",
        "signal send --anomaly latency --service cart",
        "signal send --anomaly latency --rca leak --service cart -n shop",
        "signal send --rca leak --service cart -n shop --clear",
        "signal send -f x.json --service cart -n shop",
        "signal send -f x.json --nats nats://a",
        "signal send --anomaly latency --service cart -n shop --count 0",
    ] {
        let error = parse(bad).err().unwrap_or_else(|| panic!("{bad} reads"));
        assert_eq!(error.exit_code(), 2, "{bad}");
    }
}

/// Serves on a port of its own until dropped.
async fn served(world: &World) -> (String, tokio_util::sync::DropGuard) {
    // Fails only where it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("--server http://{}", listener.local_addr().unwrap());
    let stopping = CancellationToken::new();
    tokio::spawn(serve(listener, world.router.clone(), stopping.clone()));
    (server, stopping.drop_guard())
}

#[tokio::test]
async fn the_stop_button_from_end_to_end() {
    let world = World::with(Auth::Local, Timestamp::now()).await;
    let (server, _stop) = served(&world).await;
    let none = run(&format!("get pauses {server}")).await.unwrap();
    assert_eq!((none.result.as_str(), none.aside.as_str()), ("", "No pauses in force.\n"));
    let made = run(&format!("pause --namespace shop --reason load_test --for 2h --by ana {server}")).await.unwrap();
    let id = made.result.trim().trim_start_matches("pause/").trim_end_matches(" created").to_owned();
    assert!(made.aside.starts_with("namespace:shop is paused until "), "{}", made.aside);
    let listed = run(&format!("get pauses {server}")).await.unwrap().result;
    let expected = format!("{id}   namespace:shop   ana   load test   in 1h59m   0            0s");
    assert_eq!(listed.lines().nth(1), Some(expected.as_str()), "{listed}");
    let released = run(&format!("resume --namespace shop {server}")).await.unwrap();
    assert_eq!(released.result, format!("pause/{id} released, 0 suppressed\n"));
    let again = run(&format!("resume {id} {server}")).await.unwrap_err();
    assert_eq!((again.exit_code(), again.to_string()), (1, format!("field `id`: no pause `{id}` is in force")));
}

#[tokio::test(start_paused = true)]
async fn decisions_and_their_why_are_told() {
    let world = World::with(Auth::Local, Timestamp::now()).await;
    let id = recovered(&world).await.to_string();
    let (server, _stop) = served(&world).await;
    tokio::time::resume();
    let listed = run(&format!("get decisions {server}")).await.unwrap().result;
    let row =
        format!("{}   acted     Recovered   restart-on-leak   shop/Deployment/cart   restart   1       0s", &id[..8]);
    assert_eq!(listed.lines().nth(1), Some(row.as_str()), "{listed}");
    let json = run(&format!("get actions -o json {server}")).await.unwrap().result;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["decisions"][0]["id"], id);
    let yaml = run(&format!("why {id} -o yaml {server}")).await.unwrap().result;
    assert!(yaml.contains("result: Recovered\n"), "{yaml}");
    let why = run(&format!("why {} {server}", &id[..8])).await.unwrap().result;
    assert!(
        why.starts_with(&format!("{id}  ACTED  Recovered  restart-on-leak@3f2a  ->  shop/Deployment/cart")),
        "{why}"
    );
    let unknown = run(&format!("why nothing {server}")).await.unwrap_err();
    assert_eq!(unknown.exit_code(), 1);
    let policies = run(&format!("get policies {server}")).await.unwrap();
    assert!(
        policies.result.contains("restart-on-leak   enforce   100        rca      memory_leak>=0.5"),
        "{}",
        policies.result
    );
}

#[tokio::test]
async fn signals_are_sent_and_checked() {
    let world = World::with(Auth::Local, Timestamp::now()).await;
    let (server, _stop) = served(&world).await;
    let sent = run(&format!("signal send --anomaly resource --service cart -n shop --count 2 {server}")).await.unwrap();
    assert_eq!(sent.result.lines().count(), 2);
    {
        let taken = world.bus.taken.lock().unwrap();
        assert_eq!(taken.len(), 2);
        assert_ne!(taken[0].body, taken[1].body, "two windows");
    }
    let rca = run(&format!("signal send --rca memory_leak --service cart -n shop --window w-7 -o json {server}")).await;
    assert!(rca.unwrap().result.contains(r#""windowId": "w-7""#));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("signal.json");
    std::fs::write(&file, r#"{"windowId": "w", "service": "cart", "isAnomaly": 1, "score": 1, "type": "error"}"#)
        .unwrap();
    let checked = run(&format!("signal validate {}", file.display())).await.unwrap();
    assert_eq!(checked.result, "not valid: field `isAnomaly`: expected a boolean, found a number\n");
    assert!(checked.negative);
    let refused = run(&format!("signal send -f {} {server}", file.display())).await.unwrap_err();
    assert_eq!(refused.exit_code(), 1, "{refused}");
    let missing = run(&format!("signal send -f {} {server}", dir.path().join("none").display())).await.unwrap_err();
    assert_eq!(missing.exit_code(), 2, "{missing}");
}

#[tokio::test]
async fn exit_codes_tell_who_said_no() {
    let world = World::with(Auth::Token(Secret::new("s3cret")), Timestamp::now()).await;
    let (server, _stop) = served(&world).await;
    let stranger = run(&format!("pause --all --reason x {server}")).await.unwrap_err();
    assert_eq!(stranger.exit_code(), 4, "{stranger}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    run(&format!("pause --all --reason x --token-file {} {server}", file.display())).await.unwrap();
    let nobody = run("get policies --server http://127.0.0.1:1").await.unwrap_err();
    assert_eq!(nobody.exit_code(), 2);
    assert!(nobody.to_string().starts_with("http://127.0.0.1:1 cannot be reached: "), "{nobody}");
    let no_bus = run("signal send --anomaly error --service a -n b --nats nats://u:pw@127.0.0.1:1 --cluster c").await;
    let no_bus = no_bus.unwrap_err();
    assert_eq!(no_bus.exit_code(), 2);
    assert!(no_bus.to_string().starts_with("nats://***@127.0.0.1:1 cannot be reached: "), "{no_bus}");
    let nonsense = run("get policies --server ftp://x").await.unwrap_err();
    assert_eq!(nonsense.exit_code(), 2, "{nonsense}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_goes_to_nats_as_any_detector_would_send_it() {
    if !flyball_devcluster::can_run() {
        return;
    }
    let nats = tokio::task::spawn_blocking(|| flyball_devcluster::NatsServer::start().unwrap()).await.unwrap();
    let line = format!("signal send --rca leak --service cart -n shop --count 2 --nats {} --cluster prod", nats.url());
    let nowhere = run(&line).await.unwrap_err();
    assert_eq!(nowhere.exit_code(), 2, "no stream takes it: {nowhere}");
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let config = async_nats::jetstream::stream::Config {
        name: "FLYBALL_SIGNALS".into(),
        subjects: vec!["flyball.signal.>".into()],
        ..Default::default()
    };
    let stream = context.create_stream(config).await.unwrap();
    let sent = run(&line).await.unwrap().result;
    let second = sent.lines().nth(1).unwrap();
    assert!(second.ends_with(" accepted by flyball.signal.v1.rca.prod.shop, sequence 2"), "{sent}");
    let kept = stream.get_raw_message(2).await.unwrap();
    let message = flyball_signals::Message { subject: Some(&kept.subject), body: &kept.payload, ..Default::default() };
    let parsed = flyball_signals::parse(&message).unwrap();
    assert_eq!((parsed.namespace.as_deref(), parsed.body.target_name()), (Some("shop"), "cart"));
}
