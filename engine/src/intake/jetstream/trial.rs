//! Puts a message aside that kills whoever reads it. JetStream's count of deliveries alone cannot tell which one that is: whatever
//! was in the same process dies with it, and is delivered again as often. So a message that has come often is a *suspect*: it is read
//! alone among suspects, one at a time, and behind a mark that outlives the process. Who is innocent is settled a moment
//! later, and its marks go; a mark that stays says that the process ended while this one was tried.
//!
//! The marks lie in a stream of their own, made at the first suspect: one subject for each message, one entry for each trial.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType, Stream};
use backon::Retryable;
use flyball_core::ports::{Answer, Delivery, PortError, Receipted};
use futures::TryStreamExt;
use tokio::sync::{mpsc, oneshot};

use super::Observer;
use crate::intake::kind_of;
use crate::nats;

/// The delivery from which on a message is a suspect. One redelivery is what a killed or restarted replica costs everything that
/// it held; two in a row are a bad day.
pub(super) const SUSPECT: i64 = 3;
/// Marks that put a message aside. A trial takes milliseconds, so that one process dies in the midst of one by chance; that the
/// same message is tried each of three times is no chance.
const TRIALS: usize = 3;
/// Suspects that wait: what two processes can have had in hand. More wait in the stream.
const WAITING: usize = 1024;
/// No work on one delivery takes this long: after it the next one is tried.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// Marks of messages that their stream has forgotten go with it.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The reason on the dead letter.
const REASON: &str = "kills-its-reader";

/// The stream of the marks.
const STREAM: &str = "FLYBALL_SUSPECTS";

/// A suspect, and its name among the marks.
type Suspect = (String, Delivery);

/// Where suspects wait for their turn.
#[derive(Clone)]
pub(super) struct Trials {
    cluster: Arc<str>,
    waiting: mpsc::Sender<Suspect>,
}

impl Trials {
    /// The trials of one process, and the task that holds them: what passes is sent on to `queue`.
    pub(super) fn open(
        context: Context,
        cluster: &str,
        queue: mpsc::Sender<Delivery>,
        observer: Arc<dyn Observer>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (waiting, suspects) = mpsc::channel(WAITING);
        (Self { cluster: cluster.into(), waiting }, hold(context, suspects, queue, observer))
    }

    /// Takes a suspect. One for which there is no room is left to come again.
    pub(super) fn take(&self, stream: &str, delivery: Delivery) {
        let mark = format!("flyball.suspect.{}.{stream}.{}", self.cluster, delivery.message.sequence);
        if self.waiting.try_send((mark, delivery)).is_err() {
            tracing::warn!("Too many messages have come too often to try them all now");
        }
    }
}

/// Tries one suspect after the other.
async fn hold(
    context: Context,
    mut suspects: mpsc::Receiver<Suspect>,
    queue: mpsc::Sender<Delivery>,
    observer: Arc<dyn Observer>,
) {
    while let Some((mark, delivery)) = suspects.recv().await {
        let sequence = delivery.message.sequence;
        match marked(&context, &mark).await {
            Err(error) => {
                // Left to come again: nothing is tried without a mark.
                tracing::warn!(sequence, %error, "A message that came often cannot be tried");
            }
            Ok((_, TRIALS..)) => put_aside(delivery, &*observer).await,
            Ok((stream, _)) => {
                if let Err(error) = put(&context, &mark).await {
                    // Left to come again, and without the mark, which may be there all the same.
                    tracing::warn!(sequence, %error, "A message that came often cannot be tried");
                    drop(delivery);
                } else {
                    let (settled, end) = oneshot::channel();
                    let receipt = Box::new(OnTrial { receipt: delivery.receipt, _settled: settled });
                    if queue.send(Delivery { message: delivery.message, receipt }).await.is_err() {
                        return;
                    }
                    // It never comes: the receipt is dropped when the delivery is settled, or given up by a process that lives.
                    let _ = tokio::time::timeout(LONGEST, end).await;
                }
                clear(&stream, &mark).await;
            }
        }
    }
}

async fn put_aside(delivery: Delivery, observer: &dyn Observer) {
    let Delivery { message, receipt } = delivery;
    let sequence = message.sequence;
    tracing::error!(sequence, subject = message.subject, "Puts a message aside that kills its reader");
    let detail = format!("the process ended {TRIALS} times while it read this message alone");
    match receipt.refuse(REASON, &detail).await {
        // Counted once it is kept: until then it comes again, and is put aside again.
        Ok(()) => observer.put_aside(kind_of(&message)),
        Err(error) => tracing::error!(sequence, %error, "It could not be kept; it is not acknowledged"),
    }
}

/// Removes the marks of who is innocent. One that stayed would count as a death, so a server that is away is waited for.
async fn clear(stream: &Stream<()>, mark: &str) {
    let purge = || async { stream.purge().filter(mark).await };
    let told = |error: &async_nats::jetstream::stream::PurgeError, pause: Duration| {
        tracing::warn!(%error, ?pause, mark, "The mark of a message that was tried is not removed yet");
    };
    // In vain only where the whole stream is gone, and the marks with it.
    let _ = tokio::time::timeout(LONGEST, purge.retry(nats::patiently()).notify(told)).await;
}

/// The marks' stream, and how many marks this one has.
async fn marked(context: &Context, mark: &str) -> Result<(Stream<()>, usize), String> {
    let config = Config {
        name: STREAM.to_owned(),
        description: Some("Signals that Flyball reads alone, since they came too often".to_owned()),
        subjects: vec!["flyball.suspect.>".to_owned()],
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        max_age: KEPT,
        ..Config::default()
    };
    nats::ensure_stream(context, config).await.map_err(|error| error.to_string())?;
    let stream = context.get_stream_no_info(STREAM).await.map_err(|error| error.to_string())?;
    let marks = stream.info_builder().subjects(mark).fetch().await.map_err(|error| error.to_string())?;
    let marks: Vec<(String, usize)> = marks.try_collect().await.map_err(|error| error.to_string())?;
    Ok((stream, marks.iter().map(|(_, count)| count).sum()))
}

async fn put(context: &Context, mark: &str) -> Result<(), PortError> {
    let unkept = |error: async_nats::jetstream::context::PublishError| PortError::Unavailable(error.to_string());
    context.publish(mark.to_owned(), "".into()).await.map_err(unkept)?.await.map(drop).map_err(unkept)
}

/// Tells when the delivery is settled, or given up.
struct OnTrial {
    receipt: Box<dyn Receipted>,
    _settled: oneshot::Sender<()>,
}

impl Receipted for OnTrial {
    fn acknowledge(self: Box<Self>, durable: bool) -> Answer<'static, ()> {
        let Self { receipt, _settled: settled } = *self;
        Box::pin(async move {
            receipt.acknowledge(durable).await;
            drop(settled);
        })
    }

    fn refuse(self: Box<Self>, reason: &str, detail: &str) -> Answer<'static, Result<(), PortError>> {
        let Self { receipt, _settled: settled } = *self;
        let refused = receipt.refuse(reason, detail);
        Box::pin(async move {
            let refused = refused.await;
            drop(settled);
            refused
        })
    }
}
