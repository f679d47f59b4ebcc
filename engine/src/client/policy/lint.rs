//! `flyball policy lint`.

use std::fmt::Write;

use flyball_core::lint::{Finding, RULES, Severity, lint};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, Trouble, load, rights};
use crate::cli::policy::{Lint, LintForm};

/// A finding as data.
#[derive(Serialize)]
struct Told<'a> {
    rule: &'a str,
    severity: &'a str,
    policy: &'a str,
    source: &'a str,
    message: &'a str,
    hint: &'a str,
}

pub(super) async fn run(args: &Lint) -> Result<Answer, Trouble> {
    let set = load(&args.policies)?;
    let mut found = lint(&set);
    found.extend(rights::lacking(args, &set).await?);
    let count = |severity: Severity| found.iter().filter(|it| it.severity == severity).count();
    let (errors, warnings, notes) = (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
    let result = match args.form {
        LintForm::Text => found.iter().fold(String::new(), |mut text, it| {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{it}\n");
            text
        }),
        LintForm::Json => pretty(&found.iter().map(told).collect::<Vec<_>>()),
        LintForm::Sarif => pretty(&sarif(&found)),
    };
    let aside = format!("{} policies: {errors} errors, {warnings} warnings, {notes} notes\n", set.policies().len());
    let warned = args.strict && warnings > 0;
    Ok(Answer { result, aside, negative: errors > 0, warned })
}

fn pretty<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn told(it: &Finding) -> Told<'_> {
    Told {
        rule: it.rule,
        severity: it.severity.as_str(),
        policy: &it.policy,
        source: &it.source,
        message: &it.message,
        hint: &it.hint,
    }
}

/// SARIF 2.1.0, as code scanning takes it.
fn sarif(found: &[Finding]) -> Value {
    let rules: Vec<Value> =
        RULES.iter().map(|(id, what)| json!({"id": id, "shortDescription": {"text": what}})).collect();
    let results: Vec<Value> = found
        .iter()
        .map(|it| {
            let (file, line) = it.source.rsplit_once(':').unwrap_or((&it.source, "1"));
            let place = json!({
                "artifactLocation": {"uri": file},
                "region": {"startLine": line.parse::<u64>().unwrap_or(1)}
            });
            json!({
                "ruleId": it.rule,
                "level": it.severity.as_str(),
                "message": {"text": format!("{}: {}. {}", it.policy, it.message, it.hint)},
                "locations": [{"physicalLocation": place}]
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "flyball", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "results": results
        }]
    })
}
