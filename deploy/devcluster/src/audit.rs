//! The API server's audit log: what really happened, whatever anybody claims.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::wait::wait_until;

/// Every write but those to leases and events, with its body; no reads, which would bury it.
pub(crate) const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
  - {group: '', resources: [events]}
  - {group: events.k8s.io, resources: [events]}
- level: Request
  verbs: [create, update, patch, delete, deletecollection]
- level: None
";

/// One answered request that would change something.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// Who asked.
    pub user: String,
    /// With what program.
    pub user_agent: String,
    /// The API group, empty for the core one.
    pub group: String,
    /// The plural, for example `deployments`.
    pub resource: String,
    /// For example `scale` or `eviction`; empty for the object itself.
    pub subresource: String,
    /// Empty for things without one.
    pub namespace: String,
    /// Empty when the server was to choose it.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
    /// It was only tried: nothing changed.
    pub dry_run: bool,
    /// The request's body: object, patch or options; null when it had none.
    pub object: Value,
    /// Path and query as requested.
    pub uri: String,
    /// When the request came in: RFC 3339, UTC, microseconds, so that text order is time order.
    pub received: String,
    /// When the answer was complete, in the same form.
    pub completed: String,
}

/// The log of one cluster, from some point on.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
    offset: u64,
}

impl AuditLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, offset: 0 }
    }

    /// The same log without what is in it by now.
    pub fn from_now(mut self) -> Result<Self> {
        self.offset = match std::fs::metadata(&self.path) {
            Ok(file) => file.len(),
            Err(missing) if missing.kind() == ErrorKind::NotFound => 0,
            Err(other) => return Err(other).context("looking at the audit log"),
        };
        Ok(self)
    }

    /// All entries so far, in the order of their answers. The server writes an entry before it ends the answer: whoever
    /// has read an answer finds its entry.
    pub fn entries(&self) -> Result<Vec<AuditEntry>> {
        let mut log = File::open(&self.path).context("opening the audit log")?;
        // The log may have been in the midst of a line when its length was taken: what is left of that line is skipped.
        log.seek(SeekFrom::Start(self.offset.saturating_sub(1))).context("reading the audit log")?;
        let mut entries = Vec::new();
        let (mut log, mut line) = (BufReader::new(log), String::new());
        if self.offset > 0 {
            log.read_until(b'\n', &mut Vec::new()).context("reading the audit log")?;
        }
        // A line without its end is still being written.
        while log.read_line(&mut line).context("reading the audit log")? > 0 && line.ends_with('\n') {
            let event: Event =
                serde_json::from_str(&line).with_context(|| format!("reading an audit event: {line}"))?;
            entries.push(event.into());
            line.clear();
        }
        Ok(entries)
    }

    /// The entries that `wanted` picks.
    pub fn find(&self, wanted: impl Fn(&AuditEntry) -> bool) -> Result<Vec<AuditEntry>> {
        Ok(self.entries()?.into_iter().filter(wanted).collect())
    }

    /// Waits for an entry that `wanted` picks, and returns the first.
    pub fn wait_for(&self, what: &str, deadline: Duration, wanted: impl Fn(&AuditEntry) -> bool) -> Result<AuditEntry> {
        wait_until(what, deadline, || {
            let found = self.find(&wanted)?;
            ensure!(!found.is_empty(), "no such entry in the audit log");
            Ok(found[0].clone())
        })
    }
}

/// The event as the server writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: Person,
    #[serde(default)]
    user_agent: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: Status,
    #[serde(default)]
    request_object: Value,
    request_received_timestamp: String,
    stage_timestamp: String,
}

#[derive(Deserialize)]
struct Person {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl From<Event> for AuditEntry {
    fn from(event: Event) -> Self {
        // A delete may say it in its options, which are its body.
        let in_options = event.request_object["kind"] == "DeleteOptions" && event.request_object["dryRun"].is_array();
        Self {
            dry_run: in_options || event.request_uri.contains("dryRun=All"),
            verb: event.verb,
            user: event.user.username,
            user_agent: event.user_agent,
            group: event.object_ref.api_group,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            code: event.response_status.code,
            object: event.request_object,
            uri: event.request_uri,
            received: event.request_received_timestamp,
            completed: event.stage_timestamp,
        }
    }
}
