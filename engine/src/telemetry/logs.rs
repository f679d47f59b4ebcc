//! Logs: for operators, on stderr, as text or JSON. A trace id is a plain field, `trace_id`, of the events that have one;
//! spans of the logging library are not used.

use std::io;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, the fields at its top.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// How a line looks.
    pub format: Format,
    /// Which lines, in the syntax of `RUST_LOG`.
    pub filter: String,
    /// Whether text is coloured.
    pub colour: bool,
}

impl Logs {
    /// The filter of `FLYBALL_LOG`, else of `RUST_LOG`, else `info`; colour on a terminal unless `NO_COLOR` says
    /// otherwise. The environment is read by its owner, through `lookup`.
    pub fn read(format: Format, terminal: bool, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |variable: &str| lookup(variable).filter(|value| !value.is_empty());
        let filter = get("FLYBALL_LOG").or_else(|| get("RUST_LOG")).unwrap_or_else(|| "info".to_owned());
        Self { format, filter, colour: terminal && get("NO_COLOR").is_none() }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter cannot be read.
    #[error("reading the log filter `{filter}`: {source}")]
    Filter {
        /// As written.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something logs already.
    #[error("starting the log: {0}")]
    Taken(#[from] tracing_subscriber::util::TryInitError),
}

/// Logs to stderr from here on, for the whole process. stdout belongs to results.
pub fn init(logs: &Logs) -> Result<(), LogsError> {
    subscriber(logs, io::stderr)?.try_init()?;
    Ok(())
}

/// What `init` installs, writing to `to`.
pub fn subscriber<W>(logs: &Logs, to: W) -> Result<Box<dyn Subscriber + Send + Sync>, LogsError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter =
        EnvFilter::try_new(&logs.filter).map_err(|source| LogsError::Filter { filter: logs.filter.clone(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(to).with_ansi(logs.colour);
    Ok(match logs.format {
        Format::Text => Box::new(lines.finish()),
        Format::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            Box::new(lines.finish())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str, colour: bool) -> String {
        let (page, logs) = (Page::default(), Logs { format, filter: filter.into(), colour });
        let writer = page.clone();
        let subscriber = subscriber(&logs, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("Nobody wants to know");
            tracing::info!(trace_id = "0af7", namespace = "shop", "Restarted the workload");
        });
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_has_the_fields_at_its_top() {
        let line = logged(Format::Json, "info", false);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["message"], &value["trace_id"]), (&"Restarted the workload".into(), &"0af7".into()));
        assert_eq!((&value["level"], &value["namespace"]), (&"INFO".into(), &"shop".into()));
    }

    #[test]
    fn text_is_coloured_only_when_asked() {
        assert!(logged(Format::Text, "info", true).contains('\u{1b}'));
        let plain = logged(Format::Text, "info", false);
        assert!(plain.contains("Restarted the workload") && plain.contains("trace_id=\"0af7\""), "{plain}");
        assert!(!plain.contains('\u{1b}'));
    }

    #[test]
    fn the_filter_decides_and_a_bad_one_is_named() {
        assert_eq!(logged(Format::Text, "warn", false), "");
        assert!(logged(Format::Text, "debug", false).contains("Nobody wants to know"));
        let bad = Logs { format: Format::Text, filter: "info=loud=x".into(), colour: false };
        let error = subscriber(&bad, io::sink).err().unwrap();
        assert!(error.to_string().starts_with("reading the log filter `info=loud=x`"), "{error}");
    }

    #[test]
    fn the_engine_s_own_variable_comes_first_and_no_color_is_honoured() {
        let all = [("FLYBALL_LOG", "debug"), ("RUST_LOG", "trace"), ("NO_COLOR", "1")];
        for (from, filter, colour) in [(0, "debug", false), (1, "trace", false), (2, "info", false), (3, "info", true)]
        {
            let lookup =
                |name: &str| all[from..].iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let logs = Logs::read(Format::Text, true, lookup);
            assert_eq!((logs.filter.as_str(), logs.colour), (filter, colour));
        }
        assert!(!Logs::read(Format::Text, false, |_| None).colour);
    }
}
