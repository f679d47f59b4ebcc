//! Rows 32, 37 and 38: what the engine is shown of the cluster comes late, in pieces, old, or not at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use flyball_core::workload::Workload as Target;
use flyball_devcluster::Workload;
use serde_json::{Value, json};

use super::bed::{Wired, each_once, leak, once, path, slow as slow_workload, slow_ones, wired};
use super::{Row, quick};
use crate::proxy::{ApiAct, ApiRule, Call};
use crate::rig::{SOON, WIDE, policy};

pub(super) const ROWS: &[Row] = &[
    quick(
        32,
        "eviction-over-budget-is-no-throttling",
        "waits for DisruptionBudget; a 429 for haste is tried again",
        eviction,
    ),
    quick(37, "watch-refused-with-410", "listed again; verdict at most a poll later", || watch(Refused::AtStart)),
    quick(37, "watch-expires-in-the-stream", "listed again; verdict at most a poll later", || {
        watch(Refused::InTheStream);
    }),
    quick(37, "watch-closed-every-second", "begun again; verdict at most a poll later", || watch(Refused::EverySecond)),
    quick(37, "watch-stalls-silently", "the poll sees it; verdict at most a poll later", || watch(Refused::Silent)),
    quick(37, "watch-misses-every-change", "the poll sees it; verdict at most a poll later", || {
        watch(Refused::Swallowed);
    }),
    quick(
        38,
        "stale-read-before-the-effect",
        "the effect is refused for its old version, and planned anew",
        stale_before,
    ),
    quick(
        38,
        "stale-reads-while-verifying",
        "an older generation is no success: the verdict waits for ours",
        stale_after,
    ),
];

enum Refused {
    AtStart,
    InTheStream,
    EverySecond,
    Silent,
    Swallowed,
}

fn is_watch(it: &Call) -> bool {
    it.verb == "watch"
}

fn watch(how: Refused) {
    let Wired { mut rig, api, nats: _nats } = wired("f37");
    let targets = slow_ones(&rig, 2);
    let act = match how {
        Refused::AtStart => ApiAct::Refuse { status: 410, retry_after: None },
        Refused::InTheStream => ApiAct::WatchExpired,
        Refused::EverySecond => ApiAct::WatchFor(Duration::from_secs(1)),
        Refused::Silent | Refused::Swallowed => {
            // It begins as it should, and says nothing of what changes afterwards.
            let deaf = matches!(how, Refused::Silent);
            ApiAct::WatchWithout(Arc::new(move |event: &Value| {
                deaf || event["type"] == "MODIFIED" || event["type"] == "DELETED"
            }))
        }
    };
    let rule = ApiRule::on(is_watch).act(act);
    let rule = if matches!(how, Refused::AtStart) { rule.times(4) } else { rule };
    // A watch that never begins is not ready: what stalls does so later.
    let later = matches!(how, Refused::Silent | Refused::Swallowed);
    let trigger = if later {
        rig.start();
        api.cut_all();
        api.add(rule)
    } else {
        let trigger = api.add(rule);
        rig.start();
        trigger
    };
    let start = Instant::now();
    leak(&rig, &targets);
    each_once(&rig, &targets);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    if !later {
        assert!(trigger.hits() > 0, "the watches were hurt");
    }
}

/// Reads of a target itself, and not of a list or a watch.
fn reads(target: &Target) -> impl Fn(&Call) -> bool + Send + Sync + 'static {
    let target = target.clone();
    move |it| {
        it.verb == "get"
            && it.name == *target.name
            && it.namespace == *target.namespace
            && it.resource == target.kind.plural()
    }
}

/// The engine plans on an object that has changed since: its single-use token is spent.
fn stale_before() {
    let Wired { mut rig, api, nats: _nats } = wired("f38");
    let cart = slow_workload(&rig, "cart");
    let old = Arc::new(rig.object(&cart));
    let label = json!({"metadata": {"labels": {"changed": "since"}}});
    rig.cluster.api().patch(&path(&cart), &label).and_then(flyball_devcluster::Answer::ok).expect("patched");
    rig.start();
    let trigger = api.add(ApiRule::on(reads(&cart)).times(1).act(ApiAct::Serve(old)));
    rig.rca("cart", "w1", "memory_leak");
    once(&rig, &cart);
    assert_eq!(trigger.hits(), 1, "the old object was read");
    let codes: Vec<u16> = rig.requests(&cart).iter().map(|it| it.code).collect();
    assert_eq!(codes, [409, 200], "refused once, then planned on what is there");
    assert_eq!(rig.object(&cart)["metadata"]["labels"]["changed"], "since", "the other's field is still there");
}

