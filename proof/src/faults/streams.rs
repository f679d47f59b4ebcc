//! Rows 10 to 13: the stream that holds the ledger is lost, replaced, cut, damaged or full, and a server that cannot serve it.

use async_nats::jetstream::stream::Config;
use flyball_devcluster::NatsOptions;

use super::bed::{Wired, once, slow, wired};
use super::damage::{Bed, QUIET, ends, found, not_ready};
use super::{Row, quick};
use crate::proxy::{Direction, Message, NatsAct, NatsRule};

/// Offsets in the ledger's block: some tens of seconds.
const FLIPS: usize = 10;

pub(super) const ROWS: &[Row] = &[
    quick(10, "ledger-restored-from-an-older-copy-while-down", "quarantine, no action; accepted, goes on", older_copy),
    quick(
        10,
        "ledger-restored-from-an-older-copy-while-up",
        "ends with its reason; quarantine at its next start; accepted, goes on",
        older_copy_while_up,
    ),
    quick(11, "ledger-deleted-while-down", "quarantine, not made anew, no action; accepted, goes on", deleted),
    quick(
        11,
        "ledger-deleted-while-up",
        "ends with its reason; quarantine at its next start; accepted, goes on",
        deleted_while_up,
    ),
    quick(11, "ledger-deleted-and-made-anew-by-a-stranger", "another ledger is not taken for ours", made_anew),
    quick(11, "ledger-purged-by-a-stranger-while-down", "refused by name, no action; the copy is taken", purged),
    quick(11, "ledger-purged-by-a-stranger-while-up", "ends with its reason, no action", purged_while_up),
    quick(
        12,
        "ledger-block-bits-flipped",
        "each flip is named or changes nothing; no action; the copy is taken",
        flipped,
    ),
    quick(13, "ledger-stream-full", "refused by name, no effect, not ready; goes on with room", full),
    quick(13, "ledger-stream-full-at-start", "waited for and named, no effect; goes on with room", full_at_start),
    quick(13, "server-store-full", "refused by name, no effect, not ready; goes on with room", store_full),
    quick(8, "nats-stopped-before-the-start", "waited for and named, no action; goes on", stopped_at_start),
    quick(8, "jetstream-silent-at-the-start", "waited for and named, no action; goes on", || silent(false)),
    quick(8, "jetstream-silent-while-up", "not ready and named, no action; goes on", || silent(true)),
    quick(10, "nats-without-the-api-level", "ends with its reason, nothing written, no action", too_old),
];

/// The copy lacks the last start and what it did.
fn older_copy() {
    let mut bed = Bed::stream("f10");
    bed.rig.terminate();
    bed.nats.terminate().expect("ended");
    let copy = bed.copy();
    bed.nats.restart().expect("started");
    bed.starts_and_is_marked();
    bed.rig.kill();
    bed.nats.terminate().expect("ended");
    bed.restore(&copy);
    bed.nats.restart().expect("started");
    bed.watch();
    bed.rig.launch();
    bed.not_ready(&["brought back from an older copy", "flyball ledger accept"]);
    bed.does_nothing();
    bed.is_found_wrong(&["brought back from an older copy"]);
    bed.accept();
    bed.goes_on();
}

/// What the copy lacks was written within the minute in which no mark is.
fn older_copy_while_up() {
    let mut bed = Bed::stream("f10u");
    bed.rig.terminate();
    bed.nats.terminate().expect("ended");
    let copy = bed.copy();
    bed.nats.restart().expect("started");
    bed.rig.start();
    bed.nats.kill().expect("killed");
    bed.restore(&copy);
    bed.watch();
    bed.nats.restart().expect("started");
    bed.ends(&["entry"]);
    bed.rig.launch();
    bed.not_ready(&["brought back from an older copy", "flyball ledger accept"]);
    bed.does_nothing();
    bed.accept();
    bed.goes_on();
}

fn deleted() {
    let mut bed = Bed::stream("f11");
    bed.rig.kill();
    bed.delete_stream();
    bed.watch();
    bed.rig.launch();
    bed.not_ready(&["the ledger is gone", "flyball ledger accept"]);
    bed.does_nothing();
    assert!(bed.found().is_none(), "nobody has made it anew");
    bed.is_found_wrong(&["there is no ledger"]);
    bed.forget();
    bed.accept();
    bed.goes_on();
}

fn deleted_while_up() {
    let mut bed = Bed::stream("f11u");
    bed.watch();
    bed.delete_stream();
    bed.rig.rca("web", "w1", "memory_leak");
    bed.ends(&["is gone"]);
    bed.rig.launch();
    bed.not_ready(&["the ledger is gone", "flyball ledger accept"]);
    bed.stays_quiet();
    assert!(bed.found().is_none(), "nobody has made it anew");
    bed.forget();
    bed.accept();
    bed.goes_on();
}

