//! Signals from JetStream: durable pull consumers that all replicas share. Delivery is at least once, in no particular
//! order; what was received and is not settled is kept from being delivered again for as long as it is worked on.

mod held;
mod hold;
mod marks;
mod receipt;
mod standing;
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

use super::trial::{Observer, SUSPECT, Trials};
use crate::nats;
use held::{Came, Place};
use hold::{Hold, Holds};
use marks::JetStreamMarks;
use receipt::JetStreamReceipt;
use standing::Standing;

/// Deliveries that `next` returns at once: few enough that a batch is decided within a fraction of a flush of the ledger.
const BATCH: usize = 256;
/// Batches that are read ahead.
const AHEAD: usize = 4;
/// Messages asked for with one request, and kept ready: enough to keep the engine busy while the next request travels, and
/// worked off in a fraction of [`streams::ACK_WAIT`].
const PULL: usize = 8 * BATCH;

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
    received: mpsc::Receiver<Vec<Delivery>>,
    /// Suspects whose turn it is, one at a time.
    tried: mpsc::Receiver<Delivery>,
    holds: Arc<Holds>,
    _readers: Vec<AbortOnDropHandle<()>>,
}

/// Where what is read goes to.
struct Reader {
    cluster: Arc<str>,
    holds: Arc<Holds>,
    trials: Trials,
    queue: mpsc::Sender<Vec<Delivery>>,
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
        let ((queue, received), (trial, tried)) = (mpsc::channel(AHEAD), mpsc::channel(1));
        let (trials, trying) = Trials::open(Arc::new(JetStreamMarks(context)), trial, observer.clone());
        let read = |source: &Source| {
            let reader =
                Reader { cluster: cluster.into(), holds: holds.clone(), trials: trials.clone(), queue: queue.clone() };
            AbortOnDropHandle::new(tokio::spawn(reader.read(source.clone())))
        };
        let mut readers: Vec<_> = sources.iter().map(read).collect();
        readers.push(AbortOnDropHandle::new(tokio::spawn(trying)));
        readers.push(AbortOnDropHandle::new(tokio::spawn(hold::acknowledge(holds.clone()))));
        readers.push(AbortOnDropHandle::new(tokio::spawn(hold::extend(holds.clone()))));
        Some(Self { received, tried, holds, _readers: readers })
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

    /// The deliveries, each with the how-manieth of its message it is. Those that are copies of what this process has in hand, or
    /// has just settled, are left out.
    fn deliveries(&self, holds: &Arc<Holds>, messages: Vec<jetstream::Message>) -> Vec<(Delivery, u64)> {
        let (mut kept, mut came) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
        for jetstream::Message { mut message, .. } in messages {
            let reply = message.reply.take();
            let Some((reply, it)) = reply.and_then(|reply| Standing::of(&reply).map(|it| (reply, it))) else {
                // Without its place it cannot be acknowledged: it comes from no consumer.
                tracing::warn!(stream = &*self.stream, "a message that is no delivery");
                continue;
            };
            let place = Place { sequence: it.sequence, published_at: it.published_at };
            came.push(Came { place, reply, time: it.time });
            kept.push((message, it.time));
        }
        let holds = holds.hold(&self.stream, came);
        let fresh = |((message, time), hold): ((async_nats::Message, u64), Option<Hold>)| {
            let hold = hold?;
            if hold.is_copy() {
                // Its end is on record and was told: it is told once more, and counts once.
                hold.settle();
                return None;
            }
            Some((self.delivery(message, hold), time))
        };
        kept.into_iter().zip(holds).filter_map(fresh).collect()
    }

    fn delivery(&self, message: async_nats::Message, hold: Hold) -> Delivery {
        let Place { sequence, published_at } = hold.place();
        let came = Message {
            subject: Some(message.subject.to_string()),
            kind: self.kind.clone(),
            headers: receipt::pairs(message.headers.as_ref()),
            body: message.payload.to_vec(),
            sequence,
            published_at,
        };
        let async_nats::Message { subject, headers, payload: body, .. } = message;
        Delivery { message: came, receipt: Box::new(JetStreamReceipt { hold, subject, headers, body }) }
    }
}

impl Reader {
    /// Reads one consumer for ever. Readers take turns at the queue, batch by batch, so that none starves another.
    async fn read(self, source: Source) {
        loop {
            let open = || source.messages();
            let opened = open.retry(nats::patiently()).notify(|why, pause| {
                tracing::warn!(stream = &*source.stream, %why, ?pause, "signals cannot be read");
            });
            let Ok(messages) = opened.await else { continue };
            let mut messages = messages.ready_chunks(BATCH);
            let mut broken = None;
            while let Some(came) = messages.next().await {
                let mut good = Vec::with_capacity(came.len());
                for message in came {
                    match message {
                        Ok(message) => good.push(message),
                        Err(error) => broken = Some(error),
                    }
                }
                if !self.pass(&source, good).await {
                    return;
                }
                if broken.is_some() {
                    break;
                }
            }
            let why = broken.map(|error| error.to_string());
            tracing::debug!(stream = &*source.stream, why, "reading signals begins again");
            tokio::time::sleep(nats::RETRY_FIRST).await;
        }
    }

    /// False: nobody reads any more.
    async fn pass(&self, source: &Source, messages: Vec<jetstream::Message>) -> bool {
        let mut batch = Vec::with_capacity(messages.len());
        for (delivery, time) in source.deliveries(&self.holds, messages) {
            if time < SUSPECT {
                batch.push(delivery);
                continue;
            }
            let sequence = delivery.message.sequence;
            if !self.trials.pass(delivery, time, || marks::name(&self.cluster, &source.stream, sequence)).await {
                return false;
            }
        }
        batch.is_empty() || self.queue.send(batch).await.is_ok()
    }
}

impl Signals for JetStreamSignals {
    fn next(&self) -> Answer<'_, Option<Vec<Delivery>>> {
        Box::pin(async {
            let mut reading = self.reading.lock().await;
            if reading.is_none() {
                *reading = Reading::begin(&self.cluster, &self.sources, &self.observer);
            }
            let Reading { received, tried, .. } = reading.as_mut()?;
            tokio::select! {
                biased;
                Some(suspect) = tried.recv() => Some(vec![suspect]),
                batch = received.recv() => batch,
            }
        })
    }

    fn told(&self) -> Answer<'_, ()> {
        Box::pin(async {
            let holds = self.reading.lock().await.as_ref().map(|it| it.holds.clone());
            if let Some(holds) = holds {
                holds.all_left().await;
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
