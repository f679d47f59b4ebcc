//! Reading the lines back, with every sum held against what it is over.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use flyball_core::chain::Sum;
use flyball_core::wire;

use super::{Chains, FORMAT, Header, Line, Stored, Trailer, VERSION};
use crate::ledger::stored::Beside;

/// No entry is longer, in bytes: what is, is no ledger's line.
const LONGEST: u64 = 64 << 20;

/// What is wrong with the lines, and where.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// They cannot be read.
    #[error("reading line {line}: {source}")]
    Io {
        /// The line, from 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// A line is not what it has to be.
    #[error("line {line}: {what}")]
    Line {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// The lines, one entry after the other.
pub struct Lines<R> {
    from: R,
    header: Header,
    number: u64,
    entries: u64,
    sum: Sum,
    chains: Chains,
    ended: bool,
}

impl<R: BufRead> Lines<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is none, or of another version.
    pub fn begin(mut from: R) -> Result<Self, Damage> {
        let text = next(&mut from, 1)?;
        let bad = |what: String| Damage::Line { line: 1, what };
        if text.is_empty() {
            return Err(bad("there is nothing".to_owned()));
        }
        let header: Header =
            serde_json::from_slice(&text).map_err(|error| bad(format!("it is no header of a ledger: {error}")))?;
        if header.format != FORMAT || header.version != VERSION {
            return Err(bad(format!(
                "it is {} in version {}, and this build reads {FORMAT} in version {VERSION}",
                header.format, header.version
            )));
        }
        let sum = Sum::of(&[&text]);
        Ok(Self { from, header, number: 1, entries: 0, sum, chains: Chains::default(), ended: false })
    }

    /// What the first line says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next entry; nothing behind the last, once the trailer has said that it was.
    ///
    /// # Errors
    /// The line and what is wrong with it.
    pub fn entry(&mut self) -> Result<Option<Stored>, Damage> {
        if self.ended {
            return Ok(None);
        }
        self.number += 1;
        let text = next(&mut self.from, self.number)?;
        if text.is_empty() {
            return Err(self.bad(format!(
                "the lines end here, before the last one: {} of the entries {} to {} are there",
                self.entries, self.header.first, self.header.last
            )));
        }
        if let Ok(trailer) = serde_json::from_slice::<Trailer>(&text) {
            return self.end(&trailer).map(|()| None);
        }
        self.take(&text).map(Some)
    }

    fn take(&mut self, text: &[u8]) -> Result<Stored, Damage> {
        let line: Line<'_> =
            serde_json::from_slice(text).map_err(|error| self.bad(format!("it is no entry: {error}")))?;
        let sum = line.sum(self.sum);
        if sum != line.sum {
            return Err(self.bad(format!(
                "it was changed, or the line before it is missing: its sum is {sum}, and it says {}",
                line.sum
            )));
        }
        let topic = wire::topic(&line.topic).ok_or_else(|| self.bad(format!("there is no topic {:?}", line.topic)))?;
        let body = Bytes::copy_from_slice(line.body.get().as_bytes());
        let beside = Beside { at: Some(line.at), writer: line.writer, copy: line.copy };
        let stored = Stored::open(line.revision, topic, body, beside, None);
        let stored = stored.map_err(|why| self.bad(format!("entry {} cannot be read: {why}", line.revision)))?;
        let expected = self.header.first.0 + self.entries;
        if line.revision.0 != expected {
            return Err(self.bad(format!("entry {} stands where entry {expected} belongs", line.revision)));
        }
        self.chains.follow(&stored).map_err(|what| self.bad(what))?;
        self.entries += 1;
        self.sum = sum;
        Ok(stored)
    }

    fn end(&mut self, trailer: &Trailer) -> Result<(), Damage> {
        let whole = (self.header.last.0 + 1).saturating_sub(self.header.first.0);
        let said = (trailer.entries, trailer.last, trailer.sum);
        if said != (self.entries, self.header.last, self.sum) || self.entries != whole {
            return Err(self.bad(format!(
                "it ends {} entries to entry {}, and the first line promises {whole} to entry {}, of which {} were read",
                trailer.entries, trailer.last, self.header.last, self.entries
            )));
        }
        self.ended = true;
        self.number += 1;
        if !next(&mut self.from, self.number)?.is_empty() {
            return Err(self.bad("it stands behind the last one".to_owned()));
        }
        Ok(())
    }

    fn bad(&self, what: String) -> Damage {
        Damage::Line { line: self.number, what }
    }
}

/// A line without its end. Nothing where there is none, or a line that was cut before its end.
fn next(from: &mut impl BufRead, line: u64) -> Result<Vec<u8>, Damage> {
    let mut text = Vec::new();
    from.take(LONGEST).read_until(b'\n', &mut text).map_err(|source| Damage::Io { line, source })?;
    if text.last() != Some(&b'\n') && !text.is_empty() {
        return Err(Damage::Line { line, what: "it was cut: it has no end".to_owned() });
    }
    text.pop();
    Ok(text)
}
