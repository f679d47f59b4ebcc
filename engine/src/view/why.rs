//! The whole why of one decision.

use flyball_core::action::{ActionRequest, Evidence};
use flyball_core::history::History;
use flyball_core::intent::{Event, Intent, Stage};
use flyball_core::record::{Folded, WaitKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Decision, words};
use crate::journal::{Decided, Line};

/// Everything that is known of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// The decision itself.
    #[serde(flatten)]
    pub decision: Decision,
    /// What asked: a signal, a direct call, the failure of another action.
    pub cause: String,
    /// Digest of the policies that decided.
    pub digest: Option<String>,
    /// What is known of the signal.
    pub evidence: Known,
    /// How success is judged.
    pub verification: Option<String>,
    /// What was seen last: of an action that is closed, how it ended.
    pub detail: Option<String>,
    /// The replica that drives, or drove, it.
    pub replica: Option<String>,
    /// Whether it is still under way or still waits.
    pub open: bool,
    /// Later signals that joined it while it waited.
    pub joined: u64,
    /// What happened, oldest first.
    pub events: Vec<Happening>,
    /// Other decisions that belong to this one.
    pub links: Links,
}

/// What is known of a signal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// `anomaly`, `rca`, or `api` for a direct call; none where only the summary was kept.
    pub kind: Option<String>,
    /// Confidence of an rca.
    pub confidence: Option<f64>,
    /// When it was observed; of several the newest.
    pub observed_at: Option<Timestamp>,
    /// When it expires by its publisher's word.
    pub expires_at: Option<Timestamp>,
    /// Sequences in its stream, as inclusive ranges.
    pub sequences: Vec<(u64, u64)>,
}

/// Something that happened to an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Happening {
    /// When, by the ledger's time.
    pub at: Timestamp,
    /// In one word.
    pub event: String,
    /// In a few.
    pub detail: String,
}

/// Ids of other decisions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Links {
    /// This takes that one back.
    pub undoes: Option<String>,
    /// This is taken back by that one.
    pub undone_by: Option<String>,
    /// What waited here became that one.
    pub became: Option<String>,
}

impl Why {
    /// The why of a line of the journal.
    pub(crate) fn of(line: &Line, history: &History, cluster: &str) -> Option<Self> {
        let decision = Decision::of(line, history)?;
        Some(match &line.decision {
            Decided::Intent(id) => Self::intent(history.intent(*id)?),
            Decided::Folded(note) => Self::folded(decision, note),
            Decided::Released(it) => Self::asked(decision, &it.request),
            Decided::Deferred(it) => {
                let waiter = history.waiter(&WaitKey::of(&it.request)).filter(|waiter| waiter.since == line.at);
                let became = Some(it.request.id(cluster)).filter(|id| history.knows(*id)).map(|id| id.to_string());
                let mut why = Self::asked(decision, &it.request);
                why.open = waiter.is_some();
                why.joined = waiter.map_or(0, |waiter| waiter.joined);
                why.links.became = became;
                why
            }
        })
    }

    /// The why of an intent.
    pub(crate) fn intent(intent: &Intent) -> Self {
        let mut why = Self::asked(Decision::intent(intent), intent.request());
        why.open = Decision::is_open(intent);
        why.replica = Some(intent.writer().replica.to_string());
        why.detail = match intent.stage() {
            Stage::Unknown { detail, .. } | Stage::Undoing { detail, .. } | Stage::Closed { detail, .. } => {
                Some(detail.clone())
            }
            _ => None,
        };
        why.events.push(happening(intent.admitted_at(), "Recorded", "every guardrail passed".to_owned()));
        for (at, event) in intent.events() {
            let (word, detail) = words::event(event);
            why.events.push(happening(*at, word, detail));
            if let Event::Undoing { undo, .. } = event {
                why.links.undone_by = Some(undo.to_string());
            }
        }
        why.links.undoes = intent.request().undoes().map(|it| it.to_string());
        why
    }

    fn asked(decision: Decision, request: &ActionRequest) -> Self {
        Self {
            decision,
            cause: words::cause(&request.cause),
            digest: Some(request.policy.digest.to_string()),
            evidence: known(&request.evidence),
            verification: Some(words::verification(&request.verify)),
            detail: None,
            replica: None,
            open: false,
            joined: 0,
            events: Vec::new(),
            links: Links::default(),
        }
    }

    fn folded(decision: Decision, note: &Folded) -> Self {
        Self {
            decision,
            cause: format!("signal {}", note.signal),
            digest: None,
            evidence: Known {
                observed_at: Some(note.observed_at),
                sequences: note.sequences.clone(),
                ..Known::default()
            },
            verification: None,
            detail: None,
            replica: None,
            open: false,
            joined: 0,
            events: Vec::new(),
            links: Links::default(),
        }
    }
}

fn known(evidence: &Evidence) -> Known {
    Known {
        kind: Some(evidence.kind.to_string()),
        confidence: evidence.confidence,
        observed_at: Some(evidence.observed_at),
        expires_at: evidence.expires_at,
        sequences: if evidence.sequence == 0 { Vec::new() } else { vec![(evidence.sequence, evidence.sequence)] },
    }
}

fn happening(at: Timestamp, event: &str, detail: String) -> Happening {
    Happening { at, event: event.to_owned(), detail }
}
