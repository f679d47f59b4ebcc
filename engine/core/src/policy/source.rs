//! One document of a file: where it is, what it says, and how a fault in it is told.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_saphyr::localizer::Localizer;
use serde_saphyr::options::AliasLimits;
use serde_saphyr::{Error, Location, UserMessageFormatter};

use super::fault::{Fault, nearest};

/// Aliases of a document may repeat so many nodes: enough for people, too few for a bomb to take 50 ms.
const MAX_ALIAS_EVENTS: usize = 10_000;
/// A longer line is cut where a fault shows it.
const SHOWN_CHARACTERS: usize = 200;

/// A document's place: which file, how many lines above it, and its text.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) file: String,
    pub(super) above: u64,
    pub(super) text: Arc<str>,
}

impl Source {
    pub(super) fn fault(&self, at: Option<Location>, message: impl Into<String>, hint: Option<String>) -> Fault {
        let (line, column) = at.map_or_else(|| (self.first_line(), 1), |at| (at.line().max(1), at.column().max(1)));
        let text = self.text.lines().nth(usize::try_from(line - 1).unwrap_or(0)).unwrap_or_default();
        Fault {
            file: self.file.clone(),
            line: self.above + line,
            column,
            message: message.into(),
            hint,
            text: text.chars().take(SHOWN_CHARACTERS).collect(),
        }
    }

    /// A fault `letters` into a text that begins at `at`, on one line or on several. Within one that is written with escapes only its
    /// beginning is known.
    pub(super) fn fault_within(
        &self,
        at: Location,
        value: &str,
        letters: usize,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Fault {
        let mut fault = self.fault(Some(at), message, hint);
        let line = usize::try_from(at.line().saturating_sub(1)).unwrap_or(usize::MAX);
        let column = usize::try_from(at.column().saturating_sub(1)).unwrap_or(usize::MAX);
        let rest: String = self.text.lines().nth(line).unwrap_or_default().chars().skip(column).collect();
        let quote = usize::from(rest.starts_with(['\'', '"']));
        if rest.chars().skip(quote).collect::<String>().starts_with(value.trim_end()) {
            fault.column += (quote + letters) as u64;
            return fault;
        }
        // What the lines are joined by is not known: each is looked for in what is left of the value.
        let sought = value.char_indices().nth(letters).map_or(value.len(), |(at, _)| at);
        let mut read = 0;
        for (number, text) in self.text.lines().enumerate().skip(line).filter(|(_, text)| !text.trim().is_empty()) {
            let words = text.trim();
            let Some(between) = value[read..].find(words) else { break };
            let from = read + between;
            read = from + words.len();
            let within = value[from..sought.clamp(from, read)].chars().count();
            let indent = text.chars().take_while(|it| it.is_whitespace()).count();
            (fault.line, fault.column) = (self.above + number as u64 + 1, (indent + within + 1) as u64);
            fault.text = text.chars().take(SHOWN_CHARACTERS).collect();
            if sought <= read {
                break;
            }
        }
        fault
    }

    /// The same document without the entry whose key is unknown, its lines left empty so that the others keep their places.
    /// None for any other fault, and within `{…}`, where an entry's end is not to be seen from its lines.
    pub(super) fn without(&self, fault: &Fault) -> Option<Self> {
        let key = fault.message.strip_prefix("unknown field `")?.strip_suffix('`')?;
        let first = usize::try_from(fault.line - self.above - 1).ok()?;
        let indent = |line: &str| line.len() - line.trim_start().len();
        let depth = self.text.lines().nth(first).filter(|line| line.trim_start().starts_with(key)).map(indent)?;
        let below = self.text.lines().skip(first + 1).take_while(|line| !says_something(line) || indent(line) > depth);
        let last = first + below.count();
        let kept = self.text.lines().enumerate().map(|(at, line)| if (first..=last).contains(&at) { "" } else { line });
        let text = kept.collect::<Vec<_>>().join("\n");
        Some(Self { text: text.into(), ..self.clone() })
    }

    /// The first line that says something: what a fault of the whole document points at.
    fn first_line(&self) -> u64 {
        let at = self.text.lines().position(says_something).unwrap_or(0);
        at as u64 + 1
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let mut alias_limits = AliasLimits::default();
        alias_limits.max_total_replayed_events = MAX_ALIAS_EVENTS;
        let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true, alias_limits: alias_limits };
        serde_saphyr::from_str_with_options(&self.text, options).map_err(|error| {
            let (message, hint) = told(&error);
            self.fault(error.location(), message, hint)
        })
    }
}

/// Whether a line is more than space and comment.
pub(super) fn says_something(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}

/// The parser's fault in our words where they help more, else in its own, without the place: `Fault` has that.
fn told(error: &Error) -> (String, Option<String>) {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown field `{field}`"), one_of(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("unknown value `{variant}`"), one_of(variant, expected))
        }
        Error::SerdeMissingField { field, .. } => (format!("`{field}` is missing"), Some(format!("add `{field}:`"))),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            (format!("`{key}` is written twice"), Some("keep one of them".into()))
        }
        Error::Unexpected { expected: "mapping start", .. } => {
            ("a mapping is expected here".into(), Some("write `key: value`, indented, or `{key: value}`".into()))
        }
        Error::InvalidScalar { ty, .. } if ty.starts_with(['i', 'u']) => {
            ("a whole number is expected here".into(), Some("write digits alone, such as 3".into()))
        }
        other => {
            let message = other.render_with_formatter(&UserMessageFormatter.with_localizer(&WithoutPlace));
            // The parser of durations tells what it tried; a person wants to know what to write.
            if message.contains("duration format") {
                return ("this is no duration".into(), Some("write such as `90s`, `5m`, `1h30m` or `24h`".into()));
            }
            (message, Some("compare with the policies that are shipped in `policies/`".into()))
        }
    }
}

pub(super) fn one_of(word: &str, known: &[&str]) -> Option<String> {
    let near = nearest(word, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
    let all = || {
        if known.is_empty() {
            "nothing belongs here: write `{}`".to_owned()
        } else {
            format!("one of {}", known.join(", "))
        }
    };
    near.or_else(|| Some(all()))
}

struct WithoutPlace;

impl Localizer for WithoutPlace {
    fn attach_location<'a>(&self, base: Cow<'a, str>, _: Location) -> Cow<'a, str> {
        base
    }

    fn alias_defined_at(&self, _: Location) -> String {
        String::new()
    }

    fn alias_used_at(&self, _: Location) -> String {
        String::new()
    }
}
