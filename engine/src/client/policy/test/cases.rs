//! `kind: PolicyTest`: cases as they are written, beside the policies that they are about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flyball_core::deny::{DenyReason, NoAction};
use flyball_core::policy::PolicySet;
use flyball_core::signal::Signal;
use flyball_core::workload::{Workload, WorkloadKind};
use flyball_sim::Manifest;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::intake::Reader;
use crate::policies::PolicyFiles;

/// Deeper than anybody sorts policies; it ends a loop of links.
const MAX_DEPTH: u32 = 8;

/// When every case begins.
pub(super) fn start() -> Timestamp {
    Timestamp::from_second(1_767_225_600).expect("a time") // 2026-01-01T00:00:00Z
}

/// A file with cases.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    /// Policies beside the file; without it everything in its folder.
    #[serde(default)]
    policies: Vec<PathBuf>,
    /// Shadow policies are taken for enforcing ones, so that the library can be tested.
    #[serde(default)]
    enforce: bool,
    #[serde(default)]
    cluster: Cluster,
    cases: Vec<RawCase>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cluster {
    #[serde(default)]
    objects: Vec<RawObject>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawObject {
    #[serde(default = "deployment")]
    kind: WorkloadKind,
    namespace: String,
    name: String,
    replicas: Option<i32>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    /// `ready`, or how the next rollout ends: `crash`, `hang`, `slow`.
    rollout: Option<String>,
    /// Images, oldest first: each makes a revision. One that ends in `-bad` crashes.
    #[serde(default)]
    images: Vec<String>,
}

fn deployment() -> WorkloadKind {
    WorkloadKind::Deployment
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCase {
    name: String,
    #[serde(default)]
    cluster: Cluster,
    signals: Vec<RawSignal>,
    expect: Vec<Expectation>,
}

/// A signal: a file of one, or its few words.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawSignal {
    at: SignedDuration,
    file: Option<PathBuf>,
    anomaly: Option<String>,
    rca: Option<String>,
    service: Option<String>,
    namespace: Option<String>,
    #[serde(default = "deployment")]
    kind: WorkloadKind,
    score: Option<f64>,
    confidence: Option<f64>,
    window: Option<String>,
    pod: Option<String>,
    #[serde(default)]
    clear: bool,
    /// So many more of it, each so much later, as other windows.
    repeat: Option<Repeat>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    times: u32,
    every: SignedDuration,
}

/// What is expected at a moment. What is left out may be anything.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Expectation {
    /// Since the start.
    pub(super) at: SignedDuration,
    /// `permitted`, `denied`, `deferred`, `joined`, `shadow` or `none`; for an action that has ended its outcome.
    pub(super) result: Option<String>,
    pub(super) outcome: Option<String>,
    pub(super) policy: Option<String>,
    pub(super) action: Option<String>,
    pub(super) target: Option<String>,
    pub(super) reason: Option<String>,
}

/// A case, ready to be run.
pub(super) struct Case {
    pub(super) file: PathBuf,
    pub(super) name: String,
    pub(super) set: Arc<PolicySet>,
    pub(super) objects: Vec<Manifest>,
    pub(super) signals: Vec<(Timestamp, Signal)>,
    pub(super) expect: Vec<Expectation>,
}

/// Every case below the paths.
///
/// # Errors
/// Which file cannot be read, and why.
pub(super) fn all(paths: &[PathBuf]) -> Result<Vec<Case>, String> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, 0, &mut files).map_err(|error| format!("reading {}: {error}", path.display()))?;
    }
    files.sort();
    files.dedup();
    let mut cases = Vec::new();
    for file in files {
        cases.extend(of(&file).map_err(|why| format!("{}: {why}", file.display()))?);
    }
    Ok(cases)
}

fn collect(path: &Path, depth: u32, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.metadata()?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth == MAX_DEPTH {
        return Ok(());
    }
    for entry in path.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with('.') && (path.is_dir() || name.contains(".flyball-test.")) {
            collect(&path, depth + 1, files)?;
        }
    }
    Ok(())
}

fn of(path: &Path) -> Result<Vec<Case>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file: File = serde_saphyr::from_str(&text).map_err(|error| format!("\n{error}"))?;
    if file.api_version != "flyball.dev/v1alpha1" || file.kind != "PolicyTest" {
        return Err("a file of cases is `apiVersion: flyball.dev/v1alpha1`, `kind: PolicyTest`".to_owned());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let set = Arc::new(policies(&file, folder)?);
    file.cases.into_iter().map(|case| ready(path, folder, &set, &file.cluster, case)).collect()
}

fn policies(file: &File, folder: &Path) -> Result<PolicySet, String> {
    let places = if file.policies.is_empty() {
        vec![folder.to_owned()]
    } else {
        file.policies.iter().map(|it| folder.join(it)).collect()
    };
    let mut texts = Vec::new();
    for place in places {
        texts.extend(PolicyFiles::at(&place).texts().map_err(|error| format!("{error:#}"))?);
    }
    let set = flyball_core::policy::load(&texts).map_err(|faults| faults.to_string())?;
    Ok(if file.enforce { set.enforced() } else { set })
}

