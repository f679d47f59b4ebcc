//! Rules: which message, the how-manieth of its sort, and what to do with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::sync::watch;

type Callback<M> = Arc<dyn Fn(&M) + Send + Sync>;

/// One rule. `M` is what passes, `A` what can be done with it.
pub struct Rule<M, A> {
    matches: Box<dyn Fn(&M) -> bool + Send + Sync>,
    skip: usize,
    times: usize,
    pub(super) before: Option<Callback<M>>,
    pub(super) after: Option<Callback<M>>,
    pub(super) act: A,
}

impl<M, A: Default> Rule<M, A> {
    /// For every message that `matches`. Until told otherwise it passes.
    pub fn on(matches: impl Fn(&M) -> bool + Send + Sync + 'static) -> Self {
        Self { matches: Box::new(matches), skip: 0, times: usize::MAX, before: None, after: None, act: A::default() }
    }
}

impl<M, A> Rule<M, A> {
    /// Only for the `n`th match, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: usize) -> Self {
        (self.skip, self.times) = (n.saturating_sub(1), 1);
        self
    }

    /// Only for the first `n` matches.
    #[must_use]
    pub fn times(mut self, n: usize) -> Self {
        self.times = n;
        self
    }

    /// Called before anything is done with the message. Nothing moves on its connection, in its direction, until the
    /// call is over: an engine that is killed here never sees what follows.
    #[must_use]
    pub fn before(mut self, call: impl Fn(&M) + Send + Sync + 'static) -> Self {
        self.before = Some(Arc::new(call));
        self
    }

    /// Called when the message was forwarded. For the API: when the server has answered, before the answer goes on.
    #[must_use]
    pub fn after(mut self, call: impl Fn(&M) + Send + Sync + 'static) -> Self {
        self.after = Some(Arc::new(call));
        self
    }

    /// What to do with the message.
    #[must_use]
    pub fn act(mut self, act: A) -> Self {
        self.act = act;
        self
    }
}

/// A rule in force.
pub(super) struct Armed<M, A> {
    pub(super) rule: Rule<M, A>,
    pub(super) trigger: Trigger,
}

/// Rules with how often each was met.
type Counted<M, A> = Vec<(usize, Arc<Armed<M, A>>)>;

/// The rules of one proxy, asked in the order in which they were added. The first that matches decides.
pub struct Script<M, A> {
    rules: Mutex<Counted<M, A>>,
}

impl<M, A> Default for Script<M, A> {
    fn default() -> Self {
        Self { rules: Mutex::default() }
    }
}

impl<M, A> Script<M, A> {
    /// Puts a rule in force. A rule applies to what is read from now on.
    pub fn add(&self, rule: Rule<M, A>) -> Trigger {
        let trigger = Trigger(Arc::default());
        self.lock().push((0, Arc::new(Armed { rule, trigger: trigger.clone() })));
        trigger
    }

    /// Takes all rules out of force. What is held stays held until its trigger releases it.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The rule for `message`, counted as met.
    pub(super) fn find(&self, message: &M) -> Option<Arc<Armed<M, A>>> {
        let mut rules = self.lock();
        rules.retain(|(_, armed)| !armed.trigger.0.lifted.load(Ordering::SeqCst));
        rules.iter_mut().find_map(|(met, armed)| {
            let rule = &armed.rule;
            if met.saturating_sub(rule.skip) >= rule.times || !(rule.matches)(message) {
                return None;
            }
            *met += 1;
            (*met > rule.skip).then(|| armed.clone())
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counted<M, A>> {
        // A matcher that panicked left the list as it was.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls back, off the threads that carry messages.
pub(super) async fn call<M: Clone + Send + 'static>(callback: Option<&Callback<M>>, message: &M) {
    if let Some(callback) = callback.cloned() {
        let message = message.clone();
        // A panic in it is the script's own, and its test fails by what does not happen.
        let _ = tokio::task::spawn_blocking(move || callback(&message)).await;
    }
}

#[derive(Debug)]
struct State {
    hits: Mutex<usize>,
    hit: Condvar,
    released: watch::Sender<bool>,
    lifted: AtomicBool,
}

impl Default for State {
    fn default() -> Self {
        let (released, _) = watch::channel(false);
        Self { hits: Mutex::default(), hit: Condvar::new(), released, lifted: AtomicBool::new(false) }
    }
}

/// What a script holds of a rule.
#[derive(Clone, Debug)]
pub struct Trigger(Arc<State>);

impl Trigger {
    /// How often the rule has been carried out, its calls included.
    pub fn hits(&self) -> usize {
        *self.0.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the rule has been carried out `count` times.
    ///
    /// # Errors
    /// It was not, by the deadline.
    pub fn wait(&self, count: usize, deadline: Duration) -> Result<()> {
        let end = Instant::now() + deadline;
        let mut hits = self.0.hits.lock().unwrap_or_else(PoisonError::into_inner);
        while *hits < count {
            let left = end.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "the rule was met {} times instead of {count} within {deadline:?}", *hits);
            (hits, _) = self.0.hit.wait_timeout(hits, left).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Lets go what the rule holds, now and later.
    pub fn release(&self) {
        self.0.released.send_replace(true);
    }

    /// Takes the rule out of force.
    pub fn lift(&self) {
        self.0.lifted.store(true, Ordering::SeqCst);
    }

    pub(super) fn carried_out(&self) {
        *self.0.hits.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.hit.notify_all();
    }

    pub(super) async fn released(&self) {
        // The sender lives in the trigger itself.
        let _ = self.0.released.subscribe().wait_for(|released| *released).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_match_is_the_nth() {
        let script: Script<u32, u8> = Script::default();
        let first = script.add(Rule::on(|it: &u32| it.is_multiple_of(2)).nth(2).act(1));
        script.add(Rule::on(|it: &u32| *it > 5).times(2).act(2));
        let acts = |it: u32| script.find(&it).map(|armed| armed.rule.act);
        assert_eq!([1, 2, 6, 4, 8, 7, 9, 11].map(acts), [None, None, Some(1), None, Some(2), Some(2), None, None]);
        first.lift();
        assert_eq!(acts(2), None);
    }
}
