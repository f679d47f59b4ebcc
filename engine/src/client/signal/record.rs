//! `flyball signal record`: signals as they lie in the stream, a line of JSON each. What `policy backtest` reads.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write, stdout};

use async_nats::jetstream::Message;
use flyball_core::ports::PortError;
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::cli::Record;
use crate::client::nats::Bus;
use crate::client::progress::Progress;
use crate::client::{Answer, Trouble};
use crate::nats::timestamp;
use crate::recording::Recorded;

pub(super) async fn run(args: &Record) -> Result<Answer, Trouble> {
    let bus = Bus::connect(&args.nats, args.nats_creds.as_deref()).await?;
    let since =
        Timestamp::now().checked_sub(args.since).map_err(|error| Trouble::Unusable(format!("--since: {error}")))?;
    let subject = args.cluster.as_ref().map(|it| format!("flyball.signal.v1.*.{it}.*"));
    let (mut pending, mut messages) = bus.recorded(&args.stream, subject, since).await?;
    let (mut out, mut count) = (BufWriter::new(stdout()), 0_u64);
    let mut progress = Progress::of("recorded", "signals");
    let total = pending;
    while pending > 0 {
        let Some(message) = messages.next().await else { break };
        let message = message.map_err(|error| bus.lost("reading signals", &error))?;
        let info =
            message.info().map_err(|error| Trouble::Unusable(format!("a message that is no delivery: {error}")))?;
        (pending, count) = (info.pending, count + 1);
        let line = line(&message, info.stream_sequence, timestamp(info.published), args.kind.as_deref());
        let line = line.map_err(|error| Trouble::Unusable(error.to_string()))?;
        if writeln!(out, "{line}").is_err() {
            // A reader that has seen enough (`| head`) closes the pipe.
            return Ok(Answer::default());
        }
        progress.tell(count, total.max(count + pending));
    }
    out.flush().map_err(|error| Trouble::Unusable(format!("writing: {error}")))?;
    Ok(Answer::default().beside(format!("{count} signals\n")))
}

fn line(message: &Message, sequence: u64, time: Timestamp, kind: Option<&str>) -> Result<String, PortError> {
    let headers = message.headers.iter().flat_map(|all| all.iter());
    let headers: BTreeMap<String, String> = headers
        .filter_map(|(name, values)| values.first().map(|value| (name.to_string(), value.as_str().to_owned())))
        .collect();
    let body = String::from_utf8_lossy(&message.payload);
    let one_line = |it: &str| !it.contains('\n');
    // A body over several lines is written on one: JSON means the same.
    let compact = serde_json::from_str::<serde_json::Value>(&body).map(|it| it.to_string());
    let raw = serde_json::from_str::<&RawValue>(&body).ok().filter(|it| one_line(it.get()));
    let owned = compact.ok().and_then(|it| RawValue::from_string(it).ok());
    let data = raw.or(owned.as_deref());
    let text = if data.is_some() { None } else { Some(body.clone()) };
    let recorded = Recorded {
        sequence,
        time,
        subject: Cow::Borrowed(message.subject.as_str()),
        kind: kind.map(Cow::Borrowed),
        headers,
        data,
        text,
    };
    serde_json::to_string(&recorded).map_err(|error| PortError::Unusable(error.to_string()))
}
