//! `flyball policy new`: a policy for a recorded signal. It is in shadow, and as narrow as the signal.

use flyball_core::policy::load;
use flyball_core::signal::{Signal, SignalKind};

use super::{Answer, Trouble, signal};
use crate::cli::policy::New;

pub(super) fn run(args: &New) -> Result<Answer, Trouble> {
    let signal = signal(&args.file, &args.namespace)?;
    let text = draft(&signal, args);
    // What we write has to be what we read.
    load(&[("new".to_owned(), text.clone())]).map_err(|faults| Trouble::Unusable(faults.to_string()))?;
    let aside = "It is in shadow: see what it would do with `flyball policy backtest` and `flyball get decisions`, then write `enforce`.\n";
    Ok(Answer { result: text, ..Answer::default() }.beside(aside))
}

fn draft(signal: &Signal, args: &New) -> String {
    let (trouble, matches) = match &signal.kind {
        SignalKind::Anomaly(it) => {
            let kind = it.kind.as_str();
            (kind.to_owned(), format!("    signal: anomaly\n    types: [{kind}]\n    minScore: {}\n", it.score))
        }
        SignalKind::Rca(it) => match it.causes.first() {
            Some(first) => {
                let text = format!(
                    "    signal: rca\n    causes: [{:?}]\n    minProbability: {}\n",
                    &*first.cause, first.probability
                );
                (first.cause.to_string(), text)
            }
            None => ("analysis".to_owned(), "    signal: rca\n".to_owned()),
        },
    };
    let action = match args.action.as_str() {
        "scale" => "scale: {by: 1}",
        "rollback" => "rollback: {}",
        "deletePod" => "deletePod: {}",
        _ => "restart: {}",
    };
    let name = args.name.clone().unwrap_or_else(|| format!("{}-on-{trouble}", args.action));
    let name: String =
        name.to_lowercase().chars().map(|it| if it.is_ascii_alphanumeric() || it == '.' { it } else { '-' }).collect();
    let target = &signal.subject;
    format!(
        "# yaml-language-server: $schema=https://flyball.dev/schemas/policy.v1alpha1.json
apiVersion: flyball.dev/v1alpha1
kind: RemediationPolicy
metadata:
  name: {name}
  annotations: {{flyball.dev/title: \"\", flyball.dev/severity: medium}}
spec:
  mode: shadow
  priority: 100
  match:
{matches}    namespaces: [{}]
    services: [{}]
  target: {{kind: {}}}
  action: {{{action}}}
  guardrails: {{cooldown: 10m, actionBudget: {{max: 3, per: 1h}}}}
  verify: {{timeout: 5m, stableFor: 30s, recovered: {{by: silence, within: 5m}}, onFailure: escalate}}
",
        target.namespace, target.name, target.kind
    )
}
