//! At least once: settled, refused, redelivered.

mod common;

use common::{block_on, poll_once, secs, world};
use flyball_core::ports::{Delivery, Message, Signals};
use flyball_sim::World;

fn publish(world: &World, body: &str) -> u64 {
    world.signals.publish(Message { body: body.into(), ..Message::default() })
}

fn next(world: &World) -> Vec<Delivery> {
    block_on(world.signals.next()).expect("not closed")
}

fn sequences(batch: &[Delivery]) -> Vec<u64> {
    batch.iter().map(|it| it.message.sequence).collect()
}

#[test]
fn what_is_settled_never_comes_again() {
    let (world, clock) = world(1);
    publish(&world, "a");
    publish(&world, "b");
    let mut batch = next(&world);
    assert_eq!(sequences(&batch), [1, 2]);
    let (bad, good) = (batch.pop().expect("b"), batch.pop().expect("a"));
    block_on(good.receipt.acknowledge(true));
    block_on(bad.receipt.refuse("Malformed", "not JSON")).expect("kept");
    assert_eq!((world.signals.unsettled(), world.signals.deliveries(1)), (0, 1));
    let refused = &world.signals.refused()[0];
    assert_eq!((refused.message.body.as_slice(), refused.reason.as_str()), (b"b".as_slice(), "Malformed"));
    let acknowledged = &world.signals.acknowledged()[0];
    assert!(acknowledged.durable && acknowledged.sequence == 1);
    clock.advance(secs(60));
    assert!(poll_once(world.signals.next().as_mut()).is_pending());
    world.signals.close();
    assert!(block_on(world.signals.next()).is_none());
}

#[test]
fn what_is_not_settled_comes_again() {
    let (world, clock) = world(2);
    publish(&world, "a");
    drop(next(&world));
    let again = next(&world);
    assert_eq!(flyball_core::ports::Clock::monotonic(&clock), secs(30));
    assert_eq!((sequences(&again), world.signals.deliveries(1)), (vec![1], 2));

    // An acknowledgement that is lost is as good as none, a late one as good as any.
    world.signals.lose_acknowledgements(1);
    for delivery in again {
        block_on(delivery.receipt.acknowledge(true));
    }
    assert_eq!(world.signals.unsettled(), 1);
    let late = next(&world);
    clock.advance(secs(31));
    for delivery in late {
        block_on(delivery.receipt.acknowledge(false));
    }
    assert!(poll_once(world.signals.next().as_mut()).is_pending());
}

#[test]
fn a_publish_wakes_who_waits_and_an_outage_holds_it_back() {
    let (world, clock) = world(3);
    let mut waiting = world.signals.next();
    assert!(poll_once(waiting.as_mut()).is_pending());
    publish(&world, "a");
    assert_eq!(sequences(&block_on(waiting).expect("not closed")), [1]);
    world.signals.outage(secs(10));
    publish(&world, "b");
    assert!(block_on(world.signals.ready()).is_err());
    assert_eq!(sequences(&next(&world)), [2]);
    assert_eq!(flyball_core::ports::Clock::monotonic(&clock), secs(10));
}
