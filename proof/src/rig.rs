//! Real `flyball run`s against a real nats-server and a real control plane. Ground truth is the API server's audit log
//! and the ledger's stream, never the engine's own word.

mod bodies;
mod ledger;
mod line;
mod replica;
mod webhook;
mod world;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Result, ensure};
use flyball_devcluster::{AuditLog, Cluster, NatsServer, wait_until};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use bodies::{WIDE, anomaly, policy, rca};
pub use ledger::outcome;
pub use line::Line;
pub use replica::{Replica, Wires};
pub use webhook::Webhook;

/// Nothing here takes longer, even when two cores run the whole suite.
pub const SOON: Duration = Duration::from_secs(90);

/// The replica that a rig runs when nobody asks for another.
const FIRST: &str = "one";

static NAMES: AtomicU32 = AtomicU32::new(0);

/// The nats-server that the tests share: each engine has a cluster name, and so a consumer and a ledger, of its own.
///
/// # Panics
/// It cannot be started.
pub fn shared_nats() -> &'static NatsServer {
    static SHARED: OnceLock<NatsServer> = OnceLock::new();
    SHARED.get_or_init(|| NatsServer::start().expect("a nats-server"))
}

/// One engine with a cluster name and a namespace of its own, in one replica or several.
pub struct Rig {
    /// The control plane.
    pub cluster: &'static Cluster,
    /// Where NATS is. Replicas use it unless they are given wires of their own; the rig reads the streams here.
    pub nats_url: String,
    /// The engine's name for its cluster: part of its streams' and subjects' names.
    pub name: String,
    /// The namespace of its targets.
    pub namespace: String,
    /// What the API server was asked since the rig was made.
    pub audit: AuditLog,
    /// Runs what is asynchronous here.
    pub runtime: Runtime,
    /// The kubeconfig of replicas without wires of their own.
    pub kubeconfig: PathBuf,
    /// Environment of replicas that are started from now on.
    pub environment: Vec<(String, String)>,
    /// Arguments beside ours of replicas that are added from now on.
    pub arguments: Vec<OsString>,
    folder: TempDir,
    replicas: Vec<Arc<Replica>>,
}

impl Rig {
    /// A rig on the shared servers.
    pub fn new(test: &str) -> Self {
        Self::on(test, Cluster::shared(), &shared_nats().url())
    }

    /// A rig on servers of the caller.
    ///
    /// # Panics
    /// They cannot be used.
    pub fn on(test: &str, cluster: &'static Cluster, nats_url: &str) -> Self {
        // Every test does it; the first one wins.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let name = format!("{test}-{}-{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed));
        Self {
            cluster,
            nats_url: nats_url.to_owned(),
            namespace: cluster.namespace(test).expect("a namespace"),
            audit: cluster.audit().from_now().expect("an audit log"),
            runtime: Runtime::new().expect("a runtime"),
            kubeconfig: cluster.kubeconfig(),
            environment: Vec::new(),
            arguments: Vec::new(),
            folder: TempDir::new().expect("a folder"),
            replicas: Vec::new(),
            name,
        }
    }

