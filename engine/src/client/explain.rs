//! A decision, explained on one screen.

use std::fmt::Write;

use flyball_core::deny::DenyReason;
use jiff::Timestamp;

use crate::view::time::{moment, short};
use crate::view::why::Why;
use crate::view::{Decision, Reason, Verdict};

/// Colours, or none.
#[derive(Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    pub(super) fn new(colours: bool) -> Self {
        Self(colours)
    }

    fn verdict(self, it: &Decision) -> String {
        let (red, green, yellow) = ("31", "32", "33");
        let colour = match (it.verdict, it.result.as_str()) {
            (Verdict::Acted, "Recovered" | "RolledOut") => green,
            (Verdict::Acted, "Failed" | "TimedOut" | "NotRecovered" | "RolledBack" | "Rejected")
            | (Verdict::Denied, _) => red,
            _ => yellow,
        };
        let text = format!("{}  {}", it.verdict.as_str().to_uppercase().replace('_', " "), it.result);
        if self.0 { format!("\u{1b}[1;{colour}m{text}\u{1b}[0m") } else { text }
    }
}

/// The whole why, for people. Times are UTC, as in every log.
pub(super) fn why(why: &Why, now: Timestamp, paint: Paint) -> String {
    let it = &why.decision;
    let mut lines = vec![header(why, paint)];
    lines.push(format!("  signal    {}", signal(why, now)));
    lines.push(format!("  cause     {}", why.cause));
    if let Some(change) = &it.change {
        lines.push(format!("  change    {change}"));
    }
    lines.extend(why.verification.iter().map(|it| format!("  verify    {it}")));
    lines.extend(why.detail.iter().map(|it| format!("  result    {it}")));
    lines.extend(it.reasons.iter().flat_map(|it| reason(it, now)));
    if let Some(at) = it.allowed_at {
        let then = it.action.as_ref().map(|action| format!("   would then: {action}")).unwrap_or_default();
        lines.push(format!("  allowed again {}{then}", until(at, now)));
    }
    if it.verdict == Verdict::Deferred {
        let joined = if why.joined > 0 { format!(", {} later signals joined it", why.joined) } else { String::new() };
        lines.push(format!("  {}{joined}", if why.open { "waits" } else { "waits no more" }));
    }
    lines.extend(links(why));
    if !why.events.is_empty() {
        lines.push("  events".to_owned());
        lines.extend(why.events.iter().map(|event| {
            let since = short(event.at.duration_since(it.at));
            format!("    {}  {:>6}  {:<12} {}", moment(event.at, it.at), format!("+{since}"), event.event, event.detail)
                .trim_end()
                .to_owned()
        }));
    }
    lines.push(format!("  trace     {}", it.trace_id));
    lines.join("\n") + "\n"
}

fn header(why: &Why, paint: Paint) -> String {
    let it = &why.decision;
    let mut text = format!("{}  {}", it.id, paint.verdict(it));
    // Writing into a String cannot fail.
    if let Some(policy) = &it.policy {
        let _ = write!(text, "  {policy}");
        if let Some(digest) = &why.digest {
            let _ = write!(text, "@{digest}");
        }
    }
    let _ = write!(text, "  ->  {}", it.target);
    if let Some(action) = &it.action {
        let _ = write!(text, "  {action}");
    }
    text
}

fn signal(why: &Why, now: Timestamp) -> String {
    let (it, known) = (&why.decision, &why.evidence);
    let mut text = it.summary.clone();
    if let Some(at) = known.observed_at {
        let _ = write!(text, "  observed {}", moment(at, now));
    }
    if let Some(at) = known.expires_at {
        let _ = write!(text, "  expires {}", moment(at, now));
    }
    if it.count > 1 {
        let _ = write!(text, "  {} times", it.count);
    }
    if let (Some((first, _)), Some((_, last))) = (known.sequences.first(), known.sequences.last())
        && *last > 0
    {
        let _ = if first == last { write!(text, "  #{first}") } else { write!(text, "  #{first}-{last}") };
    }
    text
}

fn reason(it: &Reason, now: Timestamp) -> Vec<String> {
    let passes = it.allowed_at.map(|at| format!("   until {}", until(at, now))).unwrap_or_default();
    let mut lines = vec![format!("  x {:<22} {}{passes}", it.reason, it.detail)];
    let docs = DenyReason::DOCS.iter().find(|(label, _)| *label == it.reason);
    lines.extend(docs.map(|(_, docs)| format!("    {}", docs.trim())));
    lines
}

