//! The commands that talk to a running engine. Results go to stdout, everything else to stderr; the exit code says how it
//! went.

mod api;
mod explain;
mod hands;
mod ledger;
mod nats;
mod pauses;
mod policy;
mod progress;
mod signal;
mod table;
mod trouble;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

pub use trouble::Trouble;

use crate::cli::ledger::Ledger;
use crate::cli::{ClientCommand, Form, Get, GetDecisions, Output};
use crate::view::Verdict;

use api::Api;

/// What a command has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The result, for stdout.
    pub result: String,
    /// What goes beside it, for stderr.
    pub aside: String,
    /// Whether the answer is a negative one.
    pub negative: bool,
    /// Whether it is none, and warnings count.
    pub warned: bool,
}

impl Answer {
    /// A value in the form asked for; `text` makes the one for people.
    fn of<T: Serialize>(value: &T, output: Output, text: impl FnOnce(&T) -> String) -> Self {
        let result = match output.form {
            Form::Text => text(value),
            // Views are maps of texts and numbers: they always serialise.
            Form::Json => serde_json::to_string_pretty(value).unwrap_or_default() + "\n",
            Form::Yaml => serde_saphyr::to_string(value).unwrap_or_default(),
        };
        Self { result, ..Self::default() }
    }

    fn beside(self, aside: impl Into<String>) -> Self {
        Self { aside: aside.into(), ..self }
    }
}

/// Runs a command to its end.
pub fn run(command: ClientCommand) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tell(Err(Trouble::Unusable(format!("starting: {error}")))),
    };
    tell(runtime.block_on(answer(command)))
}

/// What a command comes to.
///
/// # Errors
/// It could not be asked, or the engine refused to answer.
pub async fn answer(command: ClientCommand) -> Result<Answer, Trouble> {
    let now = Timestamp::now();
    match command {
        ClientCommand::Get(Get::Decisions(GetDecisions { verdict, which })) => {
            let found = Api::new(&which.connection)?.decisions(&which, verdict).await?;
            let none = if found.decisions.is_empty() { "No decisions found.\n" } else { "" };
            Ok(Answer::of(&found, which.output, |it| table::decisions(it, now)).beside(none))
        }
        ClientCommand::Get(Get::Actions(args)) => {
            let found = Api::new(&args.connection)?.decisions(&args, Some(Verdict::Acted)).await?;
            let none = if found.decisions.is_empty() { "No actions found.\n" } else { "" };
            Ok(Answer::of(&found, args.output, |it| table::actions(it, now)).beside(none))
        }
        ClientCommand::Get(Get::Pauses(args)) => {
            let found = Api::new(&args.connection)?.pauses().await?;
            let none = if found.pauses.is_empty() { "No pauses in force.\n" } else { "" };
            Ok(Answer::of(&found, args.output, |it| table::pauses(it, now)).beside(none))
        }
        ClientCommand::Get(Get::Policies(args)) => {
            let found = Api::new(&args.connection)?.policies().await?;
            let aside = match &found.error {
                Some(error) => format!("warning: a newer set is not in force: {error}\n"),
                None if found.policies.is_empty() => "No policies in force.\n".to_owned(),
                None => String::new(),
            };
            Ok(Answer::of(&found, args.output, table::policies).beside(aside))
        }
        ClientCommand::Why(args) => {
            let why = Api::new(&args.connection)?.why(&args.id).await?;
            let paint = explain::Paint::new(colours());
            Ok(Answer::of(&why, args.output, |it| explain::why(it, now, paint)))
        }
        ClientCommand::Pause(args) => pauses::pause(args).await,
        ClientCommand::Resume(args) => pauses::resume(args).await,
        ClientCommand::Cancel(args) => hands::cancel(args).await,
        ClientCommand::Resolve(args) => hands::resolve(args).await,
        ClientCommand::Ledger(Ledger::Verify(args)) => ledger::verify(args).await,
        ClientCommand::Ledger(Ledger::Accept(args)) => ledger::accept(args).await,
        ClientCommand::Ledger(Ledger::Export(args)) => ledger::export(args).await,
        ClientCommand::Ledger(Ledger::Import(args)) => ledger::import(args).await,
        ClientCommand::Ledger(Ledger::Migrate(args)) => ledger::migrate(args).await,
        ClientCommand::Signal(command) => signal::run(command).await,
        ClientCommand::Policy(command) => policy::run(command).await,
        ClientCommand::Schema(args) => Ok(policy::schema(&args)),
    }
}

/// Whether people read this, and want colours.
fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    !unwanted && std::io::stdout().is_terminal()
}

fn tell(answer: Result<Answer, Trouble>) -> ExitCode {
    let answer = match answer {
        Ok(answer) => answer,
        Err(trouble) => {
            // A closed stderr has nobody to tell.
            let _ = writeln!(std::io::stderr(), "error: {trouble}");
            return ExitCode::from(trouble.exit_code());
        }
    };
    let _ = std::io::stderr().write_all(answer.aside.as_bytes());
    // A reader that has seen enough (`| head`) closes the pipe: that is no fault.
    let _ = std::io::stdout().write_all(answer.result.as_bytes());
    match answer {
        Answer { negative: true, .. } => ExitCode::from(1),
        Answer { warned: true, .. } => ExitCode::from(3),
        _ => ExitCode::SUCCESS,
    }
}
