//! Who is asked about a signal at all: as few policies as can be told from the words that they name.

use crate::build::at;
use crate::propose::{read, set};
use flyball_core::history::History;
use flyball_core::mapper::propose;

fn candidates(policies: &str, signal: &str) -> Vec<String> {
    set(policies).candidates(&read(signal)).map(|it| it.name.to_string()).collect()
}

/// `all` words: `word`, `x1`, `x2` and so on.
fn list(word: &str, all: usize) -> String {
    let more = (1..all).map(|it| format!("x{it}"));
    [word.to_owned()].into_iter().chain(more).collect::<Vec<_>>().join(", ")
}

#[test]
fn who_names_too_much_is_looked_up_by_the_lists_that_are_shorter() {
    // A signal that differs from what is named in its cause, its namespace, its name.
    let others = [("cause", "shop/cart other"), ("namespace", "other/cart leak"), ("name", "shop/other leak")];
    for (causes, namespaces, names, expected) in [
        (1, 1, 1, ""),
        (4, 4, 4, ""),
        (64, 1, 1, ""),
        (5, 4, 4, "cause"),
        (4, 5, 4, "namespace"),
        (4, 4, 5, "name"),
        (9, 8, 8, "cause"),
        (1, 1, 65, "name"),
        (70, 69, 2, "cause namespace"),
    ] {
        let policy = format!(
            "p enforce 0 {{signal: rca, causes: [{}], namespaces: [{}], services: [{}]}}",
            list("leak", causes),
            list("shop", namespaces),
            list("cart", names)
        );
        assert_eq!(candidates(&policy, "rca 0.9 shop/cart leak 0.9"), ["p"], "{policy}");
        let asked = others.iter().filter(|(_, cause)| !candidates(&policy, &format!("rca 0.9 {cause} 0.9")).is_empty());
        assert_eq!(asked.map(|(what, _)| *what).collect::<Vec<_>>().join(" "), expected, "{policy}");
    }
}

#[test]
fn what_a_condition_pins_narrows_what_is_named() {
    let policy =
        "p enforce 0 {signal: anomaly, namespaces: [shop, erp], when: \"signal.namespace in ['shop', 'bank']\"}";
    assert_eq!(candidates(policy, "anomaly other 1"), ["p"]);
    let elsewhere = policy.replace("[shop, erp]", "[erp, web]").replace("'shop'", "'web'");
    assert_eq!(candidates(&elsewhere, "anomaly other 1"), [""; 0]);
    let narrowed = policy.replace("[shop, erp]", "[bank, erp]");
    assert_eq!(candidates(&narrowed, "anomaly other 1"), [""; 0], "`shop` is not named");
}

#[test]
fn a_condition_about_a_cause_pins_only_where_causes_are_named() {
    let named = "p enforce 0 {signal: rca, causes: [leak], when: cause.name == 'cart'}";
    assert_eq!(candidates(named, "rca 0.9 shop/cart leak 0.9"), ["p"]);
    assert_eq!(candidates(named, "rca 0.9 shop/front leak 0.9"), [""; 0]);
    // Without causes there is no `cause`: that its condition cannot be evaluated is to be told.
    let any = set("p enforce 0 {signal: rca, when: cause.name == 'cart'}");
    let proposal = propose(&any, &read("rca 0.9 shop/cart leak 0.9"), |_| None, &History::default(), at("10:00"));
    assert_eq!(proposal.unevaluated.len(), 1);
}
