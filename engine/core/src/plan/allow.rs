//! What a patch may touch. Asked when a policy is loaded, before any target is known, and again for every patch that is
//! planned, since a direct call brings one that no loader has seen.

use serde_json::Value;

use super::RESTARTED_AT;
use crate::action::{Patch, PatchForm};

/// What a policy's patch may touch; `*` stands for one list item, a trailing `/**` for everything below.
pub const ALLOWED: [&str; 18] = [
    "/metadata/annotations/**",
    "/spec/minReadySeconds",
    "/spec/progressDeadlineSeconds",
    "/spec/strategy/rollingUpdate/**",
    "/spec/updateStrategy/rollingUpdate/**",
    "/spec/template/metadata/annotations/**",
    "/spec/template/spec/terminationGracePeriodSeconds",
    "/spec/template/spec/priorityClassName",
    "/spec/template/spec/nodeSelector/**",
    "/spec/template/spec/tolerations/**",
    "/spec/template/spec/topologySpreadConstraints/**",
    "/spec/template/spec/affinity/**",
    "/spec/template/spec/containers/*/image",
    "/spec/template/spec/containers/*/env/**",
    "/spec/template/spec/containers/*/resources/**",
    "/spec/template/spec/containers/*/readinessProbe/**",
    "/spec/template/spec/containers/*/livenessProbe/**",
    "/spec/template/spec/containers/*/startupProbe/**",
];

/// The one list that travels whole: what is said of each of its items is checked one by one.
pub(super) const CONTAINERS: &str = "/spec/template/spec/containers";

/// Whether a policy's patch may touch `path`. Our own annotations it may not, and so not all annotations at once.
pub(super) fn allowed(path: &str) -> bool {
    let ours = path.contains("/annotations/flyball.dev~1") || path.ends_with(&part(RESTARTED_AT));
    !ours
        && !path.ends_with("/metadata/annotations")
        && ALLOWED.iter().any(|rule| match rule.strip_suffix("/**") {
            Some(above) => path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            None => *rule == path,
        })
}

/// Checks every field that the patch names against the allow list.
///
/// # Errors
/// The first field that is not allowed, or what is malformed.
pub(crate) fn permitted(patch: &Patch) -> Result<(), String> {
    let Patch { form, body } = patch;
    let paths = match form {
        PatchForm::Json => operations(body)?,
        PatchForm::Merge | PatchForm::Strategic => {
            if !body.is_object() {
                return Err("the patch is no mapping".into());
            }
            if let Some(directive) = directive(body).filter(|_| *form == PatchForm::Strategic) {
                return Err(format!("the directive `{directive}` is not supported"));
            }
            fields(*form, "", body)
        }
    };
    if paths.is_empty() {
        return Err("the patch changes nothing".into());
    }
    let refused = |path: &String| format!("a policy may not patch `{}`", shown(path));
    paths.iter().find(|path| !allowed(path)).map_or(Ok(()), |path| Err(refused(path)))
}

/// A path as people write it.
pub(super) fn shown(path: &str) -> String {
    path.replace("~1", "/").replace("~0", "~")
}

/// A key as a part of a path, as RFC 6901 writes it: one with a slash is not two.
pub(super) fn part(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn operations(body: &Value) -> Result<Vec<String>, String> {
    let list = body.as_array().ok_or("a JSON patch is a list of operations")?;
    let mut paths = Vec::new();
    for operation in list {
        let field = |name: &str| operation.get(name).and_then(Value::as_str);
        let path = field("path").ok_or("an operation has no `path`")?;
        match field("op") {
            Some("add" | "replace" | "remove") => paths.push(generalise(path)),
            Some("test") => {}
            other => {
                return Err(format!("operation `{}` is none of add, replace, remove, test", other.unwrap_or_default()));
            }
        }
        if path.ends_with("/-") {
            return Err(format!("`{path}` appends: doing it twice would add two"));
        }
    }
    Ok(paths)
}

/// List indices become `*`, as the allow list writes them.
fn generalise(path: &str) -> String {
    let parts = path
        .split('/')
        .map(|part| if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) { "*" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// The first `$patch` or the like. Here they would be sent as if they were fields.
fn directive(body: &Value) -> Option<&str> {
    match body {
        Value::Object(map) => {
            map.iter().find_map(|(key, value)| if key.starts_with('$') { Some(key.as_str()) } else { directive(value) })
        }
        Value::Array(items) => items.iter().find_map(directive),
        _ => None,
    }
}

fn fields(form: PatchForm, at: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) if !map.is_empty() => map
            .iter()
            .filter(|(key, _)| !(form == PatchForm::Strategic && at.ends_with("/*") && key.as_str() == "name"))
            .flat_map(|(key, value)| fields(form, &format!("{at}/{}", part(key)), value))
            .collect(),
        // The strategic list of containers merges by name, so what counts is what it says of each container.
        Value::Array(items) if form == PatchForm::Strategic && at == CONTAINERS && !items.is_empty() => {
            items.iter().flat_map(|item| fields(form, &format!("{at}/*"), item)).collect()
        }
        _ => vec![at.to_owned()],
    }
}
