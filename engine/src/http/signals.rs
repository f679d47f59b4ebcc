//! Signals in. A bad one is refused here and now, by its field; a good one goes to the bus and takes the way of all others.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use flyball_core::ports::Message;
use flyball_signals::Kind;

use super::Shared;
use super::problem::{Kind as ProblemKind, Problem};
use crate::publish::PublishError;
use crate::view::signal::{Accepted, Recents};

/// Seconds after which a publisher may try again.
const AGAIN: u16 = 1;

/// Takes an anomaly.
#[utoipa::path(post, path = "/v1/signals/anomaly", tag = "signals",
    request_body(content = ref("#/components/schemas/Anomaly"),
        description = "The signal as plain JSON, or as a CloudEvent of the binary or the structured form."),
    responses(
        (status = 202, description = "Durable; it will be decided", body = Accepted),
        (status = 401, description = "No token, or a wrong one", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 422, description = "Not a signal: the field says where", body = Problem),
        (status = 429, description = "Too many signals wait already", body = Problem),
        (status = 503, description = "The bus cannot be reached", body = Problem)))]
pub(super) async fn anomaly(
    State(api): State<Shared>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    take(&api, Kind::Anomaly, &headers, body?).await
}

/// Takes a root-cause analysis.
#[utoipa::path(post, path = "/v1/signals/rca", tag = "signals",
    request_body(content = ref("#/components/schemas/Rca"),
        description = "The signal as plain JSON, or as a CloudEvent of the binary or the structured form."),
    responses(
        (status = 202, description = "Durable; it will be decided", body = Accepted),
        (status = 401, description = "No token, or a wrong one", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 422, description = "Not a signal: the field says where", body = Problem),
        (status = 429, description = "Too many signals wait already", body = Problem),
        (status = 503, description = "The bus cannot be reached", body = Problem)))]
pub(super) async fn rca(
    State(api): State<Shared>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    take(&api, Kind::Rca, &headers, body?).await
}

async fn take(
    api: &Shared,
    kind: Kind,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let message = Message {
        subject: None,
        kind: Some(kind.as_str().to_owned()),
        headers: kept(headers),
        body: body.into(),
        sequence: 0,
        published_at: api.engine.book.now(),
    };
    let signal = api.reader.read(&message).map_err(|refusal| {
        api.engine.telemetry.refused(Some(kind.as_str()));
        Problem::from(refusal)
    })?;
    let accepted = Accepted {
        accepted: true,
        kind: kind.as_str().to_owned(),
        window_id: signal.window_id.to_string(),
        enqueued: true,
    };
    match api.publish.publish(message).await {
        Ok(_) => Ok((StatusCode::ACCEPTED, Json(accepted))),
        Err(error @ PublishError::Full) => Err(Problem::new(ProblemKind::Busy, error.to_string()).again_after(AGAIN)),
        Err(error @ PublishError::Unavailable(_)) => {
            Err(Problem::new(ProblemKind::Unavailable, error.to_string()).again_after(AGAIN))
        }
    }
}

/// The headers that belong to the signal. All others stay here: a token has no place on a bus, and a bus gives some names a
/// meaning of its own.
fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let belongs = |name: &str| matches!(name, "content-type" | "traceparent" | "tracestate") || name.starts_with("ce-");
    let text = |value: &axum::http::HeaderValue| value.to_str().ok().map(str::to_owned);
    headers
        .iter()
        .filter(|(name, _)| belongs(name.as_str()))
        .filter_map(|(name, value)| Some((name.to_string(), text(value)?)))
        .collect()
}

/// The newest signals that this replica took up.
#[utoipa::path(get, path = "/v1/signals/recent", tag = "signals",
    responses((status = 200, description = "The newest first", body = Recents)))]
pub(super) async fn recent(State(api): State<Shared>) -> Json<Recents> {
    Json(Recents { signals: api.recent.newest().into_iter().map(Into::into).collect() })
}
