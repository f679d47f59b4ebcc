//! What a fault says to do: the word that was meant, and how far one goes on to find the next fault.

use flyball_core::policy::{Faults, load};

use crate::build::POLICY;

fn faults(text: &str) -> Faults {
    load(&[("p.yaml".to_owned(), text.to_owned())]).expect_err(text)
}

/// The hint about an unknown key at the place of `mode`.
fn check(written: &str, expected: Option<&str>) {
    let told = faults(&POLICY.replace("mode: enforce", &format!("mode: enforce\n  {written}: x"))).0;
    assert_eq!(told.len(), 1, "{told:?}");
    let meant = told[0].hint.as_deref().unwrap().strip_prefix("did you mean `").and_then(|it| it.strip_suffix("`?"));
    assert_eq!(meant, expected, "{written}");
}

#[test]
fn a_word_with_a_slip_or_two_is_known_again() {
    // One is left out, put in, changed, moved, in another case; and several of them.
    for (written, meant) in [
        ("mod", "mode"),
        ("ode", "mode"),
        ("moode", "mode"),
        ("modes", "mode"),
        ("mide", "mode"),
        ("modr", "mode"),
        ("mids", "mode"),
        ("MODEL", "mode"),
        ("prioirty", "priority"),
        ("prrioritty", "priority"),
        ("guradrail", "guardrails"),
        ("veryfi", "verify"),
        ("acton", "action"),
        ("matsh", "match"),
        ("tagret", "target"),
    ] {
        check(written, Some(meant));
    }
}

#[test]
fn a_word_that_is_like_no_other_is_not_guessed() {
    for written in ["m", "xxxe", "abcdef", "policy", "spec", "verification"] {
        check(written, None);
    }
}

#[test]
fn fifty_faults_of_a_document_are_enough() {
    use std::fmt::Write;
    let mut keys = String::from("mode: enforce");
    for number in 0..60 {
        write!(keys, "\n  zz{number}: 1").unwrap();
    }
    assert_eq!(faults(&POLICY.replace("mode: enforce", &keys)).0.len(), 51);
}

#[test]
fn an_unknown_key_is_passed_over_with_all_that_is_below_it() {
    let below = "\
zzzz:
    deeper: 1
    # a comment

    list:
      - yyyy: 1
  mode: enforce
  qqqq: 1";
    let told = faults(&POLICY.replace("mode: enforce", below)).0;
    let told: Vec<String> = told.iter().map(|it| format!("{}:{} {}", it.line, it.column, it.message)).collect();
    assert_eq!(told, ["6:3 unknown field `zzzz`", "13:3 unknown field `qqqq`"]);
}

#[test]
fn an_unknown_key_within_braces_ends_the_reading() {
    let told = faults(&POLICY.replace("{signal: rca, causes: [leak]}", "{signal: rca, zzzz: 1, yyyy: 2}")).0;
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn what_stands_in_a_later_document_is_found_there() {
    let second = POLICY.replace("leak\n", "other\n").replace("mode: enforce", "mode: enforce\n  zzzz: 1\n  yyyy: 2");
    let told = faults(&format!("# first\n{POLICY}---\n# second\n{second}")).0;
    let places: Vec<(u64, u64, &str)> = told.iter().map(|it| (it.line, it.column, it.text.as_str())).collect();
    assert_eq!(places, [(19, 3, "  zzzz: 1"), (20, 3, "  yyyy: 2")]);
    let named = faults(&format!("{POLICY}---\n{POLICY}")).0;
    assert_eq!((named[0].line, named[0].hint.as_deref()), (14, Some("the first is at p.yaml:4")));
}

#[test]
fn a_fault_of_the_whole_document_points_at_its_first_words() {
    let told = faults("# a comment\n\n  # another\nkind: Guardrails\n").0;
    assert_eq!((told[0].line, told[0].column, told[0].text.as_str()), (4, 1, "kind: Guardrails"));
}

#[test]
fn a_long_line_is_cut_where_it_is_shown() {
    let told = faults(&POLICY.replace("mode: enforce", &format!("mode: enforce\n  zzzz: {}", "x".repeat(300)))).0;
    assert_eq!(told[0].text.chars().count(), 200);
}

#[test]
fn a_word_where_a_number_belongs_is_told_in_the_kind_of_number() {
    let told = |from: &str, to: &str| faults(&POLICY.replace(from, to)).0[0].message.clone();
    assert_eq!(told("mode: enforce", "mode: enforce\n  priority: many"), "a whole number is expected here");
    assert_eq!(told("causes: [leak]", "minProbability: many"), "invalid floating point");
}

#[test]
fn a_fault_in_what_an_alias_repeats_is_told_without_places() {
    let text = POLICY.replace("causes: [leak]}", "causes: &list [leak]}\n  target: {kind: *list}");
    assert_eq!(faults(&text).0[0].message, "externally tagged enum expected scalar or mapping");
}

#[test]
fn several_faults_are_counted() {
    let text = POLICY.replace("mode: enforce", "mode: enforce\n  zzzz: 1\n  yyyy: 2");
    assert!(faults(&text).to_string().ends_with("\n2 faults in the policies; nothing was loaded"));
}
