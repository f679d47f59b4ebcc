//! Conditions that can never be true.

use super::{Finding, Severity};
use crate::policy::{MatchOn, Policy};

pub(super) fn never(policy: &Policy) -> Option<Finding> {
    let when = policy.matches.when.as_ref()?;
    let least = match &policy.matches.on {
        MatchOn::Anomaly { min_score, .. } => ("signal.score", *min_score),
        MatchOn::Rca { min_probability, .. } => ("cause.probability", *min_probability),
    };
    let why = when.never(&[least])?;
    let message = format!("`{}` can never be true: {why}", when.text());
    Some(Finding::new("never", Severity::Error, policy, message, "compare with what the other keys of `match` ask for"))
}
