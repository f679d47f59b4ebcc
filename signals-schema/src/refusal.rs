//! Why a message was not read as a signal. Every refusal is kept as a dead letter and counted under its reason.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest field path and the longest detail of a refusal, in characters: both may quote what a publisher sent.
const MAX_FIELD: usize = 160;
const MAX_DETAIL: usize = 240;

/// Why a message was refused: a closed list, so that it can be a metric's label and a subject's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// The body is not JSON (RFC 8259). `NaN` and `Infinity` are not JSON.
    NotJson,
    /// The body, or a percent-encoded header, is not UTF-8.
    InvalidUtf8,
    /// The body is longer than [`MAX_BYTES`](crate::MAX_BYTES).
    TooLarge,
    /// Objects and arrays are nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).
    TooDeep,
    /// A value is not of the form the field asks for.
    WrongType,
    /// A required field is not there.
    MissingField,
    /// A field is there twice, so that two readers could read two signals.
    DuplicateField,
    /// A value is of the right form and outside of what is allowed.
    OutOfRange,
    /// The subject, the CloudEvents type or `specversion` names a version that is not read.
    UnknownVersion,
    /// Nothing says whether this is an anomaly or an rca, or something says it is neither.
    UnknownKind,
    /// Subject, path and CloudEvents type do not agree on the kind.
    KindMismatch,
    /// The subject and the body name different namespaces: who may speak for which is decided by the subject.
    NamespaceMismatch,
    /// The subject names another cluster than the one that reads it.
    ClusterMismatch,
    /// No workload is named: no `service`, and no `svc` of the top cause.
    NoTarget,
    /// A name is not one that Kubernetes allows.
    BadName,
    /// The subject begins as a signal's does and goes on as none.
    BadSubject,
}

impl RefusalReason {
    /// All reasons, in the order of declaration.
    pub const ALL: [Self; 16] = [
        Self::NotJson,
        Self::InvalidUtf8,
        Self::TooLarge,
        Self::TooDeep,
        Self::WrongType,
        Self::MissingField,
        Self::DuplicateField,
        Self::OutOfRange,
        Self::UnknownVersion,
        Self::UnknownKind,
        Self::KindMismatch,
        Self::NamespaceMismatch,
        Self::ClusterMismatch,
        Self::NoTarget,
        Self::BadName,
        Self::BadSubject,
    ];

    /// The reason as a token: kebab-case, a DNS label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not-json",
            Self::InvalidUtf8 => "invalid-utf8",
            Self::TooLarge => "too-large",
            Self::TooDeep => "too-deep",
            Self::WrongType => "wrong-type",
            Self::MissingField => "missing-field",
            Self::DuplicateField => "duplicate-field",
            Self::OutOfRange => "out-of-range",
            Self::UnknownVersion => "unknown-version",
            Self::UnknownKind => "unknown-kind",
            Self::KindMismatch => "kind-mismatch",
            Self::NamespaceMismatch => "namespace-mismatch",
            Self::ClusterMismatch => "cluster-mismatch",
            Self::NoTarget => "no-target",
            Self::BadName => "bad-name",
            Self::BadSubject => "bad-subject",
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message that is not a signal: why, where, and what to tell its publisher.
///
/// `field` and `detail` are bounded and hold no control characters, so that they can travel in a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The reason, from the closed list.
    pub reason: RefusalReason,
    /// The field at fault: a path into the body (`rankedCauses[0].probability`, `data.score` inside of a structured CloudEvent),
    /// a header in lower case (`ce-id`), or `subject`. `None` where the message as a whole is at fault.
    pub field: Option<String>,
    /// What is wrong, for people, without the field.
    pub detail: String,
}

impl Refusal {
    /// A refusal of the message as a whole.
    pub(crate) fn whole(reason: RefusalReason, detail: impl AsRef<str>) -> Self {
        Self { reason, field: None, detail: printable(detail.as_ref(), MAX_DETAIL) }
    }

    /// A refusal because of one field; an empty path means the message as a whole.
    pub(crate) fn at(reason: RefusalReason, field: impl AsRef<str>, detail: impl AsRef<str>) -> Self {
        let field = Some(printable(field.as_ref(), MAX_FIELD)).filter(|field| !field.is_empty());
        Self { field, ..Self::whole(reason, detail) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "field `{field}`: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

impl std::error::Error for Refusal {}

fn printable(text: &str, longest: usize) -> String {
    let mut clean: String = text
        .chars()
        .take(longest)
        .map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char })
        .collect();
    if text.chars().nth(longest).is_some() {
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_the_serialised_word_and_a_label() {
        for reason in RefusalReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            assert!(crate::names::is_label(reason.as_str()));
        }
    }

    #[test]
    fn what_a_publisher_sent_cannot_break_out_of_a_header() {
        let refusal = Refusal::at(RefusalReason::OutOfRange, "a\r\nb", "x".repeat(10_000));
        assert_eq!(refusal.field.as_deref(), Some("a\u{fffd}\u{fffd}b"));
        assert_eq!(refusal.detail.chars().count(), MAX_DETAIL + 1);
    }
}
