//! From a message to a signal: the one place where what was sent becomes what is meant. Past it nobody asks again.

use jiff::Timestamp;

use crate::{
    bounds,
    cloudevents::{self, Attributes, header},
    fault,
    identity::{DEFAULT_WORKLOAD_KIND, Identity, Place},
    object::Object,
    refusal::{Refusal, RefusalReason},
    shape::Shape,
    subject::{Kind, SIGNALS, Subject},
    trace::TraceContext,
    v1::{Anomaly, Body, Rca},
};

/// A message as it came, from a subject or over HTTP, and what the reader knows about where it came from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Message<'a> {
    /// The subject it came on. One that does not begin with `flyball.signal.` is a foreign publisher's and says nothing.
    pub subject: Option<&'a str>,
    /// The kind, where the HTTP path or the configuration of a foreign stream tells it.
    pub kind: Option<Kind>,
    /// The reader's own cluster: stands in where the subject names none, and a subject that names another is refused.
    pub cluster: Option<&'a str>,
    /// The configured default namespace: stands in where neither the subject nor the body names one.
    pub namespace: Option<&'a str>,
    /// Headers as they came, names in any case. Of several with one name the first is read.
    pub headers: &'a [(String, String)],
    /// The bytes, at most [`MAX_BYTES`](crate::MAX_BYTES).
    pub body: &'a [u8],
}

/// A signal as it is meant: in range, its names allowed, with a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The signal itself.
    pub body: Body,
    /// The subject's cluster, else the reader's.
    pub cluster: Option<String>,
    /// The subject's namespace, else `metadata.namespace`, else the default.
    pub namespace: Option<String>,
    /// `metadata.kind`, as sent; `None` means a Deployment.
    pub workload_kind: Option<String>,
    /// `metadata.pod`: the pod a `deletePod` acts on.
    pub pod: Option<String>,
    /// What makes a second message the same signal.
    pub id: Identity,
    /// When it was observed: the CloudEvents `time`, else the end of `tsRange`. Not compared with any clock.
    pub time: Option<Timestamp>,
    /// The CloudEvents `expirytime`: nothing may act on the signal from then on.
    pub expires: Option<Timestamp>,
    /// A well-formed `traceparent`: the header's, else the CloudEvents extension's.
    pub traceparent: Option<String>,
    /// The `tracestate` that came with that `traceparent`, at most 512 bytes.
    pub tracestate: Option<String>,
    /// The CloudEvents `correlationid`.
    pub correlation: Option<String>,
}

/// Reads a message as a signal.
///
/// Guarantees: never panics, time linear in the size of the message, and whatever is accepted names a target by names that
/// Kubernetes allows. Reads no clock.
///
/// Errors: a [`Refusal`] with the reason and, wherever one field is at fault, that field.
pub fn parse(message: &Message<'_>) -> Result<Parsed, Refusal> {
    let subject = match message.subject {
        Some(text) if text.starts_with(SIGNALS) => Some(text.parse::<Subject>()?),
        _ => None,
    };
    let opened = cloudevents::open(message.headers, Shape::of(message.body)?)?;
    let attributes = opened.attributes;
    let kind = agreed_kind(message, subject.as_ref(), attributes.as_ref())?;
    let body = match kind {
        Kind::Anomaly => Body::Anomaly(fault::read::<Object<Anomaly>>(opened.data, opened.at)?.0),
        Kind::Rca => Body::Rca(fault::read::<Object<Rca>>(opened.data, opened.at)?.0),
    };
    bounds::check(&body, opened.at)?;
    let cluster = cluster(message, subject.as_ref())?;
    let namespace = namespace(message, subject.as_ref(), &body, opened.at)?;
    let place = Place {
        kind,
        cluster: cluster.unwrap_or_default(),
        namespace: namespace.unwrap_or_default(),
        workload_kind: body.metadata().kind.as_deref().unwrap_or(DEFAULT_WORKLOAD_KIND),
    };
    let id = identity(message, attributes.as_ref(), &place, &body);
    let (cluster, namespace) = (cluster.map(str::to_owned), namespace.map(str::to_owned));
    let extension = attributes.as_ref();
    let trace = TraceContext::first([
        (header(message.headers, "traceparent"), header(message.headers, "tracestate")),
        (
            extension.and_then(|event| event.traceparent.as_deref()),
            extension.and_then(|event| event.tracestate.as_deref()),
        ),
    ]);
    Ok(Parsed {
        cluster,
        namespace,
        workload_kind: body.metadata().kind.clone(),
        pod: body.metadata().pod.clone(),
        id,
        time: extension.and_then(|event| event.time).or_else(|| end_of_window(&body)),
        expires: extension.and_then(|event| event.expires),
        traceparent: trace.parent,
        tracestate: trace.state,
        correlation: attributes.and_then(|event| event.correlation),
        body,
    })
}

