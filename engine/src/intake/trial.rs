//! Puts a message aside that kills whoever reads it. A bus's count of deliveries alone cannot tell which one that is: whatever
//! was in the same process dies with it, and is delivered again as often. So a message that has come often is a *suspect*: it is read
//! alone among suspects, one at a time, and behind a mark that outlives the process. Who is innocent is settled a moment
//! later, and its marks go; a mark that stays says that the process ended while this one was tried.
//!
//! It knows no bus: where marks are kept is a port, so that what is simulated is what decides.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use flyball_core::ports::{Answer, Delivery, PortError, Receipted};
use tokio::sync::{mpsc, oneshot};

use super::kind_of;

/// The delivery from which on a message is a suspect. One redelivery is what a killed or restarted replica costs everything that
/// it held; two in a row are a bad day.
pub const SUSPECT: u64 = 3;
/// Marks that put a message aside. A trial takes milliseconds, so that one process dies in the midst of one by chance; that the
/// same message is tried each of three times is no chance.
pub const TRIALS: usize = 3;
/// The reason on the dead letter.
pub const KILLS_ITS_READER: &str = "kills-its-reader";
/// Suspects that wait: what two processes can have had in hand. More wait in the stream.
const WAITING: usize = 1024;
/// Between two attempts to remove a mark, at the longest.
const PAUSE: Duration = Duration::from_secs(2);
/// No work on one delivery takes this long: after it the next one is tried.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// Where it is kept that a message is being tried. What is put there outlives the process that put it.
pub trait Marks: Send + Sync {
    /// How many marks a message has.
    fn count<'a>(&'a self, name: &'a str) -> Answer<'a, Result<usize, PortError>>;
    /// Puts one, durably. Its number takes it back.
    fn put<'a>(&'a self, name: &'a str) -> Answer<'a, Result<u64, PortError>>;
    /// Takes one back.
    fn take_back(&self, number: u64) -> Answer<'_, Result<(), PortError>>;
    /// Removes every mark of a message.
    fn clear<'a>(&'a self, name: &'a str) -> Answer<'a, Result<(), PortError>>;
}

/// Hears what the engine itself never sees.
pub trait Observer: Send + Sync {
    /// A message became a dead letter because it kills its reader. `kind` is the one that the way it came names.
    fn put_aside(&self, kind: Option<&str>);
}

/// Nobody listens.
impl Observer for () {
    fn put_aside(&self, _: Option<&str>) {}
}

/// A suspect, and its name among the marks.
type Suspect = (String, Delivery);

/// What stands between a bus and who reads it.
#[derive(Clone)]
pub struct Trials {
    suspects: mpsc::Sender<Suspect>,
    queue: mpsc::Sender<Delivery>,
}

impl Trials {
    /// The trials of one process, and the task that holds them: what passes is sent on to `queue`.
    pub fn open(
        marks: Arc<dyn Marks>,
        queue: mpsc::Sender<Delivery>,
        observer: Arc<dyn Observer>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (waiting, suspects) = mpsc::channel(WAITING);
        let trials = Self { suspects: waiting, queue: queue.clone() };
        (trials, async move { hold(&*marks, suspects, queue, &*observer).await })
    }

    /// Passes a delivery on, the how-manieth of its message; a suspect goes to its trial first. False: nobody reads any more.
    pub async fn pass(&self, delivery: Delivery, time: u64, name: impl FnOnce() -> String) -> bool {
        if time < SUSPECT {
            return self.queue.send(delivery).await.is_ok();
        }
        // One for which there is no room is left to come again.
        if self.suspects.try_send((name(), delivery)).is_err() {
            tracing::warn!("Too many messages have come too often to try them all now");
        }
        true
    }
}

/// Tries one suspect after the other.
async fn hold(
    marks: &dyn Marks,
    mut suspects: mpsc::Receiver<Suspect>,
    queue: mpsc::Sender<Delivery>,
    observer: &dyn Observer,
) {
    while let Some((name, delivery)) = suspects.recv().await {
        let sequence = delivery.message.sequence;
        match admitted(marks, &name).await {
            Err(error) => {
                // Left to come again: nothing is tried without a mark.
                tracing::warn!(sequence, %error, "A message that came often cannot be tried");
            }
            Ok(None) => put_aside(delivery, observer).await,
            Ok(Some(mark)) => {
                let (settled, end) = oneshot::channel();
                let receipt = Box::new(OnTrial { receipt: delivery.receipt, settled });
                if queue.send(Delivery { message: delivery.message, receipt }).await.is_err() {
                    return;
                }
                // One that was given up, by a process that lives, says nothing of the processes before.
                match tokio::time::timeout(LONGEST, end).await {
                    Ok(Ok(())) => removed(&name, || marks.clear(&name)).await,
                    Ok(Err(_)) | Err(_) => removed(&name, || marks.take_back(mark)).await,
                }
            }
        }
    }
}

/// Removes marks. One that stayed would count as a death, so a server that is away is waited for.
async fn removed<'a>(name: &str, remove: impl Fn() -> Answer<'a, Result<(), PortError>>) {
    let told = |error: &PortError, pause: Duration| {
        tracing::warn!(%error, ?pause, name, "The mark of a message that was tried is not removed yet");
    };
    let patiently = ExponentialBuilder::default().with_max_delay(PAUSE).without_max_times();
    // In vain only where the whole store is gone, and the marks with it.
    let _ = tokio::time::timeout(LONGEST, remove.retry(patiently).notify(told)).await;
}

/// Whether a suspect may be read once more: the number of the mark behind which it is.
async fn admitted(marks: &dyn Marks, name: &str) -> Result<Option<u64>, PortError> {
    if marks.count(name).await? >= TRIALS {
        return Ok(None);
    }
    let put = marks.put(name).await;
    if put.is_err() {
        // It may be there all the same, under a number that nobody knows, and nobody has died of this message.
        removed(name, || marks.clear(name)).await;
    }
    put.map(Some)
}

async fn put_aside(delivery: Delivery, observer: &dyn Observer) {
    let Delivery { message, receipt } = delivery;
    let sequence = message.sequence;
    tracing::error!(sequence, subject = message.subject, "Puts a message aside that kills its reader");
    let detail = format!("the process ended {TRIALS} times while it read this message alone");
    match receipt.refuse(KILLS_ITS_READER, &detail).await {
        // Counted once it is kept: until then it comes again, and is put aside again.
        Ok(()) => observer.put_aside(kind_of(&message)),
        Err(error) => tracing::error!(sequence, %error, "It could not be kept; it is not acknowledged"),
    }
}

/// Tells when the delivery is settled; dropped, that it was given up.
struct OnTrial {
    receipt: Box<dyn Receipted>,
    settled: oneshot::Sender<()>,
}

impl Receipted for OnTrial {
    fn acknowledge(self: Box<Self>, durable: bool) -> Answer<'static, ()> {
        let Self { receipt, settled } = *self;
        Box::pin(async move {
            receipt.acknowledge(durable).await;
            // Who held the trial may have given it up.
            let _ = settled.send(());
        })
    }

    fn refuse(self: Box<Self>, reason: &str, detail: &str) -> Answer<'static, Result<(), PortError>> {
        let Self { receipt, settled } = *self;
        let refused = receipt.refuse(reason, detail);
        Box::pin(async move {
            refused.await?;
            let _ = settled.send(());
            Ok(())
        })
    }
}
