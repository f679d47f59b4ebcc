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
        lines.push("| row | ratio to the limit | min – max | signals/s | CPU-µs a signal | of it nats-server | peak memory | delivered again | spans |".into());
        lines.push("|---|---|---|---|---|---|---|---|---|".into());
        lines.push(self.limit_line());
        lines.extend(self.rows.iter().map(line));
        lines.push(String::new());
        lines
            .extend(self.rows.iter().filter_map(|row| Some(format!("**{} is void**: {}\n", row.variant, row.void()?))));
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
        let cpu = Spread::of(self.limits.iter().map(|it| it.cpu_micros().0 + it.cpu_micros().1));
        let server = Spread::of(self.limits.iter().map(|it| it.cpu_micros().1));
        let peak = self.limits.iter().map(|it| it.peak).max().unwrap_or(0) / 1024;
        let (low, high) = (rate.min / rate.median, rate.max / rate.median);
        format!(
            "| limit: acknowledges and does nothing | 1 | {low:.2} – {high:.2} | {:.0} | {:.2} | {:.2} | {peak} MiB | | |",
            rate.median, cpu.median, server.median
        )
    }

    /// G2 and G11: what more policies, and traces, cost on a processor.
    fn costs(&self) -> Vec<String> {
        let own = |row: &Row| row.spread(|it| it.taken.cpu_micros().0).median;
        let Some(first) = self.rows.first() else { return Vec::new() };
        let mut lines = Vec::new();
        for row in self.rows.iter().skip(1) {
            let (base, this) = (own(first), own(row));
            let more = if row.variant.traces { this / base - 1.0 } else { base / this - 1.0 };
            lines.push(if row.variant.traces {
                format!(
                    "- {} cost {:+.1} % of the engine's CPU per signal with {}.",
                    row.variant,
                    100.0 * more,
                    first.variant
                )
            } else {
                format!("- Traces cost {:+.1} % of the engine's CPU per signal.", 100.0 * more)
            });
        }
        lines.push(String::new());
        lines
    }
}

fn line(row: &Row) -> String {
    let ratio = row.spread(Round::ratio);
    let rate = row.spread(|it| it.taken.rate());
    let cpu = row.spread(|it| it.taken.cpu_micros().0 + it.taken.cpu_micros().1);
    let server = row.spread(|it| it.taken.cpu_micros().1);
    let spans = row.spread(|it| it.taken.spans.0 as f64);
    let peak = row.rounds.iter().map(|it| it.taken.peak).max().unwrap_or(0) / 1024;
    let again = row.spread(|it| it.taken.again() as f64).median;
    format!(
        "| {} | **{:.2}** | {:.2} – {:.2} | {:.0} | {:.2} | {:.2} | {peak} MiB | {again:.0} | {:.0} |",
        row.variant, ratio.median, ratio.min, ratio.max, rate.median, cpu.median, server.median, spans.median
    )
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
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(spread(&[]), Spread::default());
    }
}
