//! Text as a policy file.

#![no_main]

use flyball_core::expr::Facts;
use flyball_core::lint::lint;
use flyball_core::policy::{PolicySet, load};
use flyball_core::signal::Signal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match load(&[("p.yaml".to_owned(), text.to_owned())]) {
        Ok(set) => {
            for finding in lint(&set) {
                assert!(set.policy(&finding.policy).is_some(), "{finding}");
            }
            for signal in [flyball_fuzz::anomaly(), flyball_fuzz::rca()] {
                are_found(&set, &signal);
            }
        }
        Err(faults) => {
            assert!(!faults.0.is_empty(), "refused without a fault");
            for fault in &faults.0 {
                assert!(fault.line >= 1 && fault.column >= 1, "{fault}");
                assert!(!fault.to_string().is_empty());
            }
        }
    }
});

/// The index may name too many policies for a signal, and never leaves one out that matches.
fn are_found(set: &PolicySet, signal: &Signal) {
    let (view, now) = (flyball_fuzz::view(), flyball_fuzz::now());
    let candidates: Vec<&str> = set.candidates(signal).map(|it| &*it.name).collect();
    for policy in set.policies() {
        let Some(matched) = policy.matched(signal) else { continue };
        let facts = Facts { signal, cause: matched.cause, target: Some(&view), now };
        if policy.matches.when.as_ref().is_none_or(|it| it.holds(&facts) == Ok(true)) {
            assert!(candidates.contains(&&*policy.name), "{} matches and is not asked", policy.name);
        }
    }
}
