//! The trace, and the rights.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use flyball_devcluster::{Answer, workloads};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};

use flyball_proof::rig::{Rig, SOON, WIDE, outcome, policy};

const RESTART: &str = "{signal: rca, causes: [memory_leak]}";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PUBLISHER: &str = "b7ad6b7169203331";

type Received = Arc<Mutex<Vec<Span>>>;

/// An OTLP receiver of our own.
fn receiver(rig: &Rig) -> (String, Received) {
    async fn take(State(received): State<Received>, body: Bytes) -> Vec<u8> {
        let request = ExportTraceServiceRequest::decode(body).expect("spans");
        let spans = request.resource_spans.into_iter().flat_map(|it| it.scope_spans).flat_map(|it| it.spans);
        received.lock().expect("nobody panics with it").extend(spans);
        Vec::new()
    }
    let received = Received::default();
    let router = Router::new().route("/v1/traces", post(take)).with_state(received.clone());
    let listener = rig.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    rig.runtime.spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), received)
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

#[test]
fn one_trace_holds_every_stage_under_the_publishers_span() {
    let mut rig = Rig::new("trace");
    let (endpoint, received) = receiver(&rig);
    rig.environment =
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT".into(), endpoint), ("OTEL_BSP_SCHEDULE_DELAY".into(), "100".into())];
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).start();
    let cart = rig.healthy("cart", 1);
    let traceparent = format!("00-{TRACE}-{PUBLISHER}-01");
    rig.publish("rca", &flyball_proof::rig::rca("cart", "w1", "memory_leak"), &[("Traceparent", &traceparent)]);
    assert!(outcome(&rig.ended(&cart, 1)[0]).is_success());
    let names = ["process flyball.signal", "map", "judge", "record", "execute", "PATCH deployments", "verify"];
    let spans = rig.eventually("all spans to arrive", || {
        let spans: Vec<Span> = received
            .lock()
            .expect("nobody panics with it")
            .iter()
            .filter(|it| hex(&it.trace_id) == TRACE)
            .cloned()
            .collect();
        let missing: Vec<_> = names.iter().filter(|name| !spans.iter().any(|it| it.name == **name)).collect();
        anyhow::ensure!(missing.is_empty(), "missing: {missing:?}");
        Ok(spans)
    });
    let span = |name: &str| spans.iter().find(|it| it.name == name).expect("it is there");
    assert_eq!(hex(&span("process flyball.signal").parent_span_id), PUBLISHER);
    for stage in ["map", "judge", "record", "execute", "verify"] {
        assert_eq!(span(stage).parent_span_id, span("process flyball.signal").span_id, "{stage}");
    }
    assert_eq!(span("PATCH deployments").parent_span_id, span("execute").span_id);
    let metrics = rig.get("/metrics").expect("metrics");
    let exemplar = format!("trace_id=\"{TRACE}\"");
    for histogram in ["flyball_decision_seconds", "flyball_ledger_append_seconds"] {
        let mut lines = metrics.as_str().unwrap_or_default().lines().filter(|it| it.starts_with(histogram));
        assert!(lines.any(|it| it.contains(&exemplar)), "{histogram} leads to no trace");
    }
    // A denial is traced, too.
    rig.publish("rca", &flyball_proof::rig::rca("cart", "w2", "memory_leak"), &[("traceparent", &traceparent)]);
    rig.eventually("the denial's span", || {
        let spans = received.lock().expect("nobody panics with it");
        let reason = |it: &Span| {
            it.attributes
                .iter()
                .any(|it| it.key == "flyball.reason" && format!("{:?}", it.value).contains("CooldownActive"))
        };
        anyhow::ensure!(spans.iter().any(|it| it.name == "judge" && reason(it)), "not yet");
        Ok(())
    });
}