fn ready(path: &Path, folder: &Path, set: &Arc<PolicySet>, shared: &Cluster, case: RawCase) -> Result<Case, String> {
    let named = |why: String| format!("case `{}`: {why}", case.name);
    let mut signals = Vec::new();
    for raw in &case.signals {
        signals.extend(read(raw, folder).map_err(named)?);
    }
    signals.sort_by_key(|(at, _)| *at);
    for (number, (_, signal)) in signals.iter_mut().enumerate() {
        signal.sequence = number as u64 + 1;
    }
    for expected in &case.expect {
        known(expected).map_err(named)?;
    }
    let objects = shared.objects.iter().chain(&case.cluster.objects).map(manifest).collect();
    let (file, name) = (path.to_owned(), case.name.clone());
    Ok(Case { file, name, set: set.clone(), objects, signals, expect: case.expect })
}

/// A word that nothing can ever be is a mistake of the case, not a failure.
fn known(it: &Expectation) -> Result<(), String> {
    const RESULTS: [&str; 6] = ["permitted", "denied", "deferred", "joined", "shadow", "none"];
    if let Some(result) = it.result.as_deref().filter(|it| !RESULTS.contains(it)) {
        return Err(format!("`result: {result}` is none of {}", RESULTS.join(", ")));
    }
    let reasons = DenyReason::DOCS.iter().map(|(word, _)| *word);
    let silences = NoAction::ALL.map(NoAction::label);
    if let Some(reason) = it.reason.as_deref().filter(|it| !reasons.clone().chain(silences).any(|word| word == *it)) {
        return Err(format!("`reason: {reason}` is no reason: see docs/reasons.md"));
    }
    Ok(())
}

fn read(raw: &RawSignal, folder: &Path) -> Result<Vec<(Timestamp, Signal)>, String> {
    let body = match &raw.file {
        Some(file) => {
            let bytes =
                std::fs::read(folder.join(file)).map_err(|error| format!("reading {}: {error}", file.display()))?;
            serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", file.display()))?
        }
        None => body(raw)?,
    };
    let repeat = raw.repeat.unwrap_or(Repeat { times: 0, every: SignedDuration::ZERO });
    let mut signals = Vec::new();
    for number in 0..=repeat.times {
        let at = raw.at + repeat.every * i32::try_from(number).unwrap_or(i32::MAX);
        let at = start().checked_add(at).map_err(|error| error.to_string())?;
        let mut body = body.clone();
        if raw.window.is_none() && (number > 0 || raw.file.is_none()) {
            body["windowId"] = json!(format!("{}-{}", body["windowId"].as_str().unwrap_or("w"), at.as_second()));
        }
        // The case says when: not the recorded file.
        body.as_object_mut().map(|it| it.remove("tsRange"));
        let kind = if body.get("rankedCauses").is_some() { "rca" } else { "anomaly" };
        let reader = Reader { cluster: "test".into(), namespace: "default".into(), aliases: BTreeMap::new() };
        let message = flyball_core::ports::Message {
            kind: Some(kind.to_owned()),
            body: body.to_string().into_bytes(),
            published_at: at,
            sequence: 1,
            ..flyball_core::ports::Message::default()
        };
        let signal = reader.read(&message).map_err(|refusal| refusal.to_string())?;
        signals.push((at, signal));
    }
    Ok(signals)
}

fn body(raw: &RawSignal) -> Result<Value, String> {
    let service = raw.service.as_deref().ok_or("a signal without `file` names its `service`")?;
    let window = raw.window.as_deref().unwrap_or("w");
    let mut metadata = json!({"namespace": raw.namespace.as_deref().unwrap_or("default"), "kind": raw.kind.as_str()});
    if let Some(pod) = &raw.pod {
        metadata["pod"] = json!(pod);
    }
    let score = raw.score.unwrap_or(0.95);
    match (&raw.anomaly, &raw.rca) {
        (Some(kind), None) => Ok(json!({
            "windowId": window, "service": service, "isAnomaly": !raw.clear, "score": score, "type": kind, "metadata": metadata})),
        (None, Some(cause)) => Ok(json!({
            "windowId": window, "service": service, "confidence": raw.confidence.unwrap_or(0.9), "metadata": metadata,
            "rankedCauses": [{"svc": service, "cause": cause, "probability": score}]})),
        _ => Err("a signal is a `file`, an `anomaly` or an `rca`".to_owned()),
    }
}

fn manifest(raw: &RawObject) -> Manifest {
    let mut object = Manifest::new(&Workload::new(raw.kind, &raw.namespace, &raw.name));
    for (at, image) in raw.images.iter().enumerate() {
        object = if at > 0 { object.then() } else { object }.image(image);
    }
    if let Some(replicas) = raw.replicas {
        object = object.replicas(replicas);
    }
    for (key, value) in &raw.labels {
        object = object.label(key, value);
    }
    for (key, value) in &raw.annotations {
        object = object.annotation(key, value);
    }
    match raw.rollout.as_deref() {
        Some(fate) if fate != "ready" => object.fate(fate),
        _ => object,
    }
}
