//! Settling a delivery: an acknowledgement, or a dead letter and then an acknowledgement.

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{HeaderMap, HeaderName, HeaderValue, Subject};
use bytes::Bytes;
use flyball_core::ports::{Answer, PortError, Receipted};

use super::held::Place;
use super::hold::Hold;
use super::streams::{REFUSED, REFUSED_SUBJECT};

const REASON: &str = "Flyball-Refused-Reason";
const DETAIL: &str = "Flyball-Refused-Detail";
const SUBJECT: &str = "Flyball-Refused-Subject";
const SEQUENCE: &str = "Flyball-Refused-Sequence";
/// How long the body was that is kept only in part.
const TRUNCATED: &str = "Flyball-Refused-Truncated";
/// Goes before the name of a header that would give the server orders.
const ORIGINAL: &str = "Flyball-Original-";
/// The server's own headers: an expectation, an id, a lifetime, a rollup. On a dead letter they would refuse it, drop it or
/// do worse, and a message that cannot be put aside would come for ever.
const SERVERS: &str = "nats-";
/// A reason is one token of a subject.
const LONGEST_REASON: usize = 64;
/// A detail is for people: what is longer is in the message itself.
const LONGEST_DETAIL: usize = 1024;

/// How one delivery is settled. It keeps what a dead letter needs: the bytes are shared with the message, not copied.
pub(super) struct JetStreamReceipt {
    pub(super) hold: Hold,
    pub(super) subject: Subject,
    pub(super) headers: Option<HeaderMap>,
    pub(super) body: Bytes,
}

impl JetStreamReceipt {
    async fn put_aside(self, reason: String, detail: String) -> Result<(), PortError> {
        let subject = format!("{REFUSED_SUBJECT}{reason}");
        let ours = self.why(&reason, &detail);
        let whole = merged(self.headers.as_ref(), &ours);
        let sent = match self.publish(&subject, whole, self.body.clone()).await {
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                // With our headers it is larger than the server takes. The whole is still in its stream.
                let kept = self.body.len().min(self.hold.context().client().max_payload() / 2);
                let mut ours = ours;
                ours.insert(TRUNCATED, self.body.len().to_string());
                self.publish(&subject, ours, self.body.slice(..kept)).await
            }
            sent => sent,
        };
        sent.map_err(|error| PortError::Unavailable(format!("a dead letter was not stored: {error}")))?;
        self.hold.settle();
        Ok(())
    }

    async fn publish(&self, subject: &str, headers: HeaderMap, body: Bytes) -> Result<(), PublishError> {
        let letter = PublishMessage::build().payload(body).headers(headers);
        self.hold.context().send_publish(subject.to_owned(), letter).await?.await.map(drop)
    }

    /// Our headers. The id makes a dead letter that is sent twice one.
    fn why(&self, reason: &str, detail: &str) -> HeaderMap {
        let mut ours = HeaderMap::new();
        let (stream, Place { sequence, .. }) = (self.hold.stream(), self.hold.place());
        let id = format!("{stream}:{sequence}");
        let sequence = sequence.to_string();
        let pairs = [
            (async_nats::header::NATS_MESSAGE_ID, id.as_str()),
            (async_nats::header::NATS_EXPECTED_STREAM, REFUSED),
            (HeaderName::from_static(REASON), reason),
            (HeaderName::from_static(DETAIL), detail),
            (HeaderName::from_static(SUBJECT), self.subject.as_str()),
            (HeaderName::from_static(SEQUENCE), sequence.as_str()),
        ];
        for (name, value) in pairs {
            if let Ok(value) = value.parse::<HeaderValue>() {
                ours.insert(name, value);
            }
        }
        ours
    }
}

impl Receipted for JetStreamReceipt {
    fn acknowledge(self: Box<Self>, durable: bool) -> Answer<'static, ()> {
        Box::pin(acknowledged(self.hold, durable))
    }

    fn settle(self: Box<Self>) -> Option<Answer<'static, ()>> {
        self.hold.settle();
        None
    }

    fn refuse(self: Box<Self>, reason: &str, detail: &str) -> Answer<'static, Result<(), PortError>> {
        let reason = token(reason);
        let detail: String = detail.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
        let detail = detail.trim().chars().take(LONGEST_DETAIL).collect();
        Box::pin(self.put_aside(reason, detail))
    }
}

/// One that is lost costs a redelivery, which the ledger recognises: it is not worth waiting or failing for.
async fn acknowledged(hold: Hold, durable: bool) {
    if !durable {
        return hold.settle();
    }
    let sequence = hold.place().sequence;
    if let Err(error) = hold.confirmed().await {
        tracing::debug!(sequence, %error, "an acknowledgement was not confirmed");
    }
}

/// A word that can be a token of a subject.
fn token(reason: &str) -> String {
    let clean: String = reason
        .chars()
        .take(LONGEST_REASON)
        .map(|it| if it.is_ascii_alphanumeric() || it == '-' || it == '_' { it } else { '-' })
        .collect();
    if clean.is_empty() { "unknown".to_owned() } else { clean }
}

/// The original headers under ours. What would speak to the server is kept under another name.
fn merged(original: Option<&HeaderMap>, ours: &HeaderMap) -> HeaderMap {
    let mut all = HeaderMap::new();
    for (name, values) in original.into_iter().flat_map(HeaderMap::iter) {
        let text = name.to_string();
        let kept = if text.to_ascii_lowercase().starts_with(SERVERS) {
            format!("{ORIGINAL}{text}").parse().ok()
        } else {
            Some(name.clone())
        };
        for value in values {
            if let Some(name) = &kept {
                all.append(name.clone(), value.clone());
            }
        }
    }
    for (name, values) in ours.iter() {
        for value in values {
            all.insert(name.clone(), value.clone());
        }
    }
    all
}

/// Headers as pairs, sorted by name: the client keeps them in no order.
pub(super) fn pairs(headers: Option<&HeaderMap>) -> Vec<(String, String)> {
    let Some(headers) = headers else { return Vec::new() };
    let all = headers.iter();
    let mut pairs: Vec<_> = all
        .flat_map(|(name, values)| values.iter().map(|value| (name.to_string(), value.as_str().to_owned())))
        .collect();
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    pairs
}
