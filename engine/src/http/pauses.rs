//! The stop button.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use flyball_core::history::History;
use flyball_core::intent::{Intent, Stage};
use flyball_core::record::{self, PauseScope, Record, Resume};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::problem::{Kind, Problem};
use super::{Shared, bounds};
use crate::pipeline::Engine;
use crate::view::pause::{Asked, NewPause, Pause, Pauses, Scope};

/// The pauses in force: who, why, since, until, and how many signals each has suppressed.
#[utoipa::path(get, path = "/v1/pauses", tag = "pauses",
    responses((status = 200, description = "The oldest first", body = Pauses)))]
pub(super) async fn list(State(api): State<Shared>) -> Json<Pauses> {
    Json(Pauses { pauses: in_force(&api.engine) })
}

fn in_force(engine: &Engine) -> Vec<Pause> {
    let now = engine.book.now();
    let journal = engine.book.journal();
    let ended = |until: Option<jiff::Timestamp>| until.is_some_and(|until| until <= now);
    journal.pauses().iter().filter(|(_, pause, _)| !ended(pause.until)).map(Pause::of).collect()
}

/// Presses the stop button. The answer comes when the pause is durable and nothing that it stops is on its way any more.
#[utoipa::path(post, path = "/v1/pauses", tag = "pauses", request_body = NewPause, responses(
    (status = 201, description = "In force: nothing that it stops is on its way any more", body = Pause),
    (status = 401, description = "No token, or a wrong one", body = Problem),
    (status = 403, description = "A page of another site sent it", body = Problem),
    (status = 413, description = "The body is too large", body = Problem),
    (status = 422, description = "The field says what cannot be used", body = Problem),
    (status = 503, description = "Not confirmed in time; it goes on being pressed", body = Problem)))]
pub(super) async fn pause(
    State(api): State<Shared>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Pause>), Problem> {
    let asked = Problem::read::<NewPause>(&body?)?.check()?;
    let unconfirmed = "the pause goes on being pressed, but is not confirmed: the ledger does not answer, or something \
                       sent before it has had no answer yet. `flyball get pauses` shows whether it is in force";
    let pause = bounds::carried_out(&api.engine, press(api.engine.clone(), asked), unconfirmed).await?;
    Ok((StatusCode::CREATED, Json(pause)))
}

async fn press(engine: Arc<Engine>, asked: Asked) -> Pause {
    // The last digits of a v7 id are random: short enough to type, and a clash would need as many pauses as there are people.
    let id: Arc<str> = format!("p-{}", &Uuid::now_v7().simple().to_string()[24..]).into();
    let since = engine.book.now();
    let until = asked.lasting.map(|lasting| since.saturating_add(lasting).unwrap_or(jiff::Timestamp::MAX));
    let pause = record::Pause { id, scope: asked.scope, reason: asked.reason, by: asked.by, until };
    let pressed = |history: &History| history.pauses(since).any(|(_, it)| it.id == pause.id);
    engine.admitter.write(|history| (!pressed(history)).then(|| Record::Paused(pause.clone()))).await;
    // Whoever sends records it first and then looks for pauses, on whichever replica: what lies behind ours is not sent, and
    // what lies before it is on its way until it is settled.
    let mut changes = engine.book.changes();
    while on_its_way(&engine, &pause.scope) {
        tokio::select! {
            _ = changes.changed() => {}
            () = engine.stopping.cancelled() => break,
        }
    }
    tracing::warn!(pause = %pause.id, scope = %pause.scope, by = %pause.by, reason = %pause.reason, "Paused");
    let known = engine.book.journal().pauses().iter().find(|(_, it, _)| it.id == pause.id).map(Pause::of);
    known.unwrap_or_else(|| Pause::of(&(since, pause, 0)))
}

fn on_its_way(engine: &Engine, scope: &PauseScope) -> bool {
    let unsettled = |it: &Intent| matches!(it.stage(), Stage::Sending { .. } | Stage::Unknown { .. });
    engine.book.history().open().any(|it| scope.covers(&it.request().target) && unsettled(it))
}

/// Which pauses, and who says so.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Released {
    /// `all`, `namespace:NAME` or `target:NAMESPACE/KIND/NAME`: every pause of exactly this scope.
    scope: String,
    /// Who asks.
    by: Option<String>,
}

/// Who says so.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct By {
    /// Who asks.
    by: Option<String>,
}

/// Releases a pause.
#[utoipa::path(delete, path = "/v1/pauses/{id}", tag = "pauses",
    params(("id" = String, Path, description = "The pause's id"), By),
    responses(
        (status = 200, description = "Released", body = Pauses),
        (status = 401, description = "No token, or a wrong one", body = Problem),
        (status = 403, description = "A page of another site sent it", body = Problem),
        (status = 404, description = "No such pause is in force", body = Problem),
        (status = 422, description = "The field says what cannot be used", body = Problem)))]
pub(super) async fn resume(
    State(api): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    by: Result<Query<By>, QueryRejection>,
) -> Result<Json<Pauses>, Problem> {
    let (Path(id), Query(By { by })) = (id?, by?);
    release(&api, by, |pause| pause.id == id)
        .await?
        .ok_or_else(|| Problem::new(Kind::NotFound, format!("no pause `{id}` is in force")).at("id"))
}

/// Releases every pause of a scope.
#[utoipa::path(delete, path = "/v1/pauses", tag = "pauses", params(Released), responses(
    (status = 200, description = "Released", body = Pauses),
    (status = 401, description = "No token, or a wrong one", body = Problem),
    (status = 403, description = "A page of another site sent it", body = Problem),
    (status = 404, description = "No such pause is in force", body = Problem),
    (status = 422, description = "The field says what cannot be used", body = Problem)))]
pub(super) async fn resume_scope(
    State(api): State<Shared>,
    query: Result<Query<Released>, QueryRejection>,
) -> Result<Json<Pauses>, Problem> {
    let Query(Released { scope, by }) = query?;
    let meant: PauseScope = Scope::parse(&scope)?;
    let written = Scope::from(&meant);
    release(&api, by, |pause| pause.scope == written)
        .await?
        .ok_or_else(|| Problem::new(Kind::NotFound, format!("no pause of `{scope}` is in force")).at("scope"))
}

/// Releases the pauses that are `meant`; nothing if there are none, or somebody else was quicker with all of them.
async fn release(
    api: &Shared,
    by: Option<String>,
    meant: impl Fn(&Pause) -> bool,
) -> Result<Option<Json<Pauses>>, Problem> {
    let by = crate::view::pause::name(by.as_deref())?;
    let mut released = Vec::new();
    for pause in in_force(&api.engine).into_iter().filter(meant) {
        let (id, by, engine) = (Arc::<str>::from(&*pause.id), by.clone(), api.engine.clone());
        // Owned by the engine, so that a lost connection does not leave it half done.
        let releasing = api.engine.drivers.spawn(async move {
            let now = engine.book.now();
            let resume = Resume { id, by };
            let still = |history: &flyball_core::history::History| {
                history.pauses(now).any(|(_, it)| it.id == resume.id).then(|| Record::Resumed(resume.clone()))
            };
            engine.admitter.write(still).await
        });
        if releasing.await.map_err(|_| Problem::new(Kind::Fault, "the log has why"))? {
            tracing::warn!(pause = %pause.id, "Resumed");
            released.push(pause);
        }
    }
    Ok((!released.is_empty()).then_some(Json(Pauses { pauses: released })))
}
