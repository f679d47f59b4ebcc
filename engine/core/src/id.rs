//! Identities. Ids are derived from what they identify, so that the same thing seen twice has the same id.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::action::{ActionKind, Cause};
use crate::workload::Workload;

/// A signal's identity, as the wire gives it (`flyball-signals` derives it).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignalId(pub Arc<str>);

impl fmt::Display for SignalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An intent's identity: UUIDv8 of a SHA-256 over cluster, policy, cause, target, action kind and step. The policy's
/// version and the target's uid are left out on purpose: a reload or a re-created target between two deliveries of one
/// signal must not mint a second action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntentId(Uuid);

impl IntentId {
    /// Derives the id. `policy` is the policy's name, or `api` for a direct call.
    pub fn derive(cluster: &str, policy: &str, cause: &Cause, target: &Workload, kind: ActionKind, step: u32) -> Self {
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        let step = step.to_string();
        let cause = cause.to_string();
        let fields =
            [cluster, policy, &cause, target.kind.as_str(), &target.namespace, &target.name, kind.as_str(), &step];
        for field in fields {
            // The length goes first, so that two different lists never make the same bytes.
            hash.update(&(field.len() as u64).to_be_bytes());
            hash.update(field.as_bytes());
        }
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&hash.finish().as_ref()[..16]);
        Self(Uuid::new_v8(bytes))
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for IntentId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// A position in the ledger: the sequence number of an entry. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// First 16 hex digits of the SHA-256 of `bytes`: names a version of a text (a policy set, a patch).
pub fn digest(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    hash.as_ref()[..8].iter().fold(String::with_capacity(16), |mut text, byte| {
        use fmt::Write;
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
