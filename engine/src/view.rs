//! What people and dashboards see of the engine: the forms that the API answers with and the client reads. Made from the
//! journal and the history; knows no HTTP and no terminal.

pub mod hand;
pub mod migration;
pub mod pause;
pub mod policy;
pub mod signal;
pub mod time;
pub mod why;
pub(crate) mod words;

use std::collections::BTreeMap;

use flyball_core::action::{ActionRequest, Cause};
use flyball_core::deny::{DenyReason, NoAction};
use flyball_core::history::History;
use flyball_core::intent::{Intent, Stage};
use flyball_core::outcome::Outcome;
use flyball_core::record::{Folded, Verdict as Noted};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::journal::{Decided, Line};

/// What became of a signal or of a direct call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Its id: what `flyball why` takes.
    pub id: String,
    /// When, by the ledger's time.
    pub at: Timestamp,
    /// What was decided.
    pub verdict: Verdict,
    /// One word: the stage or outcome of an action, else the reason that decided.
    #[schema(examples("Recovered", "CooldownActive"))]
    pub result: String,
    /// All that objected, each with the numbers that decided.
    pub reasons: Vec<Reason>,
    /// The policy that asked, if any did.
    pub policy: Option<String>,
    /// The workload: `namespace/Kind/name`.
    #[schema(examples("shop/Deployment/cart"))]
    pub target: String,
    /// The action's kind, if one was asked for.
    pub action: Option<String>,
    /// What was, or will be, changed.
    pub change: Option<String>,
    /// How many signals this stands for: those that came to the same end together are one entry.
    pub count: u64,
    /// The signal's id; none for a direct call or an undo.
    pub signal: Option<String>,
    /// What the signal said.
    pub summary: String,
    /// Its trace.
    pub trace_id: String,
    /// When the same request would be allowed, where every objection says so.
    pub allowed_at: Option<Timestamp>,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Verdict {
    /// It became an action.
    Acted,
    /// A guardrail denied it.
    Denied,
    /// It waits, or waited, for something that passes by itself.
    Deferred,
    /// It joined a request that waited already.
    Joined,
    /// A shadow policy would have acted, or would have been denied.
    Shadow,
    /// Nothing asked for anything.
    NoAction,
}

impl Verdict {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acted => "acted",
            Self::Denied => "denied",
            Self::Deferred => "deferred",
            Self::Joined => "joined",
            Self::Shadow => "shadow",
            Self::NoAction => "no_action",
        }
    }
}

/// One objection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// The fixed word, from the closed list.
    #[schema(examples("CooldownActive"))]
    pub reason: String,
    /// The numbers in words.
    pub detail: String,
    /// The numbers that decided, by name.
    pub numbers: BTreeMap<String, Value>,
    /// When this objection passes, where that is known.
    pub allowed_at: Option<Timestamp>,
}

impl Reason {
    fn of(reason: &DenyReason) -> Self {
        // A reason is a plain enum of numbers and texts: it always serialises, and to an object.
        let numbers = match serde_json::to_value(reason) {
            Ok(Value::Object(fields)) => fields.into_iter().filter(|(key, _)| key != "reason").collect(),
            _ => BTreeMap::new(),
        };
        Self {
            reason: reason.label().to_owned(),
            detail: words::reason(reason),
            numbers,
            allowed_at: reason.allowed_at(),
        }
    }
}

/// Decisions, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Decisions {
    /// The decisions.
    pub decisions: Vec<Decision>,
}

/// When the same request would be allowed. An objection that neither says when it ends nor passes by itself leaves that
/// open, whatever the others say.
fn allowed_at(reasons: &[DenyReason]) -> Option<Timestamp> {
    let open = reasons.iter().any(|it| it.allowed_at().is_none() && !it.passes_by_itself());
    if open { None } else { reasons.iter().filter_map(DenyReason::allowed_at).max() }
}

/// What a line of the journal comes down to, without building anything: for filters, which look at thousands.
pub(crate) struct Outline<'a> {
    pub(crate) verdict: Verdict,
    pub(crate) result: &'static str,
    pub(crate) reasons: &'a [DenyReason],
    pub(crate) namespace: &'a str,
    pub(crate) policy: Option<&'a str>,
}

