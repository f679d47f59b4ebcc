//! Waiting without a runtime: for something to happen, or for the time at which it will.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use flyball_core::ports::{Answer, Clock};
use jiff::{SignedDuration, Timestamp};

/// Locks. Only a bug of this crate could panic while it holds one of its locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

/// Who is to be woken.
#[derive(Default)]
pub(crate) struct Bell(Vec<Waker>);

impl Bell {
    /// Wakes `waker` at the next ring.
    pub(crate) fn listen(&mut self, waker: &Waker) {
        if !self.0.iter().any(|it| it.will_wake(waker)) {
            self.0.push(waker.clone());
        }
    }

    /// Wakes all.
    pub(crate) fn ring(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

/// What a look found.
pub(crate) enum Look<T> {
    /// It is here.
    Found(T),
    /// Nothing yet; by itself it will not come before then.
    Nothing(Option<Timestamp>),
}

/// Looks until something is found. `look` has to see to it that the waker is woken when a new look is worth while; the
/// clock wakes it at the time that the last look named.
pub(crate) fn wait<'a, T: 'a>(
    clock: Arc<dyn Clock>,
    mut look: impl FnMut(&Waker) -> Look<T> + Send + 'a,
) -> Answer<'a, T> {
    let mut sleep: Option<(Timestamp, Answer<'static, ()>)> = None;
    Box::pin(poll_fn(move |context| {
        loop {
            let due = match look(context.waker()) {
                Look::Found(found) => return Poll::Ready(found),
                Look::Nothing(due) => due,
            };
            let Some(due) = due else {
                sleep = None;
                return Poll::Pending;
            };
            if sleep.as_ref().is_none_or(|(until, _)| *until != due) {
                let left = due.duration_since(clock.now()).max(SignedDuration::ZERO);
                sleep = Some((due, clock.sleep(left)));
            }
            if sleep.as_mut().is_some_and(|(_, asleep)| asleep.as_mut().poll(context).is_pending()) {
                return Poll::Pending;
            }
            sleep = None;
        }
    }))
}
