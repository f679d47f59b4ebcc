//! Alive, ready, and in numbers.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Shared;
use crate::ready::Readiness;
use crate::view::signal::Ready;

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "Alive", body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether this replica can admit, and which part cannot: as lines, or as JSON if asked for it.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "Every part is ready", body = Ready),
    (status = 503, description = "A part is not ready", body = Ready)))]
pub(super) async fn readyz(State(api): State<Shared>, headers: HeaderMap) -> Response {
    answer(&api.readiness, &headers)
}

pub(super) fn answer(readiness: &Readiness, headers: &HeaderMap) -> Response {
    let ready = Ready::of(readiness);
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let accepts = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    if accepts.contains("application/json") {
        (status, Json(ready)).into_response()
    } else {
        (status, ready.text()).into_response()
    }
}

/// Metrics, as OpenMetrics.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "Metrics", content_type = "application/openmetrics-text", body = String)))]
pub(super) async fn metrics(State(api): State<Shared>) -> impl IntoResponse {
    const FORM: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, FORM)], (api.metrics)())
}
