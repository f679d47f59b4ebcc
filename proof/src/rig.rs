//! A real `flyball run` against a real nats-server and a real control plane. Ground truth is the API server's audit log
//! and the ledger's stream, never the engine's own word.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use flyball::ledger::{JetStreamLedger, JetStreamOptions};
use flyball_core::history::History;
use flyball_core::id::Revision;
use flyball_core::intent::{Intent, Stage};
use flyball_core::outcome::Outcome;
use flyball_core::ports::Ledger;
use flyball_core::record::{Entry, Record};
use flyball_core::workload::Workload as Target;
use flyball_devcluster::{AuditEntry, AuditLog, Cluster, NatsServer, Workload, wait_until, workloads};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Nothing here takes longer, even when two cores run the whole suite.
pub const SOON: Duration = Duration::from_secs(90);

static NAMES: AtomicU32 = AtomicU32::new(0);

/// The nats-server that the tests share: each engine has a cluster name, and so a consumer and a ledger, of its own.
pub fn shared_nats() -> &'static NatsServer {
    static SHARED: OnceLock<NatsServer> = OnceLock::new();
    SHARED.get_or_init(|| NatsServer::start().expect("a nats-server"))
}

/// One engine with a namespace of its own.
pub struct Rig {
    pub cluster: &'static Cluster,
    pub nats_url: String,
    pub name: String,
    pub namespace: String,
    pub audit: AuditLog,
    pub runtime: Runtime,
    pub kubeconfig: PathBuf,
    pub port: u16,
    pub environment: Vec<(String, String)>,
    folder: TempDir,
    engine: Option<Child>,
}

impl Rig {
    /// A rig on the shared servers.
    pub fn new(test: &str) -> Self {
        Self::on(test, Cluster::shared(), &shared_nats().url())
    }

