//! Signals from JetStream: durable pull consumers that all replicas share. Delivery is at least once, in no particular
//! order; what was received and is not settled is kept from being delivered again for as long as it is worked on.

mod hold;
mod marks;
mod receipt;
mod streams;

use std::sync::Arc;

use async_nats::Client;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::{self, Context};
use backon::Retryable;
use flyball_core::ports::{Answer, Delivery, Message, PortError, Signals};
use futures::StreamExt;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::trial::{Observer, Trials};
use crate::nats;
use hold::{Holds, Place};
use marks::JetStreamMarks;
use receipt::JetStreamReceipt;

/// Deliveries that `next` returns at once: few enough that a batch is decided within one flush of the ledger.
const BATCH: usize = 256;
/// Messages asked for with one request, and kept ready: two batches keep the engine busy while the next request travels, and
/// are worked off in a fraction of [`streams::ACK_WAIT`].
const PULL: usize = 2 * BATCH;

/// A stream of somebody else's, whose publishers cannot change their subjects.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignStream {
    /// Its name. It has to exist.
    pub stream: String,
    /// What to read of it.
    pub subjects: Vec<String>,
    /// What its messages are: `anomaly` or `rca`.
    pub kind: String,
}

/// Signals of one cluster. Dropping it ends its reading; what was not settled is delivered again.
pub struct JetStreamSignals {
    own: PullConsumer,
    cluster: String,
    sources: Vec<Source>,
    observer: Arc<dyn Observer>,
    reading: Mutex<Option<Reading>>,
}

/// What is read, and who reads it.
struct Reading {
    received: mpsc::Receiver<Delivery>,
    _readers: Vec<AbortOnDropHandle<()>>,
}

/// One consumer to read.
#[derive(Clone)]
struct Source {
    context: Context,
    stream: Arc<str>,
    subjects: Vec<String>,
    durable: String,
    kind: Option<String>,
}

impl JetStreamSignals {
    /// Makes what is missing of the streams `FLYBALL_SIGNALS` and `FLYBALL_REFUSED` and of the consumers
    /// `flyball-<cluster>`. Nothing is read before somebody asks: what a process holds that cannot decide yet, no other one
    /// decides.
    ///
    /// # Errors
    /// The server does not answer or is too old, the cluster's name is no DNS label, an existing stream does not carry
    /// our subjects, or a foreign stream does not exist.
    pub async fn connect(
        client: Client,
        cluster: &str,
        foreign: &[ForeignStream],
        observer: Arc<dyn Observer>,
    ) -> Result<Self, PortError> {
        nats::check_cluster(cluster)?;
        let context = nats::context(client);
        nats::check_api_level(&context).await?;
        streams::ensure(&context, cluster).await?;
        let durable = format!("flyball-{cluster}");
        let source = |stream: &str, subjects: Vec<String>, kind| Source {
            context: context.clone(),
            stream: stream.into(),
            subjects,
            durable: durable.clone(),
            kind,
        };
        let mut sources = vec![source(streams::SIGNALS, vec![streams::filter(cluster)], None)];
        sources.extend(foreign.iter().map(|it| source(&it.stream, it.subjects.clone(), Some(it.kind.clone()))));
        // Every consumer is made here once, so that a wrong name is an error of the start and not a line in the log.
        let mut consumers = Vec::with_capacity(sources.len());
        for source in &sources {
            consumers.push(source.consumer().await.map_err(PortError::Unavailable)?);
        }
        let own = consumers.swap_remove(0);
        Ok(Self { own, cluster: cluster.to_owned(), sources, observer, reading: Mutex::default() })
    }
}

impl Reading {
    fn begin(cluster: &str, sources: &[Source], observer: &Arc<dyn Observer>) -> Option<Self> {
        let context = sources.first()?.context.clone();
        let holds = Arc::new(Holds::new(context.clone()));
        let (queue, received) = mpsc::channel(BATCH);
        let (trials, trying) = Trials::open(Arc::new(JetStreamMarks(context)), queue, observer.clone());
        let read = |source: &Source| {
            AbortOnDropHandle::new(tokio::spawn(read(source.clone(), cluster.into(), holds.clone(), trials.clone())))
        };
        let mut readers: Vec<_> = sources.iter().map(read).collect();
        readers.push(AbortOnDropHandle::new(tokio::spawn(trying)));
        readers.push(AbortOnDropHandle::new(tokio::spawn(hold::extend(holds))));
        Some(Self { received, _readers: readers })
    }
}

