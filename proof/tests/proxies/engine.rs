//! A real engine behind both wires.

use flyball_proof::proxy::{ApiAct, Call, Direction, Message, Rule};
use flyball_proof::rig::{Rig, SOON, outcome, policy};

#[test]
fn an_engine_works_through_both_wires_and_an_answer_that_is_lost_is_read_back() {
    let mut rig = Rig::new("wired");
    rig.policy("p.yaml", &policy("restart", "{signal: rca, causes: [memory_leak]}", "{restart: {}}", ""));
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
