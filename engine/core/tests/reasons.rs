//! `docs/reasons.md` says what the code says. `FLYBALL_BLESS=1` writes it anew.
// Tests may touch files; the core may not.
#![allow(clippy::disallowed_methods)]

use flyball_core::deny::DenyReason;
use flyball_core::reasons::reasons_markdown;

#[test]
fn the_page_of_reasons_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reasons.md");
    let page = reasons_markdown();
    if std::env::var("FLYBALL_BLESS").is_ok_and(|it| it == "1") {
        std::fs::write(path, &page).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(stored == page, "docs/reasons.md is stale: run FLYBALL_BLESS=1 cargo test -p flyball-core --test reasons");
}

#[test]
fn every_reason_of_the_contract_is_there_in_its_order() {
    let contract = "Paused OptedOut Protected ActionNotAllowed SignalExpired ConfidenceTooLow DuplicateSignal \
        OutsideWindow CooldownActive ActionBudgetExhausted ReplicaBounds ScaleVelocityExceeded ConcurrencyLimit TargetBusy \
        BlastRadiusExceeded BreakerOpen PolicyDemoted RolloutInProgress DisruptionBudget TargetNotFound TargetChanged TargetPaused \
        ManagedElsewhere NothingToDo Forbidden ApprovalRequired ApprovalRejected ApprovalExpired CustomGuard \
        NotYet Contradicted StateUnavailable";
    let words: Vec<&str> = DenyReason::DOCS.iter().map(|(word, _)| *word).collect();
    assert_eq!(words, contract.split_whitespace().collect::<Vec<_>>());
    assert!(DenyReason::WAITS.iter().all(|it| words.contains(it)));
}
