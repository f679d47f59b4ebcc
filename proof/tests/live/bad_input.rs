//! What cannot be used is kept, counted and acknowledged; what is missing at start is named.

use flyball_proof::rig::{Rig, policy};

#[test]
fn garbage_becomes_dead_letters_with_their_bytes() {
    let mut rig = Rig::new("garbage");
    rig.policy("p.yaml", &policy("restart", "{signal: rca, causes: [memory_leak]}", "{restart: {}}", "")).start();
    let here = format!("flyball.signal.v1.anomaly.{}.{}", rig.name, rig.namespace);
    let elsewhere = r#"{"windowId":"w","service":"a","isAnomaly":true,"score":1,"type":"error","metadata":{"namespace":"kube-system"}}"#;
    let deep = "[".repeat(100_000);
    let large = format!("{{\"windowId\": \"{}\"}}", "x".repeat(300 * 1024));
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("broken", b"{\"windowId\": ".to_vec()),
        ("wrong type", br#"{"windowId":"w","service":"a","isAnomaly":"yes","score":1,"type":"error"}"#.to_vec()),
        ("NaN", br#"{"windowId":"w","service":"a","isAnomaly":true,"score":NaN,"type":"error"}"#.to_vec()),
        ("too large", large.into_bytes()),
        ("too deep", deep.into_bytes()),
        ("another namespace", elsewhere.as_bytes().to_vec()),
        ("not UTF-8", vec![b'"', 0xff, 0xfe, b'"']),
        (
            "unknown version",
            br#"{"specversion":"9.9","id":"1","source":"x","type":"dev.flyball.signal.anomaly.v1","data":{}}"#.to_vec(),
        ),
        ("no target", br#"{"windowId":"w","isAnomaly":true,"score":1,"type":"error"}"#.to_vec()),
    ];
    for (name, body) in &bad {
        rig.publish_raw(&here, body, &[("X-Name", *name)]);
    }
    rig.rca("ghost", "after", "memory_leak");
    let ghost = format!("{}/ghost", rig.namespace).parse().expect("a workload");
    rig.denied(&ghost, "TargetNotFound");
    rig.eventually("all are dead letters", || {
        let letters = dead_letters(&rig, &here);
        for (name, body) in &bad {
            anyhow::ensure!(letters.iter().any(|(it, bytes)| it == name && bytes == body), "{name} is missing");
        }
        anyhow::ensure!(letters.len() == bad.len(), "{} letters", letters.len());
        Ok(())
    });
    let metrics = rig.get("/metrics").expect("metrics");
    let metrics = metrics.as_str().unwrap_or_default();
    assert!(metrics.contains(r#"result="refused""#), "{metrics}");
}

fn dead_letters(rig: &Rig, subject: &str) -> Vec<(String, Vec<u8>)> {
    rig.runtime.block_on(async {
        let context = rig.jetstream().await;
        let Ok(mut stream) = context.get_stream("FLYBALL_REFUSED").await else { return Vec::new() };
        let last = stream.info().await.map_or(0, |it| it.state.last_sequence);
        let mut found = Vec::new();
        for sequence in 1..=last {
            let Ok(message) = stream.get_raw_message(sequence).await else { continue };
            let header = |name: &str| message.headers.get(name).map(|it| it.as_str().to_owned()).unwrap_or_default();
            if header("Flyball-Refused-Subject") == subject {
                found.push((header("X-Name"), message.payload.to_vec()));
            }
        }
        found
    })
}

#[test]
fn a_bad_policy_file_at_start_is_code_2_and_an_annotated_error() {
    let mut rig = Rig::new("badpolicy");
    let text =
        policy("restart", "{signal: rca, causes: [memory_leak]}", "{restart: {}}", "  guardrails: {cooldwn: 5m}\n");
    rig.policy("p.yaml", &text);
    let output = rig.command().output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    for part in ["p.yaml:9", "cooldwn", "did you mean `cooldown`?"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[test]
fn no_nats_at_start_is_said_with_its_address_and_waited_for() {
    let port = flyball_devcluster::free_port();
    let mut rig = Rig::on("nonats", flyball_devcluster::Cluster::shared(), &format!("nats://127.0.0.1:{port}"));
    rig.policy("p.yaml", &policy("restart", "{signal: rca, causes: [memory_leak]}", "{restart: {}}", ""));
    rig.launch();
    rig.eventually("the log names the address", || {
        let log = std::fs::read_to_string(rig.log())?;
        anyhow::ensure!(log.contains(&format!("127.0.0.1:{port}")), "{log}");
        anyhow::ensure!(!log.contains("panicked"), "{log}");
        Ok(())
    });
}

#[test]
fn no_api_server_at_start_is_said_with_its_address_and_waited_for() {
    let port = flyball_devcluster::free_port();
    let mut rig = Rig::new("noapi");
    let address = format!("https://127.0.0.1:{port}");
    let here = rig.cluster.url().trim_end_matches('/').to_owned();
    let text = std::fs::read_to_string(&rig.kubeconfig).expect("a kubeconfig").replace(&here, &address);
    rig.kubeconfig = rig.log().with_file_name("kubeconfig");
    std::fs::write(&rig.kubeconfig, text).expect("a kubeconfig of ours");
    rig.policy("p.yaml", &policy("restart", "{signal: rca, causes: [memory_leak]}", "{restart: {}}", ""));
    rig.launch();
    rig.eventually("readiness names the part, and the log the address", || {
        let unready = rig.get("/readyz").expect_err("it cannot be ready").to_string();
        anyhow::ensure!(unready.contains("cluster"), "{unready}");
        let log = std::fs::read_to_string(rig.log())?;
        anyhow::ensure!(log.contains(&format!("127.0.0.1:{port}")) && !log.contains("panicked"), "{log}");
        Ok(())
    });
}
