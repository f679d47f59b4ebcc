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

/// The patch that takes `patch` back from what `before` has become by it. It names the same leaves and no others: what
/// somebody put next to them meanwhile stays. A map that `patch` made is emptied and not removed for the same reason.
pub fn inverse(before: &Value, patch: &Value) -> Value {
    let Value::Object(fields) = patch else { return before.clone() };
    let back = fields.iter().map(|(key, set)| {
        let old = before.get(key).unwrap_or(&Value::Null);
        let map = old.is_object() || old.is_null();
        (key.clone(), if map { inverse(old, set) } else { old.clone() })
    });
    Value::Object(back.collect())
}

/// Whether a patch only removes, or sets empty maps, which read back as absent.
fn says_nothing(patch: &Value) -> bool {
    match patch {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(says_nothing),
        _ => false,
    }
}

/// Whether `current` still has what `patch` set: applying it again would change nothing.
pub fn in_place(current: &Value, patch: &Value) -> bool {
    match patch {
        Value::Object(fields) => fields.iter().all(|(key, value)| match (current.get(key), value) {
            (None, value) => says_nothing(value),
            (Some(_), Value::Null) => false,
            (Some(current), value) => in_place(current, value),
        }),
        value => current == value,
    }
}

/// Whether `current` still says what `patch` set, as a server stores it: it adds defaults inside the items of a list, and
/// writes quantities its own way (`1024Mi` becomes `1Gi`). Looser than `in_place`: enough to watch a change, not to undo it.
pub fn holds(current: &Value, patch: &Value) -> bool {
    match patch {
        Value::Object(fields) => fields.iter().all(|(key, value)| match (current.get(key), value) {
            (None, value) => says_nothing(value),
            (Some(_), Value::Null) => false,
            (Some(current), value) if key == "limits" || key == "requests" => same_quantities(current, value),
            (Some(current), value) => holds(current, value),
        }),
        Value::Array(items) => current
            .as_array()
            .is_some_and(|list| list.len() == items.len() && list.iter().zip(items).all(|(is, set)| holds(is, set))),
        value => current == value,
    }
}

fn same_quantities(current: &Value, patch: &Value) -> bool {
    let Value::Object(fields) = patch else { return current == patch };
    fields.iter().all(|(key, set)| match (current.get(key), set) {
        (None, Value::Null) => true,
        (None, _) | (Some(_), Value::Null) => false,
        (Some(is), set) => is == set || quantity(is).is_some_and(|is| quantity(set) == Some(is)),
    })
}

/// A Kubernetes quantity in thousandths. Finer ones, and those too large to count so, are compared as they are written.
fn quantity(value: &Value) -> Option<i128> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let thousandths = match &text[digits.len()..] {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000_i128 << 40,
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let number: i128 = format!("{whole}{fraction}").parse().ok()?;
    number.checked_mul(thousandths).filter(|it| it % scale == 0).map(|it| it / scale)
}

