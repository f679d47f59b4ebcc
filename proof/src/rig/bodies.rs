//! What the tests send and what they ask of the policies.

use serde_json::{Value, json};

/// The body of an anomaly.
pub fn anomaly(service: &str, window: &str, kind: &str) -> Value {
    json!({"windowId": window, "service": service, "isAnomaly": true, "score": 0.97, "type": kind})
}

/// The body of a root cause analysis with one cause.
pub fn rca(service: &str, window: &str, cause: &str) -> Value {
    let causes = json!([{"svc": service, "cause": cause, "probability": 0.9}]);
    json!({"windowId": window, "service": service, "confidence": 0.95, "rankedCauses": causes})
}

/// A policy that enforces, with quick verification. `on` and `action` are YAML in flow style; `more` is appended.
pub fn policy(name: &str, on: &str, action: &str, more: &str) -> String {
    format!(
        "apiVersion: flyball.dev/v1alpha1\nkind: RemediationPolicy\nmetadata: {{name: {name}}}\nspec:\n  mode: enforce\n  match: {on}\n  \
         action: {action}\n  verify: {{timeout: 40s, stableFor: 500ms}}\n{more}"
    )
}

/// Limits for tests that are about something else.
pub const WIDE: &str = "
apiVersion: flyball.dev/v1alpha1
kind: Guardrails
spec:
  limits:
    clusterBudget: {max: 10000, per: 1h}
    namespaceBudget: {max: 10000, per: 1h}
    concurrency: {cluster: 1000, namespace: 1000}
    maxUnavailable: 100%
    minCooldown: 0s
    breaker: {failures: 1000, per: 30m, probeAfter: 10m}
";
