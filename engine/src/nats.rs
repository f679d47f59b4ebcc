//! What the ledger and the intake share of NATS: the connection, the JetStream context, and a few translations.

use std::time::Duration;

use async_nats::jetstream::{self, Context, ContextBuilder, ErrorCode, stream};
use async_nats::{Client, ConnectOptions};
use backon::ExponentialBuilder;
use flyball_core::ports::PortError;
use jiff::Timestamp;

/// A server that has gone without closing its connection is noticed after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// One attempt to connect: a local server takes milliseconds, one behind a slow network a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one answer of JetStream is waited for. A healthy server takes milliseconds, one that elects a leader two to four
/// seconds; longer would only delay the settling that follows.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one request for messages lives on the server.
pub(crate) const EXPIRES: Duration = Duration::from_secs(10);
/// An idle server says so this often, and a reader that hears nothing for twice as long is not served any more.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The first pause before something is tried again.
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest pause: what comes back is noticed within two seconds.
const RETRY_LONGEST: Duration = Duration::from_secs(2);
/// The first server that knows every header we send (2.11 reports level 1). An older one ignores unknown headers silently,
/// so a compare would not compare.
const API_LEVEL: usize = 1;

/// A connection that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("no connection to NATS at {address}: {reason}")]
pub struct ConnectError {
    /// The address that was tried, without user and password.
    pub address: String,
    /// What the attempt said.
    pub reason: String,
}

/// Connects once; afterwards the client reconnects by itself for as long as it lives. `name` is what the server's
/// monitoring shows.
pub async fn connect(url: &str, name: &str) -> Result<Client, ConnectError> {
    ConnectOptions::new()
        .name(name)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(ANSWER_TIMEOUT))
        .reconnect_delay_callback(reconnect_delay)
        .connect(url)
        .await
        .map_err(|error| ConnectError { address: without_credentials(url), reason: error.to_string() })
}

fn reconnect_delay(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(8);
    RETRY_LONGEST.min(RETRY_FIRST * 2u32.pow(doublings))
}

fn without_credentials(url: &str) -> String {
    let hide = |one: &str| match one.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or(rest)),
        None => one.rsplit('@').next().unwrap_or(one).to_owned(),
    };
    url.split(',').map(hide).collect::<Vec<_>>().join(",")
}

/// A JetStream context whose every request ends within [`ANSWER_TIMEOUT`].
pub(crate) fn context(client: Client) -> Context {
    ContextBuilder::new().timeout(ANSWER_TIMEOUT).ack_timeout(ANSWER_TIMEOUT).build(client)
}

/// What to ask an idle server for, where an answer takes `round_trip`. Its first sign of life comes one round trip and one of
/// these after a request, and the reader gives up after two of these: so the round trip is part of it. A server grants no more
/// than half of a request's life, which is a round trip that no answer would be waited for.
pub(crate) fn heartbeat(round_trip: Duration) -> Duration {
    (HEARTBEAT + round_trip).min(EXPIRES / 2)
}

/// Tries again for as long as it takes; whoever uses it bounds the time.
pub(crate) fn patiently() -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(RETRY_FIRST)
        .with_max_delay(RETRY_LONGEST)
        .with_jitter()
        .without_max_times()
}

/// Refuses a server that would ignore what we ask of it.
pub(crate) async fn check_api_level(context: &Context) -> Result<(), PortError> {
    let account = context.query_account().await;
    let account = account
        .map_err(|error| PortError::Unavailable(format!("JetStream does not answer on this server: {error}")))?;
    let level = account.requests.level;
    if level < API_LEVEL {
        let version = context.client().server_info().version;
        return Err(PortError::Unusable(format!(
            "nats-server {version} has JetStream API level {level}, and level {API_LEVEL} is needed: use 2.11 or newer"
        )));
    }
    Ok(())
}

/// The stream, or nothing when there is none.
pub(crate) async fn find_stream(context: &Context, name: &str) -> Result<Option<stream::Info>, PortError> {
    match context.get_stream(name).await {
        Ok(found) => Ok(Some(found.cached_info().clone())),
        Err(error) => match error.kind() {
            jetstream::context::GetStreamErrorKind::JetStream(answer)
                if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(PortError::Unavailable(format!("stream {name}: {error}"))),
        },
    }
}

