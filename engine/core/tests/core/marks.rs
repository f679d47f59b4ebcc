//! The high-water mark against the ledger that was found.

use std::sync::Arc;

use flyball_core::chain::{Head, Sum};
use flyball_core::id::Revision;
use flyball_core::mark::Mark;

/// `one` had reached entry 7, which said `seven`.
fn check(found: &str, newest: u64, there: Option<&str>, expected: &str) {
    let sum = |text: &str| Sum::of(&[text.as_bytes()]);
    let mark = Mark { ledger: "one".into(), newest: Head { revision: Revision(7), sum: sum("seven") } };
    let told = mark.agrees(&Arc::from(found), Revision(newest), there.map(sum));
    let told = told.map_or_else(|distrust| distrust.to_string(), |()| "agrees".to_owned());
    assert_eq!(told, expected, "{found} {newest} {there:?}");
}

#[test]
fn another_ledger_or_a_shorter_one_or_one_that_grew_again_is_distrusted() {
    check("two", 9, Some("seven"), "the ledger is not the one it was: one had reached entry 7, and this is two");
    check(
        "one",
        6,
        None,
        "the ledger was cut short or brought back from an older copy: one had reached entry 7, and ends at entry 6",
    );
    check(
        "one",
        9,
        Some("other"),
        "the ledger was brought back from an older copy and has grown since: entry 7 of one is not the one that was there",
    );
    check("one", 7, Some("seven"), "agrees");
    check("one", 8, Some("seven"), "agrees");
    // Retention has removed the entry: nobody can say what it said.
    check("one", 9, None, "agrees");
}
