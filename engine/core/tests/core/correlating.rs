//! Several signals about one target: how often, what else, and what has to stay away.

use flyball_core::guardrail::screen;
use flyball_core::mapper::{Proposal, propose};
use flyball_core::policy::PolicySet;
use flyball_core::record::{Record, Topic};
use flyball_core::signal::Signal;

use crate::build::{Ledger, at, workload};
use crate::propose::{read, set};
use crate::tell::told;

/// A set, and what its replicas have written.
struct Case {
    set: PolicySet,
    ledger: Ledger,
}

impl Case {
    fn of(policies: &str) -> Self {
        Self { set: set(policies), ledger: Ledger::default() }
    }

    fn look(&self, signal: &Signal, now: &str) -> Proposal {
        propose(&self.set, signal, |_| None, &self.ledger.history, at(now))
    }

    /// A signal arrives: what it is to policies is written down first.
    fn take(&mut self, now: &str, signal: &Signal) -> String {
        let Proposal { unseen, heard, .. } = self.look(signal, now);
        if !unseen.is_empty() {
            self.ledger.append(now, Topic::Admit, Record::Sighted(unseen));
        }
        if !heard.is_empty() {
            self.ledger.append(now, Topic::Note, Record::Sighted(heard));
        }
        let proposal = self.look(signal, now);
        assert_eq!(proposal.unseen, [], "what is written down is not asked for again");
        proposal.act.map_or_else(|silence| silence.label().to_owned(), |it| it.policy.name.to_string())
    }

    fn hear(&mut self, observed: &str, text: &str) -> String {
        let signal = heard(observed, text);
        self.take(observed, &signal)
    }
}

/// A signal about `shop/front`, of its own at every time.
fn heard(observed: &str, text: &str) -> Signal {
    let id = flyball_core::id::SignalId(format!("{text} {observed}").into());
    Signal { id, observed_at: at(observed), ..read(text) }
}

const THRICE: &str =
    "often enforce 10 {signal: anomaly, types: [error], minScore: 0.5, occurrences: {count: 3, within: 5m}}";

#[test]
fn the_third_within_the_time_acts() {
    let mut case = Case::of(THRICE);
    assert_eq!(case.hear("10:00", "anomaly error 0.9"), "Uncorrelated");
    assert_eq!(case.hear("10:01", "anomaly error 0.9"), "Uncorrelated");
    assert_eq!(case.hear("10:02", "anomaly error 0.4"), "NoPolicyMatched");
    assert_eq!(case.hear("10:02", "anomaly latency 0.9"), "NoPolicyMatched");
    assert_eq!(case.hear("10:05", "anomaly error 0.9"), "often", "five minutes after the first is within five minutes");
    assert_eq!(case.hear("10:09:59", "anomaly error 0.9"), "Uncorrelated");
    assert_eq!(case.hear("10:10", "anomaly error 0.9"), "often");
}

#[test]
fn a_copy_counts_once_and_the_order_of_arrival_counts_for_nothing() {
    let mut case = Case::of(THRICE);
    let signal = heard("10:00", "anomaly error 0.9");
    for now in ["10:00", "10:01", "10:02"] {
        assert_eq!(case.take(now, &signal), "Uncorrelated");
    }
    // Said again later it is still the same signal.
    for observed in ["10:01", "10:02"] {
        let again = Signal { observed_at: at(observed), ..signal.clone() };
        assert_eq!(case.take("10:03", &again), "Uncorrelated");
    }
    assert_eq!(case.hear("10:03", "anomaly error 0.9"), "Uncorrelated");
    let times = ["10:00", "10:02", "10:04"];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut case = Case::of(THRICE);
        let told: Vec<String> = order
            .into_iter()
            .map(|it: usize| {
                let signal = heard(times[it], "anomaly error 0.9");
                case.take("10:06", &signal)
            })
            .collect();
        assert_eq!(told, ["Uncorrelated", "Uncorrelated", "often"], "{order:?}");
    }
}

