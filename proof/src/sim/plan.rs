//! What happens in a run: drawn from the seed, then perhaps thinned out. A plan is a list, so that a failing one can be cut
//! down to the few things that matter.

use flyball_core::workload::WorkloadKind;
use flyball_sim::{Fault, LedgerFault, Random};
use jiff::SignedDuration;

use super::chronicle::Phase;
use super::past::Past;
use super::process::{Trap, Way};
use super::rare::{self, Burst};

/// Something that is done to the world at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// A signal: which kind of trouble, about which target, in which of the publisher's windows.
    Signal { trouble: usize, target: usize, window: u64 },
    /// Bytes that are no signal.
    Poison(usize),
    /// A message of before comes again though nobody failed to acknowledge it.
    Redeliver(u64),
    /// SIGKILL at a call to come; started again after so long, or not before the end of the storm.
    Kill { replica: usize, trap: Trap, down: Option<SignedDuration> },
    /// SIGTERM, and another process after it.
    Roll { replica: usize },
    /// SIGSTOP for so long.
    Freeze { replica: usize, lasting: SignedDuration },
    /// The wall clock of one replica is moved.
    Step { replica: usize, by: SignedDuration },
    /// One way out of a replica's machine is cut.
    Cut { replica: usize, way: Way, lasting: SignedDuration },
    /// Watches of one replica bring nothing.
    Stall { replica: usize, lasting: SignedDuration },
    /// A server is gone for all.
    Outage { way: Way, lasting: SignedDuration },
    /// The next append, of whomever.
    Ledger(LedgerFault),
    /// Every tail is cut.
    CutTails,
    /// The newest checkpoint is damaged.
    Rot,
    /// The ledger forgets its newest entries, or everything and becomes another; people accept what is left after so long.
    Forget { newest: Option<u64>, accepted: SignedDuration },
    /// The next request that changes something, of whomever.
    Cluster(Fault),
    /// The next read of the cluster fails.
    Unreadable,
    /// The next acknowledgements are lost.
    LoseAcks(u32),
    /// Somebody else's hands.
    Hand { target: usize, hand: Hand },
    /// Somebody presses the stop button through one replica, and releases it.
    Pause { replica: usize, id: u64, scope: usize, lasting: SignedDuration },
    /// Somebody cancels, through one replica, the next intent that has no effect yet.
    Cancel { replica: usize },
    /// A message that kills whoever begins to read it.
    Killer,
    /// Many signals in one moment.
    Burst(Burst),
    /// One replica is ended, and goes on as a newer build; so do the others, after so long.
    Upgrade { replica: usize, rest: SignedDuration },
}

/// What others do to a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hand {
    Annotate,
    Scale(i32),
    Release,
    BadRelease,
    RolloutUndo,
    Recreate,
    Crash,
    Heal,
    Autoscaler(bool),
    Budget(bool),
    OptOut(bool),
}

/// One line of the plan.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Op {
    /// Its place in the whole plan, by which it is kept when others are not.
    pub(super) number: usize,
    pub(super) at: SignedDuration,
    pub(super) act: Act,
}

/// A plan.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) replicas: usize,
    pub(super) targets: Vec<(&'static str, WorkloadKind, &'static str, i32)>,
    pub(super) ops: Vec<Op>,
    /// How long things go wrong.
    pub(super) storm: SignedDuration,
    /// Of 1,000 calls so many are slow.
    pub(super) slow: u64,
    pub(super) odds: Odds,
    /// Parts in a million by which each replica's monotonic clock is fast.
    pub(super) rates: Vec<i64>,
    /// What lies behind.
    pub(super) past: Option<Past>,
}

/// Faults by chance.
#[derive(Clone, Debug, Default)]
pub(super) struct Odds {
    pub(super) ledger: Vec<(u32, LedgerFault)>,
    pub(super) cluster: Vec<(u32, Fault)>,
    pub(super) acks: u32,
}

/// What to leave out of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Thin {
    /// Only these operations; all if none is named.
    pub(super) keep: Option<Vec<usize>>,
    /// No faults by chance, no slow calls.
    pub(super) quiet: bool,
    /// No past.
    pub(super) young: bool,
    /// No more replicas than these.
    pub(super) replicas: Option<usize>,
}

