//! What a policy may patch, checked at load, before any target is known.

use serde_json::Value;

use crate::action::PatchForm;
use crate::plan::allowed;

/// Checks every field that the patch touches against the allow list.
///
/// # Errors
/// The first field that is not allowed, or what is malformed.
pub(super) fn check(form: PatchForm, body: &Value) -> Result<(), String> {
    let paths = match form {
        PatchForm::Json => operations(body)?,
        PatchForm::Merge | PatchForm::Strategic => {
            if !body.is_object() {
                return Err("the patch is no mapping".into());
            }
            fields(form, "", body)
        }
    };
    if paths.is_empty() {
        return Err("the patch changes nothing".into());
    }
    paths.iter().find(|path| !allowed(path)).map_or(Ok(()), |path| Err(format!("a policy may not patch `{path}`")))
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
    parts.collect::<Vec<_>>().join("/").replace("~1", "/").replace("~0", "~")
}

fn fields(form: PatchForm, at: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) if !map.is_empty() => map
            .iter()
            .filter(|(key, _)| !(form == PatchForm::Strategic && at.ends_with("/*") && key.as_str() == "name"))
            .flat_map(|(key, value)| fields(form, &format!("{at}/{key}"), value))
            .collect(),
        // Strategic lists of containers merge by name, so what counts is what they say of each container.
        Value::Array(items) if form == PatchForm::Strategic && at.ends_with("ontainers") => {
            items.iter().flat_map(|item| fields(form, &format!("{at}/*"), item)).collect()
        }
        _ => vec![at.to_owned()],
    }
}
