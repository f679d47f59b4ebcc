//! Choosing a port that stays ours.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Below the range that operating systems take the source ports of outgoing connections from: a server that was killed
/// must find its port free when it comes back.
const FIRST: u64 = 20_000;
const COUNT: u64 = 12_000;
/// So many are not given twice in a row: between its choice and its use a port looks free to everybody.
const REMEMBERED: usize = 1_000;

static GIVEN: Mutex<VecDeque<u16>> = Mutex::new(VecDeque::new());

/// A port on 127.0.0.1 that nobody listens on.
///
/// Chosen at random, so that test binaries starting side by side hardly ever meet.
pub fn free_port() -> u16 {
    let mut random = RandomState::new().build_hasher();
    loop {
        random.write_u8(0);
        let port = u16::try_from(FIRST + random.finish() % COUNT).expect("the range lies below 65536");
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.push_back(port);
            if given.len() > REMEMBERED {
                given.pop_front();
            }
            return port;
        }
    }
}