#[test]
fn log_metrics_decisions_and_why_tell_the_same_story() {
    let mut rig = Rig::new("story");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).start();
    let cart = rig.healthy("cart", 1);
    rig.rca("cart", "w1", "memory_leak");
    let id = rig.ended(&cart, 1)[0].id().to_string();
    rig.rca("cart", "w2", "memory_leak");
    rig.denied(&cart, "CooldownActive");
    let (code, decisions, error) = rig.flyball(&["get", "decisions"]);
    assert_eq!(code, 0, "{error}");
    assert!(
        decisions.contains(&id[..8]) && decisions.contains("CooldownActive") && decisions.contains("RolledOut"),
        "{decisions}"
    );
    let (code, why, error) = rig.flyball(&["why", &id]);
    assert_eq!(code, 0, "{error}");
    assert!(why.contains("restart") && why.contains("RolledOut") && why.contains("memory_leak"), "{why}");
    let metrics = rig.get("/metrics").expect("metrics");
    let metrics = metrics.as_str().unwrap_or_default();
    for line in [
        r#"orchestrator_closed_loop_actions_total{type="restart",status="success",verification_status="SUCCESS"} 1"#,
        r#"orchestrator_closed_loop_signals_total{kind="rca",result="accepted"} 1"#,
        r#"orchestrator_closed_loop_guardrail_blocks_total{type="restart",reason="CooldownActive"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is missing in:\n{metrics}");
    }
    for histogram in [
        "flyball_decision_seconds",
        "flyball_ledger_append_seconds",
        "flyball_signal_age_seconds",
        "orchestrator_closed_loop_duration_seconds",
    ] {
        let never = format!("{histogram}_count 0\n");
        assert!(metrics.contains(histogram) && !metrics.contains(&never), "{histogram} never moved:\n{metrics}");
    }
    let log = std::fs::read_to_string(rig.log()).expect("the log");
    assert!(log.contains(&id) && log.contains("RolledOut"), "{log}");
}

/// Applies `deploy/rbac.yaml` under names of this test, without one verb if `but` names it, and runs the engine with it.
fn role(rig: &mut Rig, but: Option<(&str, &str)>) {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/rbac.yaml")).expect("deploy/rbac.yaml");
    let unique = format!("flyball-{}", rig.namespace);
    for document in text.split("\n---\n") {
        let mut object: Value = serde_saphyr::from_str(document).expect("YAML");
        match object["kind"].as_str() {
            Some("ClusterRole") => {
                object["metadata"]["name"] = unique.clone().into();
                for rule in object["rules"].as_array_mut().expect("rules") {
                    let Some((verb, resource)) = but else { continue };
                    let named = rule["resources"].as_array().is_some_and(|it| it.iter().any(|it| it == resource));
                    if named && let Some(verbs) = rule["verbs"].as_array_mut() {
                        verbs.retain(|it| it != verb);
                    }
                }
            }
            Some("ClusterRoleBinding") => {
                object["metadata"]["name"] = unique.clone().into();
                object["roleRef"]["name"] = unique.clone().into();
                object["subjects"] = json!([{"kind": "ServiceAccount", "name": "flyball", "namespace": rig.namespace}]);
            }
            // Its own namespace is that of the kubeconfig, which names none.
            Some("Role") => {
                object["metadata"] = json!({"name": unique.clone(), "namespace": "default"});
            }
            Some("RoleBinding") => {
                object["metadata"] = json!({"name": unique.clone(), "namespace": "default"});
                object["roleRef"]["name"] = unique.clone().into();
                object["subjects"] = json!([{"kind": "ServiceAccount", "name": "flyball", "namespace": rig.namespace}]);
            }
            _ => continue,
        }
        rig.cluster.api().create(&object).expect("created");
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "flyball", "namespace": rig.namespace}});
    rig.cluster.api().create(&account).expect("created");
    rig.kubeconfig = rig.cluster.service_account(&rig.namespace, "flyball").expect("a token").1;
}

