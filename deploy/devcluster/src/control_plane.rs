//! The parts of a control plane and their command lines. It knows which flags work together, and no process's life.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use crate::access::{CONTROLLER_MANAGER, KWOK, SCHEDULER, kubeconfig_path};
use crate::port::free_port;

/// A process of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The store. Loses nothing on SIGKILL; does not sync, so a power cut would.
    Etcd,
    /// The API server. Comes back on the same port with the same certificate and the same tokens.
    ApiServer,
    /// The controllers: without them nothing rolls out and no status moves.
    ControllerManager,
    /// The scheduler: without it new pods stay Pending.
    Scheduler,
    /// All kubelets: without it pods neither start nor stop.
    Kwok,
}

impl Part {
    /// All of them, in the order of their start.
    pub const ALL: [Self; 5] = [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Scheduler, Self::Kwok];

    /// Its binary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where everything of one cluster is: ports on loopback, files in one folder.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: PathBuf,
    etcd: u16,
    etcd_peer: u16,
    api_server: u16,
    controller_manager: u16,
    scheduler: u16,
}

impl Layout {
    pub(crate) fn new(folder: &Path) -> Self {
        let [etcd, etcd_peer, api_server, controller_manager, scheduler] = [(); 5].map(|()| free_port());
        Self { folder: folder.to_owned(), etcd, etcd_peer, api_server, controller_manager, scheduler }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_server)
    }

    /// The API server's certificate and the authority it made for itself. There once the API server has started.
    pub(crate) fn roots(&self) -> PathBuf {
        self.file("certificates/apiserver.crt")
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.file("audit.log")
    }

    pub(crate) fn args(&self, part: Part) -> Vec<String> {
        match part {
            Part::Etcd => self.etcd_args(),
            Part::ApiServer => self.api_server_args(),
            Part::ControllerManager => self.controller_manager_args(),
            Part::Scheduler => self.client_args(SCHEDULER, self.scheduler),
            Part::Kwok => self.kwok_args(),
        }
    }

    fn etcd_args(&self) -> Vec<String> {
        let (client, peer) =
            (format!("http://127.0.0.1:{}", self.etcd), format!("http://127.0.0.1:{}", self.etcd_peer));
        vec![
            format!("--data-dir={}", self.file("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ]
    }

    fn api_server_args(&self) -> Vec<String> {
        // The key that it makes for its certificate also signs the service accounts' tokens.
        let key = self.file("certificates/apiserver.key");
        vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd),
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            "--external-hostname=127.0.0.1".into(),
            format!("--secure-port={}", self.api_server),
            format!("--cert-dir={}", self.file("certificates").display()),
            format!("--service-account-key-file={}", key.display()),
            format!("--service-account-signing-key-file={}", key.display()),
            "--service-account-issuer=https://flyball".into(),
            format!("--token-auth-file={}", self.file("tokens.csv").display()),
            "--authorization-mode=RBAC".into(),
            "--service-cluster-ip-range=10.0.0.0/24".into(),
            // ServiceAccount makes pods wait for their account; the taint makes them wait for a node's first status.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition".into(),
            format!("--audit-policy-file={}", self.file("audit-policy.yaml").display()),
            format!("--audit-log-path={}", self.audit_log().display()),
            // An entry is in the file before the answer ends.
            "--audit-log-mode=blocking".into(),
            // In MB: never rotated, since a reader holds an offset.
            "--audit-log-maxsize=100000".into(),
        ]
    }

    fn controller_manager_args(&self) -> Vec<String> {
        let mut args = self.client_args(CONTROLLER_MANAGER, self.controller_manager);
        args.push(format!("--service-account-private-key-file={}", self.file("certificates/apiserver.key").display()));
        args.push(
            "--controllers=*,-node-ipam-controller,-node-route-controller,-cloud-node-lifecycle-controller,\
             -service-lb-controller"
                .into(),
        );
        args
    }

    /// What the controller manager and the scheduler have in common.
    fn client_args(&self, user: &str, port: u16) -> Vec<String> {
        let kubeconfig = kubeconfig_path(&self.folder, user);
        let kubeconfig = kubeconfig.display();
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--authentication-skip-lookup=true".into(),
            "--leader-elect=false".into(),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={port}"),
            format!("--cert-dir={}", self.file(user).display()),
            // The default of 20 requests a second would dominate every timing.
            "--kube-api-qps=1000".into(),
            "--kube-api-burst=2000".into(),
        ]
    }

    fn kwok_args(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", kubeconfig_path(&self.folder, KWOK).display()),
            format!("--config={}", self.file("stages.yaml").display()),
            "--manage-all-nodes".into(),
            "--node-lease-duration-seconds=40".into(),
        ]
    }
}
