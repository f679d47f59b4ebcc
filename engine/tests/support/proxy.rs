//! A wire between a client and a server that can swallow what goes either way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One direction.
#[derive(Default)]
pub(crate) struct Lane {
    closed: AtomicBool,
    swallowed: Mutex<Vec<u8>>,
}

impl Lane {
    /// Swallow from now on, or let through again.
    pub(crate) fn swallow(&self, on: bool) {
        self.closed.store(on, Ordering::SeqCst);
    }

    /// Whether it has swallowed `text`.
    pub(crate) fn has_swallowed(&self, text: &str) -> bool {
        self.swallowed.lock().unwrap().windows(text.len()).any(|it| it == text.as_bytes())
    }

    async fn carry(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if self.closed.load(Ordering::SeqCst) {
                self.swallowed.lock().unwrap().extend_from_slice(&buffer[..count]);
            } else if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    }
}

/// The wire.
pub(crate) struct Proxy {
    /// Where clients connect.
    pub(crate) url: String,
    /// What clients send.
    pub(crate) up: Arc<Lane>,
    /// What the server sends.
    pub(crate) down: Arc<Lane>,
}

impl Proxy {
    /// Lays a wire to the server's port.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let (up, down) = (Arc::<Lane>::default(), Arc::<Lane>::default());
        let lanes = (up.clone(), down.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (up, down) = lanes.clone();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = up.carry(from_client, to_server) => {}
                        () = down.carry(from_server, to_client) => {}
                    }
                });
            }
        });
        Self { url, up, down }
    }
}
