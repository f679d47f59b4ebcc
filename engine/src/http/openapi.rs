//! The API described, made from the handlers themselves.

use std::sync::LazyLock;

use axum::Json;
use flyball_signals::Kind;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::{decisions, hands, health, ledger, pauses, policies, signals};

/// The document, but for what the handlers do not know: the signals' own schemas and the token.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Flyball",
        description = "Remediation for Kubernetes: signals in, decisions out, and the stop button."
    ),
    paths(
        document,
        health::healthz,
        health::readyz,
        health::metrics,
        signals::anomaly,
        signals::rca,
        signals::recent,
        decisions::list,
        decisions::why,
        hands::cancel,
        hands::resolve,
        ledger::migration,
        ledger::migrate,
        policies::list,
        policies::trust,
        pauses::list,
        pauses::pause,
        pauses::resume,
        pauses::resume_scope,
    )
)]
pub(super) struct Handlers;

static DOCUMENT: LazyLock<Value> = LazyLock::new(whole);

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "health",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(super) async fn document() -> Json<&'static Value> {
    Json(&DOCUMENT)
}

fn whole() -> Value {
    // Texts and maps always serialise.
    let mut document = serde_json::to_value(Handlers::openapi()).unwrap_or_default();
    document["components"]["securitySchemes"] = json!({"token": {"type": "http", "scheme": "bearer"}});
    for kind in Kind::ALL {
        include(&mut document, kind);
    }
    for operation in operations(&mut document) {
        if operation["responses"].get("401").is_some() {
            // Optional: on this very machine, and under --no-auth, nobody asks for it.
            operation["security"] = json!([{"token": []}, {}]);
        }
    }
    document
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut);
    paths.filter_map(Value::as_object_mut).flat_map(serde_json::Map::values_mut).filter(|it| it.is_object())
}

/// Puts a signal's schema, as publishers know it, among the components.
fn include(document: &mut Value, kind: Kind) {
    let name = match kind {
        Kind::Anomaly => "Anomaly",
        Kind::Rca => "Rca",
    };
    let mut schema = flyball_signals::schema::of(kind);
    point_to_components(&mut schema);
    let Some(fields) = schema.as_object_mut() else { return };
    let parts = fields.remove("$defs").unwrap_or_default();
    fields.retain(|key, _| !key.starts_with('$'));
    let components = &mut document["components"]["schemas"];
    for (part, schema) in parts.as_object().into_iter().flatten() {
        components[part] = schema.clone();
    }
    components[name] = schema;
}

fn point_to_components(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(to) if key == "$ref" => *to = to.replace("#/$defs/", "#/components/schemas/"),
                    value => point_to_components(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(point_to_components),
        _ => {}
    }
}
