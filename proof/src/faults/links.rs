//! Row 16: the link to NATS is slow, long, reset or silent; an append is stored unanswered, or held.

use std::time::{Duration, Instant};

use anyhow::ensure;
use flyball_core::intent::Event;
use flyball_core::record::{Entry, Record};

use super::bed::{
    Wired, accounted, each_once, effects, leak, once, patiently, slow as slow_workload, slow_ones, wired,
};
use super::{Row, quick, slow};
use crate::proxy::{Direction, Message, NatsAct, NatsProxy, NatsRule};
use crate::rig::{SOON, Wires, shared_nats};
use crate::soak::account;

pub(super) const ROWS: &[Row] = &[
    quick(16, "nats-link-slow", "late, and nothing else", || nats_link(Link::Slow)),
    quick(16, "nats-link-long", "0.4 s each way: late, nobody put aside; one effect each", long_link),
    slow(
        16,
        "nats-link-2-s-there-and-back",
        "1 to 1.25 s each way, from the start on, two replicas: late, nobody put aside; one effect each",
        far_link,
    ),
    quick(16, "nats-link-reset-again-and-again", "one effect each", || nats_link(Link::Reset)),
    quick(16, "nats-link-half-open", "noticed within three pings; one effect each", || nats_link(Link::BlackHole)),
    quick(16, "ledger-append-stored-but-unanswered", "read back, not written twice; one effect", unanswered_append),
    quick(16, "ledger-append-held-and-released-late", "it loses its compare; one effect", held_append),
];

/// An append to the ledger whose record says this.
pub(super) fn append(word: &'static str) -> impl Fn(&Message) -> bool + Send + Sync + 'static {
    move |it| it.direction == Direction::Up && it.subject.starts_with("flyball.ledger.") && it.text().contains(word)
}

/// A delivery comes again after a second, so every one of them comes several times before its acknowledgement arrives. None of
/// them kills anybody.
fn long_link() {
    let Wired { mut rig, api: _api, nats } = wired("f16l");
    let targets = slow_ones(&rig, 3);
    rig.start();
    // A start asks forty questions, one after the other: this row is about the work.
    nats.latency(Duration::from_millis(400));
    nats.cut_all();
    let sequences: Vec<u64> = targets.iter().map(|it| rig.rca(&it.name, "w1", "memory_leak")).collect();
    each_once(&rig, &targets);
    accounted(&rig, &sequences);
    let refused = rig.runtime.block_on(account::refused(&rig)).expect("the dead letters");
    assert!(refused.is_empty(), "{refused:?}");
}

/// Two replicas start, listen and act behind a link on which no answer takes less than two seconds. The server waits for one, so
/// that every delivery goes to both of them, more than once.
fn far_link() {
    let Wired { mut rig, api: _api, nats } = wired("f16f");
    let other = NatsProxy::to(shared_nats().port()).expect("a wire to NATS");
    let wires = Wires { nats_url: other.url(), kubeconfig: rig.kubeconfig.clone() };
    rig.add_through("two", &wires);
    let targets = slow_ones(&rig, 3);
    for link in [&nats, &other] {
        link.jitter(Duration::from_millis(250));
        link.latency(Duration::from_secs(1));
    }
    // Built before the time is taken.
    crate::binary();
    let start = Instant::now();
    rig.replicas().iter().for_each(|it| it.launch());
    for name in ["one", "two"] {
        patiently(&rig, "a start on a long link", || rig.get_from(name, "/readyz"));
    }
    println!(" 16 both replicas are ready {:.0} s after their start", start.elapsed().as_secs_f64());
    let sequences: Vec<u64> = targets.iter().map(|it| rig.rca(&it.name, "w1", "memory_leak")).collect();
    each_once(&rig, &targets);
    accounted(&rig, &sequences);
    let refused = rig.runtime.block_on(account::refused(&rig)).expect("the dead letters");
    assert!(refused.is_empty(), "{refused:?}");
}

enum Link {
    Slow,
    Reset,
    BlackHole,
}

fn nats_link(link: Link) {
    let Wired { mut rig, api: _api, nats } = wired("f16");
    let targets = slow_ones(&rig, 3);
    rig.start();
    match link {
        Link::Slow => nats.delay(Duration::from_millis(40)),
        Link::Reset => {
            leak(&rig, &targets);
            for _ in 0..8 {
                nats.cut_all();
                // The pace of the resets.
                std::thread::sleep(Duration::from_millis(700));
            }
            return each_once(&rig, &targets);
        }
        Link::BlackHole => {
            let trigger = nats.add(NatsRule::on(append("Attempted")).nth(1).act(NatsAct::BlackHole));
            leak(&rig, &targets);
            trigger.wait(1, SOON).expect("the connection has gone silent");
            let start = Instant::now();
            each_once(&rig, &targets);
            // Pings are 5 s apart: silence is noticed after two, the rest is the rollout.
            assert!(start.elapsed() < Duration::from_secs(45), "{:?}", start.elapsed());
            return;
        }
    }
    leak(&rig, &targets);
    each_once(&rig, &targets);
}

fn unanswered_append() {
    let Wired { mut rig, api: _api, nats } = wired("f16u");
    let cart = slow_workload(&rig, "cart");
    let triggers = ["Admitted", "Attempted", "Applied"]
        .map(|word| nats.add(NatsRule::on(append(word)).nth(1).act(NatsAct::swallow_answer())));
    rig.start();
    rig.rca("cart", "w1", "memory_leak");
    let intent = once(&rig, &cart);
    assert!(triggers.iter().all(|it| it.hits() == 1), "each answer was swallowed");
    let attempts = intent.events().iter().filter(|(_, it)| matches!(it, Event::Attempted { .. })).count();
    assert_eq!(attempts, 1, "the entry was read back, not written twice");
}

fn held_append() {
    let Wired { mut rig, api: _api, nats } = wired("f16h");
    let cart = slow_workload(&rig, "cart");
    let trigger = nats.add(NatsRule::on(append("Admitted")).nth(1).act(NatsAct::Hold));
    rig.start();
    rig.rca("cart", "w1", "memory_leak");
    patiently(&rig, "the effect, by another entry", || {
        ensure!(effects(&rig, &cart) == 1, "not yet");
        Ok(())
    });
    let before = rig.entries().len();
    trigger.release();
    once(&rig, &cart);
    let admitted = |it: &&Entry| matches!(it.record, Record::Admitted(_));
    let admissions = rig.entries().iter().filter(admitted).count();
    assert_eq!(admissions, 1, "of {before} entries and what came later");
}
