//! Signals over HTTP.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use flyball_core::ports::Message;
use serde_json::json;

use crate::world::World;

const ANOMALY: &str = r#"{"windowId": "w-1", "service": "cart", "isAnomaly": true, "score": 0.97, "type": "latency"}"#;
const RCA: &str = r#"{"windowId": "w-2", "service": "cart", "confidence": 0.9,
    "rankedCauses": [{"svc": "cart", "cause": "memory_leak", "probability": 0.9}]}"#;

#[tokio::test(start_paused = true)]
async fn a_signal_is_accepted_once_it_is_on_the_bus() {
    let world = World::new().await;
    let structured = format!(
        r#"{{"specversion": "1.0", "id": "1", "source": "/d", "type": "dev.flyball.signal.anomaly.v1", "data": {ANOMALY}}}"#
    );
    for (kind, body, window) in [("anomaly", ANOMALY, "w-1"), ("rca", RCA, "w-2"), ("anomaly", &structured, "w-1")] {
        let got = world.call(&format!("POST /v1/signals/{kind}"), body).await;
        assert_eq!(got.status, StatusCode::ACCEPTED, "{}", got.text);
        let expected = json!({"accepted": true, "kind": kind, "windowId": window, "enqueued": true});
        assert_eq!(got.json(), expected);
    }
    let taken = world.bus.taken.lock().unwrap();
    assert_eq!(taken.len(), 3);
    assert_eq!(taken[0].body, ANOMALY.as_bytes(), "the bytes are kept as they came");
}

#[tokio::test(start_paused = true)]
async fn the_binary_form_keeps_its_headers_and_no_others() {
    let world = World::new().await;
    let request = Request::post("/v1/signals/anomaly")
        .header("ce-specversion", "1.0")
        .header("ce-id", "1")
        .header("ce-source", "/d")
        .header("ce-type", "dev.flyball.signal.anomaly.v1")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("authorization", "Bearer s3cret")
        .header("cookie", "a=b")
        .header("nats-expected-stream", "X")
        .body(Body::from(ANOMALY))
        .unwrap();
    assert_eq!(world.ask(request).await.status, StatusCode::ACCEPTED);
    let taken = world.bus.taken.lock().unwrap();
    let mut names: Vec<&str> = taken[0].headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ce-id", "ce-source", "ce-specversion", "ce-type", "traceparent"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_signal_is_refused_by_its_field() {
    let world = World::new().await;
    let without = |field: &str, value: &str| ANOMALY.replace(field, value);
    for (kind, body, field, reason) in [
        ("anomaly", String::new(), None, "not-json"),
        ("anomaly", "{".to_owned(), None, "not-json"),
        ("anomaly", without(r#""score": 0.97, "#, ""), Some("score"), "missing-field"),
        ("anomaly", without("0.97", r#""high""#), Some("score"), "wrong-type"),
        ("anomaly", without("latency", "slow"), Some("type"), "out-of-range"),
        ("anomaly", without("cart", "Cart!"), Some("service"), "bad-name"),
        (
            "rca",
            RCA.replace(r#""probability": 0.9"#, r#""probability": 2"#),
            Some("rankedCauses[0].probability"),
            "out-of-range",
        ),
    ] {
        let got = world.call(&format!("POST /v1/signals/{kind}"), &body).await;
        let problem = got.json();
        assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", got.text);
        assert_eq!(got.header("content-type"), "application/problem+json");
        assert_eq!((problem["field"].as_str(), problem["reason"].as_str()), (field, Some(reason)), "{body}");
        assert_eq!(
            (&problem["status"], &problem["type"]),
            (&json!(422), &json!("https://flyball.dev/problems/invalid-signal"))
        );
        assert!(!problem["title"].as_str().unwrap().is_empty() && !problem["detail"].as_str().unwrap().is_empty());
    }
    assert!(world.bus.taken.lock().unwrap().is_empty(), "nothing refused is on the bus");
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_cap_is_too_large() {
    let world = World::new().await;
    for size in [flyball_signals::MAX_BYTES + 1, 10 * flyball_signals::MAX_BYTES] {
        let got = world.call("POST /v1/signals/anomaly", &" ".repeat(size)).await;
        assert_eq!(
            (got.status, got.header("content-type")),
            (StatusCode::PAYLOAD_TOO_LARGE, "application/problem+json")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_takes_nothing_says_when_to_come_again() {
    let world = World::new().await;
    world.bus.full.store(true, Ordering::Relaxed);
    let got = world.call("POST /v1/signals/anomaly", ANOMALY).await;
    assert_eq!((got.status, got.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    world.bus.full.store(false, Ordering::Relaxed);
    world.bus.broken.store(true, Ordering::Relaxed);
    let got = world.call("POST /v1/signals/anomaly", ANOMALY).await;
    assert_eq!((got.status, got.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
}

#[tokio::test(start_paused = true)]
async fn the_newest_signals_are_shown() {
    let world = World::new().await;
    assert_eq!(world.get("/v1/signals/recent").await, json!({"signals": []}));
    let message = Message { kind: Some("anomaly".into()), body: ANOMALY.into(), ..Message::default() };
    world.recent.push(&world.reader.read(&message).unwrap());
    let seen = world.get("/v1/signals/recent").await;
    assert_eq!(
        (&seen["signals"][0]["windowId"], &seen["signals"][0]["subject"]),
        (&json!("w-1"), &json!("default/Deployment/cart"))
    );
}
