//! What memory alone can tell of a signal, without a wait: where a storm ends.

use std::sync::Arc;

use flyball_core::action::ActionRequest;
use flyball_core::expr::Unevaluated;
use flyball_core::guardrail::{Objections, Verdict, screen, screen_shadow};
use flyball_core::history::History;
use flyball_core::mapper::{Proposal, propose};
use flyball_core::policy::PolicySet;
use flyball_core::record::{Sighted, WaitKey};
use flyball_core::signal::Signal;
use jiff::Timestamp;

use super::{Decided, Decision, Engine, Times};

/// What it takes more than memory to decide.
pub(crate) enum Further {
    /// The ledger has to know first what was seen.
    See(Vec<Sighted>),
    /// The cluster and the ledger have a word in what is asked.
    Ask(Box<Asking>),
}

/// A request that memory does not speak against.
pub(crate) struct Asking {
    pub(super) request: ActionRequest,
    pub(super) shadows: Vec<Objections>,
    /// What policies want to be absent, and is this signal.
    pub(super) heard: Vec<Sighted>,
    /// Policies whose conditions could not be evaluated. They are counted with the signal's end, and not each time it is looked at.
    pub(super) unevaluated: Vec<(Arc<str>, Unevaluated)>,
}

impl Engine {
    /// Takes a signal to its end, if memory alone can tell it. `began` is the local clock's time, `now` the ledger's.
    ///
    /// # Errors
    /// What else it takes.
    pub(crate) fn decide_at_once(
        &self,
        signal: &Signal,
        history: &History,
        policies: &PolicySet,
        (began, now): (Timestamp, Timestamp),
    ) -> Result<Decided, Further> {
        let Proposal { act, shadows, unevaluated, unseen, heard } =
            propose(policies, signal, |target| self.cluster.view(target), history, now);
        if !unseen.is_empty() {
            return Err(Further::See(unseen));
        }
        let rules = &policies.guardrails;
        let shadow =
            |request: ActionRequest| Objections { reasons: screen_shadow(&request, history, rules, now), request };
        let shadows = shadows.into_iter().map(shadow).collect();
        let ended = |decision, request, (shadows, heard), unevaluated: &[_]| {
            self.unevaluated(signal, unevaluated);
            Ok(Decided { decision, request, shadows, heard, times: Times::at(began) })
        };
        let request = match act {
            Err(silence) => return ended(Decision::Nothing(silence), None, (shadows, heard), &unevaluated),
            Ok(request) if known(history, &request) => {
                return ended(Decision::Known, Some(request), (shadows, heard), &unevaluated);
            }
            Ok(request) => request,
        };
        let waiter = history.waiter(&WaitKey::of(&request)).map(|it| it.deferral.objections.clone());
        let request = match screen(request, history, rules, now) {
            Verdict::Deny(objections) => {
                return ended(Decision::Denied(objections), None, (shadows, heard), &unevaluated);
            }
            Verdict::Defer(objections) => objections.request,
            Verdict::Pass(cleared) => cleared.request().clone(),
        };
        match waiter {
            // One waits per target and policy: a later signal joins it, unless something else speaks against it.
            Some(reasons) => {
                ended(Decision::Joined(Objections { request, reasons }), None, (shadows, heard), &unevaluated)
            }
            None => Err(Further::Ask(Box::new(Asking { request, shadows, heard, unevaluated }))),
        }
    }

    pub(super) fn unevaluated(&self, signal: &Signal, policies: &[(Arc<str>, Unevaluated)]) {
        for (policy, why) in policies {
            self.telemetry.metrics.expression_failed();
            tracing::debug!(%policy, signal = %signal.id, %why, "A condition could not be evaluated: it does not match");
        }
    }
}

/// Whether this very delivery has led to an intent or a waiter already: a redelivery needs no second record.
pub(super) fn known(history: &History, request: &ActionRequest) -> bool {
    let sequence = request.evidence.sequence;
    let same = |other: &ActionRequest| other.cause == request.cause && other.evidence.sequence == sequence;
    sequence != 0
        && (history.delivered_by(&request.cause) == Some(sequence)
            || history.waiter(&WaitKey::of(request)).is_some_and(|it| same(&it.deferral.request)))
}
