//! What is told of the runs.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use super::Ended;
use super::action::{ACTIONS, Action};
use super::point::POINTS;
use super::run::{Case, HEIRS};

/// A line for a run that has ended; with the reason and the way to repeat it, if it failed.
pub(super) fn progress(ended: &Ended, count: usize, of: usize) {
    let Case { point, action, heir } = ended.case;
    match &ended.result {
        Ok(took) => {
            println!("{count:>4}/{of} ok    {:<22} {action:<9} {heir:<5} {:>5.1} s", point.name, took.as_secs_f64());
        }
        Err(error) => {
            println!("{count:>4}/{of} FAIL  {:<22} {action:<9} {heir:<5}", point.name);
            println!(
                "     {}\n     repeat: cargo xtask crash {}",
                format!("{error:#}").replace('\n', "\n     "),
                ended.case
            );
        }
    }
}

/// What would be run, and what does not apply.
pub(super) fn list(cases: &[Case]) {
    for point in POINTS {
        let count = cases.iter().filter(|it| it.point.name == point.name).count();
        println!("{:<22} {:<18} {count} runs", point.name, point.stands_for);
    }
    println!("{} runs", cases.len());
    println!("{}", reasons().join("\n"));
}

/// The combinations that do not exist, each with its reason.
pub(super) fn reasons() -> Vec<String> {
    let mut all: BTreeMap<&str, BTreeMap<Vec<String>, Vec<&str>>> = BTreeMap::new();
    for point in POINTS {
        let missing = |action: &Action| point.missing_for(*action).map(|why| (why, action.to_string()));
        let found: Vec<(&str, String)> = ACTIONS.iter().filter_map(missing).collect();
        if let Some((why, _)) = found.first() {
            let actions = found.iter().map(|(_, action)| action.clone()).collect();
            all.entry(why).or_default().entry(actions).or_default().push(point.name);
        }
    }
    let line = |why: &str, actions: &[String], points: &[&str]| {
        format!("not applicable: {} x {}: {why}", points.join(", "), actions.join(", "))
    };
    let lines =
        all.iter().flat_map(|(why, groups)| groups.iter().map(move |(actions, points)| line(why, actions, points)));
    lines.collect()
}

/// A table of points and actions; in each cell a letter for each heir: small when it held, large when it did not, a dash
/// when it was not run.
pub(super) fn summary(ended: &[Ended], took: Duration) -> ExitCode {
    let cell = |point: &str, action| -> String {
        let of =
            |heir| ended.iter().find(|it| (it.case.point.name, it.case.action, it.case.heir) == (point, action, heir));
        let letter = |heir: super::Heir| {
            let name = heir.to_string();
            let first = name.chars().next().unwrap_or('?');
            of(heir).map_or('-', |it| if it.result.is_ok() { first } else { first.to_ascii_uppercase() })
        };
        HEIRS.into_iter().map(letter).collect()
    };
    println!("\n{:<22} {}", "", ACTIONS.map(|it| format!("{it:<9}")).join(" "));
    for point in POINTS {
        let cells = ACTIONS.map(|action| match point.missing_for(action) {
            Some(_) => format!("{:<9}", "n/a"),
            None => format!("{:<9}", cell(point.name, action)),
        });
        if cells.iter().any(|it| it.trim() != "---" && it.trim() != "n/a") {
            println!("{:<22} {}", point.name, cells.join(" "));
        }
    }
    println!("s, o, b: the same, another, both took over; a capital letter failed, a dash was not run\n");
    println!("{}", reasons().join("\n"));
    let failed: Vec<&Ended> = ended.iter().filter(|it| it.result.is_err()).collect();
    println!("\n{} runs, {} failed, in {:.0} s", ended.len(), failed.len(), took.as_secs_f64());
    for it in &failed {
        println!("repeat: cargo xtask crash {}", it.case);
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
