//! Rows 1, 3, 31, 33 to 36 and 42: what happens to one message on the wire between the engine and its servers.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use flyball_core::intent::{Event, Intent};
use flyball_core::workload::Workload as Target;
use flyball_devcluster::AuditEntry;

use super::bed::{Wired, each_once, effects, fences, leak, once, patiently, slow as slow_workload, slow_ones, wired};
use super::links::append;
use super::{Row, quick, slow};
use crate::proxy::{ApiAct, ApiRule, Call, NatsAct, NatsRule, Rule};
use crate::rig::{Rig, SOON};
use crate::soak::account;

pub(super) const ROWS: &[Row] = &[
    quick(1, "engine-killed-before-its-effect-is-sent", "taken up, one effect", || killed_at_the_effect(false)),
    quick(1, "engine-killed-before-its-effect-is-answered", "found by its stamp, one effect", || {
        killed_at_the_effect(true);
    }),
    quick(
        3,
        "engine-stopped-before-its-effect",
        "another takes over behind a fence; whatever it sends when it wakes up is refused",
        stopped_before_the_effect,
    ),
    quick(
        3,
        "engine-stopped-with-its-effect-on-the-way",
        "another takes over behind a fence; the late effect is refused",
        stopped_at_the_effect,
    ),
    quick(31, "throttled-with-retry-after", "tried again, no sooner than asked for reads; one effect", throttled),
    quick(33, "errors-before-forwarding", "unknown, read back, sent again; one effect each", || errors(false)),
    quick(33, "errors-after-forwarding", "unknown, read back, found by its stamp; one effect each", || errors(true)),
    quick(34, "answer-dropped-after-forwarding", "found by its stamp; one effect", || cut(ApiAct::DropAnswer)),
    quick(34, "answer-never-comes", "given up after 10 s, found by its stamp; one effect", || {
        cut(ApiAct::SwallowAnswer);
    }),
    quick(34, "connection-reset-before-forwarding", "read back, sent again; one effect", || cut(ApiAct::Reset)),
    slow(35, "effect-held-60-s-and-released-after-take-over", "refused by the fence; one effect", || {
        held(Duration::from_secs(60));
    }),
    quick(35, "effect-held-and-released-after-take-over", "refused by the fence; one effect", || held(Duration::ZERO)),
    quick(36, "effect-sent-twice", "the second is refused; one effect", || cut(ApiAct::Twice)),
    quick(42, "not-recognised", "401: tried again at the driver's pace; one effect", || {
        cut(ApiAct::Refuse { status: 401, retry_after: None });
    }),
];

/// The effect on a target, not a fence.
pub(super) fn effect(target: &Target) -> impl Fn(&Call) -> bool + Send + Sync + 'static {
    let target = target.clone();
    move |it| {
        let stamps = &it.body["metadata"]["annotations"];
        it.verb == "patch"
            && it.name == *target.name
            && it.namespace == *target.namespace
            && stamps["flyball.dev/intent"].is_string()
    }
}

fn killed_at_the_effect(forwarded: bool) {
    let Wired { mut rig, api, nats: _nats } = wired("f01w");
    let cart = slow_workload(&rig, "cart");
    let replica = rig.replica("one").clone();
    let rule: ApiRule = Rule::on(effect(&cart)).nth(1);
    let kill = move |_: &Call| assert!(replica.kill(), "it runs");
    let trigger = api.add(if forwarded { rule.after(kill) } else { rule.before(kill).act(ApiAct::Reset) });
    rig.start();
    rig.rca("cart", "w1", "memory_leak");
    trigger.wait(1, SOON).expect("it is killed there");
    rig.launch();
    once(&rig, &cart);
}

/// Frozen when the answer to its entry is on the wire. When it wakes up it hears that answer and what its heir has written, one
/// soon after the other: it may send its effect between the two or see that it was taken over. Both are right.
fn stopped_before_the_effect() {
    let Wired { mut rig, api: _api, nats } = wired("f03");
    let cart = slow_workload(&rig, "cart");
    let first = rig.replica("one").clone();
    let frozen = first.clone();
    let rule: NatsRule = Rule::on(append("Attempted")).nth(1).before(move |_| frozen.freeze());
    let trigger = nats.add(rule.act(NatsAct::Answer(Box::new(NatsAct::Pass))));
    rig.start();
    rig.rca("cart", "w1", "memory_leak");
    trigger.wait(1, SOON).expect("it is frozen there");
    assert!(rig.requests(&cart).is_empty(), "nothing has left it");
    inherited(&mut rig, &cart);
    first.thaw();
    first.ensure_running().expect("it goes on");
    rig.eventually("the woken one to know how it ended", || {
        let decided = rig.get_from("one", "/v1/decisions")?;
        ensure!(decided["decisions"][0]["result"] == "RolledOut", "it says {decided}");
        Ok(())
    });
    // It ends with what it has begun, so that nothing can come from it afterwards.
    first.terminate();
    let intent = once(&rig, &cart);
    fenced_or_moved(&rig, &cart, &intent);
}

/// Frozen when its effect is on the wire, which arrives when another has taken over and acted.
fn stopped_at_the_effect() {
    let Wired { mut rig, api, nats: _nats } = wired("f03w");
    let cart = slow_workload(&rig, "cart");
    let first = rig.replica("one").clone();
    let frozen = first.clone();
    let (tell, told) = mpsc::channel();
    let freeze = move |_: &Call| {
        frozen.freeze();
        tell.send(()).expect("somebody waits for it");
    };
    let trigger = api.add(ApiRule::on(effect(&cart)).nth(1).before(freeze).act(ApiAct::Hold));
    rig.start();
    rig.rca("cart", "w1", "memory_leak");
    told.recv_timeout(SOON).expect("it is frozen there");
    inherited(&mut rig, &cart);
    first.thaw();
    trigger.release();
    refused(&rig, &cart);
    let intent = once(&rig, &cart);
    fenced_or_moved(&rig, &cart, &intent);
    first.ensure_running().expect("it goes on");
}

