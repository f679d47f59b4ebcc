//! What may go wrong with one request.

use jiff::SignedDuration;
use serde_json::Value;

/// What may go wrong with one request that changes something.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// It is lost on its way: nothing is applied; no answer before the time-out.
    Lost,
    /// It is applied; no answer before the time-out.
    AnswerLost,
    /// It arrives so much later, and is judged by what is there then. Past the time-out nobody hears the answer.
    Held(SignedDuration),
    /// It arrives twice, the second time so much later. The first answer is heard.
    Duplicated(SignedDuration),
    /// Of the two requests of an eviction only the first arrives: the workload is stamped, the pod lives.
    Halfway,
    /// Somebody else writes to the target just before.
    Raced(Race),
    /// The server answers 503 and applies nothing.
    Unavailable,
    /// The server answers 403.
    Forbidden,
}

/// What somebody else writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Race {
    /// The controller writes the status: resourceVersion moves, nothing else.
    Status,
    /// A merge patch, as a person or another controller would send it.
    Edit(Value),
}