/// The kind all who name one agree on: the subject, the path or configuration, the envelope.
fn agreed_kind(message: &Message<'_>, subject: Option<&Subject>, event: Option<&Attributes>) -> Result<Kind, Refusal> {
    let mismatch = |field: &str, said: Kind, known: Kind| {
        Refusal::at(RefusalReason::KindMismatch, field, format!("says {said} where {known} was expected"))
    };
    let known = match (message.kind, subject.map(|subject| subject.kind)) {
        (Some(known), Some(said)) if known != said => return Err(mismatch("subject", said, known)),
        (known, said) => known.or(said),
    };
    match (known, event) {
        (Some(known), Some(event)) if known != event.kind => Err(mismatch(&event.type_field, event.kind, known)),
        (Some(known), _) => Ok(known),
        (None, Some(event)) => Ok(event.kind),
        (None, None) => {
            let detail = "neither the subject nor a CloudEvents type says whether this is an anomaly or an rca";
            Err(Refusal::whole(RefusalReason::UnknownKind, detail))
        }
    }
}

fn cluster<'a>(message: &Message<'a>, subject: Option<&'a Subject>) -> Result<Option<&'a str>, Refusal> {
    let said = subject.map(|subject| subject.cluster.as_str());
    match (said, message.cluster) {
        (Some(said), Some(own)) if said != own => {
            let detail = format!("names the cluster `{said}`, and this is `{own}`");
            Err(Refusal::at(RefusalReason::ClusterMismatch, "subject", detail))
        }
        (said, own) => Ok(said.or(own)),
    }
}

fn namespace<'a>(
    message: &Message<'a>,
    subject: Option<&'a Subject>,
    body: &'a Body,
    at: &str,
) -> Result<Option<&'a str>, Refusal> {
    let subject = subject.map(|subject| subject.namespace.as_str());
    match (subject, body.metadata().namespace.as_deref()) {
        (Some(permitted), Some(said)) if permitted != said => {
            let field = fault::join(at.to_owned(), "metadata.namespace");
            let detail = format!("is `{said}` where the subject names `{permitted}`");
            Err(Refusal::at(RefusalReason::NamespaceMismatch, field, detail))
        }
        (permitted, said) => Ok(permitted.or(said).or(message.namespace)),
    }
}

fn identity(message: &Message<'_>, event: Option<&Attributes>, place: &Place<'_>, body: &Body) -> Identity {
    if let Some(event) = event {
        return Identity::of_event(&event.source, &event.id);
    }
    if !body.window_id().is_empty() {
        return Identity::of_window(place, body);
    }
    match header(message.headers, "nats-msg-id") {
        Some(id) if !id.is_empty() => Identity::of_message(id),
        _ => Identity::of_bytes(place, message.body),
    }
}

fn end_of_window(body: &Body) -> Option<Timestamp> {
    match body {
        Body::Anomaly(anomaly) => anomaly.ts_range.map(|range| range.end.0),
        Body::Rca(_) => None,
    }
}
