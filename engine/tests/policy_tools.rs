//! The tools for policies as people run them: the binary, files, exit codes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const POLICY: &str = "
apiVersion: flyball.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: restart-on-leak}
spec:
  mode: enforce
  priority: 10
  match: {signal: rca, causes: [memory_leak], namespaces: [shop], when: signal.confidence >= 0.8}
  action: {restart: {}}
  guardrails: {cooldown: 10m}
  verify: {timeout: 2m, stableFor: 10s, recovered: {by: silence, within: 2m}, onFailure: escalate}
";

const SIGNAL: &str = r#"{"windowId":"w1","service":"cart","rankedCauses":[{"svc":"cart","cause":"memory_leak","probability":0.93}],
    "confidence":0.9,"metadata":{"namespace":"shop"}}"#;

const CASES: &str = "
apiVersion: flyball.dev/v1alpha1
kind: PolicyTest
cluster: {objects: [{namespace: shop, name: cart}]}
cases:
  - name: a leak is restarted once
    signals: [{at: 0s, rca: memory_leak, service: cart, namespace: shop}, {at: 4m, file: leak.json}]
    expect:
      - {at: 0s, result: permitted, policy: restart-on-leak, action: restart, target: shop/cart}
      - {at: 4m, result: denied, reason: CooldownActive}
      - {at: 3m, outcome: Recovered}
  - name: an unsure analysis does nothing
    signals: [{at: 0s, rca: memory_leak, service: cart, namespace: shop, confidence: 0.5}]
    expect: [{at: 0s, result: none, reason: NoPolicyMatched}]
";

struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Exit code, stdout, stderr.
    fn run(&self, line: &str) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_flyball"))
            .args(line.split_whitespace())
            .current_dir(self.path())
            .env_remove("CI")
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, line: &str) -> Value {
        let (_, out, err) = self.run(line);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
    }
}

#[test]
fn a_signal_is_matched_clause_by_clause() {
    let files = Files::new(&[("p/leak.yaml", POLICY), ("signal.json", SIGNAL)]);
    let (code, out, _) = files.run("policy match -f signal.json --policies p");
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("permitted restart-on-leak: restart of shop/Deployment/cart"), "{out}");
    assert!(out.contains("✔ when signal.confidence >= 0.8   found: true"), "{out}");
    let (code, _, err) = files.run("policy match -f signal.json --policies p --expect other");
    assert_eq!((code, err.as_str()), (1, "other was expected to act\n"));
    fs::write(files.path().join("signal.json"), SIGNAL.replace("0.9,", "0.5,")).unwrap();
    let told = files.json("policy match -f signal.json --policies p -o json");
    assert_eq!(told["outcome"], "NoPolicyMatched");
    let clauses = told["policies"][0]["clauses"].as_array().unwrap();
    let failed: Vec<&Value> = clauses.iter().filter(|it| it["holds"] == false).map(|it| &it["asks"]).collect();
    assert_eq!(failed, ["when signal.confidence >= 0.8"]);
}

#[test]
fn cases_are_run_and_told() {
    let files = Files::new(&[("p/leak.yaml", POLICY), ("p/leak.flyball-test.yaml", CASES), ("p/leak.json", SIGNAL)]);
    let (code, out, err) = files.run("policy test p --coverage");
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains("2 passed, 0 failed, 100 % of the policies met"), "{err}");
    assert!(out.contains("reasons met: CooldownActive, NoPolicyMatched"), "{out}");

    fs::write(files.path().join("p/leak.yaml"), POLICY.replace("cooldown: 10m", "cooldown: 1m")).unwrap();
    let (code, out, err) = files.run("policy test p");
    assert_eq!(code, 1, "{out}{err}");
    assert!(
        out.contains(
            "at +4m\n       expected   denied CooldownActive\n       actual     +4m permitted restart restart-on-leak"
        ),
        "{out}"
    );
    assert!(out.contains("not expected: +4m permitted restart restart-on-leak shop/Deployment/cart"), "{out}");
    let (_, junit, _) = files.run("policy test p -o junit");
    assert!(junit.contains("tests=\"2\" failures=\"1\""), "{junit}");

    assert_eq!(files.run("policy test p --run zzz --require-tests").0, 1);
    assert_eq!(files.run("policy test p --run zzz").0, 0);
    fs::write(files.path().join("p/leak.flyball-test.yaml"), CASES.replace("CooldownActive", "CoolDown")).unwrap();
    let (code, _, err) = files.run("policy test p");
    assert_eq!(code, 2);
    assert!(err.contains("`reason: CoolDown` is no reason"), "{err}");
}

