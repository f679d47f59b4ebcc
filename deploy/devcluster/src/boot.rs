//! How a cluster comes up: what is written, what starts in which order, and when it is usable.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::access::{ADMIN, User, token_file, write_kubeconfig};
use crate::api::Api;
use crate::audit::POLICY;
use crate::cluster::Options;
use crate::control_plane::{Layout, Part};
use crate::guardian::Guardian;
use crate::process::{Program, Server};
use crate::tools::Tools;
use crate::wait::wait_while_alive;

/// It takes some 5 s on an idle machine of two cores; the rest is for busy ones.
pub(crate) const START: Duration = Duration::from_secs(90);

/// The file in a cluster's folder that holds its [`Card`].
const CARD: &str = "cluster.json";

/// What another process needs to use the cluster.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) url: String,
    pub(crate) roots: PathBuf,
    pub(crate) audit_log: PathBuf,
    pub(crate) nodes: usize,
    pub(crate) users: Vec<User>,
}

impl Card {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let card = fs::read(folder.join(CARD)).with_context(|| format!("no cluster in {}", folder.display()))?;
        serde_json::from_slice(&card).context("reading the cluster's card")
    }

    /// The access of one of the users.
    pub(crate) fn api(&self, user: &str) -> Result<Api> {
        let user = self.users.iter().find(|known| known.name == user).with_context(|| format!("no user {user}"))?;
        let roots = fs::read(&self.roots).context("reading the API server's certificate")?;
        Api::new(&self.url, &roots, &user.token)
    }
}

/// A cluster that is usable.
pub(crate) struct Booted {
    pub(crate) card: Card,
    pub(crate) api: Api,
    pub(crate) servers: BTreeMap<Part, Server>,
    pub(crate) folder: TempDir,
}

pub(crate) fn boot(options: &Options) -> Result<Booted> {
    let tools = Tools::ensure()?;
    let folder =
        tempfile::Builder::new().prefix("flyball-cluster-").tempdir().context("making the cluster's folder")?;
    let guardian = Arc::new(Guardian::start(folder.path())?);
    let layout = Layout::new(folder.path());
    let mut users = User::builtin();
    users.extend(options.users.iter().cloned());
    write_files(&layout, folder.path(), &users)?;
    let (url, roots, audit_log) = (layout.url(), layout.roots(), layout.audit_log());
    let card = Card { url, roots, audit_log, nodes: options.nodes, users };

    let mut servers = BTreeMap::new();
    let start = |part: Part| {
        let (name, path) = (part.name().to_owned(), tools.path(part.name()));
        let log = layout.file(&format!("{name}.log"));
        Server::start(Program { name, path, args: layout.args(part), log }, Arc::clone(&guardian))
    };
    for part in [Part::Etcd, Part::ApiServer] {
        servers.insert(part, start(part)?);
    }
    let api = wait_for_api_server(&card, &servers).with_context(|| last_words(&servers))?;
    for part in [Part::ControllerManager, Part::Scheduler, Part::Kwok] {
        servers.insert(part, start(part)?);
    }
    create_nodes(&api, options.nodes)?;
    wait_usable(&api, options.nodes, &servers).with_context(|| last_words(&servers))?;
    // Last, since whoever finds the card takes the cluster for usable.
    fs::write(folder.path().join(CARD), serde_json::to_vec_pretty(&card)?).context("writing the cluster's card")?;
    Ok(Booted { card, api, servers, folder })
}

fn write_files(layout: &Layout, folder: &Path, users: &[User]) -> Result<()> {
    let stages = include_str!("stages.yaml");
    let files = [("tokens.csv", token_file(users).as_str()), ("audit-policy.yaml", POLICY), ("stages.yaml", stages)]
        .map(|(name, text)| fs::write(layout.file(name), text).with_context(|| format!("writing {name}")));
    files.into_iter().collect::<Result<()>>()?;
    for User { name, token, .. } in users {
        write_kubeconfig(folder, &layout.url(), &layout.roots(), name, token)?;
    }
    Ok(())
}

fn ensure_running(servers: &BTreeMap<Part, Server>) -> Result<()> {
    servers.values().try_for_each(Server::ensure_running)
}

/// The logs go with the folder, so an error has to carry what it needs of them.
fn last_words(servers: &BTreeMap<Part, Server>) -> String {
    let words: Vec<_> = servers.iter().map(|(part, server)| format!("{part}:\n{}", server.log_tail(5))).collect();
    words.join("\n")
}

/// The certificate appears while the API server starts, so the client can only be made along the way.
fn wait_for_api_server(card: &Card, servers: &BTreeMap<Part, Server>) -> Result<Api> {
    wait_while_alive(
        || ensure_running(servers),
        "the API server to be ready",
        START,
        || {
            let api = card.api(ADMIN)?;
            api.ensure_ready()?;
            Ok(api)
        },
    )
}

fn create_nodes(api: &Api, count: usize) -> Result<()> {
    let room = json!({"cpu": "32", "memory": "256Gi", "pods": "1000"});
    (0..count).try_for_each(|index| {
        let name = format!("node-{index}");
        let labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"});
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "status": {"capacity": room, "allocatable": room},
        });
        api.create(&node).map(drop)
    })
}

/// Ready nodes prove kwok, free of taints and with the default service account they prove the controllers. The scheduler
/// proves itself with the first pod: what is created before it looks is waiting for it.
fn wait_usable(api: &Api, nodes: usize, servers: &BTreeMap<Part, Server>) -> Result<()> {
    wait_while_alive(
        || ensure_running(servers),
        "the cluster to be usable",
        START,
        || {
            let list = api.get("/api/v1/nodes")?.ok()?;
            let usable = |node: &Value| {
                let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
                node["spec"]["taints"].is_null()
                    && node["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(ready))
            };
            let usable = list["items"].as_array().map_or(0, |all| all.iter().filter(|node| usable(node)).count());
            ensure!(usable == nodes, "{usable} of {nodes} nodes are usable");
            api.get("/api/v1/namespaces/default/serviceaccounts/default")?
                .ok()
                .context("looking for the controllers' work")?;
            Ok(())
        },
    )
}
