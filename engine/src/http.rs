//! The HTTP API: signals in, decisions out, the stop button. Knows the forms of `view` and the engine's doors; decides
//! nothing itself.

mod auth;
mod bounds;
mod decisions;
mod hands;
mod health;
mod ledger;
mod openapi;
mod pauses;
mod policies;
mod problem;
mod signals;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use flyball_core::ports::Anchor;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub use auth::{Auth, Secret};
pub use problem::{Kind as ProblemKind, Problem};

use crate::intake::Reader;
use crate::migration::Migrator;
use crate::pipeline::Engine;
use crate::publish::Publish;
use crate::ready::Readiness;
use crate::recent::Recent;

/// The longest body: a signal's own cap, and a little for a publisher that pads.
const MAX_BODY: usize = flyball_signals::MAX_BYTES + 4 * 1024;
/// How long requests under way may take once the process stops. A little longer than any request may take at all.
const LAST_CALL: Duration = Duration::from_secs(11);

/// What the API needs.
pub struct Api {
    /// What decides.
    pub engine: Arc<Engine>,
    /// Reads signals, so that a bad one is refused before it is on the bus.
    pub reader: Reader,
    /// Where signals go.
    pub publish: Arc<dyn Publish>,
    /// The newest signals.
    pub recent: Arc<Recent>,
    /// Whether this replica can admit.
    pub readiness: Arc<Readiness>,
    /// The metrics as OpenMetrics text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// How the ledger moves, and the mark with it; none where it cannot.
    pub migrator: Option<(Arc<Migrator>, Arc<dyn Anchor>)>,
    /// Who may change something.
    pub auth: Auth,
}

type Shared = Arc<Api>;

/// Every path with its methods. Probes and metrics stand apart: they answer however busy the rest is.
fn probes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/healthz", get(health::healthz)),
        ("/readyz", get(health::readyz)),
        ("/metrics", get(health::metrics)),
        ("/openapi.json", get(openapi::document)),
    ]
}

fn calls() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/v1/signals/anomaly", post(signals::anomaly)),
        ("/v1/signals/rca", post(signals::rca)),
        ("/v1/signals/recent", get(signals::recent)),
        ("/v1/decisions", get(decisions::list)),
        ("/v1/decisions/{id}", get(decisions::why)),
        ("/v1/decisions/{id}/cancel", post(hands::cancel)),
        ("/v1/decisions/{id}/resolve", post(hands::resolve)),
        ("/v1/ledger/migrate", get(ledger::migration).post(ledger::migrate)),
        ("/v1/policies", get(policies::list)),
        ("/v1/policies/{name}/trust", post(policies::trust)),
        ("/v1/pauses", get(pauses::list).post(pauses::pause).delete(pauses::resume_scope)),
        ("/v1/pauses/{id}", delete(pauses::resume)),
    ]
}

/// The API as a service. Every answer that is no success is an `application/problem+json`.
pub fn router(api: Api) -> Router {
    let api = Arc::new(api);
    let add = |router: Router<Shared>, (path, methods)| router.route(path, methods);
    let bounded =
        calls().into_iter().fold(Router::new(), add).layer(from_fn_with_state(bounds::Slots::new(), bounds::bounded));
    let all = probes().into_iter().fold(bounded, add);
    all.fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(api.clone(), auth::guard))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .with_state(api)
}

/// What there is before the engine has started: it lives, and says what it waits for. Anything else is to be asked again.
pub fn starting(readiness: Arc<Readiness>) -> Router {
    let why = readiness.clone();
    let ready = get(move |headers| std::future::ready(health::answer(&readiness, &headers)));
    let later = move || {
        let parts: Vec<String> =
            why.parts().into_iter().filter_map(|(part, it)| Some(format!("{part}: {}", it.err()?))).collect();
        std::future::ready(Problem::new(
            problem::Kind::Unavailable,
            format!("the engine has not started: {}", parts.join("; ")),
        ))
    };
    Router::new().route("/healthz", get(health::healthz)).route("/readyz", ready).fallback(later)
}

/// Serves until the process stops, then lets what is under way end.
pub async fn serve(listener: TcpListener, router: Router, stopping: CancellationToken) {
    let told = stopping.clone();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move { told.cancelled().await });
    let serving = std::pin::pin!(serving.into_future());
    let late = async {
        stopping.cancelled().await;
        tokio::time::sleep(LAST_CALL).await;
    };
    tokio::select! {
        // Errors of single connections are handled inside; serving itself never fails.
        _ = serving => {}
        () = late => tracing::warn!("Connections were still open at the end and are closed"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use utoipa::OpenApi;

    #[test]
    fn the_document_lists_exactly_the_routes() {
        let routed: BTreeSet<String> =
            super::probes().into_iter().chain(super::calls()).map(|(path, _)| path.to_owned()).collect();
        let documented: BTreeSet<String> = super::openapi::Handlers::openapi().paths.paths.into_keys().collect();
        assert_eq!(routed, documented);
    }
}
