//! The words that label metrics: closed sets as enums, and names of the cluster under a cap. Nothing that a publisher or a
//! person writes freely can become a label, so the number of series has a bound.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use flyball_core::deny::{DenyReason, NoAction};
use flyball_core::outcome::Outcome;
use flyball_core::signal::SignalKind;
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// Defines an enum whose variants are one word each.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $( $(#[$variant_doc:meta])* $variant:ident = $word:literal ),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$variant_doc])* $variant ),+ }

        impl $name {
            /// The whole set.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];

            /// The word as metrics show it.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word ),+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

words! {
    /// Label `kind`: what came in.
    Kind {
        /// An anomaly.
        Anomaly = "anomaly",
        /// A root-cause analysis.
        Rca = "rca",
        /// A direct call.
        Api = "api",
        /// A message that could not be read far enough to tell.
        Unknown = "unknown",
    }
}

impl From<&SignalKind> for Kind {
    fn from(kind: &SignalKind) -> Self {
        match kind {
            SignalKind::Anomaly(_) => Self::Anomaly,
            SignalKind::Rca(_) => Self::Rca,
        }
    }
}

impl Kind {
    /// The kind by its word, as `Evidence::kind` and `Message::kind` hold it.
    pub fn of(word: &str) -> Self {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word).unwrap_or(Self::Unknown)
    }
}

words! {
    /// Label `result` of `orchestrator_closed_loop_signals_total`: what became of a signal. Each is counted once.
    SignalResult {
        /// It led to an intent.
        Accepted = "accepted",
        /// It could not be used and went to the dead letters.
        Refused = "refused",
        /// No policy asked for anything.
        NoAction = "no_action",
        /// Only a shadow policy would have acted.
        Shadow = "shadow",
        /// A guardrail denied it.
        Denied = "denied",
        /// It waits, or joined a request that waits.
        Deferred = "deferred",
        /// It had been dealt with before.
        Duplicate = "duplicate",
    }
}

words! {
    /// Label `decision` of `orchestrator_closed_loop_policy_outcomes_total`.
    Decision {
        /// It may act; the reason is `allowed`.
        Allow = "allow",
        /// It may not.
        Deny = "deny",
        /// Not yet.
        Defer = "defer",
        /// A shadow policy's verdict.
        Shadow = "shadow",
        /// No policy asked for anything.
        NoAction = "no_action",
    }
}

words! {
    /// Label `status` of `orchestrator_closed_loop_actions_total`: how an action ended.
    ActionStatus {
        /// Done, and it holds; or a person was told, where that was asked.
        Success = "success",
        /// Done, and it did not help, or did not come through.
        Failed = "failed",
        /// Not done: the API server, a person or somebody else's change stood against it.
        Rejected = "rejected",
        /// A send had no answer, and reading has not settled it yet.
        Unknown = "unknown",
    }
}

words! {
    /// Label `verification_status` of `orchestrator_closed_loop_actions_total`.
    Verified {
        /// The rollout is complete, and the symptom gone where that was asked.
        Success = "SUCCESS",
        /// Not complete in time.
        TimedOut = "TIMED_OUT",
        /// Anything else.
        Failed = "FAILED",
        /// Nothing was verified: nothing landed.
        None = "NONE",
    }
}

impl From<Outcome> for ActionStatus {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Recovered | Outcome::RolledOut | Outcome::Escalated => Self::Success,
            Outcome::NotRecovered | Outcome::Failed | Outcome::TimedOut | Outcome::RolledBack => Self::Failed,
            Outcome::Superseded | Outcome::Rejected | Outcome::Cancelled => Self::Rejected,
        }
    }
}

impl From<Outcome> for Verified {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Recovered | Outcome::RolledOut => Self::Success,
            Outcome::TimedOut => Self::TimedOut,
            Outcome::NotRecovered | Outcome::Failed | Outcome::RolledBack | Outcome::Superseded => Self::Failed,
            Outcome::Rejected | Outcome::Cancelled | Outcome::Escalated => Self::None,
        }
    }
}

