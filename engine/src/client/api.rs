//! The engine's API, called.

use std::time::Duration;

use reqwest::{Method, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Trouble;
use crate::cli::{Connection, Which};
use crate::http::{Problem, ProblemKind};
use crate::view::hand::{Because, Resolve};
use crate::view::migration::{Migration, NewMigration};
use crate::view::pause::{NewPause, Pause, Pauses};
use crate::view::policy::Policies;
use crate::view::signal::Accepted;
use crate::view::why::Why;
use crate::view::{Decisions, Verdict};

/// Longer than the engine takes for anything.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running engine.
pub(super) struct Api {
    client: reqwest::Client,
    server: Url,
    token: Option<String>,
}

impl Api {
    /// An engine at an address. Nothing is sent yet.
    pub(super) fn new(connection: &Connection) -> Result<Self, Trouble> {
        let wrong = |why: String| Trouble::Unusable(format!("--server {}: {why}", connection.server));
        let server: Url = connection.server.parse().map_err(|error| wrong(format!("{error}")))?;
        if !matches!(server.scheme(), "http" | "https") {
            return Err(wrong("write http://HOST:PORT or https://HOST:PORT".to_owned()));
        }
        let token = match &connection.token_file {
            None => connection.token.clone(),
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Trouble::Unusable(format!("reading {}: {error}", file.display())))?;
                Some(text.trim().to_owned())
            }
        };
        // A token follows no redirect to wherever that leads.
        let builder = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        // What listens on this machine is not behind anybody's proxy.
        let builder = if is_here(&server) { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| Trouble::Unusable(Trouble::chain(&error)))?;
        Ok(Self { client, server, token })
    }

    /// The address, for people.
    pub(super) fn address(&self) -> &str {
        self.server.as_str().trim_end_matches('/')
    }

    pub(super) async fn decisions(&self, args: &Which, verdict: Option<Verdict>) -> Result<Decisions, Trouble> {
        let limit = args.limit.map(|it| it.to_string());
        let asked = [
            ("namespace", args.namespace.as_deref()),
            ("since", args.since.as_deref()),
            ("reason", args.reason.as_deref()),
            ("policy", args.policy.as_deref()),
            ("limit", limit.as_deref()),
            ("verdict", verdict.map(Verdict::as_str)),
        ];
        let query: Vec<(&str, &str)> = asked.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        self.call(self.to(Method::GET, &["decisions"]).query(&query)).await
    }

    pub(super) async fn why(&self, id: &str) -> Result<Why, Trouble> {
        self.call(self.to(Method::GET, &["decisions", id])).await
    }

    /// Ends an action before it has an effect.
    pub(super) async fn cancel(&self, id: &str, cancel: &Because) -> Result<Why, Trouble> {
        self.call(self.to(Method::POST, &["decisions", id, "cancel"]).json(cancel)).await
    }

    /// Says what became of a send.
    pub(super) async fn resolve(&self, id: &str, word: &Resolve) -> Result<Why, Trouble> {
        self.call(self.to(Method::POST, &["decisions", id, "resolve"]).json(word)).await
    }

    /// How far the move of the ledger is.
    pub(super) async fn migration(&self) -> Result<Migration, Trouble> {
        self.call(self.to(Method::GET, &["ledger", "migrate"])).await
    }

    /// Asks for a move of the ledger.
    pub(super) async fn migrate(&self, migration: &NewMigration) -> Result<Migration, Trouble> {
        self.call(self.to(Method::POST, &["ledger", "migrate"]).json(migration)).await
    }

    pub(super) async fn policies(&self) -> Result<Policies, Trouble> {
        self.call(self.to(Method::GET, &["policies"])).await
    }

    /// Lets a demoted policy act again.
    pub(super) async fn trust(&self, policy: &str, because: &Because) -> Result<Policies, Trouble> {
        self.call(self.to(Method::POST, &["policies", policy, "trust"]).json(because)).await
    }

    pub(super) async fn pauses(&self) -> Result<Pauses, Trouble> {
        self.call(self.to(Method::GET, &["pauses"])).await
    }

    pub(super) async fn pause(&self, pause: &NewPause) -> Result<Pause, Trouble> {
        self.call(self.to(Method::POST, &["pauses"]).json(pause)).await
    }

    /// Releases one pause.
    pub(super) async fn resume(&self, id: &str, by: Option<&str>) -> Result<Pauses, Trouble> {
        self.call(self.to(Method::DELETE, &["pauses", id]).query(&[("by", by)])).await
    }

    /// Releases every pause of a scope.
    pub(super) async fn resume_scope(&self, scope: &str, by: Option<&str>) -> Result<Pauses, Trouble> {
        self.call(self.to(Method::DELETE, &["pauses"]).query(&[("scope", Some(scope)), ("by", by)])).await
    }

    pub(super) async fn signal(&self, kind: &str, body: Vec<u8>) -> Result<Accepted, Trouble> {
        let request = self.to(Method::POST, &["signals", kind]).header("content-type", "application/json").body(body);
        self.call(request).await
    }

    fn to(&self, method: Method, path: &[&str]) -> reqwest::RequestBuilder {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn call<T: DeserializeOwned + Serialize>(&self, request: reqwest::RequestBuilder) -> Result<T, Trouble> {
        let unreachable = |error: reqwest::Error| Trouble::Unreachable {
            address: self.address().to_owned(),
            detail: Trouble::chain(&error.without_url()),
        };
        let response = request.send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(Trouble::Refused {
                address: self.address().to_owned(),
                problem: Box::new(problem(response).await),
            });
        }
        let body = response.bytes().await.map_err(unreachable)?;
        serde_json::from_slice(&body).map_err(|error| Trouble::Unreachable {
            address: self.address().to_owned(),
            detail: format!("what answers there is no engine of this version: {error}"),
        })
    }
}

/// What the engine, or something in front of it, said.
async fn problem(response: Response) -> Problem {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    let said = serde_json::from_slice::<Problem>(&body).ok();
    said.filter(|it| it.status == status.as_u16()).unwrap_or_else(|| Problem {
        status: status.as_u16(),
        ..Problem::new(ProblemKind::Fault, format!("it answered {status}"))
    })
}

fn is_here(server: &Url) -> bool {
    let host = server.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
}
