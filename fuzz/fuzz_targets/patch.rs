//! A JSON value as a patch, in each of the three forms: as a policy's, past the loader, and as a direct call's, which no loader has seen.

#![no_main]

use flyball_core::action::{Action, Patch, PatchForm};
use flyball_core::facts::STAMP_INTENT;
use flyball_core::merge;
use flyball_core::plan::{ALLOWED, Edit, RESTARTED_AT, plan};
use flyball_core::policy::load;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

const FORMS: [(&str, PatchForm); 3] =
    [("strategic", PatchForm::Strategic), ("merge", PatchForm::Merge), ("json", PatchForm::Json)];

fuzz_target!(|text: &str| {
    let Ok(body) = serde_json::from_str::<Value>(text) else { return };
    for (name, form) in FORMS {
        check(&Action::Patch(Patch { form, body: body.clone() }));
        if let Ok(set) = load(&[("p.yaml".to_owned(), policy(name, &body))]) {
            set.policies().iter().for_each(|it| check(&it.action));
        }
    }
});

fn policy(form: &str, body: &Value) -> String {
    format!(
        "apiVersion: flyball.dev/v1alpha1\nkind: RemediationPolicy\nmetadata: {{name: p}}\nspec:\n  mode: enforce\n  \
         match: {{signal: anomaly}}\n  action: {{patch: {{{form}: {body}}}}}\n"
    )
}

/// Whatever is planned changes what a policy may patch and nothing else, and its inverse takes it back.
fn check(action: &Action) {
    let seen = flyball_fuzz::snapshot();
    let Ok(change) = plan(action, &seen, flyball_fuzz::now()) else { return };
    let Edit::Fields { apply, revert: Some(revert), .. } = &change.edit else { panic!("a patch is {change:?}") };
    let before = json!({"metadata": {"annotations": seen.annotations}, "spec": seen.spec});
    let after = merge::apply(&before, apply);
    assert_eq!(untouchable("", &before), untouchable("", &after), "{apply}");
    assert_eq!(without_empty(&before), without_empty(&merge::apply(&after, revert)), "{apply} and back {revert}");
}

/// What is left of an object without all that a policy may patch. Maps that nothing is left of go with it.
fn untouchable(path: &str, value: &Value) -> Option<Value> {
    let annotations = path.ends_with("/metadata/annotations");
    let below = |above: &str| path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let ours = [STAMP_INTENT, RESTARTED_AT].iter().any(|it| path.ends_with(&escaped(it)));
    let free = ALLOWED.iter().any(|rule| rule.strip_suffix("/**").map_or(*rule == path, below));
    match value {
        _ if free && !ours && !annotations => None,
        Value::Object(fields) => {
            let left = fields.iter().map(|(key, it)| (key, untouchable(&format!("{path}/{}", escaped(key)), it)));
            let left: Map<_, _> = left.filter_map(|(key, it)| Some((key.clone(), it?))).collect();
            (!left.is_empty()).then_some(Value::Object(left))
        }
        Value::Array(items) => {
            Some(items.iter().map(|it| untouchable(&format!("{path}/*"), it).unwrap_or_default()).collect())
        }
        other => Some(other.clone()),
    }
}

/// A key that holds a slash is one step of a path and not two.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// A map that a patch has made is emptied by its inverse and not removed.
fn without_empty(value: &Value) -> Value {
    let Value::Object(fields) = value else { return value.clone() };
    let fields = fields.iter().map(|(key, value)| (key.clone(), without_empty(value)));
    Value::Object(fields.filter(|(_, value)| value.as_object().is_none_or(|map| !map.is_empty())).collect())
}
