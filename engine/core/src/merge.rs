//! JSON merge patches (RFC 7386): apply, compute, and ask whether one is still in place. Every effect on a workload is
//! one of these, with absolute values.

use serde_json::{Map, Value};

/// `base` with `patch` applied.
pub fn apply(base: &Value, patch: &Value) -> Value {
    let Value::Object(fields) = patch else { return patch.clone() };
    let mut result = match base {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    for (key, value) in fields {
        if value.is_null() {
            result.remove(key);
        } else {
            let old = result.get(key).cloned().unwrap_or(Value::Null);
            result.insert(key.clone(), apply(&old, value));
        }
    }
    Value::Object(result)
}

/// Two patches as one; unlike `apply` it keeps the nulls, which a patch needs to remove fields.
pub fn join(mut one: Value, other: &Value) -> Value {
    if let (Some(fields), Some(more)) = (one.as_object_mut(), other.as_object()) {
        for (key, value) in more {
            let joined = match fields.remove(key) {
                Some(old) if old.is_object() && value.is_object() => join(old, value),
                _ => value.clone(),
            };
            fields.insert(key.clone(), joined);
        }
    }
    one
}

/// The patch that makes `to` of `from`; `None` if they are equal. Lists are replaced whole.
pub fn diff(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(before) => {
                if let Some(change) = diff(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Whether `current` still has what `patch` set: applying it again would change nothing.
pub fn in_place(current: &Value, patch: &Value) -> bool {
    match patch {
        Value::Object(fields) => fields.iter().all(|(key, value)| match (current.get(key), value) {
            (None, Value::Null) => true,
            // An empty map that was set reads back as absent.
            (None, Value::Object(map)) => map.values().all(Value::is_null),
            (None, _) | (Some(_), Value::Null) => false,
            (Some(current), value) => in_place(current, value),
        }),
        value => current == value,
    }
}

/// The paths of the leaves that `patch` touches, `/`-separated, list items left out.
pub fn leaves(patch: &Value) -> Vec<String> {
    fn walk(at: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    walk(&format!("{at}/{key}"), value, found);
                }
            }
            _ => found.push(at.to_owned()),
        }
    }
    let mut found = Vec::new();
    walk("", patch, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0..9i64).prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 1..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_diff_leads_there_and_its_inverse_back(from in tree(), to in tree()) {
            let there = diff(&from, &to);
            prop_assert_eq!(there.is_none(), from == to);
            if let Some(patch) = there {
                let after = apply(&from, &patch);
                prop_assert_eq!(&after, &to);
                prop_assert!(in_place(&to, &patch));
                prop_assert!(!in_place(&from, &patch));
                let back = diff(&to, &from).expect("they differ");
                prop_assert_eq!(apply(&to, &back), from);
            }
        }
    }

    #[test]
    fn leaves_name_the_fields() {
        let patch = json!({"spec": {"replicas": 3, "template": {"metadata": {"annotations": {"a/b": null}}}}});
        assert_eq!(leaves(&patch), ["/spec/replicas", "/spec/template/metadata/annotations/a/b"]);
    }
}