words! {
    /// Label `reason` of `flyball_spans_dropped_total`: why a span never reached the collector.
    DropReason {
        /// Spans come faster than the collector takes them.
        QueueFull = "queue_full",
        /// The collector did not take them.
        ExportFailed = "export_failed",
        /// They came after, or were left over at, shutdown.
        Closed = "closed",
    }
}

/// Label `reason`: a word of the closed list of reasons, or `allowed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reason(&'static str);

impl Reason {
    /// The reason of a decision to act.
    pub const ALLOWED: Self = Self("allowed");

    /// The word.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// The reason to count where several object: the first that does not pass by itself, else the first. `ALLOWED` if
    /// none does. One word, so that counts add up to the number of requests; the ledger keeps them all.
    pub fn deciding(reasons: &[DenyReason]) -> Self {
        let hard = reasons.iter().find(|reason| !reason.passes_by_itself());
        hard.or(reasons.first()).map_or(Self::ALLOWED, Self::from)
    }
}

impl From<&DenyReason> for Reason {
    fn from(reason: &DenyReason) -> Self {
        Self(reason.label())
    }
}

impl From<NoAction> for Reason {
    fn from(silence: NoAction) -> Self {
        Self(silence.label())
    }
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

/// How many distinct values a label may have that the cluster names: enough for a large cluster's sick workloads, while
/// the page of a cluster with tens of thousands stays below a megabyte.
pub const MAX_NAMES: usize = 500;

/// What a name beyond the cap is counted under.
pub const OTHER: &str = "other";

/// The first `MAX_NAMES` names that came by. A name keeps its place: a counter that moved to `other` would go backwards.
#[derive(Debug, Default)]
pub struct Names<const N: usize> {
    seen: RwLock<HashSet<[Arc<str>; N]>>,
}

impl<const N: usize> Names<N> {
    /// The names as labels, or nothing when the cap is reached and they are not among the first.
    pub fn admit(&self, names: [&str; N]) -> Option<[Arc<str>; N]> {
        let names = names.map(Arc::<str>::from);
        // A panic while the set was held cannot have left it half changed.
        let known = self.seen.read().unwrap_or_else(PoisonError::into_inner).contains(&names);
        if known {
            return Some(names);
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_NAMES && !seen.contains(&names) {
            return None;
        }
        seen.insert(names.clone());
        Some(names)
    }

    /// The names as labels; `other` for each beyond the cap.
    pub fn or_other(&self, names: [&str; N]) -> [Arc<str>; N] {
        self.admit(names).unwrap_or_else(|| std::array::from_fn(|_| OTHER.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_cap_are_other_and_the_first_keep_theirs() {
        let names = Names::<1>::default();
        for n in 0..MAX_NAMES {
            assert_eq!(&*names.or_other([&format!("ns-{n}")])[0], format!("ns-{n}"));
        }
        assert_eq!(&*names.or_other(["late"])[0], OTHER);
        assert_eq!(&*names.or_other(["ns-7"])[0], "ns-7");
    }

    #[test]
    fn the_deciding_reason_is_one_that_does_not_pass_by_itself() {
        let waits = DenyReason::ConcurrencyLimit { scope: "cluster".into(), used: 5, max: 5 };
        let denies = DenyReason::ApprovalRejected;
        for (reasons, word) in
            [(vec![], "allowed"), (vec![waits.clone()], "ConcurrencyLimit"), (vec![waits, denies], "ApprovalRejected")]
        {
            assert_eq!(Reason::deciding(&reasons).as_str(), word);
        }
    }

    #[test]
    fn every_outcome_has_the_status_that_smartops_dashboards_know() {
        for outcome in Outcome::ALL {
            let verified = Verified::from(outcome);
            assert!(verified == Verified::None || verified.as_str() == outcome.verification_status(), "{outcome:?}");
            // What was asked for was done, if only a person was to be told.
            let success = outcome.is_success() || outcome == Outcome::Escalated;
            assert_eq!(ActionStatus::from(outcome) == ActionStatus::Success, success, "{outcome:?}");
        }
        assert_eq!((Kind::of("rca"), Kind::of("{}")), (Kind::Rca, Kind::Unknown));
    }
}
