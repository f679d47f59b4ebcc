//! Signals as they come in life: most say again what was said, some ask for an action, some are of no use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_nats::jetstream;
use serde_json::Value;

use crate::random::Random;
use crate::rig::{Rig, anomaly, rca};

/// Signals are sent in handfuls this far apart.
const HANDFUL: Duration = Duration::from_millis(50);

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sort {
    /// It matches a policy.
    Asking,
    /// No policy matches.
    Silent,
    /// Nobody can read it.
    Garbage,
}

/// A signal that the stream has confirmed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
    /// What it is.
    pub(crate) sort: Sort,
}

/// Who sends.
pub(crate) struct Load {
    nats_url: String,
    cluster: String,
    namespace: String,
    names: Vec<String>,
    random: Random,
    rate: u64,
    windows: u64,
    /// Bodies to be said again, newest last.
    said: Vec<(&'static str, Value)>,
}

impl Load {
    /// A load on the workloads `names`, of `rate` signals a second.
    pub(crate) fn new(rig: &Rig, names: Vec<String>, seed: u64, rate: u64) -> Self {
        Self {
            nats_url: rig.nats_url.clone(),
            cluster: rig.name.clone(),
            namespace: rig.namespace.clone(),
            names,
            random: Random::new(seed ^ 0x5016_AB5E_ED00_0001),
            rate,
            windows: 0,
            said: Vec::new(),
        }
    }

    /// Sends until it is told to stop; returns what the stream has confirmed.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> Result<Vec<Sent>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let context = jetstream::new(async_nats::connect(&self.nats_url).await.context("a NATS connection")?);
            let (start, mut sent, mut due) = (Instant::now(), Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                let until =
                    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_mul(self.rate) / 1_000;
                let mut answers = Vec::new();
                while due < until {
                    let (kind, sort, body) = self.signal();
                    let subject = format!("flyball.signal.v1.{kind}.{}.{}", self.cluster, self.namespace);
                    answers.push((sort, context.publish(subject, body.into()).await.context("publishing")?));
                    due += 1;
                }
                for (sort, answer) in answers {
                    sent.push(Sent { sequence: answer.await.context("publishing")?.sequence, sort });
                }
                // The pace of the load.
                tokio::time::sleep(HANDFUL).await;
            }
            Ok(sent)
        })
    }

    /// The next one: its kind, what it is, and its bytes.
    fn signal(&mut self) -> (&'static str, Sort, Vec<u8>) {
        self.windows += 1;
        let (name, window) = (self.random.pick(&self.names).clone(), format!("w{}", self.windows));
        let (kind, body) = match self.random.below(100) {
            0..2 => return ("anomaly", Sort::Garbage, format!("{{\"windowId\": {}", self.windows).into_bytes()),
            2..8 => return ("anomaly", Sort::Silent, anomaly(&name, &window, "latency").to_string().into_bytes()),
            8..12 if !self.said.is_empty() => self.random.pick(&self.said).clone(),
            12..40 => {
                let kind = if self.random.below(2) == 0 { "resource" } else { "other" };
                ("anomaly", anomaly(&name, &window, kind))
            }
            _ => ("rca", rca(&name, &window, "memory_leak")),
        };
        // Two in a hundred are remembered, to be said again much later.
        if self.windows.is_multiple_of(50) {
            self.said.push((kind, body.clone()));
        }
        (kind, Sort::Asking, body.to_string().into_bytes())
    }
}
