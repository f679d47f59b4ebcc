//! One server process: how it is started, hurt, healed and ended. It does not know what the server serves.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::guardian::Guardian;
use crate::wait::wait_until;

/// A server that was asked to leave gets this long before it is made to.
const GRACE: Duration = Duration::from_secs(10);

/// Waits for a line before it becomes the server. Without it, a death between our fork and our word to the guardian
/// would leave a server that nobody watches; with it, that death closes the pipe and the server never starts.
const GATE: &str = r#"read -r go && exec "$@""#;

/// What to run, the same at every start.
#[derive(Debug, Clone)]
pub struct Program {
    /// How it is called in errors.
    pub name: String,
    /// The binary.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Takes what it prints, of all starts.
    pub log: PathBuf,
}

/// A running program, or one that was ended and may be restarted.
#[derive(Debug)]
pub struct Server {
    program: Program,
    guardian: Arc<Guardian>,
    child: Mutex<Option<Child>>,
}

impl Server {
    /// Starts `program` under `guardian`. That it answers is for the caller to find out.
    pub fn start(program: Program, guardian: Arc<Guardian>) -> Result<Self> {
        let server = Self { program, guardian, child: Mutex::new(None) };
        *server.lock() = Some(server.spawn()?);
        Ok(server)
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let mut child = self.lock();
        self.reap(&mut child);
        child.as_ref().map(Child::id)
    }

    /// SIGKILL; returns when it is gone. Nothing happens when it was not running.
    pub fn kill(&self) -> Result<()> {
        let mut slot = self.lock();
        let Some(mut child) = slot.take() else { return Ok(()) };
        child.kill().and_then(|()| child.wait()).with_context(|| format!("killing {}", self.program.name))?;
        self.guardian.forget(child.id())
    }

    /// SIGSTOP: the process stays, its connections stay open, and nothing answers. Returns when it has stopped, which the
    /// signal alone does not wait for.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        wait_until(&format!("{} to stop", self.program.name), GRACE, || {
            let seen = waitid(WaitId::Pid(self.raw_pid()?), stopped)?;
            ensure!(seen.is_some(), "it still runs");
            Ok(())
        })
    }

    /// SIGCONT, after [`Server::stop`].
    pub fn cont(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM, and SIGKILL to one that will not listen; returns when it is gone.
    pub fn terminate(&self) -> Result<()> {
        if self.pid().is_none() {
            return Ok(());
        }
        self.signal(Signal::TERM)?;
        // A stopped process takes no notice before it goes on.
        self.signal(Signal::CONT)?;
        let left = wait_until("its end", GRACE, || {
            ensure!(self.pid().is_none(), "{} still runs", self.program.name);
            Ok(())
        });
        left.or_else(|_| self.kill())
    }

    /// Starts it again with the same arguments, ending it first when it runs.
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        *self.lock() = Some(self.spawn()?);
        Ok(())
    }

    /// Fails, with the end of the log, when the process has ended.
    pub fn ensure_running(&self) -> Result<()> {
        ensure!(self.pid().is_some(), "{} has ended; its log ends with:\n{}", self.program.name, self.log_tail(15));
        Ok(())
    }

    /// The last lines it printed.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = fs::read(&self.program.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn spawn(&self) -> Result<Child> {
        let Program { name, path, args, log } = &self.program;
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        let mut child = Command::new("sh")
            .args(["-c", GATE, name.as_str()])
            .arg(path)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(out.try_clone()?)
            .stderr(out)
            // A Ctrl-C at the terminal is for us to act on, in our order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        self.guardian.watch(child.id())?;
        let mut gate = child.stdin.take().expect("stdin is piped");
        gate.write_all(b"go\n").with_context(|| format!("letting {name} go"))?;
        Ok(child)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.raw_pid()?, signal).with_context(|| format!("sending {signal:?} to {}", self.program.name))
    }

    fn raw_pid(&self) -> Result<Pid> {
        let pid = self.pid().with_context(|| format!("{} is not running", self.program.name))?;
        Ok(i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a child's pid is a positive i32"))
    }

    /// Forgets a process that ended by itself.
    fn reap(&self, slot: &mut Option<Child>) {
        let Some(child) = slot else { return };
        if let Ok(Some(_)) = child.try_wait() {
            let pid = child.id();
            *slot = None;
            // A guardian that is gone guards nothing; the next start will say so.
            let _ = self.guardian.forget(pid);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Best effort: what cannot be killed here is left to the guardian.
        let _ = self.kill();
    }
}
