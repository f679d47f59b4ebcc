//! What a type cannot say about a body: ranges, names, and that there is a target.

use crate::{
    fault::join,
    names,
    refusal::{Refusal, RefusalReason},
    v1::{Anomaly, Body, Metadata, Rca},
};

/// Checks a body that has been read; `at` is its path within the message, empty for a plain one.
///
/// Refused as `OutOfRange`, `BadName` or `NoTarget`, with the field.
pub(crate) fn check(body: &Body, at: &str) -> Result<(), Refusal> {
    match body {
        Body::Anomaly(anomaly) => check_anomaly(anomaly, at)?,
        Body::Rca(rca) => check_rca(rca, at)?,
    }
    check_metadata(body.metadata(), at)?;
    if body.target_name().is_empty() {
        let detail = match body {
            Body::Anomaly(_) => "names no workload",
            Body::Rca(_) => "names no workload, and neither does the `svc` of the top cause",
        };
        return Err(Refusal::at(RefusalReason::NoTarget, path(at, "service"), detail));
    }
    Ok(())
}

fn check_anomaly(anomaly: &Anomaly, at: &str) -> Result<(), Refusal> {
    if !anomaly.score.is_finite() || anomaly.score < 0.0 {
        let detail = format!("expected a number of at least 0, found {}", anomaly.score);
        return Err(Refusal::at(RefusalReason::OutOfRange, path(at, "score"), detail));
    }
    workload(&anomaly.service, || path(at, "service"))
}

fn check_rca(rca: &Rca, at: &str) -> Result<(), Refusal> {
    unit(rca.confidence, || path(at, "confidence"))?;
    workload(rca.service.as_deref().unwrap_or_default(), || path(at, "service"))?;
    for (index, cause) in rca.ranked_causes.iter().enumerate() {
        unit(cause.probability, || path(at, &format!("rankedCauses[{index}].probability")))?;
        workload(&cause.svc, || path(at, &format!("rankedCauses[{index}].svc")))?;
    }
    Ok(())
}

fn check_metadata(metadata: &Metadata, at: &str) -> Result<(), Refusal> {
    let field = |name: &str| path(at, &format!("metadata.{name}"));
    if let Some(namespace) = &metadata.namespace
        && !names::is_label(namespace)
    {
        return Err(bad_name(field("namespace"), namespace, "a namespace is a DNS label: a-z, 0-9 and -, at most 63"));
    }
    if let Some(kind) = &metadata.kind
        && !names::is_object_kind(kind)
    {
        return Err(bad_name(field("kind"), kind, "a workload's kind is letters and digits, like Deployment"));
    }
    workload(metadata.pod.as_deref().unwrap_or_default(), || field("pod"))
}

fn unit(number: f64, field: impl FnOnce() -> String) -> Result<(), Refusal> {
    if (0.0..=1.0).contains(&number) {
        return Ok(());
    }
    Err(Refusal::at(RefusalReason::OutOfRange, field(), format!("expected a number from 0 to 1, found {number}")))
}

/// The name of a workload or a pod; an empty one is absent.
fn workload(name: &str, field: impl FnOnce() -> String) -> Result<(), Refusal> {
    if name.is_empty() || names::is_subdomain(name) {
        return Ok(());
    }
    Err(bad_name(field(), name, "a name is a DNS subdomain: a-z, 0-9, - and ., at most 253"))
}

fn bad_name(field: String, name: &str, rule: &str) -> Refusal {
    Refusal::at(RefusalReason::BadName, field, format!("{rule}; found `{name}`"))
}

fn path(at: &str, name: &str) -> String {
    join(at.to_owned(), name)
}
