//! Who lives, as far as we have heard.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball_core::intent::Writer;
use flyball_core::ports::Beat;

/// The lease, in beats of our own: a replica that was not heard for so many of them is silent. Counted in beats that came
/// through and not by a clock, so that neither a bus that was down nor a process that was frozen makes others look dead.
const LEASE: u64 = 5;
/// Names that were not heard for so many beats, an hour, are forgotten: pods of a Deployment never bear the same name again.
const FORGOTTEN: u64 = 3_600;

/// What we have heard of the others.
#[derive(Debug)]
pub struct Peers {
    me: Writer,
    own: u64,
    heard: BTreeMap<Arc<str>, u64>,
}

impl Peers {
    /// Nothing is heard yet: everybody has one lease from now on to be heard.
    pub fn new(me: Writer) -> Self {
        Self { me, own: 0, heard: BTreeMap::new() }
    }

    /// Takes note of a beat.
    pub fn hear(&mut self, beat: &Beat) {
        if beat.replica != self.me.replica {
            self.heard.insert(beat.replica.clone(), self.own);
        } else if beat.process == self.me.process {
            self.own += 1;
            let own = self.own;
            self.heard.retain(|_, at| own.saturating_sub(*at) < FORGOTTEN);
        }
    }

    /// Whether what `writer` drives is for us to drive: it is our own, an earlier process of ours left it, or its replica
    /// has been silent for the lease.
    pub fn may_inherit(&self, writer: &Writer) -> bool {
        writer.replica == self.me.replica || self.is_silent(&writer.replica)
    }

    fn is_silent(&self, replica: &str) -> bool {
        self.own >= self.heard.get(replica).copied().unwrap_or(0) + LEASE
    }

    /// Whether a whole lease has gone by in which nobody else was heard.
    pub fn is_alone(&self) -> bool {
        self.own >= LEASE && self.alive().next().is_none()
    }

    /// The other replicas that live.
    pub fn alive(&self) -> impl Iterator<Item = &Arc<str>> {
        self.heard.keys().filter(|it| !self.is_silent(it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(replica: &str, process: &str) -> Writer {
        Writer { replica: replica.into(), process: process.into(), epoch: 0 }
    }

    fn beat(replica: &str, process: &str) -> Beat {
        Beat { replica: replica.into(), process: process.into(), number: 1 }
    }

    #[test]
    fn a_replica_is_silent_after_five_beats_of_ours() {
        let mut peers = Peers::new(writer("one", "p1"));
        peers.hear(&beat("two", "p2"));
        for _ in 0..4 {
            peers.hear(&beat("one", "p1"));
        }
        assert!(!peers.may_inherit(&writer("two", "p2")));
        assert_eq!(peers.alive().count(), 1);
        peers.hear(&beat("one", "p1"));
        assert!(peers.may_inherit(&writer("two", "p2")));
        peers.hear(&beat("two", "p3"));
        assert!(!peers.may_inherit(&writer("two", "p2")), "its next process inherits");
    }

    #[test]
    fn nobody_is_silent_while_nothing_comes_through() {
        let mut peers = Peers::new(writer("one", "p1"));
        assert!(!peers.may_inherit(&writer("three", "p9")), "it has not had its lease");
        for _ in 0..10 {
            peers.hear(&beat("two", "p2"));
        }
        assert!(!peers.may_inherit(&writer("three", "p9")), "no beat of ours came back");
    }

    #[test]
    fn an_earlier_process_of_ours_is_inherited_at_once() {
        let peers = Peers::new(writer("one", "p2"));
        assert!(peers.may_inherit(&writer("one", "p1")));
    }
}
