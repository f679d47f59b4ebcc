//! Policies as code: linted, matched, shown and compared, without a running engine.

mod backtest;
mod diff;
mod lint;
mod matching;
mod new;
mod rights;
mod show;
mod test;

use std::path::Path;

use flyball_core::policy::{PolicySet, guardrails_schema, policy_schema};
use flyball_core::ports::Message;
use flyball_core::signal::Signal;
use flyball_signals::Kind;

use super::api::Api;
use super::signal::{kind_of, read};
use super::{Answer, Trouble};
use crate::cli::policy::{Policy, Schema, SchemaOf, Trust};
use crate::intake::Reader;
use crate::policies::PolicyFiles;
use crate::view::hand::Because;

pub(super) async fn run(command: Policy) -> Result<Answer, Trouble> {
    match command {
        Policy::Lint(args) => lint::run(&args).await,
        Policy::Test(args) => test::run(&args),
        Policy::Backtest(args) => backtest::run(&args),
        Policy::Match(args) => matching::run(&args),
        Policy::Show(args) => show::run(&args),
        Policy::Diff(args) => diff::run(&args),
        Policy::New(args) => new::run(&args),
        Policy::Trust(args) => trust(args).await,
    }
}

async fn trust(args: Trust) -> Result<Answer, Trouble> {
    let because = Because { reason: args.reason, by: args.by };
    let policies = Api::new(&args.connection)?.trust(&args.name, &because).await?;
    Ok(Answer::of(&policies, args.output, |_| format!("policy/{} trusted\n", args.name)))
}

pub(super) fn schema(args: &Schema) -> Answer {
    let schema = match args.of {
        SchemaOf::Policy => policy_schema(),
        SchemaOf::Guardrails => guardrails_schema(),
        SchemaOf::Anomaly => flyball_signals::schema::of(Kind::Anomaly),
        SchemaOf::Rca => flyball_signals::schema::of(Kind::Rca),
    };
    Answer { result: format!("{schema:#}\n"), ..Answer::default() }
}

/// A set that is asked about. One with faults is no answer: nothing could be run with it.
fn load(path: &Path) -> Result<PolicySet, Trouble> {
    PolicyFiles::at(path).load().map(|(set, _)| set).map_err(|error| Trouble::Unusable(format!("{error:#}")))
}

/// A signal as the engine would read it from the bus. `namespace`: of one that names none.
fn signal(file: &Path, namespace: &str) -> Result<Signal, Trouble> {
    let body = read(file)?;
    let reader =
        Reader { cluster: "local".into(), namespace: namespace.into(), aliases: std::collections::BTreeMap::new() };
    let kind = kind_of(&body).map(|it| it.as_str().to_owned());
    let message = Message { kind, body, published_at: jiff::Timestamp::now(), sequence: 1, ..Message::default() };
    reader.read(&message).map_err(|refusal| Trouble::Unusable(format!("{}: {refusal}", file.display())))
}
