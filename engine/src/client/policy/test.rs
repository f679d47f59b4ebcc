//! `flyball policy test`: cases beside the policies, through the real core, in virtual time.

mod cases;
mod report;
mod run;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Instant;

use super::{Answer, Trouble};
use crate::cli::policy::{Test, TestForm};
use report::{Ended, Totals};

pub(super) fn run(args: &Test) -> Result<Answer, Trouble> {
    let cases = cases::all(&args.paths).map_err(Trouble::Unusable)?;
    let wanted = |name: &str| args.run.as_deref().is_none_or(|it| name.contains(it));
    let (mut ended, mut totals) = (Vec::new(), Totals::default());
    for case in cases.iter().filter(|it| wanted(&it.name)) {
        let began = Instant::now();
        let seen = run::run(case);
        let failures = run::compare(case, &seen);
        totals.met(case, &seen);
        ended.push(Ended {
            file: case.file.display().to_string(),
            name: case.name.clone(),
            failures,
            took: began.elapsed(),
        });
    }
    let failed = ended.iter().filter(|it| !it.failures.is_empty()).count();
    let passed = ended.len() - failed;
    let untested: BTreeSet<String> = totals.untested();
    let percent = totals.percent();
    let too_little = args.threshold.is_some_and(|least| percent < u32::from(least));
    let result = match args.form {
        TestForm::Text => report::text(&ended, args.coverage.then_some(&totals)),
        TestForm::Json => report::json(&ended, &totals),
        TestForm::Junit => report::junit(&ended),
    };
    let mut aside = format!("{passed} passed, {failed} failed, {percent} % of the policies met\n");
    if ended.is_empty() {
        aside.push_str("there was no case to run\n");
    }
    if too_little {
        let names = untested.into_iter().collect::<Vec<_>>().join(", ");
        // Writing into a String cannot fail.
        let _ = writeln!(aside, "fewer than wanted; not met: {names}");
    }
    let negative = failed > 0 || too_little || (ended.is_empty() && args.require_tests);
    Ok(Answer { result, aside, negative, warned: false })
}
