//! A move while the API server, which holds the high-water mark, is down or silent.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use flyball_devcluster::{Answer, Cluster, wait_until};
use flyball_proof::proxy::{ApiAct, Call, Rule};
use flyball_proof::rig::{Line, Replica, Rig, SOON, WIDE, Wires, outcome, policy, shared_nats};
use serde_json::Value;

use super::bed::{self, holds, runtime, told};
use super::engines::{press, presses, step};
use super::scene::NOWHERE;

/// An engine whose ledger is a file, on wires of its own.
struct Bed {
    rig: Rig,
    engine: Arc<Replica>,
    line: Line,
}

impl Bed {
    fn new(test: &str) -> Self {
        let mut rig = Rig::on(test, Cluster::shared(), &shared_nats().url());
        rig.policy("p.yaml", &policy("restart", "{signal: rca, causes: [memory_leak]}", "{restart: {}}", ""))
            .policy("g.yaml", WIDE);
        let path = rig.folder().join("ledger");
        rig.arguments = vec!["--ledger".into(), path.into()];
        let (engine, line) = rig.add_proxied("one");
        Self { rig, engine, line }
    }

    fn path(&self) -> PathBuf {
        self.rig.folder().join("ledger")
    }

    /// Which ledger the high-water mark names.
    fn marked(&self) -> Result<String> {
        let path = format!("/api/v1/namespaces/default/configmaps/flyball-{}", self.rig.name);
        let map: Value = self.rig.cluster.api().get(&path).and_then(Answer::ok)?;
        Ok(map["data"]["ledger"].as_str().context("a mark")?.to_owned())
    }

    /// `flyball ledger …` with this kubeconfig.
    fn ledger(&self, arguments: &[&str], kubeconfig: &Path) -> (i32, String) {
        let kubeconfig = kubeconfig.display().to_string();
        let at = ["--cluster", &self.rig.name, "--nats", &self.rig.nats_url, "--kubeconfig", &kubeconfig];
        let (code, out, said) = self.rig.flyball_at("one", &[&["ledger"][..], arguments, &at].concat());
        (code, out + &said)
    }

    /// Nobody reads the new ledger yet.
    fn is_unfinished(&self) -> Result<()> {
        let at = ["--cluster", &self.rig.name, "--nats", &self.rig.nats_url];
        let (code, _, said) = self.rig.flyball_at("one", &[&["ledger", "export"][..], &at].concat());
        ensure!(code == 2 && said.contains("is an unfinished"), "{code}: {said}");
        Ok(())
    }

