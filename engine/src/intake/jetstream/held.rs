//! What this process has in hand of the bus, and what it had a moment ago. What comes together is kept together: a million
//! deliveries cost no more than their batches.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Subject;
use jiff::Timestamp;
use tokio::time::Instant;

use super::streams::{ACK_WAIT, UNSETTLED};
use crate::nats;

/// How often held deliveries are looked at. A delivery is told of first between one and two of these after it came, so four in
/// a wait leave half of it for a telling that is late.
pub(super) const EVERY: Duration = Duration::from_millis(ACK_WAIT.as_secs() * 1_000 / 4);
/// No work on one delivery takes this long: reads and appends end within half a minute each. One that is held longer was
/// forgotten by its worker, and another replica may do better.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// How long what was settled is known: the acknowledgement goes one way and the last copy came the other, and a link on which
/// that takes longer answers nothing in time.
const KNOWN: Duration = nats::ANSWER_TIMEOUT;
/// Deliveries in one batch at most, and how long it takes more: so there are few batches to look through, however slowly they come.
const BATCH: (usize, Duration) = (256, Duration::from_millis(50));

/// A message: its place in the stream, and when it was stored there. A stream that is made anew gives its places again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sequence: u64,
    pub(super) published_at: Timestamp,
}

/// A delivery as it came.
pub(super) struct Came {
    pub(super) place: Place,
    /// Where its acknowledgement goes.
    pub(super) reply: Subject,
    /// The how-manieth delivery of its message it is.
    pub(super) time: u64,
}

/// A delivery that was taken in hand.
pub(super) struct Taken {
    pub(super) batch: Arc<Batch>,
    /// Which of the batch.
    pub(super) at: usize,
    /// Another delivery of it was settled a moment ago.
    pub(super) is_copy: bool,
}

#[derive(Debug)]
enum State {
    /// It is worked on, and the server is told so.
    InHand(Subject),
    /// Its acknowledgement waits to be sent.
    Leaving,
    /// Its acknowledgement was sent.
    Settled,
    /// It was dropped, and comes again.
    GivenUp,
}

/// What this process knows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    New,
    InHand,
    Settled,
}

/// Deliveries of one stream that came together.
pub(super) struct Batch {
    stream: Arc<str>,
    since: Instant,
    entries: Mutex<Entries>,
}

struct Entries {
    all: Vec<(Place, State)>,
    /// Those in hand or leaving.
    unsettled: usize,
    /// When the last of them was settled or given up.
    closed: Instant,
}

/// All of them, the oldest first.
#[derive(Default)]
pub(super) struct Held {
    batches: VecDeque<Arc<Batch>>,
    /// By stream, the highest place that came: what lies above it cannot have come before.
    highest: HashMap<Arc<str>, u64>,
}

impl Entries {
    fn close(&mut self, now: Instant) {
        self.unsettled -= 1;
        self.closed = now;
    }
}

impl Batch {
    /// Of which stream.
    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, stream: &str, place: Place, now: Instant) -> Option<Known> {
        if *self.stream != *stream {
            return None;
        }
        let entries = self.entries();
        let (_, state) = entries.all.iter().rev().find(|(it, _)| *it == place)?;
        match state {
            State::InHand(_) | State::Leaving if now - self.since < LONGEST => Some(Known::InHand),
            State::Settled if now - entries.closed < KNOWN => Some(Known::Settled),
            _ => None,
        }
    }

    /// One is about to be acknowledged: where to. From here on it is this process that has ended it, whoever is slow to hear of it.
    pub(super) fn leave(&self, at: usize) -> Option<Subject> {
        let mut entries = self.entries();
        let (_, state) = entries.all.get_mut(at)?;
        let reply = state.in_hand()?;
        *state = State::Leaving;
        Some(reply)
    }

    /// The acknowledgement of one that was leaving was sent, or could not be.
    pub(super) fn left(&self, at: usize, sent: bool, now: Instant) {
        let mut entries = self.entries();
        if let Some((_, state @ State::Leaving)) = entries.all.get_mut(at) {
            *state = if sent { State::Settled } else { State::GivenUp };
            entries.close(now);
        }
    }

    /// Leaves one to come again, if it is in hand.
    pub(super) fn give_up(&self, at: usize, now: Instant) {
        let mut entries = self.entries();
        if let Some((_, state @ State::InHand(_))) = entries.all.get_mut(at) {
            *state = State::GivenUp;
            entries.close(now);
        }
    }
}

