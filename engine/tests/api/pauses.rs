//! The stop button.

use std::time::Duration;

use axum::http::StatusCode;
use flyball_core::deny::DenyReason;
use flyball_core::id::IntentId;
use flyball_core::intent::{Event, Receipt};
use flyball_core::record::{Record, Topic, Verdict};
use serde_json::{Value, json};

use crate::asked::{admitted, change, folded};
use crate::world::World;

const ALL: &str = r#"{"scope": {"all": true}, "reason": "INC-4411", "for": "2h", "by": "ana"}"#;

async fn pause(world: &World, body: &str) -> Value {
    let got = world.call("POST /v1/pauses", body).await;
    assert_eq!(got.status, StatusCode::CREATED, "{}", got.text);
    got.json()
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_listed_with_what_it_suppressed_until_it_is_released() {
    let world = World::new().await;
    let made = pause(&world, ALL).await;
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(made["until"], "2026-01-10T16:00:00Z");
    let because = DenyReason::Paused { pause: id.clone(), because: "INC-4411".into(), until: None };
    world.write(Topic::Note, Record::Folded(vec![folded("cart", Verdict::Denied(vec![because]), Some("p"), 14)])).await;
    let listed = world.get("/v1/pauses").await;
    assert_eq!(
        listed,
        json!({"pauses": [{"id": id, "scope": {"all": true}, "reason": "INC-4411", "by": "ana",
            "since": "2026-01-10T14:00:00Z", "until": "2026-01-10T16:00:00Z", "suppressed": 14}]})
    );
    let released = world.call(&format!("DELETE /v1/pauses/{id}?by=ben"), "").await;
    assert_eq!((released.status, &released.json()["pauses"][0]["id"]), (StatusCode::OK, &json!(id)));
    assert_eq!(world.get("/v1/pauses").await, json!({"pauses": []}));
    let again = world.call(&format!("DELETE /v1/pauses/{id}"), "").await;
    assert_eq!((again.status, &again.json()["field"]), (StatusCode::NOT_FOUND, &json!("id")));
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_by_itself() {
    let world = World::new().await;
    pause(&world, ALL).await;
    tokio::time::advance(Duration::from_secs(2 * 3_600 + 1)).await;
    assert_eq!(world.get("/v1/pauses").await, json!({"pauses": []}));
}

/// An intent of which a send is on its way.
async fn sending(world: &World) -> IntentId {
    let id = admitted(world).await;
    world.write(Topic::Intent(id), Record::Happened(Event::Attempted { number: 1, change: change() })).await;
    id
}

async fn landed(world: &World, id: IntentId) {
    let receipt = Receipt { generation: 4, resource_version: "42".into() };
    world.write(Topic::Intent(id), Record::Happened(Event::Applied(receipt))).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_acknowledged_when_nothing_is_on_its_way_any_more() {
    let world = World::new().await;
    let id = sending(&world).await;
    let mut pressing = std::pin::pin!(world.call("POST /v1/pauses", ALL));
    let early = tokio::time::timeout(Duration::from_secs(1), &mut pressing).await;
    assert!(early.is_err(), "a send is still on its way");
    assert_eq!(world.engine.book.history().pauses(world.engine.book.now()).count(), 1, "and yet it is on the ledger");
    landed(&world, id).await;
    assert_eq!(pressing.await.status, StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn a_pause_waits_for_what_had_no_answer_if_it_covers_it() {
    let world = World::new().await;
    let id = sending(&world).await;
    world.write(Topic::Intent(id), Record::Happened(Event::Unanswered { detail: "no answer".into() })).await;
    pause(&world, r#"{"scope": {"namespace": "elsewhere"}, "reason": "load test"}"#).await;
    let mut pressing = std::pin::pin!(world.call("POST /v1/pauses", ALL));
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut pressing).await.is_err(), "it may still land");
    landed(&world, id).await;
    assert_eq!(pressing.await.status, StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_not_confirmed_in_time_says_so_and_holds_all_the_same() {
    let world = World::new().await;
    sending(&world).await;
    let got = world.call("POST /v1/pauses", ALL).await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{}", got.text);
    assert!(got.json()["detail"].as_str().unwrap().contains("not confirmed"));
    assert_eq!(world.get("/v1/pauses").await["pauses"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_has_pressed_stop() {
    let world = World::new().await;
    sending(&world).await;
    let call = world.call("POST /v1/pauses", ALL);
    assert!(tokio::time::timeout(Duration::from_millis(10), call).await.is_err());
    assert_eq!(world.get("/v1/pauses").await["pauses"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_paused_names_its_field() {
    let world = World::new().await;
    for (body, field) in [
        ("", None),
        ("{}", Some("scope")),
        (r#"{"scope": {"all": true}}"#, Some("reason")),
        (r#"{"scope": {"all": true}, "reason": " "}"#, Some("reason")),
        (r#"{"scope": {"all": true}, "reason": "a\nb"}"#, Some("reason")),
        (r#"{"scope": {"all": 1}, "reason": "r"}"#, Some("scope.all")),
        (r#"{"scope": {"pod": "x"}, "reason": "r"}"#, Some("scope.pod")),
        (r#"{"scope": {}, "reason": "r"}"#, Some("scope")),
        (r#"{"scope": {"namespace": "Shop"}, "reason": "r"}"#, Some("scope.namespace")),
        (r#"{"scope": {"target": "cart"}, "reason": "r"}"#, Some("scope.target")),
        (r#"{"scope": {"all": true}, "reason": "r", "for": "soon"}"#, Some("for")),
        (r#"{"scope": {"all": true}, "reason": "r", "for": "31d"}"#, Some("for")),
        (r#"{"scope": {"all": true}, "reason": "r", "because": "x"}"#, Some("because")),
    ] {
        let got = world.call("POST /v1/pauses", body).await;
        assert_eq!(
            (got.status, got.json()["field"].as_str()),
            (StatusCode::UNPROCESSABLE_ENTITY, field),
            "{body}: {}",
            got.text
        );
    }
    assert_eq!(world.get("/v1/pauses").await, json!({"pauses": []}));
}

#[tokio::test(start_paused = true)]
async fn a_scope_is_released_as_a_whole_and_no_other() {
    let world = World::new().await;
    let in_shop = r#"{"scope": {"namespace": "shop"}, "reason": "load test"}"#;
    pause(&world, in_shop).await;
    pause(&world, in_shop).await;
    pause(&world, r#"{"scope": {"target": "shop/cart"}, "reason": "being debugged"}"#).await;
    let released = world.call("DELETE /v1/pauses?scope=namespace:shop", "").await;
    assert_eq!(released.json()["pauses"].as_array().unwrap().len(), 2);
    let left = world.get("/v1/pauses").await;
    assert_eq!(left["pauses"][0]["scope"], json!({"target": "shop/Deployment/cart"}));
    for (query, status) in [
        ("scope=all", StatusCode::NOT_FOUND),
        ("scope=shop", StatusCode::UNPROCESSABLE_ENTITY),
        ("", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let got = world.call(&format!("DELETE /v1/pauses?{query}"), "").await;
        assert_eq!((got.status, &got.json()["field"]), (status, &json!("scope")), "{query}");
    }
}