/// The paths of the leaves that `patch` touches, as RFC 6901 writes them, list items left out.
pub fn leaves(patch: &Value) -> Vec<String> {
    fn walk(at: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    let key = key.replace('~', "~0").replace('/', "~1");
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
                prop_assert_eq!(&apply(&to, &back), &from);
                if from.is_object() && to.is_object() {
                    prop_assert_eq!(without_empty(apply(&to, &inverse(&from, &patch))), without_empty(from));
                }
            }
        }
    }

    fn without_empty(value: Value) -> Value {
        let Value::Object(fields) = value else { return value };
        let fields = fields.into_iter().map(|(key, value)| (key, without_empty(value)));
        Value::Object(fields.filter(|(_, value)| value.as_object().is_none_or(|map| !map.is_empty())).collect())
    }

    #[test]
    fn an_inverse_leaves_what_others_put_next_to_it() {
        let (before, patch) = (json!({"labels": {}}), json!({"annotations": {"ours": "1"}, "replicas": 3}));
        let back = inverse(&before, &patch);
        assert_eq!(back, json!({"annotations": {"ours": null}, "replicas": null}));
        let meanwhile = json!({"labels": {}, "annotations": {"ours": "1", "theirs": "2"}, "replicas": 3});
        assert_eq!(apply(&meanwhile, &back), json!({"labels": {}, "annotations": {"theirs": "2"}}));
    }

    #[test]
    fn an_inverse_gives_back_what_a_map_has_taken_the_place_of() {
        for (old, new) in [(json!(1), json!({"b": 2})), (json!([1]), json!({})), (json!({"b": 2}), json!(1))] {
            assert_eq!(inverse(&json!({"a": old}), &json!({"a": new})), json!({"a": old}), "{old} {new}");
        }
    }

    #[test]
    fn a_change_holds_however_the_server_stores_it() {
        let held = |current: Value, patch: Value| holds(&current, &patch);
        let probe = json!({"readinessProbe": {"httpGet": {"port": 80}}});
        let stored = json!({"readinessProbe": {"httpGet": {"port": 80, "scheme": "HTTP"}, "periodSeconds": 10}});
        assert!(!held(json!({"containers": [stored, {}]}), json!({"containers": [probe]})), "another container");
        assert!(!held(json!({"containers": [{}]}), json!({"containers": [probe]})));
        assert!(held(json!({"containers": [stored]}), json!({"containers": [probe]})));
        let memory = |text: &str| json!({"resources": {"limits": {"memory": text, "cpu": "1"}}});
        for (stored, sent, same) in [
            ("1Gi", "1024Mi", true),
            ("1500M", "1.5G", true),
            ("1Gi", "1G", false),
            ("2Gi", "1024Mi", false),
            ("1", "1000m", true),
            ("2k", "2000", true),
            ("2M", "2000k", true),
            ("2G", "2000M", true),
            ("2T", "2000G", true),
            ("2Ki", "2048", true),
            ("2Mi", "2048Ki", true),
            ("2Gi", "2048Mi", true),
            ("2Ti", "2048Gi", true),
            ("1Ti", "1T", false),
            // Finer than a thousandth: as it is written.
            ("1.5m", "1.5m", true),
            ("1.5m", "1.50m", false),
            ("x", "y", false),
        ] {
            assert_eq!(held(memory(stored), memory(sent)), same, "{stored} {sent}");
        }
        assert!(!held(json!({"image": "1.0"}), json!({"image": "1"})), "only quantities are numbers");
        let requests = |memory: &str| json!({"requests": {"memory": memory}});
        assert!(held(requests("1Gi"), requests("1024Mi")));
        assert!(!held(requests("1Gi"), json!({"requests": {"memory": null}})));
        assert!(!held(json!({"requests": {}}), requests("1Gi")));
        assert!(held(json!({"requests": {}}), json!({"requests": {"memory": null}})));
        assert!(!held(requests("1Gi"), json!({"requests": "none"})));
        assert!(held(json!({"requests": "none"}), json!({"requests": "none"})));
    }

    #[test]
    fn what_reads_back_as_absent_is_in_place() {
        let patch = |value: Value| json!({"spec": {"field": value}});
        for nothing in [json!(null), json!({}), json!({"a": null, "b": {"c": {}}})] {
            assert!(in_place(&json!({"spec": {}}), &patch(nothing.clone())), "{nothing}");
            assert!(holds(&json!({}), &patch(nothing.clone())), "{nothing}");
        }
        for something in [json!(false), json!([]), json!({"a": null, "b": 1})] {
            assert!(!in_place(&json!({"spec": {}}), &patch(something.clone())), "{something}");
            assert!(!holds(&json!({}), &patch(something.clone())), "{something}");
        }
        let there = json!({"spec": {"field": 1}});
        assert!(!in_place(&there, &patch(json!(null))) && !holds(&there, &patch(json!(null))));
    }

    #[test]
    fn of_two_patches_the_later_one_wins_where_they_meet() {
        for (one, other, joined) in [
            (json!({"a": 1}), json!({"a": 2}), json!({"a": 2})),
            (json!({"a": {"b": 1}}), json!({"a": 2}), json!({"a": 2})),
            (json!({"a": 1}), json!({"a": {"b": 2}}), json!({"a": {"b": 2}})),
            (
                json!({"a": {"b": 1, "c": 1}}),
                json!({"a": {"c": null}, "d": 3}),
                json!({"a": {"b": 1, "c": null}, "d": 3}),
            ),
        ] {
            assert_eq!(join(one, &other), joined);
        }
    }

    #[test]
    fn leaves_name_the_fields() {
        let patch = json!({"spec": {"replicas": 3, "template": {"metadata": {"annotations": {"a/b": null}}}}});
        assert_eq!(leaves(&patch), ["/spec/replicas", "/spec/template/metadata/annotations/a~1b"]);
        assert_eq!(leaves(&json!({"a": {}, "b": [{"c": 1}]})), ["/a", "/b"]);
    }
}
