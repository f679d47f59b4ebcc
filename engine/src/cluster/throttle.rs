//! The one door to the API server: every call waits for our share of it, has a deadline, and is counted. Only reads are
//! tried again, and only once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use backon::{ConstantBuilder, Retryable};
use flyball_core::ports::PortError;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::header::RETRY_AFTER;
use kube::Client;
use kube::api::{GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use serde_json::Value;

use super::error::{NoAnswer, Reply};
use super::path::{Place, is_name};
use super::{FIELD_MANAGER, Observer};

/// Longest wait for an answer. An API server gives up on a write after 34 s; waiting that long for one answer would hold
/// a slot for nothing, since an unanswered write is settled by reading anyway. Long enough for a change of etcd's leader.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before a read is tried again, unless the server says how long.
const PAUSE: Duration = Duration::from_millis(200);
/// No server makes us wait longer than this within one read: its caller tries again by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A call as it is counted.
#[derive(Clone)]
struct Call<'a> {
    verb: &'static str,
    resource: &'static str,
    namespace: &'a str,
    request: http::Request<Vec<u8>>,
}

/// The door.
pub(super) struct Door {
    client: Client,
    url: String,
    observer: Arc<dyn Observer>,
    share: DefaultDirectRateLimiter,
}

impl Door {
    pub(super) fn new(
        client: Client,
        url: String,
        observer: Arc<dyn Observer>,
        rate: NonZeroU32,
        burst: NonZeroU32,
    ) -> Self {
        let share = RateLimiter::direct(Quota::per_second(rate).allow_burst(burst));
        Self { client, url, observer, share }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// One object, from a quorum of etcd: the request carries no `resourceVersion`, so no cache may answer it.
    pub(super) async fn get(&self, place: Place<'_>, name: &str) -> Result<Option<Value>, PortError> {
        if !is_name(name) {
            return Ok(None);
        }
        let request = Request::new(place.path()).get(name, &GetParams::default());
        self.read("get", place, request).await?.read()
    }

    /// The objects of a namespace, as fresh as `get`.
    pub(super) async fn list(&self, place: Place<'_>, labels: Option<&str>) -> Result<Vec<Value>, PortError> {
        let params = ListParams { label_selector: labels.map(str::to_owned), ..ListParams::default() };
        let request = Request::new(place.path()).list(&params);
        let missing = || PortError::Unavailable(format!("the API server does not serve {}", place.resource));
        let mut list = self.read("list", place, request).await?.read()?.ok_or_else(missing)?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(PortError::Unavailable(format!("the API server sent a list of {} without items", place.resource))),
        }
    }

    /// The cheapest request that shows that the API server answers us.
    pub(super) async fn version(&self) -> Result<(), PortError> {
        let request = http::Request::get("/version").body(Vec::new()).expect("a constant path is valid");
        let call = Call { verb: "get", resource: "version", namespace: "", request };
        self.again(call).await?.read().map(drop)
    }

    /// Merges `body` into an object, once.
    pub(super) async fn patch(&self, place: Place<'_>, name: &str, body: &Value) -> Result<Reply, NoAnswer> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let request = Request::new(place.path()).patch(name, &params, &Patch::Merge(body));
        self.write("patch", place, request).await
    }

    /// Makes an object, once.
    pub(super) async fn create(&self, place: Place<'_>, body: &Value) -> Result<Reply, NoAnswer> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = Request::new(place.path()).create(&params, body.to_string().into_bytes());
        self.write("create", place, request).await
    }

    /// Puts an object in the place of the one whose version it bears, once.
    pub(super) async fn replace(&self, place: Place<'_>, name: &str, body: &Value) -> Result<Reply, NoAnswer> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = Request::new(place.path()).replace(name, &params, body.to_string().into_bytes());
        self.write("update", place, request).await
    }

    /// Asks for the eviction of a pod, once.
    pub(super) async fn evict(&self, place: Place<'_>, name: &str, body: &Value) -> Result<Reply, NoAnswer> {
        let (params, body) = (PostParams::default(), body.to_string().into_bytes());
        let request = Request::new(place.path()).create_subresource("eviction", name, &params, body);
        self.write("evict", place, request).await
    }

    async fn write(
        &self,
        verb: &'static str,
        place: Place<'_>,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Reply, NoAnswer> {
        let request = request.map_err(|error| NoAnswer::from(kube::Error::BuildRequest(error)))?;
        self.once(Call { verb, resource: place.resource, namespace: place.namespace, request }).await
    }

    async fn read(
        &self,
        verb: &'static str,
        place: Place<'_>,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Reply, PortError> {
        let request = request.map_err(|error| PortError::Unavailable(error.to_string()))?;
        self.again(Call { verb, resource: place.resource, namespace: place.namespace, request }).await
    }

    /// A read, tried a second time where that may help.
    async fn again(&self, call: Call<'_>) -> Result<Reply, PortError> {
        enum Miss {
            Refused(Reply),
            Silent(NoAnswer),
        }
        let attempt = || async {
            match self.once(call.clone()).await {
                Ok(reply) if reply.is_passing() => Err(Miss::Refused(reply)),
                Ok(reply) => Ok(reply),
                Err(silent) => Err(Miss::Silent(silent)),
            }
        };
        let answer = attempt
            .retry(ConstantBuilder::new().with_delay(PAUSE).with_max_times(1))
            .when(|miss| match miss {
                Miss::Refused(_) => true,
                Miss::Silent(silent) => silent.is_passing(),
            })
            .adjust(|miss, pause| match (miss, pause) {
                (Miss::Refused(Reply { retry_after: Some(told), .. }), Some(_)) => Some((*told).min(LONGEST_PAUSE)),
                (_, pause) => pause,
            })
            .await;
        match answer {
            Ok(reply) | Err(Miss::Refused(reply)) => Ok(reply),
            Err(Miss::Silent(silent)) => Err(PortError::Unavailable(silent.detail)),
        }
    }

    /// One call, one request.
    async fn once(&self, call: Call<'_>) -> Result<Reply, NoAnswer> {
        self.share.until_ready().await;
        let (started, clock) = (SystemTime::now(), Instant::now());
        let answer = tokio::time::timeout(PATIENCE, self.exchange(call.request)).await;
        let mut answer = answer.unwrap_or_else(|_| Err(NoAnswer::timeout(PATIENCE)));
        if let Err(silent) = &mut answer {
            silent.detail = format!("{}: {}", self.url, silent.detail);
        }
        let outcome = answer.as_ref().map(|reply| reply.status).map_err(|silent| silent.class);
        self.observer.call(call.verb, call.resource, call.namespace, outcome, started, clock.elapsed());
        answer
    }

    async fn exchange(&self, request: http::Request<Vec<u8>>) -> Result<Reply, NoAnswer> {
        let response = self.client.send(request.map(Into::into)).await?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok());
        let bytes = response.into_body().collect_bytes().await?;
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        Ok(Reply { status, body, retry_after: retry_after.map(Duration::from_secs) })
    }
}
