//! A value that others wait to see change. Unlike tokio's `watch` it wakes them in the order in which they began to wait,
//! where tokio picks by chance: in a simulation the same seed has to make the same history.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Where the value is set.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Where changes are waited for.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// Nobody will set the value any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody will set the value any more")]
pub struct Gone;

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    bell: Notify,
}

#[derive(Debug)]
struct State<T> {
    value: T,
    version: u64,
    gone: bool,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until there is an answer: asked at once, and again each time that `bell` rings for all who wait.
pub(crate) async fn until<T>(bell: &Notify, mut answer: impl FnMut() -> Option<T>) -> T {
    loop {
        let rung = bell.notified();
        let mut rung = std::pin::pin!(rung);
        // From here on no ring is missed.
        rung.as_mut().enable();
        if let Some(answer) = answer() {
            return answer;
        }
        rung.await;
    }
}

impl<T: Clone> Sender<T> {
    /// A value that nobody waits for yet.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared { state: Mutex::new(State { value, version: 0, gone: false }), bell: Notify::new() }))
    }

    /// Sets the value and wakes all who wait.
    pub fn send_replace(&self, value: T) {
        {
            let mut state = self.0.state();
            state.value = value;
            state.version += 1;
        }
        self.0.bell.notify_waiters();
    }

    /// The value.
    pub fn get(&self) -> T {
        self.0.state().value.clone()
    }

    /// Waits for changes from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { shared: self.0.clone(), seen: self.0.state().version }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state().gone = true;
        self.0.bell.notify_waiters();
    }
}

impl<T: Clone> Receiver<T> {
    /// Waits until the value is set again; at once, if it was since the last look.
    ///
    /// # Errors
    /// It never will be.
    pub async fn changed(&mut self) -> Result<(), Gone> {
        let Self { shared, seen } = self;
        until(&shared.bell, || {
            let state = shared.state();
            if state.version != *seen {
                *seen = state.version;
                return Some(Ok(()));
            }
            state.gone.then_some(Err(Gone))
        })
        .await
    }

    /// Waits until the value is as asked for.
    ///
    /// # Errors
    /// It never will be.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<(), Gone> {
        loop {
            {
                let state = self.shared.state();
                self.seen = state.version;
                if wanted(&state.value) {
                    return Ok(());
                }
            }
            self.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Gone, Sender};

    #[tokio::test]
    async fn a_change_is_seen_once_and_the_end_is_told() {
        let sender = Sender::new(1);
        let (mut one, mut other) = (sender.subscribe(), sender.subscribe());
        sender.send_replace(2);
        assert_eq!(one.changed().await, Ok(()));
        assert_eq!(other.wait_for(|it| *it == 2).await, Ok(()));
        drop(sender);
        assert_eq!(one.changed().await, Err(Gone));
        assert_eq!(other.wait_for(|it| *it == 3).await, Err(Gone));
    }

    #[tokio::test]
    async fn who_waits_first_is_woken_first() {
        let sender = Sender::new(0);
        let woken = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..20)
            .map(|number| {
                let (mut changes, woken) = (sender.subscribe(), woken.clone());
                tokio::spawn(async move {
                    changes.changed().await.expect("it is set");
                    woken.lock().expect("nobody panics").push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        sender.send_replace(1);
        for task in tasks {
            task.await.expect("it ends");
        }
        assert_eq!(*woken.lock().expect("nobody panics"), (0..20).collect::<Vec<_>>());
    }
}
