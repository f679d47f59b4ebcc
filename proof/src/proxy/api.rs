//! A wire in front of the API server, that sees requests. Plain HTTP on our side; beyond it a client of its own with the
//! credentials of a kubeconfig. The engine's `User-Agent` goes through, so that the audit log still says whose request it was.

mod call;
mod forward;
mod http;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::block_on;
use super::rules::{Rule, Script, Trigger};

pub use call::Call;
use forward::{Reply, obey};

/// What to do with a request.
#[derive(Clone, Default)]
pub enum ApiAct {
    /// Nothing special.
    #[default]
    Pass,
    /// Not forwarded; answered with this status. With 429, `retry_after` is told.
    Refuse {
        /// The status.
        status: u16,
        /// Seconds, as the header says them.
        retry_after: Option<u64>,
    },
    /// Forwarded; whatever the server says, this status is the answer.
    AnswerInstead(u16),
    /// Forwarded; then the connection is reset instead of an answer.
    DropAnswer,
    /// Forwarded; and never answered. The connection stays open.
    SwallowAnswer,
    /// Not forwarded; the connection is reset.
    Reset,
    /// Not forwarded, and never answered. The connection stays open.
    Swallow,
    /// Forwarded when its trigger releases it, even if its sender is gone; answered if it is still there.
    Hold,
    /// Forwarded twice, one after the other; the first answer counts.
    Twice,
    /// Forwarded later.
    Delay(Duration),
    /// Not forwarded; answered 200 with this object, for example an older one.
    Serve(Arc<Value>),
    /// A watch: after these events' bytes the server says `ERROR` 410 in the stream and ends it.
    WatchExpired,
    /// A watch: it ends after so long, as if the server closed it.
    WatchFor(Duration),
    /// A watch: events for which this says so are left out.
    WatchWithout(Arc<dyn Fn(&Value) -> bool + Send + Sync>),
}

/// A rule for requests.
pub type ApiRule = Rule<Call, ApiAct>;

struct Shared {
    client: Client,
    script: Script<Call, ApiAct>,
    black_hole: AtomicBool,
    refuses: AtomicBool,
}

/// The wire. Dropping it cuts every connection.
pub struct ApiProxy {
    port: u16,
    shared: Arc<Shared>,
    cut: watch::Sender<u64>,
    listening: JoinHandle<()>,
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.cut_all();
    }
}

impl ApiProxy {
    /// Lays a wire to the API server of a kubeconfig, with its credentials.
    ///
    /// # Errors
    /// The kubeconfig cannot be used, or there is no port to listen on.
    pub fn to(kubeconfig: &Path) -> Result<Self> {
        block_on(async {
            let file = Kubeconfig::read_from(kubeconfig).context("the kubeconfig behind a proxy")?;
            let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
            // What is sent twice, or late, is for the rules to say.
            config.default_retry = false;
            config.read_timeout = None;
            let shared = Arc::new(Shared {
                client: Client::try_from(config).context("a client behind a proxy")?,
                script: Script::default(),
                black_hole: AtomicBool::new(false),
                refuses: AtomicBool::new(false),
            });
            let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for a proxy of the API server")?;
            let (cut, cuts) = watch::channel(0);
            let port = listener.local_addr()?.port();
            let listening = tokio::spawn(listen(listener, shared.clone(), cuts));
            Ok(Self { port, shared, cut, listening })
        })
    }

    /// Where clients connect: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Writes a kubeconfig that leads through this wire.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<()> {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: proxy\n\
             contexts: [{{name: proxy, context: {{cluster: proxy, user: nobody}}}}]\n\
             clusters: [{{name: proxy, cluster: {{server: {:?}}}}}]\nusers: [{{name: nobody, user: {{}}}}]\n",
            self.url()
        );
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Puts a rule in force.
    pub fn add(&self, rule: ApiRule) -> Trigger {
        self.shared.script.add(rule)
    }

    /// Takes all rules out of force.
    pub fn clear(&self) {
        self.shared.script.clear();
    }

    /// Answers nothing, forwards nothing and closes nothing, for requests from now on; or does so again. Watches that run
    /// go on: cut them.
    pub fn black_hole(&self, on: bool) {
        self.shared.black_hole.store(on, Ordering::SeqCst);
    }

    /// Closes new connections at once; or no longer.
    pub fn refuse(&self, on: bool) {
        self.shared.refuses.store(on, Ordering::SeqCst);
    }

    /// Resets every connection. What was forwarded goes on at the server.
    pub fn cut_all(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>, cuts: watch::Receiver<u64>) {
    while let Ok((client, _)) = listener.accept().await {
        if shared.refuses.load(Ordering::SeqCst) {
            continue;
        }
        let (shared, mut cuts) = (shared.clone(), cuts.clone());
        cuts.mark_unchanged();
        tokio::spawn(serve(client, shared, cuts));
    }
}

/// One connection: requests, one after the other.
async fn serve(mut client: TcpStream, shared: Arc<Shared>, mut cuts: watch::Receiver<u64>) {
    let _ = client.set_nodelay(true);
    let (read, mut write) = client.split();
    let mut read = BufReader::new(read);
    let ended = loop {
        let request = tokio::select! {
            request = http::read(&mut read) => request,
            _ = cuts.changed() => Err(anyhow::anyhow!("cut")),
        };
        let request = match request {
            Ok(Some(request)) => request,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        // A task of its own: what was received is carried out even if the client is gone by then.
        let reply = tokio::spawn(obey(request, shared.clone()));
        let answered = tokio::select! {
            answered = answer(reply, &mut write) => answered,
            () = closed(&mut read) => break Ok(()),
            _ = cuts.changed() => Err(anyhow::anyhow!("cut")),
        };
        if answered.is_err() {
            break answered;
        }
    };
    if ended.is_err() {
        let _ = client.set_zero_linger();
    }
}

async fn answer(reply: JoinHandle<Reply>, write: &mut (impl tokio::io::AsyncWrite + Unpin)) -> Result<()> {
    match reply.await.context("a request was lost")? {
        Reply::Answer(response) => http::write(write, response).await,
        Reply::Reset => bail!("reset by a rule"),
        Reply::Silence => std::future::pending().await,
    }
}

/// Resolves when the client has closed its end. A client of ours sends nothing while it waits for an answer.
async fn closed(read: &mut (impl tokio::io::AsyncBufRead + Unpin)) {
    if let Ok(more) = read.fill_buf().await
        && !more.is_empty()
    {
        std::future::pending::<()>().await;
    }
}
