//! The ledger forgets: somebody removes it, or brings back an older copy. The judge keeps what it said until then. After a
//! while people accept what is left, as `flyball ledger accept` does.

use std::sync::Arc;

use flyball_core::id::Revision;
use flyball_core::mark::Mark;
use flyball_core::ports::{Clock, Ledger, Write};
use flyball_core::record::{Acceptance, Entry, Record, Topic};
use flyball_sim::World;
use jiff::SignedDuration;

use super::chronicle::{Chronicle, Loss};
use super::stage::{Stage, Todo};

/// How long people wait before they try once more.
const AGAIN: SignedDuration = SignedDuration::from_millis(300);

impl Stage {
    /// The newest entries are gone; without a number all are, and another ledger stands in their place.
    pub(super) fn forget(&mut self, newest: Option<u64>, accepted: SignedDuration) {
        if self.chronicle.log().loss.is_some() {
            return;
        }
        let (ledger, entries) = (&self.world.ledger, self.world.ledger.entries());
        let left = Revision(newest.map_or(0, |it| (entries.len() as u64).saturating_sub(it)));
        match newest {
            None => ledger.wipe(),
            Some(_) => ledger.restore(left),
        }
        let marked = self.world.anchor.mark().is_some_and(|it| newest.is_none() || it.newest.revision > left);
        if marked {
            self.chronicle.log().mark("amnesia that the mark tells of");
        }
        let alive = self.replicas.iter().filter_map(|it| it.process.as_ref()).map(|it| it.who.process());
        let loss = Loss { at: self.clock.now(), entries, witnesses: alive.collect(), marked, accepted: None };
        self.chronicle.log().loss = Some(loss);
        self.later(accepted, Todo::Accept);
    }

    /// People accept what is there, if they have to.
    pub(super) fn accept(&self) {
        if self.chronicle.log().loss.is_none() || self.agrees() {
            return;
        }
        let (world, chronicle, clock) = (self.world.clone(), self.chronicle.clone(), self.clock.clone());
        tokio::spawn(accepting(world, chronicle, clock));
    }

    fn agrees(&self) -> bool {
        let (identity, newest) = (self.world.ledger.identity(), self.world.ledger.newest_now());
        self.world.anchor.mark().is_none_or(|it| {
            let at =
                |entries: &[Entry]| entries.iter().find(|entry| entry.revision == it.newest.revision).map(|it| it.sum);
            it.agrees(&identity, newest, self.world.ledger.read(at)).is_ok()
        })
    }
}

async fn accepting(world: Arc<World>, chronicle: Arc<Chronicle>, clock: Arc<dyn Clock>) {
    let acceptance = Acceptance { by: "people".into(), reason: "seen".into(), marked: world.anchor.mark() };
    let head = loop {
        let record = Record::Accepted(acceptance.clone());
        match world.ledger.append(Write { topic: Topic::Note, expect: None, record }).await {
            Ok(head) => break head,
            Err(_) => clock.sleep(AGAIN).await,
        }
    };
    world.anchor.put(Some(Mark { ledger: world.ledger.identity(), newest: head }));
    let (now, mut log) = (clock.now(), chronicle.log());
    log.tell(now, || format!("people accept the ledger at entry {}", head.revision));
    log.mark("people accepted a ledger");
    if let Some(loss) = &mut log.loss {
        loss.accepted.get_or_insert(now);
    }
}
