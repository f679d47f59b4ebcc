//! What people may do to an action that is under way.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use flyball_core::id::IntentId;
use flyball_core::intent::Intent;

use super::problem::{Kind, Problem};
use super::{Shared, bounds};
use crate::pipeline::NotTaken;
use crate::view::hand::{Because, End, Resolve};
use crate::view::why::Why;

/// An id may be shortened to this many characters, as long as only one open action begins with them.
const SHORTEST: usize = 6;

/// Ends an action before it has an effect. What is on its way is fenced first, so that it cannot land later.
#[utoipa::path(post, path = "/v1/decisions/{id}/cancel", tag = "decisions", request_body = Because,
    params(("id" = String, Path, description = "The action's id, or enough of its beginning")),
    responses(
        (status = 200, description = "It has ended without an effect", body = Why),
        (status = 401, description = "No token, or a wrong one", body = Problem),
        (status = 403, description = "A page of another site sent it", body = Problem),
        (status = 404, description = "No such action is remembered", body = Problem),
        (status = 409, description = "It had landed, or was over", body = Problem),
        (status = 422, description = "The field says what cannot be used", body = Problem),
        (status = 503, description = "Not ended in time; it goes on being cancelled", body = Problem)))]
pub(super) async fn cancel(
    State(api): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Why>, Problem> {
    let (Path(id), word) = (id?, Problem::read::<Because>(&body?)?.check()?);
    let id = find(&api, &id)?;
    let engine = api.engine.clone();
    tracing::warn!(intent = %id, by = %word.by, reason = %word.reason, "Cancel asked for");
    ended(&api, id, async move { engine.cancel(id, word).await }).await
}

/// Ends an action whose send had no answer by a person's word, where the API server cannot be asked.
#[utoipa::path(post, path = "/v1/decisions/{id}/resolve", tag = "decisions", request_body = Resolve,
    params(("id" = String, Path, description = "The action's id, or enough of its beginning")),
    responses(
        (status = 200, description = "It has ended", body = Why),
        (status = 401, description = "No token, or a wrong one", body = Problem),
        (status = 403, description = "A page of another site sent it", body = Problem),
        (status = 404, description = "No such action is remembered", body = Problem),
        (status = 409, description = "Nothing of it is unsettled, or the API server can tell", body = Problem),
        (status = 422, description = "The field says what cannot be used", body = Problem),
        (status = 503, description = "Not confirmed in time; it goes on", body = Problem)))]
pub(super) async fn resolve(
    State(api): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Why>, Problem> {
    let (Path(id), asked) = (id?, Problem::read::<Resolve>(&body?)?);
    let (id, word) = (find(&api, &id)?, asked.check()?);
    let engine = api.engine.clone();
    tracing::warn!(intent = %id, by = %word.by, reason = %word.reason, end = ?asked.end, "Resolved by hand");
    ended(&api, id, async move { engine.resolve(id, asked.end == End::Applied, word).await }).await
}

fn find(api: &Shared, id: &str) -> Result<IntentId, Problem> {
    let history = api.engine.book.history();
    if let Some(intent) = id.parse().ok().and_then(|id| history.intent(id)) {
        return Ok(intent.id());
    }
    let mut begun = history.open().map(Intent::id).filter(|it| id.len() >= SHORTEST && it.to_string().starts_with(id));
    match (begun.next(), begun.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            Err(Problem::new(Kind::InvalidRequest, format!("more than one open action begins with `{id}`")).at("id"))
        }
        (None, _) => Err(Problem::new(Kind::NotFound, format!("no open action `{id}`")).at("id")),
    }
}

async fn ended(
    api: &Shared,
    id: IntentId,
    asked: impl Future<Output = Result<(), NotTaken>> + Send + 'static,
) -> Result<Json<Why>, Problem> {
    let unconfirmed = "it goes on, but is not confirmed yet: see `flyball why`";
    let done = bounds::carried_out(&api.engine, asked, unconfirmed).await?;
    done.map_err(|not_taken| Problem::new(Kind::Conflict, not_taken.to_string()))?;
    let history = api.engine.book.history();
    let why = history.intent(id).map(Why::intent);
    why.map(Json).ok_or_else(|| Problem::new(Kind::NotFound, "it has ended and is not remembered").at("id"))
}
