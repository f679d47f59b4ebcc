//! The report: ratios against the limit, medians with minimum and maximum. Rows that lose stay in.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::decide::Taken;
use crate::plot;
use crate::start::Starts;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    /// Size of the set of policies.
    pub(crate) policies: usize,
    /// Whether traces are on.
    pub(crate) traces: bool,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} policies{}", self.policies, if self.traces { "" } else { ", traces off" })
    }
}

/// One measurement between two of the limit.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// The engine.
    pub(crate) taken: Taken,
    /// The limit before and after.
    pub(crate) limit: [Taken; 2],
}

impl Round {
    fn limit_rate(&self) -> f64 {
        f64::midpoint(self.limit[0].rate(), self.limit[1].rate())
    }

    fn ratio(&self) -> f64 {
        self.taken.rate() / self.limit_rate()
    }
}

/// A row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What it is about.
    pub(crate) variant: Variant,
    /// Its rounds.
    pub(crate) rounds: Vec<Round>,
}

impl Row {
    /// One that is empty yet.
    pub(crate) fn new(variant: Variant) -> Self {
        Self { variant, rounds: Vec::new() }
    }

    /// Why the row does not count, if it does not.
    pub(crate) fn void(&self) -> Option<String> {
        self.rounds.iter().find_map(|it| it.taken.void())
    }

    /// Something of each round.
    pub(crate) fn spread(&self, of: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(of))
    }
}

/// Median, least and most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    /// The one in the middle, or the mean of the two there.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The most.
    pub(crate) max: f64,
}

impl Spread {
    /// Of some figures.
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = figures.collect();
        all.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (all.first(), all.last()) else { return Self::default() };
        let median = f64::midpoint(all[(all.len() - 1) / 2], all[all.len() / 2]);
        Self { median, min: *min, max: *max }
    }
}

/// What each row with traces has to reach of the limit, and what it must never miss.
const GOAL: f64 = 0.90;
const FLOOR: f64 = 0.80;

/// Everything.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// When.
    pub(crate) at: Timestamp,
    /// On what.
    pub(crate) machine: String,
    /// The load average before and after.
    pub(crate) load: [String; 2],
    /// Signals of each measurement.
    pub(crate) signals: u64,
    /// The engine's rows.
    pub(crate) rows: Vec<Row>,
    /// Every measurement of the limit.
    pub(crate) limits: Vec<Taken>,
    /// Starts and idling, where they were measured.
    pub(crate) starts: Option<Starts>,
}

impl Report {
    /// As Markdown.
    pub(crate) fn to_markdown(&self) -> String {
        let mut lines = vec![format!(
            "Measured {} on {}.",
            self.at.strftime("%e %B %Y, %H:%M UTC").to_string().trim(),
            self.machine
        )];
        lines.push(self.conditions());
        lines.push(String::new());
        lines.push("| row | ratio to the limit | min – max | signals/s | CPU-µs a signal | its own | nats-server's | peak memory | delivered again | spans | of admissions |".into());
        lines.push("|---|---|---|---|---|---|---|---|---|---|---|".into());
        lines.push(self.limit_line());
        lines.extend(self.rows.iter().map(line));
        lines.push(String::new());
        lines
            .extend(self.rows.iter().filter_map(|row| Some(format!("**{} is void**: {}\n", row.variant, row.void()?))));
        lines.extend(self.verdicts());
        lines.extend(self.costs());
        lines.extend(self.starts.iter().map(Starts::to_markdown));
        lines.join("\n")
    }

    fn conditions(&self) -> String {
        let rounds = self.rows.first().map_or(0, |it| it.rounds.len());
        let others = Spread::of(self.rows.iter().flat_map(|it| &it.rounds).map(|it| 100.0 * it.taken.others_share()));
        format!(
            "{} signals, {rounds} rounds; load average {} before and {} after, other processes had {:.0} % of the machine ({:.0} to {:.0}).",
            self.signals, self.load[0], self.load[1], others.median, others.min, others.max
        )
    }

    fn limit_line(&self) -> String {
        let rate = Spread::of(self.limits.iter().map(Taken::rate));
        let [cpu, own, server] = cpu(self.limits.iter());
        let peak = self.limits.iter().map(|it| it.peak).max().unwrap_or(0) / 1024;
        let (low, high) = (rate.min / rate.median, rate.max / rate.median);
        format!(
            "| limit: acknowledges and does nothing | 1 | {low:.2} – {high:.2} | {:.0} | {cpu:.2} | {own:.2} | {server:.2} | {peak} MiB | | | |",
            rate.median
        )
    }