    /// Where its files are: policies, logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a policy file.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn policy(&mut self, file: &str, text: &str) -> &mut Self {
        let folder = self.folder.path().join("policies");
        fs::create_dir_all(&folder).expect("a folder for the policies");
        fs::write(folder.join(file), text).expect("a policy file");
        self
    }

    /// Adds a replica, not started yet, that reaches the servers as the rig does.
    pub fn add(&mut self, name: &str) -> Arc<Replica> {
        let wires = Wires { nats_url: self.nats_url.clone(), kubeconfig: self.kubeconfig.clone() };
        self.add_through(name, &wires)
    }

    /// Adds a replica, not started yet, that reaches the servers through `wires`. One of the same name is replaced, and
    /// ended if it runs.
    pub fn add_through(&mut self, name: &str, wires: &Wires) -> Arc<Replica> {
        let log = self.folder.path().join(if name == FIRST { "engine.log".into() } else { format!("{name}.log") });
        let mut replica = Replica::new(name, log);
        let policies = self.folder.path().join("policies");
        let listen = format!("127.0.0.1:{}", replica.port);
        let texts = ["run", "--replica", name, "--cluster", &self.name, "--nats", &wires.nats_url, "--listen", &listen];
        replica.arguments = texts.into_iter().map(Into::into).collect();
        let files = ["--kubeconfig".into(), wires.kubeconfig.clone().into(), "--policies".into(), policies.into()];
        replica.arguments.extend(files);
        replica.arguments.extend(self.arguments.iter().cloned());
        replica.environment.clone_from(&self.environment);
        let replica = Arc::new(replica);
        self.replicas.retain(|it| it.name != name);
        self.replicas.push(replica.clone());
        replica
    }

    /// All replicas, in the order in which they were added.
    pub fn replicas(&self) -> &[Arc<Replica>] {
        &self.replicas
    }

    /// A replica by its name.
    ///
    /// # Panics
    /// There is none.
    pub fn replica(&self, name: &str) -> &Arc<Replica> {
        self.replicas.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("no replica {name}"))
    }

    /// The first replica, or the one that would be.
    fn first(&mut self) -> Arc<Replica> {
        let known = self.replicas.iter().find(|it| it.name == FIRST).cloned();
        known.unwrap_or_else(|| self.add(FIRST))
    }

    /// The command line of the first replica.
    pub fn command(&mut self) -> Command {
        self.first().command()
    }

    /// Starts the first replica without waiting for it.
    pub fn launch(&mut self) {
        self.first().launch();
    }

    /// Starts the first replica and waits until it is ready.
    pub fn start(&mut self) -> &mut Self {
        self.launch();
        self.wait_ready();
        self
    }

    /// Waits until the first replica is ready.
    pub fn wait_ready(&self) {
        self.wait_ready_of(FIRST);
    }

    /// Starts a replica and waits until it is ready.
    pub fn start_replica(&self, name: &str) {
        self.replica(name).launch();
        self.wait_ready_of(name);
    }

    /// Waits until a replica is ready.
    pub fn wait_ready_of(&self, name: &str) {
        self.eventually(&format!("replica {name} to be ready"), || {
            self.replica(name).ensure_running()?;
            self.get_from(name, "/readyz").map(|_| ())
        });
    }

    /// The first replica's log.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("engine.log")
    }

    /// Waits with a deadline; on failure shows the logs.
    ///
    /// # Panics
    /// The deadline has passed.
    pub fn eventually<T>(&self, what: &str, probe: impl FnMut() -> Result<T>) -> T {
        wait_until(what, SOON, probe).unwrap_or_else(|error| panic!("{error:#}\n{}", self.last_words()))
    }

    /// The end of every replica's log, newest first.
    pub fn last_words(&self) -> String {
        let words = |it: &Arc<Replica>| format!("--- last words of {}, newest first:\n{}", it.name, it.last_words(40));
        self.replicas.iter().map(words).collect::<Vec<_>>().join("\n")
    }

    /// SIGKILL for the first replica.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        assert!(self.first().kill(), "the engine runs");
    }

    /// SIGTERM for the first replica, and waits for a clean end.
    pub fn terminate(&mut self) {
        self.first().terminate();
    }

    /// GET on the first replica's API.
    ///
    /// # Errors
    /// No answer, or one that is no success.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.get_from(FIRST, path)
    }

    /// GET on a replica's API: JSON, or a string when it is none.
    ///
    /// # Errors
    /// No answer, or one that is no success.
    pub fn get_from(&self, name: &str, path: &str) -> Result<Value> {
        let url = format!("{}{path}", self.replica(name).url());
        self.runtime.block_on(async {
            let answer = reqwest::get(url).await?;
            let status = answer.status();
            let text = answer.text().await?;
            ensure!(status.is_success(), "{path}: {status}: {text}");
            Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
        })
    }

    /// Runs the command line client against the first replica: exit code, stdout, stderr.
    pub fn flyball(&self, arguments: &[&str]) -> (i32, String, String) {
        self.flyball_at(FIRST, arguments)
    }

    /// Runs the command line client against a replica: exit code, stdout, stderr.
    ///
    /// # Panics
    /// The client does not run.
    pub fn flyball_at(&self, name: &str, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(crate::binary())
            .args(arguments)
            .env("FLYBALL_SERVER", self.replica(name).url())
            .env("NO_COLOR", "1")
            .output()
            .expect("the client runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }
}
