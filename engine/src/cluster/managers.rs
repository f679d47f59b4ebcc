//! Who else writes to a workload: autoscalers and GitOps tools, told by the marks they leave.

use flyball_core::facts::Managers;
use flyball_core::workload::Workload;
use serde_json::Value;

/// Managers of `target`, by its object and the HorizontalPodAutoscalers of its namespace. KEDA scales through one that it
/// makes, and so is found as well.
pub(super) fn managers(target: &Workload, object: &Value, autoscalers: &[Value]) -> Managers {
    let gitops = gitops(&object["metadata"]);
    let gitops_owns_replicas = gitops.is_some() && gitops_owns_replicas(&object["metadata"]);
    Managers { autoscaler: autoscaler(target, autoscalers), gitops, gitops_owns_replicas }
}

fn autoscaler(target: &Workload, autoscalers: &[Value]) -> Option<String> {
    let one = autoscalers.iter().find(|it| {
        let scales = &it["spec"]["scaleTargetRef"];
        scales["kind"] == target.kind.as_str() && scales["name"] == *target.name
    })?;
    Some(format!("HorizontalPodAutoscaler/{}", one["metadata"]["name"].as_str().unwrap_or_default()))
}

fn gitops(metadata: &Value) -> Option<String> {
    let label = |key: &str| metadata["labels"][key].as_str();
    let argo = metadata["annotations"]["argocd.argoproj.io/tracking-id"].as_str();
    if argo.or(label("argocd.argoproj.io/instance")).is_some() {
        return Some("Argo CD".to_owned());
    }
    let kustomization = label("kustomize.toolkit.fluxcd.io/name").map(|name| format!("Flux Kustomization/{name}"));
    kustomization.or_else(|| label("helm.toolkit.fluxcd.io/name").map(|name| format!("Flux HelmRelease/{name}")))
}

fn gitops_owns_replicas(metadata: &Value) -> bool {
    let tools = ["argocd", "kustomize-controller", "helm-controller"];
    metadata["managedFields"].as_array().into_iter().flatten().any(|entry| {
        let manager = entry["manager"].as_str().unwrap_or_default();
        tools.iter().any(|tool| manager.contains(tool)) && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
    })
}

#[cfg(test)]
mod tests {
    use flyball_core::workload::WorkloadKind;
    use serde_json::json;

    use super::*;

    fn found(metadata: Value, autoscalers: &[Value]) -> Managers {
        let target = Workload::new(WorkloadKind::Deployment, "shop", "cart");
        managers(&target, &json!({ "metadata": metadata }), autoscalers)
    }

    #[test]
    fn gitops_tools_leave_marks() {
        for (metadata, tool) in [
            (json!({}), None),
            (json!({"labels": {"app.kubernetes.io/instance": "shop"}}), None),
            (
                json!({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/cart"}}),
                Some("Argo CD"),
            ),
            (json!({"labels": {"argocd.argoproj.io/instance": "shop"}}), Some("Argo CD")),
            (json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}), Some("Flux Kustomization/shop")),
            (json!({"labels": {"helm.toolkit.fluxcd.io/name": "shop"}}), Some("Flux HelmRelease/shop")),
        ] {
            assert_eq!(found(metadata.clone(), &[]).gitops.as_deref(), tool, "{metadata}");
        }
    }

    #[test]
    fn replicas_belong_to_who_wrote_them() {
        let of = |manager: &str, fields: Value, labels: Value| {
            let entry = json!({"manager": manager, "operation": "Update", "fieldsV1": fields});
            found(json!({"labels": labels, "managedFields": [entry]}), &[]).gitops_owns_replicas
        };
        let (flux, replicas) = (json!({"helm.toolkit.fluxcd.io/name": "x"}), json!({"f:spec": {"f:replicas": {}}}));
        let template = json!({"f:spec": {"f:template": {}}});
        assert!(of("helm-controller", replicas.clone(), flux.clone()));
        assert!(of("argocd-controller", replicas.clone(), json!({"argocd.argoproj.io/instance": "x"})));
        assert!(!of("helm-controller", template, flux.clone()));
        assert!(!of("kubectl", replicas.clone(), flux));
        // Without a mark it is a tool's name and no more.
        assert!(!of("argocd-controller", replicas, json!({})));
    }

    #[test]
    fn an_autoscaler_names_its_target() {
        let scaler = |kind: &str, name: &str| json!({"metadata": {"name": "hpa"}, "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": name}}});
        let of = |items: &[Value]| found(json!({}), items).autoscaler;
        assert_eq!(of(&[scaler("Deployment", "other"), scaler("StatefulSet", "cart")]), None);
        let keda = [scaler("Deployment", "other"), scaler("Deployment", "cart")];
        assert_eq!(of(&keda).as_deref(), Some("HorizontalPodAutoscaler/hpa"));
    }
}
