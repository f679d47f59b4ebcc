//! The ledger's stream: how it has to be configured, and that it is still the same one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RawMessageErrorKind, RetentionPolicy, StorageType};
use flyball_core::id::Revision;
use flyball_core::ports::PortError;
use flyball_core::record::Topic;
use flyball_core::wire;
use jiff::Timestamp;

use super::Options;
use crate::ledger::START_THERE;
use crate::nats;

/// In the stream's metadata: what it is becoming a copy of. Nobody starts on it.
pub(super) const UNFINISHED: &str = "flyball.dev/unfinished";
/// In the stream's metadata: where the ledger has gone. Such a stream is sealed.
pub(super) const MOVED: &str = "flyball.dev/moved";
/// JetStream's word for no limit.
const UNLIMITED: i64 = -1;

/// A ledger's stream, and which one it was when we found it.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) context: Context,
    pub(super) name: String,
    pub(super) created: Timestamp,
    pub(super) cluster: String,
    prefix: String,
    /// Whoever closes it, or reads one that was closed, is not surprised by that.
    closed: Arc<AtomicBool>,
}

/// What was found instead of the stream.
pub(super) enum Missing {
    /// No answer, or a passing trouble.
    Unreachable(String),
    /// Removed, or removed and made again: its entries are gone.
    Gone(String),
}

impl From<Missing> for PortError {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Unreachable(why) => Self::Unavailable(why),
            Missing::Gone(why) => Self::Unusable(why),
        }
    }
}

impl Home {
    /// Finds the stream and checks it.
    pub(super) async fn find(context: Context, cluster: &str, options: Options) -> Result<Option<Self>, PortError> {
        let wanted = wanted(cluster, options);
        let found = nats::find_stream(&context, &wanted.name).await?;
        found.map(|info| Self::checked(context, cluster, &wanted, &info)).transpose()
    }

    /// Finds the stream to be read, even where the ledger was moved away from it; with it, where to.
    pub(super) async fn find_any(
        context: Context,
        cluster: &str,
        options: Options,
    ) -> Result<Option<(Self, Option<String>)>, PortError> {
        let wanted = wanted(cluster, options);
        let Some(mut info) = nats::find_stream(&context, &wanted.name).await? else { return Ok(None) };
        let Some(moved) = info.config.metadata.get(MOVED).cloned() else {
            return Ok(Some((Self::checked(context, cluster, &wanted, &info)?, None)));
        };
        info.config.metadata.clear();
        info.config.sealed = false;
        let home = Self::checked(context, cluster, &wanted, &info)?;
        home.closed.store(true, Ordering::Relaxed);
        Ok(Some((home, Some(moved))))
    }

    /// Makes the stream, or finds the one that somebody made meanwhile.
    pub(super) async fn make(context: Context, cluster: &str, options: Options) -> Result<Self, PortError> {
        let wanted = wanted(cluster, options);
        let info = nats::ensure_stream(&context, wanted.clone()).await?;
        Self::checked(context, cluster, &wanted, &info)
    }

    pub(super) fn checked(context: Context, cluster: &str, wanted: &Config, info: &Info) -> Result<Self, PortError> {
        let name = wanted.name.clone();
        if let Some(origin) = info.config.metadata.get(UNFINISHED) {
            return Err(PortError::Unusable(format!(
                "stream {name} is an unfinished {origin}: run the same command again, or remove the stream"
            )));
        }
        if let Some(to) = info.config.metadata.get(MOVED) {
            return Err(PortError::Unusable(went(&name, to)));
        }
        let wrong = deviations(wanted, &info.config);
        if !wrong.is_empty() {
            let wrong = wrong.join(", ");
            return Err(PortError::Unusable(format!("stream {name} cannot hold a ledger: {wrong}")));
        }
        let created = nats::timestamp(info.created);
        Ok(Self {
            context,
            name,
            created,
            cluster: cluster.to_owned(),
            prefix: prefix(cluster),
            closed: Arc::default(),
        })
    }

    /// Which ledger it is.
    pub(super) fn identity(&self) -> Arc<str> {
        format!("{} of {}", self.name, self.created).into()
    }

