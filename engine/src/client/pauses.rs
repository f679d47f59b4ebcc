//! The stop button, from the command line.

use jiff::SignedDuration;

use super::api::Api;
use super::{Answer, Trouble};
use crate::cli;
use crate::view::pause::{NewPause, Pause, Scope};
use crate::view::time;

impl From<cli::Scope> for Scope {
    fn from(it: cli::Scope) -> Self {
        Self { all: it.all.then_some(true), namespace: it.namespace, target: it.target.map(|it| it.to_string()) }
    }
}

pub(super) async fn pause(args: cli::Pause) -> Result<Answer, Trouble> {
    let lasting = args.lasting.map(|it: SignedDuration| it.to_string());
    let asked = NewPause { scope: args.scope.into(), reason: args.reason, lasting, by: args.by };
    let pause = Api::new(&args.connection)?.pause(&asked).await?;
    let until = match pause.until {
        Some(until) => format!("until {}", time::moment(until, pause.since)),
        None => "until it is released".to_owned(),
    };
    let aside = format!("{} is paused {until}; nothing is on its way any more.\n", pause.scope.word());
    Ok(Answer::of(&pause, args.output, |it| format!("pause/{} created\n", it.id)).beside(aside))
}

pub(super) async fn resume(args: cli::Resume) -> Result<Answer, Trouble> {
    let api = Api::new(&args.connection)?;
    let by = args.by.as_deref();
    let released = match &args.id {
        // Both `p-1a2b3c4d` and what `pause` printed.
        Some(id) => api.resume(id.strip_prefix("pause/").unwrap_or(id), by).await?,
        None => api.resume_scope(&Scope::from(args.scope.clone()).word(), by).await?,
    };
    Ok(Answer::of(&released, args.output, |it| {
        let line = |pause: &Pause| format!("pause/{} released, {} suppressed\n", pause.id, pause.suppressed);
        it.pauses.iter().map(line).collect()
    }))
}