/// Kinds of trouble that a publisher reports: kind of message, word, whether it clears.
pub(super) const TROUBLES: [(&str, &str); 12] = [
    ("rca", "leak"),
    ("rca", "deadlock"),
    ("rca", "bad"),
    ("rca", "release"),
    ("anomaly", "latency"),
    ("anomaly", "error"),
    ("anomaly", "other"),
    ("clear", "latency"),
    ("rca", "stuck"),
    ("anomaly", "resource"),
    ("clear", "resource"),
    ("rca", "nobody-knows"),
];

/// How many kinds of bytes that are no signal there are.
pub(super) const POISONS: usize = 3;

/// Calls at which a process may be told to die.
const POINTS: [&str; 36] = [
    "",
    "append CancelAsked",
    "fence",
    "beat",
    "keep checkpoint",
    "read checkpoint",
    "append Purged",
    "purge",
    "append Admitted",
    "append Deferred",
    "append Released",
    "append Paused",
    "append Resumed",
    "append Folded",
    "append Symptom",
    "append Sighted",
    "append Started",
    "append Fence",
    "append Attempted",
    "append Unanswered",
    "append Missed",
    "append Applied",
    "append RolledOut",
    "append Undoing",
    "append TakenOver",
    "append Closed",
    "send",
    "read back",
    "read target",
    "read rollout",
    "acknowledge",
    "refuse",
    "fetch",
    "follow",
    "newest",
    "append",
];

/// Kinds of faults: each seed has some of them, since all of them at once hide what few of them show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kills,
    Freezes,
    Clocks,
    Cuts,
    Ledger,
    Cluster,
    Hands,
    Pauses,
    Bus,
    Rolls,
}

const KINDS: [Kind; 10] = [
    Kind::Kills,
    Kind::Freezes,
    Kind::Clocks,
    Kind::Cuts,
    Kind::Ledger,
    Kind::Cluster,
    Kind::Hands,
    Kind::Pauses,
    Kind::Bus,
    Kind::Rolls,
];

/// The kinds of one seed.
struct Swarm(Vec<Kind>);

impl Swarm {
    fn draw(random: &mut Random) -> Self {
        Self(KINDS.into_iter().filter(|it| random.below(4) < if *it == Kind::Kills { 3 } else { 2 }).collect())
    }

    fn has(&self, kind: Kind) -> bool {
        self.0.contains(&kind)
    }
}

impl Plan {
    /// The plan of a seed.
    pub(super) fn draw(seed: u64, thin: &Thin) -> Self {
        let mut random = Random::new(seed, "plan");
        let replicas = 1 + usize::try_from(random.below(12)).unwrap_or(0).min(8) / 2;
        let swarm = Swarm::draw(&mut random);
        let storm = SignedDuration::from_secs(20 + i64::try_from(random.below(40)).unwrap_or(0));
        let hold = SignedDuration::from_secs([2, 8, 25][usize::try_from(random.below(3)).unwrap_or(0)]);
        let targets = targets(&mut random);
        let slow = if random.below(3) == 0 { 5 + random.below(25) } else { 0 };
        let odds = odds(&swarm, &mut random, hold);
        let fast = |_| if swarm.has(Kind::Clocks) { i64::try_from(random.below(401)).unwrap_or(0) - 200 } else { 0 };
        let rates = (0..replicas).map(fast).collect();
        let mut draft = Draft { random, replicas, targets: targets.len(), storm, hold };
        let ops = rare::add(draft.ops(&swarm), seed, replicas, targets.len(), storm);
        // Acknowledgements go one after the other: with slow ones among them those of a burst would take minutes.
        let slow = if ops.iter().any(|op| matches!(op.act, Act::Burst(_))) { 0 } else { slow };
        let past = Past::draw(seed, TROUBLES.len(), targets.len());
        Self { seed, replicas, targets, ops, storm, slow, odds, rates, past }.thinned(thin)
    }

