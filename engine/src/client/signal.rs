//! Signals, sent, checked and recorded.

mod record;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use flyball_signals::v1::{Anomaly, AnomalyType, Metadata, RankedCause, Rca};
use flyball_signals::{Body, Kind, Message, Parsed, Subject};
use serde::Serialize;
use uuid::Uuid;

use super::api::Api;
use super::nats::Bus;
use super::{Answer, Trouble};
use crate::cli;

/// A signal that was taken.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    kind: &'static str,
    window_id: String,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
}

/// What a check found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

pub(super) async fn run(command: cli::Signal) -> Result<Answer, Trouble> {
    match command {
        cli::Signal::Send(args) => send(&args).await,
        cli::Signal::Validate(args) => validate(&args),
        cli::Signal::Record(args) => record::run(&args).await,
    }
}

async fn send(args: &cli::Send) -> Result<Answer, Trouble> {
    let way = match (&args.nats, &args.cluster) {
        (Some(url), Some(cluster)) => Way::Bus(Bus::connect(url, args.nats_creds.as_deref()).await?, cluster),
        _ if args.file.is_some() && args.namespace.is_some() => {
            let why = "--namespace goes with --nats: over HTTP a file says its `metadata.namespace` itself";
            return Err(Trouble::Unusable(why.to_owned()));
        }
        _ => Way::Engine(Api::new(&args.connection)?),
    };
    let mut sent = Vec::new();
    let file = args.file.as_deref().map(read).transpose()?;
    for _ in 0..args.count {
        let body = match &file {
            Some(bytes) => bytes.clone(),
            None => serde_json::to_vec(&body(args)).map_err(|error| Trouble::Unusable(error.to_string()))?,
        };
        sent.push(way.send(body, args.namespace.as_deref()).await?);
    }
    Ok(Answer::of(&sent, args.output, |sent| sent.iter().map(line).collect()))
}

fn line(it: &Sent) -> String {
    let window = if it.window_id.is_empty() { String::new() } else { format!(" window {}", it.window_id) };
    let sequence = it.sequence.map(|it| format!(", sequence {it}")).unwrap_or_default();
    let again = if it.duplicate == Some(true) { " (the stream had it already)" } else { "" };
    format!("signal/{}{window} accepted by {}{sequence}{again}\n", it.kind, it.to)
}

enum Way<'a> {
    Engine(Api),
    Bus(Bus, &'a str),
}

impl Way<'_> {
    async fn send(&self, body: Vec<u8>, namespace: Option<&str>) -> Result<Sent, Trouble> {
        let parsed = parse(&body).map_err(|refusal| Trouble::Negative(refusal.to_string()))?;
        let (kind, window_id) = (parsed.body.kind(), parsed.body.window_id().to_owned());
        let taken = Sent { kind: kind.as_str(), window_id, to: String::new(), sequence: None, duplicate: None };
        match self {
            Self::Engine(api) => {
                api.signal(kind.as_str(), body).await?;
                Ok(Sent { to: api.address().to_owned(), ..taken })
            }
            Self::Bus(bus, cluster) => {
                let namespace = parsed.namespace.as_deref().or(namespace).ok_or_else(|| {
                    Trouble::Unusable("the file names no `metadata.namespace`: say --namespace".to_owned())
                })?;
                let subject = Subject::new(kind, cluster, namespace)
                    .map_err(|refusal| Trouble::Unusable(refusal.to_string()))?
                    .to_string();
                let (sequence, duplicate) = bus.publish(&subject, body).await?;
                Ok(Sent { to: subject, sequence: Some(sequence), duplicate: Some(duplicate), ..taken })
            }
        }
    }
}

/// The signal that the flags describe.
fn body(args: &cli::Send) -> Body {
    let service = args.service.clone().unwrap_or_default();
    let window_id = args.window.clone().unwrap_or_else(|| format!("cli-{}", Uuid::now_v7().simple()));
    let metadata = Metadata {
        namespace: args.namespace.clone(),
        kind: Some(args.kind.as_str().to_owned()),
        pod: args.pod.clone(),
        rest: BTreeMap::new(),
    };
    match &args.rca {
        Some(cause) => Body::Rca(Rca {
            window_id,
            service: Some(service.clone()),
            ranked_causes: vec![RankedCause { svc: service, cause: cause.clone(), probability: args.score }],
            confidence: args.confidence,
            explanation: None,
            model_version: None,
            metadata,
        }),
        None => Body::Anomaly(Anomaly {
            window_id,
            service,
            is_anomaly: !args.clear,
            score: args.score,
            anomaly_type: anomaly_type(args.anomaly.as_deref()),
            model_version: None,
            ts_range: None,
            metadata,
        }),
    }
}

fn anomaly_type(word: Option<&str>) -> AnomalyType {
    AnomalyType::ALL.into_iter().find(|it| Some(it.as_str()) == word).unwrap_or(AnomalyType::Other)
}

fn validate(args: &cli::Validate) -> Result<Answer, Trouble> {
    let checked = match parse(&read(&args.file)?) {
        Ok(parsed) => Checked {
            valid: true,
            kind: Some(parsed.body.kind().as_str()),
            window_id: Some(parsed.body.window_id().to_owned()),
            target: Some(target(&parsed)),
            field: None,
            reason: None,
            detail: None,
        },
        Err(refusal) => Checked {
            valid: false,
            kind: None,
            window_id: None,
            target: None,
            field: refusal.field.clone(),
            reason: Some(refusal.reason.as_str()),
            detail: Some(refusal.detail.clone()),
        },
    };
    let answer = Answer::of(&checked, args.output, |it| match (&it.detail, &it.field, &it.target) {
        (Some(detail), Some(field), _) => format!("not valid: field `{field}`: {detail}\n"),
        (Some(detail), None, _) => format!("not valid: {detail}\n"),
        (None, _, target) => {
            format!("valid: {} of {}\n", it.kind.unwrap_or_default(), target.as_deref().unwrap_or_default())
        }
    });
    Ok(Answer { negative: !checked.valid, ..answer })
}

fn target(parsed: &Parsed) -> String {
    let namespace = parsed.namespace.as_deref().unwrap_or("<default>");
    let kind = parsed.workload_kind.as_deref().unwrap_or("Deployment");
    format!("{namespace}/{kind}/{}", parsed.body.target_name())
}

fn parse(body: &[u8]) -> Result<Parsed, flyball_signals::Refusal> {
    flyball_signals::parse(&Message { kind: kind_of(body), body, ..Message::default() })
}

/// A file does not say what it is, unless it is a CloudEvent: only an analysis ranks causes.
pub(super) fn kind_of(body: &[u8]) -> Option<Kind> {
    let fields: BTreeMap<String, serde_json::Value> = serde_json::from_slice(body).unwrap_or_default();
    match fields {
        fields if fields.contains_key("specversion") => None,
        fields if fields.contains_key("rankedCauses") => Some(Kind::Rca),
        _ => Some(Kind::Anomaly),
    }
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    read.map_err(|error| Trouble::Unusable(format!("reading {}: {error}", file.display())))
}