impl Source {
    async fn consumer(&self) -> Result<PullConsumer, String> {
        let config = streams::consumer(&self.durable, &self.subjects);
        let made = self.context.create_consumer_on_stream(config, &*self.stream).await;
        made.map_err(|error| format!("consumer {} of stream {}: {error}", self.durable, self.stream))
    }

    async fn messages(&self) -> Result<jetstream::consumer::pull::Stream, String> {
        let asked = Instant::now();
        let consumer = self.consumer().await?;
        let heartbeat = nats::heartbeat(asked.elapsed());
        let messages = consumer.stream().max_messages_per_batch(PULL).expires(nats::EXPIRES).heartbeat(heartbeat);
        messages.messages().await.map_err(|error| error.to_string())
    }

    /// The delivery, and the how-manieth of its message it is. Nothing for a copy of what this process has in hand.
    fn delivery(&self, holds: &Arc<Holds>, message: jetstream::Message) -> Option<(Delivery, u64)> {
        let (sequence, published_at, time) = match message.info() {
            Ok(info) => (info.stream_sequence, nats::timestamp(info.published), info.delivered.unsigned_abs()),
            Err(error) => {
                // Without its place it cannot be acknowledged: it comes from no consumer.
                tracing::warn!(stream = &*self.stream, %error, "a message that is no delivery");
                return None;
            }
        };
        let place = Place { stream: self.stream.clone(), sequence, published_at };
        let hold = holds.hold(place, message.reply.clone()?)?;
        // A copy of what was settled a moment ago tells nothing of its message.
        let time = if hold.is_copy() { 1 } else { time };
        let receipt = JetStreamReceipt::new(hold, &message);
        let message = message.message;
        let message = Message {
            subject: Some(message.subject.to_string()),
            kind: self.kind.clone(),
            headers: receipt::pairs(message.headers.as_ref()),
            body: message.payload.into(),
            sequence,
            published_at,
        };
        Some((Delivery { message, receipt: Box::new(receipt) }, time))
    }
}

/// Reads one consumer for ever. Readers take turns at the queue, message by message, so that none starves another.
async fn read(source: Source, cluster: Arc<str>, holds: Arc<Holds>, trials: Trials) {
    loop {
        let open = || source.messages();
        let opened = open.retry(nats::patiently()).notify(|why, pause| {
            tracing::warn!(stream = &*source.stream, %why, ?pause, "signals cannot be read");
        });
        let Ok(mut messages) = opened.await else { continue };
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => {
                    let Some((delivery, time)) = source.delivery(&holds, message) else { continue };
                    let sequence = delivery.message.sequence;
                    if !trials.pass(delivery, time, || marks::name(&cluster, &source.stream, sequence)).await {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(stream = &*source.stream, %error, "reading signals begins again");
                    break;
                }
            }
        }
        tokio::time::sleep(nats::RETRY_FIRST).await;
    }
}

impl Signals for JetStreamSignals {
    fn next(&self) -> Answer<'_, Option<Vec<Delivery>>> {
        Box::pin(async {
            let mut reading = self.reading.lock().await;
            if reading.is_none() {
                *reading = Reading::begin(&self.cluster, &self.sources, &self.observer);
            }
            let mut batch = Vec::with_capacity(BATCH);
            match reading.as_mut()?.received.recv_many(&mut batch, BATCH).await {
                0 => None,
                _ => Some(batch),
            }
        })
    }

    fn ready(&self) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async {
            let name = &self.own.cached_info().name;
            match self.own.get_info().await {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == ConsumerInfoErrorKind::TimedOut => {
                    let within = nats::ANSWER_TIMEOUT;
                    Err(PortError::Unavailable(format!("consumer {name}: no answer within {within:?}")))
                }
                Err(error) => Err(PortError::Unavailable(format!("consumer {name}: {error}"))),
            }
        })
    }
}