    fn thinned(mut self, thin: &Thin) -> Self {
        if let Some(keep) = &thin.keep {
            self.ops.retain(|op| keep.contains(&op.number));
        }
        if thin.quiet {
            (self.slow, self.odds) = (0, Odds::default());
        }
        if thin.young {
            self.past = None;
        }
        if let Some(replicas) = thin.replicas {
            self.replicas = self.replicas.min(replicas.max(1));
        }
        self
    }
}

fn targets(random: &mut Random) -> Vec<(&'static str, WorkloadKind, &'static str, i32)> {
    use WorkloadKind::{DaemonSet, Deployment, StatefulSet};
    let all = [
        ("shop", Deployment, "cart", 3),
        ("shop", Deployment, "till", 2),
        ("shop", StatefulSet, "store", 2),
        ("erp", Deployment, "books", 1),
        ("erp", DaemonSet, "agent", 3),
        ("erp", Deployment, "mail", 2),
    ];
    let count = 1 + usize::try_from(random.below(6)).unwrap_or(0);
    all.into_iter().take(count).collect()
}

fn odds(swarm: &Swarm, random: &mut Random, hold: SignedDuration) -> Odds {
    let mut odds = Odds::default();
    let mut permille = |most: u64| u32::try_from(random.below(most)).unwrap_or(0);
    if swarm.has(Kind::Ledger) && permille(2) == 0 {
        odds.ledger = vec![
            (permille(30), LedgerFault::Lost),
            (permille(30), LedgerFault::AnswerLost),
            (permille(20), LedgerFault::Held(hold)),
            (permille(10), LedgerFault::Refused("the disk is full".into())),
        ];
    }
    if swarm.has(Kind::Cluster) && permille(2) == 0 {
        odds.cluster = vec![
            (permille(150), Fault::Lost),
            (permille(150), Fault::AnswerLost),
            (permille(100), Fault::Held(hold)),
            (permille(100), Fault::Duplicated(hold)),
            (permille(100), Fault::Unavailable),
            (permille(80), Fault::Raced(flyball_sim::Race::Status)),
            (permille(60), Fault::Halfway),
            (permille(20), Fault::Forbidden),
        ];
    }
    if swarm.has(Kind::Bus) {
        odds.acks = permille(200);
    }
    odds
}

struct Draft {
    random: Random,
    replicas: usize,
    targets: usize,
    storm: SignedDuration,
    hold: SignedDuration,
}

