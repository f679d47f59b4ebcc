//! The subjects signals, refusals and events travel on. Every token is a DNS label, so that no name can widen a permission.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    names,
    refusal::{Refusal, RefusalReason},
};

/// What every signal's subject begins with, whatever its version.
pub const SIGNALS: &str = "flyball.signal.";
const VERSION: &str = "v1";

/// What a signal says: that something is wrong, or why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A service deviates from what is normal, or has stopped to: [`v1::Anomaly`](crate::v1::Anomaly).
    Anomaly,
    /// The ranked causes of a deviation: [`v1::Rca`](crate::v1::Rca).
    Rca,
}

impl Kind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Anomaly, Self::Rca];

    /// The kind as a subject's token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anomaly => "anomaly",
            Self::Rca => "rca",
        }
    }

    /// The kind of that name, in lower case; `None` for any other text.
    pub fn from_token(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A signal's subject, `flyball.signal.v1.<kind>.<cluster>.<namespace>`. The workload's name stays in the body.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The kind of the signal.
    pub kind: Kind,
    /// The cluster it is about, a DNS label.
    pub cluster: String,
    /// The namespace it is about, a DNS label.
    pub namespace: String,
}

impl Subject {
    /// The subject of a signal about `namespace` in `cluster`; refused as [`RefusalReason::BadSubject`] where one is no DNS label.
    pub fn new(kind: Kind, cluster: &str, namespace: &str) -> Result<Self, Refusal> {
        label("cluster", cluster)?;
        label("namespace", namespace)?;
        Ok(Self { kind, cluster: cluster.to_owned(), namespace: namespace.to_owned() })
    }

    /// The filter that matches every signal about `cluster`; refused where `cluster` is no DNS label.
    pub fn filter(cluster: &str) -> Result<String, Refusal> {
        label("cluster", cluster)?;
        Ok(format!("{SIGNALS}{VERSION}.*.{cluster}.*"))
    }
}

impl FromStr for Subject {
    type Err = Refusal;

    /// Reads a subject. Refused with the field `subject` as [`RefusalReason::UnknownVersion`], [`RefusalReason::UnknownKind`] or
    /// [`RefusalReason::BadSubject`].
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let tokens: Vec<&str> = text.strip_prefix(SIGNALS).unwrap_or_default().split('.').take(5).collect();
        if let [version, ..] = tokens[..]
            && version != VERSION
            && is_version(version)
        {
            return Err(refused(
                RefusalReason::UnknownVersion,
                format!("version {version} is not read, only {VERSION}"),
            ));
        }
        let [VERSION, kind, cluster, namespace] = tokens[..] else {
            let form = "expected `flyball.signal.v1.<kind>.<cluster>.<namespace>`";
            return Err(refused(RefusalReason::BadSubject, format!("{form}, found `{text}`")));
        };
        let kind = Kind::from_token(kind).ok_or_else(|| {
            refused(RefusalReason::UnknownKind, format!("expected the kind `anomaly` or `rca`, found `{kind}`"))
        })?;
        Self::new(kind, cluster, namespace)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SIGNALS}{VERSION}.{}.{}.{}", self.kind, self.cluster, self.namespace)
    }
}

/// The subject a refused message is kept on, `flyball.refused.v1.<reason>`.
pub fn refused_subject(reason: RefusalReason) -> String {
    format!("flyball.refused.{VERSION}.{reason}")
}

/// The subject an event travels on, `flyball.event.v1.<what>.<cluster>.<namespace>`; refused as [`RefusalReason::BadSubject`] where
/// one of the three is no DNS label.
pub fn event_subject(what: &str, cluster: &str, namespace: &str) -> Result<String, Refusal> {
    for (name, token) in [("what", what), ("cluster", cluster), ("namespace", namespace)] {
        label(name, token)?;
    }
    Ok(format!("flyball.event.{VERSION}.{what}.{cluster}.{namespace}"))
}

/// Whether `token` reads as a version at all (`v2`), so that a newer publisher is told from a wrong one.
pub(crate) fn is_version(token: &str) -> bool {
    token.strip_prefix('v').is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn label(name: &str, token: &str) -> Result<(), Refusal> {
    if names::is_label(token) {
        return Ok(());
    }
    Err(refused(
        RefusalReason::BadSubject,
        format!("the {name} `{token}` is not a DNS label (a-z, 0-9 and -, at most 63)"),
    ))
}

fn refused(reason: RefusalReason, detail: String) -> Refusal {
    Refusal::at(reason, "subject", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_read_back_as_written() {
        for text in ["flyball.signal.v1.anomaly.prod.shop", "flyball.signal.v1.rca.eu-1.erp-2"] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        assert_eq!(Subject::filter("prod").unwrap(), "flyball.signal.v1.*.prod.*");
        assert_eq!(refused_subject(RefusalReason::TooDeep), "flyball.refused.v1.too-deep");
        assert_eq!(event_subject("verified", "prod", "shop").unwrap(), "flyball.event.v1.verified.prod.shop");
    }

    #[test]
    fn what_is_not_a_subject_is_told_why() {
        let check = |text: &str, reason| assert_eq!(text.parse::<Subject>().unwrap_err().reason, reason, "{text}");
        check("flyball.signal.v2.anomaly.prod.shop", RefusalReason::UnknownVersion);
        check("flyball.signal.v12", RefusalReason::UnknownVersion);
        check("flyball.signal.v1.trace.prod.shop", RefusalReason::UnknownKind);
        check("flyball.signal.v1.Anomaly.prod.shop", RefusalReason::UnknownKind);
        for text in [
            "",
            "flyball.signal.",
            "flyball.signal.v1.anomaly.prod",
            "flyball.signal.v1.anomaly.prod.shop.cart",
            "flyball.signal.v1.anomaly.prod.Shop",
            "flyball.signal.v1.anomaly.*.shop",
            "flyball.signal.v1.anomaly..shop",
            "flyball.signal.vx.anomaly.prod.shop",
            "other.signal.v1.anomaly.prod.shop",
        ] {
            check(text, RefusalReason::BadSubject);
        }
        assert!(event_subject("a.b", "prod", "shop").is_err() && Subject::filter(">").is_err());
    }
}