#[test]
fn the_rights_of_the_manifest_are_enough() {
    let mut rig = Rig::new("rbac");
    role(&mut rig, None);
    rig.policy("1.yaml", &policy("restart", RESTART, "{restart: {}}", "  guardrails: {cooldown: 0s}\n"))
        .policy(
            "2.yaml",
            &policy(
                "scale",
                "{signal: anomaly, types: [resource]}",
                "{scale: {by: 1}}",
                "  guardrails: {cooldown: 0s}\n",
            ),
        )
        .policy(
            "3.yaml",
            &policy("evict", "{signal: anomaly, types: [error]}", "{deletePod: {}}", "  guardrails: {cooldown: 0s}\n"),
        )
        .policy(
            "4.yaml",
            &policy(
                "rollback",
                "{signal: rca, causes: [bad_release]}",
                "{rollback: {}}",
                "  guardrails: {cooldown: 0s}\n",
            ),
        )
        .policy("g.yaml", WIDE)
        .start();
    assert!(!linted(&rig).contains("[rights]"), "{}", linted(&rig));
    let cart = rig.healthy("cart", 2);
    rig.rca("cart", "w1", "memory_leak");
    rig.ended(&cart, 1);
    rig.anomaly("cart", "w2", "resource");
    rig.ended(&cart, 2);
    let path = format!("/api/v1/namespaces/{}/pods?labelSelector=app%3Dcart", rig.namespace);
    let pods = rig.cluster.api().get(&path).and_then(Answer::ok).expect("the pods");
    let mut body = flyball_proof::rig::anomaly("cart", "w3", "error");
    body["metadata"] = json!({"pod": pods["items"][0]["metadata"]["name"]});
    rig.publish("anomaly", &body, &[]);
    rig.ended(&cart, 3);
    // What the restart has made differs in nothing that one would go back to.
    let place = format!("/apis/apps/v1/namespaces/{}/deployments/cart", rig.namespace);
    let release = json!({"spec": {"template": {"metadata": {"annotations": {"example.com/release": "2"}}}}});
    rig.cluster.api().patch(&place, &release).and_then(Answer::ok).expect("a release");
    workloads::wait_ready(rig.cluster.api(), &place, SOON).expect("it becomes ready");
    rig.rca("cart", "w4", "bad_release");
    let ended = rig.ended(&cart, 4);
    assert!(ended.iter().all(|it| outcome(it).is_success()), "{:?}", ended.iter().map(outcome).collect::<Vec<_>>());
    let refused = rig.audit.find(|it| it.user.contains(&rig.namespace) && it.code == 403).expect("the audit log");
    assert!(refused.is_empty(), "{refused:#?}");
    needed_and_nothing_else(&rig);
}

/// `policy lint` names what the engine asks the API server for, by the engine's own account of its calls.
fn needed_and_nothing_else(rig: &Rig) {
    let files = std::fs::read_dir(rig.folder().join("policies")).expect("the folder");
    let policies: Vec<(String, String)> = files
        .map(|it| it.expect("an entry").path())
        .map(|it| (it.display().to_string(), std::fs::read_to_string(it).expect("a file")))
        .collect();
    let set = flyball_core::policy::load(&policies).expect("the policies");
    // Watches are counted by what they list.
    let needed: BTreeSet<(&str, &str)> = set
        .policies()
        .iter()
        .flat_map(flyball_core::lint::rights::needed)
        .map(|it| if it.resource == "pods/eviction" { ("evict", "pods") } else { (it.verb, it.resource) })
        .filter(|(verb, _)| *verb != "watch")
        .collect();
    let metrics = rig.get("/metrics").expect("metrics");
    let calls = metrics.as_str().unwrap_or_default().lines();
    let called: BTreeSet<(&str, &str)> = calls
        .filter_map(|it| it.strip_prefix("smartops_k8s_api_calls_total{verb=\"")?.split_once("\",resource=\""))
        .filter_map(|(verb, rest)| Some((verb, rest.split_once('"')?.0)))
        // The ledger's mark and readiness are the engine's own.
        .filter(|(_, resource)| !["configmaps", "version"].contains(resource))
        .collect();
    assert_eq!(called, needed);
}

/// What `policy lint` says of the rights of the rig's kubeconfig.
fn linted(rig: &Rig) -> String {
    let (folder, kubeconfig) =
        (rig.folder().join("policies").display().to_string(), rig.kubeconfig.display().to_string());
    let (_, findings, error) = rig.flyball(&["policy", "lint", &folder, "--kubeconfig", &kubeconfig]);
    assert!(error.contains(" policies: "), "{error}");
    findings
}

#[test]
fn one_verb_less_is_forbidden_and_no_retry_storm() {
    let mut rig = Rig::new("lessrights");
    role(&mut rig, Some(("patch", "deployments")));
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).start();
    assert!(linted(&rig).contains("does not grant what it needs: patch deployments.apps\n"), "{}", linted(&rig));
    let cart = rig.healthy("cart", 1);
    rig.rca("cart", "w1", "memory_leak");
    let ended = rig.ended(&cart, 1);
    assert_eq!(outcome(&ended[0]).label(), "Rejected");
    assert!(format!("{:?}", ended[0].stage()).contains("Forbidden"), "{:?}", ended[0].stage());
    assert_eq!(rig.requests(&cart).len(), 1, "asked once, and not again");
    workloads::wait_ready(
        rig.cluster.api(),
        &format!("/apis/apps/v1/namespaces/{}/deployments/cart", rig.namespace),
        flyball_proof::rig::SOON,
    )
    .expect("it is as it was");
}