impl Draft {
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.random.below(limit as u64)).unwrap_or(0)
    }

    fn seconds(&mut self, most: u64) -> SignedDuration {
        SignedDuration::from_millis(i64::try_from(200 + self.random.below(most * 1_000)).unwrap_or(0))
    }

    fn ops(&mut self, swarm: &Swarm) -> Vec<Op> {
        let signals = 3 + self.below(16);
        let others = 2 + self.below(18);
        let mut acts: Vec<Act> = (0..signals).map(|_| self.signal()).collect();
        for _ in 0..others {
            acts.extend(self.fault(swarm));
        }
        // Once in a run: who forgets again and again has nothing left to compare.
        acts.extend((self.below(8) == 0).then(|| self.forget()));
        let span = u64::try_from(self.storm.as_millis()).unwrap_or(0);
        let mut timed: Vec<(SignedDuration, Act)> = acts
            .into_iter()
            .map(|act| (SignedDuration::from_millis(i64::try_from(self.random.below(span)).unwrap_or(0)), act))
            .collect();
        timed.sort_by_key(|(at, _)| *at);
        timed.into_iter().enumerate().map(|(number, (at, act))| Op { number, at, act }).collect()
    }

    fn signal(&mut self) -> Act {
        // Few windows, so that the same signal is published twice now and then.
        let trouble = self.below(TROUBLES.len());
        Act::Signal { trouble, target: self.below(self.targets), window: self.random.below(40) }
    }

    /// A fault, if the kind that is drawn is one of this seed's.
    fn fault(&mut self, swarm: &Swarm) -> Option<Act> {
        let replica = self.below(self.replicas);
        Some(match self.below(20) {
            0..=5 if swarm.has(Kind::Kills) => self.kill(replica),
            6..=7 if swarm.has(Kind::Freezes) => Act::Freeze { replica, lasting: self.seconds(25) },
            8 if swarm.has(Kind::Clocks) => {
                let by = i64::try_from(self.random.below(14_400)).unwrap_or(0) - 7_200;
                Act::Step { replica, by: SignedDuration::from_secs(by) }
            }
            9 if swarm.has(Kind::Cuts) => {
                let way = [Way::Ledger, Way::Cluster, Way::Bus][self.below(3)];
                Act::Cut { replica, way, lasting: self.seconds(12) }
            }
            10 if swarm.has(Kind::Cuts) => Act::Stall { replica, lasting: self.seconds(20) },
            11 if swarm.has(Kind::Ledger) => self.ledger(),
            12 if swarm.has(Kind::Cluster) => self.cluster(),
            13 if swarm.has(Kind::Cluster) => Act::Unreadable,
            14 if swarm.has(Kind::Hands) => Act::Hand { target: self.below(self.targets), hand: self.hand() },
            15 if swarm.has(Kind::Pauses) && self.below(3) == 0 => Act::Cancel { replica },
            15 if swarm.has(Kind::Pauses) => {
                let (id, scope) = (self.random.below(1 << 40), self.below(self.targets + 2));
                Act::Pause { replica, id, scope, lasting: self.seconds(15) }
            }
            16 if swarm.has(Kind::Bus) => {
                if self.below(2) == 0 {
                    Act::LoseAcks(1 + u32::try_from(self.random.below(4)).unwrap_or(0))
                } else {
                    Act::Redeliver(1 + self.random.below(12))
                }
            }
            17 if swarm.has(Kind::Bus) => Act::Poison(self.below(POISONS)),
            18 if swarm.has(Kind::Rolls) => Act::Roll { replica },
            19 if swarm.has(Kind::Cuts) => {
                let way = [Way::Ledger, Way::Cluster, Way::Bus][self.below(3)];
                Act::Outage { way, lasting: self.seconds(6) }
            }
            _ => return None,
        })
    }

    fn kill(&mut self, replica: usize) -> Act {
        let point = POINTS[self.below(POINTS.len())];
        let phase = if self.below(2) == 0 { Phase::Before } else { Phase::After };
        let reach = if point.is_empty() {
            60
        } else if point == "append" {
            8
        } else {
            2
        };
        // What happens rarely has to be hit the first time.
        let rare = reach == 2 && self.below(4) > 0;
        let after = if rare { 0 } else { u32::try_from(self.random.below(reach)).unwrap_or(0) };
        let down = (self.below(4) > 0).then(|| self.seconds(8));
        Act::Kill { replica, trap: Trap { point, phase, after }, down }
    }

    fn ledger(&mut self) -> Act {
        match self.below(6) {
            0 => Act::Ledger(LedgerFault::Lost),
            1 => Act::Ledger(LedgerFault::AnswerLost),
            2 => Act::Ledger(LedgerFault::Held(self.hold)),
            3 => Act::Ledger(LedgerFault::Refused("the disk is full".into())),
            4 => Act::Rot,
            _ => Act::CutTails,
        }
    }

    fn forget(&mut self) -> Act {
        let newest = (self.below(4) > 0).then(|| 1 + self.random.below(60));
        Act::Forget { newest, accepted: self.seconds(12) }
    }

    fn cluster(&mut self) -> Act {
        Act::Cluster(match self.below(8) {
            0 => Fault::Lost,
            1 => Fault::AnswerLost,
            2 => Fault::Held(self.hold),
            3 => Fault::Duplicated(self.hold),
            4 => Fault::Halfway,
            5 => Fault::Unavailable,
            6 => Fault::Forbidden,
            _ => Fault::Raced(flyball_sim::Race::Status),
        })
    }

    fn hand(&mut self) -> Hand {
        let on = self.below(2) == 0;
        match self.below(11) {
            0 => Hand::Annotate,
            1 => Hand::Scale(i32::try_from(self.below(4)).unwrap_or(0) + 1),
            2 => Hand::Release,
            3 => Hand::BadRelease,
            4 => Hand::RolloutUndo,
            5 => Hand::Recreate,
            6 => Hand::Crash,
            7 => Hand::Heal,
            8 => Hand::Autoscaler(on),
            9 => Hand::Budget(on),
            _ => Hand::OptOut(on),
        }
    }
}
