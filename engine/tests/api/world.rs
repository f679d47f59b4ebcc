//! An engine with its API, and the one way to ask it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use flyball::admit::Admitter;
use flyball::clock::TokioClock;
use flyball::http::{Api, Auth, router};
use flyball::intake::Reader;
use flyball::ledger::Book;
use flyball::pipeline::Engine;
use flyball::ready::Readiness;
use flyball::recent::Recent;
use flyball::telemetry::Telemetry;
use flyball_core::intent::Writer;
use flyball_core::ports::{Clock, Write};
use flyball_core::record::{Record, Topic};
use jiff::Timestamp;
use serde_json::Value;
use tower::ServiceExt;

use crate::fakes::{Basket, Nowhere, Paper};

pub(crate) const POLICY: &str = r"
apiVersion: flyball.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: restart-on-leak}
spec:
  mode: enforce
  priority: 100
  match: {signal: rca, causes: [memory_leak], minProbability: 0.5, namespaces: [shop]}
  action: {restart: {}}
  verify: {timeout: 5m, stableFor: 30s, recovered: {by: silence, within: 5m}, onFailure: undo}
";

pub(crate) struct World {
    pub(crate) engine: Arc<Engine>,
    pub(crate) bus: Arc<Basket>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) recent: Arc<Recent>,
    pub(crate) reader: Reader,
    pub(crate) router: Router,
}

/// What came back.
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }
}

/// The first moment of every test that runs in virtual time.
pub(crate) fn epoch() -> Timestamp {
    "2026-01-10T14:00:00Z".parse().unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Auth::Local, epoch()).await
    }

    pub(crate) async fn with(auth: Auth, start: Timestamp) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(start));
        let (book, following) = Book::open(Arc::new(Paper::new(clock.clone())), clock.clone()).await.unwrap();
        tokio::spawn(following);
        let writer = Writer { replica: "replica-0".into(), process: "p0".into(), epoch: 0 };
        let policies = flyball_core::policy::load(&[("leak.yaml".to_owned(), POLICY.to_owned())]).unwrap();
        let engine = Arc::new(Engine {
            admitter: Admitter::new(book.clone(), "test".into(), writer.clone()),
            book,
            cluster: Arc::new(Nowhere),
            clock,
            policies: arc_swap::ArcSwap::from_pointee(policies),
            refused: arc_swap::ArcSwapOption::empty(),
            telemetry: Telemetry::disabled(),
            cluster_name: "test".into(),
            drivers: tokio_util::task::TaskTracker::new(),
            stopping: tokio_util::sync::CancellationToken::new(),
            peers: std::sync::Mutex::new(flyball::replicas::Peers::new(writer)),
            driving: std::sync::Mutex::default(),
            undecided: std::sync::atomic::AtomicUsize::default(),
        });
        let reader = Reader { cluster: "test".into(), namespace: "default".into(), aliases: BTreeMap::new() };
        let (bus, recent) = (Arc::new(Basket::default()), Arc::new(Recent::default()));
        let readiness = Arc::new(Readiness::of(&["ledger", "cluster", "policies"]));
        let api = Api {
            engine: engine.clone(),
            reader: reader.clone(),
            publish: bus.clone(),
            recent: recent.clone(),
            readiness: readiness.clone(),
            migrator: None,
            metrics: Arc::new(|| "# EOF\n".to_owned()),
            auth,
        };
        Self { engine, bus, readiness, recent, reader, router: router(api) }
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Got {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Got { status: parts.status, headers: parts.headers, text }
    }

    /// `GET /path`, or another method with a body, in one line.
    pub(crate) async fn call(&self, line: &str, body: &str) -> Got {
        let (method, path) = line.split_once(' ').unwrap();
        self.ask(Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let got = self.call(&format!("GET {path}"), "").await;
        assert_eq!(got.status, StatusCode::OK, "{path}: {}", got.text);
        got.json()
    }

    /// Puts a record on the ledger.
    pub(crate) async fn write(&self, topic: Topic, record: Record) {
        let expect = match topic {
            Topic::Admit => Some(self.engine.book.history().admit_head()),
            Topic::Intent(id) => self.engine.book.history().intent(id).map(flyball_core::intent::Intent::head),
            Topic::Note => None,
        };
        self.engine.book.append(Write { topic, expect, record }).await.unwrap();
    }
}
