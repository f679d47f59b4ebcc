//! What went wrong, as RFC 9457 words it.

use std::any::Any;

use axum::body::Body;
use axum::extract::Request;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flyball_signals::{Refusal, RefusalReason};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A problem document, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    #[schema(examples("https://flyball.dev/problems/invalid-signal"))]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status, once more.
    pub status: u16,
    /// What is wrong this time, and what to do.
    pub detail: String,
    /// The field at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub field: Option<Box<str>>,
    /// The reason as a fixed word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<Box<str>>,
    /// Seconds after which to try again; sent as the header `Retry-After`.
    #[serde(skip)]
    pub retry_after: Option<u16>,
}

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No such path, or nothing of that id.
    NotFound,
    /// The path does not have this method.
    MethodNotAllowed,
    /// The body is too large.
    TooLarge,
    /// The body is not a signal.
    InvalidSignal,
    /// The query or the body cannot be used.
    InvalidRequest,
    /// It is not in the state that this asks for.
    Conflict,
    /// No token, or a wrong one.
    Unauthorised,
    /// Sent by a page of another site.
    CrossSite,
    /// Too much at once.
    Busy,
    /// What is needed cannot be reached.
    Unavailable,
    /// It took too long.
    TimedOut,
    /// A fault of ours.
    Fault,
}

impl Kind {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::InvalidSignal => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-signal", "The body is not a signal"),
            Self::InvalidRequest => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", "The request cannot be used"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "It is not so any more"),
            Self::Unauthorised => (StatusCode::UNAUTHORIZED, "unauthorised", "A bearer token is needed"),
            Self::CrossSite => (StatusCode::FORBIDDEN, "cross-site", "Pages of other sites may not call this"),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy", "Too much at once"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now"),
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed-out", "It took too long"),
            Self::Fault => (StatusCode::INTERNAL_SERVER_ERROR, "fault", "A fault of the engine"),
        }
    }
}

impl Problem {
    /// A problem of a kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (status, slug, title) = kind.parts();
        Self {
            kind: format!("https://flyball.dev/problems/{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            reason: None,
            retry_after: None,
        }
    }

    /// The field at fault.
    #[must_use]
    pub fn at(self, field: impl Into<Box<str>>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// When to try again, in seconds.
    #[must_use]
    pub fn again_after(self, seconds: u16) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Texts and numbers always serialise.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = if refusal.reason == RefusalReason::TooLarge { Kind::TooLarge } else { Kind::InvalidSignal };
        let reason = Some(refusal.reason.as_str().into());
        Self { field: refusal.field.map(Into::into), reason, ..Self::new(kind, refusal.detail) }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::new(Kind::TooLarge, format!("the most is {} bytes", flyball_signals::MAX_BYTES));
        }
        Self::new(Kind::InvalidRequest, rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(Kind::InvalidRequest, rejection.body_text()).at("id")
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::said_by_serde(None, &rejection.body_text())
    }
}

impl From<(&'static str, String)> for Problem {
    fn from((field, detail): (&'static str, String)) -> Self {
        Self::new(Kind::InvalidRequest, detail).at(field)
    }
}

impl Problem {
    /// Reads a body as a `T`; what is wrong names its field.
    pub(super) fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Self> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            Self::said_by_serde(Some(path).filter(|it| it != "."), &error.inner().to_string())
        })
    }

    /// The field is the path, and the first quoted name where a field is missing or unknown.
    fn said_by_serde(path: Option<String>, message: &str) -> Self {
        let named = ["missing field", "unknown field"].iter().any(|it| message.contains(it));
        let name = message.split('`').nth(1).filter(|_| named).map(str::to_owned);
        let field = match (path, name) {
            // Of an unknown field the path already ends in it.
            (Some(path), Some(name)) if path != name && !path.ends_with(&format!(".{name}")) => {
                Some(format!("{path}.{name}"))
            }
            (path, name) => path.or(name),
        };
        Self { field: field.map(Into::into), ..Self::new(Kind::InvalidRequest, message) }
    }
}

pub(super) async fn not_found(request: Request) -> Problem {
    Problem::new(Kind::NotFound, format!("no path {}; /openapi.json lists all", request.uri().path()))
}

pub(super) async fn method_not_allowed(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new(Kind::MethodNotAllowed, format!("{path} has no {method}; the header Allow lists what it has"))
}

/// What a panic becomes. What it said goes to the log, never to a stranger.
pub(super) fn panicked(what: Box<dyn Any + Send>) -> Response {
    let said = what.downcast_ref::<&str>().copied().or_else(|| what.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = said.unwrap_or("(no text)"), "A request panicked");
    Problem::new(Kind::Fault, "the log has it").into_response()
}