impl<'a> Outline<'a> {
    /// Nothing if the line's intent is no longer remembered.
    pub(crate) fn of(line: &'a Line, history: &'a History) -> Option<Self> {
        let asked = |verdict, result, reasons, request: &'a ActionRequest| Self {
            verdict,
            result,
            reasons,
            namespace: &request.target.namespace,
            policy: Some(&request.policy.name),
        };
        Some(match &line.decision {
            Decided::Intent(id) => {
                let intent = history.intent(*id)?;
                asked(Verdict::Acted, intent.stage().label(), &[], intent.request())
            }
            Decided::Deferred(it) => {
                asked(Verdict::Deferred, first(&it.objections, "Deferred"), &it.objections, &it.request)
            }
            Decided::Released(it) => asked(Verdict::Denied, first(&it.reasons, "Denied"), &it.reasons, &it.request),
            Decided::Folded(note) => {
                let (verdict, result, reasons) = noted(note);
                Self { verdict, result, reasons, namespace: &note.target.namespace, policy: note.policy.as_deref() }
            }
        })
    }
}

fn noted(note: &Folded) -> (Verdict, &'static str, &[DenyReason]) {
    match &note.verdict {
        Noted::Denied(reasons) => (Verdict::Denied, first(reasons, "Denied"), reasons),
        Noted::Joined(reasons) => (Verdict::Joined, first(reasons, "Joined"), reasons),
        Noted::Shadow(reasons) => (Verdict::Shadow, first(reasons, NoAction::ShadowOnly.label()), reasons),
        Noted::NoAction(why) => (Verdict::NoAction, why.label(), &[]),
    }
}

fn first(reasons: &[DenyReason], otherwise: &'static str) -> &'static str {
    reasons.first().map_or(otherwise, DenyReason::label)
}

/// The words that `result` and `reason` can be: the closed lists of reasons, silences, outcomes and stages.
pub fn known_word(word: &str) -> bool {
    const STAGES: [&str; 5] = ["Recorded", "Sending", "Unknown", "Applied", "Undoing"];
    let reasons = DenyReason::DOCS.iter().map(|(label, _)| *label);
    let outcomes = Outcome::ALL.into_iter().map(Outcome::label);
    reasons
        .chain(NoAction::ALL.into_iter().map(NoAction::label))
        .chain(outcomes)
        .chain(STAGES)
        .any(|it| it.eq_ignore_ascii_case(word))
}

impl Decision {
    /// A line of the journal as people see it; nothing if its intent is no longer remembered.
    pub(crate) fn of(line: &Line, history: &History) -> Option<Self> {
        let outline = Outline::of(line, history)?;
        let bare = Self {
            id: line.id.clone(),
            at: line.at,
            verdict: outline.verdict,
            result: outline.result.to_owned(),
            reasons: outline.reasons.iter().map(Reason::of).collect(),
            policy: outline.policy.map(str::to_owned),
            target: String::new(),
            action: None,
            change: None,
            count: 1,
            signal: None,
            summary: String::new(),
            trace_id: String::new(),
            allowed_at: allowed_at(outline.reasons),
        };
        Some(match &line.decision {
            Decided::Intent(id) => Self::intent(history.intent(*id)?),
            Decided::Deferred(it) => bare.asked(&it.request),
            Decided::Released(it) => bare.asked(&it.request),
            Decided::Folded(note) => Self {
                target: note.target.to_string(),
                action: note.action.map(|it| it.to_string()),
                count: note.count,
                signal: Some(note.signal.to_string()),
                summary: note.summary.to_string(),
                trace_id: note.trace.trace_hex(),
                ..bare
            },
        })
    }

    /// An intent as people see it.
    pub(crate) fn intent(intent: &Intent) -> Self {
        let bare = Self {
            id: intent.id().to_string(),
            at: intent.admitted_at(),
            verdict: Verdict::Acted,
            result: intent.stage().label().to_owned(),
            reasons: Vec::new(),
            policy: Some(intent.request().policy.name.to_string()),
            target: String::new(),
            action: None,
            change: Some(intent.change().edit.summary()),
            count: 1,
            signal: None,
            summary: String::new(),
            trace_id: String::new(),
            allowed_at: None,
        };
        bare.asked(intent.request())
    }

    fn asked(self, request: &ActionRequest) -> Self {
        Self {
            target: request.target.to_string(),
            action: Some(request.action.kind().to_string()),
            signal: match &request.cause {
                Cause::Signal(id) => Some(id.to_string()),
                _ => None,
            },
            summary: request.evidence.summary.to_string(),
            trace_id: request.evidence.trace.trace_hex(),
            ..self
        }
    }

    /// Whether an action is still under way.
    pub(crate) fn is_open(intent: &Intent) -> bool {
        !matches!(intent.stage(), Stage::Closed { .. })
    }
}
