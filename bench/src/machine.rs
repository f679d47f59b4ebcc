//! What it was measured on: what a reader needs to compare, and nothing that names the machine.

use std::fs;

/// Processors that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The load average.
pub(crate) fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Cores, processor, memory, kernel, versions.
pub(crate) fn describe() -> String {
    let of = |path: &str, field: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|it| it.starts_with(field)).unwrap_or_default();
        line.split_once(':').map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel: String = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    let memory = of("/proc/meminfo", "MemTotal");
    let kilobytes: u64 = memory.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(0);
    format!(
        "{} cores ({}), {} GiB, Linux {kernel}, flyball {} ({} build), nats-server as pinned in `deploy/devcluster/tools/go.mod`, \
         default fsync, file storage, loopback",
        cores(),
        of("/proc/cpuinfo", "model name"),
        kilobytes / (1 << 20),
        env!("CARGO_PKG_VERSION"),
        if cfg!(debug_assertions) { "dev" } else { "release" },
    )
}