fn made_anew() {
    let mut bed = Bed::stream("f11m");
    let config = bed.found().expect("a ledger").config;
    bed.watch();
    bed.delete_stream();
    bed.rig.runtime.block_on(async { bed.rig.jetstream().await.create_stream(config).await.expect("made") });
    bed.rig.rca("web", "w1", "memory_leak");
    bed.ends(&["made anew"]);
    bed.rig.launch();
    bed.not_ready(&["the ledger is not the one it was", "flyball ledger accept"]);
    bed.stays_quiet();
    bed.is_found_wrong(&["the ledger is not the one it was"]);
    bed.forget();
    bed.accept();
    bed.goes_on();
}

/// Removes all entries but the last one.
fn purge(bed: &Bed) {
    let newest = bed.found().expect("a ledger").state.last_sequence;
    bed.rig.runtime.block_on(async {
        let stream = bed.rig.jetstream().await.get_stream(format!("FLYBALL_LEDGER_{}", bed.rig.name)).await;
        stream.expect("a ledger").purge().sequence(newest).await.expect("purged");
    });
}

fn purged() {
    let mut bed = Bed::stream("f11p");
    bed.rig.terminate();
    bed.nats.terminate().expect("ended");
    let copy = bed.copy();
    bed.nats.restart().expect("started");
    // No message of it can be deleted by anybody: only a purge cuts it.
    let one = bed.rig.runtime.block_on(async {
        let stream = bed.rig.jetstream().await.get_stream(format!("FLYBALL_LEDGER_{}", bed.rig.name)).await;
        stream.expect("a ledger").delete_message(2).await
    });
    assert!(one.is_err(), "an entry was deleted");
    purge(&bed);
    bed.watch();
    bed.rig.launch();
    bed.ends(&["are missing, and it was not us who removed them"]);
    bed.rig.rca("web", "w1", "memory_leak");
    bed.stays_quiet();
    bed.is_found_wrong(&["are missing"]);
    bed.nats.terminate().expect("ended");
    bed.restore(&copy);
    bed.nats.restart().expect("started");
    bed.rig.start();
    bed.rig.rca("web", "w1", "memory_leak");
    bed.helped();
}

fn purged_while_up() {
    let mut bed = Bed::stream("f11q");
    bed.watch();
    purge(&bed);
    bed.ends(&["are missing, and it was not us who removed them"]);
    bed.rig.rca("web", "w1", "memory_leak");
    bed.stays_quiet();
    bed.is_found_wrong(&["are missing"]);
}

/// Flips spread over the block in which the entries lie. Once the server drops a message, once it keeps it as it is.
fn flipped() {
    let mut bed = Bed::stream("f12");
    bed.rig.terminate();
    let before = bed.rig.entries();
    bed.nats.terminate().expect("ended");
    let copy = bed.copy();
    bed.watch();
    let block = bed.blocks().join("1.blk");
    let whole = std::fs::read(&block).expect("a block");
    let (mut named, mut nothing) = (0, 0);
    for step in 0..FLIPS {
        bed.restore(&copy);
        let mut bytes = whole.clone();
        // The last one hits the newest entry, the first one the oldest.
        let at = step * (bytes.len() - 1) / (FLIPS - 1);
        bytes[at] ^= 1 << (step % 8);
        std::fs::write(&block, &bytes).expect("a block with a flip");
        bed.nats.restart().expect("started");
        let (code, said) = bed.ledger(&["verify"]);
        if code == 0 {
            assert_eq!(bed.rig.entries(), before, "a flip at {at} that nobody found");
            nothing += 1;
        } else {
            assert!(code == 1 && said.contains("wrong: "), "a flip at {at}: {said}");
            bed.rig.rca("web", "w1", "memory_leak");
            bed.rig.launch();
            bed.refuses();
            named += 1;
        }
        bed.nats.terminate().expect("ended");
    }
    println!("    of {FLIPS} flips in {} bytes {named} were named, {nothing} changed nothing", whole.len());
    assert!(named > FLIPS / 2, "{named} named, {nothing} without a consequence");
    bed.stays_quiet();
    bed.restore(&copy);
    bed.nats.restart().expect("started");
    bed.rig.start();
    bed.rig.rca("web", "w1", "memory_leak");
    bed.helped();
}

/// Leaves the ledger no room, or gives it all of it again.
fn fill_up(bed: &Bed, full: bool) {
    let size = i64::try_from(bed.found().expect("a ledger").state.bytes).expect("it is small");
    bed.configure(|config| config.max_bytes = if full { size } else { -1 });
}

fn full() {
    let mut bed = Bed::stream("f13m");
    bed.watch();
    fill_up(&bed, true);
    bed.rig.rca("web", "w1", "memory_leak");
    bed.not_ready(&["maximum bytes exceeded"]);
    bed.stays_quiet();
    fill_up(&bed, false);
    bed.rig.wait_ready();
    bed.helped();
}

