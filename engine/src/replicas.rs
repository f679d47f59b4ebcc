//! The replicas that share a ledger: each beats, each hears the others, and who hears one fall silent takes over what it left
//! open. Beats only save work. That nothing is done twice rests on the ledger's compares and on the targets' tokens.

mod alone;
mod jetstream;
mod peers;
mod switch;

use std::sync::Arc;

use flyball_core::id::IntentId;
use flyball_core::intent::{Intent, Writer};
use flyball_core::ports::{Beat, Replicas};
use jiff::SignedDuration;

pub use alone::Alone;
pub use jetstream::JetStreamReplicas;
pub use peers::Peers;
pub use switch::Switch;

use crate::pipeline::Engine;
use crate::ready::Readiness;

/// How often a replica beats, and looks for what a silent one left.
const BEAT: SignedDuration = SignedDuration::from_secs(1);

/// Beats until the process stops. A beat that is not confirmed makes the replica not ready: what cannot keep a beat cannot
/// keep an admission.
pub async fn beat(engine: Arc<Engine>, replicas: Arc<dyn Replicas>, readiness: Arc<Readiness>) {
    let me = engine.admitter.writer().clone();
    for number in 1.. {
        let beat = Beat { replica: me.replica.clone(), process: me.process.clone(), number };
        tokio::select! {
            biased;
            () = engine.stopping.cancelled() => return,
            kept = replicas.beat(beat) => {
                let kept = kept.map_err(|error| error.to_string());
                if let Err(error) = &kept && readiness.set("heartbeat", kept.clone()) {
                    tracing::warn!(part = "heartbeat", error, "Not ready");
                }
                readiness.set("heartbeat", kept);
            }
        }
        tokio::select! {
            biased;
            () = engine.stopping.cancelled() => return,
            () = engine.clock.sleep(BEAT) => {}
        }
    }
}

/// Listens until the process stops, and takes over what a silent replica left. Each beat of our own that comes back is a look
/// round. Returns early only with the reason to stop: a later process bears our name.
pub async fn attend(engine: Arc<Engine>, replicas: Arc<dyn Replicas>) -> String {
    let me = engine.admitter.writer().clone();
    loop {
        let beat = tokio::select! {
            biased;
            () = engine.stopping.cancelled() => return "stopped".to_owned(),
            beat = replicas.hear() => beat,
        };
        if beat.replica == me.replica && beat.process > me.process {
            return format!(
                "another process has started as replica `{}`: each needs a --replica of its own",
                me.replica
            );
        }
        engine.peers().hear(&beat);
        if beat.process == me.process {
            for id in left_open(&engine) {
                engine.start(id);
            }
        }
    }
}

/// What is open and driven by nobody: our own, and that of silent replicas. An undo is driven by its parent.
pub fn left_open(engine: &Engine) -> Vec<IntentId> {
    let peers = engine.peers();
    let history = engine.book.history();
    let left = history.open().filter(|it| it.request().undoes().is_none() && peers.may_inherit(it.writer()));
    left.map(Intent::id).collect()
}

impl Engine {
    /// Whether what `writer` drives may be taken over by us.
    pub(crate) fn may_inherit(&self, writer: &Writer) -> bool {
        self.peers().may_inherit(writer)
    }
}
