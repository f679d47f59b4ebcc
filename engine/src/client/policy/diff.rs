//! `flyball policy diff`: what differs between two sets, field by field. Files may have moved: policies are compared by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use flyball_core::history::History;
use serde::Serialize;

use super::{Answer, Trouble, load};
use crate::cli::policy::Diff;
use crate::view::policy::{Policies, Policy};

/// What differs.
#[derive(Serialize)]
struct Differs {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<Changed>,
    /// The guardrails of the set.
    guardrails: bool,
}

/// One policy, changed.
#[derive(Serialize)]
struct Changed {
    policy: String,
    fields: Vec<Field>,
}

#[derive(Serialize)]
struct Field {
    field: &'static str,
    before: String,
    after: String,
}

pub(super) fn run(args: &Diff) -> Result<Answer, Trouble> {
    let (before, after) = (load(&args.before)?, load(&args.after)?);
    let named = |set| -> BTreeMap<String, Policy> {
        Policies::of(set, None, &History::default()).policies.into_iter().map(|it| (it.name.clone(), it)).collect()
    };
    let (old, new) = (named(&before), named(&after));
    let every: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let plain = |rules: &flyball_core::limits::Guardrails| {
        // The expressions belong to the policies, where they are compared.
        flyball_core::limits::Guardrails { conditions: BTreeMap::new(), ..rules.clone() }
    };
    let mut differs = Differs {
        added: Vec::new(),
        removed: Vec::new(),
        changed: Vec::new(),
        guardrails: plain(&before.guardrails) != plain(&after.guardrails),
    };
    for name in every {
        match (old.get(name), new.get(name)) {
            (None, Some(_)) => differs.added.push(name.clone()),
            (Some(_), None) => differs.removed.push(name.clone()),
            (Some(old), Some(new)) => differs.changed.extend(changed(old, new)),
            (None, None) => {}
        }
    }
    let same =
        differs.added.is_empty() && differs.removed.is_empty() && differs.changed.is_empty() && !differs.guardrails;
    let aside = if same { "no difference\n" } else { "" };
    Ok(Answer { negative: !same, ..Answer::of(&differs, args.output, told).beside(aside) })
}

fn changed(old: &Policy, new: &Policy) -> Option<Changed> {
    let fields: Vec<Field> = old
        .fields()
        .into_iter()
        .zip(new.fields())
        .filter(|((field, before), (_, after))| before != after && *field != "source")
        .map(|((field, before), (_, after))| Field { field, before, after })
        .collect();
    (!fields.is_empty()).then(|| Changed { policy: new.name.clone(), fields })
}

fn told(it: &Differs) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    for name in &it.added {
        let _ = writeln!(text, "+ {name}");
    }
    for name in &it.removed {
        let _ = writeln!(text, "- {name}");
    }
    for changed in &it.changed {
        let _ = writeln!(text, "~ {}", changed.policy);
        for Field { field, before, after } in &changed.fields {
            let _ = writeln!(text, "    {field}: {before} -> {after}");
        }
    }
    if it.guardrails {
        text.push_str("~ the guardrails of the set\n");
    }
    text
}
