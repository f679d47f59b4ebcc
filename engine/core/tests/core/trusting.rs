//! A policy that fails time after time acts no more until a person says so.

use flyball_core::action::{Action, ActionRequest, Cause, NextStep, PolicyRef};
use flyball_core::guardrail::{screen, screen_shadow};
use flyball_core::limits::{Guardrails, PolicyLimits};
use flyball_core::mapper::propose;
use flyball_core::outcome::Outcome;
use flyball_core::record::{Demoted, Record, Topic, Trusted};

use crate::build::{Ledger, at, duration, restart};
use crate::propose::{read, set};
use crate::tell::told;

fn asked(target: &str, observed: &str) -> ActionRequest {
    let mut request = restart(target, observed);
    request.limits = PolicyLimits::default();
    request
}

/// One action after the other, each on a target of its own; what is to be written down of their policy is.
fn ended(outcomes: &[Outcome]) -> Ledger {
    let mut ledger = Ledger::default();
    for (number, outcome) in outcomes.iter().enumerate() {
        let clock = format!("10:0{number}");
        ledger.done(&clock, &clock, &asked(&format!("shop/w{number}"), &clock), *outcome);
        demote(&mut ledger, &clock);
    }
    ledger
}

fn demote(ledger: &mut Ledger, clock: &str) {
    let due: Vec<Demoted> = ledger.history.to_demote().cloned().collect();
    for it in due {
        ledger.append(clock, Topic::Admit, Record::Demoted(it));
    }
    assert_eq!(ledger.history.to_demote().count(), 0);
}

fn ask(ledger: &Ledger, now: &str) -> String {
    told(screen(asked("shop/cart", now), &ledger.history, &Guardrails::default(), at(now)))
}

fn word(told: &str) -> &str {
    told.split(' ').nth(1).unwrap_or("pass")
}

const FAILED: Outcome = Outcome::NotRecovered;

#[test]
fn three_failures_in_a_row_demote_it() {
    assert_eq!(ask(&ended(&[FAILED, FAILED]), "10:10"), "pass");
    let ledger = ended(&[FAILED, Outcome::TimedOut, Outcome::RolledBack]);
    assert_eq!(ask(&ledger, "10:10"), "deny PolicyDemoted failures=3");
    let demoted = ledger.history.demotion("p").unwrap();
    assert_eq!((demoted.last, demoted.since), (asked("shop/w2", "10:02").id("c"), at("10:02")));
    // What is neither a success nor a failure of ours says nothing; a success begins anew.
    let silent = [FAILED, FAILED, Outcome::Superseded, Outcome::Cancelled, Outcome::Rejected, Outcome::Escalated];
    assert_eq!(ask(&ended(&silent), "10:10"), "pass");
    assert_eq!(word(&ask(&ended(&[FAILED, FAILED, Outcome::Superseded, FAILED]), "10:10")), "PolicyDemoted");
    for success in [Outcome::Recovered, Outcome::RolledOut] {
        assert_eq!(ask(&ended(&[FAILED, FAILED, success, FAILED, FAILED]), "10:10"), "pass");
    }
}

