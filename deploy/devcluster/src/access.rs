//! Who may speak to the cluster and how they prove it: users, tokens, kubeconfig files.

use std::fmt::Write;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// May do everything. The cluster's parts have the same group under their usual names, so that the audit log tells
/// a controller's edit from a test's.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
pub(crate) const SCHEDULER: &str = "system:kube-scheduler";
pub(crate) const KWOK: &str = "kwok";

/// Somebody whom the API server knows by a token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    /// The name, as RBAC and the audit log say it.
    pub name: String,
    /// The groups; RBAC rules of `system:masters` are all there are for the admin.
    pub groups: Vec<String>,
    /// The bearer token.
    pub token: String,
}

impl User {
    /// A user with a token of its own, without any rights until a RoleBinding gives some.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        let random = || RandomState::new().build_hasher().finish();
        let token = format!("{:016x}{:016x}", random(), random());
        Self { name: name.to_owned(), groups: groups.iter().map(|group| (*group).to_owned()).collect(), token }
    }

    /// The admin and the cluster's own parts.
    pub(crate) fn builtin() -> Vec<Self> {
        [ADMIN, CONTROLLER_MANAGER, SCHEDULER, KWOK].map(|name| Self::new(name, &["system:masters"])).into()
    }
}

/// The file that the API server reads its users from, a line each: token, name, uid, groups.
pub(crate) fn token_file(users: &[User]) -> String {
    let mut file = String::new();
    for User { name, groups, token } in users {
        writeln!(file, "{token},{name},{name},\"{}\"", groups.join(",")).expect("a String takes every write");
    }
    file
}

/// Where the kubeconfig of `user` lies in a cluster's folder.
pub(crate) fn kubeconfig_path(folder: &Path, user: &str) -> PathBuf {
    folder.join(format!("kubeconfig-{}", user.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-")))
}

/// Writes a kubeconfig for `user` into the cluster's folder and returns its path.
///
/// `roots` is a file that may not exist yet: the API server makes its certificate when it first starts.
pub(crate) fn write_kubeconfig(folder: &Path, url: &str, roots: &Path, user: &str, token: &str) -> Result<PathBuf> {
    let path = kubeconfig_path(folder, user);
    let roots = roots.display().to_string();
    let text = format!(
        "apiVersion: v1
kind: Config
current-context: devcluster
contexts: [{{name: devcluster, context: {{cluster: devcluster, user: {user:?}}}}}]
clusters: [{{name: devcluster, cluster: {{server: {url:?}, certificate-authority: {roots:?}}}}}]
users: [{{name: {user:?}, user: {{token: {token:?}}}}}]
"
    );
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
