//! What is wrong or missing at start is named. Signals that cannot be used are row 24 of the fault matrix.

use flyball_proof::rig::{Rig, policy};

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
        // The first thing that it needs of the API server is the ledger's high-water mark.
        let named = unready.contains("high-water mark") && unready.contains(&format!("127.0.0.1:{port}"));
        anyhow::ensure!(named, "{unready}");
        let log = std::fs::read_to_string(rig.log())?;
        anyhow::ensure!(!log.contains("panicked"), "{log}");
        Ok(())
    });
}
