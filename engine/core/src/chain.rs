//! Sums over entries. The entries of a compared topic form a chain: each carries the sum of the one before it, so that an
//! edited, lost or reordered entry is found by whoever reads them.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::Revision;

/// Bytes of a sum. Half of a SHA-256: more than chance or a tired disk can hit, and half the text in each entry.
const LENGTH: usize = 16;

/// The first 16 bytes of a SHA-256, as 32 hex digits. [`Sum::NONE`], the sum of nothing, is the empty text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sum([u8; LENGTH]);

impl Sum {
    /// What comes before the first entry of a topic.
    pub const NONE: Self = Self([0; LENGTH]);

    /// The sum of several texts; the length of each goes first, so that two lists never make the same bytes.
    pub fn of(fields: &[&[u8]]) -> Self {
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        for field in fields {
            hash.update(&(field.len() as u64).to_be_bytes());
            hash.update(field);
        }
        let mut bytes = [0; LENGTH];
        bytes.copy_from_slice(&hash.finish().as_ref()[..LENGTH]);
        Self(bytes)
    }

    /// The bytes, for a store that keeps them as such.
    pub fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }
}

impl From<[u8; LENGTH]> for Sum {
    fn from(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return Ok(());
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sum has 32 hex digits, or none")]
pub struct NoSum;

impl FromStr for Sum {
    type Err = NoSum;

    fn from_str(text: &str) -> Result<Self, NoSum> {
        if text.is_empty() {
            return Ok(Self::NONE);
        }
        if text.len() != 2 * LENGTH || !text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NoSum);
        }
        let value = u128::from_str_radix(text, 16).map_err(|_| NoSum)?;
        Ok(Self(value.to_be_bytes()))
    }
}

impl Serialize for Sum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The newest entry of a topic: what the next one has to expect, and to carry as its `prev`. The default is an empty topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Head {
    /// Its position; 0 for an empty topic.
    pub revision: Revision,
    /// Its sum.
    pub sum: Sum,
}