#[test]
fn each_target_is_counted_for_itself() {
    let mut case = Case::of(THRICE);
    for target in ["shop/a", "shop/b", "shop/c"] {
        let signal = Signal { subject: workload(target), ..heard("10:00", "anomaly error 0.9") };
        assert_eq!(case.take("10:00", &signal), "Uncorrelated");
    }
}

/// A storm is not written down signal by signal, and does not stop acting because of it.
#[test]
fn a_storm_is_counted_with_few_entries() {
    let mut case = Case::of(THRICE);
    let mut entries = 0;
    for second in 0..3_600 {
        let clock = format!("10:{:02}:{:02}", second / 60, second % 60);
        let signal = heard(&clock, "anomaly error 0.9");
        let before = case.ledger.history.revision();
        let expected = if second < 2 { "Uncorrelated" } else { "often" };
        assert_eq!(case.take(&clock, &signal), expected, "at {clock}");
        entries += u32::from(case.ledger.history.revision() != before);
    }
    assert!((250..=300).contains(&entries), "3 for each eighth of five minutes: {entries}");
}

const BOTH: &str = "both enforce 10 {signal: rca, causes: [leak], all: [{signal: anomaly, types: [resource], minScore: 0.8, within: 10m}]}
    below enforce 1 {signal: rca, causes: [leak]}";

#[test]
fn an_analysis_acts_with_the_anomaly_beside_it() {
    let leak = "rca 0.8 shop/front leak 0.9";
    let mut case = Case::of(BOTH);
    assert_eq!(case.hear("10:00", leak), "below", "who waits for something else hides nobody");
    assert_eq!(case.hear("10:01", "anomaly resource 0.7"), "NoPolicyMatched");
    assert_eq!(case.hear("10:02", leak), "below");
    assert_eq!(case.hear("10:03", "anomaly resource 0.8"), "NoPolicyMatched");
    assert_eq!(case.hear("10:13", leak), "both");
    assert_eq!(case.hear("10:13:01", leak), "below");
    // Observed before the anomaly and late on its way.
    let late = heard("10:02:30", leak);
    assert_eq!(case.take("10:14", &late), "both");
}

#[test]
fn alone_it_is_uncorrelated_and_in_shadow_no_less() {
    let line = BOTH.lines().next().unwrap();
    assert_eq!(Case::of(line).hear("10:00", "rca 0.8 shop/front leak 0.9"), "Uncorrelated");
    let shadow = line.replace("enforce", "shadow");
    let mut case = Case::of(&shadow);
    assert_eq!(case.hear("10:00", "rca 0.8 shop/front leak 0.9"), "Uncorrelated");
    case.hear("10:01", "anomaly resource 0.9");
    assert_eq!(case.hear("10:02", "rca 0.8 shop/front leak 0.9"), "ShadowOnly");
    let disabled = line.replace("enforce", "disabled");
    let mut case = Case::of(&disabled);
    assert_eq!(case.hear("10:01", "anomaly resource 0.9"), "NoPolicyMatched");
    assert_eq!(case.ledger.history.revision().0, 0, "for a disabled policy nothing is written down");
}

const ABSENT: &str = "stays enforce 10 {signal: anomaly, types: [error], absent: {signal: anomaly, types: [error], cleared: true, within: 2m}}";

#[test]
fn it_waits_to_see_whether_the_symptom_clears() {
    let mut case = Case::of(ABSENT);
    let signal = heard("10:00", "anomaly error 0.9");
    let request = case.look(&signal, "10:00:01").act.unwrap();
    let ask =
        |case: &Case, now: &str| told(screen(request.clone(), &case.ledger.history, &case.set.guardrails, at(now)));
    assert_eq!(ask(&case, "10:01:59"), "defer NotYet until=10:02:00Z");
    assert_eq!(ask(&case, "10:02"), "pass");
    // Before the signal, of another type, and no clearing at all: none of them speaks against it.
    assert_eq!(case.hear("09:59", "clear error 0.1"), "NotAnomalous");
    assert_eq!(case.hear("10:01", "clear latency 0.1"), "NotAnomalous");
    assert_eq!(case.hear("10:01", "anomaly error 0.9"), "stays");
    assert_eq!(ask(&case, "10:02"), "pass");
    assert_eq!(case.hear("10:01:30", "clear error 0.1"), "NotAnomalous");
    assert_eq!(ask(&case, "10:02"), "deny Contradicted at=10:01:30Z");
    // In shadow nothing waits, so nothing is noted.
    let mut shadow = Case::of(&ABSENT.replace("enforce", "shadow"));
    assert_eq!(shadow.hear("10:01:30", "clear error 0.1"), "NotAnomalous");
    assert_eq!(shadow.ledger.history.revision().0, 0);
}