    /// `migrate` on its way, by the engine.
    fn migrate(&self) -> Result<Child> {
        let mut command = Command::new(flyball_proof::binary());
        command.args([
            "ledger",
            "migrate",
            "--to",
            "nats",
            "--cluster",
            &self.rig.name,
            "--server",
            &self.engine.url(),
        ]);
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    fn comes_to(&self, wanted: &str) -> Result<()> {
        wait_until(&format!("the step {wanted}"), SOON, || {
            self.engine.ensure_running()?;
            let found = step(&self.engine.url())?;
            ensure!(found == wanted, "{found}");
            Ok(())
        })
    }

    /// The new ledger has all that the old one had, and every pause once; the mark is of it, and an engine works on it.
    fn has_moved(mut self, confirmed: &[String]) -> Result<()> {
        let (stream, file) = (bed::stream(&self.rig.name)?, bed::open(&self.path())?);
        let (old, new) = runtime().block_on(async { anyhow::Ok((told(&file).await?, told(&stream).await?)) })?;
        ensure!(new.len() >= old.len() && new[..old.len()] == old, "the old one is not its beginning");
        holds(&stream, confirmed)?;
        let marked = self.marked()?;
        ensure!(marked.starts_with("FLYBALL_LEDGER_"), "the mark is of {marked}");
        self.engine.kill();
        self.rig.arguments = Vec::new();
        let wires = Wires { nats_url: self.rig.nats_url.clone(), kubeconfig: self.rig.kubeconfig.clone() };
        self.rig.add_through("one", &wires);
        self.rig.start_replica("one");
        let cart = self.rig.healthy("cart", 1);
        self.rig.rca("cart", "w1", "memory_leak");
        ensure!(outcome(&self.rig.ended(&cart, 1)[0]).is_success());
        ensure!(self.rig.effects(&cart).len() == 1);
        let kubeconfig = self.rig.kubeconfig.clone();
        let (code, said) = self.ledger(&["verify"], &kubeconfig);
        ensure!(code == 0, "{said}");
        Ok(())
    }
}

#[test]
fn a_move_by_the_engine_waits_for_the_api_server_and_loses_nothing() -> Result<()> {
    let bed = Bed::new("outage");
    bed.rig.start_replica("one");
    let stop = Arc::new(AtomicBool::new(false));
    let pressing = runtime().spawn(presses(bed.engine.url(), stop.clone(), "load"));
    bed.line.api.refuse(true);
    bed.line.api.cut_all();
    let moving = bed.migrate()?;
    bed.comes_to("finishing")?;
    // It works on the new ledger, which nobody else may start on before the mark is of it.
    let url = bed.engine.url();
    let pressed = runtime().block_on(press(&reqwest::Client::new(), &url, "meanwhile", 0));
    let pressed = pressed.context("a pause is confirmed while the mark waits")?;
    ensure!(step(&url)? == "finishing" && bed.marked()?.starts_with("file "), "the mark has moved: {}", bed.marked()?);
    bed.is_unfinished()?;
    bed.line.api.refuse(false);
    let ended = moving.wait_with_output()?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    stop.store(true, Ordering::SeqCst);
    let mut confirmed = runtime().block_on(pressing)?;
    ensure!(confirmed.len() > 2, "there was load");
    confirmed.push(pressed);
    bed.has_moved(&confirmed)
}

/// Whoever raises the mark holds it for as long as a write of it is waited for.
#[test]
fn a_move_waits_for_a_mark_that_is_being_written_to_a_silent_api_server() -> Result<()> {
    let bed = Bed::new("silent");
    let marks = |it: &Call| it.is_write() && it.resource == "configmaps";
    let silent = bed.line.api.add(Rule::on(marks).act(ApiAct::Swallow));
    bed.rig.start_replica("one");
    let stop = Arc::new(AtomicBool::new(false));
    let pressing = runtime().spawn(presses(bed.engine.url(), stop.clone(), "load"));
    let moving = bed.migrate()?;
    bed.comes_to("finishing")?;
    bed.is_unfinished()?;
    silent.lift();
    let ended = moving.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stdout);
    ensure!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    println!("{said}");
    stop.store(true, Ordering::SeqCst);
    bed.has_moved(&runtime().block_on(pressing)?)
}

#[test]
fn a_move_without_an_engine_ends_with_the_api_servers_trouble_and_goes_on_later() -> Result<()> {
    let bed = Bed::new("alone");
    bed.rig.start_replica("one");
    let http = reqwest::Client::new();
    let pressed = runtime().block_on(press(&http, &bed.engine.url(), "before", 0)).context("a pause")?;
    bed.engine.terminate();
    let (wired, path) = (bed.rig.folder().join("kubeconfig-one"), bed.path().display().to_string());
    let migrate = ["migrate", "--to", "nats", "--ledger", &path, "--server", NOWHERE];
    // Down from the first moment: nothing is closed, and the engine could go on.
    bed.line.api.refuse(true);
    let (code, said) = bed.ledger(&migrate, &wired);
    ensure!(code == 2 && said.contains("the high-water mark cannot be compared"), "{code}: {said}");
    bed.line.api.refuse(false);
    bed.rig.start_replica("one");
    bed.engine.terminate();
    // Down when the mark has to follow: both refuse to start, and the command says that it has to go on.
    let marks = |it: &Call| it.is_write() && it.resource == "configmaps";
    let refused = bed.line.api.add(Rule::on(marks).act(ApiAct::Refuse { status: 503, retry_after: None }));
    let (code, said) = bed.ledger(&migrate, &wired);
    ensure!(code == 2 && said.contains("nobody starts on either ledger"), "{code}: {said}");
    bed.is_unfinished()?;
    bed.engine.launch();
    let code = wait_until("a refused start", SOON, || bed.engine.exit_code())?;
    ensure!(code == 2 && bed.engine.said().contains("was moved to"), "{}", bed.engine.said());
    refused.lift();
    let (code, said) = bed.ledger(&migrate, &wired);
    ensure!(code == 0 && said.contains("from now on"), "{code}: {said}");
    bed.has_moved(&[pressed])
}
