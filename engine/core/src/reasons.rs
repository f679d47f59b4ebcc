//! `docs/reasons.md`, made from the reasons themselves: what an operator reads at night cannot differ from what the engine
//! says.

use crate::deny::DenyReason;

const PREFACE: &str = "\
# Reasons

Why Flyball did not act, or not yet. The same word stands in the CLI, the API, spans, metrics, Kubernetes Events and the
journal, with the numbers that decided. This page is generated from `engine/core/src/deny.rs`; after a change there run
`FLYBALL_BLESS=1 cargo test -p flyball-core --test reasons`.
";

/// The page, one heading per reason in the order of the contract.
pub fn reasons_markdown() -> String {
    let mut page = PREFACE.to_owned();
    for ((word, doc), (_, numbers)) in DenyReason::DOCS.iter().zip(DenyReason::NUMBERS) {
        let effect = if DenyReason::WAITS.contains(word) {
            "The request **waits** until this has passed; a direct API call is told 409 with `Retry-After`. It is denied only when the \
             waiting room is full or its signal expires."
        } else {
            "The request is **denied**."
        };
        let text: Vec<&str> = doc.lines().map(str::trim).collect();
        page.extend(["\n## ", word, "\n\n", text.join("\n").trim_end(), "\n\n", effect, "\n"]);
        if !numbers.is_empty() {
            page.push('\n');
        }
        for (name, doc) in *numbers {
            page.extend(["- `", name, "`: ", doc.trim(), "\n"]);
        }
    }
    page
}