    /// The subject of a topic.
    pub(super) fn subject(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, wire::topic_text(topic))
    }

    /// The topic of a subject.
    pub(super) fn topic(&self, subject: &str) -> Option<Topic> {
        wire::topic(subject.strip_prefix(&self.prefix)?)
    }

    /// The newest sequence that the stream has given.
    pub(super) async fn newest(&self) -> Result<Revision, PortError> {
        Ok(Revision(self.info().await?.state.last_sequence))
    }

    /// Whether there is nothing from `sequence` on, as far as the server tells.
    pub(super) async fn is_empty_from(&self, sequence: u64) -> bool {
        let Ok(stream) = self.context.get_stream_no_info(&self.name).await else { return false };
        let all = format!("{}>", self.prefix);
        let next = stream.raw_message_builder().next_by_subject(all).sequence(sequence).send().await;
        next.is_err_and(|error| error.kind() == RawMessageErrorKind::NoMessageFound)
    }

    /// The stream as it is, if it is still the one that we found.
    pub(super) async fn info(&self) -> Result<Info, Missing> {
        let name = &self.name;
        match nats::find_stream(&self.context, name).await {
            Err(error) => Err(Missing::Unreachable(error.to_string())),
            Ok(None) => Err(Missing::Gone(format!("stream {name} is gone"))),
            Ok(Some(info)) if nats::timestamp(info.created) != self.created => {
                Err(Missing::Gone(format!("stream {name} is not the one it was: it was made anew")))
            }
            Ok(Some(info)) => match info.config.metadata.get(MOVED) {
                Some(to) if !self.closed.load(Ordering::Relaxed) => Err(Missing::Gone(went(name, to))),
                _ => Ok(info),
            },
        }
    }

    /// Seals the stream: the server takes nothing more, nor removes anything, from anybody. Nothing unseals it.
    pub(super) async fn close(&self, to: &str) -> Result<Revision, PortError> {
        self.closed.store(true, Ordering::Relaxed);
        let mut info = self.info().await?;
        match info.config.metadata.get(MOVED) {
            Some(same) if same == to => return Ok(Revision(info.state.last_sequence)),
            Some(elsewhere) => return Err(PortError::Unusable(went(&self.name, elsewhere))),
            None => {}
        }
        info.config.metadata.insert(MOVED.to_owned(), to.to_owned());
        info.config.sealed = true;
        let sealed = self.context.update_stream(info.config).await;
        sealed.map_err(|error| PortError::Unavailable(format!("closing stream {}: {error}", self.name)))?;
        // Once more: what was appended before it was sealed counts.
        Ok(Revision(self.info().await?.state.last_sequence))
    }
}

fn went(name: &str, to: &str) -> String {
    format!("the ledger in stream {name} was moved to {to}: {START_THERE}")
}

fn prefix(cluster: &str) -> String {
    format!("flyball.ledger.{cluster}.")
}

pub(super) fn wanted(cluster: &str, options: Options) -> Config {
    Config {
        name: format!("FLYBALL_LEDGER_{cluster}"),
        description: Some("Flyball's ledger: every decision, append-only".to_owned()),
        subjects: vec![format!("{}>", prefix(cluster))],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_messages: UNLIMITED,
        max_messages_per_subject: UNLIMITED,
        max_bytes: UNLIMITED,
        num_replicas: options.replicas,
        deny_delete: true,
        ..Config::default()
    }
}

/// The settings that would let an entry be lost, hidden or replaced. `max_bytes` is not among them: a full stream refuses
/// new entries, and says so.
fn deviations(wanted: &Config, found: &Config) -> Vec<String> {
    let checks = [
        (found.subjects == wanted.subjects, format!("subjects must be {:?}", wanted.subjects)),
        (found.storage == StorageType::File, "storage must be file".to_owned()),
        (found.retention == RetentionPolicy::Limits, "retention must be limits".to_owned()),
        (found.discard == DiscardPolicy::New, "discard must be new".to_owned()),
        (found.max_age.is_zero(), "max_age must be unset".to_owned()),
        (found.max_messages_per_subject <= 0, "max_msgs_per_subject must be unset".to_owned()),
        (found.deny_delete, "deny_delete must be set".to_owned()),
        (!found.allow_rollup, "allow_rollup_hdrs must be unset".to_owned()),
        (!found.allow_message_ttl, "allow_msg_ttl must be unset".to_owned()),
        (!found.no_ack, "no_ack must be unset".to_owned()),
        (!found.sealed, "it must not be sealed".to_owned()),
        (found.mirror.is_none() && found.sources.is_none(), "it must not copy another stream".to_owned()),
        (found.subject_transform.is_none(), "it must not rename subjects".to_owned()),
    ];
    checks.into_iter().filter(|(holds, _)| !holds).map(|(_, wrong)| wrong).collect()
}
