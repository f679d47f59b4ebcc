//! A mutating admission webhook of ours, over HTTPS: it answers every review with the same JSON patch.
//!
//! It serves with the certificate that the API server has made for itself on 127.0.0.1, so that nobody has to make one.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use flyball_devcluster::Cluster;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// What a review may be long: the object twice, and what managed its fields.
const LONGEST: u64 = 4 * 1024 * 1024;

/// The webhook, for as long as it is kept.
pub struct Webhook {
    address: SocketAddr,
    roots: Vec<u8>,
    shared: Arc<Shared>,
}

struct Shared {
    tls: Arc<ServerConfig>,
    patch: Value,
    asked: AtomicUsize,
    over: AtomicBool,
}

impl Webhook {
    /// One for the API server of `cluster`, which changes each object that it is shown by `patch`.
    ///
    /// # Errors
    /// There is no port to listen on, or the certificate cannot be read.
    pub fn start(cluster: &Cluster, patch: Value) -> Result<Self> {
        let certificate = cluster.roots();
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(certificate.with_extension("key"))?;
        let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        let listener = TcpListener::bind("127.0.0.1:0").context("a port for a webhook")?;
        let (address, roots) = (listener.local_addr()?, fs::read(certificate)?);
        let shared = Shared { tls: Arc::new(tls), patch, asked: AtomicUsize::new(0), over: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let served = shared.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if served.over.load(Ordering::SeqCst) {
                    return;
                }
                let served = served.clone();
                // A caller that goes away in the midst has its answer already: none.
                std::thread::spawn(move || served.answer(socket));
            }
        });
        Ok(Self { address, roots, shared })
    }

    /// How the API server finds it: a webhook's `clientConfig`.
    pub fn client_config(&self) -> Value {
        json!({"url": format!("https://{}/", self.address), "caBundle": base64(&self.roots)})
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Whom it wakes looks up and ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// One request of HTTP/1.1, and one answer.
    fn answer(&self, socket: TcpStream) -> Result<()> {
        let mut wire = BufReader::new(StreamOwned::new(ServerConnection::new(self.tls.clone())?, socket));
        let mut length = 0;
        loop {
            let mut line = String::new();
            wire.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else {
                if line.trim().is_empty() {
                    break;
                }
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; usize::try_from(length.min(LONGEST))?];
        wire.read_exact(&mut body)?;
        let review: Value = serde_json::from_slice(&body).context("an admission review")?;
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.reviewed(&review["request"]["uid"]).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            answer.len()
        );
        let wire = wire.get_mut();
        wire.write_all(head.as_bytes())?;
        wire.write_all(answer.as_bytes())?;
        wire.conn.send_close_notify();
        Ok(wire.flush()?)
    }

    fn reviewed(&self, uid: &Value) -> Value {
        let patch = base64(self.patch.to_string().as_bytes());
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": {"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch},
        })
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().chain([0; 2].iter()).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            let letter = char::from(LETTERS[bits >> (18 - 6 * place) & 63]);
            text.push(if place <= three.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_are_those_of_the_standard() {
        let texts = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("~~~", "fn5+")];
        for (plain, coded) in texts {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
