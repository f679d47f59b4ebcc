//! One process of a replica: it runs, it is stopped (SIGSTOP), or it is dead (SIGKILL). All that it does to the world goes
//! through its doors, so a process whose calls never return is a dead one.

use std::future::{Future, pending};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flyball::changes;
use flyball_core::ports::Clock;
use flyball_sim::Random;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::chronicle::{Chronicle, Phase, Who};

/// What a process can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Runs,
    Stopped,
    Dead,
}

/// Which of a process's calls kills it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trap {
    /// Calls whose name begins so; all with an empty text.
    pub(super) point: &'static str,
    pub(super) phase: Phase,
    /// How many such calls are let pass first.
    pub(super) after: u32,
}

/// The ways out of a replica's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Ledger,
    Cluster,
    Bus,
}

/// A replica's machine: what outlives its processes.
pub(super) struct Host {
    state: Mutex<HostState>,
    /// Parts in a million by which its monotonic clock is fast.
    rate: i64,
    /// Of 1,000 calls so many are slow.
    slow: u64,
}

struct HostState {
    random: Random,
    /// How far its wall clock is off.
    skew: SignedDuration,
    cut: [Timestamp; 3],
    /// Until when its watches bring nothing.
    stalled: Timestamp,
}

impl Host {
    pub(super) fn new(seed: u64, replica: usize, rate: i64, slow: u64) -> Self {
        let random = Random::new(seed, &format!("host {replica}"));
        let never = Timestamp::MIN;
        let state = HostState { random, skew: SignedDuration::ZERO, cut: [never; 3], stalled: never };
        Self { state: Mutex::new(state), rate, slow }
    }

    fn state(&self) -> MutexGuard<'_, HostState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the wall clock.
    pub(super) fn step(&self, by: SignedDuration) {
        let mut state = self.state();
        state.skew += by;
    }

    /// Cuts a way until then.
    pub(super) fn cut(&self, way: Way, until: Timestamp) {
        self.state().cut[way as usize] = until;
    }

    /// Until when a way is cut, if it is now.
    pub(super) fn is_cut(&self, way: Way, now: Timestamp) -> Option<Timestamp> {
        Some(self.state().cut[way as usize]).filter(|until| now < *until)
    }

    /// Its watches bring nothing until then.
    pub(super) fn stall(&self, until: Timestamp) {
        self.state().stalled = until;
    }

    /// Until when watches are stalled, if they are now.
    pub(super) fn is_stalled(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.state().stalled).filter(|until| now < *until)
    }

    /// All is well again.
    pub(super) fn heal(&self) {
        let mut state = self.state();
        (state.skew, state.cut, state.stalled) = (SignedDuration::ZERO, [Timestamp::MIN; 3], Timestamp::MIN);
    }

    /// The wall clock.
    pub(super) fn wall(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.state().skew).unwrap_or(now)
    }

    /// The monotonic clock.
    pub(super) fn monotonic(&self, elapsed: SignedDuration) -> SignedDuration {
        let extra = elapsed.as_micros().saturating_mul(i128::from(self.rate)) / 1_000_000;
        elapsed + SignedDuration::from_micros(i64::try_from(extra).unwrap_or(0))
    }

    /// How long a message takes: mostly next to nothing, now and then a blink, on a slow network seconds.
    fn delay(&self) -> Duration {
        let mut state = self.state();
        match state.random.below(1_000) {
            drawn if drawn < self.slow => Duration::from_millis(50 + state.random.below(2_500)),
            drawn if drawn < 700 => Duration::ZERO,
            drawn if drawn < 960 => Duration::from_millis(1 + state.random.below(3)),
            _ => Duration::from_millis(1 + state.random.below(60)),
        }
    }
}

/// A process.
pub(super) struct Process {
    pub(super) who: Who,
    pub(super) host: Arc<Host>,
    pub(super) chronicle: Arc<Chronicle>,
    pub(super) clock: Arc<dyn Clock>,
    mood: changes::Sender<Mood>,
    trap: Mutex<Option<Trap>>,
    deaths: mpsc::UnboundedSender<Who>,
}

impl Process {
    pub(super) fn new(
        who: Who,
        host: Arc<Host>,
        chronicle: Arc<Chronicle>,
        clock: Arc<dyn Clock>,
        deaths: mpsc::UnboundedSender<Who>,
    ) -> Self {
        Self { who, host, chronicle, clock, mood: changes::Sender::new(Mood::Runs), trap: Mutex::default(), deaths }
    }

    /// It dies at a call to come.
    pub(super) fn arm(&self, trap: Option<Trap>) {
        *self.trap.lock().unwrap_or_else(PoisonError::into_inner) = trap;
    }

    pub(super) fn is_alive(&self) -> bool {
        self.mood.get() != Mood::Dead
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.mood.get() == Mood::Stopped
    }

    /// SIGKILL.
    pub(super) fn kill(&self, how: &str) {
        if self.is_alive() {
            self.mood.send_replace(Mood::Dead);
            let at = self.clock.now();
            let mut log = self.chronicle.log();
            log.mark("fault: killed");
            log.ended.insert(self.who, at);
            log.tell(at, || format!("r{} dies {how}", self.who.replica));
            // The runner outlives every process; if it does not, nobody waits for the news.
            let _ = self.deaths.send(self.who);
        }
    }

    /// SIGSTOP, and SIGCONT.
    pub(super) fn stop(&self, stopped: bool) {
        if self.is_alive() {
            self.mood.send_replace(if stopped { Mood::Stopped } else { Mood::Runs });
        }
    }

    /// Returns while the process runs; never, once it is dead.
    pub(super) async fn alive(&self) {
        if self.mood.get() == Mood::Runs {
            return;
        }
        let mut moods = self.mood.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = moods.wait_for(|mood| *mood == Mood::Runs).await;
    }

    /// A call at a door: the process may be stopped here, or die.
    pub(super) async fn cross(&self, point: &'static str, phase: Phase) {
        self.alive().await;
        let at = self.clock.now();
        self.chronicle.log().call(at, self.who, point, phase);
        if self.springs(point, phase) {
            self.chronicle
                .log()
                .mark(format!("crash {} {point}", if phase == Phase::Before { "before" } else { "after" }));
            self.kill(&format!("{} {point}", if phase == Phase::Before { "before" } else { "after" }));
            pending::<()>().await;
        }
    }

    fn springs(&self, point: &str, phase: Phase) -> bool {
        let mut trap = self.trap.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(armed) = trap.as_mut().filter(|it| point.starts_with(it.point) && it.phase == phase) else {
            return false;
        };
        if armed.after > 0 {
            armed.after -= 1;
            return false;
        }
        *trap = None;
        true
    }

    /// Carries a call out, in the world and not in the process: what has left goes on when the process is stopped or dies.
    pub(super) async fn leave<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> T {
        let (out, back) = (self.host.delay(), self.host.delay());
        if out.is_zero() && back.is_zero() {
            return call.await;
        }
        let carried = tokio::spawn(async move {
            wait(out).await;
            let answer = call.await;
            wait(back).await;
            answer
        });
        carried.await.expect("the world does not panic")
    }

    /// The way of a read and back. Nothing happens on it, so it needs no life of its own.
    pub(super) async fn travel(&self) {
        wait(self.host.delay()).await;
    }
}

async fn wait(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}
