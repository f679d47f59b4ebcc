//! Made-up facts that the targets share: two signals and a workload in the words of the seeds, so that what a mutation keeps of them
//! still finds its way.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball_core::expr::TargetView;
use flyball_core::facts::{Managers, Neighbours, Rollout, STAMP_INTENT, Snapshot};
use flyball_core::id::SignalId;
use flyball_core::plan::RESTARTED_AT;
use flyball_core::signal::{Anomaly, AnomalyKind, RankedCause, Rca, Signal, SignalKind, TraceContext};
use flyball_core::workload::{Workload, WorkloadKind};
use jiff::Timestamp;
use serde_json::json;

/// Two minutes after the signals were observed.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_772_366_520).expect("an instant of 2026")
}

/// What the signals are about.
pub fn cart() -> Workload {
    Workload::new(WorkloadKind::Deployment, "shop", "cart")
}

/// A latency anomaly of the cart.
pub fn anomaly() -> Signal {
    signal(SignalKind::Anomaly(Anomaly { is_anomaly: true, score: 0.93, kind: AnomalyKind::Latency }))
}

/// An analysis that names the cart, and then another workload.
pub fn rca() -> Signal {
    let other = Workload::new(WorkloadKind::StatefulSet, "erp", "erp-db");
    let leak = RankedCause { target: cart(), cause: "memory_leak".into(), probability: 0.9 };
    let slow = RankedCause { target: other, cause: "slow_dependency".into(), probability: 0.6 };
    signal(SignalKind::Rca(Rca { causes: vec![leak, slow], confidence: 0.86 }))
}

fn signal(kind: SignalKind) -> Signal {
    Signal {
        id: SignalId("w:1".into()),
        kind,
        subject: cart(),
        service: "cart".into(),
        pod: Some("cart-0".into()),
        window_id: "shop-cart-2026-03-01T12:00".into(),
        observed_at: Timestamp::from_second(1_772_366_400).expect("an instant of 2026"),
        expires_at: None,
        trace: TraceContext::default(),
        sequence: 7,
    }
}

/// The cart as it is watched.
pub fn view() -> TargetView {
    let labels = BTreeMap::from([("app".to_owned(), "cart".to_owned()), ("tier".to_owned(), "web".to_owned())]);
    TargetView { workload: cart(), desired: 3, updated: 3, ready: 2, available: 2, labels: Arc::new(labels) }
}

/// The cart as a fresh read finds it: two containers, and marks that are no policy's to change.
pub fn snapshot() -> Snapshot {
    let target = cart();
    let spec = json!({
        "replicas": 3,
        "minReadySeconds": 5,
        "selector": {"matchLabels": {"app": "cart"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {
            "metadata": {"labels": {"app": "cart"}, "annotations": {RESTARTED_AT: "2026-02-01T00:00:00Z"}},
            "spec": {
                "serviceAccountName": "cart",
                "containers": [
                    {
                        "name": "app",
                        "image": "cart:1",
                        "env": [{"name": "A", "value": "1"}],
                        "resources": {"limits": {"memory": "1Gi"}},
                        "securityContext": {"runAsNonRoot": true},
                    },
                    {"name": "proxy", "image": "proxy:1"},
                ],
            },
        },
    });
    let annotations = [(STAMP_INTENT, "0"), ("team", "a")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    Snapshot {
        uid: "uid-1".into(),
        resource_version: "7".into(),
        annotations: BTreeMap::from(annotations),
        labels: BTreeMap::new(),
        spec,
        rollout: Rollout {
            kind: target.kind,
            uid: "uid-1".into(),
            generation: 1,
            observed_generation: 1,
            desired: 3,
            total: 3,
            updated: 3,
            ready: 3,
            available: 3,
            deadline_exceeded: false,
            on_delete: false,
            partition: 0,
        },
        deleting: false,
        namespace_opted_out: false,
        managers: Managers::default(),
        revisions: Vec::new(),
        pod: None,
        neighbours: Neighbours { total: 10, ..Neighbours::default() },
        target,
    }
}
