//! Tables, in the manner of kubectl: no borders, upper-case heads, ages.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use jiff::Timestamp;

use crate::view::pause::Pauses;
use crate::view::policy::Policies;
use crate::view::{Decision, Decisions, time};

const NONE: &str = "<none>";

/// What became of signals.
pub(super) fn decisions(list: &Decisions, now: Timestamp) -> String {
    let row = |it: &Decision| {
        [
            short_id(&it.id).to_owned(),
            it.verdict.as_str().to_owned(),
            it.result.clone(),
            or_none(it.policy.as_deref()),
            it.target.clone(),
            or_none(it.action.as_deref()),
            it.count.to_string(),
            time::age(it.at, now),
        ]
    };
    table(["ID", "VERDICT", "RESULT", "POLICY", "TARGET", "ACTION", "COUNT", "AGE"], list.decisions.iter().map(row))
}

/// What was done.
pub(super) fn actions(list: &Decisions, now: Timestamp) -> String {
    let row = |it: &Decision| {
        [
            short_id(&it.id).to_owned(),
            it.result.clone(),
            or_none(it.policy.as_deref()),
            it.target.clone(),
            or_none(it.action.as_deref()),
            or_none(it.change.as_deref()),
            time::age(it.at, now),
        ]
    };
    table(["ID", "RESULT", "POLICY", "TARGET", "ACTION", "CHANGE", "AGE"], list.decisions.iter().map(row))
}

/// The pauses in force.
pub(super) fn pauses(list: &Pauses, now: Timestamp) -> String {
    let rows = list.pauses.iter().map(|it| {
        [
            it.id.clone(),
            it.scope.word(),
            it.by.clone(),
            it.reason.clone(),
            it.until.map_or_else(|| NONE.to_owned(), |until| format!("in {}", time::short(until.duration_since(now)))),
            it.suppressed.to_string(),
            time::age(it.since, now),
        ]
    });
    table(["ID", "SCOPE", "BY", "REASON", "ENDS", "SUPPRESSED", "AGE"], rows)
}

/// The policies in force.
pub(super) fn policies(list: &Policies) -> String {
    let rows = list.policies.iter().map(|it| {
        let about = if it.about.is_empty() { "*".to_owned() } else { it.about.join(",") };
        [
            it.name.clone(),
            if it.demoted.is_some() { format!("{} (demoted)", it.mode) } else { it.mode.clone() },
            it.priority.to_string(),
            it.signal.clone(),
            format!("{about}>={}", it.least),
            it.action.clone(),
            it.cooldown.clone(),
            it.source.clone(),
        ]
    });
    table(["NAME", "MODE", "PRIORITY", "SIGNAL", "ABOUT", "ACTION", "COOLDOWN", "SOURCE"], rows)
}

/// An intent's id is shown by its beginning, which `why` takes; other ids are short.
pub(super) fn short_id(id: &str) -> &str {
    const SHORT: usize = 8;
    const UUID: usize = 36;
    if id.len() == UUID { id.get(..SHORT).unwrap_or(id) } else { id }
}

fn or_none(text: Option<&str>) -> String {
    text.unwrap_or(NONE).to_owned()
}

/// Nothing at all for no rows: a head alone is no result.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(head.to_vec()).add_rows(rows.map(Vec::from));
    if table.is_empty() {
        return String::new();
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-10T14:06:21Z".parse().unwrap()
    }

    #[test]
    fn decisions_and_actions_are_aligned() {
        let decision = |id: &str, verdict: &str, result: &str, policy: Option<&str>, count: u64| {
            json!({"id": id, "at": "2026-01-10T14:02:11Z", "verdict": verdict, "result": result, "reasons": [],
                "policy": policy, "target": "shop/Deployment/cart", "action": policy.map(|_| "scale"),
                "change": policy.map(|_| "replicas 3 -> 4"), "count": count, "signal": null, "summary": "", "traceId": "",
                "allowedAt": null})
        };
        let uuid = "8f14e45f-ceea-867a-8f14-e45fceea867a";
        let list = json!({"decisions": [
            decision(uuid, "acted", "Recovered", Some("scale-on-load"), 1),
            decision("n42-0", "no_action", "NoPolicyMatched", None, 14),
        ]});
        let list: Decisions = serde_json::from_value(list).unwrap();
        assert_eq!(
            decisions(&list, now()),
            "\
ID         VERDICT     RESULT            POLICY          TARGET                 ACTION   COUNT   AGE
8f14e45f   acted       Recovered         scale-on-load   shop/Deployment/cart   scale    1       4m10s
n42-0      no_action   NoPolicyMatched   <none>          shop/Deployment/cart   <none>   14      4m10s
"
        );
        assert_eq!(
            actions(&Decisions { decisions: list.decisions[..1].to_vec() }, now()),
            "\
ID         RESULT      POLICY          TARGET                 ACTION   CHANGE            AGE
8f14e45f   Recovered   scale-on-load   shop/Deployment/cart   scale    replicas 3 -> 4   4m10s
"
        );
        assert_eq!(decisions(&Decisions::default(), now()), "");
    }

    #[test]
    fn pauses_say_who_why_and_how_long_still() {
        let pause = |id: &str, until: Option<&str>| {
            json!({"id": id, "scope": {"namespace": "shop"}, "reason": "INC-4411", "by": "ana",
                "since": "2026-01-10T13:18:21Z", "until": until, "suppressed": 14})
        };
        let list = json!({"pauses": [pause("p-1", Some("2026-01-10T15:18:21Z")), pause("p-2", None)]});
        assert_eq!(
            pauses(&serde_json::from_value(list).unwrap(), now()),
            "\
ID    SCOPE            BY    REASON     ENDS       SUPPRESSED   AGE
p-1   namespace:shop   ana   INC-4411   in 1h12m   14           48m
p-2   namespace:shop   ana   INC-4411   <none>     14           48m
"
        );
    }
}
