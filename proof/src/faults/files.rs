//! Rows 10 to 13 for a ledger in a file: lost, replaced, cut, damaged, in use by another process, and a disk that is full.

use std::fs;
use std::path::PathBuf;

use flyball_devcluster::NatsServer;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::damage::Bed;
use super::{Row, quick};

pub(super) const ROWS: &[Row] = &[
    quick(10, "ledger-file-older-copy", "quarantine, no action; accepted, goes on", older_copy),
    quick(11, "ledger-file-removed-while-down", "quarantine, not made anew, no action; accepted, goes on", removed),
    quick(
        11,
        "ledger-file-removed-while-up",
        "ends with its reason; quarantine at its next start; accepted, goes on",
        removed_while_up,
    ),
    quick(12, "ledger-file-cut-while-down", "refused by name, no action; an empty one is accepted, goes on", cut),
    quick(12, "ledger-file-cut-while-up", "ends with its reason, no action; the copy is taken", cut_while_up),
    quick(
        12,
        "ledger-file-bit-flipped-in-its-table",
        "named at the first write, no action; the copy is taken",
        flipped,
    ),
    quick(13, "ledger-file-in-use", "the second ends with its reason; the first works on", in_use),
    quick(13, "ledger-file-disk-full", "refused by name, no effect, not ready; goes on with room", disk_full),
    quick(
        13,
        "ledger-file-disk-full-at-start",
        "waited for and named, no effect; goes on with room",
        disk_full_at_start,
    ),
];

/// An engine whose ledger is a file, which has acted once.
fn bed(row: &str) -> (Bed, PathBuf) {
    let bed = Bed::file(row, NatsServer::start().expect("a nats-server"));
    let path = PathBuf::from(bed.rig.replica("one").ledger().expect("a file"));
    (bed, path)
}

fn older_copy() {
    let (mut bed, path) = bed("f10f");
    bed.rig.terminate();
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).expect("a copy");
    bed.starts_and_is_marked();
    bed.rig.kill();
    fs::copy(&copy, &path).expect("the copy in its place");
    bed.watch();
    bed.rig.launch();
    bed.not_ready(&["brought back from an older copy", "flyball ledger accept"]);
    bed.does_nothing();
    bed.accept();
    bed.goes_on();
}

fn removed() {
    let (mut bed, path) = bed("f11f");
    bed.rig.kill();
    fs::remove_file(&path).expect("removed");
    bed.watch();
    bed.rig.launch();
    bed.not_ready(&["the ledger is gone", "flyball ledger accept"]);
    bed.does_nothing();
    assert!(!path.exists(), "nobody has made it anew");
    bed.is_found_wrong(&["there is no ledger"]);
    bed.forget();
    bed.accept();
    bed.goes_on();
}

fn removed_while_up() {
    let (mut bed, path) = bed("f11g");
    bed.watch();
    fs::remove_file(&path).expect("removed");
    bed.rig.rca("web", "w1", "memory_leak");
    bed.ends(&["was removed while it was in use"]);
    bed.rig.launch();
    bed.not_ready(&["the ledger is gone", "flyball ledger accept"]);
    bed.stays_quiet();
    bed.forget();
    bed.accept();
    bed.goes_on();
}

fn cut() {
    let (mut bed, path) = bed("f12f");
    bed.rig.kill();
    let whole = fs::metadata(&path).expect("a file").len();
    fs::File::options().write(true).open(&path).and_then(|it| it.set_len(whole / 2)).expect("cut");
    bed.watch();
    bed.rig.launch();
    bed.ends(&["is not a ledger that can be read"]);
    bed.does_nothing();
    bed.is_found_wrong(&["is not a ledger that can be read"]);
    fs::remove_file(&path).expect("removed");
    bed.forget();
    bed.accept();
    bed.rig.start();
    bed.goes_on();
}

fn cut_while_up() {
    let (mut bed, path) = bed("f12g");
    bed.rig.terminate();
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).expect("a copy");
    bed.rig.start();
    bed.watch();
    // Only the first pages are left: half of a young file would be room that nothing lies in.
    fs::File::options().write(true).open(&path).and_then(|it| it.set_len(8192)).expect("cut");
    bed.rig.rca("web", "w1", "memory_leak");
    bed.ends(&["was changed by somebody else"]);
    bed.rig.launch();
    bed.ends(&["is not a ledger that can be read"]);
    bed.stays_quiet();
    // It lacks the last start: a person has to say that it is the right one all the same.
    fs::copy(&copy, &path).expect("the copy in its place");
    bed.accept();
    bed.rig.start();
    bed.goes_on();
}

/// The bytes of the newest admission's sum lie in the table of topics alone: in an entry it is written out in letters.
fn flipped() {
    let (mut bed, path) = bed("f12h");
    bed.rig.terminate();
    let head = bed.rig.history().admit_head();
    let mut bytes = fs::read(&path).expect("a file");
    let whole = bytes.clone();
    let places: Vec<usize> = (8..bytes.len() - 16).filter(|at| bytes[*at..*at + 16] == *head.sum.bytes()).collect();
    assert!(!places.is_empty(), "it is in the table");
    // Pages that are free keep what they had: each is flipped, one of them is read. The revision lies before the sum.
    for at in places {
        bytes[at - 7] ^= 1;
    }
    fs::write(&path, &bytes).expect("a file with flips");
    bed.watch();
    bed.rig.launch();
    bed.rig.rca("web", "w1", "memory_leak");
    bed.not_ready(&["the file is damaged"]);
    bed.stays_quiet();
    bed.rig.kill();
    bed.is_found_wrong(&["its table says"]);
    fs::write(&path, &whole).expect("the copy in its place");
    bed.accept();
    bed.rig.start();
    bed.goes_on();
}

fn in_use() {
    let (mut bed, path) = bed("f13f");
    bed.watch();
    let own = bed.rig.arguments.clone();
    assert_eq!(own.last().map(PathBuf::from), Some(path));
    let second = bed.rig.add("two");
    second.launch();
    let code = bed.rig.eventually("the second one to end", || second.exit_code());
    assert_eq!(code, 2, "{}", second.said());
    assert!(second.said().contains("is in use by another process"), "{}", second.said());
    bed.rig.rca("web", "w1", "memory_leak");
    bed.helped();
}

/// What the disk still gives: the first pages. The log has some room beyond.
const ROOM: u64 = 64 * 1024;

/// Gives the process so much room, or all of it.
fn room(bed: &Bed, bytes: Option<u64>) {
    let pid = bed.rig.replica("one").pid().and_then(|it| Pid::from_raw(i32::try_from(it).ok()?)).expect("it runs");
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).expect("a limit");
}

fn disk_full() {
    let (mut bed, _) = bed("f13g");
    bed.watch();
    room(&bed, Some(ROOM));
    bed.rig.rca("web", "w1", "memory_leak");
    bed.not_ready(&["File too large"]);
    bed.stays_quiet();
    room(&bed, None);
    bed.rig.wait_ready();
    bed.helped();
}

fn disk_full_at_start() {
    let (mut bed, _) = bed("f13h");
    bed.rig.terminate();
    bed.watch();
    *bed.rig.replica("one").room.lock().expect("nobody panics with it") = Some(ROOM);
    bed.rig.launch();
    bed.rig.rca("web", "w1", "memory_leak");
    bed.not_ready(&["File too large"]);
    let said = bed.rig.get("/readyz").expect_err("it is not ready").to_string();
    assert!(said.contains("ledger: file ") && said.contains("cannot be written"), "{said}");
    bed.stays_quiet();
    room(&bed, None);
    bed.rig.wait_ready();
    bed.helped();
}
