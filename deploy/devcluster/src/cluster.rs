//! A cluster as its users see it: ours to hurt, or somebody else's to use.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::access::{ADMIN, User, kubeconfig_path, write_kubeconfig};
use crate::api::Api;
use crate::audit::AuditLog;
use crate::boot::{Booted, Card, START, boot};
use crate::control_plane::Part;
use crate::process::Server;
use crate::wait::wait_while_alive;

/// The environment variable that names the folder of a running cluster for [`Cluster::shared`].
pub const SHARED_CLUSTER: &str = "FLYBALL_TEST_CLUSTER";

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many nodes, called `node-0` and so on, each with 32 CPUs, 256 Gi and room for 1000 pods.
    pub nodes: usize,
    /// Users beside the admin, for tests of what RBAC lets them do.
    pub users: Vec<User>,
}

impl Default for Options {
    fn default() -> Self {
        Self { nodes: 3, users: Vec::new() }
    }
}

/// A running cluster, ours to hurt or somebody else's to use.
#[derive(Debug)]
pub struct Cluster {
    card: Card,
    folder: PathBuf,
    api: Api,
    /// Missing when another process owns the cluster. Dropped in this order: servers, guardian's last handle, folder.
    own: Option<(BTreeMap<Part, Server>, TempDir)>,
}

impl Cluster {
    /// Starts one and waits until pods would run on it: 5 s on an idle machine of two cores.
    pub fn start(options: &Options) -> Result<Self> {
        let Booted { card, api, servers, folder } = boot(options)?;
        Ok(Self { card, folder: folder.path().to_owned(), api, own: Some((servers, folder)) })
    }

    /// Uses the cluster in `folder`, which another process started and will end.
    pub fn attach(folder: &Path) -> Result<Self> {
        let card = Card::read(folder)?;
        let api = card.api(ADMIN)?;
        Ok(Self { card, folder: folder.to_owned(), api, own: None })
    }

    /// The one cluster of this process: that which [`SHARED_CLUSTER`] names, else one started at the first call, which
    /// lasts as long as the process. Give each test a namespace of its own, and leave the parts alone.
    ///
    /// # Panics
    /// When there is none to be had: no test that asks can go on.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| {
            let cluster = match env::var_os(SHARED_CLUSTER) {
                Some(folder) => Self::attach(Path::new(&folder)),
                None => Self::start(&Options::default()),
            };
            cluster.unwrap_or_else(|error| panic!("no shared test cluster: {error:#}"))
        })
    }

    /// The folder with the cluster's files and logs, for [`Cluster::attach`].
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `https://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.card.url
    }

    /// A PEM file with the certificates that vouch for the API server.
    pub fn roots(&self) -> &Path {
        &self.card.roots
    }

    /// The admin's kubeconfig file.
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig_path(&self.folder, ADMIN)
    }

    /// The admin's access.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The access of one of the users given at the start.
    pub fn api_for(&self, user: &str) -> Result<Api> {
        self.card.api(user)
    }

    /// The kubeconfig file of one of the users given at the start.
    pub fn kubeconfig_for(&self, user: &str) -> Result<PathBuf> {
        ensure!(self.card.users.iter().any(|known| known.name == user), "no user {user}");
        Ok(kubeconfig_path(&self.folder, user))
    }

    /// Creates a namespace and returns its name: `prefix`, a dash and some letters, so that a test run twice on the same
    /// cluster does not meet itself.
    pub fn namespace(&self, prefix: &str) -> Result<String> {
        let metadata = json!({"generateName": format!("{prefix}-")});
        let made = self.api.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))?;
        Ok(made["metadata"]["name"].as_str().context("a namespace without a name")?.to_owned())
    }

    /// A real token of a service account that exists, valid for an hour, and a kubeconfig file with it. Also works on a
    /// shared cluster, whose users are fixed.
    pub fn service_account(&self, namespace: &str, name: &str) -> Result<(String, PathBuf)> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let answer = self
            .api
            .post(&path, &request)?
            .ok()
            .with_context(|| format!("asking for a token of {namespace}/{name}"))?;
        let token = answer["status"]["token"].as_str().context("a token request without a token")?.to_owned();
        let user = format!("{namespace}-{name}");
        let kubeconfig = write_kubeconfig(&self.folder, &self.card.url, &self.card.roots, &user, &token)?;
        Ok((token, kubeconfig))
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.card.nodes
    }

    /// The audit log from the cluster's start.
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(self.card.audit_log.clone())
    }

    /// The process of a part, to read its pid, log or state.
    pub fn server(&self, part: Part) -> Result<&Server> {
        let Some((servers, _)) = &self.own else {
            bail!("{part} belongs to the process that started the cluster: start one of your own to hurt it")
        };
        Ok(&servers[&part])
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&self, part: Part) -> Result<()> {
        self.server(part)?.kill()
    }

    /// SIGSTOP: its connections stay open and nothing answers.
    pub fn stop(&self, part: Part) -> Result<()> {
        self.server(part)?.stop()
    }

    /// SIGCONT.
    pub fn cont(&self, part: Part) -> Result<()> {
        self.server(part)?.cont()
    }

    /// Starts a part again, killing it first when it runs, and waits until the API server is ready. Bring the API server
    /// back before kwok.
    pub fn restart(&self, part: Part) -> Result<()> {
        let server = self.server(part)?;
        server.kill()?;
        if part == Part::Kwok {
            // The dead one holds the nodes' leases; its successor would leave the nodes alone until they expire.
            self.api.delete("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")?.ok()?;
        }
        server.restart()?;
        let what = format!("the API server to be ready after a restart of {part}");
        wait_while_alive(|| server.ensure_running(), &what, START, || self.api.ensure_ready())
    }
}