fn links(why: &Why) -> Vec<String> {
    let link = |word: &str, id: &Option<String>| id.as_ref().map(|id| format!("  {word:<9} {id}"));
    [link("undoes", &why.links.undoes), link("undone by", &why.links.undone_by), link("became", &why.links.became)]
        .into_iter()
        .flatten()
        .collect()
}

fn until(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("{} (in {})", moment(at, now), short(at.duration_since(now)))
    } else {
        format!("{} (now)", moment(at, now))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(why: serde_json::Value, colours: bool) -> String {
        let now = "2026-01-10T14:06:21Z".parse().unwrap();
        super::why(&serde_json::from_value(why).unwrap(), now, Paint::new(colours))
    }

    fn denied() -> serde_json::Value {
        json!({
            "id": "n42-0", "at": "2026-01-10T14:06:20Z", "verdict": "denied", "result": "CooldownActive",
            "reasons": [
                {"reason": "CooldownActive", "detail": "last action 8f14e45f", "numbers": {}, "allowedAt": "2026-01-10T14:12:11Z"},
                {"reason": "ConcurrencyLimit", "detail": "2 of 2 slots used (namespace)", "numbers": {}, "allowedAt": null},
            ],
            "policy": "restart-on-leak", "target": "shop/Deployment/cart", "action": "restart", "change": null, "count": 14,
            "signal": "w-7", "summary": "error anomaly of cart, score 0.97", "traceId": "77d0",
            "allowedAt": "2026-01-10T14:12:11Z", "cause": "signal w-7", "digest": "3f2a",
            "evidence": {"kind": null, "confidence": null, "observedAt": "2026-01-10T14:06:20Z", "expiresAt": null,
                "sequences": [[8, 21]]},
            "verification": null, "detail": null, "replica": null, "open": false, "joined": 0, "events": [],
            "links": {"undoes": null, "undoneBy": null, "became": null},
        })
    }

    #[test]
    fn a_denial_says_what_objected_and_when_it_passes() {
        assert_eq!(
            told(denied(), false),
            "\
n42-0  DENIED  CooldownActive  restart-on-leak@3f2a  ->  shop/Deployment/cart  restart
  signal    error anomaly of cart, score 0.97  observed 14:06:20Z  14 times  #8-21
  cause     signal w-7
  x CooldownActive         last action 8f14e45f   until 14:12:11Z (in 5m50s)
    Acting again so soon would hide whether the last action helped. Wait, or shorten `cooldown` in the policy.
  x ConcurrencyLimit       2 of 2 slots used (namespace)
    As many rollouts as allowed are under way in the cluster or the namespace. The request waits for a slot. One that frees is kept for an undo whose action had given its own back.
  allowed again 14:12:11Z (in 5m50s)   would then: restart
  trace     77d0
"
        );
        assert!(told(denied(), true).starts_with("n42-0  \u{1b}[1;31mDENIED  CooldownActive\u{1b}[0m  restart"));
    }

    #[test]
    fn an_action_is_told_from_its_admission_to_its_end() {
        let mut why = denied();
        let changes = json!({
            "id": "8f14e45f", "at": "2026-01-10T14:02:09Z", "verdict": "acted", "result": "RolledBack", "reasons": [],
            "change": "replicas 3 -> 4", "count": 1, "allowedAt": null, "detail": "TimedOut; undone: complete",
            "verification": "complete within 5m, stable for 30s, else undone",
            "events": [
                {"at": "2026-01-10T14:02:09Z", "event": "Recorded", "detail": "every guardrail passed"},
                {"at": "2026-01-10T14:04:50Z", "event": "RolledBack", "detail": "TimedOut; undone: complete"},
            ],
            "links": {"undoes": null, "undoneBy": "c9f0f895", "became": null},
        });
        why.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        assert_eq!(
            told(why, false),
            "\
8f14e45f  ACTED  RolledBack  restart-on-leak@3f2a  ->  shop/Deployment/cart  restart
  signal    error anomaly of cart, score 0.97  observed 14:06:20Z  #8-21
  cause     signal w-7
  change    replicas 3 -> 4
  verify    complete within 5m, stable for 30s, else undone
  result    TimedOut; undone: complete
  undone by c9f0f895
  events
    14:02:09Z     +0s  Recorded     every guardrail passed
    14:04:50Z  +2m41s  RolledBack   TimedOut; undone: complete
  trace     77d0
"
        );
    }
}