#[test]
fn it_is_asked_as_if_it_were_in_shadow() {
    let ledger = ended(&[FAILED; 3]);
    let policies = set("p enforce 10 {signal: rca, causes: [leak]}
        q enforce 1 {signal: rca, causes: [leak]}");
    let proposal = propose(&policies, &read("rca 0.8 shop/cart leak 0.9"), |_| None, &ledger.history, at("10:10"));
    assert_eq!(&*proposal.act.unwrap().policy.name, "q", "it hides nobody below it");
    let [shadow] = &proposal.shadows[..] else { panic!("{:?}", proposal.shadows) };
    assert_eq!(&*shadow.policy.name, "p");
    assert_eq!(screen_shadow(shadow, &ledger.history, &policies.guardrails, at("10:10")), []);
}

#[test]
fn each_policy_by_its_own_number() {
    let fail = |limit: u32, times: usize| {
        let mut ledger = Ledger::default();
        for number in 0..times {
            let clock = format!("10:0{number}");
            let mut request = asked(&format!("shop/w{number}"), &clock);
            request.limits.demote_after = limit;
            ledger.done(&clock, &clock, &request, FAILED);
            demote(&mut ledger, &clock);
        }
        word(&ask(&ledger, "10:30")).to_owned()
    };
    assert_eq!([fail(1, 1), fail(2, 1), fail(2, 2)], ["PolicyDemoted", "pass", "PolicyDemoted"]);
    // The breaker of the whole cluster is another matter: it opens at five, whoever failed, and lets a probe through.
    assert_eq!([fail(0, 4), fail(0, 5)], ["pass", "pass"]);
    let mut other = asked("shop/cart", "10:10");
    other.policy = PolicyRef { name: "other".into(), digest: "d".into() };
    let ledger = ended(&[FAILED; 3]);
    assert_eq!(told(screen(other, &ledger.history, &Guardrails::default(), at("10:10"))), "pass");
}

/// A row of two steps is one try, and what has begun is finished.
#[test]
fn a_row_of_steps_counts_once() {
    // The cluster's breaker is another matter.
    let mut rules = Guardrails::default();
    rules.limits.breaker.failures = 100;
    let ask = |ledger: &Ledger, now: &str| told(screen(asked("shop/cart", now), &ledger.history, &rules, at(now)));
    let mut ledger = Ledger::default();
    let fail = |ledger: &mut Ledger, number: usize, second: Outcome| {
        let clock = format!("10:0{number}");
        let mut first = asked(&format!("shop/w{number}"), &clock);
        first.then = vec![NextStep { after: duration("1m"), action: Action::Restart }];
        let id = ledger.done(&clock, &clock, &first, FAILED);
        demote(ledger, &clock);
        let next = ActionRequest { cause: Cause::Step(id), step: 1, then: Vec::new(), ..first };
        let allowed = word(&told(screen(next.clone(), &ledger.history, &rules, at("10:09")))).to_owned();
        ledger.done(&clock, &clock, &next, second);
        demote(ledger, &clock);
        allowed
    };
    for number in 0..2 {
        assert_eq!(fail(&mut ledger, number, FAILED), "pass");
    }
    assert_eq!(ask(&ledger, "10:09"), "pass", "two rows in vain");
    assert_eq!(fail(&mut ledger, 2, Outcome::Recovered), "pass", "the row goes on though its policy is demoted");
    assert_eq!(word(&ask(&ledger, "10:09")), "PolicyDemoted");
    let mut ledger = Ledger::default();
    for number in 0..5 {
        fail(&mut ledger, number, Outcome::Recovered);
    }
    assert_eq!(ask(&ledger, "10:09"), "pass", "the second step has helped each time");
}

#[test]
fn a_person_trusts_it_again() {
    let mut ledger = ended(&[FAILED; 3]);
    assert_eq!(ledger.history.demoted().map(|it| &*it.policy).collect::<Vec<_>>(), ["p"]);
    let said = Trusted { policy: "p".into(), by: "ann".into(), reason: "mended".into() };
    ledger.append("10:05", Topic::Admit, Record::Trusted(said));
    assert_eq!(ledger.history.demoted().count(), 0);
    assert_eq!(ask(&ledger, "10:10"), "pass");
    // And counts from the beginning.
    for (clock, target) in [("10:11", "shop/x1"), ("10:12", "shop/x2")] {
        ledger.done(clock, clock, &asked(target, clock), FAILED);
        demote(&mut ledger, clock);
    }
    assert_eq!(word(&ask(&ledger, "10:20")), "BreakerOpen");
    assert_eq!(ledger.history.demoted().count(), 0);
}

#[test]
fn said_again_a_demotion_holds_nothing_back() {
    let mut ledger = ended(&[FAILED; 3]);
    let old: Vec<Demoted> = ledger.history.demoted_before(ledger.history.revision()).cloned().collect();
    assert_eq!(old.len(), 1);
    let before = ledger.history.needed_from();
    ledger.append("10:30", Topic::Note, Record::Demoted(old[0].clone()));
    assert_eq!(ledger.history.demoted_before(before).count(), 0);
    assert_eq!(ledger.history.demotion("p"), Some(&old[0]));
}
