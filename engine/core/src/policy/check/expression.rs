//! What expressions say, and where in the file they are wrong.

use std::collections::BTreeSet;

use serde_saphyr::Spanned;

use super::Checks;
use crate::expr::{About, Expression, Wrong};
use crate::policy::CustomGuard;
use crate::policy::raw::RawCustomGuard;
use crate::policy::source::Source;

/// Guards of one policy: each is evaluated for every request.
const MAX_GUARDS: usize = 16;

impl Checks<'_> {
    pub(super) fn expression(&mut self, raw: &Spanned<String>, about: About, source: &Source) -> Option<Expression> {
        match Expression::read(&raw.value, about) {
            Ok(expression) => Some(expression),
            Err(Wrong { message, hint, at }) => {
                let before = raw.value.get(..at.start).map_or(0, |it| it.chars().count());
                let fault = source.fault_within(raw.referenced, &raw.value, before, message, Some(hint));
                self.faults.push(fault);
                None
            }
        }
    }

    pub(super) fn custom(&mut self, raw: Vec<RawCustomGuard>, about: About, source: &Source) -> Vec<CustomGuard> {
        let mut names = BTreeSet::new();
        let mut guards = Vec::new();
        for guard in raw {
            let RawCustomGuard { name, deny, message } = guard;
            if guards.len() == MAX_GUARDS {
                let hint = Some("join some of them with `||`");
                self.fault(source, &name, format!("a policy has at most {MAX_GUARDS} guards of its own"), hint);
                break;
            }
            if name.value.trim().is_empty() || !names.insert(name.value.clone()) {
                let hint = Some("a denial is told under this name: one name, one guard");
                self.fault(source, &name, format!("`{}` is no name for a guard, or is used twice", name.value), hint);
            }
            if let Some(deny) = self.expression(&deny, about, source) {
                let message = message.unwrap_or_else(|| format!("`{}` holds", deny.text()));
                guards.push(CustomGuard { name: name.value.into(), deny, message: message.into() });
            }
        }
        guards
    }
}
