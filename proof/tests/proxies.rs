//! The proxies do what their rules say, against the real servers.
#![allow(missing_docs, reason = "tests say what they are by their names")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

#[path = "proxies/api.rs"]
mod api;
#[path = "proxies/engine.rs"]
mod engine;
#[path = "proxies/nats.rs"]
mod nats;
