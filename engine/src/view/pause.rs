//! Pauses as people ask for them and see them.

use flyball_core::record::{self, PauseScope};
use flyball_core::workload::Workload;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time;

/// The longest reason and the longest name that are kept, in characters: both travel in every denial.
const LONGEST: (usize, usize) = (500, 100);
/// A pause for longer than this is one without an end, and should say so.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(24 * 30);

/// What a pause stops: exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// One namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// One workload: `namespace/Kind/name`, or `namespace/name` for a Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("shop/Deployment/cart"))]
    pub target: Option<String>,
}

/// A pause that somebody asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPause {
    /// What it stops.
    pub scope: Scope,
    /// Why: everybody who is denied reads it.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: String,
    /// For how long; without it until it is released.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("2h"))]
    pub lasting: Option<String>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub by: Option<String>,
}

/// A pause in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pause {
    /// Its id: what `flyball resume` takes.
    pub id: String,
    /// What it stops.
    pub scope: Scope,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; none until it is released.
    pub until: Option<Timestamp>,
    /// Signals that it has suppressed so far.
    pub suppressed: u64,
}

/// Pauses, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pauses {
    /// The pauses.
    pub pauses: Vec<Pause>,
}

/// A field that cannot be used, and why.
pub type Wrong = (&'static str, String);

/// What was asked for, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What it stops.
    pub scope: PauseScope,
    /// Why.
    pub reason: String,
    /// For how long.
    pub lasting: Option<SignedDuration>,
    /// Who.
    pub by: String,
}

impl NewPause {
    /// Checks what was asked for.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn check(&self) -> Result<Asked, Wrong> {
        let reason = line("reason", &self.reason, LONGEST.0)?;
        if reason.is_empty() {
            return Err(("reason", "say why: everybody who is denied reads it".to_owned()));
        }
        let lasting = self.lasting.as_deref().map(time::duration).transpose().map_err(|it| ("for", it))?;
        if lasting.is_some_and(|it| it > LONGEST_PAUSE) {
            return Err(("for", "at most 30d; leave it out to pause until it is released".to_owned()));
        }
        Ok(Asked { scope: self.scope.check()?, reason, lasting, by: name(self.by.as_deref())? })
    }
}

/// Who asks, checked.
///
/// # Errors
/// The name cannot be used.
pub fn name(by: Option<&str>) -> Result<String, Wrong> {
    let by = line("by", by.unwrap_or_default(), LONGEST.1)?;
    Ok(if by.is_empty() { "somebody over the API".to_owned() } else { by })
}

/// A text of one line: it is shown in tables, logs and annotations.
pub(super) fn line(field: &'static str, text: &str, longest: usize) -> Result<String, Wrong> {
    let text = text.trim();
    if text.chars().count() > longest {
        return Err((field, format!("is longer than {longest} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err((field, "has a line break or another control character".to_owned()));
    }
    Ok(text.to_owned())
}

impl Scope {
    /// Checks that it is one scope, and one that exists.
    ///
    /// # Errors
    /// The field that cannot be used.
    pub fn check(&self) -> Result<PauseScope, Wrong> {
        match (self.all, self.namespace.as_deref(), self.target.as_deref()) {
            (Some(true), None, None) => Ok(PauseScope::All),
            (None, Some(name), None) if flyball_signals::names::is_label(name) => {
                Ok(PauseScope::Namespace(name.into()))
            }
            (None, Some(name), None) => Err(("scope.namespace", format!("`{name}` is no name of a namespace"))),
            (None, None, Some(target)) => match target.parse::<Workload>() {
                Ok(target) => Ok(PauseScope::Target(target)),
                Err(error) => Err(("scope.target", error.to_string())),
            },
            _ => Err(("scope", "say one of {\"all\": true}, {\"namespace\": …} and {\"target\": …}".to_owned())),
        }
    }

    /// A scope in one word, as a query takes it: `all`, `namespace:shop`, `target:shop/Deployment/cart`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<PauseScope, Wrong> {
        let scope = match text.split_once(':') {
            None if text == "all" => Self { all: Some(true), ..Self::default() },
            Some(("namespace", name)) => Self { namespace: Some(name.to_owned()), ..Self::default() },
            Some(("target", target)) => Self { target: Some(target.to_owned()), ..Self::default() },
            _ => return Err(("scope", "write all, namespace:NAME or target:NAMESPACE/KIND/NAME".to_owned())),
        };
        scope.check().map_err(|(_, why)| ("scope", why))
    }

    /// The one word that `parse` reads.
    pub fn word(&self) -> String {
        match (&self.namespace, &self.target) {
            (Some(name), _) => format!("namespace:{name}"),
            (None, Some(target)) => format!("target:{target}"),
            (None, None) => "all".to_owned(),
        }
    }
}

impl From<&PauseScope> for Scope {
    fn from(scope: &PauseScope) -> Self {
        match scope {
            PauseScope::All => Self { all: Some(true), ..Self::default() },
            PauseScope::Namespace(name) => Self { namespace: Some(name.to_string()), ..Self::default() },
            PauseScope::Target(target) => Self { target: Some(target.to_string()), ..Self::default() },
        }
    }
}

impl Pause {
    /// A pause as the journal keeps it.
    pub(crate) fn of((since, pause, suppressed): &(Timestamp, record::Pause, u64)) -> Self {
        Self {
            id: pause.id.to_string(),
            scope: Scope::from(&pause.scope),
            reason: pause.reason.clone(),
            by: pause.by.clone(),
            since: *since,
            until: pause.until,
            suppressed: *suppressed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_one_of_three() {
        let check = |json: &str| serde_json::from_str::<Scope>(json).unwrap().check();
        assert_eq!(check(r#"{"all": true}"#), Ok(PauseScope::All));
        assert_eq!(check(r#"{"namespace": "shop"}"#), Ok(PauseScope::Namespace("shop".into())));
        assert_eq!(check(r#"{"target": "shop/cart"}"#).unwrap().to_string(), "shop/Deployment/cart");
        for (json, field) in [
            ("{}", "scope"),
            (r#"{"all": false}"#, "scope"),
            (r#"{"all": true, "namespace": "shop"}"#, "scope"),
            (r#"{"namespace": "Shop"}"#, "scope.namespace"),
            (r#"{"target": "cart"}"#, "scope.target"),
        ] {
            assert_eq!(check(json).unwrap_err().0, field, "{json}");
        }
    }

    #[test]
    fn a_scope_reads_as_it_is_written() {
        for text in ["all", "namespace:shop", "target:shop/StatefulSet/db"] {
            assert_eq!(Scope::from(&Scope::parse(text).unwrap()).word(), text);
        }
        for bad in ["", "shop", "namespace:", "target:cart", "pod:x"] {
            assert_eq!(Scope::parse(bad).unwrap_err().0, "scope", "{bad}");
        }
    }
}
