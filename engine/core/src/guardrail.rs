//! The guardrails: two lists of plain functions, in the order in which people read them.
//!
//! `SCREEN` works on what is remembered and ends a storm without any IO; `INSPECT` works on a fresh read of the target.
//! Adding one is a function in the file of its family, a `DenyReason`, a line here and a test.

mod custom;
mod pause;
mod rate;
mod reach;
mod scope;
mod target;
mod time;

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::action::{Action, ActionRequest, Cause};
use crate::deny::DenyReason;
use crate::facts::Snapshot;
use crate::history::History;
use crate::id::IntentId;
use crate::limits::Guardrails;
use crate::plan::{Change, Edit, plan};
use crate::workload::Workload;

/// What a screening guardrail sees.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// What is asked.
    pub request: &'a ActionRequest,
    /// What is remembered.
    pub history: &'a History,
    /// The cluster's limits.
    pub rules: &'a Guardrails,
    /// The ledger's time.
    pub now: Timestamp,
}

/// What an inspecting guardrail sees besides.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// What the screen saw.
    pub scene: Scene<'a>,
    /// The fresh read.
    pub seen: &'a Snapshot,
    /// The intent that the request would become, or is.
    pub id: IntentId,
}

type Screen = fn(&Scene<'_>) -> Result<(), DenyReason>;
type Inspect = fn(&Sight<'_>) -> Result<(), DenyReason>;

/// Asked of every request, on memory alone.
pub const SCREEN: &[Screen] = &[
    pause::paused,
    scope::allowed,
    scope::protected_namespace,
    time::fresh,
    time::due,
    scope::confident,
    custom::signal_guards,
    scope::not_duplicate,
    time::in_window,
    time::cooled_down,
    rate::target_budget,
    rate::namespace_budget,
    rate::cluster_budget,
    rate::breaker_closed,
    rate::trusted,
    reach::target_free,
    reach::row_free,
    reach::its_turn,
    reach::namespace_slot,
    reach::cluster_slot,
];

/// Asked of an undo: it takes back what we did, so it waits for no budget, but it stays bound by people and ownership, and
/// by the number of rollouts at once if its parent has given its slot back.
pub const SCREEN_UNDO: &[Screen] =
    &[pause::paused, scope::protected_namespace, reach::namespace_slot, reach::cluster_slot];

/// Asked of what only tells a person: it changes nothing, so neither a list of what is allowed nor a budget, a pause or a freeze
/// window keeps people from hearing.
pub const SCREEN_TELL: &[Screen] =
    &[time::fresh, time::due, scope::confident, custom::signal_guards, scope::not_duplicate, time::cooled_down];

/// Asked of the step that only tells: it is the last, and nothing but its time and the symptom's end keeps it from coming.
pub const SCREEN_TELL_STEP: &[Screen] = &[time::due, reach::its_turn];

/// Asked of a shadow policy's request: its own cooldown, no budget, no slot.
pub const SCREEN_SHADOW: &[Screen] = &[
    pause::paused,
    scope::allowed,
    scope::protected_namespace,
    time::fresh,
    scope::confident,
    custom::signal_guards,
    time::in_window,
    time::shadow_cooled_down,
];

/// Asked of every request, on a fresh read.
pub const INSPECT: &[Inspect] = &[
    scope::in_force,
    target::not_done_already,
    target::not_opted_out,
    target::not_protected,
    target::not_paused,
    target::unmanaged,
    time::stamp_cooled_down,
    target::not_rolling_out,
    target::pod_may_go,
    custom::still_matches,
    custom::guards,
    reach::within_reach,
    rate::within_bounds,
    rate::grows_slowly,
];

/// Asked of an undo, on a fresh read.
pub const INSPECT_UNDO: &[Inspect] = &[
    target::not_done_already,
    target::same_object,
    target::not_opted_out,
    target::not_protected,
    target::not_paused,
    target::unmanaged,
];

/// Asked once more before a change is planned anew: somebody else has written to the target since it was judged.
pub const INSPECT_AGAIN: &[Inspect] = &[
    target::not_opted_out,
    target::not_protected,
    target::not_paused,
    target::unmanaged,
    time::stamp_cooled_down,
    target::pod_may_go,
];

/// The answer to a request. What cannot be told is never a pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<T> {
    /// Nothing objects.
    Pass(T),
    /// All that objects passes by itself.
    Defer(Objections),
    /// Something objects that does not.
    Deny(Objections),
}

/// A request with every reason against it.
#[derive(Clone, Debug, PartialEq)]
pub struct Objections {
    /// What was asked.
    pub request: ActionRequest,
    /// Why not, in the order of the lists.
    pub reasons: Vec<DenyReason>,
}

/// A request that memory does not object to.
#[derive(Clone, Debug, PartialEq)]
pub struct Cleared {
    request: ActionRequest,
}

impl Cleared {
    /// What was asked.
    pub fn request(&self) -> &ActionRequest {
        &self.request
    }
}

/// A request that nothing objects to, with the exact change. Only `judge` makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    request: ActionRequest,
    change: Change,
    adds: u32,
    reach: Reach,
}

