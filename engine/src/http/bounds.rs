//! Bounds in number and time, so that no caller can take the engine's time from the engine.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::problem::{Kind, Problem};

/// Requests at once. Each holds at most a body, so this bounds memory, too.
const AT_ONCE: usize = 256;
/// How long a request may take, the reading of its body included.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// Room for requests.
#[derive(Clone)]
pub(super) struct Slots(Arc<Semaphore>);

impl Slots {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Lets a request through if there is room for it, and ends it if it takes too long.
pub(super) async fn bounded(State(slots): State<Slots>, request: Request, next: Next) -> Response {
    let Ok(_slot) = slots.0.try_acquire() else {
        return Problem::new(Kind::Busy, format!("{AT_ONCE} requests are under way")).again_after(1).into_response();
    };
    tokio::time::timeout(LONGEST, next.run(request)).await.unwrap_or_else(|_| {
        let detail = format!("not done within {} s", LONGEST.as_secs());
        Problem::new(Kind::TimedOut, detail).again_after(5).into_response()
    })
}
