//! Cancel and resolve.

use std::time::Duration;

use axum::http::StatusCode;
use flyball_core::intent::{Event, Receipt};
use flyball_core::record::{Record, Topic};
use serde_json::json;

use crate::asked::{admitted, change};
use crate::world::World;

const WORD: &str = r#"{"reason": "INC-7", "by": "ana"}"#;
const ABSENT: &str = r#"{"as": "absent", "reason": "cluster restored", "by": "ana"}"#;

async fn happened(world: &World, id: flyball_core::id::IntentId, event: Event) {
    world.write(Topic::Intent(id), Record::Happened(event)).await;
}

#[tokio::test(start_paused = true)]
async fn what_has_no_answer_is_resolved_by_a_persons_word_where_the_cluster_cannot_tell() {
    let world = World::new().await;
    let id = admitted(&world).await;
    let early = world.call(&format!("POST /v1/decisions/{id}/resolve"), ABSENT).await;
    assert_eq!(early.status, StatusCode::CONFLICT, "nothing was sent: {}", early.text);
    happened(&world, id, Event::Attempted { number: 1, change: change() }).await;
    happened(&world, id, Event::Unanswered { detail: "no answer".into() }).await;
    let short = &id.to_string()[..8];
    let got = world.call(&format!("POST /v1/decisions/{short}/resolve"), ABSENT).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.text);
    let why = got.json();
    assert_eq!((&why["result"], &why["open"]), (&json!("Cancelled"), &json!(false)));
    assert_eq!(why["detail"], "resolved as absent by ana: cluster restored (not fenced)");
    let again = world.call(&format!("POST /v1/decisions/{id}/resolve"), ABSENT).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.text);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_waits_for_the_end_and_says_when_it_came_too_late() {
    let world = World::new().await;
    let id = admitted(&world).await;
    happened(&world, id, Event::Attempted { number: 1, change: change() }).await;
    let path = format!("POST /v1/decisions/{id}/cancel");
    let mut cancelling = std::pin::pin!(world.call(&path, WORD));
    let early = tokio::time::timeout(Duration::from_secs(1), &mut cancelling).await;
    assert!(early.is_err(), "a send is still on its way");
    let asked = world.engine.book.history().intent(id).and_then(|it| it.cancelled().map(str::to_owned));
    assert_eq!(asked.as_deref(), Some("cancelled by ana: INC-7"), "whoever drives it knows");
    happened(&world, id, Event::Applied(Receipt { generation: 4, resource_version: "42".into() })).await;
    let late = cancelling.await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    assert!(late.json()["detail"].as_str().unwrap().starts_with("it is Applied"), "{}", late.text);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_is_not_confirmed_in_time_goes_on() {
    let world = World::new().await;
    let id = admitted(&world).await;
    happened(&world, id, Event::Attempted { number: 1, change: change() }).await;
    let got = world.call(&format!("POST /v1/decisions/{id}/cancel"), WORD).await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{}", got.text);
    assert!(world.engine.book.history().intent(id).is_some_and(|it| it.cancelled().is_some()));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_names_its_field() {
    let world = World::new().await;
    let id = admitted(&world).await;
    for (line, body, status, field) in [
        ("POST /v1/decisions/nobody-knows/cancel", WORD, StatusCode::NOT_FOUND, "id"),
        (
            &format!("POST /v1/decisions/{id}/cancel") as &str,
            "{\"reason\": \" \"}",
            StatusCode::UNPROCESSABLE_ENTITY,
            "reason",
        ),
        (
            &format!("POST /v1/decisions/{id}/resolve"),
            r#"{"as": "gone", "reason": "r"}"#,
            StatusCode::UNPROCESSABLE_ENTITY,
            "as",
        ),
        (&format!("POST /v1/decisions/{id}/resolve"), WORD, StatusCode::UNPROCESSABLE_ENTITY, "as"),
    ] {
        let got = world.call(line, body).await;
        assert_eq!((got.status, got.json()["field"].as_str()), (status, Some(field)), "{line}: {}", got.text);
    }
}
