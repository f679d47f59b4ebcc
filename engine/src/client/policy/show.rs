//! `flyball policy show`: policies as they are meant, the defaults filled in.

use std::fmt::Write;

use flyball_core::history::History;

use super::{Answer, Trouble, load};
use crate::cli::policy::Show;
use crate::view::policy::{Policies, Policy, origins};

pub(super) fn run(args: &Show) -> Result<Answer, Trouble> {
    let set = load(&args.policies)?;
    let mut shown = Policies::of(&set, None, &History::default());
    if args.resolved {
        for (shown, it) in shown.policies.iter_mut().zip(set.policies()) {
            shown.origins = origins(it, &set.guardrails);
        }
    }
    if let Some(name) = &args.name {
        shown.policies.retain(|it| it.name == *name);
        if shown.policies.is_empty() {
            return Err(Trouble::Negative(format!("there is no policy {name} in {}", args.policies.display())));
        }
    }
    Ok(Answer::of(&shown, args.output, |it| it.policies.iter().map(block).collect::<Vec<_>>().join("\n")))
}

fn block(it: &Policy) -> String {
    let mut text = format!("{}   {}, priority {}\n", it.name, it.mode, it.priority);
    for (what, value) in it.fields() {
        let origin = it.origins.get(what).map(|it| format!("   ({it})")).unwrap_or_default();
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  {what:<14} {value}{origin}");
    }
    text
}
