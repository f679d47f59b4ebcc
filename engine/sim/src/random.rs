//! Seeded chance. Nothing here is secret; it has to be the same each time, not hard to guess.

use std::sync::Arc;

use jiff::SignedDuration;

/// SplitMix64: one addition and three mixes for a number, and any seed is a good one.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each use of one seed, so that a draw for one thing never moves the others.
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(draw(seed, &[purpose], 0))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// 0 to `limit - 1`; 0 where there is no room.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw().checked_rem(limit).unwrap_or(0)
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number that depends on what it is drawn for alone, not on what was drawn before: the duration of a rollout stays the
/// same when another workload's rollout is added to a scenario.
pub(crate) fn draw(seed: u64, words: &[&str], number: u64) -> u64 {
    let mut hash = mix(seed ^ mix(number.wrapping_add(1)));
    for word in words {
        for byte in word.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = mix(hash);
    }
    hash
}

/// A duration from `low` up to `high`, by the millisecond.
pub(crate) fn between(drawn: u64, low: SignedDuration, high: SignedDuration) -> SignedDuration {
    let span = u64::try_from((high - low).as_millis()).unwrap_or(0).saturating_add(1);
    low + SignedDuration::from_millis(i64::try_from(drawn % span).unwrap_or(0))
}

/// Makes identities, never the same twice within one world.
#[derive(Clone, Debug)]
pub(crate) struct Mint {
    seed: u64,
    made: u64,
}

impl Mint {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, made: 0 }
    }

    /// The seed that everything is drawn from.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// A uid, in the form that Kubernetes gives them.
    pub(crate) fn uid(&mut self) -> Arc<str> {
        self.made += 1;
        let (high, low) = (draw(self.seed, &["uid", "high"], self.made), draw(self.seed, &["uid", "low"], self.made));
        let (time, clock) = (high >> 32, (high >> 16) & 0xffff);
        let (version, variant, node) = (high & 0xfff, (low >> 52) & 0xfff, low & 0xffff_ffff_ffff);
        format!("{time:08x}-{clock:04x}-4{version:03x}-a{variant:03x}-{node:012x}").into()
    }

    /// Five letters and digits, as pods get them. The alphabet has no vowels, as Kubernetes' own has none: no words.
    pub(crate) fn suffix(&mut self) -> String {
        const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
        self.made += 1;
        let mut left = Random(draw(self.seed, &["suffix"], self.made));
        let letter = |_| usize::try_from(left.below(27)).map_or('b', |at| char::from(LETTERS[at]));
        (0..5).map(letter).collect()
    }
}
