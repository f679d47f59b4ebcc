//! The Kubernetes adapter against a real API server, and its door against a server that misbehaves on purpose.
#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod bed;
mod door;
mod evictions;
mod marks;
mod outage;
mod reads;
mod rights;
mod writes;
