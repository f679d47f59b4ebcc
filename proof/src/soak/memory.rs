//! Does memory grow?

use std::time::Duration;

use anyhow::{Context, Result};

/// What a fresh process takes until its caches and pools have their size; it is left out of the slope.
const WARM_UP: Duration = Duration::from_secs(60);

/// Resident memory of a process, in KiB.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process without memory")?;
    line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("reading {line:?}"))
}

/// Resident memory over time, in KiB.
#[derive(Debug, Default)]
pub(super) struct Memory(Vec<(Duration, u64)>);

impl Memory {
    /// One look at the process `pid`.
    pub(super) fn look(&mut self, at: Duration, pid: u32) -> Result<()> {
        self.add(at, resident(pid)?);
        Ok(())
    }

    fn add(&mut self, at: Duration, kib: u64) {
        self.0.push((at, kib));
    }

    /// The last look; 0 before the first.
    pub(super) fn newest(&self) -> u64 {
        self.0.last().map_or(0, |(_, kib)| *kib)
    }

    /// By least squares, in KiB a minute, of what came at `from` and later. Nothing for fewer than two looks.
    fn slope(&self, from: Duration) -> Option<f64> {
        let points: Vec<(f64, f64)> = self
            .0
            .iter()
            .filter(|(at, _)| *at >= from)
            .map(|(at, kib)| (at.as_secs_f64() / 60.0, as_float(*kib)))
            .collect();
        let count = as_float(points.len() as u64);
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|it| it.0), mean(|it| it.1));
        let spread: f64 = points.iter().map(|it| (it.0 - x).powi(2)).sum();
        let together: f64 = points.iter().map(|it| (it.0 - x) * (it.1 - y)).sum();
        (points.len() > 1 && spread > 0.0).then(|| together / spread)
    }

    /// Says it.
    pub(super) fn tell(&self) {
        let (Some((_, first)), Some((end, last))) = (self.0.first(), self.0.last()) else { return };
        let most = self.0.iter().map(|it| it.1).max().unwrap_or_default();
        println!("RSS        {first} KiB at the start, {last} KiB at the end, at most {most} KiB");
        for (name, from) in [("the first minute left out", WARM_UP), ("second half", *end / 2)] {
            if let Some(slope) = self.slope(from) {
                println!("RSS slope  {slope:+.1} KiB/min, {name}");
            }
        }
    }
}

/// Exact up to 2^53 KiB.
#[allow(clippy::cast_precision_loss, reason = "no process has that much memory")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_and_what_is_flat_has_none() {
        let (mut line, mut flat) = (Memory::default(), Memory::default());
        for second in 0..120 {
            line.add(Duration::from_secs(second), 1_000 + 5 * second);
            flat.add(Duration::from_secs(second), 1_000);
        }
        assert!((line.slope(Duration::ZERO).expect("a slope") - 300.0).abs() < 1e-6);
        assert!((line.slope(WARM_UP).expect("a slope") - 300.0).abs() < 1e-6);
        assert!(flat.slope(Duration::ZERO).expect("a slope").abs() < 1e-9);
        assert!(flat.slope(Duration::from_secs(119)).is_none(), "one point is no line");
    }
}
