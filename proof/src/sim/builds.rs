//! Replicas of two builds on one ledger, as in an upgrade that is rolled out. The newer one writes entries, and keeps checkpoints, of a
//! version that the older one has never heard of (O2).

use flyball_core::id::Revision;
use flyball_core::ports::{Checkpoint, PortError, Write};
use jiff::SignedDuration;

use super::doors::Doors;
use super::stage::{Stage, Todo};

/// How a checkpoint says which entries its writer reads: ours, and the newer build's.
const READS: [&str; 2] = [r#"{"v":1,"records":1,"#, r#"{"v":1,"records":2,"#];

/// So long after one part of a process was given an entry, to compare the high-water mark with it, its fold has met it, too.
const MET: SignedDuration = SignedDuration::from_secs(3);

impl Doors {
    /// A breach of O2 by this process, unless it is of the newer build or there is nothing that it could not read.
    fn older(&self, wrong: impl FnOnce(Revision) -> Option<String>) {
        if self.newer {
            return;
        }
        let Some(first) = self.world.ledger.first_of_a_newer_build() else { return };
        if let Some(what) = wrong(first) {
            let (process, at) = (&self.process, self.process.clock.now());
            process.chronicle.log().breach("O2", Some(at), format!("r{} {what}", process.who.replica));
        }
    }

    /// O2: whoever was given what it cannot read writes nothing any more, and nobody goes on from what it cannot read.
    pub(super) fn may_write(&self, write: &Write) {
        self.older(|first| {
            let behind = write.expect.filter(|it| self.world.ledger.is_of_a_newer_build(it.revision));
            if let Some(it) = behind {
                return Some(format!("writes behind entry {}, which it cannot read", it.revision));
            }
            let since = self.blind.get().map(|it| self.process.clock.now().duration_since(*it));
            if since.is_some_and(|it| it > MET) {
                return Some("writes after it was given an entry that it cannot read".to_owned());
            }
            self.passed_over(first)
        });
    }

    /// O2: nobody folds past what it cannot read.
    pub(super) fn may_keep(&self, upto: Revision) {
        self.older(|first| (upto >= first).then(|| format!("keeps a fold up to {upto}, past entry {first}")));
    }

    /// O2: nobody removes what it cannot read.
    pub(super) fn may_purge(&self, before: Revision) {
        self.older(|first| (before > first).then(|| format!("removes what lies before {before}, entry {first} too")));
    }

    fn passed_over(&self, first: Revision) -> Option<String> {
        // Who lived when the ledger forgot knows more of it than there is.
        if self.process.chronicle.log().loss.is_some() {
            return None;
        }
        let folded = self.engine()?.book.history().revision();
        (folded >= first).then(|| format!("has folded up to {folded}, past entry {first}, which it cannot read"))
    }

    /// Notes that a read gave what cannot be read.
    pub(super) fn given<T>(&self, answer: &Result<T, PortError>) {
        let unread = matches!(answer, Err(PortError::Unusable(_)));
        if unread && !self.newer && self.world.ledger.first_of_a_newer_build().is_some() {
            let now = self.process.clock.now();
            self.blind.get_or_init(|| now);
            self.process.chronicle.log().mark("an older build met a newer entry");
        }
    }

    /// A checkpoint as this build writes it.
    pub(super) fn written(&self, checkpoint: Checkpoint) -> Checkpoint {
        if self.newer { relabelled(checkpoint, READS[0], READS[1]) } else { checkpoint }
    }

    /// A checkpoint as this build reads it.
    pub(super) fn understood(&self, checkpoint: Checkpoint) -> Checkpoint {
        if self.newer { relabelled(checkpoint, READS[1], READS[0]) } else { checkpoint }
    }
}

fn relabelled(checkpoint: Checkpoint, from: &str, to: &str) -> Checkpoint {
    let Some(rest) = checkpoint.body.strip_prefix(from.as_bytes()) else { return checkpoint };
    Checkpoint { revision: checkpoint.revision, body: [to.as_bytes(), rest].concat().into() }
}

impl Stage {
    /// One replica is ended and comes back as the newer build; the others follow.
    pub(super) fn upgrade(&mut self, replica: usize, rest: SignedDuration) {
        self.renew(replica);
        self.later(rest, Todo::Upgrade);
    }

    /// Every replica that is not yet of the newer build becomes it.
    pub(super) fn upgrade_all(&mut self) {
        (0..self.replicas.len()).for_each(|it| self.renew(it));
    }

    /// The upgrade that was begun is brought to its end.
    pub(super) fn finish_upgrade(&mut self) {
        if self.replicas.iter().any(|it| it.newer) {
            self.upgrade_all();
        }
    }

    fn renew(&mut self, replica: usize) {
        let replica = &mut self.replicas[replica];
        if !std::mem::replace(&mut replica.newer, true) {
            replica.stop.notify_one();
        }
    }
}