#[test]
fn what_is_shown_is_resolved_and_says_from_where() {
    let rules = "
apiVersion: flyball.dev/v1alpha1
kind: Guardrails
spec:
  defaults: {minConfidence: 0.6}
  profiles: {web: {guardrails: {replicas: {max: 6}}}}
";
    let policy = POLICY.replace("  priority: 10\n", "  profile: web\n  target: {labels: {tier: web}}\n");
    let files = Files::new(&[("p/leak.yaml", &policy), ("p/rules.yaml", rules)]);
    let (code, out, err) = files.run("policy show --policies p --resolved");
    assert_eq!(code, 0, "{err}");
    for line in [
        "profile        web",
        "cooldown       10m   (its own)",
        "budget         6 per 1h   (default)",
        "replicas       1 to 6, at most 3 more per 15m   (profile web)",
        "minConfidence  0.6   (default)",
        "when           target != null && 'tier' in target.labels && target.labels['tier'] == 'web' && (signal.confidence >= 0.8)",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    let told = files.json("policy show --policies p restart-on-leak --resolved -o json");
    assert_eq!(told["policies"][0]["origins"]["replicas"], "profile web");
    let (_, out, _) = files.run("policy show --policies p");
    assert!(!out.contains("(default)"), "{out}");
    let (code, _, err) = files.run("policy show --policies p/leak.yaml");
    assert_eq!(code, 2);
    assert!(err.contains("there is no profile `web`"), "{err}");
}

#[test]
fn rights_are_compared_with_a_role() {
    let rbac = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/rbac.yaml");
    let evicts = POLICY.replace("restart-on-leak", "evict").replace("{restart: {}}", "{deletePod: {}}");
    let files = Files::new(&[("p/leak.yaml", POLICY), ("p/evict.yaml", &evicts)]);
    let library = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    for policies in ["p", library] {
        let (_, out, err) = files.run(&format!("policy lint {policies} --role {rbac}"));
        assert!(!out.contains("[rights]") && err.contains("policies:"), "{out}{err}");
    }
    let narrow = fs::read_to_string(rbac).unwrap().replace("watch, patch", "watch").replace("pods/eviction", "pods");
    fs::write(files.path().join("narrow.yaml"), narrow).unwrap();
    let (code, out, _) = files.run("policy lint p --role narrow.yaml");
    assert_eq!(code, 1);
    for told in [
        "error[rights]: restart-on-leak: narrow.yaml does not grant what it needs: patch deployments.apps\n",
        "error[rights]: evict: narrow.yaml does not grant what it needs: patch deployments.apps, create pods/eviction\n",
    ] {
        assert!(out.contains(told), "{told}\n{out}");
    }
    fs::write(files.path().join("none.yaml"), "kind: ConfigMap\n").unwrap();
    let (code, _, err) = files.run("policy lint p --role none.yaml");
    assert_eq!((code, err.as_str()), (2, "error: none.yaml: there is no ClusterRole and no Role with rules in it\n"));
    let (code, _, err) = files.run("policy lint p --role nowhere.yaml");
    assert!(code == 2 && err.starts_with("error: nowhere.yaml: "), "{code} {err}");
}

#[test]
fn two_sets_are_compared_by_what_decides() {
    let files = Files::new(&[("a/leak.yaml", POLICY), ("b/sub/moved.yaml", &POLICY.replace("10m", "20m"))]);
    let (code, out, _) = files.run("policy diff a b");
    assert_eq!((code, out.as_str()), (1, "~ restart-on-leak\n    cooldown: 10m -> 20m\n"));
    let (code, out, err) = files.run("policy diff a a");
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", "no difference\n"));
}

#[test]
fn findings_are_told_in_every_form() {
    let hidden = POLICY.replace("restart-on-leak", "never").replace("priority: 10", "priority: 1");
    let files = Files::new(&[("p/leak.yaml", POLICY), ("p/never.yaml", &hidden)]);
    let (code, out, err) = files.run("policy lint p");
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("error[unreachable]: never: restart-on-leak is asked before"), "{out}");
    assert!(err.contains("2 policies: 1 errors"), "{err}");
    let sarif = files.json("policy lint p -o sarif");
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "unreachable");
    assert_eq!(sarif["version"], "2.1.0");

    fs::write(files.path().join("p/never.yaml"), hidden.replace("onFailure: escalate", "onFailure: nothing")).unwrap();
    let (code, _, err) = files.run("policy lint p");
    assert_eq!(code, 2);
    assert!(err.contains("unknown value `nothing`"), "{err}");
}

