//! The policies in force.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use flyball_core::history::History;
use flyball_core::record::{Record, Trusted};

use super::problem::{Kind, Problem};
use super::{Shared, bounds};
use crate::view::hand::Because;
use crate::view::policy::Policies;

/// The policies in force, in the order in which they are asked, and why a newer set is not.
#[utoipa::path(get, path = "/v1/policies", tag = "policies",
    responses((status = 200, description = "The policies in force", body = Policies)))]
pub(super) async fn list(State(api): State<Shared>) -> Json<Policies> {
    let error = api.engine.refused.load().as_deref().cloned();
    Json(Policies::of(&api.engine.policies.load(), error, &api.engine.book.history()))
}

/// Lets a policy act again that was demoted because its actions did not help.
#[utoipa::path(post, path = "/v1/policies/{name}/trust", tag = "policies", request_body = Because,
    params(("name" = String, Path, description = "The policy's name")),
    responses(
        (status = 200, description = "It acts again, as far as its file lets it", body = Policies),
        (status = 401, description = "No token, or a wrong one", body = Problem),
        (status = 403, description = "A page of another site sent it", body = Problem),
        (status = 404, description = "No such policy is demoted", body = Problem),
        (status = 422, description = "The field says what cannot be used", body = Problem),
        (status = 503, description = "Not confirmed in time; it goes on", body = Problem)))]
pub(super) async fn trust(
    State(api): State<Shared>,
    name: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Policies>, Problem> {
    let (Path(name), word) = (name?, Problem::read::<Because>(&body?)?.check()?);
    if api.engine.book.history().demotion(&name).is_none() {
        return Err(Problem::new(Kind::NotFound, format!("no policy `{name}` is demoted")).at("name"));
    }
    let engine = api.engine.clone();
    let asked = async move {
        tracing::warn!(policy = %name, by = %word.by, reason = %word.reason, "Trusted again");
        let said = Trusted { policy: name.into(), by: word.by, reason: word.reason };
        let still = |it: &History| it.demotion(&said.policy).map(|_| Record::Trusted(said.clone()));
        engine.admitter.write(still).await;
    };
    bounds::carried_out(&api.engine, asked, "it goes on, but is not confirmed yet").await?;
    Ok(list(State(api)).await)
}
