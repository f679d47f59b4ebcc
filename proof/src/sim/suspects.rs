//! The marks of messages on trial: they outlive the process that put them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flyball::intake::Marks;
use flyball_core::ports::{Answer, PortError, Signals};
use jiff::Timestamp;

use super::chronicle::Who;
use super::doors::Doors;
use super::process::Way;

/// A mark: who tries a message, since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tried {
    number: u64,
    name: String,
    pub(super) who: Who,
    pub(super) at: Timestamp,
}

/// All of them.
#[derive(Default)]
pub(super) struct Suspects(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    newest: u64,
    tried: Vec<Tried>,
    /// By name: puts that had no answer. Whoever has none removes every mark of that message.
    unanswered: Vec<String>,
}

/// The name of a message's marks.
pub(super) fn name(sequence: u64) -> String {
    format!("message {sequence}")
}

impl Suspects {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The marks of a message.
    pub(super) fn of(&self, name: &str) -> Vec<Tried> {
        self.kept().tried.iter().filter(|it| it.name == name).cloned().collect()
    }

    /// How often a mark of a message was put without an answer.
    pub(super) fn unanswered(&self, name: &str) -> usize {
        self.kept().unanswered.iter().filter(|it| *it == name).count()
    }

    fn put(&self, name: &str, who: Who, at: Timestamp) -> u64 {
        let mut kept = self.kept();
        kept.newest += 1;
        let number = kept.newest;
        kept.tried.push(Tried { number, name: name.to_owned(), who, at });
        number
    }
}

/// The marks behind the door of one process. They are kept where the messages are.
pub(super) struct Marked(pub(super) Doors);

impl Marked {
    fn asked<'a, T: Send + 'a>(
        &'a self,
        point: &'static str,
        answer: impl FnOnce(&Arc<Suspects>) -> T + Send + 'a,
    ) -> Answer<'a, Result<T, PortError>> {
        let asked = async move {
            self.0.world.signals.ready().await?;
            Ok(answer(&self.0.suspects))
        };
        self.0.read_boxed(Way::Bus, point, Box::pin(asked))
    }
}

impl Marks for Marked {
    fn count<'a>(&'a self, name: &'a str) -> Answer<'a, Result<usize, PortError>> {
        self.asked("count marks", |it| it.of(name).len())
    }

    fn put<'a>(&'a self, name: &'a str) -> Answer<'a, Result<u64, PortError>> {
        let process = &self.0.process;
        Box::pin(async move {
            let put = self.asked("put mark", |it| it.put(name, process.who, process.clock.now())).await;
            if put.is_err() {
                self.0.suspects.kept().unanswered.push(name.to_owned());
            }
            put
        })
    }

    fn take_back(&self, number: u64) -> Answer<'_, Result<(), PortError>> {
        self.asked("take back mark", move |it| it.kept().tried.retain(|it| it.number != number))
    }

    fn clear<'a>(&'a self, name: &'a str) -> Answer<'a, Result<(), PortError>> {
        self.asked("clear marks", move |it| it.kept().tried.retain(|it| it.name != name))
    }
}