impl Held {
    /// Takes deliveries in hand. Nothing for a copy of what is: it is left to the delivery that is.
    pub(super) fn take(&mut self, stream: &Arc<str>, came: Vec<Came>, now: Instant) -> Vec<Option<Taken>> {
        came.into_iter().map(|it| self.take_one(stream, it, now)).collect()
    }

    fn take_one(&mut self, stream: &Arc<str>, came: Came, now: Instant) -> Option<Taken> {
        let Came { place, reply, time } = came;
        let highest = self.highest.entry(stream.clone()).or_default();
        let is_new = time < 2 && place.sequence > *highest;
        *highest = (*highest).max(place.sequence);
        let known = if is_new { Known::New } else { self.known(stream, place, now) };
        if known == Known::InHand {
            return None;
        }
        let batch = self.batch(stream, now);
        let at = {
            let mut entries = batch.entries();
            entries.all.push((place, State::InHand(reply)));
            entries.unsettled += 1;
            entries.all.len() - 1
        };
        Some(Taken { batch, at, is_copy: known == Known::Settled })
    }

    fn known(&self, stream: &str, place: Place, now: Instant) -> Known {
        self.batches.iter().rev().find_map(|it| it.known(stream, place, now)).unwrap_or(Known::New)
    }

    /// The batch that takes the next one.
    fn batch(&mut self, stream: &Arc<str>, now: Instant) -> Arc<Batch> {
        let takes =
            |it: &&Arc<Batch>| it.stream == *stream && now - it.since < BATCH.1 && it.entries().all.len() < BATCH.0;
        if let Some(batch) = self.batches.back().filter(takes) {
            return batch.clone();
        }
        let entries = Entries { all: Vec::with_capacity(BATCH.0), unsettled: 0, closed: now };
        let batch = Arc::new(Batch { stream: stream.clone(), since: now, entries: Mutex::new(entries) });
        self.batches.push_back(batch.clone());
        batch
    }

    /// Those that would come again soon. What was held too long, or is over and not worth knowing any more, is forgotten here: of
    /// what is over, the newest that servers may have unsettled at once are enough.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Subject> {
        let most = usize::try_from(UNSETTLED).unwrap_or_default();
        let (mut due, mut over) = (Vec::new(), 0);
        let mut kept = VecDeque::with_capacity(self.batches.len());
        for batch in self.batches.drain(..).rev() {
            let entries = batch.entries();
            let age = now - batch.since;
            let keep = if entries.unsettled > 0 {
                if age >= EVERY && age < LONGEST {
                    due.extend(entries.all.iter().filter_map(|(_, it)| it.in_hand()));
                }
                age < LONGEST
            } else {
                over += entries.all.len();
                over <= most && now - entries.closed < KNOWN
            };
            drop(entries);
            if keep {
                kept.push_front(batch);
            }
        }
        self.batches = kept;
        due
    }
}