/// For three seconds after the effect every read shows the object as it was before, complete and healthy.
fn stale_after() {
    let Wired { mut rig, api, nats: _nats } = wired("f38v");
    let cart = slow_workload(&rig, "cart");
    let old = Arc::new(rig.object(&cart));
    rig.start();
    rig.rca("cart", "w1", "memory_leak");
    rig.eventually("the effect", || {
        ensure!(rig.effects(&cart).len() == 1, "not yet");
        Ok(())
    });
    let stale = api.add(ApiRule::on(reads(&cart)).act(ApiAct::Serve(old)));
    rig.eventually("old objects are read", || {
        ensure!(stale.hits() >= 2, "{} times", stale.hits());
        Ok(())
    });
    let history = rig.history();
    let closed = history.intents().filter(|it| !it.is_open()).map(|it| format!("{:?}", it.stage())).collect::<Vec<_>>();
    stale.lift();
    assert!(closed.is_empty(), "decided on what was old: {closed:?}");
    once(&rig, &cart);
}

const EVICT: &str = "{signal: anomaly, types: [error]}";

/// A budget that allows nothing, and a server that is in haste: two sorts of 429, never mixed up.
fn eviction() {
    let Wired { mut rig, api, nats: _nats } = wired("f32");
    rig.policy("p.yaml", &policy("evict", EVICT, "{deletePod: {}}", "  guardrails: {cooldown: 0s}\n"))
        .policy("g.yaml", WIDE);
    let workload = Workload::new(&rig.namespace, "cart").replicas(2);
    let cart = rig.deployment(&workload, "cart");
    rig.start();
    let busy = ApiRule::on(|it: &Call| it.subresource == "eviction").nth(1);
    let busy = api.add(busy.act(ApiAct::Refuse { status: 429, retry_after: Some(1) }));
    let pods = format!("/api/v1/namespaces/{}/pods?labelSelector=app%3Dcart", rig.namespace);
    let listed = rig.cluster.api().get(&pods).and_then(flyball_devcluster::Answer::ok).expect("pods");
    let mut body = crate::rig::anomaly("cart", "w1", "error");
    body["metadata"] = json!({"pod": listed["items"][0]["metadata"]["name"]});
    rig.publish("anomaly", &body, &[]);
    let evictions = |rig: &crate::rig::Rig| {
        let ours = |it: &flyball_devcluster::AuditEntry| it.subresource == "eviction" && it.namespace == rig.namespace;
        rig.audit.find(ours).expect("the audit log").into_iter().filter(|it| (200..300).contains(&it.code)).count()
    };
    let ended = rig.ended(&cart, 1);
    assert!(crate::rig::outcome(&ended[0]).is_success(), "{:?}", ended[0].stage());
    assert_eq!((busy.hits(), evictions(&rig)), (1, 1), "turned away once for haste, then carried out once");
    rig.cluster.api().create(&workload.disruption_budget(2)).expect("a budget");
    let budget = format!("/apis/policy/v1/namespaces/{}/poddisruptionbudgets/cart", rig.namespace);
    rig.eventually("the budget is observed", || {
        let budget = rig.cluster.api().get(&budget)?.ok()?;
        ensure!(budget["status"]["currentHealthy"] == 2, "{budget}");
        Ok(())
    });
    let listed = rig.cluster.api().get(&pods).and_then(flyball_devcluster::Answer::ok).expect("pods");
    body["windowId"] = "w2".into();
    body["metadata"] = json!({"pod": listed["items"][1]["metadata"]["name"]});
    rig.publish("anomaly", &body, &[]);
    rig.eventually("the request is answered with its reason", || {
        let history = rig.history();
        let waits =
            history.waiting().any(|(_, it)| it.deferral.objections.iter().any(|it| it.label() == "DisruptionBudget"));
        let denied = rig.denials(&cart).iter().any(|(it, _)| it == "DisruptionBudget");
        ensure!(waits || denied, "{:?}", rig.denials(&cart));
        Ok(())
    });
    assert_eq!(evictions(&rig), 1, "nothing was evicted over the budget");
}
