//! One engine process of a rig: how it is started, hurt, healed and ended. It does not know what the engine does.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use flyball_devcluster::{free_port, wait_until};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::SOON;

/// How a replica reaches its servers: straight, or through proxies of its own.
#[derive(Clone, Debug)]
pub struct Wires {
    /// `nats://HOST:PORT`.
    pub nats_url: String,
    /// The kubeconfig file.
    pub kubeconfig: PathBuf,
}

/// One `flyball run`. Every method may be called from any thread, so that a proxy can kill it between two messages.
#[derive(Debug)]
pub struct Replica {
    /// Its stable name, `--replica`.
    pub name: String,
    /// The port of its HTTP API.
    pub port: u16,
    /// Takes what it says on stderr, of all its starts.
    pub log: PathBuf,
    /// Its arguments, `run` first.
    pub arguments: Vec<OsString>,
    /// Environment beside ours.
    pub environment: Vec<(String, String)>,
    /// Bytes beyond which its next process can write no file: a disk that is full from the first moment.
    pub room: Mutex<Option<u64>>,
    child: Mutex<Option<Child>>,
}

impl Replica {
    /// One that does not run yet, with a port of its own.
    pub fn new(name: &str, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            port: free_port(),
            log,
            arguments: Vec::new(),
            environment: Vec::new(),
            room: Mutex::default(),
            child: Mutex::default(),
        }
    }

    /// Its command line.
    pub fn command(&self) -> Command {
        let mut command = match *self.room.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Command::new(crate::binary()),
            Some(bytes) => {
                let mut shell = Command::new("sh");
                // In blocks of 512 bytes; what is run by `exec` keeps the process id.
                let limit = format!("ulimit -S -f {}; exec \"$@\"", bytes / 512);
                shell.arg("-c").arg(limit).arg("sh").arg(crate::binary());
                shell
            }
        };
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        command
    }

    /// The address of its HTTP API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it without waiting for it.
    ///
    /// # Panics
    /// It runs already, or cannot be started.
    pub fn launch(&self) {
        let mut slot = self.lock();
        assert!(slot.is_none(), "replica {} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let child = self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        *slot = Some(child.expect("the engine starts"));
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().map(Child::id)
    }

    /// SIGKILL; returns when it is gone, and whether it ran.
    ///
    /// # Panics
    /// It cannot be killed.
    pub fn kill(&self) -> bool {
        let Some(mut child) = self.lock().take() else { return false };
        child.kill().expect("it can be killed");
        child.wait().expect("it has ended");
        true
    }

    /// SIGSTOP: its connections stay open and it answers nothing. Returns when it has stopped.
    ///
    /// # Panics
    /// It does not run, or does not stop.
    pub fn freeze(&self) {
        let slot = self.lock();
        let pid = pid(&slot, &self.name);
        kill_process(pid, Signal::STOP).expect("it takes a signal");
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let seen = wait_until("the replica to stop", SOON, || {
            ensure!(waitid(WaitId::Pid(pid), stopped)?.is_some(), "it still runs");
            Ok(())
        });
        seen.expect("it stops");
    }

    /// SIGCONT, after [`Replica::freeze`].
    ///
    /// # Panics
    /// It does not run.
    pub fn thaw(&self) {
        kill_process(pid(&self.lock(), &self.name), Signal::CONT).expect("it takes a signal");
    }

    /// SIGTERM, and waits for a clean end.
    ///
    /// # Panics
    /// It does not run, or ends with a failure.
    pub fn terminate(&self) {
        let mut child = self.lock().take().expect("the replica runs");
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::TERM).expect("it takes a signal");
        assert!(child.wait().expect("it has ended").success(), "a stop is no failure");
    }

    /// Fails with its last words when it has ended by itself.
    ///
    /// # Errors
    /// It does not run any more.
    pub fn ensure_running(&self) -> Result<()> {
        let mut slot = self.lock();
        let child = slot.as_mut().with_context(|| format!("replica {} was not started", self.name))?;
        let ended = child.try_wait().context("looking at the replica")?;
        ensure!(ended.is_none(), "replica {} has ended: {ended:?}\n{}", self.name, self.last_words(20));
        Ok(())
    }

    /// Its exit code, once it has ended by itself; it may be launched again then.
    ///
    /// # Errors
    /// It runs, or was ended by a signal.
    pub fn exit_code(&self) -> Result<i32> {
        let mut slot = self.lock();
        let child = slot.as_mut().with_context(|| format!("replica {} was not started", self.name))?;
        let ended = child.try_wait().context("looking at the replica")?;
        let ended = ended.with_context(|| format!("replica {} runs", self.name))?;
        *slot = None;
        ended.code().with_context(|| format!("replica {}: {ended}", self.name))
    }

    /// The file that is its ledger, where it was given one.
    pub fn ledger(&self) -> Option<String> {
        let at = self.arguments.iter().position(|it| it == "--ledger")?;
        self.arguments.get(at + 1).map(|it| it.to_string_lossy().into_owned())
    }

    /// What it has said on stderr, of all its starts.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its log, newest first.
    pub fn last_words(&self, lines: usize) -> String {
        self.said().lines().rev().take(lines).collect::<Vec<_>>().join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        // A panic while it was held left the slot as it was.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(mut child) = self.lock().take() {
            // It may have ended by itself; either way nothing is left behind.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pid(slot: &MutexGuard<'_, Option<Child>>, name: &str) -> Pid {
    Pid::from_child(slot.as_ref().unwrap_or_else(|| panic!("replica {name} does not run")))
}
