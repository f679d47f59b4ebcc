//! The engine's core: values in, values out. It knows signals, policies, guardrails, intents and how they follow from each
//! other. It does not know Kubernetes' client, NATS, clocks, files, the environment, randomness or threads: `now` is an
//! argument.

pub mod action;
pub mod chain;
pub mod deny;
pub mod expr;
pub mod facts;
pub mod follow_up;
pub mod guardrail;
pub mod history;
pub mod id;
pub mod intent;
pub mod limits;
pub mod lint;
pub mod mapper;
pub mod mark;
pub mod merge;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod ports;
pub mod reasons;
pub mod record;
pub mod shelf;
pub mod signal;
pub mod verify;
pub mod window;
pub mod wire;
pub mod workload;
