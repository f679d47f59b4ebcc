//! Real servers for tests, benches and people: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok
//! (which plays the kubelets) and nats-server, built from Go modules and run as plain processes on loopback.
//!
//! It knows processes, ports and JSON over HTTP. It knows neither the engine nor its Kubernetes and NATS clients, so that
//! a fault in those cannot hide in the test bed. Every call blocks and none needs a runtime; all may be made inside one.
//!
//! Nothing outlives its user: dropping ends every server, and a [guardian](Guardian) ends them when dropping never came.

mod access;
mod api;
mod audit;
mod boot;
mod cluster;
mod control_plane;
mod guardian;
mod nats;
mod port;
mod process;
mod tools;
mod wait;
pub mod workloads;

pub use access::User;
pub use api::{Answer, Api};
pub use audit::{AuditEntry, AuditLog};
pub use cluster::{Cluster, Options, SHARED_CLUSTER};
pub use control_plane::Part;
pub use guardian::Guardian;
pub use nats::{NatsOptions, NatsServer};
pub use port::free_port;
pub use process::{Program, Server};
pub use tools::{Tools, can_run};
pub use wait::wait_until;
pub use workloads::{Pods, Workload};
