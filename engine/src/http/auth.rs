//! Who may change something.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ring::hmac;

use super::Api;
use super::problem::{Kind, Problem};

/// Who may make calls that change something. Reading is open to whoever reaches the port.
#[derive(Clone)]
pub enum Auth {
    /// Whoever is on this machine: the port is open to nobody else.
    Local,
    /// Whoever has the token.
    Token(Secret),
    /// Everybody: somebody said so.
    None,
}

/// A token that can be compared and no longer read.
#[derive(Clone)]
pub struct Secret(hmac::Tag);

/// What the tags are made over: the same for both sides, so that equal tags mean equal tokens.
const SEAL: &[u8] = b"flyball api token";

impl Secret {
    /// Keeps a token.
    pub fn new(token: &str) -> Self {
        Self(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()), SEAL))
    }

    /// Compares in a time that does not depend on how much is right: both sides are hashed first.
    fn is(&self, given: &str) -> bool {
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, given.as_bytes()), SEAL, self.0.as_ref()).is_ok()
    }
}

impl Auth {
    /// What applies on an address.
    ///
    /// # Errors
    /// Nobody said who may call, or the token cannot be read: do not start.
    pub fn check(addr: SocketAddr, token_file: Option<&Path>, no_auth: bool) -> Result<Self, String> {
        match token_file {
            Some(_) if no_auth => Err("--api-token-file and --no-auth contradict each other: leave one out".to_owned()),
            Some(file) => read(file).map(|token| Self::Token(Secret::new(&token))),
            None if no_auth => Ok(Self::None),
            None if addr.ip().is_loopback() => Ok(Self::Local),
            None => Err(format!(
                "{addr} can be reached from other machines, and nothing says who may call: give --api-token-file FILE, \
                 listen on 127.0.0.1, or say --no-auth"
            )),
        }
    }

    fn admits(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Self::None => Ok(()),
            Self::Local if host_is_local(headers) => Ok(()),
            Self::Local => Err(Problem::new(
                Kind::CrossSite,
                "the Host is neither an address nor localhost: a page may have pointed its own name here",
            )),
            Self::Token(secret) => match bearer(headers) {
                Some(given) if secret.is(given) => Ok(()),
                Some(_) => Err(Problem::new(Kind::Unauthorised, "the token is not the one of --api-token-file")),
                None => Err(Problem::new(Kind::Unauthorised, "send the header `Authorization: Bearer TOKEN`")),
            },
        }
    }
}

fn read(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("reading {}: {error}", file.display()))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{} does not hold a token: one line of printable ASCII", file.display()));
    }
    Ok(token.to_owned())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether the caller called us by an address or as localhost. A page that had its own name point to 127.0.0.1 calls us by
/// that name.
fn host_is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(authority) = host.to_str().unwrap_or_default().parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Whether a page of another site sent it. Browsers say so themselves, and a page cannot change what they say.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let said = headers.get("sec-fetch-site").and_then(|it| it.to_str().ok());
    // `same-site` is another port of this very machine, too.
    said.is_some_and(|said| !matches!(said, "same-origin" | "none"))
}

/// Stands before every call that changes something.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    if is_cross_site(request.headers()) {
        let detail = "a page of another site sent this; use the command line or the API itself";
        return Problem::new(Kind::CrossSite, detail).into_response();
    }
    match api.auth.admits(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_starts_without_saying_who_may_call() {
        let dir = tempfile::tempdir().unwrap();
        let (good, empty) = (dir.path().join("token"), dir.path().join("empty"));
        std::fs::write(&good, "s3cret\n").unwrap();
        std::fs::write(&empty, "\n").unwrap();
        let missing = dir.path().join("missing");
        let said = |addr: &str, file: Option<&Path>, no_auth| match Auth::check(addr.parse().unwrap(), file, no_auth) {
            Ok(Auth::Local) => "local".to_owned(),
            Ok(Auth::Token(_)) => "token".to_owned(),
            Ok(Auth::None) => "none".to_owned(),
            Err(why) => format!("refused: {why}"),
        };
        for (addr, file, no_auth, expected) in [
            ("127.0.0.1:8080", None, false, "local"),
            ("[::1]:8080", None, false, "local"),
            ("127.0.0.1:8080", Some(&good), false, "token"),
            ("127.0.0.1:8080", None, true, "none"),
            ("0.0.0.0:8080", None, false, "refused: 0.0.0.0:8080 can be reached from other machines"),
            ("[::]:8080", None, false, "refused: [::]:8080 can be reached"),
            ("10.0.0.1:8080", Some(&good), false, "token"),
            ("10.0.0.1:8080", None, true, "none"),
            ("10.0.0.1:8080", Some(&good), true, "refused: --api-token-file and --no-auth contradict"),
            ("10.0.0.1:8080", Some(&empty), false, "refused: "),
            ("10.0.0.1:8080", Some(&missing), false, "refused: reading "),
        ] {
            let answer = said(addr, file.map(std::path::PathBuf::as_path), no_auth);
            assert!(answer.starts_with(expected), "{addr} {file:?} {no_auth}: {answer}");
        }
    }

    #[test]
    fn a_token_is_equal_to_itself_alone() {
        let secret = Secret::new("s3cret");
        assert!(secret.is("s3cret"));
        for other in ["", "s3cre", "s3cret2", "S3CRET"] {
            assert!(!secret.is(other), "{other}");
        }
    }
}
