//! Wires between an engine and its servers that can be told what to do with each message: pass it, drop it, hold it, send
//! it twice, cut the connection, kill the engine just before or just after. In this process, scripted by rules.
//!
//! A crash point of the engine is a place on the wire. The product therefore needs no switches to be killed at one.

mod api;
mod nats;
mod rules;

use std::sync::OnceLock;

use tokio::runtime::Runtime;

pub use api::{ApiAct, ApiProxy, ApiRule, Call};
pub use nats::{Direction, Message, NatsAct, NatsProxy, NatsRule};
pub use rules::{Rule, Script, Trigger};

/// All proxies of the process live here, apart from the runtimes of those who use them.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // Every user does it; the first one wins.
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("proxy")
            .enable_all()
            .build()
            .expect("a runtime for the proxies")
    })
}

/// Runs it on the proxies' runtime and waits, also when the caller is inside a runtime of its own.
fn block_on<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let done = scope.spawn(|| runtime().block_on(work)).join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
