//! The wire form of signals: what a publisher may send, and how it is read.
//!
//! Knows JSON, CloudEvents 1.0, subjects and the names Kubernetes allows. Knows nothing of the engine, of NATS clients, of HTTP
//! servers or of a cluster: it takes bytes, headers and a subject, and answers with a [`Parsed`] signal or a [`Refusal`].
//!
//! | module | what it holds |
//! |---|---|
//! | [`v1`] | the bodies, version 1 |
//! | [`subject`] | the subjects signals, refusals and events travel on |
//! | [`cloudevents`] | the CloudEvents envelope, binary and structured |
//! | [`identity`] | what makes two messages the same signal |
//! | [`refusal`] | why a message was not read, and which field was at fault |
//! | [`schema`] | the JSON Schemas of the bodies |
//!
//! ```
//! let body = br#"{"windowId": "w-1", "service": "cart", "isAnomaly": true, "score": 0.97, "type": "latency"}"#;
//! let message = flyball_signals::Message {
//!     subject: Some("flyball.signal.v1.anomaly.prod.shop"),
//!     body,
//!     ..Default::default()
//! };
//! let parsed = flyball_signals::parse(&message)?;
//! assert_eq!(parsed.namespace.as_deref(), Some("shop"));
//! assert_eq!(parsed.body.target_name(), "cart");
//! # Ok::<(), flyball_signals::Refusal>(())
//! ```

mod bounds;
mod brief;
pub mod cloudevents;
mod fault;
pub mod identity;
pub mod moment;
pub mod names;
mod object;
pub mod parse;
pub mod refusal;
pub mod schema;
mod shape;
pub mod subject;
mod trace;
pub mod v1;

pub use brief::{Brief, brief};
pub use identity::Identity;
pub use parse::{Message, Parsed, parse};
pub use refusal::{Refusal, RefusalReason};
pub use shape::{MAX_BYTES, MAX_DEPTH};
pub use subject::{Kind, Subject};
pub use v1::Body;
