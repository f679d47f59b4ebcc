//! Cancel and resolve, from the command line.

use super::api::Api;
use super::{Answer, Trouble};
use crate::cli;
use crate::view::hand::{Because, Resolve};
use crate::view::why::Why;

pub(super) async fn cancel(args: cli::Cancel) -> Result<Answer, Trouble> {
    let why = Api::new(&args.connection)?.cancel(&args.id, &Because { reason: args.reason, by: args.by }).await?;
    Ok(Answer::of(&why, args.output, ended))
}

pub(super) async fn resolve(args: cli::Resolve) -> Result<Answer, Trouble> {
    let word = Resolve { end: args.end, reason: args.reason, by: args.by };
    let why = Api::new(&args.connection)?.resolve(&args.id, &word).await?;
    Ok(Answer::of(&why, args.output, ended))
}

fn ended(why: &Why) -> String {
    let detail = why.detail.as_deref().unwrap_or_default();
    format!("decision/{} {}: {detail}\n", why.decision.id, why.decision.result)
}
