//! Replicas of one engine: processes that are started, killed and counted. It knows nothing of what they do.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use flyball_devcluster::wait_until;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

use crate::rig::{Rig, SOON};

struct Replica {
    name: String,
    port: u16,
    child: Option<Child>,
}

/// The replicas of one engine. Dropping it ends them all.
pub(super) struct Fleet {
    cluster: String,
    nats_url: String,
    kubeconfig: PathBuf,
    folder: TempDir,
    replicas: Vec<Replica>,
}

impl Fleet {
    /// No replica yet, and the policies that all will have: file names with what is in them.
    pub(super) fn new(rig: &Rig, policies: &[(&str, String)]) -> Result<Self> {
        let folder = TempDir::new().context("a folder for the replicas")?;
        let at = folder.path().join("policies");
        fs::create_dir(&at)?;
        for (name, text) in policies {
            fs::write(at.join(name), text)?;
        }
        Ok(Self {
            cluster: rig.name.clone(),
            nats_url: rig.nats_url.clone(),
            kubeconfig: rig.kubeconfig.clone(),
            folder,
            replicas: Vec::new(),
        })
    }

    /// Starts a replica and waits until it is ready; the answer is its place.
    pub(super) fn add(&mut self, name: &str) -> Result<usize> {
        let place = self.replicas.len();
        self.replicas.push(Replica { name: name.to_owned(), port: flyball_devcluster::free_port(), child: None });
        self.launch(place)?;
        self.wait_ready(place)?;
        Ok(place)
    }

    /// The stable name of a replica.
    pub(super) fn name(&self, place: usize) -> &str {
        &self.replicas[place].name
    }

    /// Where the log of a replica is.
    fn log(&self, place: usize) -> PathBuf {
        self.folder.path().join(format!("{}.log", self.replicas[place].name))
    }

    /// Starts a replica without waiting for it.
    pub(super) fn launch(&mut self, place: usize) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log(place))?;
        let replica = &self.replicas[place];
        let child = Command::new(crate::binary())
            .args(["run", "--replica", &replica.name, "--cluster", &self.cluster, "--nats", &self.nats_url])
            .args(["--listen", &format!("127.0.0.1:{}", replica.port)])
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--policies")
            .arg(self.folder.path().join("policies"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", replica.name))?;
        self.replicas[place].child = Some(child);
        Ok(())
    }

    /// The process of a replica that runs.
    pub(super) fn pid(&self, place: usize) -> Result<u32> {
        let replica = &self.replicas[place];
        Ok(replica.child.as_ref().with_context(|| format!("{} does not run", replica.name))?.id())
    }

    /// SIGSTOP: it keeps its connections, and does nothing more. Returns when it stands still.
    pub(super) fn stop(&self, place: usize) -> Result<()> {
        let pid = i32::try_from(self.pid(place)?).ok().and_then(Pid::from_raw).context("a pid")?;
        kill_process(pid, Signal::STOP)?;
        wait_until("a replica to stand still", SOON, || {
            let options = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            ensure!(waitid(WaitId::Pid(pid), options)?.is_some(), "it still runs");
            Ok(())
        })
    }

    /// SIGKILL; returns when it is gone. One that had ended by itself before is an error.
    pub(super) fn kill(&mut self, place: usize) -> Result<()> {
        self.ensure_lives(place)?;
        if let Some(mut child) = self.replicas[place].child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Fails, with the end of its log, when a replica has ended by itself.
    pub(super) fn ensure_lives(&mut self, place: usize) -> Result<()> {
        let Some(child) = &mut self.replicas[place].child else { return Ok(()) };
        let Some(status) = child.try_wait()? else { return Ok(()) };
        let log = fs::read_to_string(self.log(place)).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(15).collect();
        anyhow::bail!("{} ended by itself ({status}); newest first:\n{}", self.replicas[place].name, tail.join("\n"))
    }

    /// Waits until a replica says that it is ready.
    pub(super) fn wait_ready(&self, place: usize) -> Result<()> {
        let replica = &self.replicas[place];
        let url = format!("http://127.0.0.1:{}/readyz", replica.port);
        let ask = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        wait_until(&format!("{} to be ready", replica.name), SOON, || {
            let answer = ask.block_on(reqwest::get(&url))?;
            ensure!(answer.status().is_success(), "{}", answer.status());
            Ok(())
        })
    }

    /// Everything runs and is ready.
    pub(super) fn heal(&mut self) -> Result<()> {
        for place in 0..self.replicas.len() {
            self.ensure_lives(place)?;
            if self.replicas[place].child.is_none() {
                self.launch(place)?;
            }
            self.wait_ready(place)?;
        }
        Ok(())
    }

    /// Resident memory of a replica, in KiB.
    pub(super) fn resident(&self, place: usize) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid(place)?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process without memory")?;
        line.trim().trim_end_matches(" kB").trim().parse().with_context(|| format!("reading {line:?}"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.replicas.iter_mut().filter_map(|it| it.child.as_mut()) {
            // It may have ended by itself; either way nothing is left behind.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
