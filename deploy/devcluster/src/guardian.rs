//! The guardian knows which processes must not outlive this one, and nothing else.
//!
//! A destructor does not run when a test is killed, aborts, or lives in a static. So each cluster has a small shell beside
//! it that reads the pids to watch from a pipe which we hold open. However we end, the kernel closes the pipe; the
//! shell then reads end of file, kills what is left and removes the folder.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

/// Ignores the signals a terminal sends to everybody: it has to be the last to go. The second `rm` is for a
/// killed process that was still writing during the first.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=' '
while read -r verb pid; do
    case $verb in
        watch) pids="$pids$pid " ;;
        forget) pids="${pids%% $pid *} ${pids#* $pid }" ;;
    esac
done
kill -9 $pids
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"#;

/// Ends the processes told to it, and removes their folder, as soon as this process is gone.
#[derive(Debug)]
pub struct Guardian {
    shell: Mutex<(Child, Option<ChildStdin>)>,
}

impl Guardian {
    /// Starts one for the processes that live in `folder`.
    pub fn start(folder: &Path) -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "flyball-guardian"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the guardian: sh")?;
        let pipe = shell.stdin.take();
        Ok(Self { shell: Mutex::new((shell, pipe)) })
    }

    /// From now on `pid` ends with us.
    pub(crate) fn watch(&self, pid: u32) -> Result<()> {
        self.tell("watch", pid)
    }

    /// `pid` has been reaped; the number may soon be somebody else's. Only for a pid that is watched.
    pub(crate) fn forget(&self, pid: u32) -> Result<()> {
        self.tell("forget", pid)
    }

    fn tell(&self, verb: &str, pid: u32) -> Result<()> {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = shell.1.as_mut().expect("the pipe is closed only on drop");
        // One write, shorter than a pipe's atomic size: the guardian never reads half a line.
        pipe.write_all(format!("{verb} {pid}\n").as_bytes())
            .with_context(|| format!("telling the guardian: {verb} {pid}"))
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let shell = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner);
        shell.1 = None;
        // Best effort: a guardian that somebody killed cannot be waited for again.
        let _ = shell.0.wait();
    }
}
