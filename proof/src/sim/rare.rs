//! What few runs have: a message that kills its reader, a burst, an upgrade. Drawn apart from the rest of the plan, so that a run
//! without them is what it would be if they did not exist.

use flyball_sim::Random;
use jiff::SignedDuration;

use super::chronicle::Phase;
use super::plan::{Act, Op};
use super::process::{Trap, Way};

/// Of so many runs one has a message that kills its reader, one an upgrade, and one a burst.
const ONE_IN: [u64; 3] = [10, 10, 80];
/// Of so many bursts one is about as many workloads as it has signals.
const CROWD: u64 = 6;
/// Signals of a flood, about one workload: many times what one worker queues.
const FLOOD: (u64, u64) = (1_500, 3_000);
/// Workloads of a crowd: some more than may wait.
const CROWDED: (u64, u64) = (flyball::pipeline::ROOM as u64 + 20, flyball::pipeline::ROOM as u64 + 200);

/// Where a process dies that tries a message.
const TRIALS: [&str; 3] = ["count marks", "put mark", "clear marks"];

/// Many signals in one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Burst {
    /// About one target.
    Flood { target: usize, count: u64 },
    /// About as many workloads, of which there is none.
    Crowd { count: u64 },
}

/// The plan's operations and, in few runs, some more.
pub(super) fn add(mut ops: Vec<Op>, seed: u64, replicas: usize, targets: usize, storm: SignedDuration) -> Vec<Op> {
    let mut draft = Draft { random: Random::new(seed, "rare"), replicas, targets, storm, ops: Vec::new() };
    let [killer, upgrade, burst] = ONE_IN.map(|it| draft.random.below(it) == 0);
    if killer {
        draft.killers();
    }
    if upgrade {
        draft.upgrade();
    }
    if burst {
        draft.burst();
    }
    ops.extend(draft.ops);
    ops.sort_by_key(|op| op.at);
    for (number, op) in ops.iter_mut().enumerate() {
        op.number = number;
    }
    ops
}

struct Draft {
    random: Random,
    replicas: usize,
    targets: usize,
    storm: SignedDuration,
    ops: Vec<Op>,
}

impl Draft {
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.random.below(limit as u64)).unwrap_or(0)
    }

    fn between(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.random.below(most - least)
    }

    fn millis(&mut self, least: u64, most: u64) -> SignedDuration {
        SignedDuration::from_millis(i64::try_from(self.between((least, most))).unwrap_or(0))
    }

    /// A moment of the storm's first so many hundredths.
    fn moment(&mut self, hundredths: u64) -> SignedDuration {
        let span = u64::try_from(self.storm.as_millis()).unwrap_or(0) * hundredths / 100;
        self.millis(0, span.max(1))
    }

    fn at(&mut self, at: SignedDuration, act: Act) {
        self.ops.push(Op { number: 0, at, act });
    }

    /// One or two of them, with others beside each. Some of those who try it die of something else.
    fn killers(&mut self) {
        for _ in 0..=self.below(4) / 3 {
            let at = self.moment(80);
            for _ in 0..self.below(4) {
                let (trouble, target, window) = (self.below(7), self.below(self.targets), 100 + self.random.below(40));
                self.at(at, Act::Signal { trouble, target, window });
            }
            self.at(at, Act::Killer);
            for _ in 0..self.below(3) {
                let phase = if self.below(2) == 0 { Phase::Before } else { Phase::After };
                let trap = Trap { point: TRIALS[self.below(TRIALS.len())], phase, after: 0 };
                let (replica, late, down) = (self.below(self.replicas), self.millis(0, 9_000), self.millis(200, 4_000));
                self.at(at + late, Act::Kill { replica, trap, down: Some(down) });
            }
        }
    }

    /// One replica is of the newer build from then on, the others after a while.
    fn upgrade(&mut self) {
        let at = self.moment(70);
        let (replica, rest) = (self.below(self.replicas), self.millis(500, 12_000));
        self.at(at, Act::Upgrade { replica, rest });
    }

    /// Often just when the server is gone that deciding needs: the room is what there is, and all of it is filled.
    fn burst(&mut self) {
        let at = self.moment(60);
        if self.random.below(CROWD) == 0 {
            let (count, lasting) = (self.between(CROWDED), self.millis(6_000, 15_000));
            self.at(at, Act::Outage { way: Way::Cluster, lasting });
            self.at(at, Act::Burst(Burst::Crowd { count }));
        } else {
            let (target, count, lasting) = (self.below(self.targets), self.between(FLOOD), self.millis(200, 4_000));
            if self.below(3) > 0 {
                self.at(at, Act::Outage { way: Way::Ledger, lasting });
            }
            self.at(at, Act::Burst(Burst::Flood { target, count }));
        }
    }
}
