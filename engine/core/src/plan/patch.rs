//! A policy's patch, applied here to what was read: what is sent is the difference, in absolute values.

use serde_json::{Map, Value, json};

use super::Edit;
use super::allow::{CONTAINERS, allowed, permitted, shown};
use crate::action::{Patch, PatchForm};
use crate::deny::DenyReason;
use crate::facts::Snapshot;
use crate::merge;

pub(super) fn patched(patch: &Patch, seen: &Snapshot) -> Result<Edit, DenyReason> {
    permitted(patch).map_err(|what| DenyReason::ActionNotAllowed { what })?;
    let before = json!({"metadata": {"annotations": seen.annotations}, "spec": seen.spec});
    let after = match patch.form {
        PatchForm::Merge => merge::apply(&before, &patch.body),
        PatchForm::Strategic => strategic(&before, &patch.body)?,
        PatchForm::Json => operations(&before, &patch.body)?,
    };
    let nothing = || DenyReason::NothingToDo { what: "the fields have these values already".into() };
    let apply = merge::diff(&before, &after).ok_or_else(nothing)?;
    let revert = Some(merge::inverse(&before, &apply));
    // Lists of containers travel whole; what the patch says of each of them is checked above.
    let fields = merge::leaves(&apply);
    if let Some(path) = fields.iter().find(|path| !allowed(path) && *path != CONTAINERS) {
        return Err(DenyReason::ActionNotAllowed { what: format!("patching {}", shown(path)) });
    }
    let names: Vec<String> = fields.iter().map(|path| shown(path.trim_start_matches("/spec/template/spec/"))).collect();
    Ok(Edit::Fields { summary: format!("patch {}", names.join(", ")), apply, revert })
}

/// Strategic merge, as far as the allow list reaches: containers and env merge by name, other lists are replaced.
fn strategic(base: &Value, patch: &Value) -> Result<Value, DenyReason> {
    let Value::Object(fields) = patch else { return Ok(patch.clone()) };
    let mut result = base.as_object().cloned().unwrap_or_default();
    for (key, value) in fields {
        let old = result.get(key).cloned().unwrap_or(Value::Null);
        let new = match (key.as_str(), value) {
            (_, Value::Null) => {
                result.remove(key);
                continue;
            }
            ("containers", Value::Array(items)) => by_name(&old, items, false)?,
            ("env", Value::Array(items)) => by_name(&old, items, true)?,
            _ => strategic(&old, value)?,
        };
        result.insert(key.clone(), new);
    }
    Ok(Value::Object(result))
}

fn by_name(old: &Value, items: &[Value], may_add: bool) -> Result<Value, DenyReason> {
    let mut list = old.as_array().cloned().unwrap_or_default();
    for item in items {
        let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
        match list.iter_mut().find(|it| it.get("name").and_then(Value::as_str) == Some(name)) {
            Some(found) => *found = strategic(found, item)?,
            None if may_add => list.push(item.clone()),
            None => return Err(DenyReason::TargetNotFound { what: format!("container `{name}`") }),
        }
    }
    Ok(Value::Array(list))
}

fn operations(base: &Value, patch: &Value) -> Result<Value, DenyReason> {
    let mut result = base.clone();
    for operation in patch.as_array().into_iter().flatten() {
        let text = |name: &str| operation.get(name).and_then(Value::as_str).unwrap_or_default();
        let (at, value) = (text("path"), operation.get("value").cloned().unwrap_or(Value::Null));
        let missing = || DenyReason::TargetNotFound { what: format!("field {at}") };
        if text("op") == "test" {
            if result.pointer(at) != Some(&value) {
                return Err(DenyReason::TargetChanged { what: format!("{at} is not what the patch expects") });
            }
            continue;
        }
        let (parent, key) = at.rsplit_once('/').ok_or_else(missing)?;
        let key = key.replace("~1", "/").replace("~0", "~");
        match (result.pointer_mut(parent), text("op")) {
            (Some(Value::Object(map)), "remove") => remove(map, &key).ok_or_else(missing)?,
            (Some(Value::Object(map)), _) => {
                map.insert(key, value);
            }
            (Some(Value::Array(list)), "replace") => {
                let slot = key.parse::<usize>().ok().and_then(|index| list.get_mut(index)).ok_or_else(missing)?;
                *slot = value;
            }
            _ => return Err(missing()),
        }
    }
    Ok(result)
}

fn remove(map: &mut Map<String, Value>, key: &str) -> Option<()> {
    map.remove(key).map(|_| ())
}
