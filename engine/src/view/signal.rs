//! What the API answers to signals, and whether the engine can take any.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ready::Readiness;
use crate::recent::Glimpse;

/// A signal was taken: it is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// Always true; what is not accepted is a problem.
    pub accepted: bool,
    /// `anomaly` or `rca`.
    pub kind: String,
    /// The publisher's window.
    pub window_id: String,
    /// Whether it is on the bus.
    pub enqueued: bool,
}

/// The newest signals that this replica took up, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Recents {
    /// The signals.
    pub signals: Vec<Seen>,
}

/// One signal, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// Its id.
    pub id: String,
    /// `anomaly` or `rca`.
    pub kind: String,
    /// The publisher's window.
    pub window_id: String,
    /// What it is about: `namespace/Kind/name`.
    pub subject: String,
    /// When it was observed.
    pub observed_at: Timestamp,
    /// Its trace.
    pub trace_id: String,
}

impl From<Glimpse> for Seen {
    fn from(it: Glimpse) -> Self {
        Self {
            id: it.id.to_string(),
            kind: it.kind.to_owned(),
            window_id: it.window_id.to_string(),
            subject: it.subject.to_string(),
            observed_at: it.observed_at,
            trace_id: it.trace.trace_hex(),
        }
    }
}

/// Whether this replica can admit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// All parts are ready.
    pub ready: bool,
    /// Each part, and what is wrong with it; null when nothing is.
    pub parts: BTreeMap<String, Option<String>>,
}

impl Ready {
    /// How things stand.
    pub fn of(readiness: &Readiness) -> Self {
        let parts: BTreeMap<String, Option<String>> =
            readiness.parts().into_iter().map(|(part, state)| (part.to_owned(), state.err())).collect();
        Self { ready: parts.values().all(Option::is_none), parts }
    }

    /// In lines for people.
    pub fn text(&self) -> String {
        let line = |(part, trouble): (&String, &Option<String>)| match trouble {
            None => format!("[+] {part} ok\n"),
            Some(trouble) => format!("[-] {part}: {trouble}\n"),
        };
        let lines: String = self.parts.iter().map(line).collect();
        lines + if self.ready { "ready\n" } else { "not ready\n" }
    }
}