fn full_at_start() {
    let mut bed = Bed::stream("f13n");
    bed.rig.terminate();
    bed.watch();
    fill_up(&bed, true);
    bed.rig.launch();
    bed.rig.rca("web", "w1", "memory_leak");
    bed.not_ready(&["maximum bytes exceeded"]);
    let said = bed.rig.get("/readyz").expect_err("it is not ready").to_string();
    assert!(said.contains("ledger: FLYBALL_LEDGER_") && said.contains("cannot be written"), "{said}");
    bed.stays_quiet();
    fill_up(&bed, false);
    bed.rig.wait_ready();
    bed.helped();
}

/// A stream of somebody else's takes what the server may keep.
fn store_full() {
    let jetstream = "max_file_store: 4MB".to_owned();
    let mut bed = Bed::with("f13s", &NatsOptions { jetstream, ..NatsOptions::default() });
    bed.watch();
    let ballast = Config { name: "BALLAST".into(), subjects: vec!["ballast".into()], ..Config::default() };
    bed.rig.runtime.block_on(async {
        let context = bed.rig.jetstream().await;
        context.create_stream(ballast).await.expect("a stream");
        for size in [256 * 1024, 1024, 16] {
            while let Ok(sent) = context.publish("ballast", vec![0; size].into()).await {
                if sent.await.is_err() {
                    break;
                }
            }
        }
    });
    assert!(prepared_signal(&bed).is_err(), "there is no room for a signal either");
    bed.not_ready(&["insufficient resources"]);
    bed.stays_quiet();
    bed.rig.runtime.block_on(async { bed.rig.jetstream().await.delete_stream("BALLAST").await.expect("deleted") });
    bed.rig.wait_ready();
    bed.rig.rca("web", "w1", "memory_leak");
    bed.helped();
}

fn stopped_at_start() {
    let mut bed = Bed::stream("f08s");
    bed.rig.terminate();
    bed.rig.rca("web", "w1", "memory_leak");
    bed.watch();
    bed.nats.stop().expect("stopped");
    bed.rig.launch();
    bed.not_ready(&["NATS"]);
    bed.stays_quiet();
    bed.nats.cont().expect("it goes on");
    bed.rig.wait_ready();
    bed.helped();
}

/// The connection lives, and JetStream answers nothing on it.
fn silent(up: bool) {
    let Wired { mut rig, api: _api, nats } = wired("f08j");
    let cart = slow(&rig, "cart");
    let deaf = |it: &Message| {
        it.direction == Direction::Up && (it.subject.starts_with("$JS.") || it.subject.starts_with("flyball."))
    };
    rig.start();
    if !up {
        rig.terminate();
    }
    let rule = nats.add(NatsRule::on(deaf).act(NatsAct::Drop));
    if !up {
        rig.launch();
    }
    rig.rca("cart", "w1", "memory_leak");
    not_ready(&rig, if up { &["no answer within"] } else { &["the ledger"] });
    std::thread::sleep(QUIET);
    assert!(rig.requests(&cart).is_empty());
    rule.lift();
    once(&rig, &cart);
}

/// A server that says that its JetStream is of level 0 knows none of the headers that we rely on.
fn too_old() {
    let Wired { mut rig, api: _api, nats } = wired("f10l");
    let cart = slow(&rig, "cart");
    rig.start();
    rig.terminate();
    let before = found(&rig).expect("a ledger").state.last_sequence;
    let asked = |it: &Message| it.direction == Direction::Up && it.subject == "$JS.API.INFO";
    let older = NatsAct::Rewrite(|frame| {
        let key = br#""level":"#;
        let level = frame.windows(key.len()).position(|it| it == key).expect("it tells its level") + key.len();
        assert!(frame[level].is_ascii_digit() && !frame[level + 1].is_ascii_digit());
        frame[level] = b'0';
    });
    nats.add(NatsRule::on(asked).act(NatsAct::Answer(Box::new(older))));
    rig.rca("cart", "w1", "memory_leak");
    rig.launch();
    ends(&rig, &["API level 0", "use 2.11 or newer"]);
    assert!(rig.requests(&cart).is_empty());
    assert_eq!(found(&rig).expect("a ledger").state.last_sequence, before, "nothing was written");
}

fn prepared_signal(bed: &Bed) -> anyhow::Result<u64> {
    let subject = format!("flyball.signal.v1.rca.{}.{}", bed.rig.name, bed.rig.namespace);
    let body = crate::rig::rca("web", "w0", "memory_leak").to_string();
    bed.rig.runtime.block_on(async {
        let sent = bed.rig.jetstream().await.publish(subject, body.into()).await?;
        Ok(sent.await?.sequence)
    })
}
