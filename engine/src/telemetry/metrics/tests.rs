#![cfg(test)]

use std::time::Duration;

use flyball_core::outcome::Outcome;

use super::*;
use crate::telemetry::labels::{MAX_NAMES, OTHER};

const TRACE: TraceContext = TraceContext { trace_id: 0xabc, span_id: 7, sampled: true };
const HEX: &str = "00000000000000000000000000000abc";

/// Moves every series once.
fn moved() -> Metrics {
    let metrics = Metrics::new("0.1.0", "deadbeef");
    let (took, trace) = (Duration::from_millis(20), Some(&TRACE));
    metrics.signal(Kind::Rca, SignalResult::Accepted);
    metrics.decided(Kind::Rca, Decision::Allow, Reason::ALLOWED);
    let cooldown = DenyReason::CooldownActive { last: INTENT.parse().unwrap(), until: None };
    metrics.blocked(ActionKind::Restart, &cooldown);
    metrics.retried(ActionKind::Scale);
    let outcome = Outcome::Recovered;
    metrics.acted(ActionKind::Restart, outcome.into(), outcome.into(), took, trace);
    metrics.loop_seconds(took, trace);
    metrics.decision_seconds(took, trace);
    metrics.signal_age(took, trace);
    metrics.ledger_append(took, trace);
    metrics.queue_depth(3);
    metrics.intents_open(2);
    metrics.breaker_open(true);
    metrics.pauses_active(1);
    metrics.policies_demoted(2);
    metrics.policy_load_error();
    metrics.expression_failed();
    metrics.api_call("patch", "deployments", "shop", took, true);
    for action in ActionKind::POLICY {
        metrics.k8s_action(action, "shop", "cart");
    }
    metrics.deployment_replicas("shop", "cart", 3, 2);
    metrics
}

const INTENT: &str = "00000000-0000-8000-8000-000000000001";

/// The contract's names, each with its labels in the contract's order.
const CONTRACT: &[&str] = &[
    r#"orchestrator_closed_loop_signals_total{kind="rca",result="accepted"} 1"#,
    r#"orchestrator_closed_loop_actions_total{type="restart",status="success",verification_status="SUCCESS"} 1"#,
    r#"orchestrator_closed_loop_retries_total{type="scale"} 1"#,
    "orchestrator_closed_loop_duration_seconds_count 1",
    r#"orchestrator_closed_loop_action_duration_seconds_count{type="restart"} 1"#,
    "orchestrator_closed_loop_queue_depth 3",
    r#"orchestrator_closed_loop_guardrail_blocks_total{type="restart",reason="CooldownActive"} 1"#,
    r#"orchestrator_closed_loop_cooldown_skips_total{type="restart"} 1"#,
    r#"orchestrator_closed_loop_policy_outcomes_total{kind="rca",decision="allow",reason="allowed"} 1"#,
    r#"smartops_k8s_api_calls_total{verb="patch",resource="deployments",namespace="shop"} 1"#,
    r#"smartops_k8s_api_errors_total{verb="patch",resource="deployments",namespace="shop"} 1"#,
    r#"smartops_k8s_api_latency_seconds_count{verb="patch",resource="deployments",namespace="shop"} 1"#,
    r#"smartops_k8s_scale_total{namespace="shop",deployment="cart"} 1"#,
    r#"smartops_k8s_restart_total{namespace="shop",deployment="cart"} 1"#,
    r#"smartops_k8s_patch_total{namespace="shop",deployment="cart"} 2"#,
    r#"smartops_k8s_deployment_desired_replicas{namespace="shop",deployment="cart"} 3"#,
    r#"smartops_k8s_deployment_ready_replicas{namespace="shop",deployment="cart"} 2"#,
    "flyball_decision_seconds_count 1",
    "flyball_signal_age_seconds_count 1",
    "flyball_ledger_append_seconds_count 1",
    "flyball_intents_open 2",
    "flyball_breaker_open 1",
    "flyball_pauses_active 1",
    "flyball_policies_demoted 2",
    "flyball_policy_load_errors_total 1",
    "flyball_policy_expression_errors_total 1",
    r#"flyball_build_info{version="0.1.0",commit="deadbeef"} 1"#,
    r#"flyball_spans_dropped_total{reason="queue_full"} 0"#,
];

#[test]
fn every_series_of_the_contract_is_exposed_to_the_letter() {
    let page = moved().encode();
    for line in CONTRACT {
        assert!(page.lines().any(|found| found == *line), "{line}\nis not in\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
}

#[test]
fn nothing_is_exposed_that_the_contract_does_not_know() {
    let page = moved().encode();
    for name in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = name.split(' ').next().unwrap();
        assert!(CONTRACT.iter().any(|known| known.starts_with(name)), "{name}");
    }
}

#[test]
fn exemplars_lead_to_the_trace() {
    let page = moved().encode();
    let exemplar = format!("# {{trace_id=\"{HEX}\"}} 0.02");
    for name in [
        "flyball_decision_seconds",
        "flyball_ledger_append_seconds",
        "orchestrator_closed_loop_duration_seconds",
        "orchestrator_closed_loop_action_duration_seconds",
    ] {
        let bucket = format!("{name}_bucket");
        assert!(page.lines().any(|line| line.starts_with(&bucket) && line.ends_with(&exemplar)), "{name}\n{page}");
    }
}

#[test]
fn signals_start_at_zero_so_that_rates_see_the_first_one() {
    let page = Metrics::new("0", "0").encode();
    for result in SignalResult::ALL {
        let line =
            format!("orchestrator_closed_loop_signals_total{{kind=\"anomaly\",result=\"{}\"}} 0", result.as_str());
        assert!(page.contains(&line), "{line}");
    }
}

#[test]
fn a_cluster_with_more_workloads_than_the_cap_ends_in_other() {
    let metrics = Metrics::new("0", "0");
    for n in 0..MAX_NAMES + 10 {
        metrics.k8s_action(ActionKind::Restart, "shop", &format!("w{n}"));
        metrics.deployment_replicas("shop", &format!("w{n}"), 1, 1);
        metrics.api_call("get", "deployments", &format!("ns{n}"), Duration::ZERO, false);
    }
    let page = metrics.encode();
    let other = format!("smartops_k8s_restart_total{{namespace=\"{OTHER}\",deployment=\"{OTHER}\"}} 10");
    assert!(page.contains(&other), "{page}");
    let calls =
        format!("smartops_k8s_api_calls_total{{verb=\"get\",resource=\"deployments\",namespace=\"{OTHER}\"}} 10");
    assert!(page.contains(&calls), "{page}");
    let series = |name: &str| page.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(series("smartops_k8s_restart_total{"), MAX_NAMES + 1);
    assert_eq!(series("smartops_k8s_deployment_ready_replicas{"), MAX_NAMES);
}

#[test]
fn a_workload_that_is_gone_shows_no_replicas() {
    let metrics = moved();
    metrics.deployment_gone("shop", "cart");
    assert!(!metrics.encode().contains("deployment_ready_replicas{"));
}
