//! The bus behind the door of one process, read as the product reads JetStream: a reader fetches, what has come often goes to
//! its trial first, and what is in hand is not delivered again for as long as the process lives and says so.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flyball::intake::{KILLS_ITS_READER, Trials};
use flyball_core::ports::{Answer, Delivery, PortError, Receipted, Signals};
use jiff::SignedDuration;
use tokio::sync::{Notify, SetOnce, mpsc};
use tokio::task::JoinSet;

use super::bounds;
use super::chronicle::{Ack, Phase, PutAside};
use super::doors::Doors;
use super::process::Way;
use super::suspects::{self, Marked};

/// Deliveries at once, and such as are kept ready.
const BATCH: usize = 256;
/// How often the bus is told of what is in hand: a quarter of what it waits.
const EVERY: SignedDuration = SignedDuration::from_millis(500);

/// The bus of one process.
pub(super) struct Bus {
    doors: Doors,
    hands: Arc<Hands>,
    /// Somebody has asked for the first time.
    begun: Arc<SetOnce<()>>,
    received: tokio::sync::Mutex<mpsc::Receiver<Delivery>>,
    /// What begins with a message that kills its reader: it is read next.
    doomed: Mutex<Vec<Delivery>>,
    _tasks: JoinSet<()>,
}

impl Bus {
    pub(super) fn open(doors: &Doors) -> Self {
        let (queue, received) = mpsc::channel(BATCH);
        let (trials, trying) = Trials::open(Arc::new(Marked(doors.clone())), queue, Arc::new(()));
        let hands = Arc::new(Hands::default());
        let mut tasks = JoinSet::new();
        let begun = Arc::<SetOnce<()>>::default();
        tasks.spawn(read(doors.clone(), hands.clone(), trials, begun.clone()));
        tasks.spawn(trying);
        tasks.spawn(hold(doors.clone(), hands.clone()));
        Self {
            doors: doors.clone(),
            hands,
            begun,
            received: tokio::sync::Mutex::new(received),
            doomed: Mutex::default(),
            _tasks: tasks,
        }
    }

    fn doomed(&self) -> MutexGuard<'_, Vec<Delivery>> {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read what kills, if that is next: nobody comes back from there.
    async fn read_on(&self) {
        let next = self.doomed().first().map(|it| it.message.sequence);
        let Some(sequence) = next else { return };
        let process = &self.doors.process;
        {
            let mut log = process.chronicle.log();
            log.mark("killed by a message");
            log.killers.entry(sequence).or_default().push(process.who);
        }
        process.kill(&format!("of message {sequence}"));
        pending::<()>().await;
    }
}

impl Signals for Bus {
    fn next(&self) -> Answer<'_, Option<Vec<Delivery>>> {
        Box::pin(async move {
            self.doors.process.alive().await;
            // Each read says so; the first one counts.
            let _ = self.begun.set(());
            self.doors.process.chronicle.log().readers.insert(self.doors.process.who);
            self.read_on().await;
            let mut batch = Vec::new();
            if self.received.lock().await.recv_many(&mut batch, BATCH).await == 0 {
                return None;
            }
            self.doors.process.alive().await;
            bounds::kept(&self.doors, &self.hands.sequences());
            let deadly = {
                let log = self.doors.process.chronicle.log();
                batch.iter().position(|it| log.killers.contains_key(&it.message.sequence))
            };
            if let Some(at) = deadly {
                *self.doomed() = batch.split_off(at);
            }
            if batch.is_empty() {
                self.read_on().await;
            }
            Some(batch)
        })
    }

    fn ready(&self) -> Answer<'_, Result<(), PortError>> {
        self.doors.read_boxed(Way::Bus, "ready", self.doors.world.signals.ready())
    }
}

