//! What the rows about a lost or damaged ledger share: an engine that has acted, and how it has to behave afterwards.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use async_nats::jetstream::stream::{Config, Info};
use flyball_core::record::Record;
use flyball_core::workload::Workload as Target;
use flyball_devcluster::{AuditEntry, AuditLog, Cluster, NatsOptions, NatsServer};

use super::bed::{lawful, once, prepared, slow};
use crate::judge::is_ours;
use crate::rig::Rig;

/// How long nothing must happen: several times what a signal takes to its effect.
pub(super) const QUIET: Duration = Duration::from_secs(2);

/// An engine on servers of its own. It has acted on `cart` once, and has never heard of `web`.
pub(super) struct Bed {
    /// Dropped first.
    pub(super) rig: Rig,
    /// Its server.
    pub(super) nats: NatsServer,
    /// Was acted on.
    pub(super) cart: Target,
    /// Was not.
    pub(super) web: Target,
    /// The audit log from the damage on.
    since: AuditLog,
}

impl Bed {
    /// One whose ledger is a stream.
    pub(super) fn stream(row: &str) -> Self {
        Self::on(row, NatsServer::start().expect("a nats-server"))
    }

    /// One on a server with additions to its configuration.
    pub(super) fn with(row: &str, options: &NatsOptions) -> Self {
        Self::on(row, NatsServer::start_with(options).expect("a nats-server"))
    }

    /// One whose ledger is a file.
    pub(super) fn file(row: &str, nats: NatsServer) -> Self {
        let mut rig = prepared(Rig::on(row, Cluster::shared(), &nats.url()));
        let path = rig.folder().join("ledger");
        rig.arguments = vec!["--ledger".into(), path.into()];
        Self::of(rig, nats)
    }

    fn on(row: &str, nats: NatsServer) -> Self {
        Self::of(prepared(Rig::on(row, Cluster::shared(), &nats.url())), nats)
    }

    fn of(rig: Rig, nats: NatsServer) -> Self {
        let (cart, web) = (slow(&rig, "cart"), slow(&rig, "web"));
        let mut bed = Self { since: rig.audit.clone(), rig, nats, cart, web };
        bed.rig.start();
        bed.rig.rca("cart", "w1", "memory_leak");
        once(&bed.rig, &bed.cart);
        bed
    }

    /// From here on `writes` counts: what comes after the damage.
    pub(super) fn watch(&mut self) {
        self.since = self.rig.cluster.audit().from_now().expect("an audit log");
    }

    /// The ledger is a new one, so its entries are held against what came after the damage, and nothing else.
    pub(super) fn forget(&mut self) {
        self.rig.audit = self.since.clone();
    }

    /// The engine starts, which writes an entry, and raises the mark soon after: what no mark knows of is missed by nobody.
    pub(super) fn starts_and_is_marked(&mut self) {
        let before = self.rig.mark().expect("the mark");
        self.rig.start();
        self.rig.eventually("the mark to be raised", || {
            ensure!(self.rig.mark()? != before, "not yet");
            Ok(())
        });
    }

    /// What our engines asked of the API server since then that would change a workload.
    pub(super) fn writes(&self) -> Vec<AuditEntry> {
        let here = |it: &AuditEntry| is_ours(it) && it.namespace == self.rig.namespace;
        self.since.find(here).expect("the audit log")
    }

    /// As [`not_ready`].
    pub(super) fn not_ready(&self, words: &[&str]) {
        not_ready(&self.rig, words);
    }

    /// Publishes a signal that a healthy engine would act on, and shows that nothing comes of it.
    pub(super) fn does_nothing(&self) {
        self.rig.rca("web", "w1", "memory_leak");
        self.stays_quiet();
    }

    /// Shows that nothing is asked of the API server.
    pub(super) fn stays_quiet(&self) {
        // The absence of something has no event to wait for.
        std::thread::sleep(QUIET);
        assert!(self.writes().is_empty(), "{:#?}", self.writes());
    }

    /// As [`ends`].
    pub(super) fn ends(&self, words: &[&str]) {
        ends(&self.rig, words);
    }

    /// Waits until the engine has said that it will not work on this ledger: it ends with the reason, or waits in quarantine and is
    /// then killed.
    pub(super) fn refuses(&mut self) {
        let replica = self.rig.replica("one").clone();
        let ended = self.rig.eventually("it to refuse the ledger", || {
            if let Ok(code) = replica.exit_code() {
                return Ok(Some(code));
            }
            let error = self.rig.get("/readyz").err().map(|it| it.to_string()).unwrap_or_default();
            ensure!(error.contains("flyball ledger accept"), "{error}");
            Ok(None)
        });
        match ended {
            Some(code) => assert_eq!(code, 2, "{}", self.rig.last_words()),
            None => self.rig.kill(),
        }
    }

