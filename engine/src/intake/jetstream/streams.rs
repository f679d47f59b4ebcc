//! The streams and consumers of signals, as `Contracts: signals in` lays them down.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use flyball_core::ports::PortError;
use flyball_signals::Kind;

use crate::nats;

/// The stream of signals.
pub(super) const SIGNALS: &str = "FLYBALL_SIGNALS";
/// The stream of dead letters.
pub(super) const REFUSED: &str = "FLYBALL_REFUSED";
/// What a dead letter's subject begins with.
pub(super) const REFUSED_SUBJECT: &str = "flyball.refused.v1.";
const SIGNAL_SUBJECTS: &str = "flyball.signal.v1.>";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Backtests run on this much history.
const SIGNALS_KEPT: Duration = DAY.saturating_mul(7);
/// Dead letters wait for people, who are away for longer than signals are of use.
const REFUSED_KEPT: Duration = DAY.saturating_mul(30);
/// The server forgets a message's id after this; a publisher's retries end sooner.
const DUPLICATES_KNOWN: Duration = Duration::from_secs(10 * 60);
/// Far above the engine's own cap, so that an oversized signal is refused with a reason, by us.
const LARGEST: i32 = 1 << 20;

/// How long a replica may be silent about a delivery before it goes to another one. Short, since it is what a crash costs in
/// delay. A process that stalls for longer gets its deliveries decided elsewhere, which the ledger makes harmless.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(1);
/// Deliveries that all replicas together may have unsettled: a second of the fastest intake, and some tens of megabytes on the
/// server. Beyond it signals wait in the stream.
pub(super) const UNSETTLED: i64 = 20_000;
/// A delivery is repeated for ever: only an acknowledgement ends it, and what kills its reader is put aside by [`crate::intake::trial`].
const NO_LIMIT: i64 = -1;

/// Finds or makes both streams. One that exists is left as it is, as long as it carries our subjects.
pub(super) async fn ensure(context: &Context, cluster: &str) -> Result<(), PortError> {
    let signals = Config {
        name: SIGNALS.to_owned(),
        description: Some("Signals for Flyball".to_owned()),
        subjects: vec![SIGNAL_SUBJECTS.to_owned()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_age: SIGNALS_KEPT,
        max_message_size: LARGEST,
        duplicate_window: DUPLICATES_KNOWN,
        ..Config::default()
    };
    let of_kind = |kind: Kind| format!("flyball.signal.v1.{kind}.{cluster}.*");
    let refused = Config {
        name: REFUSED.to_owned(),
        description: Some("Signals that Flyball could not use".to_owned()),
        subjects: vec![format!("{REFUSED_SUBJECT}>")],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_age: REFUSED_KEPT,
        duplicate_window: DUPLICATES_KNOWN,
        ..Config::default()
    };
    let (signals, refused) =
        (carries(context, signals, Kind::ALL.map(of_kind)), carries(context, refused, [format!("{REFUSED_SUBJECT}*")]));
    tokio::try_join!(signals, refused).map(|_| ())
}

async fn carries<const N: usize>(context: &Context, config: Config, needed: [String; N]) -> Result<(), PortError> {
    let name = config.name.clone();
    let found = nats::ensure_stream(context, config).await?.config.subjects;
    match needed.iter().find(|it| !nats::covered(it, &found)) {
        None => Ok(()),
        Some(missing) => {
            let found = found.join(", ");
            Err(PortError::Unavailable(format!("stream {name} carries {found}, and {missing} is not among them")))
        }
    }
}

/// What our own consumer reads.
pub(super) fn filter(cluster: &str) -> String {
    format!("flyball.signal.v1.*.{cluster}.*")
}

/// A consumer that all replicas share.
pub(super) fn consumer(durable: &str, subjects: &[String]) -> pull::Config {
    pull::Config {
        durable_name: Some(durable.to_owned()),
        filter_subjects: subjects.to_vec(),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: UNSETTLED,
        max_deliver: NO_LIMIT,
        ..pull::Config::default()
    }
}
