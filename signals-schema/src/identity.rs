//! What makes two messages the same signal. An id that led to an admission never does again, so that two signals must not share one.

use std::fmt;

use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::{subject::Kind, v1::Body};

/// The longest part of an id that is shown as it was sent, in bytes; what is longer, or not printable ASCII, is shown as its hash.
pub const MAX_READABLE: usize = 128;

/// The kind of workload a signal means when it names none.
pub const DEFAULT_WORKLOAD_KIND: &str = "Deployment";

/// A signal's id: bounded, printable ASCII. Its beginning says where it comes from, the first of these that there is:
///
/// - `ce:<source>:<id>`: the CloudEvents attributes; `%` and `:` in the id are percent-encoded. `ce#<hash>` when they are long
/// - `w:<hash>`: cluster, kind, namespace, workload kind, service, window, type and `isAnomaly`
/// - `m:<id>`: the `Nats-Msg-Id` header. `m#<hash>` when it is long
/// - `b:<hash>`: cluster, kind, namespace and the bytes
///
/// A hash is the first 16 bytes of SHA-256, as 32 hex digits, over fields that each have their length in front.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Identity(String);

impl Identity {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of a CloudEvent, by its `source` and `id`.
    pub(crate) fn of_event(source: &str, id: &str) -> Self {
        let text = format!("{source}:{}", id.replace('%', "%25").replace(':', "%3A"));
        if is_readable(&text) { Self(format!("ce:{text}")) } else { Self(hash("ce#", &[source, id])) }
    }

    /// Of a message with a `Nats-Msg-Id`.
    pub(crate) fn of_message(id: &str) -> Self {
        if is_readable(id) { Self(format!("m:{id}")) } else { Self(hash("m#", &[id])) }
    }

    /// Of a body with a window, at a place.
    pub(crate) fn of_window(place: &Place<'_>, body: &Body) -> Self {
        let (kind, clearing) = match body {
            Body::Anomaly(anomaly) => {
                (anomaly.anomaly_type.as_str(), if anomaly.is_anomaly { "true" } else { "false" })
            }
            Body::Rca(_) => ("", ""),
        };
        Self::of_window_named(place, body.target_name(), body.window_id(), (kind, clearing))
    }

    /// The same, of what the body says: type, and whether it is an anomaly, where it is one.
    pub(crate) fn of_window_named(
        place: &Place<'_>,
        target: &str,
        window: &str,
        (kind, clearing): (&str, &str),
    ) -> Self {
        let fields =
            [place.cluster, place.kind.as_str(), place.namespace, place.workload_kind, target, window, kind, clearing];
        Self(hash("w:", &fields))
    }

    /// Of anything else: its bytes, at a place, so that the same bytes about another namespace are another signal.
    pub(crate) fn of_bytes(place: &Place<'_>, bytes: &[u8]) -> Self {
        let fields = [place.cluster.as_bytes(), place.kind.as_str().as_bytes(), place.namespace.as_bytes(), bytes];
        Self(hash("b:", &fields))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Identity {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.0
    }
}

/// Where a signal points, as far as it and the reader's defaults say; empty where neither does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) kind: Kind,
    pub(crate) cluster: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) workload_kind: &'a str,
}

fn is_readable(text: &str) -> bool {
    text.len() <= MAX_READABLE && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The hash of the fields, behind what says where it comes from.
fn hash(prefix: &str, fields: &[impl AsRef<[u8]>]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let length: usize = fields.iter().map(|field| 8 + field.as_ref().len()).sum();
    // In one piece: most fields are shorter than what it costs to go through them one by one.
    let mut bytes = Vec::with_capacity(length);
    for field in fields {
        let field = field.as_ref();
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    let mut hex = String::with_capacity(prefix.len() + 32);
    hex.push_str(prefix);
    for byte in &digest(&SHA256, &bytes).as_ref()[..16] {
        hex.push(char::from(HEX[usize::from(byte >> 4)]));
        hex.push(char::from(HEX[usize::from(byte & 15)]));
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_readable_where_they_can_be() {
        assert_eq!(Identity::of_event("/pad", "42").as_str(), "ce:/pad:42");
        assert_eq!(Identity::of_event("urn:pad", "a:b%").as_str(), "ce:urn:pad:a%3Ab%25");
        assert_eq!(Identity::of_message("abc").as_str(), "m:abc");
        assert_ne!(Identity::of_event("a:b", "c"), Identity::of_event("a", "b:c"));
    }

    #[test]
    fn long_or_unprintable_ids_are_hashed() {
        for id in ["x".repeat(129), "two words".to_owned(), "line\nbreak".to_owned(), "größe".to_owned()] {
            let (event, message) = (Identity::of_event("", &id), Identity::of_message(&id));
            assert!(event.as_str().starts_with("ce#") && event.as_str().len() == 35, "{event}");
            assert!(message.as_str().starts_with("m#") && message.as_str().len() == 34, "{message}");
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        assert_ne!(hash("", &["ab", "c"]), hash("", &["a", "bc"]));
        assert_ne!(hash("", &["a", ""]), hash("", &["a"]));
    }
}