    /// `flyball ledger …` on this ledger: its exit code and what it says.
    pub(super) fn ledger(&self, arguments: &[&str]) -> (i32, String) {
        let kubeconfig = self.rig.kubeconfig.display().to_string();
        let place = ["--cluster", &self.rig.name, "--kubeconfig", &kubeconfig];
        let own = self.rig.replica("one").ledger();
        let at = own.as_deref().map_or(["--nats", &self.rig.nats_url], |path| ["--ledger", path]);
        let all = [["ledger"].as_slice(), arguments, &place, &at].concat();
        let (code, out, err) = self.rig.flyball(&all);
        (code, out + &err)
    }

    /// `verify` finds each of these wrong.
    pub(super) fn is_found_wrong(&self, words: &[&str]) {
        let (code, said) = self.ledger(&["verify"]);
        assert_eq!(code, 1, "{said}");
        for word in words {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    }

    /// An operator takes what is there.
    pub(super) fn accept(&self) {
        let (code, said) = self.ledger(&["accept", "--reason", "INC-4411"]);
        assert_eq!(code, 0, "{said}");
    }

    /// The engine, accepted, becomes ready; what waited is done, once; every effect since the damage has its entry, and the
    /// word of the operator is on the ledger.
    pub(super) fn goes_on(&mut self) {
        self.rig.wait_ready();
        self.helped();
        let accepted =
            |it: &flyball_core::record::Entry| matches!(&it.record, Record::Accepted(it) if it.reason == "INC-4411");
        assert!(self.rig.entries().iter().any(accepted), "who accepted it is written down");
        if self.rig.replica("one").ledger().is_some() {
            // A file has one process.
            self.rig.terminate();
        }
        let (code, said) = self.ledger(&["verify"]);
        assert_eq!(code, 0, "{said}");
    }

    /// What waited is done, once.
    pub(super) fn helped(&self) {
        once(&self.rig, &self.web);
        lawful(&self.rig);
    }

    /// Where the server keeps the ledger's blocks.
    pub(super) fn blocks(&self) -> PathBuf {
        let name = format!("FLYBALL_LEDGER_{}", self.rig.name);
        self.nats.store().join("jetstream/$G/streams").join(name).join("msgs")
    }

    /// A copy of everything that the server keeps, taken while it is down.
    pub(super) fn copy(&self) -> PathBuf {
        let kept = self.rig.folder().join("copy");
        copied(&self.nats.store(), &kept);
        kept
    }

    /// Puts a copy in the place of what the server keeps, while it is down.
    pub(super) fn restore(&self, copy: &Path) {
        std::fs::remove_dir_all(self.nats.store()).expect("the store goes");
        copied(copy, &self.nats.store());
    }

    /// As [`found`].
    pub(super) fn found(&self) -> Option<Info> {
        found(&self.rig)
    }

    /// Somebody else deletes it.
    pub(super) fn delete_stream(&self) {
        let name = format!("FLYBALL_LEDGER_{}", self.rig.name);
        self.rig.runtime.block_on(async {
            self.rig.jetstream().await.delete_stream(name).await.expect("deleted");
        });
    }

    /// Somebody else changes how it is configured.
    pub(super) fn configure(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.found().expect("a ledger").config;
        change(&mut config);
        self.rig.runtime.block_on(async {
            self.rig.jetstream().await.update_stream(&config).await.expect("configured");
        });
    }
}

fn copied(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("cp runs").success(), "a copy of {}", from.display());
}

/// The ledger's stream as the server tells it; none when there is none.
pub(super) fn found(rig: &Rig) -> Option<Info> {
    rig.runtime.block_on(async {
        let found = rig.jetstream().await.get_stream(format!("FLYBALL_LEDGER_{}", rig.name)).await;
        found.ok().map(|it| it.cached_info().clone())
    })
}

/// Waits until the engine says each of `words` in `/readyz` and in its log, and is alive.
pub(super) fn not_ready(rig: &Rig, words: &[&str]) {
    rig.eventually(&format!("readiness to say {words:?}"), || {
        rig.replica("one").ensure_running()?;
        let Err(error) = rig.get("/readyz") else { anyhow::bail!("it is ready") };
        let (said, log) = (error.to_string(), rig.replica("one").said());
        ensure!(said.contains("503"), "{said}");
        for word in words {
            ensure!(said.contains(word), "{word} is not in: {said}");
            ensure!(log.contains(word), "{word} is not in the log");
        }
        Ok(())
    });
    rig.get("/healthz").expect("it is alive: nobody is to restart it");
}

/// Waits until the engine has ended by itself, and said why.
pub(super) fn ends(rig: &Rig, words: &[&str]) {
    let replica = rig.replica("one");
    let code = rig.eventually("it to end", || replica.exit_code());
    assert_eq!(code, 2, "{}", rig.last_words());
    let log = replica.said();
    let last: String = log.lines().rev().take(3).collect();
    for word in words {
        assert!(last.contains(word), "{word} is not in: {last}");
    }
}
