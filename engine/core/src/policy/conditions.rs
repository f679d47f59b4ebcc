//! What the expressions of a policy say, asked of a signal and its target: at the first look and again on the fresh read.

use std::sync::Arc;

use jiff::Timestamp;

use super::MatchOn;
use crate::expr::{Expression, Facts, TargetView, Unevaluated};
use crate::signal::Signal;

/// A guard of one policy, `guardrails.custom`.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomGuard {
    /// Its name: what a denial is told under.
    pub name: Arc<str>,
    /// What denies. If it cannot be evaluated, it denies, too.
    pub deny: Expression,
    /// What people read.
    pub message: Arc<str>,
}

/// The expressions of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// Tells which cause of an rca is `cause`.
    pub on: MatchOn,
    /// `match.when`.
    pub when: Option<Expression>,
    /// `guardrails.custom`.
    pub custom: Vec<CustomGuard>,
}

impl Conditions {
    /// Whether `when` holds.
    ///
    /// # Errors
    /// It cannot be evaluated.
    pub fn hold(&self, signal: &Signal, target: Option<&TargetView>, now: Timestamp) -> Result<bool, Unevaluated> {
        self.when.as_ref().map_or(Ok(true), |it| it.holds(&self.facts(signal, target, now)))
    }

    /// The first of its own guards that objects, and why.
    pub fn objection<'a>(
        &'a self,
        guards: impl IntoIterator<Item = &'a CustomGuard>,
        signal: &Signal,
        target: Option<&TargetView>,
        now: Timestamp,
    ) -> Option<(&'a Arc<str>, String)> {
        let facts = self.facts(signal, target, now);
        guards.into_iter().find_map(|guard| match guard.deny.holds(&facts) {
            Ok(false) => None,
            Ok(true) => Some((&guard.name, guard.message.to_string())),
            // A guard that cannot tell denies.
            Err(why) => Some((&guard.name, format!("it could not be evaluated: {why}"))),
        })
    }

    fn facts<'a>(&self, signal: &'a Signal, target: Option<&'a TargetView>, now: Timestamp) -> Facts<'a> {
        Facts { signal, cause: self.on.cause(signal).flatten(), target, now }
    }
}