/// The stream, made from `config` when there is none.
pub(crate) async fn ensure_stream(context: &Context, config: stream::Config) -> Result<stream::Info, PortError> {
    let name = config.name.clone();
    if let Some(found) = find_stream(context, &name).await? {
        return Ok(found);
    }
    match context.create_stream(config).await {
        Ok(made) => Ok(made.cached_info().clone()),
        // Another replica may have made it meanwhile.
        Err(error) => find_stream(context, &name)
            .await?
            .ok_or_else(|| PortError::Unavailable(format!("stream {name} cannot be made: {error}"))),
    }
}

/// Names that become a token of a subject and a part of a stream's name.
pub(crate) fn check_cluster(cluster: &str) -> Result<(), PortError> {
    match flyball_signals::Subject::filter(cluster) {
        Ok(_) => Ok(()),
        Err(_) => Err(PortError::Unusable(format!("the cluster's name {cluster:?} is not a DNS label"))),
    }
}

/// A stream's time as ours.
pub(crate) fn timestamp(time: async_nats::datetime::DateTime) -> Timestamp {
    Timestamp::from_nanosecond(time.unix_timestamp_nanos()).unwrap_or(Timestamp::MIN)
}

/// The same the other way. A time that the client cannot say is the beginning of all streams.
pub(crate) fn date(at: Timestamp) -> async_nats::datetime::DateTime {
    let epoch = async_nats::datetime::from_nanos(0).expect("the epoch can be said");
    async_nats::datetime::from_nanos(at.as_nanosecond()).unwrap_or(epoch)
}

/// Whether every subject that `pattern` matches is matched by one of `wide`.
pub(crate) fn covered(pattern: &str, wide: &[String]) -> bool {
    wide.iter().any(|it| covers(it, pattern))
}

fn covers(wide: &str, narrow: &str) -> bool {
    let mut narrow = narrow.split('.');
    for token in wide.split('.') {
        match (token, narrow.next()) {
            (">", Some(_)) => return true,
            ("*", Some(found)) if found != ">" => {}
            (token, Some(found)) if token == found => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_it_matches() {
        assert!(covers("flyball.signal.v1.>", "flyball.signal.v1.*.shop.*"));
        assert!(covers("flyball.signal.v1.>", "flyball.signal.v1.>"));
        assert!(covers("flyball.*.v1.rca.shop.*", "flyball.signal.v1.rca.shop.*"));
        assert!(!covers("flyball.signal.v1.*", "flyball.signal.v1.>"));
        assert!(!covers("flyball.signal.v1.>", "flyball.signal.v1"));
        assert!(!covers("flyball.signal.v1.rca.>", "flyball.signal.v1.*.shop.*"));
        assert!(!covers("flyball.signal", "flyball.signal.v1"));
    }

    #[test]
    fn an_address_never_shows_a_password() {
        assert_eq!(without_credentials("nats://me:secret@host:4222"), "nats://host:4222");
        assert_eq!(without_credentials("nats://a:1,me:secret@b:2"), "nats://a:1,b:2");
    }

    #[test]
    fn a_sign_of_life_comes_before_the_reader_gives_up() {
        for millis in [0, 1, 40, 800, 2_000, 2_500, 3_900] {
            let round_trip = Duration::from_millis(millis);
            let each = heartbeat(round_trip);
            assert!(2 * each > round_trip + each, "{round_trip:?}");
            assert!(2 * each <= EXPIRES, "{round_trip:?}");
        }
        assert_eq!(heartbeat(ANSWER_TIMEOUT), EXPIRES / 2);
    }

    #[test]
    fn reconnecting_never_waits_longer_than_two_seconds() {
        assert_eq!(reconnect_delay(0), RETRY_FIRST);
        assert_eq!(reconnect_delay(3), RETRY_FIRST * 4);
        assert_eq!(reconnect_delay(usize::MAX), RETRY_LONGEST);
    }
}
