//! G10: the real program on a real API server: how long a start takes, what it holds and does while it idles, how large it is.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flyball_devcluster::{Cluster, Options, free_port};

use crate::load;
use crate::process::{self, Process};
use crate::report::Spread;

/// Sizes of the set of policies.
const POLICIES: [usize; 3] = [10, 1_000, 10_000];
/// Starts of each size.
const ROUNDS: usize = 5;
/// With so many policies it is left alone afterwards.
const IDLES_WITH: usize = 1_000;
/// How long it settles before it is looked at, and how long it is looked at.
const IDLE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(1);

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Starts {
    /// By size of the set: milliseconds until it listens, and until it is ready.
    took: Vec<(usize, Spread, Spread)>,
    /// Resident memory while it idles, in KiB.
    idle_memory: u64,
    /// Share of one processor while it idles.
    idle_cpu: f64,
    /// Bytes of the program.
    size: u64,
}

impl Starts {
    /// As Markdown.
    pub(crate) fn to_markdown(&self) -> String {
        let mut lines = vec![
            "| start of `flyball run` on a real API server | exec to listening: policies loaded, ledger folded | exec to ready: watches synced, too |".to_owned(),
            "|---|---|---|".to_owned(),
        ];
        let cell = |it: &Spread| format!("{:.0} ms ({:.0} – {:.0})", it.median, it.min, it.max);
        lines.extend(self.took.iter().map(|(policies, listens, ready)| {
            format!("| {policies} policies | {} | {} |", cell(listens), cell(ready))
        }));
        lines.push(format!(
            "\nIdle with {IDLES_WITH} policies after {} s: {} MiB resident, {:.2} % of one processor. The program has {:.1} MB, stripped.",
            IDLE.0.as_secs(),
            self.idle_memory / 1024,
            100.0 * self.idle_cpu,
            self.size as f64 / 1e6
        ));
        lines.join("\n")
    }
}

/// Measures it.
pub(crate) fn measure(nats: &str, folder: &Path) -> Result<Starts> {
    let binary = binary()?;
    let cluster = Cluster::start(&Options::default())?;
    let mut starts = Starts { size: std::fs::metadata(&binary)?.len(), ..Starts::default() };
    for policies in POLICIES {
        let at = folder.join(format!("start-{policies}"));
        std::fs::create_dir_all(&at)?;
        for (name, text) in load::policies(policies) {
            std::fs::write(at.join(name), text)?;
        }
        let (mut listens, mut ready) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let log = folder.join(format!("start-{policies}-{round}.log"));
            let port = free_port();
            let begun = Instant::now();
            let mut command = Command::new(&binary);
            command.args(["run", "--cluster", "starts", "--replica", "one", "--nats", nats]);
            command.arg("--kubeconfig").arg(cluster.kubeconfig()).arg("--policies").arg(&at);
            command.args(["--listen", &format!("127.0.0.1:{port}")]);
            let mut process = Process::start(&mut command, &log)?;
            listens.push(until(&mut process, begun, || Ok(std::fs::read_to_string(&log)?.contains("Listens on")))?);
            ready.push(until(&mut process, begun, || is_ready(port))?);
            if policies == IDLES_WITH && round + 1 == ROUNDS {
                (starts.idle_memory, starts.idle_cpu) = idle(&process)?;
            }
            process.terminate()?;
        }
        let spread = |all: &[Duration]| Spread::of(all.iter().map(|it| it.as_secs_f64() * 1e3));
        starts.took.push((policies, spread(&listens), spread(&ready)));
    }
    Ok(starts)
}

fn idle(process: &Process) -> Result<(u64, f64)> {
    std::thread::sleep(IDLE.0);
    let memory = process::memory(process.pid(), "VmRSS")?;
    let before = process::cpu(process.pid())?;
    std::thread::sleep(IDLE.1);
    let spent = process::cpu(process.pid())?.saturating_sub(before);
    Ok((memory, spent.as_secs_f64() / IDLE.1.as_secs_f64()))
}

fn until(process: &mut Process, begun: Instant, done: impl Fn() -> Result<bool>) -> Result<Duration> {
    while !done()? {
        process.ensure_running()?;
        ensure!(begun.elapsed() < PATIENCE, "it did not start in time");
        std::thread::sleep(LOOK);
    }
    Ok(begun.elapsed())
}

fn is_ready(port: u16) -> Result<bool> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).context("asking whether it is ready")?;
    socket.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// The real program, built as we are.
fn binary() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("bench/ lies in the root")?;
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(root).args(["build", "--quiet", "-p", "flyball", "--bin", "flyball"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    ensure!(build.status()?.success(), "flyball is built");
    Ok(std::env::current_exe()?.with_file_name("flyball"))
}