#[test]
fn a_new_policy_is_one_that_matches_its_signal() {
    let files = Files::new(&[("signal.json", SIGNAL)]);
    let (code, out, _) = files.run("policy new -f signal.json --action restart");
    assert_eq!(code, 0);
    fs::create_dir(files.path().join("p")).unwrap();
    fs::write(files.path().join("p/new.yaml"), out.replace("mode: shadow", "mode: enforce")).unwrap();
    assert_eq!(files.run("policy match -f signal.json --policies p --expect restart-on-memory-leak").0, 0, "{out}");
    assert_eq!(files.run("policy lint p --strict").0, 0);
}

#[test]
fn recorded_signals_tell_what_a_change_changes() {
    let line = |n: u32, minute: u32| {
        let body = SIGNAL.replace("w1", &format!("w{n}")).replace('\n', "");
        format!(
            "{{\"sequence\":{n},\"time\":\"2026-01-01T00:{minute:02}:00Z\",\"subject\":\"flyball.signal.v1.rca.prod.shop\",\"data\":{body}}}\n"
        )
    };
    let lines: String = (0..6).map(|n| line(n + 1, n * 8)).collect();
    let poison = "{\"sequence\":7,\"time\":\"2026-01-01T01:00:00Z\",\"subject\":\"flyball.signal.v1.rca.prod.shop\",\"text\":\"?\"}\n";
    let files =
        Files::new(&[("a/p.yaml", POLICY), ("b/p.yaml", &POLICY.replace("10m", "1m")), ("s.jsonl", &(lines + poison))]);
    let told = files.json("policy backtest --policies b --against a --from s.jsonl -o json");
    assert_eq!((&told["signals"], &told["unreadable"]), (&7.into(), &1.into()));
    // Every eight minutes: two minutes until it is verified, then a rest of one minute, or of ten.
    assert_eq!((&told["tried"]["ran"], &told["against"]["ran"]), (&6.into(), &3.into()), "{told:#}");
    assert_eq!(told["more"].as_array().unwrap().len(), 3);
    let (_, text, _) = files.run("policy backtest --policies b --against a --from s.jsonl -o markdown");
    assert!(text.contains("**3** actions more, **0** fewer"), "{text}");
    fs::write(files.path().join("s.jsonl"), "{}\n").unwrap();
    let (code, _, err) = files.run("policy backtest --policies b --from s.jsonl");
    assert_eq!(code, 2);
    assert!(err.contains("line 1 is no recorded signal"), "{err}");
}
