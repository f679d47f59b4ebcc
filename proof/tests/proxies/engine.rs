//! A real engine behind both wires.

use flyball_proof::judge::Evidence;
use flyball_proof::proxy::{ApiAct, Call, Direction, Message, NatsAct, Rule};
use flyball_proof::rig::{Rig, SOON, outcome, policy};

const RESTART: &str = "{signal: rca, causes: [memory_leak]}";

#[test]
fn an_engine_works_through_both_wires_and_an_answer_that_is_lost_is_read_back() {
    let mut rig = Rig::new("wired");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", ""));
    let (one, line) = rig.add_proxied("one");
    let appended = line.nats.add(Rule::on(|it: &Message| {
        it.direction == Direction::Up && it.subject.starts_with("flyball.ledger.") && it.text().contains("Attempted")
    }));
    let patched = line.api.add(Rule::on(|it: &Call| it.verb == "patch").nth(1).act(ApiAct::DropAnswer));
    rig.start_replica(&one.name);
    let cart = rig.healthy("cart", 1);
    rig.rca("cart", "w1", "memory_leak");
    assert!(outcome(&rig.ended(&cart, 1)[0]).is_success());
    patched.wait(1, SOON).unwrap();
    assert_eq!((rig.effects(&cart).len(), appended.hits()), (1, 1));
}

fn appends(it: &Message, entry: &str) -> bool {
    it.direction == Direction::Up && it.subject.starts_with("flyball.ledger.") && it.text().contains(entry)
}

/// A replica that is too slow for its delivery finds that another one has acted on it: that is no denial.
#[test]
fn a_delivery_that_two_replicas_have_comes_to_one_end() {
    let mut rig = Rig::new("twoends");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", ""));
    let (_, slow) = rig.add_proxied("one");
    let (_, quick) = rig.add_proxied("two");
    rig.start_replica("one");
    let cart = rig.healthy("cart", 1);
    // The slow one gets the signal once, and the server hears neither its admission nor that it is still at it.
    let delivery = |it: &Message| it.direction == Direction::Down && it.subject.starts_with("flyball.signal.v1.");
    let got = slow.nats.add(Rule::on(delivery).times(1));
    slow.nats.add(Rule::on(delivery).act(NatsAct::Drop));
    slow.nats
        .add(Rule::on(|it: &Message| it.subject.starts_with("$JS.ACK.") && it.text() == "+WPI").act(NatsAct::Drop));
    let held = slow.nats.add(Rule::on(|it: &Message| appends(it, "\"Admitted\"")).times(1).act(NatsAct::Hold));
    let admitted = quick.nats.add(Rule::on(|it: &Message| appends(it, "\"Admitted\"")).times(1));
    let sequence = rig.rca("cart", "w1", "memory_leak");
    got.wait(1, SOON).unwrap();
    held.wait(1, SOON).unwrap();
    rig.start_replica("two");
    admitted.wait(1, SOON).unwrap();
    held.release();
    assert!(outcome(&rig.ended(&cart, 1)[0]).is_success());
    // The slow one acknowledges once its own append is settled.
    rig.eventually("the delivery is settled", || {
        let state = rig.unsettled()?;
        anyhow::ensure!(state == (0, 0), "{state:?}");
        Ok(())
    });
    let found = Evidence::of(&rig, &[], &[sequence]).unwrap().judge_at_rest();
    assert_eq!(found, []);
}
