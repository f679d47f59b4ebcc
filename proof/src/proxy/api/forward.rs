//! Carrying a request out: what the rule says, and the request to the real server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::http::{Request, Response};
use super::{ApiAct, Call, Shared};
use crate::proxy::rules::{Armed, call};

/// Headers that belong to one connection, or to our side of the wire alone.
const OURS: [&str; 6] =
    ["host", "connection", "content-length", "transfer-encoding", "authorization", "accept-encoding"];

/// What the client gets.
pub(super) enum Reply {
    Answer(Response),
    Reset,
    Silence,
}

/// Does what the rule for this request says.
pub(super) async fn obey(request: Request, shared: Arc<Shared>) -> Reply {
    if shared.black_hole.load(Ordering::SeqCst) {
        return Reply::Silence;
    }
    let asked = Call::of(&request);
    let Some(armed) = shared.script.find(&asked) else { return forward(&request, &shared).await };
    call(armed.rule.before.as_ref(), &asked).await;
    let reply = carry_out(&armed, &request, &shared).await;
    call(armed.rule.after.as_ref(), &asked).await;
    armed.trigger.carried_out();
    reply
}

async fn carry_out(armed: &Armed<Call, ApiAct>, request: &Request, shared: &Shared) -> Reply {
    match &armed.rule.act {
        ApiAct::Pass => forward(request, shared).await,
        ApiAct::Refuse { status, retry_after } => refusal(*status, *retry_after),
        ApiAct::AnswerInstead(status) => {
            finish(forward(request, shared).await).await;
            refusal(*status, None)
        }
        ApiAct::DropAnswer => {
            finish(forward(request, shared).await).await;
            Reply::Reset
        }
        ApiAct::SwallowAnswer => {
            finish(forward(request, shared).await).await;
            Reply::Silence
        }
        ApiAct::Reset => Reply::Reset,
        ApiAct::Swallow => Reply::Silence,
        ApiAct::Hold => {
            armed.trigger.released().await;
            forward(request, shared).await
        }
        ApiAct::Twice => {
            let first = whole(forward(request, shared).await).await;
            finish(forward(request, shared).await).await;
            first
        }
        ApiAct::Delay(time) => {
            tokio::time::sleep(*time).await;
            forward(request, shared).await
        }
        ApiAct::Serve(object) => answer(200, &[], object),
        ApiAct::WatchExpired => {
            let gone = json!({"type": "ERROR", "object": status(410)});
            reply(200, &[], stream::iter([Ok(format!("{gone}\n").into())]).boxed())
        }
        ApiAct::WatchFor(time) => limited(forward(request, shared).await, *time),
        ApiAct::WatchWithout(leave_out) => without(forward(request, shared).await, leave_out.clone()),
    }
}

/// Sends the request to the real server. One that does not answer resets the client's connection, as a server that dies does.
async fn forward(request: &Request, shared: &Shared) -> Reply {
    match send(request, shared).await {
        Ok(response) => Reply::Answer(response),
        Err(_) => Reply::Reset,
    }
}

async fn send(request: &Request, shared: &Shared) -> Result<Response> {
    let mut builder = ::http::Request::builder().method(request.method.as_str()).uri(&request.target);
    for (name, value) in request.headers.iter().filter(|(name, _)| !OURS.contains(&name.as_str())) {
        builder = builder.header(name, value);
    }
    let sent = builder.body(kube::client::Body::from(request.body.to_vec())).context("a request")?;
    let answer = shared.client.send(sent).await.context("the API server")?;
    let (head, body) = answer.into_parts();
    let text = |value: &::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
    let headers = headers.filter(|(name, _)| !OURS.contains(&name.as_str())).collect();
    let body = Body::new(body).into_data_stream().map_err(anyhow::Error::from).boxed();
    Ok(Response { status: head.status.as_u16(), headers, body })
}

/// Reads an answer to its end, so that the server has done all it will do.
async fn finish(reply: Reply) {
    whole(reply).await;
}

/// The same answer, read to its end.
async fn whole(reply: Reply) -> Reply {
    let Reply::Answer(response) = reply else { return reply };
    let pieces: Vec<Result<Bytes>> = response.body.collect().await;
    Reply::Answer(Response { body: stream::iter(pieces).boxed(), ..response })
}

fn limited(reply: Reply, time: Duration) -> Reply {
    let Reply::Answer(response) = reply else { return reply };
    let body = response.body.take_until(Box::pin(tokio::time::sleep(time))).boxed();
    Reply::Answer(Response { body, ..response })
}

/// A watch is a line of JSON for each event.
fn without(reply: Reply, leave_out: Arc<dyn Fn(&Value) -> bool + Send + Sync>) -> Reply {
    let Reply::Answer(response) = reply else { return reply };
    let mut pending = BytesMut::new();
    let body = response.body.map_ok(move |piece| {
        pending.extend_from_slice(&piece);
        let mut kept = BytesMut::new();
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line = pending.split_to(end + 1);
            let event: Value = serde_json::from_slice(&line).unwrap_or_default();
            if !leave_out(&event) {
                kept.extend_from_slice(&line);
            }
        }
        kept.freeze()
    });
    Reply::Answer(Response { body: body.boxed(), ..response })
}

fn refusal(code: u16, retry_after: Option<u64>) -> Reply {
    let header = retry_after.map(|seconds| ("retry-after".to_owned(), seconds.to_string()));
    answer(code, header.as_slice(), &status(code))
}

/// A `Status` object as the API server writes one.
fn status(code: u16) -> Value {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": format!("{reason}, says the proxy")})
}

fn answer(code: u16, headers: &[(String, String)], body: &Value) -> Reply {
    reply(code, headers, stream::iter([Ok(body.to_string().into())]).boxed())
}

fn reply(code: u16, headers: &[(String, String)], body: BoxStream<'static, Result<Bytes>>) -> Reply {
    let mut headers = headers.to_vec();
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    Reply::Answer(Response { status: code, headers, body })
}