impl State {
    fn in_hand(&self) -> Option<Subject> {
        if let Self::InHand(reply) = self { Some(reply.clone()) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    fn came(sequence: u64, time: u64) -> Came {
        let place = Place { sequence, published_at: Timestamp::UNIX_EPOCH };
        Came { place, reply: format!("{sequence}.{time}").into(), time }
    }

    fn take(held: &mut Held, sequence: u64, time: u64, now: Instant) -> Option<Taken> {
        held.take(&"S".into(), vec![came(sequence, time)], now).pop().flatten()
    }

    fn settle(taken: &Taken, now: Instant) {
        assert!(taken.batch.leave(taken.at).is_some());
        taken.batch.left(taken.at, true, now);
    }

    #[test]
    fn a_copy_of_what_is_in_hand_is_left_out_until_its_acknowledgement_was_sent() {
        let (mut held, now) = (Held::default(), Instant::now());
        let first = take(&mut held, 7, 1, now).unwrap();
        assert!(take(&mut held, 7, 2, now).is_none(), "in hand");
        assert_eq!(first.batch.leave(first.at).unwrap().as_str(), "7.1");
        assert!(first.batch.leave(first.at).is_none(), "once");
        assert!(take(&mut held, 7, 3, now).is_none(), "on its way");
        first.batch.left(first.at, true, now);
        assert!(take(&mut held, 7, 4, now).unwrap().is_copy);
    }

    #[test]
    fn what_is_given_up_or_not_sent_comes_again_as_new() {
        let (mut held, now) = (Held::default(), Instant::now());
        let dropped = take(&mut held, 1, 1, now).unwrap();
        dropped.batch.give_up(dropped.at, now);
        assert!(dropped.batch.leave(dropped.at).is_none(), "it is not ours any more");
        assert!(!take(&mut held, 1, 2, now).unwrap().is_copy);
        let unsent = take(&mut held, 2, 1, now).unwrap();
        unsent.batch.leave(unsent.at);
        unsent.batch.left(unsent.at, false, now);
        assert!(!take(&mut held, 2, 2, now).unwrap().is_copy);
    }

    #[test]
    fn a_consumer_that_is_made_anew_brings_copies_that_call_themselves_the_first() {
        let (mut held, now) = (Held::default(), Instant::now());
        let _one = take(&mut held, 1, 1, now).unwrap();
        let _two = take(&mut held, 2, 1, now).unwrap();
        assert!(take(&mut held, 1, 1, now).is_none());
        let mut anew = came(1, 1);
        anew.place.published_at = Timestamp::MAX;
        assert!(held.take(&"S".into(), vec![anew], now).pop().flatten().is_some(), "another stream of that name");
        assert!(held.take(&"T".into(), vec![came(1, 1)], now).pop().flatten().is_some(), "another stream");
    }

    #[test]
    fn what_came_together_twice_is_taken_once() {
        let mut held = Held::default();
        let taken = held.take(&"S".into(), vec![came(1, 2), came(2, 1), came(1, 3)], Instant::now());
        assert_eq!(taken.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn the_server_is_told_of_what_is_in_hand_and_of_nothing_else() {
        let (mut held, now) = (Held::default(), Instant::now());
        let all: Vec<Taken> = (1..=4).filter_map(|it| take(&mut held, it, 1, now)).collect();
        settle(&all[0], now);
        all[1].batch.leave(all[1].at);
        all[2].batch.give_up(all[2].at, now);
        assert!(held.due(now + EVERY - TICK).is_empty(), "too early");
        let due = held.due(now + EVERY);
        assert_eq!(due.iter().map(Subject::as_str).collect::<Vec<_>>(), ["4.1"]);
        assert!(held.due(now + LONGEST).is_empty(), "forgotten by its worker");
        assert!(take(&mut held, 4, 2, now + LONGEST).is_some(), "somebody else may do better");
    }

    #[test]
    fn what_was_settled_is_known_for_a_while_and_no_more_than_can_be_unsettled() {
        let (mut held, now) = (Held::default(), Instant::now());
        settle(&take(&mut held, 1, 1, now).unwrap(), now);
        let later = now + KNOWN - TICK;
        held.due(later);
        assert!(take(&mut held, 1, 2, later).unwrap().is_copy);
        let mut held = Held::default();
        settle(&take(&mut held, 1, 1, now).unwrap(), now);
        assert!(!take(&mut held, 1, 2, now + KNOWN).unwrap().is_copy);

        let mut held = Held::default();
        let most = u64::try_from(UNSETTLED).unwrap();
        let full = u64::try_from(BATCH.0).unwrap();
        (1..=most + full).for_each(|it| settle(&take(&mut held, it, 1, now).unwrap(), now));
        held.due(now);
        assert!(!take(&mut held, 1, 2, now).unwrap().is_copy, "the oldest are forgotten");
        assert!(take(&mut held, most + full, 2, now).unwrap().is_copy);
        assert!(held.batches.len() <= BATCH.0, "{} batches", held.batches.len());
    }
}
