//! Row 25: a message that kills whoever reads it. The product has no switch for that; the wire kills instead, at the two places where
//! a process can have the message in hand.

use std::collections::BTreeMap;

use anyhow::ensure;
use flyball_core::workload::Workload as Target;

use super::bed::{Wired, lawful, once, slow_ones, wired};
use super::{Row, quick};
use crate::proxy::{Direction, Message, NatsAct, NatsRule};
use crate::rig::Rig;

pub(super) const ROWS: &[Row] = &[quick(
    25,
    "message-that-kills-its-reader",
    "five deaths, then a dead letter; the others are decided, one effect each",
    killer,
)];

/// Deaths before anybody suspects it: it is delivered, and the process is gone.
const UNSUSPECTED: usize = 2;
/// Deaths alone, each behind its mark.
const ALONE: usize = 3;

fn killer() {
    let Wired { mut rig, api: _api, nats } = wired("f25");
    let (targets, first) = (slow_ones(&rig, 3), rig.replica("one").clone());
    rig.start();
    let kill = || {
        let replica = first.clone();
        move |_: &Message| {
            replica.kill();
        }
    };
    let delivered = |it: &Message| {
        it.direction == Direction::Down && it.subject.starts_with("flyball.signal.") && it.text().contains("deadly")
    };
    let unsuspected = nats.add(NatsRule::on(delivered).times(UNSUSPECTED).after(kill()).act(NatsAct::Pass));
    // The mark is stored, and the process never hears of it: it is gone as if it had read on.
    let number = rig.rca("deadly", "w1", "memory_leak");
    let mark = format!("flyball.suspect.{}.FLYBALL_SIGNALS.{number}", rig.name);
    let marks = move |it: &Message| it.direction == Direction::Up && it.subject == mark;
    let swallowed = NatsAct::Answer(Box::new(NatsAct::Drop));
    let alone = nats.add(NatsRule::on(marks).times(ALONE).before(kill()).act(swallowed));
    let sequences: Vec<u64> = targets.iter().map(|it| rig.rca(&it.name, "w1", "memory_leak")).collect();
    // What a supervisor does.
    rig.eventually("it is put aside", || {
        if first.pid().is_none() {
            first.launch();
        }
        let letters = put_aside(&rig);
        ensure!(letters.contains_key(&number), "{letters:?} after {} and {} deaths", unsuspected.hits(), alone.hits());
        Ok(())
    });
    assert_eq!((unsuspected.hits(), alone.hits()), (UNSUSPECTED, ALONE));
    let letters = put_aside(&rig);
    assert_eq!(letters.len(), 1, "nobody else: {letters:?}");
    assert_eq!(letters[&number], "kills-its-reader");
    // What people watch tells it as well. The letter is there a moment before.
    rig.eventually("it to be counted", || {
        let counted = r#"orchestrator_closed_loop_signals_total{kind="rca",result="refused"} 1"#;
        let page = rig.get("/metrics")?;
        ensure!(page.as_str().is_some_and(|it| it.lines().any(|line| line == counted)), "{counted} is not in {page}");
        Ok(())
    });
    for target in &targets {
        once(&rig, target);
    }
    super::bed::accounted(&rig, &sequences);
    let deadly = Target::new(flyball_core::workload::WorkloadKind::Deployment, &rig.namespace, "deadly");
    assert!(rig.requests(&deadly).is_empty());
    lawful(&rig);
}

/// This rig's dead letters: sequence and reason.
fn put_aside(rig: &Rig) -> BTreeMap<u64, String> {
    rig.runtime.block_on(async {
        let Ok(mut stream) = rig.jetstream().await.get_stream("FLYBALL_REFUSED").await else { return BTreeMap::new() };
        let last = stream.info().await.map_or(0, |it| it.state.last_sequence);
        let mut found = BTreeMap::new();
        for sequence in 1..=last {
            let Ok(letter) = stream.get_raw_message(sequence).await else { continue };
            let header = |name: &str| letter.headers.get(name).map(|it| it.as_str().to_owned()).unwrap_or_default();
            if header("Flyball-Refused-Subject").ends_with(&format!(".{}.{}", rig.name, rig.namespace)) {
                let of = header("Flyball-Refused-Sequence").parse().expect("a sequence");
                found.insert(of, header("Flyball-Refused-Reason"));
            }
        }
        found
    })
}
