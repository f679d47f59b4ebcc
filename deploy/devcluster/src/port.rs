//! Choosing a port that stays ours.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// Below the range that operating systems take the source ports of outgoing connections from: a server that was killed
/// must find its port free when it comes back.
const FIRST: u64 = 20_000;
const COUNT: u64 = 12_000;

/// A port on 127.0.0.1 that nobody listens on.
///
/// Chosen at random, so that test binaries starting side by side hardly ever meet.
pub fn free_port() -> u16 {
    let mut random = RandomState::new().build_hasher();
    loop {
        random.write_u8(0);
        let port = u16::try_from(FIRST + random.finish() % COUNT).expect("the range lies below 65536");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
