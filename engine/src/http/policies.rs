//! The policies in force.

use axum::Json;
use axum::extract::State;

use super::Shared;
use crate::view::policy::Policies;

/// The policies in force, in the order in which they are asked, and why a newer set is not.
#[utoipa::path(get, path = "/v1/policies", tag = "policies",
    responses((status = 200, description = "The policies in force", body = Policies)))]
pub(super) async fn list(State(api): State<Shared>) -> Json<Policies> {
    let error = api.engine.refused.load().as_deref().cloned();
    Json(Policies::of(&api.engine.policies.load(), error))
}
