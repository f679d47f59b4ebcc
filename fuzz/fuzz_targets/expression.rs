//! Text as an expression of a policy, about either kind of signal.

#![no_main]

use flyball_core::expr::{About, Expression, Facts};
use flyball_core::signal::Signal;
use libfuzzer_sys::fuzz_target;

/// The fields by which policies are looked up, and what they are in the signals here; an anomaly has no cause.
const PINNED: [(&str, &str); 6] = [
    ("signal.type", "latency"),
    ("signal.namespace", "shop"),
    ("signal.name", "cart"),
    ("cause.cause", "memory_leak"),
    ("cause.namespace", "shop"),
    ("cause.name", "cart"),
];

fuzz_target!(|text: &str| {
    for (about, signal) in [(About::Anomaly, flyball_fuzz::anomaly()), (About::Rca, flyball_fuzz::rca())] {
        match Expression::read(text, about) {
            Ok(expression) => is_consistent(&expression, &signal),
            Err(wrong) => assert!(text.get(wrong.at.clone()).is_some(), "no place in the text: {wrong:?}"),
        }
    }
});

/// What is told of an expression from its text agrees with what it answers.
fn is_consistent(expression: &Expression, signal: &Signal) {
    use flyball_core::signal::SignalKind::{Anomaly, Rca};
    let (cause, least) = match &signal.kind {
        Anomaly(it) => (None, [("signal.score", it.score)]),
        Rca(it) => (it.causes.first(), [("cause.probability", it.causes[0].probability)]),
    };
    let (view, now) = (flyball_fuzz::view(), flyball_fuzz::now());
    let answers = [None, Some(&view)].map(|target| expression.holds(&Facts { signal, cause, target, now }));
    let ever = answers.contains(&Ok(true));
    for least in [&[][..], &least] {
        let never = expression.never(least);
        assert!(!(ever && never.is_some()), "it holds, and yet: {never:?}");
    }
    for (field, word) in PINNED {
        let pinned = expression.pinned(field);
        assert!(
            !ever || pinned.as_ref().is_none_or(|it| it.contains(&word)),
            "it holds, and {field} is none of {pinned:?}"
        );
    }
    if !expression.asks_target() {
        assert_eq!(answers[0], answers[1], "it asks nothing of the target");
    }
}
