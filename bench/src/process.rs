//! A measured process: how it is started and ended, what it has cost.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// A child that ends with its owner.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`; what it prints goes to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log).context("a log file")?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        Ok(Self { child: child.context("starting a process")? })
    }

    /// This program again, with a hidden command.
    pub(crate) fn again(arguments: &[&str], environment: &[(String, String)], log: &Path) -> Result<Self> {
        let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
        let mut command = Command::new(std::env::current_exe()?);
        Self::start(command.args(arguments).envs(environment.iter().cloned()), log)
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails when it has ended.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "a process has ended: {ended:?}");
        Ok(())
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn terminate(mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        }
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Time on a processor since it began, user and system, to the 10 ms that the kernel tells.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("a process's figures")?;
    let (_, after) = stat.rsplit_once(") ").context("a process's figures")?;
    let fields: Vec<&str> = after.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis(10 * (ticks(11) + ticks(12))))
}

/// A figure of `/proc/<pid>/status` in KiB: `VmHWM`, the most memory that it ever held, or `VmRSS`.
pub(crate) fn memory(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("a process's figures")?;
    let line = status.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(':')).context("a process's memory")?;
    Ok(line.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(0))
}

/// Time that the machine's processors were busy since it began, whoever for.
pub(crate) fn machine_cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("the machine's figures")?;
    let fields: Vec<u64> =
        stat.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|it| it.parse().ok()).collect();
    // All but idle and iowait; guest time is part of user time.
    let busy: u64 = fields.iter().take(8).enumerate().filter(|(at, _)| *at != 3 && *at != 4).map(|(_, it)| it).sum();
    Ok(Duration::from_millis(10 * busy))
}
