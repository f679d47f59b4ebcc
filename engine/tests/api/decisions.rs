//! What was decided, and why.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::asked::{busy_world, recovered};
use crate::world::World;

fn column(list: &Value, field: &str) -> Vec<String> {
    list["decisions"].as_array().unwrap().iter().map(|it| it[field].as_str().unwrap_or("-").to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn decisions_are_listed_newest_first_and_filtered() {
    let (world, id) = busy_world().await;
    let all = world.get("/v1/decisions").await;
    assert_eq!(column(&all, "verdict"), ["deferred", "no_action", "shadow", "denied", "acted"]);
    assert_eq!(
        column(&all, "result"),
        ["ConcurrencyLimit", "NoPolicyMatched", "ShadowOnly", "CooldownActive", "Recovered"]
    );
    assert_eq!(all["decisions"][4]["id"], id.to_string());
    assert_eq!(all["decisions"][3]["count"], 14);
    assert_eq!(all["decisions"][3]["allowedAt"], "2026-01-10T14:12:11Z");
    for (query, expected) in [
        ("limit=2", vec!["deferred", "no_action"]),
        ("reason=CooldownActive", vec!["denied"]),
        ("reason=concurrencylimit", vec!["deferred", "denied"]),
        ("reason=Recovered", vec!["acted"]),
        ("namespace=shop&policy=restart-in-shadow", vec!["shadow"]),
        ("namespace=elsewhere", vec![]),
        ("verdict=acted", vec!["acted"]),
        ("since=30s", vec![]),
        ("since=1h", vec!["deferred", "no_action", "shadow", "denied", "acted"]),
        ("since=2026-01-10T14:00:04Z", vec!["deferred", "no_action", "shadow", "denied"]),
    ] {
        let list = world.get(&format!("/v1/decisions?{query}")).await;
        assert_eq!(column(&list, "verdict"), expected, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_cannot_be_asked_names_its_field() {
    let world = World::new().await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("since=soon", "since"),
        ("reason=Whatever", "reason"),
        ("namspace=shop", "namspace"),
    ] {
        let got = world.call(&format!("GET /v1/decisions?{query}"), "").await;
        assert_eq!(
            (got.status, got.json()["field"].as_str().unwrap()),
            (StatusCode::UNPROCESSABLE_ENTITY, field),
            "{query}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_why_of_an_action_tells_its_whole_life() {
    let world = World::new().await;
    let id = recovered(&world).await.to_string();
    let why = world.get(&format!("/v1/decisions/{id}")).await;
    assert_eq!(why["verdict"], "acted");
    assert_eq!(why["result"], "Recovered");
    assert_eq!(why["digest"], "3f2a");
    assert_eq!(why["change"], "restart at 2026-01-10T14:00:00Z");
    assert_eq!(why["detail"], "no signal for 5m after the rollout");
    assert_eq!(why["evidence"]["confidence"], 0.8);
    assert_eq!(why["evidence"]["sequences"], json!([[7, 7]]));
    assert_eq!(why["traceId"].as_str().unwrap().len(), 32);
    assert_eq!(why["open"], false);
    let events: Vec<String> = why["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {}", &it["at"].as_str().unwrap()[11..19], it["event"].as_str().unwrap()))
        .collect();
    assert_eq!(
        events,
        ["14:00:00 Recorded", "14:00:01 Attempted", "14:00:02 Applied", "14:00:03 RolledOut", "14:00:04 Recovered"]
    );
    assert_eq!(world.get(&format!("/v1/decisions/{}", &id[..8])).await, why, "the beginning of an id is enough");
}

#[tokio::test(start_paused = true)]
async fn the_why_of_a_denial_has_every_reason_with_its_numbers() {
    let (world, last) = busy_world().await;
    let denied = world.get("/v1/decisions?verdict=denied").await["decisions"][0]["id"].as_str().unwrap().to_owned();
    let why = world.get(&format!("/v1/decisions/{denied}")).await;
    assert_eq!(
        why["reasons"],
        json!([
            {
                "reason": "CooldownActive",
                "detail": format!("last action {last}"),
                "numbers": {"last": last.to_string(), "until": "2026-01-10T14:12:11Z"},
                "allowedAt": "2026-01-10T14:12:11Z",
            },
            {
                "reason": "ConcurrencyLimit",
                "detail": "2 of 2 slots used (namespace)",
                "numbers": {"scope": "namespace", "used": 2, "max": 2},
                "allowedAt": null,
            },
        ])
    );
    let waits = world.get("/v1/decisions?verdict=deferred").await["decisions"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(world.get(&format!("/v1/decisions/{waits}")).await["open"], true);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_decision_is_not_found() {
    let world = World::new().await;
    for id in ["nothing", "n1-0", "0198c2f0-0000-8000-8000-000000000000", "%20"] {
        let got = world.call(&format!("GET /v1/decisions/{id}"), "").await;
        assert_eq!(
            (got.status, got.header("content-type")),
            (StatusCode::NOT_FOUND, "application/problem+json"),
            "{id}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_text_is_no_id() {
    let world = World::new().await;
    for line in ["GET /v1/decisions/%FF", "DELETE /v1/pauses/%FF"] {
        let got = world.call(line, "").await;
        assert_eq!((got.status, &got.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("id")), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn policies_are_shown_as_they_are_in_force() {
    let world = World::new().await;
    world.engine.refused.store(Some(std::sync::Arc::new("leak.yaml:3: unknown key".to_owned())));
    let got = world.get("/v1/policies").await;
    assert_eq!(got["error"], "leak.yaml:3: unknown key");
    let policy = &got["policies"][0];
    assert_eq!((&policy["name"], &policy["mode"]), (&json!("restart-on-leak"), &json!("enforce")));
    assert_eq!((&policy["about"], &policy["least"]), (&json!(["memory_leak"]), &json!(0.5)));
    assert_eq!(policy["verification"], "complete within 5m, stable for 30s, silent within 5m, else undone");
}
