//! The same seed and the same calls make the same history.

mod common;

use common::{act, millis, secs, world};
use flyball_core::action::{Action, Scale};
use flyball_sim::{Effect, Fault, Manifest, Race};
use serde_json::Value;

fn play(seed: u64) -> (Vec<Effect>, Vec<Value>, Vec<String>) {
    let (world, clock) = world(seed);
    let cluster = &world.cluster;
    let all: Vec<Manifest> = (0..6).map(|it| Manifest::deployment("shop", &format!("app-{it}"))).collect();
    for one in &all {
        cluster.put(one);
    }
    cluster.set_latency(millis(40));
    cluster.chaos(vec![
        (100, Fault::Lost),
        (100, Fault::AnswerLost),
        (100, Fault::Held(secs(20))),
        (100, Fault::Duplicated(millis(3))),
        (100, Fault::Raced(Race::Status)),
    ]);
    let mut answers = Vec::new();
    for round in 0..20 {
        for (at, one) in all.iter().enumerate() {
            let to = if (at + round) % 2 == 0 { 4 } else { 2 };
            let action = if at % 2 == 0 { Action::Restart } else { Action::Scale(Scale::By(to - 3)) };
            answers.push(format!("{:?}", act(cluster, one.target(), action, &format!("{round}-{at}"))));
        }
        clock.advance(millis(700));
    }
    cluster.chaos(Vec::new());
    clock.advance(secs(60));
    let objects = all.iter().filter_map(|it| cluster.object(it.target())).collect();
    (world.effects(), objects, answers)
}

#[test]
fn the_same_seed_makes_the_same_history() {
    for seed in 0..8 {
        let (one, other) = (play(seed), play(seed));
        assert_eq!(one, other, "seed {seed}");
        assert_ne!(one.0, play(seed + 100).0);
    }
}

#[test]
fn no_intent_ever_has_two_effects() {
    for seed in 0..40 {
        let mut accepted: Vec<_> = play(seed).0.into_iter().filter(|it| it.accepted).map(|it| it.intent).collect();
        let count = accepted.len();
        accepted.sort_unstable();
        accepted.dedup();
        assert_eq!(accepted.len(), count, "seed {seed}");
    }
}
