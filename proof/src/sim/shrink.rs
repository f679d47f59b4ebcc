//! Cutting a failing plan down: as few operations, replicas and faults by chance as still break the same invariant.

use super::plan::{Plan, Thin};
use super::stage;

/// Runs that may be spent on one seed: some seconds.
const TRIES: usize = 400;

/// The thinnest plan that was found, of those that break `invariant`.
pub(super) fn shrink(seed: u64, invariant: &str) -> Thin {
    let mut search = Search { seed, invariant, left: TRIES };
    let mut best = Thin {
        keep: Some(Plan::draw(seed, &Thin::default()).ops.iter().map(|it| it.number).collect()),
        ..Thin::default()
    };
    let quiet = Thin { quiet: true, ..best.clone() };
    if search.fails(&quiet) {
        best = quiet;
    }
    let young = Thin { young: true, ..best.clone() };
    if search.fails(&young) {
        best = young;
    }
    for replicas in 1..5 {
        let fewer = Thin { replicas: Some(replicas), ..best.clone() };
        if search.fails(&fewer) {
            best = fewer;
            break;
        }
    }
    search.fewer_operations(best)
}

struct Search<'a> {
    seed: u64,
    invariant: &'a str,
    left: usize,
}

impl Search<'_> {
    fn fails(&mut self, thin: &Thin) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        stage::run(Plan::draw(self.seed, thin), false).violations.iter().any(|it| it.invariant == self.invariant)
    }

    /// Delta debugging: leaves out ever smaller pieces.
    fn fewer_operations(&mut self, mut best: Thin) -> Thin {
        let mut piece = best.keep.as_ref().map_or(0, Vec::len).div_ceil(2);
        while piece > 0 && self.left > 0 {
            let mut at = 0;
            while let Some(keep) = best.keep.clone().filter(|it| at < it.len()) {
                let end = (at + piece).min(keep.len());
                let rest: Vec<usize> = keep[..at].iter().chain(&keep[end..]).copied().collect();
                let fewer = Thin { keep: Some(rest), ..best.clone() };
                if self.fails(&fewer) {
                    best = fewer;
                } else {
                    at = end;
                }
            }
            piece /= 2;
        }
        best
    }
}
