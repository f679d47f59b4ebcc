//! A policy that was demoted, and a person who trusts it again.

use axum::http::StatusCode;
use flyball_core::record::{Demoted, Record, Topic};

use crate::world::{World, epoch};

const LAST: &str = "ddcc7197-bf55-8a99-a265-5708021d9525";
const NAME: &str = "restart-on-leak";
const TRUST: &str = "POST /v1/policies/restart-on-leak/trust";
const BECAUSE: &str = r#"{"reason": "the probe was wrong", "by": "ana"}"#;

async fn demoted() -> World {
    let world = World::new().await;
    let demoted = Demoted { policy: NAME.into(), failures: 3, last: LAST.parse().unwrap(), since: epoch() };
    world.write(Topic::Admit, Record::Demoted(demoted)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_demoted_policy_is_shown_and_acts_again_when_it_is_trusted() {
    let world = demoted().await;
    let shown = world.get("/v1/policies").await;
    let why = shown["policies"][0]["demoted"].as_str().unwrap();
    assert!(why.starts_with("3 in a row failed, the last ") && why.ends_with(", at 2026-01-10 14:00:00Z"), "{why}");
    assert_eq!(shown["policies"][0]["mode"], "enforce", "its file says so still");
    let got = world.call(TRUST, BECAUSE).await;
    assert_eq!((got.status, got.json()["policies"][0].get("demoted")), (StatusCode::OK, None), "{}", got.text);
    assert!(world.engine.book.history().demotion(NAME).is_none());
    let again = world.call(TRUST, BECAUSE).await;
    assert_eq!((again.status, again.json()["field"].as_str()), (StatusCode::NOT_FOUND, Some("name")), "{}", again.text);
}

#[tokio::test(start_paused = true)]
async fn a_word_without_a_reason_is_none() {
    let world = demoted().await;
    for (line, body, status, field) in [
        (TRUST, r#"{"reason": " "}"#, StatusCode::UNPROCESSABLE_ENTITY, "reason"),
        (TRUST, "{}", StatusCode::UNPROCESSABLE_ENTITY, "reason"),
        ("POST /v1/policies/nobody/trust", BECAUSE, StatusCode::NOT_FOUND, "name"),
    ] {
        let got = world.call(line, body).await;
        assert_eq!((got.status, got.json()["field"].as_str()), (status, Some(field)), "{line} {body}: {}", got.text);
    }
    assert!(world.engine.book.history().demotion(NAME).is_some());
}
