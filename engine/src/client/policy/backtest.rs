//! `flyball policy backtest`: recorded signals through the whole core, in virtual time, on a simulated cluster.

mod report;
mod tally;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::Path;
use std::sync::Arc;

use flyball_core::policy::PolicySet;
use flyball_core::ports::Message;
use flyball_core::signal::Signal;
use flyball_sim::Rehearsal;
use jiff::{SignedDuration, Timestamp};

use super::{Answer, Trouble, load};
use crate::cli::policy::{Backtest, BacktestForm};
use crate::client::progress::Progress;
use crate::intake::Reader;
use crate::recording::Recorded;
use tally::Tally;

/// After the last signal so long is rehearsed: longer than any verification.
const AFTER: SignedDuration = SignedDuration::from_hours(2);
/// Longest line of a recording: a message of the largest size, and what is written around it.
const MAX_LINE: u64 = 8 << 20;

pub(super) fn run(args: &Backtest) -> Result<Answer, Trouble> {
    let set = |path: &Path| {
        // Recorded signals come on whether it has helped or not: they are no reason to trust a policy less.
        load(path).map(|it| Arc::new(if args.enforce { it.enforced() } else { it }.trusted()))
    };
    let tried = set(&args.policies)?;
    let against = args.against.as_deref().map(set).transpose()?;
    let namespace = args.namespace.as_str().into();
    let mut reader = Reader { cluster: "".into(), namespace, aliases: std::collections::BTreeMap::new() };
    let mut runs: Vec<Run> = std::iter::once(tried).chain(against).map(Run::new).collect();
    let mut source = Source::open(&args.from)?;
    let mut progress = Progress::of("rehearsed", "signals");
    let (mut count, mut refused) = (0_u64, 0_u64);
    while let Some(recorded) = source.next()? {
        count += 1;
        let message = recorded.message();
        // Whatever cluster they are about: the policies are tried on all of them.
        if let Some(cluster) = message.subject.as_deref().and_then(cluster_of).filter(|it| *it != &*reader.cluster) {
            reader.cluster = cluster.into();
        }
        match reader.read(&message) {
            Ok(signal) => runs.iter_mut().for_each(|it| it.signal(&message, &signal)),
            Err(_) => refused += 1,
        }
        if count.is_multiple_of(10_000) {
            progress.tell(count, source.length.map_or(count, |length| estimate(count, source.read, length)));
        }
    }
    progress.tell(count, count);
    let told: Vec<Tally> = runs.into_iter().map(Run::end).collect();
    let result = match args.form {
        BacktestForm::Text => report::text(&told, count, refused),
        BacktestForm::Json => report::json(&told, count, refused),
        BacktestForm::Markdown => report::markdown(&told, count, refused),
    };
    Ok(Answer { result, ..Answer::default() })
}

/// The cluster that a subject of ours names: `flyball.signal.v1.<kind>.<cluster>.<namespace>`.
fn cluster_of(subject: &str) -> Option<&str> {
    subject.strip_prefix("flyball.signal.v1.")?.split('.').nth(1)
}

/// How many there will be, by how much of the file they have taken so far.
fn estimate(count: u64, read: u64, length: u64) -> u64 {
    let whole = u128::from(count) * u128::from(length) / u128::from(read.max(1));
    u64::try_from(whole).unwrap_or(count).max(count + 1)
}

/// One set, rehearsed.
struct Run {
    set: Arc<PolicySet>,
    rehearsal: Option<Rehearsal>,
    tally: Tally,
    last: Timestamp,
}

impl Run {
    fn new(set: Arc<PolicySet>) -> Self {
        Self { set, rehearsal: None, tally: Tally::default(), last: Timestamp::MIN }
    }

    fn signal(&mut self, message: &Message, signal: &Signal) {
        // Time stands at the first signal, and never goes back.
        self.last = self.last.max(message.published_at);
        let rehearsal =
            self.rehearsal.get_or_insert_with(|| Rehearsal::new(self.set.clone(), message.published_at, true));
        rehearsal.signal(self.last, signal, &mut self.tally);
    }

    fn end(mut self) -> Tally {
        if let Some(rehearsal) = &mut self.rehearsal {
            rehearsal.until(self.last.saturating_add(AFTER).unwrap_or(Timestamp::MAX), &mut self.tally);
        }
        self.tally
    }
}

/// Lines of a recording.
struct Source {
    lines: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
    read: u64,
    /// Of a file: its length.
    length: Option<u64>,
}

impl Source {
    fn open(path: &Path) -> Result<Self, Trouble> {
        let wrong = |error: std::io::Error| Trouble::Unusable(format!("reading {}: {error}", path.display()));
        let (lines, length): (Box<dyn BufRead>, _) = if path.as_os_str() == "-" {
            (Box::new(BufReader::new(stdin())), None)
        } else {
            let file = File::open(path).map_err(wrong)?;
            let length = file.metadata().map_err(wrong)?.len();
            (Box::new(BufReader::with_capacity(1 << 20, file)), Some(length))
        };
        Ok(Self { lines, line: Vec::new(), number: 0, read: 0, length })
    }

    /// The next signal; empty lines are passed over.
    fn next(&mut self) -> Result<Option<Recorded<'_>>, Trouble> {
        loop {
            self.line.clear();
            let taken = self.lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.line);
            let taken =
                taken.map_err(|error| Trouble::Unusable(format!("reading line {}: {error}", self.number + 1)))?;
            if taken == 0 {
                return Ok(None);
            }
            (self.number, self.read) = (self.number + 1, self.read + taken as u64);
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                break;
            }
        }
        let number = self.number;
        Recorded::read(&self.line)
            .map(Some)
            .map_err(|error| Trouble::Unusable(format!("line {number} is no recorded signal: {error}")))
    }
}