/// How many of the namespace's workloads may be affected, and which were down when it was read: asked again when the
/// admission is appended, since other admissions may have come between.
#[derive(Clone, Debug, Default, PartialEq)]
struct Reach {
    allowed: u32,
    total: u32,
    unhealthy: BTreeSet<Workload>,
}

impl Admitted {
    /// What was asked.
    pub fn request(&self) -> &ActionRequest {
        &self.request
    }

    /// What will be sent.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Replicas that it adds.
    pub fn adds(&self) -> u32 {
        self.adds
    }

    /// Screens it once more, against the history that the admission will be appended to.
    pub fn still_clear(&self, history: &History, rules: &Guardrails, now: Timestamp) -> Verdict<()> {
        let scene = Scene { request: &self.request, history, rules, now };
        let mut reasons = objections(&scene);
        if self.request.undoes().is_none() && !self.request.only_tells() {
            reasons.extend(self.reach.exceeded(&scene));
        }
        settle(self.request.clone(), reasons, |_| ())
    }
}

/// Who is asked about a request, on memory.
fn screens(request: &ActionRequest) -> &'static [Screen] {
    match (&request.cause, &request.action) {
        (Cause::Undo(_), _) => SCREEN_UNDO,
        (Cause::Step(_), Action::Escalate) => SCREEN_TELL_STEP,
        (_, Action::Escalate) => SCREEN_TELL,
        _ => SCREEN,
    }
}

fn objections(scene: &Scene<'_>) -> Vec<DenyReason> {
    screens(scene.request).iter().filter_map(|guard| guard(scene).err()).collect()
}

fn settle<T>(request: ActionRequest, reasons: Vec<DenyReason>, pass: impl FnOnce(ActionRequest) -> T) -> Verdict<T> {
    // What is not due yet waits for its time, whatever else speaks against it now: that is asked when it is due.
    let gone =
        reasons.iter().any(|it| matches!(it, DenyReason::Contradicted { .. } | DenyReason::DuplicateSignal { .. }));
    let not_yet = reasons.iter().find(|it| matches!(it, DenyReason::NotYet { .. })).cloned();
    if let Some(not_yet) = not_yet.filter(|_| !gone) {
        Verdict::Defer(Objections { request, reasons: vec![not_yet] })
    } else if reasons.is_empty() {
        Verdict::Pass(pass(request))
    } else if reasons.iter().all(DenyReason::passes_by_itself) {
        Verdict::Defer(Objections { request, reasons })
    } else {
        Verdict::Deny(Objections { request, reasons })
    }
}

/// The first look: memory only. Asks every guardrail and keeps every reason.
pub fn screen(request: ActionRequest, history: &History, rules: &Guardrails, now: Timestamp) -> Verdict<Cleared> {
    let reasons = objections(&Scene { request: &request, history, rules, now });
    settle(request, reasons, |request| Cleared { request })
}

