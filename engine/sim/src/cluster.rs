//! A cluster in memory, to the rules that a real API server and its controllers were measured to keep.

mod faults;
mod hands;
mod manifest;
mod model;
mod object;
mod read;
mod request;
mod rollout;
mod wakes;

use std::sync::{Arc, Mutex, MutexGuard};

use flyball_core::action::ActionRequest;
use flyball_core::deny::DenyReason;
use flyball_core::expr::TargetView;
use flyball_core::facts::{Sighting, Snapshot};
use flyball_core::intent::{Attempt, Execution, Fence};
use flyball_core::ports::{Answer, Cluster, PortError};
use flyball_core::workload::Workload;
use jiff::SignedDuration;

pub use faults::{Fault, Race};
pub use manifest::Manifest;
use model::Model;
use request::Request;

use crate::random::between;
use crate::wake::{Look, lock, wait};
use crate::world::Shared;

/// The workloads of a cluster that is not there.
pub struct SimCluster {
    shared: Arc<Shared>,
    model: Mutex<Model>,
}

/// What becomes of a request once it is sent.
enum Sent {
    /// An answer at once.
    Answered(Execution),
    /// No answer before the time-out.
    Silent(SignedDuration, &'static str),
    /// An answer after so long.
    Later(SignedDuration, u64),
}

impl SimCluster {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { model: Mutex::new(Model::new(shared.clone())), shared }
    }

    /// The model as of now.
    fn advanced(&self) -> MutexGuard<'_, Model> {
        let mut model = lock(&self.model);
        model.advance(self.shared.clock.now());
        model
    }

    /// The way to the server.
    async fn travel(&self) {
        let delay = {
            let mut model = self.advanced();
            let latency = model.latency;
            if latency.is_zero() {
                return;
            }
            between(model.script.random().draw(), SignedDuration::ZERO, latency)
        };
        self.shared.clock.sleep(delay).await;
    }

    async fn send(&self, request: Request) -> Execution {
        self.travel().await;
        let sent = self.advanced().submit(request);
        match sent {
            Sent::Answered(execution) => execution,
            Sent::Silent(timeout, why) => {
                self.shared.clock.sleep(timeout).await;
                Execution::Unknown(format!("no answer within {timeout:#}: {why}"))
            }
            Sent::Later(delay, number) => {
                self.shared.clock.sleep(delay).await;
                let answer = self.advanced().answer(number);
                answer.unwrap_or_else(|| Execution::Unknown("no answer yet".into()))
            }
        }
    }
}

/// What a rehearsal asks, without waiting: nothing fails there.
impl SimCluster {
    pub(crate) fn seen(&self, request: &ActionRequest) -> Option<Snapshot> {
        self.advanced().snapshot(request)
    }

    pub(crate) fn carried_out(&self, attempt: &Attempt) -> Execution {
        self.advanced().apply(Request::of(attempt))
    }

    pub(crate) fn sighted(&self, target: &Workload, evicted: Option<(&str, &str)>) -> Option<Sighting> {
        self.advanced().sight(target, evicted)
    }

    /// When a controller looks at a workload again.
    pub(crate) fn next_move(&self, target: &Workload) -> Option<jiff::Timestamp> {
        self.advanced().moves(target).1
    }
}

impl Model {
    /// A request leaves, and suffers what it has to.
    fn submit(&mut self, mut request: Request) -> Sent {
        if self.script.down(self.now).is_some() {
            return Sent::Answered(Execution::Unknown("the cluster cannot be reached".into()));
        }
        let silent = |why| Sent::Silent(self.timeout, why);
        match self.script.take() {
            None => Sent::Answered(self.apply(request)),
            Some(Fault::Lost) => silent("the request was lost"),
            Some(Fault::Unavailable) => Sent::Answered(Execution::Unknown("503: try again".into())),
            Some(Fault::Forbidden) => {
                let detail = format!("403: cannot patch {}", request.target.kind.plural());
                Sent::Answered(Execution::Rejected(DenyReason::Forbidden { detail }))
            }
            Some(Fault::AnswerLost) => {
                let answer = silent("the answer was lost");
                self.apply(request);
                answer
            }
            Some(Fault::Halfway) => {
                request.halfway = true;
                Sent::Answered(self.apply(request))
            }
            Some(Fault::Held(delay)) if delay <= self.timeout => Sent::Later(delay, self.hold(request, delay, true)),
            Some(Fault::Held(delay)) => {
                let answer = silent("the request is held");
                self.hold(request, delay, false);
                answer
            }
            Some(Fault::Duplicated(delay)) => {
                let answer = self.apply(request.clone());
                self.hold(request, delay, false);
                Sent::Answered(answer)
            }
            Some(Fault::Raced(race)) => {
                self.race(&request.target.clone(), &race);
                Sent::Answered(self.apply(request))
            }
        }
    }
}

impl Cluster for SimCluster {
    fn snapshot<'a>(&'a self, request: &'a ActionRequest) -> Answer<'a, Result<Option<Snapshot>, PortError>> {
        Box::pin(async move {
            self.travel().await;
            let mut model = self.advanced();
            model.readable()?;
            Ok(model.snapshot(request))
        })
    }

    fn view(&self, target: &Workload) -> Option<TargetView> {
        self.advanced().view(target)
    }

    fn execute(&self, attempt: Attempt) -> Answer<'_, Execution> {
        Box::pin(self.send(Request::of(&attempt)))
    }

    fn fence(&self, fence: Fence) -> Answer<'_, Execution> {
        Box::pin(self.send(Request::fencing(&fence)))
    }

    fn sight<'a>(
        &'a self,
        target: &'a Workload,
        evicted: Option<(&'a str, &'a str)>,
    ) -> Answer<'a, Result<Option<Sighting>, PortError>> {
        Box::pin(async move {
            self.travel().await;
            let mut model = self.advanced();
            model.readable()?;
            Ok(model.sight(target, evicted))
        })
    }

    fn changed<'a>(&'a self, target: &'a Workload) -> Answer<'a, ()> {
        let (before, _) = self.advanced().moves(target);
        wait(self.shared.clock.clone(), move |waker| {
            let mut model = self.advanced();
            let (moves, due) = model.moves(target);
            if moves != before {
                return Look::Found(());
            }
            model.bells.entry(target.clone()).or_default().listen(waker);
            Look::Nothing(due)
        })
    }

    fn ready(&self) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async move { self.advanced().readable() })
    }
}
