//! A ledger as lines of JSON: a header, an entry a line with its body byte for byte, and a trailer, so that a text that was
//! cut is known. Each line bears a sum over itself and the sum of the line before, so that an edited one is named.

mod read;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use flyball_core::chain::{Head, Sum};
use flyball_core::id::Revision;
use flyball_core::ports::PortError;
use flyball_core::record::Topic;
use flyball_core::wire;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use read::{Damage, Lines};

use super::stored::{Store, Stored};

/// The version of the lines that this build writes, and the only one that it reads.
pub const VERSION: u32 = 1;
/// What the first line says that it is.
const FORMAT: &str = "flyball-ledger";

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// `flyball-ledger`.
    pub format: String,
    /// Version of the lines.
    pub version: u32,
    /// Name of the cluster.
    pub cluster: String,
    /// Which ledger it was.
    pub ledger: Arc<str>,
    /// The first entry; the one to come of a ledger that has none.
    pub first: Revision,
    /// The last entry; 0 for none.
    pub last: Revision,
}

/// A line between.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    revision: Revision,
    at: Timestamp,
    topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    writer: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    copy: bool,
    #[serde(borrow)]
    body: &'a RawValue,
    sum: Sum,
}

/// The last line.
#[derive(Serialize, Deserialize)]
struct Trailer {
    entries: u64,
    last: Revision,
    sum: Sum,
}

impl Line<'_> {
    /// The sum of the line behind the line whose sum is `before`.
    fn sum(&self, before: Sum) -> Sum {
        let (revision, at) = (self.revision.to_string(), self.at.to_string());
        let writer = self.writer.as_deref().unwrap_or_default();
        let copy: &[u8] = if self.copy { b"copy" } else { b"" };
        let fields = [revision.as_bytes(), at.as_bytes(), self.topic.as_bytes(), writer.as_bytes(), copy];
        let [revision, at, topic, writer, copy] = fields;
        Sum::of(&[before.bytes(), revision, at, topic, writer, copy, self.body.get().as_bytes()])
    }
}

/// Holds entries against those before them: no gap, and each topic a chain.
#[derive(Debug, Default)]
pub struct Chains {
    newest: Option<Revision>,
    heads: BTreeMap<Topic, Head>,
}

impl Chains {
    /// Takes the next entry.
    ///
    /// # Errors
    /// What it does not follow.
    pub fn follow(&mut self, stored: &Stored) -> Result<(), String> {
        let entry = &stored.entry;
        let expected = self.newest.map_or(entry.revision.0, |it| it.0 + 1);
        if entry.revision.0 != expected {
            return Err(format!("entry {} stands where entry {expected} belongs", entry.revision));
        }
        self.newest = Some(entry.revision);
        let before = (entry.topic != Topic::Note).then(|| self.heads.insert(entry.topic, entry.head())).flatten();
        match before {
            Some(before) if before.sum != entry.prev => Err(format!(
                "entry {} of {} does not follow entry {}: it names the sum {}, and that one has {}",
                entry.revision, entry.topic, before.revision, entry.prev, before.sum
            )),
            _ => Ok(()),
        }
    }
}

/// Why a ledger was not written down.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Port(#[from] PortError),
    /// What is read cannot be trusted.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
    /// The lines cannot be written.
    #[error("writing the lines: {0}")]
    Write(#[from] io::Error),
}

/// Writes the ledger down, up to what is its newest entry now. `tell` hears how many entries of how many were written.
///
/// # Errors
/// It cannot be read or is damaged, or the lines cannot be written: what was written so far has no trailer.
pub async fn export(
    ledger: &dyn Store,
    cluster: &str,
    into: &mut (dyn Write + Send),
    tell: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Header, ExportError> {
    let last = ledger.newest().await?;
    let first = ledger.oldest().await?;
    if first.0 > last.0 + 1 || (first > last && last.0 > 0) {
        return Err(ExportError::Damaged(format!("its {last} entries are all missing")));
    }
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        cluster: cluster.to_owned(),
        ledger: ledger.identity(),
        first,
        last,
    };
    let text = json(&header)?;
    writeln!(into, "{text}")?;
    let mut sum = Sum::of(&[text.as_bytes()]);
    let mut chains = Chains::default();
    let mut tail = ledger.stored(Revision(0)).await?;
    let of = (last.0 + 1).saturating_sub(first.0);
    for count in 1..=of {
        let stored = tail.next().await?;
        chains.follow(&stored).map_err(ExportError::Damaged)?;
        let (line, next) = line(&stored, sum)?;
        writeln!(into, "{line}")?;
        sum = next;
        tell(count, of);
    }
    writeln!(into, "{}", json(&Trailer { entries: of, last, sum })?)?;
    into.flush()?;
    Ok(header)
}

fn line(stored: &Stored, before: Sum) -> Result<(String, Sum), ExportError> {
    let entry = &stored.entry;
    let odd = || ExportError::Damaged(format!("entry {} is not written as Flyball writes it", entry.revision));
    let body = std::str::from_utf8(&stored.body).map_err(|_| odd())?;
    let raw: &RawValue = serde_json::from_str(body).map_err(|_| odd())?;
    // A line has to hold the body whole.
    if raw.get().len() != body.len() || body.contains(['\n', '\r']) {
        return Err(odd());
    }
    let mut line = Line {
        revision: entry.revision,
        at: entry.at,
        topic: wire::topic_text(entry.topic),
        writer: stored.writer.clone(),
        copy: stored.copy,
        body: raw,
        sum: Sum::NONE,
    };
    line.sum = line.sum(before);
    Ok((json(&line)?, line.sum))
}

fn json(value: &impl Serialize) -> Result<String, ExportError> {
    serde_json::to_string(value).map_err(|error| ExportError::Write(error.into()))
}
