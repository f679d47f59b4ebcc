//! Where the servers' binaries come from: built once from `tools/go.mod`, kept in the user's cache folder.
//!
//! The folder's name is made of everything that decides about its content, so a changed version is a new folder and
//! an old checkout still finds its own. A folder that exists is whole: it is renamed into place as the last step.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

/// The module that names the programs and their versions.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools");

/// Lets a person or a CI machine choose the cache folder.
const FOLDER: &str = "FLYBALL_TOOLS";

/// The built programs.
#[derive(Debug, Clone)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Finds the programs, building them first when this user has none of these versions: 4 to 8 minutes and 400 MB.
    ///
    /// Two builds at once, of two processes, are one build and one wait.
    pub fn ensure() -> Result<Self> {
        let cache = cache_folder()?;
        let folder = cache.join(format!("tools-{:016x}", fingerprint()?));
        if folder.is_dir() {
            return Ok(Self { folder });
        }
        fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
        let lock = File::create(cache.join("tools.lock")).context("creating the tools' lock file")?;
        lock.lock().context("waiting for another build of the tools")?;
        if !folder.is_dir() {
            // One name for all: what an interrupted build left there is in nobody's use while we hold the lock.
            let unfinished = cache.join("building");
            let _ = fs::remove_dir_all(&unfinished);
            build(&unfinished)?;
            fs::rename(&unfinished, &folder).with_context(|| format!("moving the tools to {}", folder.display()))?;
            say(&format!("built into {}", folder.display()));
        }
        Ok(Self { folder })
    }

    /// Where they lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of one, by its binary's name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Whether tests that need real servers can run here. `false`, for want of Go, has been said on the terminal, past the
/// test harness.
///
/// # Panics
/// Without Go under `CI=true`, where a skipped test must not look like a passed one.
pub fn can_run() -> bool {
    let Err(reason) = go_version() else { return true };
    assert!(env::var("CI").as_deref() != Ok("true"), "no real servers for the tests: {reason:#}");
    say(&format!("SKIPPED a test that needs real servers: {reason:#}"));
    false
}

fn cache_folder() -> Result<PathBuf> {
    if let Some(chosen) = env::var_os(FOLDER) {
        return Ok(chosen.into());
    }
    if let Some(cache) = env::var_os("XDG_CACHE_HOME") {
        return Ok(Path::new(&cache).join("flyball"));
    }
    let home = env::var_os("HOME").with_context(|| format!("no cache folder: set {FOLDER}, XDG_CACHE_HOME or HOME"))?;
    Ok(Path::new(&home).join(".cache/flyball"))
}

/// FNV-1a: the standard library's hasher may change between versions of Rust, and would cost everybody a build.
fn fingerprint() -> Result<u64> {
    let module = Path::new(MODULE);
    let mut seen = fs::read(module.join("go.mod")).context("reading the tools' go.mod")?;
    seen.extend(fs::read(module.join("go.sum")).context("reading the tools' go.sum")?);
    seen.extend(go_version()?);
    seen.extend(linker_flags()?.bytes());
    Ok(seen.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

fn go_version() -> Result<Vec<u8>> {
    let go = Command::new("go").arg("version").current_dir(MODULE).output();
    let go = match go {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            bail!("the test servers are built from Go modules, and `go` is not on the PATH: install Go 1.26 or newer")
        }
        other => other.context("running go version")?,
    };
    ensure!(go.status.success(), "go version: {}", String::from_utf8_lossy(&go.stderr).trim());
    Ok(go.stdout)
}

/// What the linker is told: no symbols, and the version that the API server answers with, which some clients insist on.
fn linker_flags() -> Result<String> {
    let module = fs::read_to_string(Path::new(MODULE).join("go.mod")).context("reading the tools' go.mod")?;
    let required = |line: &str| {
        line.trim().strip_prefix("k8s.io/kubernetes ").and_then(|rest| rest.split(' ').next()).map(str::to_owned)
    };
    let version = module.lines().find_map(required).context("go.mod requires no k8s.io/kubernetes")?;
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let at = "k8s.io/component-base/version.git";
    Ok(format!("-s -w -X {at}Version={version} -X {at}Major={major} -X {at}Minor={minor} -X {at}TreeState=clean"))
}

fn build(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    say("building the test servers, once for these versions: 4 to 8 minutes");
    let mut go = Command::new("go")
        .args(["build", "-v", "-trimpath", "-ldflags", &linker_flags()?, "-o"])
        .arg(folder)
        .arg("tool") // every program of go.mod's tool block
        .current_dir(MODULE)
        .stderr(Stdio::piped())
        .spawn()
        .context("running go build")?;
    let complaint = follow(BufReader::new(go.stderr.take().expect("stderr is piped")));
    let status = go.wait().context("running go build")?;
    ensure!(status.success(), "go build of the test servers: {status}:\n{complaint}");
    // Named after the last folder of its module's path.
    fs::rename(folder.join("server"), folder.join("etcd")).context("naming etcd")
}

/// Prints how far the build is. With `-v` it names one package a line; any other line is a complaint.
fn follow(lines: impl BufRead) -> String {
    let start = Instant::now();
    let (mut packages, mut complaint, mut said) = (0, String::new(), 0);
    for line in lines.lines().map_while(Result::ok) {
        if line.contains(' ') {
            complaint.push_str(&line);
            complaint.push('\n');
        } else {
            packages += 1;
        }
        let seconds = start.elapsed().as_secs();
        if seconds >= said + 15 {
            said = seconds;
            say(&format!("{packages} packages compiled after {seconds} s"));
        }
    }
    complaint
}

/// Not `eprintln!`, which a test harness swallows: a silent first build of minutes would look like a test that hangs.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "devcluster: {line}");
}
