//! Files to a `PolicySet`: documents are told apart here, `check` turns what they say into what is meant, and all faults
//! are reported together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::Checks;
use super::fault::{Fault, Faults};
use super::index::{Index, Listeners};
use super::raw::{Document, GuardrailsSpec, Head, PolicySpec};
use super::source::{Source, one_of, says_something};
use super::{Mode, Policy, PolicySet};
use crate::id::digest;
use crate::limits::Guardrails;

pub(super) const API_VERSION: &str = "flyball.dev/v1alpha1";
const KINDS: [&str; 2] = ["RemediationPolicy", "Guardrails"];
/// A policy file is written by people. A larger one is a mistake, and reading it would cost memory before any check.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Reads a set from `(name, text)` of its files.
///
/// # Errors
/// Every fault of every document. A document that is not well-formed reports its first.
pub fn load(files: &[(String, String)]) -> Result<PolicySet, Faults> {
    let mut loading = Loading::default();
    for (file, text) in files {
        loading.file(file, text);
    }
    loading.finish(files)
}

/// The fault of a file that is too large to be read at all.
pub fn too_large(file: &str, bytes: u64) -> Fault {
    let source = Source { file: file.into(), above: 0, text: "".into() };
    let message = format!("the file has {bytes} bytes, more than the {MAX_FILE_BYTES} allowed");
    source.fault(None, message, Some("split it into several files".into()))
}

/// More faults than anybody mends in one go; it bounds how often a document is read again.
const MAX_FAULTS: usize = 50;

#[derive(Default)]
struct Loading {
    faults: Vec<Fault>,
    policies: Vec<(PolicySpec, Arc<str>, Source)>,
    guardrails: Option<(GuardrailsSpec, Source)>,
    names: BTreeMap<Arc<str>, String>,
}

impl Loading {
    fn file(&mut self, file: &str, text: &str) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() > MAX_FILE_BYTES {
            return self.faults.push(too_large(file, text.len() as u64));
        }
        for (above, text) in documents(text) {
            let mut source = Some(Source { file: file.into(), above, text: text.into() });
            // A reader stops at the first key that it does not know: it reads on without it, to find the others.
            while let Some(reading) = source
                && let Err(fault) = self.document(&reading)
            {
                source = reading.without(&fault).filter(|_| self.faults.len() < MAX_FAULTS);
                self.faults.push(fault);
            }
        }
    }

    fn document(&mut self, source: &Source) -> Result<(), Fault> {
        let head: Head = source.read()?;
        let Some(kind) = head.kind else {
            return Err(source.fault(None, "the document has no `kind`", Some(format!("one of {}", KINDS.join(", ")))));
        };
        let write = || Some(format!("write `apiVersion: {API_VERSION}`"));
        match head.api_version {
            Some(version) if version.value == API_VERSION => {}
            Some(version) => {
                let message = format!("unknown apiVersion `{}`", version.value);
                return Err(source.fault(Some(version.referenced), message, write()));
            }
            None => return Err(source.fault(None, "the document has no `apiVersion`", write())),
        }
        match kind.value.as_str() {
            "RemediationPolicy" => self.policy(source),
            "Guardrails" if self.guardrails.is_some() => Err(source.fault(
                Some(kind.referenced),
                "a second `Guardrails`: a set has one",
                Some("merge the two".into()),
            )),
            "Guardrails" => {
                let document: Document<GuardrailsSpec> = source.read()?;
                self.guardrails = Some((document.spec, source.clone()));
                Ok(())
            }
            other => Err(source.fault(Some(kind.referenced), format!("unknown kind `{other}`"), one_of(other, &KINDS))),
        }
    }

    fn policy(&mut self, source: &Source) -> Result<(), Fault> {
        let document: Document<PolicySpec> = source.read()?;
        let Some(name) = document.metadata.and_then(|metadata| metadata.name) else {
            return Err(source.fault(
                None,
                "the policy has no `metadata.name`",
                Some("write `metadata: {name: …}`".into()),
            ));
        };
        let shape = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if name.value.is_empty() || name.value.len() > 253 || !name.value.chars().all(shape) || name.value == "api" {
            let hint = "lower-case letters, digits, `-` and `.`; `api` is taken by direct calls".to_owned();
            let message = format!("`{}` is no name for a policy", name.value);
            return Err(source.fault(Some(name.referenced), message, Some(hint)));
        }
        let place = format!("{}:{}", source.file, source.above + name.referenced.line());
        let key: Arc<str> = name.value.as_str().into();
        if let Some(first) = self.names.get(&key) {
            let message = format!("a second policy named `{key}`");
            return Err(source.fault(Some(name.referenced), message, Some(format!("the first is at {first}"))));
        }
        self.names.insert(key.clone(), place);
        self.policies.push((document.spec, key, source.clone()));
        Ok(())
    }

    fn finish(mut self, files: &[(String, String)]) -> Result<PolicySet, Faults> {
        let mut checks = Checks { faults: &mut self.faults };
        let guardrails = match self.guardrails {
            Some((spec, source)) => checks.guardrails(spec, &source),
            None => Guardrails::default(),
        };
        let mut policies: Vec<Policy> = self
            .policies
            .into_iter()
            .filter_map(|(spec, name, source)| {
                let place = self.names.get(&name).cloned().unwrap_or_default();
                checks.policy(spec, name, place, &source, &guardrails)
            })
            .collect();
        policies.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        if self.faults.is_empty() {
            let conditions = policies.iter().filter_map(|it| it.conditions().map(|said| (it.name.clone(), said)));
            let waits = |it: &Policy| {
                let absent = it.matches.correlation.as_ref()?.absent.as_ref()?;
                Some((it.name.clone(), absent.rule.clone()))
            };
            let absent = policies.iter().filter_map(waits).collect();
            let modes = (!policies.is_empty()).then(|| policies.iter().map(|it| (it.name.clone(), it.mode)).collect());
            let guardrails = Guardrails { conditions: conditions.collect(), absent, modes, ..guardrails };
            let counting = policies.iter().any(|it| it.mode != Mode::Disabled && it.counts());
            let (index, listeners) = (Index::of(&policies), Listeners::of(&policies));
            Ok(PolicySet { policies, index, listeners, counting, guardrails, digest: version(files) })
        } else {
            self.faults.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
            Err(Faults(self.faults))
        }
    }
}

/// Names this version of the set, the same in whatever order the files were listed.
fn version(files: &[(String, String)]) -> Arc<str> {
    let sorted: BTreeMap<&str, &str> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let mut all = String::new();
    for part in sorted.into_iter().flat_map(|(file, text)| [file, text]) {
        all.push_str(part);
        all.push('\0');
    }
    digest(all.as_bytes()).into()
}

/// The documents of a file with the number of lines above each. Split here, so that a fault in one hides none in another.
fn documents(text: &str) -> Vec<(u64, String)> {
    let mut found = vec![(0, String::new())];
    for (number, line) in text.lines().enumerate() {
        let begins = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if begins.is_some() {
            found.push((number as u64, String::new()));
        }
        if let Some((_, document)) = found.last_mut() {
            // What follows the dashes belongs to the new document; spaces keep its columns.
            match begins {
                Some(rest) => document.extend(["   ", rest]),
                None => document.push_str(line),
            }
            document.push('\n');
        }
    }
    found.retain(|(_, document)| document.lines().any(says_something));
    found
}