    /// G1: which rows keep the goal.
    fn verdicts(&self) -> Vec<String> {
        let judged = self.rows.iter().filter(|it| it.variant.traces && it.void().is_none());
        let verdict = |row: &Row| {
            let ratio = row.spread(Round::ratio).median;
            let how = match ratio {
                it if it >= GOAL => "kept",
                it if it >= FLOOR => "missed, above the floor",
                _ => "missed, below the floor",
            };
            format!("- {}: the goal of {GOAL:.2} of the limit (floor {FLOOR:.2}) is {how}: {ratio:.2}.", row.variant)
        };
        judged.map(verdict).collect()
    }

    /// G2 and G11: what more policies, and traces, cost on a processor. Compared within each round, where both ran side by side.
    fn costs(&self) -> Vec<String> {
        let own = |it: &Round| it.taken.cpu_micros().0;
        let Some((first, others)) = self.rows.split_first().filter(|(it, _)| it.void().is_none()) else {
            return Vec::new();
        };
        let cost = |row: &Row| {
            let pairs = row.rounds.iter().zip(&first.rounds);
            if row.variant.traces {
                let more = Spread::of(pairs.map(|(it, base)| 100.0 * (own(it) / own(base) - 1.0)));
                format!(
                    "- {} cost {} of the engine's CPU per signal with {}.",
                    row.variant,
                    percent(more),
                    first.variant
                )
            } else {
                let more = Spread::of(pairs.map(|(it, base)| 100.0 * (own(base) / own(it) - 1.0)));
                format!("- Traces cost {} of the engine's CPU per signal without.", percent(more))
            }
        };
        let mut lines: Vec<String> = others.iter().filter(|it| it.void().is_none()).map(cost).collect();
        lines.push(String::new());
        lines
    }
}

fn percent(it: Spread) -> String {
    format!("{:+.1} % ({:+.1} to {:+.1})", it.median, it.min, it.max)
}

fn line(row: &Row) -> String {
    let ratio = row.spread(Round::ratio);
    let rate = row.spread(|it| it.taken.rate());
    let [cpu, own, server] = cpu(row.rounds.iter().map(|it| &it.taken));
    let (spans, acting) = (row.spread(|it| it.taken.spans.0 as f64), row.spread(|it| it.taken.spans.1 as f64));
    let peak = row.rounds.iter().map(|it| it.taken.peak).max().unwrap_or(0) / 1024;
    let again = row.spread(|it| it.taken.again() as f64).median;
    format!(
        "| {} | {} | {:.2} – {:.2} | {:.0} | {cpu:.2} | {own:.2} | {server:.2} | {peak} MiB | {again:.0} | {:.0} | {:.0} |",
        row.variant,
        if row.void().is_some() { "void".to_owned() } else { format!("**{:.2}**", ratio.median) },
        ratio.min,
        ratio.max,
        rate.median,
        spans.median,
        acting.median
    )
}

/// Microseconds on a processor for each signal, medians: all, the process's own, and nats-server's.
fn cpu<'a>(taken: impl Iterator<Item = &'a Taken> + Clone) -> [f64; 3] {
    let of = |pick: fn((f64, f64)) -> f64| Spread::of(taken.clone().map(|it| pick(it.cpu_micros()))).median;
    [of(|it| it.0 + it.1), of(|it| it.0), of(|it| it.1)]
}

const BEGIN: &str = "<!-- decide: begin -->";
const END: &str = "<!-- decide: end -->";

/// Writes the report, the plot, and the page that shows both.
pub(crate) fn write(report: &Report) -> Result<()> {
    let folder = folder();
    let text = report.to_markdown();
    std::fs::create_dir_all(folder.join("results"))?;
    let name = format!("decide-{}", report.at.strftime("%Y-%m-%d"));
    std::fs::write(folder.join("results").join(format!("{name}.md")), format!("# Deciding\n\n{text}\n"))?;
    std::fs::write(folder.join("results").join(format!("{name}.svg")), plot::draw(&report.rows, &report.limits))?;
    let page = folder.join("README.md");
    let before = std::fs::read_to_string(&page).context("bench/README.md")?;
    let (head, rest) = before.split_once(BEGIN).context("the page has a place for the report")?;
    let (_, tail) = rest.split_once(END).context("the page has an end of that place")?;
    let picture = format!("![Rate over the number of policies](results/{name}.svg)");
    std::fs::write(&page, format!("{head}{BEGIN}\n{text}\n\n{picture}\n{END}{tail}"))?;
    Ok(())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_a_middle_and_two_ends() {
        let spread = |all: &[f64]| Spread::of(all.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(spread(&[]), Spread::default());
    }
}
