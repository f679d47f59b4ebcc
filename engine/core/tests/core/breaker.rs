//! The breaker: failures open it, half-open lets one through, a probe that helped closes it and forgives.

use flyball_core::action::Cause;
use flyball_core::guardrail::screen;
use flyball_core::id::IntentId;
use flyball_core::limits::Guardrails;
use flyball_core::outcome::Outcome;

use crate::build::{Ledger, at, restart};
use crate::tell::told;

/// One action after another on ever new targets, `HH:MM outcome` each: admitted then, closed a minute later.
fn ledger(lines: &str) -> Ledger {
    let mut ledger = Ledger::default();
    for (number, line) in lines.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let (clock, word) = line.split_once(' ').unwrap();
        let outcome = Outcome::ALL.into_iter().find(|it| it.label() == word).unwrap();
        let minute: u32 = clock[3..].parse().unwrap();
        let closed = format!("{}{:02}", &clock[..3], minute + 1);
        ledger.done(clock, &closed, &restart(&format!("n{number}/x"), clock), outcome);
    }
    ledger
}

fn check(ledger: &Ledger, now: &str, expected: &str) {
    let verdict = screen(restart("shop/cart", now), &ledger.history, &Guardrails::default(), at(now));
    assert_eq!(told(verdict), expected, "at {now}");
}

const FIVE: &str = "
    10:00 Failed
    10:01 TimedOut
    10:02 NotRecovered
    10:03 RolledBack
    10:04 Failed";

#[test]
fn five_failures_open_it_until_the_probe() {
    let mut ledger = ledger(FIVE);
    check(&ledger, "10:05", "deny BreakerOpen failures=5 max=5 until=10:15:00Z");
    check(&ledger, "10:14:59", "deny BreakerOpen failures=5 max=5 until=10:15:00Z");
    check(&ledger, "10:15", "pass");
    // Half-open: one probe at a time.
    let probe = ledger.admit("10:15", &restart("n9/x", "10:15"));
    check(&ledger, "10:16", "deny BreakerOpen failures=5 max=5");
    ledger.close("10:17", probe, Outcome::Failed);
    check(&ledger, "10:18", "deny BreakerOpen failures=6 max=5 until=10:27:00Z");
}

#[test]
fn four_failures_or_other_ends_do_not_open_it() {
    check(&ledger(FIVE.rsplit_once('\n').unwrap().0), "10:05", "pass");
    let harmless =
        "10:00 Superseded\n10:01 Rejected\n10:02 Cancelled\n10:03 RolledOut\n10:04 Recovered\n10:05 Superseded";
    check(&ledger(harmless), "10:07", "pass");
}

#[test]
fn failures_leave_the_window() {
    let slow = "10:00 Failed\n10:10 Failed\n10:20 Failed\n10:25 Failed\n10:29 Failed";
    check(&ledger(slow), "10:30:59", "deny BreakerOpen failures=5 max=5 until=10:40:00Z");
    check(&ledger(slow), "10:31", "pass");
}

#[test]
fn a_probe_that_settles_nothing_makes_room_for_the_next() {
    check(&ledger(&format!("{FIVE}\n10:15 Superseded")), "10:17", "pass");
}

#[test]
fn a_probe_that_helped_closes_it_and_forgives_what_was_before() {
    let helped = format!("{FIVE}\n10:15 Recovered");
    check(&ledger(&helped), "10:17", "pass");
    // One failure after it is one failure, and not the sixth.
    check(&ledger(&format!("{helped}\n10:17 Failed")), "10:19", "pass");
    let again = "10:17 Failed\n10:18 Failed\n10:19 Failed\n10:20 Failed\n10:21 Failed";
    check(&ledger(&format!("{helped}\n{again}")), "10:23", "deny BreakerOpen failures=5 max=5 until=10:32:00Z");
}

#[test]
fn a_success_while_it_is_closed_forgives_nothing() {
    let mixed = "10:00 Failed\n10:01 Failed\n10:02 Failed\n10:03 Failed\n10:04 Recovered\n10:05 Failed";
    check(&ledger(mixed), "10:07", "deny BreakerOpen failures=5 max=5 until=10:16:00Z");
}

#[test]
fn a_success_that_was_admitted_before_it_opened_does_not_close_it() {
    let mut ledger = ledger(FIVE.rsplit_once('\n').unwrap().0);
    let early = ledger.admit("10:04", &restart("n8/x", "10:04"));
    let late = ledger.admit("10:04", &restart("n7/x", "10:04"));
    ledger.close("10:06", late, Outcome::Failed);
    ledger.close("10:07", early, Outcome::Recovered);
    check(&ledger, "10:08", "deny BreakerOpen failures=5 max=5 until=10:16:00Z");
}

#[test]
fn an_undo_counts_through_its_parent_only() {
    let mut ledger = ledger(FIVE.rsplit_once('\n').unwrap().0);
    let mut undo = restart("n9/x", "10:04");
    undo.cause = Cause::Undo(parent());
    ledger.done("10:05", "10:06", &undo, Outcome::Failed);
    check(&ledger, "10:07", "pass");
}

fn parent() -> IntentId {
    restart("n9/y", "10:00").id("c")
}
