//! JSON Schemas of the documents, draft-07: what editors understand. They say what the reader takes, apart from what only it can tell:
//! which limits go together, which expressions mean something, that names differ.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::raw::{Document, GuardrailsSpec, PolicySpec};

/// The schema of a `RemediationPolicy`.
pub fn policy_schema() -> Value {
    let example = json!({
        "apiVersion": "flyball.dev/v1alpha1", "kind": "RemediationPolicy", "metadata": {"name": "restart-on-memory-leak"},
        "spec": {
            "mode": "shadow", "match": {"signal": "rca", "causes": ["memory_leak"]}, "action": {"restart": {}},
            "guardrails": {"cooldown": "10m"}, "verify": {"onFailure": "escalate"}
        }
    });
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Document<PolicySpec>>();
    document(schema.to_value(), "RemediationPolicy", "policy", example)
}

/// The schema of `Guardrails`.
pub fn guardrails_schema() -> Value {
    let example = json!({
        "apiVersion": "flyball.dev/v1alpha1", "kind": "Guardrails",
        "spec": {"defaults": {"cooldown": "5m"}, "limits": {"clusterBudget": {"max": 60, "per": "1h"}, "maxReplicas": 50}}
    });
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Document<GuardrailsSpec>>();
    document(schema.to_value(), "Guardrails", "guardrails", example)
}

fn document(mut schema: Value, kind: &str, name: &str, example: Value) -> Value {
    let id = format!("https://flyball.dev/schemas/{name}.v1alpha1.json");
    schema["$id"] = json!(id);
    schema["title"] = json!(kind);
    schema["examples"] = json!([example]);
    schema["properties"]["kind"] = json!({"const": kind, "description": "What it is."});
    schema["properties"]["apiVersion"] =
        json!({"const": super::load::API_VERSION, "description": "The version of this form."});
    schema
}
