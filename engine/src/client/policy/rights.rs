//! The rights that policies need, against a role in a file or what the API server grants.

use std::collections::BTreeSet;
use std::path::Path;

use flyball_core::lint::Finding;
use flyball_core::lint::rights::{self, Right};
use flyball_core::policy::PolicySet;
use flyball_core::ports::PortError;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;

use super::Trouble;
use crate::cli::policy::Lint;
use crate::cluster::{KubeCluster, Options};

/// A ClusterRole, a Role, or whatever else lies in the file.
#[derive(Deserialize)]
struct Object {
    kind: Option<String>,
    rules: Option<Vec<PolicyRule>>,
}

/// What is lacking; nothing where nobody asked.
pub(super) async fn lacking(args: &Lint, set: &PolicySet) -> Result<Vec<Finding>, Trouble> {
    if let Some(file) = &args.role {
        let rules = rules(file)?;
        return Ok(rights::lacking(set, &file.display().to_string(), |right| rules.iter().any(|it| grants(it, right))));
    }
    let Some(kubeconfig) = &args.kubeconfig else { return Ok(Vec::new()) };
    let options = Options { kubeconfig: Some(kubeconfig.clone()), context: args.context.clone(), ..Options::default() };
    let cluster = KubeCluster::connect(options).await.map_err(|error| Trouble::Unusable(error.to_string()))?;
    let all: BTreeSet<Right> = set.policies().iter().flat_map(rights::needed).collect();
    let mut granted = BTreeSet::new();
    for right in all {
        let refused =
            |error: PortError| Trouble::Unreachable { address: cluster.url().to_owned(), detail: error.to_string() };
        if cluster.may(&right).await.map_err(refused)? {
            granted.insert(right);
        }
    }
    let by = kubeconfig.display().to_string();
    Ok(rights::lacking(set, &by, |right| granted.contains(right)))
}

/// The rules of every role in a file.
fn rules(file: &Path) -> Result<Vec<PolicyRule>, Trouble> {
    let unusable = |why: String| Trouble::Unusable(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
    let objects: Vec<Object> = serde_saphyr::from_multiple(&text).map_err(|error| unusable(error.to_string()))?;
    let is_role = |it: &Object| matches!(it.kind.as_deref(), Some("ClusterRole" | "Role"));
    let rules: Vec<PolicyRule> = objects.into_iter().filter(is_role).filter_map(|it| it.rules).flatten().collect();
    if rules.is_empty() {
        Err(unusable("there is no ClusterRole and no Role with rules in it".to_owned()))
    } else {
        Ok(rules)
    }
}

/// As the API server's authorizer reads a rule. One that names objects grants nothing about all of them.
fn grants(rule: &PolicyRule, right: &Right) -> bool {
    let has = |list: &[String], word: &str| list.iter().any(|it| it == "*" || it == word);
    let subresource = right.resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    let resources = rule.resources.as_deref().unwrap_or_default();
    let resource = has(resources, right.resource) || subresource.is_some_and(|any| resources.contains(&any));
    let named = rule.resource_names.as_ref().is_some_and(|it| !it.is_empty());
    resource
        && !named
        && has(rule.api_groups.as_deref().unwrap_or_default(), right.group)
        && has(&rule.verbs, right.verb)
}

#[cfg(test)]
mod tests {
    use flyball_core::policy::load;

    use super::*;

    const RBAC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/rbac.yaml");

    /// An enforcing policy for each action and kind.
    fn everything() -> PolicySet {
        let scaled = ["{scale: {by: 1}}", "{patch: {merge: {spec: {minReadySeconds: 5}}}}"];
        let all = ["{restart: {}}", "{rollback: {}}", "{deletePod: {}}"];
        let pairs = ["Deployment", "StatefulSet"].into_iter().flat_map(|kind| scaled.map(|action| (kind, action)));
        let pairs = pairs
            .chain(["Deployment", "StatefulSet", "DaemonSet"].into_iter().flat_map(|kind| all.map(|it| (kind, it))));
        let document = |(number, (kind, action))| {
            format!(
                "apiVersion: flyball.dev/v1alpha1\nkind: RemediationPolicy\nmetadata: {{name: p-{number}}}\nspec: \
                 {{mode: enforce, match: {{signal: rca}}, target: {{kind: {kind}}}, action: {action}}}\n"
            )
        };
        let text = pairs.enumerate().map(document).collect::<Vec<_>>().join("---\n");
        load(&[("p.yaml".to_owned(), text)]).unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[test]
    fn all_that_policies_need_is_all_that_the_manifest_grants() {
        let needed: BTreeSet<String> =
            everything().policies().iter().flat_map(rights::needed).map(|it| it.to_string()).collect();
        let words = |list: Option<Vec<String>>| list.unwrap_or_default();
        let granted: BTreeSet<String> = rules(Path::new(RBAC))
            .unwrap()
            .into_iter()
            .flat_map(|PolicyRule { api_groups, resources, verbs, .. }| {
                let (groups, resources) = (words(api_groups), words(resources));
                let named = move |verb: String| {
                    let dot = if groups.concat().is_empty() { "" } else { "." };
                    let named = |it: &String| format!("{verb} {it}{dot}{}", groups.concat());
                    resources.iter().map(named).collect::<Vec<_>>()
                };
                verbs.into_iter().flat_map(named).collect::<Vec<_>>()
            })
            // The high-water mark is the engine's own, whatever the policies.
            .filter(|it| !it.ends_with("configmaps"))
            .collect();
        assert_eq!(needed, granted);
    }

    #[test]
    fn a_rule_grants_what_the_authorizer_would_grant() {
        let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| {
            let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
            let (api_groups, resources) = (Some(words(groups)), Some(words(resources)));
            PolicyRule { api_groups, resources, verbs: words(verbs), ..PolicyRule::default() }
        };
        let evict = Right { group: "", resource: "pods/eviction", verb: "create" };
        for (granted, rule) in [
            (true, rule(&[""], &["pods/eviction"], &["create"])),
            (true, rule(&["*"], &["*"], &["*"])),
            (true, rule(&[""], &["*/eviction"], &["create"])),
            (false, rule(&[""], &["pods"], &["create"])),
            (false, rule(&[""], &["pods/*"], &["create"])),
            (false, rule(&["apps"], &["pods/eviction"], &["create"])),
            (false, rule(&[""], &["pods/eviction"], &["get"])),
            (false, PolicyRule { resource_names: Some(vec!["one".to_owned()]), ..rule(&["*"], &["*"], &["*"]) }),
        ] {
            assert_eq!(grants(&rule, &evict), granted, "{rule:?}");
        }
    }
}
