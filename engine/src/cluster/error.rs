//! What the API server said, and what it means that it said nothing.

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::time::Duration;

use flyball_core::ports::PortError;
use serde_json::Value;

/// The way to the cluster is not known.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A kubeconfig was named and cannot be used.
    #[error("kubeconfig {place}: {source}")]
    Kubeconfig {
        /// The file or context.
        place: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Nothing was named and nothing found.
    #[error("no cluster: neither a kubeconfig nor a service account of a pod: {0}")]
    Nowhere(Box<dyn Error + Send + Sync>),
    /// The configuration was read, and no client can be made of it.
    #[error("cannot speak to {url}: {source}")]
    Client {
        /// The API server's address.
        url: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// An answer of the API server; a refusal is one, too.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// The body; a string if it was not JSON.
    pub(super) body: Value,
    pub(super) retry_after: Option<Duration>,
}

impl Reply {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The server's words about a refusal.
    pub(super) fn message(&self) -> String {
        let words = self.body.get("message").unwrap_or(&self.body).as_str().map(str::trim);
        words.filter(|it| !it.is_empty()).map_or_else(|| format!("HTTP status {}", self.status), str::to_owned)
    }

    /// The server is busy or ailing: the same read may succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        self.status == 429 || self.status >= 500
    }

    /// What a read makes of it: 404 is an answer, any other refusal is not.
    pub(super) fn read(self) -> Result<Option<Value>, PortError> {
        match self.status {
            404 => Ok(None),
            403 => Err(PortError::Forbidden(self.message())),
            _ if self.is_success() && self.body.is_object() => Ok(Some(self.body)),
            status if self.is_success() => {
                Err(PortError::Unavailable(format!("the API server answered {status} without an object")))
            }
            status => Err(PortError::Unavailable(format!("the API server answered {status}: {}", self.message()))),
        }
    }
}

/// No answer: the request may have been carried out, or may be later.
#[derive(Debug)]
pub(super) struct NoAnswer {
    /// In a word, for counting.
    pub(super) class: &'static str,
    /// For people.
    pub(super) detail: String,
}

impl NoAnswer {
    pub(super) fn timeout(after: Duration) -> Self {
        Self { class: "timeout", detail: format!("no answer within {} s", after.as_secs()) }
    }

    /// Whether the connection failed, so that a read may try another one. A server that is too slow is not asked twice.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.class, "connect" | "reset" | "transport")
    }
}

impl From<kube::Error> for NoAnswer {
    fn from(error: kube::Error) -> Self {
        Self { class: class(&error), detail: chain(&error) }
    }
}

/// A failure in a word.
pub(super) fn class(error: &(dyn Error + 'static)) -> &'static str {
    if let Some(kube::Error::Auth(_)) = error.downcast_ref() {
        return "auth";
    }
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return "tls";
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            match error.kind() {
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::AddrNotAvailable => return "connect",
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof => return "reset",
                io::ErrorKind::TimedOut => return "timeout",
                // An I/O error may only wrap the one that says what happened.
                _ if error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>()).is_some() => return "tls",
                _ => {}
            }
        }
        next = error.source();
    }
    "transport"
}

/// An error with all its causes: the outermost alone says `client error (Connect)`.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        // Many errors print their cause themselves.
        if !text.contains(&said) {
            write!(text, ": {said}").expect("a String takes every write");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(status: u16, body: Value) -> Reply {
        Reply { status, body, retry_after: None }
    }

    #[test]
    fn a_read_is_an_object_nothing_or_a_reason() {
        let status = |text: &str| json!({"kind": "Status", "message": text});
        assert_eq!(reply(200, json!({"a": 1})).read(), Ok(Some(json!({"a": 1}))));
        assert_eq!(reply(404, status("not found")).read(), Ok(None));
        assert_eq!(reply(403, status("no")).read(), Err(PortError::Forbidden("no".into())));
        for (status_code, body, said) in [
            (200, json!("<html>"), "the API server answered 200 without an object"),
            (401, status("Unauthorized"), "the API server answered 401: Unauthorized"),
            (429, json!("Too many requests\n"), "the API server answered 429: Too many requests"),
            (503, json!(""), "the API server answered 503: HTTP status 503"),
        ] {
            assert_eq!(reply(status_code, body).read(), Err(PortError::Unavailable(said.into())));
        }
    }

    #[test]
    fn only_what_passes_is_read_again() {
        for (status, again) in
            [(200, false), (404, false), (403, false), (409, false), (429, true), (500, true), (504, true)]
        {
            assert_eq!(reply(status, json!({})).is_passing(), again, "{status}");
        }
        assert!(!NoAnswer::timeout(Duration::from_secs(10)).is_passing());
    }

    #[test]
    fn a_failure_has_a_word() {
        let io = |kind: io::ErrorKind| kube::Error::Service(Box::new(io::Error::new(kind, "x")));
        for (error, word) in [
            (io(io::ErrorKind::ConnectionRefused), "connect"),
            (io(io::ErrorKind::ConnectionReset), "reset"),
            (io(io::ErrorKind::Other), "transport"),
            (kube::Error::Service(Box::new(rustls::Error::DecryptError)), "tls"),
            (kube::Error::Service(Box::new(io::Error::other(rustls::Error::DecryptError))), "tls"),
        ] {
            assert_eq!(NoAnswer::from(error).class, word);
        }
    }
}
