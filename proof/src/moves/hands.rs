//! Hands that press a pause and release it, again and again, and measure how long each append is waited for: from the first
//! attempt until it is confirmed, however often it has to be asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::rig::{Replica, Rig};

/// Before what was refused is asked for again.
const AGAIN: Duration = Duration::from_millis(5);
/// Nobody waits longer for one append.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Pressed {
    /// Reasons of the pauses that were confirmed.
    pub(super) confirmed: Vec<String>,
    /// Every append: when it was asked for, and how long it was waited for.
    pub(super) waits: Vec<(Instant, Duration)>,
    /// Requests that had to be made again.
    pub(super) again: usize,
}

/// Hands at work.
pub(super) struct Hands {
    stop: Arc<AtomicBool>,
    hands: Vec<JoinHandle<Result<Pressed>>>,
}

impl Hands {
    /// So many, each on a namespace of its own.
    pub(super) fn begin(rig: &Rig, engine: &Replica, name: &'static str, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let one = |number| rig.runtime.spawn(hand(engine.url(), format!("{name}-{number}"), stop.clone()));
        let hands = (0..count).map(one).collect();
        Self { stop, hands }
    }

    /// Stops them.
    pub(super) fn end(self, rig: &Rig) -> Result<Pressed> {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Pressed::default();
        for hand in self.hands {
            let one = rig.runtime.block_on(hand)??;
            all.confirmed.extend(one.confirmed);
            all.waits.extend(one.waits);
            all.again += one.again;
        }
        Ok(all)
    }
}

async fn hand(url: String, namespace: String, stop: Arc<AtomicBool>) -> Result<Pressed> {
    let (http, mut pressed) = (Client::new(), Pressed::default());
    let pauses = format!("{url}/v1/pauses");
    while !stop.load(Ordering::SeqCst) {
        let reason = format!("{namespace}, {}", pressed.confirmed.len());
        let body = json!({"scope": {"namespace": namespace}, "reason": reason}).to_string();
        pressed.appended(|| http.post(&pauses).body(body.clone())).await?;
        pressed.confirmed.push(reason);
        let scope = format!("namespace:{namespace}");
        pressed.appended(|| http.delete(&pauses).query(&[("scope", &scope)])).await?;
    }
    Ok(pressed)
}

impl Pressed {
    async fn appended(&mut self, request: impl Fn() -> RequestBuilder) -> Result<()> {
        let begun = Instant::now();
        let mut again = false;
        loop {
            let answer = request().send().await.map(|it| it.status());
            // A release that had no answer, and was there.
            let released = again && answer.as_ref().is_ok_and(|it| *it == StatusCode::NOT_FOUND);
            if released || answer.as_ref().is_ok_and(StatusCode::is_success) {
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "no append for {PATIENCE:?}: {answer:?}");
            (self.again, again) = (self.again + 1, true);
            tokio::time::sleep(AGAIN).await;
        }
        self.waits.push((begun, begun.elapsed()));
        Ok(())
    }

    /// The longest wait, and when it began.
    pub(super) fn longest(&self) -> Option<(Instant, Duration)> {
        self.waits.iter().copied().max_by_key(|(_, took)| *took)
    }

    /// The longest wait of those that were under way at some moment of the span.
    pub(super) fn longest_within(&self, (from, to): (Instant, Instant)) -> Duration {
        let within = self.waits.iter().filter(|(begun, took)| *begun <= to && *begun + *took >= from);
        within.map(|(_, took)| *took).max().unwrap_or_default()
    }

    /// Half of them took no longer.
    pub(super) fn median(&self) -> Duration {
        let mut all: Vec<Duration> = self.waits.iter().map(|(_, took)| *took).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    }
}
