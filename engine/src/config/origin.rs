//! Where a value came from.

use std::fmt::{self, Debug, Display};
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

/// Where a value came from, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag.
    Flag,
    /// An environment variable.
    Environment,
    /// The configuration file.
    File,
    /// Nobody said anything.
    Default,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// Merges values and remembers where each came from.
pub(super) struct Ledger<'a> {
    matches: &'a ArgMatches,
    rows: Vec<(&'static str, String, Origin)>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(matches: &'a ArgMatches) -> Self {
        Self { matches, rows: Vec::new() }
    }

    fn merge<T>(
        &mut self,
        name: &'static str,
        given: Option<T>,
        file: Option<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let id = name.replace('-', "_");
        let from_env = matches!(self.matches.try_contains_id(&id), Ok(true))
            && self.matches.value_source(&id) == Some(ValueSource::EnvVariable);
        let (value, origin) = match (given, file) {
            (Some(value), _) => (Some(value), if from_env { Origin::Environment } else { Origin::Flag }),
            (None, Some(value)) => (Some(value), Origin::File),
            (None, None) => (None, Origin::Default),
        };
        self.rows.push((name, value.as_ref().map_or_else(|| "<unset>".to_owned(), show), origin));
        value
    }

    pub(super) fn optional(
        &mut self,
        name: &'static str,
        given: Option<String>,
        file: Option<String>,
    ) -> Option<String> {
        self.merge(name, given, file, Clone::clone)
    }

    pub(super) fn optional_path(
        &mut self,
        name: &'static str,
        given: Option<PathBuf>,
        file: Option<PathBuf>,
    ) -> Option<PathBuf> {
        self.merge(name, given, file, |it| it.display().to_string())
    }

    pub(super) fn value<T: Display>(&mut self, name: &'static str, given: Option<T>, file: Option<T>, default: T) -> T {
        let value = self.merge(name, given, file, T::to_string);
        self.or_default(value, default, T::to_string)
    }

    pub(super) fn named<T: Debug>(&mut self, name: &'static str, given: Option<T>, file: Option<T>, default: T) -> T {
        let show = |it: &T| format!("{it:?}").to_lowercase();
        let value = self.merge(name, given, file, show);
        self.or_default(value, default, show)
    }

    fn or_default<T>(&mut self, value: Option<T>, default: T, show: impl Fn(&T) -> String) -> T {
        value.unwrap_or_else(|| {
            if let Some(row) = self.rows.last_mut() {
                row.1 = show(&default);
            }
            default
        })
    }

    pub(super) fn into_rows(self) -> Vec<(&'static str, String, Origin)> {
        self.rows
    }
}