    /// A rig on servers of the caller.
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
            port: flyball_devcluster::free_port(),
            environment: Vec::new(),
            folder: TempDir::new().expect("a folder"),
            engine: None,
            name,
        }
    }

    /// Writes a policy file.
    pub fn policy(&mut self, file: &str, text: &str) -> &mut Self {
        let folder = self.folder.path().join("policies");
        fs::create_dir_all(&folder).expect("a folder for the policies");
        fs::write(folder.join(file), text).expect("a policy file");
        self
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(crate::binary());
        command
            .args(["run", "--replica", "one", "--cluster", &self.name, "--nats", &self.nats_url])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--policies")
            .arg(self.folder.path().join("policies"))
            .envs(self.environment.iter().cloned());
        command
    }

    /// Starts the engine without waiting for it.
    pub fn launch(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.log()).expect("a log file");
        let child = self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.engine = Some(child.expect("the engine starts"));
    }

    /// Starts the engine and waits until it is ready.
    pub fn start(&mut self) -> &mut Self {
        self.launch();
        self.wait_ready();
        self
    }

    pub fn wait_ready(&self) {
        self.eventually("the engine is ready", || self.get("/readyz").map(|_| ()));
    }

    pub fn log(&self) -> PathBuf {
        self.folder.path().join("engine.log")
    }

    /// Waits with a deadline; on failure shows the engine's log.
    pub fn eventually<T>(&self, what: &str, probe: impl FnMut() -> Result<T>) -> T {
        wait_until(what, SOON, probe).unwrap_or_else(|error| {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            panic!("{error:#}\n--- the engine's last words, newest first:\n{}", tail.join("\n"))
        })
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut engine = self.engine.take().expect("the engine runs");
        engine.kill().expect("it can be killed");
        engine.wait().expect("it has ended");
    }

    /// SIGTERM, and waits for a clean end.
    pub fn terminate(&mut self) {
        let mut engine = self.engine.take().expect("the engine runs");
        let sent = Command::new("kill").args(["-TERM", &engine.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        assert!(engine.wait().expect("it has ended").success(), "a stop is no failure");
    }

    /// GET on the engine's API.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.runtime.block_on(async {
            let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.port)).await?;
            let status = answer.status();
            let text = answer.text().await?;
            ensure!(status.is_success(), "{path}: {status}: {text}");
            Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
        })
    }

    /// Runs the command line client against this engine.
    pub fn flyball(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(crate::binary())
            .args(arguments)
            .env("FLYBALL_SERVER", format!("http://127.0.0.1:{}", self.port))
            .env("NO_COLOR", "1")
            .output()
            .expect("the client runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Publishes plain JSON, as any NATS client would, and waits for the stream's word.
    pub fn publish(&self, kind: &str, body: &Value, headers: &[(&str, &str)]) -> u64 {
        self.publish_raw(
            &format!("flyball.signal.v1.{kind}.{}.{}", self.name, self.namespace),
            body.to_string().as_bytes(),
            headers,
        )
    }

    pub fn publish_raw(&self, subject: &str, body: &[u8], headers: &[(&str, &str)]) -> u64 {
        self.runtime.block_on(async {
            let context = self.jetstream().await;
            let mut map = async_nats::HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, *value);
            }
            let ack =
                context.publish_with_headers(subject.to_owned(), map, body.to_vec().into()).await.expect("published");
            ack.await.expect("stored").sequence
        })
    }

    pub async fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(async_nats::connect(&self.nats_url).await.expect("a NATS connection"))
    }

    pub fn anomaly(&self, service: &str, window: &str, kind: &str) -> u64 {
        self.publish("anomaly", &anomaly(service, window, kind), &[])
    }

    pub fn rca(&self, service: &str, window: &str, cause: &str) -> u64 {
        self.publish("rca", &rca(service, window, cause), &[])
    }

    /// Creates a Deployment and waits until it is there.
    pub fn deployment(&self, workload: &Workload, name: &str) -> Target {
        self.cluster.api().create(&workload.deployment()).expect("created");
        let path = workload.path("deployments");
        workloads::wait_ready(self.cluster.api(), &path, SOON).expect("the deployment becomes ready");
        Target::new(flyball_core::workload::WorkloadKind::Deployment, &self.namespace, name)
    }

    /// A Deployment with so many replicas that become ready.
    pub fn healthy(&self, name: &str, replicas: u32) -> Target {
        self.deployment(&Workload::new(&self.namespace, name).replicas(replicas), name)
    }

    pub fn object(&self, target: &Target) -> Value {
        let path = format!("/apis/apps/v1/namespaces/{}/{}/{}", target.namespace, target.kind.plural(), target.name);
        self.cluster.api().get(&path).and_then(flyball_devcluster::Answer::ok).expect("the object")
    }

    /// Requests of ours on the target, answered and not.
    pub fn requests(&self, target: &Target) -> Vec<AuditEntry> {
        let ours = |it: &AuditEntry| {
            it.user_agent.starts_with("flyball/")
                && it.verb == "patch"
                && it.namespace == *target.namespace
                && it.resource == target.kind.plural()
                && it.name == *target.name
        };
        self.audit.find(ours).expect("the audit log")
    }

    /// Accepted PATCHes of ours on the target.
    pub fn effects(&self, target: &Target) -> Vec<AuditEntry> {
        self.requests(target).into_iter().filter(|it| (200..300).contains(&it.code)).collect()
    }

    /// All entries of the ledger.
    pub fn entries(&self) -> Vec<Entry> {
        self.runtime.block_on(async {
            let client = async_nats::connect(&self.nats_url).await.expect("a NATS connection");
            let ledger =
                JetStreamLedger::connect(client, &self.name, JetStreamOptions::default()).await.expect("the ledger");
            let newest = ledger.newest().await.expect("the newest revision");
            let mut tail = ledger.follow(Revision::default()).await.expect("the entries");
            let mut entries: Vec<Entry> = Vec::new();
            while entries.last().map_or(Revision::default(), |it| it.revision) < newest {
                entries.push(tail.next().await.expect("an entry"));
            }
            entries
        })
    }

    /// The fold of the ledger.
    pub fn history(&self) -> History {
        let mut history = History::default();
        self.entries().iter().for_each(|entry| history.apply(entry).expect("a lawful ledger"));
        history
    }

    /// Waits until `count` intents on the target have ended, undoes included, and returns them in the order of admission.
    pub fn ended(&self, target: &Target, count: usize) -> Vec<Intent> {
        self.eventually(&format!("{count} intents on {target} to end"), || {
            let history = self.history();
            let mut found: Vec<Intent> =
                history.intents().filter(|it| it.request().target == *target).cloned().collect();
            found.sort_by_key(Intent::admitted_at);
            let stages: Vec<&str> = found.iter().map(|it| it.stage().label()).collect();
            let enough = found.len() >= count && found.iter().all(|it| !it.is_open());
            ensure!(
                enough,
                "intents {stages:?}, denials {:?}, waiting {}",
                self.denials(target),
                history.waiting().count()
            );
            Ok(found)
        })
    }

    /// Waits until a denial with this reason is on the ledger, and returns how many signals it stands for.
    pub fn denied(&self, target: &Target, reason: &str) -> u64 {
        self.eventually(&format!("{target} to be denied {reason}"), || {
            let count = self.denials(target).into_iter().filter(|(it, _)| it == reason).map(|(_, count)| count).sum();
            ensure!(count > 0, "denials so far: {:?}", self.denials(target));
            Ok(count)
        })
    }

    /// Reasons and how many signals each denied.
    pub fn denials(&self, target: &Target) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        for entry in self.entries() {
            match entry.record {
                Record::Folded(notes) => {
                    for note in notes.into_iter().filter(|it| it.target == *target) {
                        if let flyball_core::record::Verdict::Denied(reasons) = note.verdict {
                            found.extend(reasons.iter().map(|it| (it.label().to_owned(), note.count)));
                        }
                    }
                }
                Record::Released(it) if it.key.target == *target => {
                    found.extend(it.reasons.iter().map(|it| (it.label().to_owned(), 1)));
                }
                _ => {}
            }
        }
        found
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut engine) = self.engine.take() {
            // It may have ended by itself; either way nothing is left behind.
            let _ = engine.kill();
            let _ = engine.wait();
        }
    }
}

