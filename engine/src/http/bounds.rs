//! Bounds in number and time, so that no caller can take the engine's time from the engine.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::problem::{Kind, Problem};
use crate::pipeline::Engine;

/// Requests at once. Each holds at most a body, so this bounds memory, too.
const AT_ONCE: usize = 256;
/// How long a request may take, the reading of its body included.
const LONGEST: Duration = Duration::from_secs(10);

/// Room for requests.
#[derive(Clone)]
pub(super) struct Slots(Arc<Semaphore>);

impl Slots {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Carries out what somebody asked for, and waits for it as long as a request may. Owned by the engine, not by the request: who asks
/// and loses the connection has asked all the same.
pub(super) async fn carried_out<T: Send + 'static>(
    engine: &Engine,
    asked: impl Future<Output = T> + Send + 'static,
    unconfirmed: &str,
) -> Result<T, Problem> {
    // A little before the request itself would be ended, to say more than that.
    match tokio::time::timeout(LONGEST.mul_f32(0.9), engine.drivers.spawn(asked)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(Problem::new(Kind::Fault, "it may not have been done; the log has why")),
        Err(_) => Err(Problem::new(Kind::TimedOut, unconfirmed).again_after(5)),
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