/// Fetches for ever, from the first time on that somebody asks: what a process holds that cannot start would look, after some
/// starts, as if it were to blame for them.
async fn read(doors: Doors, hands: Arc<Hands>, trials: Trials, begun: Arc<SetOnce<()>>) {
    begun.wait().await;
    let process = doors.process.clone();
    loop {
        if let Some(until) = process.host.is_cut(Way::Bus, process.clock.now()) {
            process.clock.sleep(until.duration_since(process.clock.now())).await;
        }
        process.cross("fetch", Phase::Before).await;
        let batch = doors.world.signals.next_counted().await;
        process.cross("fetch", Phase::After).await;
        // What was on its way when the way was cut comes again later.
        if process.host.is_cut(Way::Bus, process.clock.now()).is_some() {
            continue;
        }
        for (Delivery { message, receipt }, time) in batch.into_iter().flatten() {
            let sequence = message.sequence;
            let slip = Slip { doors: doors.clone(), sequence, receipt, held: hands.take(sequence) };
            let delivery = Delivery { message, receipt: Box::new(slip) };
            if !trials.pass(delivery, time, || suspects::name(sequence)).await {
                return;
            }
        }
    }
}

/// Tells the bus what is in hand, until it is dropped.
async fn hold(doors: Doors, hands: Arc<Hands>) {
    let process = doors.process.clone();
    loop {
        hands.filled().await;
        process.clock.sleep(EVERY).await;
        process.alive().await;
        if process.host.is_cut(Way::Bus, process.clock.now()).is_none() {
            hands.sequences().into_iter().for_each(|it| doors.world.signals.extend(it));
        }
    }
}

/// What a process has fetched and not settled.
#[derive(Default)]
struct Hands {
    held: Mutex<(u64, BTreeMap<u64, u64>)>,
    filled: Notify,
}

impl Hands {
    fn held(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, u64>)> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, sequence: u64) -> Held {
        let mut held = self.held();
        held.0 += 1;
        let key = held.0;
        held.1.insert(key, sequence);
        self.filled.notify_one();
        Held { hands: self.clone(), key }
    }

    fn sequences(&self) -> Vec<u64> {
        self.held().1.values().copied().collect()
    }

    async fn filled(&self) {
        while self.held().1.is_empty() {
            self.filled.notified().await;
        }
    }
}

struct Held {
    hands: Arc<Hands>,
    key: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.hands.held().1.remove(&self.key);
    }
}

struct Slip {
    doors: Doors,
    sequence: u64,
    receipt: Box<dyn Receipted>,
    held: Held,
}

impl Receipted for Slip {
    fn acknowledge(self: Box<Self>, durable: bool) -> Answer<'static, ()> {
        Box::pin(async move {
            let Self { doors, sequence, receipt, held } = *self;
            let process = doors.process.clone();
            process.cross("acknowledge", Phase::Before).await;
            if doors.swallowed(Way::Bus).await {
                return;
            }
            let arrived = async move {
                let ledger =
                    doors.world.ledger.read(|entries| entries.last().map_or_else(Default::default, |it| it.revision));
                let ack = Ack { at: doors.process.clock.now(), sequence, ledger };
                doors.process.chronicle.log().acks.push(ack);
                receipt.acknowledge(durable).await;
            };
            process.leave(arrived).await;
            process.cross("acknowledge", Phase::After).await;
            drop(held);
        })
    }

    fn refuse(self: Box<Self>, reason: &str, detail: &str) -> Answer<'static, Result<(), PortError>> {
        let (reason, detail) = (reason.to_owned(), detail.to_owned());
        Box::pin(async move {
            let Self { doors, sequence, receipt, held } = *self;
            let process = doors.process.clone();
            process.cross("refuse", Phase::Before).await;
            if doors.swallowed(Way::Bus).await {
                return Err(PortError::Unavailable("cut off".into()));
            }
            if reason == KILLS_ITS_READER {
                let tried = doors.suspects.of(&suspects::name(sequence));
                let put_aside = PutAside { at: process.clock.now(), sequence, tried };
                process.chronicle.log().put_aside.push(put_aside);
            }
            let answer = process.leave(async move { receipt.refuse(&reason, &detail).await }).await;
            process.cross("refuse", Phase::After).await;
            drop(held);
            answer
        })
    }
}
