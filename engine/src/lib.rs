//! The engine: the core's decisions carried out against real doors. The one binary is `flyball`.

pub mod admit;
pub mod anchor;
pub mod app;
pub mod changes;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod http;
pub mod intake;
pub mod journal;
pub mod ledger;
pub mod nats;
pub mod notes;
pub mod pipeline;
pub mod publish;
pub mod ready;
pub mod recent;
pub mod replicas;
pub mod run;
pub mod telemetry;
pub mod view;
pub mod waiting;
pub mod wire;