/// Another replica starts, takes over, and has its effect.
fn inherited(rig: &mut Rig, target: &Target) {
    rig.add("two");
    rig.start_replica("two");
    taken_over(rig, "two");
    patiently(rig, "the heir's effect", || {
        ensure!(effects(rig, target) == 1, "not yet");
        Ok(())
    });
}

fn taken_over(rig: &Rig, heir: &str) {
    rig.eventually("another one to take over", || {
        let history = rig.history();
        let intent = history.intents().next().ok_or_else(|| anyhow!("no intent"))?;
        ensure!(*intent.writer().replica == *heir, "{} drives it", intent.writer().replica);
        Ok(())
    });
}

/// The heir planned anew only after it knew that the send before it could not land: it took the token of that send with a
/// fence, or found that somebody else's write, of the status say, had taken it already.
fn fenced_or_moved(rig: &Rig, target: &Target, intent: &Intent) {
    let missed =
        intent.events().iter().find_map(|(_, it)| if let Event::Missed { detail } = it { Some(detail) } else { None });
    let missed = missed.unwrap_or_else(|| panic!("not settled before it was sent anew: {:?}", intent.events()));
    let fences = fences(rig, target);
    assert_eq!(fences, usize::from(missed.contains("fenced")), "{missed}");
}

/// Waits until the API server has refused an effect of ours on the target for its version.
fn refused(rig: &Rig, target: &Target) {
    rig.eventually("a late effect to be refused", || {
        let requests = rig.requests(target);
        let stamped = |it: &&AuditEntry| !account::is_fence(it) && it.code == 409;
        ensure!(requests.iter().any(|it| stamped(&it)), "of {} requests none was", requests.len());
        Ok(())
    });
}

fn throttled() {
    let Wired { mut rig, api, nats: _nats } = wired("f31");
    let cart = slow_workload(&rig, "cart");
    let busy = |retry_after| ApiAct::Refuse { status: 429, retry_after: Some(retry_after) };
    rig.start();
    let writes = api.add(ApiRule::on(effect(&cart)).times(2).act(busy(1)));
    let name = cart.clone();
    let reads = move |it: &Call| it.verb == "get" && it.name == *name.name && it.namespace == *name.namespace;
    let reads = api.add(ApiRule::on(reads).times(2).act(busy(1)));
    rig.rca("cart", "w1", "memory_leak");
    once(&rig, &cart);
    assert_eq!((writes.hits(), reads.hits()), (2, 2), "both were throttled");
}

fn errors(forwarded: bool) {
    let Wired { mut rig, api, nats: _nats } = wired("f33");
    let targets = slow_ones(&rig, 4);
    rig.start();
    let triggers: Vec<_> = [500, 502, 503, 504]
        .into_iter()
        .zip(&targets)
        .map(|(status, target)| {
            let act =
                if forwarded { ApiAct::AnswerInstead(status) } else { ApiAct::Refuse { status, retry_after: None } };
            api.add(ApiRule::on(effect(target)).nth(1).act(act))
        })
        .collect();
    leak(&rig, &targets);
    each_once(&rig, &targets);
    assert!(triggers.iter().all(|it| it.hits() == 1), "each had its error");
    for target in &targets {
        let sent = rig.requests(target).len();
        assert_eq!(sent, 1, "{target}: what was applied is not sent again, what never came is not in the log");
    }
}

/// This is done with the first effect.
fn cut(act: ApiAct) {
    let Wired { mut rig, api, nats: _nats } = wired("f34");
    let twice = matches!(act, ApiAct::Twice);
    let cart = slow_workload(&rig, "cart");
    rig.start();
    let trigger = api.add(ApiRule::on(effect(&cart)).nth(1).act(act));
    rig.rca("cart", "w1", "memory_leak");
    once(&rig, &cart);
    assert_eq!(trigger.hits(), 1, "it was done");
    if twice {
        refused(&rig, &cart);
    }
}

/// The effect lies in the proxy while its sender dies and another takes over; then it arrives after all.
fn held(time: Duration) {
    let Wired { mut rig, api, nats: _nats } = wired("f35");
    let cart = slow_workload(&rig, "cart");
    rig.start();
    let first = rig.replica("one").clone();
    let rule = ApiRule::on(effect(&cart)).nth(1).before(move |_| assert!(first.kill(), "it runs")).act(ApiAct::Hold);
    let trigger = api.add(rule);
    let start = Instant::now();
    rig.rca("cart", "w1", "memory_leak");
    rig.add("two");
    patiently(&rig, "its sender to be dead", || {
        ensure!(rig.replica("one").pid().is_none(), "not yet");
        Ok(())
    });
    rig.start_replica("two");
    taken_over(&rig, "two");
    patiently(&rig, "the heir's effect", || {
        ensure!(effects(&rig, &cart) == 1, "not yet");
        Ok(())
    });
    // How long it is held is what this row is about.
    std::thread::sleep(time.saturating_sub(start.elapsed()));
    trigger.release();
    refused(&rig, &cart);
    let intent = once(&rig, &cart);
    fenced_or_moved(&rig, &cart, &intent);
}
