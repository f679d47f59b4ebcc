//! What was decided, and why.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use flyball_core::id::IntentId;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::problem::{Kind, Problem};
use crate::view::why::Why;
use crate::view::{Decision, Decisions, Outline, Verdict, known_word, time};

/// Decisions in an answer, unless told otherwise, and at most.
const LIMIT: (usize, usize) = (100, 1_000);
/// An id may be shortened to this many characters, as long as only one begins with them.
const SHORTEST: usize = 6;

/// Which decisions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// How many at most: 1 to 1000, 100 unless told otherwise.
    limit: Option<usize>,
    /// Only what was decided since: a duration (`1h`) or a moment (RFC 3339).
    since: Option<String>,
    /// Only on targets in this namespace.
    namespace: Option<String>,
    /// Only what ended in this word, or was denied for this reason.
    reason: Option<String>,
    /// Only what this policy asked for.
    policy: Option<String>,
    /// Only this verdict.
    #[param(inline)]
    verdict: Option<Verdict>,
}

impl Filter {
    fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(LIMIT.0) {
            limit if (1..=LIMIT.1).contains(&limit) => Ok(limit),
            _ => Err(invalid("limit", format!("say a number from 1 to {}", LIMIT.1))),
        }
    }

    fn since(&self, now: Timestamp) -> Result<Timestamp, Problem> {
        let Some(since) = &self.since else { return Ok(Timestamp::MIN) };
        if let Ok(moment) = since.parse::<Timestamp>() {
            return Ok(moment);
        }
        let ago: SignedDuration = time::duration(since).map_err(|why| invalid("since", why))?;
        Ok(now.saturating_sub(ago).unwrap_or(Timestamp::MIN))
    }

    fn reason(&self) -> Result<Option<&str>, Problem> {
        match self.reason.as_deref() {
            Some(word) if !known_word(word) => {
                Err(invalid("reason", format!("there is no reason or outcome `{word}`")))
            }
            word => Ok(word),
        }
    }

    fn lets(&self, reason: Option<&str>, it: &Outline<'_>) -> bool {
        let said = |word: &str| {
            it.result.eq_ignore_ascii_case(word) || it.reasons.iter().any(|it| it.label().eq_ignore_ascii_case(word))
        };
        self.namespace.as_deref().is_none_or(|namespace| namespace == it.namespace)
            && self.policy.as_deref().is_none_or(|policy| it.policy == Some(policy))
            && self.verdict.is_none_or(|verdict| verdict == it.verdict)
            && reason.is_none_or(said)
    }
}

fn invalid(field: &str, detail: String) -> Problem {
    Problem::new(Kind::InvalidRequest, detail).at(field)
}

/// The newest decisions. Older ones than the engine remembers are in the ledger.
#[utoipa::path(get, path = "/v1/decisions", tag = "decisions", params(Filter), responses(
    (status = 200, description = "The newest first", body = Decisions),
    (status = 422, description = "A parameter cannot be used", body = Problem)))]
pub(super) async fn list(
    State(api): State<Shared>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Decisions>, Problem> {
    let Query(filter) = filter?;
    let (limit, since, reason) = (filter.limit()?, filter.since(api.engine.book.now())?, filter.reason()?);
    // Always in this order: the book takes them so, too.
    let history = api.engine.book.history();
    let journal = api.engine.book.journal();
    let decisions = journal
        .newest()
        .take_while(|line| line.at >= since)
        .filter(|line| Outline::of(line, &history).is_some_and(|it| filter.lets(reason, &it)))
        .filter_map(|line| Decision::of(line, &history))
        .take(limit)
        .collect();
    Ok(Json(Decisions { decisions }))
}

/// The whole why of one decision: the signal, the policy, every reason with its numbers, and what happened since.
#[utoipa::path(get, path = "/v1/decisions/{id}", tag = "decisions",
    params(("id" = String, Path, description = "The decision's id, or enough of its beginning")),
    responses(
        (status = 200, description = "The whole why", body = Why),
        (status = 404, description = "No such decision is remembered", body = Problem),
        (status = 422, description = "No id, or more than one begins so", body = Problem)))]
pub(super) async fn why(
    State(api): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Why>, Problem> {
    let Path(id) = id?;
    let engine = &api.engine;
    let history = engine.book.history();
    let journal = engine.book.journal();
    if let Some(why) = journal.line(&id).and_then(|line| Why::of(line, &history, &engine.cluster_name)) {
        return Ok(Json(why));
    }
    // An intent outlives its line.
    if let Some(intent) = id.parse::<IntentId>().ok().and_then(|id| history.intent(id)) {
        return Ok(Json(Why::intent(intent)));
    }
    let mut begun = journal.newest().filter(|line| id.len() >= SHORTEST && line.id.starts_with(&id));
    let first = begun.next();
    let found = first.and_then(|line| Why::of(line, &history, &engine.cluster_name));
    // The same intent admitted twice has two lines and is one decision.
    let another = first.and_then(|first| begun.find(|line| line.id != first.id));
    match (found, another) {
        (Some(why), None) => Ok(Json(why)),
        (_, Some(_)) => Err(invalid("id", format!("more than one decision begins with `{id}`"))),
        (None, None) => Err(Problem::new(Kind::NotFound, format!("no decision `{id}` is remembered")).at("id")),
    }
}