/// The outcome of a closed intent.
pub fn outcome(intent: &Intent) -> Outcome {
    match intent.stage() {
        Stage::Closed { outcome, .. } => *outcome,
        open => panic!("{open:?} is not closed"),
    }
}

pub fn anomaly(service: &str, window: &str, kind: &str) -> Value {
    serde_json::json!({"windowId": window, "service": service, "isAnomaly": true, "score": 0.97, "type": kind})
}

pub fn rca(service: &str, window: &str, cause: &str) -> Value {
    let causes = serde_json::json!([{"svc": service, "cause": cause, "probability": 0.9}]);
    serde_json::json!({"windowId": window, "service": service, "confidence": 0.95, "rankedCauses": causes})
}

/// A policy that enforces, with quick verification.
pub fn policy(name: &str, on: &str, action: &str, more: &str) -> String {
    format!(
        "apiVersion: flyball.dev/v1alpha1\nkind: RemediationPolicy\nmetadata: {{name: {name}}}\nspec:\n  mode: enforce\n  match: {on}\n  \
         action: {action}\n  verify: {{timeout: 40s, stableFor: 500ms}}\n{more}"
    )
}

/// Limits for tests that are about something else.
pub const WIDE: &str = "
apiVersion: flyball.dev/v1alpha1
kind: Guardrails
spec:
  limits:
    clusterBudget: {max: 10000, per: 1h}
    namespaceBudget: {max: 10000, per: 1h}
    concurrency: {cluster: 1000, namespace: 1000}
    maxUnavailable: 100%
    minCooldown: 0s
    breaker: {failures: 1000, per: 30m, probeAfter: 10m}
";
