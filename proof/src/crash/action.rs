//! The actions, each with what it takes to be asked for.

use std::fmt;

use anyhow::{Context, Result, ensure};
use flyball_core::workload::Workload as Target;
use flyball_devcluster::{Answer, wait_until};
use serde_json::{Value, json};

use crate::rig::{Rig, SOON, WIDE, anomaly, policy, rca};

/// The kinds of action, on a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// One replica more.
    Scale,
    /// A rolling restart.
    Restart,
    /// A change of the template.
    Patch,
    /// Back to the previous template.
    Rollback,
    /// The eviction of one pod.
    DeletePod,
}

/// All of them.
pub const ACTIONS: [Action; 5] = [Action::Scale, Action::Restart, Action::Patch, Action::Rollback, Action::DeletePod];

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Scale => "scale",
            Self::Restart => "restart",
            Self::Patch => "patch",
            Self::Rollback => "rollback",
            Self::DeletePod => "deletePod",
        })
    }
}

impl Action {
    /// Writes the policies for it. With `fails` its verification misses a clearing signal, and it is undone.
    pub(super) fn write_policies(self, rig: &mut Rig, fails: bool) {
        let (on, action) = match self {
            Self::Scale => ("{signal: anomaly, types: [resource]}", "{scale: {by: 1}}"),
            Self::Restart => ("{signal: rca, causes: [memory_leak]}", "{restart: {}}"),
            Self::Patch => (
                "{signal: rca, causes: [bad_config]}",
                "{patch: {merge: {spec: {template: {metadata: {annotations: {example.com/tuned: 'yes'}}}}}}}",
            ),
            Self::Rollback => ("{signal: rca, causes: [bad_release]}", "{rollback: {}}"),
            Self::DeletePod => ("{signal: anomaly, types: [error]}", "{deletePod: {}}"),
        };
        let mut text = policy("act", on, action, "");
        if fails {
            let undone = "stableFor: 100ms, recovered: {by: clear, within: 500ms}, onFailure: undo";
            text = text.replace("stableFor: 500ms", undone);
        }
        rig.policy("p.yaml", &text).policy("g.yaml", WIDE);
    }

    /// Makes the target, and answers with it and with the kind and body of the signal.
    pub(super) fn prepare(self, rig: &Rig) -> Result<(Target, &'static str, Value)> {
        let cart = rig.healthy("cart", 2);
        Ok(match self {
            Self::Scale => (cart, "anomaly", anomaly("cart", "w1", "resource")),
            Self::Restart => (cart, "rca", rca("cart", "w1", "memory_leak")),
            Self::Patch => (cart, "rca", rca("cart", "w1", "bad_config")),
            Self::Rollback => {
                release(rig, &cart)?;
                (cart, "rca", rca("cart", "w1", "bad_release"))
            }
            Self::DeletePod => {
                let mut body = anomaly("cart", "w1", "error");
                body["metadata"] = json!({"pod": pod(rig)?});
                (cart, "anomaly", body)
            }
        })
    }
}

/// A second template, so that there is one to go back to.
fn release(rig: &Rig, target: &Target) -> Result<()> {
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/{}", target.namespace, target.name);
    let second = json!({"spec": {"template": {"metadata": {"annotations": {"example.com/release": "2"}}}}});
    rig.cluster.api().patch(&path, &second).and_then(Answer::ok).context("a release")?;
    flyball_devcluster::workloads::wait_ready(rig.cluster.api(), &path, SOON).map(drop)
}

fn pod(rig: &Rig) -> Result<String> {
    wait_until("a pod", SOON, || {
        let path = format!("/api/v1/namespaces/{}/pods", rig.namespace);
        let list = rig.cluster.api().get(&path).and_then(Answer::ok)?;
        let name = list["items"][0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        ensure!(!name.is_empty(), "none yet");
        Ok(name)
    })
}
