//! The move of the ledger to another store.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;

use super::Shared;
use super::problem::{Kind, Problem};
use crate::migration::NotBegun;
use crate::view::migration::{Migration, NewMigration};

/// How far the move of the ledger is.
#[utoipa::path(get, path = "/v1/ledger/migrate", tag = "ledger",
    responses((status = 200, description = "The last one that was asked for", body = Migration)))]
pub(super) async fn migration(State(api): State<Shared>) -> Json<Migration> {
    Json(api.migrator.as_ref().map(|it| it.0.told()).unwrap_or_default())
}

/// Moves the ledger to another store while the engine works. The answer comes at once; asking again for the same is no fault.
#[utoipa::path(post, path = "/v1/ledger/migrate", tag = "ledger", request_body = NewMigration, responses(
    (status = 202, description = "Under way", body = Migration),
    (status = 401, description = "No token, or a wrong one", body = Problem),
    (status = 403, description = "A page of another site sent it", body = Problem),
    (status = 409, description = "It is there already, moves elsewhere, or other replicas are alive", body = Problem),
    (status = 422, description = "The field says what cannot be used", body = Problem)))]
pub(super) async fn migrate(
    State(api): State<Shared>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Migration>), Problem> {
    let asked = Problem::read::<NewMigration>(&body?)?;
    let by = asked.asker()?;
    let Some((migrator, anchor)) = &api.migrator else {
        return Err(Problem::new(Kind::Conflict, "the ledger of this engine cannot be moved"));
    };
    tracing::warn!(to = %asked.to, %by, "A move of the ledger was asked for");
    migrator.begin(&api.engine, anchor.clone(), &asked)?;
    Ok((StatusCode::ACCEPTED, Json(migrator.told())))
}

impl From<NotBegun> for Problem {
    fn from(why: NotBegun) -> Self {
        match why {
            NotBegun::Unusable(field, what) => Self::new(Kind::InvalidRequest, what).at(field),
            NotBegun::Conflict(what) => Self::new(Kind::Conflict, what),
        }
    }
}
