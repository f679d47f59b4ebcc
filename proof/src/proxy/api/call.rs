//! A request to the API server, in the API server's own terms.

use bytes::Bytes;
use serde_json::Value;

use super::http::Request;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// `get`, `list`, `watch`, `create`, `patch`, `update`, `delete`, as the audit log says it; `version` and its like are `get`.
    pub verb: &'static str,
    /// The path, without the query.
    pub path: String,
    /// The query, without the question mark; empty without any.
    pub query: String,
    /// The plural of the kind; empty for what is none.
    pub resource: String,
    /// `eviction`, `scale`, `status`; empty for the object itself.
    pub subresource: String,
    /// The namespace; empty for what has none.
    pub namespace: String,
    /// The object's name; empty for a collection.
    pub name: String,
    /// The body as JSON; null when there is none.
    pub body: Value,
}

impl Call {
    pub(super) fn of(request: &Request) -> Self {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let mut words: Vec<&str> = path.split('/').filter(|it| !it.is_empty()).collect();
        let prefix = match words.first() {
            Some(&"api") => 2,
            Some(&"apis") => 3,
            _ => words.len(),
        };
        words.drain(..prefix.min(words.len()));
        let mut namespace = "";
        if words.len() > 2 && words[0] == "namespaces" {
            namespace = words[1];
            words.drain(..2);
        }
        let word = |at: usize| words.get(at).copied().unwrap_or_default().to_owned();
        let watches = query.split('&').any(|it| it == "watch=true" || it == "watch=1");
        let verb = match &*request.method {
            "GET" if watches => "watch",
            "GET" if words.len() == 1 => "list",
            "POST" => "create",
            "PATCH" => "patch",
            "PUT" => "update",
            "DELETE" => "delete",
            _ => "get",
        };
        Self {
            verb,
            path: path.to_owned(),
            query: query.to_owned(),
            resource: word(0),
            subresource: word(2),
            namespace: namespace.to_owned(),
            name: word(1),
            body: json(&request.body),
        }
    }

    /// Whether it would change something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
    }
}

fn json(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, target: &str) -> [String; 5] {
        let request = Request { method: method.into(), target: target.into(), headers: Vec::new(), body: Bytes::new() };
        let it = Call::of(&request);
        [it.verb.to_owned(), it.namespace, it.resource, it.name, it.subresource]
    }

    #[test]
    fn a_request_is_said_as_the_audit_log_says_it() {
        for (method, target, said) in [
            ("GET", "/version", ["get", "", "", "", ""]),
            ("GET", "/apis/apps/v1/deployments?watch=true&x=y", ["watch", "", "deployments", "", ""]),
            ("GET", "/apis/apps/v1/namespaces/shop/deployments/cart", ["get", "shop", "deployments", "cart", ""]),
            ("GET", "/api/v1/namespaces/shop/pods?labelSelector=a", ["list", "shop", "pods", "", ""]),
            ("GET", "/api/v1/namespaces/shop", ["get", "", "namespaces", "shop", ""]),
            ("PATCH", "/apis/apps/v1/namespaces/a/statefulsets/db", ["patch", "a", "statefulsets", "db", ""]),
            ("POST", "/api/v1/namespaces/a/pods/p/eviction", ["create", "a", "pods", "p", "eviction"]),
        ] {
            assert_eq!(call(method, target), said.map(str::to_owned), "{method} {target}");
        }
    }
}
