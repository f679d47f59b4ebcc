//! What holds for every call: who may, how much, how long, and how it is said.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use flyball::http::{Auth, Secret};
use serde_json::Value;

use crate::world::{World, epoch};

const ANOMALY: &str = r#"{"windowId": "w-1", "service": "cart", "isAnomaly": true, "score": 0.97, "type": "latency"}"#;

#[tokio::test(start_paused = true)]
async fn who_may_change_something() {
    let local = World::new().await;
    let token = World::with(Auth::Token(Secret::new("s3cret")), epoch()).await;
    let open = World::with(Auth::None, epoch()).await;
    for (world, headers, expected) in [
        (&local, vec![], 202),
        (&local, vec![("host", "127.0.0.1:8080")], 202),
        (&local, vec![("host", "[::1]:8080")], 202),
        (&local, vec![("host", "localhost:8080")], 202),
        (&local, vec![("host", "evil.example:8080")], 403),
        (&local, vec![("sec-fetch-site", "cross-site")], 403),
        (&local, vec![("sec-fetch-site", "same-site")], 403),
        (&local, vec![("sec-fetch-site", "same-origin")], 202),
        (&token, vec![], 401),
        (&token, vec![("authorization", "Bearer wrong")], 401),
        (&token, vec![("authorization", "Basic s3cret")], 401),
        (&token, vec![("authorization", "s3cret")], 401),
        (&token, vec![("authorization", "Bearer s3cret")], 202),
        (&token, vec![("authorization", "bearer s3cret"), ("host", "flyball.example")], 202),
        (&token, vec![("authorization", "Bearer s3cret"), ("sec-fetch-site", "cross-site")], 403),
        (&open, vec![("host", "flyball.example")], 202),
        (&open, vec![("sec-fetch-site", "cross-site")], 403),
    ] {
        let mut request = Request::post("/v1/signals/anomaly");
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let got = world.ask(request.body(Body::from(ANOMALY)).unwrap()).await;
        assert_eq!(got.status, expected, "{headers:?}: {}", got.text);
        let challenge = if expected == 401 { "Bearer" } else { "" };
        assert_eq!(got.header("www-authenticate"), challenge);
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_token_every_call_that_changes_something_needs_it_and_no_other() {
    let world = World::with(Auth::Token(Secret::new("s3cret")), epoch()).await;
    for line in ["POST /v1/signals/rca", "POST /v1/pauses", "DELETE /v1/pauses?scope=all", "DELETE /v1/pauses/p-1"] {
        assert_eq!(world.call(line, "{}").await.status, StatusCode::UNAUTHORIZED, "{line}");
    }
    for path in ["/healthz", "/metrics", "/openapi.json", "/v1/decisions", "/v1/pauses", "/v1/policies"] {
        assert_eq!(world.call(&format!("GET {path}"), "").await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_path_and_no_method_are_problems() {
    let world = World::new().await;
    for (line, status, allow) in [
        ("GET /", 404, ""),
        ("GET /v1", 404, ""),
        ("GET /v2/decisions", 404, ""),
        ("POST /v1/decisions", 405, "GET,HEAD"),
        ("GET /v1/signals/anomaly", 405, "POST"),
        ("PUT /v1/pauses", 405, "GET,HEAD,POST,DELETE"),
    ] {
        let got = world.call(line, "").await;
        assert_eq!((got.status.as_u16(), got.header("allow")), (status, allow), "{line}");
        assert_eq!(got.header("content-type"), "application/problem+json", "{line}");
        assert_eq!(got.json()["status"], status, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_names_the_part_that_is_not() {
    let world = World::new().await;
    world.readiness.set("ledger", Ok(()));
    world.readiness.set("policies", Ok(()));
    let got = world.call("GET /readyz", "").await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(got.text, "[-] cluster: starting\n[+] ledger ok\n[+] policies ok\nnot ready\n");
    world.readiness.set("cluster", Ok(()));
    let json = Request::get("/readyz").header("accept", "application/json").body(Body::empty()).unwrap();
    let got = world.ask(json).await;
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(
        got.json(),
        serde_json::json!({"ready": true, "parts": {"cluster": null, "ledger": null, "policies": null}})
    );
}

#[tokio::test(start_paused = true)]
async fn health_and_metrics_answer() {
    let world = World::new().await;
    assert_eq!(world.call("GET /healthz", "").await.text, "ok\n");
    let got = world.call("GET /metrics", "").await;
    assert_eq!(got.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(got.text, "# EOF\n");
}

#[tokio::test(start_paused = true)]
async fn too_many_at_once_are_told_to_come_again_and_probes_still_answer() {
    let world = World::new().await;
    world.bus.stuck.store(true, Ordering::Relaxed);
    let mut stuck: Vec<_> = (0..256).map(|_| Box::pin(world.call("POST /v1/signals/anomaly", ANOMALY))).collect();
    for call in &mut stuck {
        assert!(futures::poll!(call).is_pending());
    }
    let got = world.call("GET /v1/decisions", "").await;
    assert_eq!((got.status, got.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!(world.call("GET /healthz", "").await.status, StatusCode::OK);
    let late = stuck.pop().unwrap().await;
    assert_eq!((late.status, late.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    drop(stuck);
    assert_eq!(world.call("GET /v1/decisions", "").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_problem_that_tells_strangers_nothing() {
    let world = World::new().await;
    world.bus.falls.store(true, Ordering::Relaxed);
    let got = world.call("POST /v1/signals/anomaly", ANOMALY).await;
    assert_eq!(
        (got.status, got.header("content-type")),
        (StatusCode::INTERNAL_SERVER_ERROR, "application/problem+json")
    );
    assert!(!got.text.contains("falls over"), "{}", got.text);
    assert_eq!(world.call("GET /v1/decisions", "").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn the_document_is_whole() {
    let world = World::new().await;
    let document = world.get("/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut refs = Vec::new();
    collect_refs(&document, &mut refs);
    assert!(refs.len() > 20);
    for pointer in refs {
        assert!(document.pointer(pointer.trim_start_matches('#')).is_some(), "{pointer} points nowhere");
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let line = format!("{} {}", method.to_uppercase(), path.replace("{id}", "x"));
            let got = world.call(&line, "").await;
            assert_ne!(got.status, StatusCode::METHOD_NOT_ALLOWED, "{line}");
            assert!(!got.text.contains("/openapi.json lists all"), "{line}");
            let status = got.status.as_str();
            assert!(operation["responses"].get(status).is_some(), "{line} answers {status}, which is not documented");
        }
    }
    assert!(document["paths"]["/v1/pauses"]["post"]["security"].is_array());
    assert!(document["paths"]["/v1/pauses"]["get"].get("security").is_none());
}

fn collect_refs(value: &Value, refs: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| match value {
            Value::String(to) if key == "$ref" => refs.push(to.clone()),
            value => collect_refs(value, refs),
        }),
        Value::Array(items) => items.iter().for_each(|it| collect_refs(it, refs)),
        _ => {}
    }
}
