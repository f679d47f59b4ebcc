//! A rig's surroundings: signals that it publishes, workloads that it makes, and what the API server says was done to them.

use anyhow::{Result, anyhow};
use async_nats::jetstream::consumer::pull;
use flyball_core::facts::STAMP_FENCE;
use flyball_core::workload::{Workload as Target, WorkloadKind};
use flyball_devcluster::{Answer, AuditEntry, Workload, workloads};
use serde_json::Value;

use super::{Rig, SOON, anomaly, rca};

impl Rig {
    /// Publishes plain JSON, as any NATS client would, and waits for the stream's word: the sequence in it.
    pub fn publish(&self, kind: &str, body: &Value, headers: &[(&str, &str)]) -> u64 {
        let subject = format!("flyball.signal.v1.{kind}.{}.{}", self.name, self.namespace);
        self.publish_raw(&subject, body.to_string().as_bytes(), headers)
    }

    /// Publishes bytes, and waits for the stream's word: the sequence in it.
    ///
    /// # Panics
    /// They are not stored.
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

    /// JetStream, straight.
    ///
    /// # Panics
    /// NATS does not answer.
    pub async fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(async_nats::connect(&self.nats_url).await.expect("a NATS connection"))
    }

    /// Publishes an anomaly of this type; answers with its sequence.
    pub fn anomaly(&self, service: &str, window: &str, kind: &str) -> u64 {
        self.publish("anomaly", &anomaly(service, window, kind), &[])
    }

    /// Publishes a root cause analysis; answers with its sequence.
    pub fn rca(&self, service: &str, window: &str, cause: &str) -> u64 {
        self.publish("rca", &rca(service, window, cause), &[])
    }

    /// Deliveries of the rig's signals that wait, and those that nobody has acknowledged yet.
    ///
    /// # Errors
    /// NATS does not tell.
    pub fn unsettled(&self) -> Result<(u64, usize)> {
        self.runtime.block_on(async {
            let stream = self.jetstream().await.get_stream("FLYBALL_SIGNALS").await?;
            let consumer = stream.get_consumer::<pull::Config>(&format!("flyball-{}", self.name)).await;
            let info = consumer.map_err(|error| anyhow!(error))?.get_info().await?;
            Ok((info.num_pending, info.num_ack_pending))
        })
    }

    /// Creates a Deployment and waits until it is ready.
    ///
    /// # Panics
    /// It is not.
    pub fn deployment(&self, workload: &Workload, name: &str) -> Target {
        self.cluster.api().create(&workload.deployment()).expect("created");
        let path = workload.path("deployments");
        workloads::wait_ready(self.cluster.api(), &path, SOON).expect("the deployment becomes ready");
        Target::new(WorkloadKind::Deployment, &self.namespace, name)
    }

    /// A Deployment with so many replicas that become ready.
    pub fn healthy(&self, name: &str, replicas: u32) -> Target {
        self.deployment(&Workload::new(&self.namespace, name).replicas(replicas), name)
    }

    /// The target as it is.
    ///
    /// # Panics
    /// It cannot be read.
    pub fn object(&self, target: &Target) -> Value {
        let path = format!("/apis/apps/v1/namespaces/{}/{}/{}", target.namespace, target.kind.plural(), target.name);
        self.cluster.api().get(&path).and_then(Answer::ok).expect("the object")
    }

    /// The high-water mark of the ledger, as the API server keeps it.
    ///
    /// # Errors
    /// There is none.
    pub fn mark(&self) -> Result<Value> {
        let path = format!("/api/v1/namespaces/default/configmaps/flyball-{}", self.name);
        Ok(self.cluster.api().get(&path).and_then(Answer::ok)?["data"].clone())
    }

    /// Requests of ours on the target, answered and not.
    ///
    /// # Panics
    /// The audit log cannot be read.
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

    /// Accepted PATCHes of ours on the target that change what is wanted of it: a fence does not.
    pub fn effects(&self, target: &Target) -> Vec<AuditEntry> {
        let fences = |it: &AuditEntry| !it.object["metadata"]["annotations"][STAMP_FENCE].is_null();
        self.requests(target).into_iter().filter(|it| (200..300).contains(&it.code) && !fences(it)).collect()
    }
}