/// Asked of what was admitted but is not sent yet: a pause holds it, and its signal may expire meanwhile.
pub fn screen_again(scene: &Scene<'_>) -> Verdict<()> {
    let request = || scene.request.clone();
    if let Err(reason) = pause::paused(scene) {
        return Verdict::Defer(Objections { request: request(), reasons: vec![reason] });
    }
    if scene.request.undoes().is_none()
        && let Err(reason) = time::fresh(scene)
    {
        return Verdict::Deny(Objections { request: request(), reasons: vec![reason] });
    }
    Verdict::Pass(())
}

/// What the target says against a change that was admitted and has to be planned anew.
pub fn inspect_again(sight: &Sight<'_>) -> Option<DenyReason> {
    INSPECT_AGAIN.iter().find_map(|guard| guard(sight).err())
}

/// Whether the cluster's breaker is open, for the gauge.
pub fn breaker_is_open(history: &History, rules: &Guardrails, now: Timestamp) -> bool {
    rate::tripped(history, rules.limits.breaker, now).is_some()
}

/// What a shadow policy would have met. Empty: it would have acted.
pub fn screen_shadow(
    request: &ActionRequest,
    history: &History,
    rules: &Guardrails,
    now: Timestamp,
) -> Vec<DenyReason> {
    let scene = Scene { request, history, rules, now };
    SCREEN_SHADOW.iter().filter_map(|guard| guard(&scene).err()).collect()
}

/// The second look: a fresh read. Makes the absolute change. `cluster`: whose name is part of every intent's id.
pub fn judge(
    cleared: Cleared,
    cluster: &str,
    seen: Option<&Snapshot>,
    history: &History,
    rules: &Guardrails,
    now: Timestamp,
) -> Verdict<Admitted> {
    let request = cleared.request;
    let Some(seen) = seen else {
        let what = request.target.to_string();
        return Verdict::Deny(Objections { request, reasons: vec![DenyReason::TargetNotFound { what }] });
    };
    let scene = Scene { request: &request, history, rules, now };
    let sight = Sight { scene, seen, id: request.id(cluster) };
    let list = if request.undoes().is_some() { INSPECT_UNDO } else { INSPECT };
    let mut reasons: Vec<DenyReason> = list.iter().filter_map(|guard| guard(&sight).err()).collect();
    let change = match plan(&request.action, seen, now) {
        Ok(change) => change,
        Err(reason) => {
            reasons.push(reason);
            return settle(request, reasons, |_| unreachable!("there is a reason"));
        }
    };
    let adds = grows_by(&change, seen);
    let reach = Reach::of(&sight);
    settle(request, reasons, |request| Admitted { request, change, adds, reach })
}

/// What only tells a person is not judged on its target: people are to hear most of all when that cannot be read, or is gone.
/// Nothing, if the request changes something.
pub fn tell(cleared: &Cleared) -> Option<Admitted> {
    let request = Some(&cleared.request).filter(|it| it.only_tells()).cloned()?;
    Some(Admitted { request, change: Change::none(), adds: 0, reach: Reach::default() })
}

fn grows_by(change: &Change, seen: &Snapshot) -> u32 {
    let Edit::Fields { apply, .. } = &change.edit else { return 0 };
    let to = apply.pointer("/spec/replicas").and_then(serde_json::Value::as_i64).unwrap_or(0);
    u32::try_from(to - i64::from(seen.replicas())).unwrap_or(0)
}

/// The verdict on a request whose target could not be read: it waits.
pub fn unreadable(cleared: Cleared, detail: String) -> Verdict<Admitted> {
    Verdict::Defer(Objections { request: cleared.request, reasons: vec![DenyReason::StateUnavailable { detail }] })
}

/// The verdict on a request that the API server does not let us read for.
pub fn forbidden(cleared: Cleared, detail: String) -> Verdict<Admitted> {
    Verdict::Deny(Objections { request: cleared.request, reasons: vec![DenyReason::Forbidden { detail }] })
}
