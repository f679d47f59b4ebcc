//! The policies on the disk: read once at the start, and again whenever they change, whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use flyball_core::policy::{Faults, MAX_FILE_BYTES, PolicySet, load, too_large};
use flyball_core::record::{Record, Started};
use jiff::SignedDuration;

use crate::pipeline::Engine;

/// A change is in force within two seconds: a look each second, and the time that loading takes.
const LOOK: SignedDuration = SignedDuration::from_secs(1);
/// Deeper than anybody sorts policies; it ends a loop of links.
const MAX_DEPTH: u32 = 8;

/// A file, or a folder with everything below it.
#[derive(Clone, Debug)]
pub struct PolicyFiles(PathBuf);

/// What a change of the files changes: which there are, where they lie, how long they are and when they were written. A link is
/// followed, so that a ConfigMap, whose files are links that are swapped together, is seen as what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<PathBuf, (u64, u64, u64, i64, i64)>);

impl Fingerprint {
    fn add(&mut self, path: PathBuf, it: &Metadata) {
        self.0.insert(path, (it.dev(), it.ino(), it.len(), it.mtime(), it.mtime_nsec()));
    }
}

impl PolicyFiles {
    /// The policies at a path.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Loads the policies of a file, or of every `.yaml` and `.yml` below a directory, in the order of their names. Hidden entries are
    /// left out, and so are the tests that lie beside the policies. With them comes what they looked like.
    ///
    /// # Errors
    /// What could not be read, or every fault of the set, annotated.
    pub fn load(&self) -> Result<(PolicySet, Fingerprint)> {
        let seen = self.fingerprint()?;
        let files = self.read(&seen)?;
        // Written to while it was read: what was read may be half of it.
        ensure!(self.fingerprint()? == seen, "the policies in {} change while they are read", self.0.display());
        Ok((load(&files)?, seen))
    }

    /// The files with their texts.
    ///
    /// # Errors
    /// What could not be read.
    pub fn texts(&self) -> Result<Vec<(String, String)>> {
        self.read(&self.fingerprint()?)
    }

    fn read(&self, seen: &Fingerprint) -> Result<Vec<(String, String)>> {
        ensure!(!seen.0.is_empty(), "no policies in {}: no .yaml file there", self.0.display());
        let mut files = Vec::new();
        for (path, (_, _, length, ..)) in &seen.0 {
            let name = path.display().to_string();
            if *length > MAX_FILE_BYTES as u64 {
                return Err(Faults(vec![too_large(&name, *length)]).into());
            }
            let mut bytes = Vec::new();
            let file = fs::File::open(path).with_context(|| format!("reading {name}"))?;
            file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).with_context(|| format!("reading {name}"))?;
            files.push((name, String::from_utf8(bytes).map_err(|_| not_utf8(path))?));
        }
        Ok(files)
    }

    fn fingerprint(&self) -> Result<Fingerprint> {
        let mut found = Fingerprint::default();
        collect(&self.0, 0, &mut found).with_context(|| format!("reading the policies in {}", self.0.display()))?;
        Ok(found)
    }
}

fn not_utf8(path: &Path) -> anyhow::Error {
    anyhow::anyhow!("{} is not UTF-8", path.display())
}

fn collect(path: &Path, depth: u32, found: &mut Fingerprint) -> Result<()> {
    let seen = fs::metadata(path)?;
    if !seen.is_dir() {
        found.add(path.to_owned(), &seen);
        return Ok(());
    }
    ensure!(depth < MAX_DEPTH, "{} is more than {MAX_DEPTH} folders deep", path.display());
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let yaml = path.extension().is_some_and(|it| it == "yaml" || it == "yml");
        let test = name.contains(".flyball-test.");
        if !name.starts_with('.') && (path.is_dir() || (yaml && !test)) {
            collect(&path, depth + 1, found)?;
        }
    }
    Ok(())
}

/// Looks at the files until the process stops, and puts what changed in force. `seen`: what they looked like when they were loaded.
pub async fn follow(files: PolicyFiles, mut seen: Fingerprint, engine: Arc<Engine>) {
    loop {
        tokio::select! {
            biased;
            () = engine.stopping.cancelled() => return,
            () = engine.clock.sleep(LOOK) => {}
        }
        let (looking, before) = (files.clone(), seen.clone());
        // Reading a disk blocks, and so does checking ten thousand policies.
        let looked = tokio::task::spawn_blocking(move || looking.changed(&before));
        match looked.await {
            Ok(None) => {}
            Ok(Some((looks, Ok(set)))) => {
                seen = looks;
                replace(&engine, set).await;
            }
            Ok(Some((looks, Err(why)))) => {
                seen = looks;
                engine.telemetry.metrics.policy_load_error();
                tracing::error!("The policies have changed and are refused; those of before stay in force:\n{why}");
                engine.refused.store(Some(Arc::new(why)));
            }
            Err(error) => tracing::error!(%error, "Looking at the policies failed"),
        }
    }
}

impl PolicyFiles {
    /// What the files look like now, if that is not what they looked like, and the set that they make or why they make none.
    fn changed(&self, before: &Fingerprint) -> Option<(Fingerprint, Result<PolicySet, String>)> {
        let now = self.fingerprint();
        let looks = match now {
            Ok(looks) if looks == *before => return None,
            Ok(looks) => looks,
            // A folder that is gone for a moment is said once, and looked for again.
            Err(_) if before.0.is_empty() => return None,
            Err(error) => return Some((Fingerprint::default(), Err(format!("{error:#}")))),
        };
        match self.load() {
            Ok((set, seen)) => Some((seen, Ok(set))),
            Err(error) => Some((looks, Err(format!("{error:#}")))),
        }
    }
}

async fn replace(engine: &Engine, set: PolicySet) {
    engine.refused.store(None);
    if set.digest == engine.policies.load().digest {
        return;
    }
    let (policies, count) = (set.digest.clone(), set.policies().len());
    engine.policies.store(Arc::new(set));
    tracing::info!(policies = count, digest = %policies, "New policies are in force");
    let replica = engine.admitter.writer().replica.clone();
    engine
        .book
        .note(Record::Started(Started { replica, policies, version: env!("CARGO_PKG_VERSION").to_owned() }))
        .await;
}