/// A signal that is both the policy's own and one of those beside it counts for another, not for itself.
#[test]
fn a_signal_is_not_its_own_company() {
    let mut case = Case::of(
        "twice enforce 10 {signal: anomaly, types: [error], all: [{signal: anomaly, types: [error], within: 10m}]}",
    );
    assert_eq!(case.hear("10:00", "anomaly error 0.9"), "Uncorrelated");
    assert_eq!(case.hear("10:06", "anomaly error 0.9"), "twice");
    assert_eq!(case.hear("10:12", "anomaly error 0.9"), "twice");
    assert_eq!(case.hear("10:22:01", "anomaly error 0.9"), "Uncorrelated");
}

#[test]
fn what_comes_now_and_then_is_not_missed() {
    let mut case = Case::of(THRICE);
    for clock in ["10:00:00", "10:00:01", "10:00:02", "10:02:20", "10:05:10"] {
        case.hear(clock, "anomaly error 0.9");
    }
    assert_eq!(case.hear("10:07:10", "anomaly error 0.9"), "often", "three within 4 m 50 s");
    let mut case = Case::of(BOTH);
    let leak = "rca 0.8 shop/front leak 0.9";
    case.hear("10:00", "anomaly resource 0.9");
    case.hear("10:04", "anomaly resource 0.9");
    assert_eq!(case.hear("10:13", leak), "both");
}

/// Who acts hides what is below it, but not from counting.
#[test]
fn a_policy_above_takes_nothing_from_the_count() {
    let mut case = Case::of(&format!("above enforce 20 {{signal: anomaly, types: [error], minScore: 0.95}}\n{THRICE}"));
    assert_eq!(case.hear("10:00", "anomaly error 0.96"), "above");
    assert_eq!(case.hear("10:01", "anomaly error 0.96"), "above");
    assert_eq!(case.hear("10:02", "anomaly error 0.9"), "often");
}

/// What was seen under other words is not what is sought now.
#[test]
fn a_changed_rule_begins_anew() {
    let mut case = Case::of(THRICE);
    case.hear("10:00", "anomaly error 0.9");
    case.hear("10:01", "anomaly error 0.9");
    case.set = set(&THRICE.replace("minScore: 0.5", "minScore: 0.6"));
    assert_eq!(case.hear("10:02", "anomaly error 0.9"), "Uncorrelated");
}

#[test]
fn what_is_remembered_has_a_bound() {
    let mut case = Case::of(THRICE);
    let most = flyball_core::history::MOST_SOUGHT;
    let signal =
        |number: usize| Signal { subject: workload(&format!("shop/w{number}")), ..heard("10:00", "anomaly error 0.9") };
    let looked = |case: &Case, number: usize| case.look(&signal(number), "10:00").unseen;
    let all: Vec<_> = (0..=most).flat_map(|number| looked(&case, number)).collect();
    for part in all.chunks(500) {
        case.ledger.append("10:00", Topic::Admit, Record::Sighted(part.to_vec()));
    }
    let forgotten = (0..=most).filter(|number| !looked(&case, *number).is_empty()).count();
    assert_eq!(forgotten, 1);
    // Written down once more it is there, whoever has to go.
    let number = (0..=most).find(|number| !looked(&case, *number).is_empty()).unwrap();
    assert_eq!(case.take("10:00", &signal(number)), "Uncorrelated");
}
