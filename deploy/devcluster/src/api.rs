//! A client for the API server, small enough to be trusted by tests: paths, JSON and status codes, no types.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// Longer than any request here takes, short enough to notice that the server was stopped.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a patch of a built-in kind is read unless somebody says otherwise: lists of named things merge by name.
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Somebody's access to the API server. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    agent: Agent,
    url: String,
    authorization: String,
}

/// What the API server said. A refusal is an answer, too.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The body; a JSON string when it was not JSON.
    pub body: Value,
}

impl Answer {
    /// The body of a success; an error with the server's own words for any other status.
    pub fn ok(self) -> Result<Value> {
        let said = || self.body["message"].as_str().map_or_else(|| self.body.to_string(), str::to_owned);
        ensure!((200..300).contains(&self.status), "{}: {}", self.status, said());
        Ok(self.body)
    }
}

impl Api {
    /// Speaks to `url`, trusts the certificates in `roots` (PEM) and nothing else, and shows `token`.
    pub fn new(url: &str, roots: &[u8], token: &str) -> Result<Self> {
        let mut trusted = Vec::new();
        for item in parse_pem(roots) {
            if let PemItem::Certificate(certificate) = item.context("reading the API server's certificate")? {
                trusted.push(certificate);
            }
        }
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(trusted))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            // Servers die here on purpose: a pooled connection would fail the first request after every restart.
            .max_idle_connections(0)
            .proxy(None)
            .build()
            .new_agent();
        Ok(Self { agent, url: url.to_owned(), authorization: format!("Bearer {token}") })
    }

    /// Reads `path`, which begins with a slash and may carry a query.
    pub fn get(&self, path: &str) -> Result<Answer> {
        answer("GET", path, self.agent.get(self.at(path)).header("authorization", &self.authorization).call())
    }

    /// Deletes what is at `path`; what it owns goes in the background.
    pub fn delete(&self, path: &str) -> Result<Answer> {
        answer("DELETE", path, self.agent.delete(self.at(path)).header("authorization", &self.authorization).call())
    }

    /// Sends `body` to the collection at `path`.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send("POST", path, "application/json", body)
    }

    /// Replaces what is at `path`.
    pub fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send("PUT", path, "application/json", body)
    }

    /// Patches what is at `path`, as a strategic merge.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.patch_as(path, STRATEGIC, body)
    }

    /// Patches what is at `path` in the manner that `content_type` names.
    pub fn patch_as(&self, path: &str, content_type: &str, body: &Value) -> Result<Answer> {
        self.send("PATCH", path, content_type, body)
    }

    /// Creates the object in `manifest`, at the place its kind, version and namespace say. Returns it as it was stored.
    pub fn create(&self, manifest: &Value) -> Result<Value> {
        let path = collection(manifest)?;
        let name = manifest["metadata"]["name"].as_str().unwrap_or("it");
        self.post(&path, manifest)?.ok().with_context(|| format!("creating {name} in {path}"))
    }

    /// Whether the server says that it is ready.
    pub(crate) fn ensure_ready(&self) -> Result<()> {
        self.get("/readyz")?.ok().map(drop)
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn send(&self, verb: &str, path: &str, content_type: &str, body: &Value) -> Result<Answer> {
        let uri = self.at(path);
        let request = match verb {
            "POST" => self.agent.post(uri),
            "PUT" => self.agent.put(uri),
            _ => self.agent.patch(uri),
        };
        let request = request.header("authorization", &self.authorization).content_type(content_type);
        answer(verb, path, request.send(body.to_string()))
    }
}

impl Debug for Api {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("url", &self.url).finish_non_exhaustive()
    }
}

fn answer(verb: &str, path: &str, response: Result<Response<ureq::Body>, ureq::Error>) -> Result<Answer> {
    let what = || format!("{verb} {path}");
    let mut response = response.with_context(what)?;
    let text = response.body_mut().with_config().limit(u64::MAX).read_to_string().with_context(what)?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer { status: response.status().as_u16(), body })
}

/// The path that objects of this kind are created under. Knows how English makes the plurals that Kubernetes uses.
fn collection(manifest: &Value) -> Result<String> {
    let field = |name: &str| manifest[name].as_str().ok_or_else(|| anyhow!("a manifest without {name}: {manifest}"));
    let (version, kind) = (field("apiVersion")?, field("kind")?.to_lowercase());
    let root = if version.contains('/') { "/apis" } else { "/api" };
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    };
    Ok(match manifest["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/{version}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{version}/{plural}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::collection;

    fn check(version: &str, kind: &str, namespace: Option<&str>, expected: &str) {
        let manifest = json!({"apiVersion": version, "kind": kind, "metadata": {"namespace": namespace}});
        assert_eq!(collection(&manifest).unwrap(), expected);
    }

    #[test]
    fn a_kind_has_its_place() {
        check("v1", "Namespace", None, "/api/v1/namespaces");
        check("apps/v1", "Deployment", Some("shop"), "/apis/apps/v1/namespaces/shop/deployments");
        check(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            Some("a"),
            "/apis/networking.k8s.io/v1/namespaces/a/networkpolicies",
        );
        check("storage.k8s.io/v1", "StorageClass", None, "/apis/storage.k8s.io/v1/storageclasses");
    }

    #[test]
    fn a_manifest_without_a_kind_is_refused() {
        assert!(collection(&json!({"apiVersion": "v1"})).is_err());
    }
}
