//! Bugs put in on purpose, to measure the simulation itself: each is a patch in `proof/planted`, applied to a copy of the
//! tree, and has to be found within so many seeds. The product has no switches for them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the bugs whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// A bug, as its patch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bug {
    /// The patch's name.
    pub name: String,
    /// What it breaks.
    pub what: String,
    /// The invariants of which one has to be seen broken.
    pub invariants: Vec<String>,
    /// Seeds within which it has to be found.
    pub seeds: u64,
    /// The patch.
    pub patch: PathBuf,
}

/// Where the sources are.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("proof/ lies in the root")
}

/// Every bug, by name.
///
/// # Errors
/// A patch cannot be read, or its header does not say what it has to.
pub fn bugs() -> Result<Vec<Bug>> {
    let mut bugs = Vec::new();
    for entry in fs::read_dir(root().join("proof/planted"))? {
        let patch = entry?.path();
        if patch.extension().is_some_and(|it| it == "patch") {
            bugs.push(read(patch)?);
        }
    }
    bugs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(bugs)
}

fn read(patch: PathBuf) -> Result<Bug> {
    let text = fs::read_to_string(&patch)?;
    let header = |key: &str| {
        let line = text.lines().take_while(|line| !line.starts_with("diff ")).find_map(|it| it.strip_prefix(key));
        line.map(|it| it.trim().to_owned()).with_context(|| format!("{} has no `{key}`", patch.display()))
    };
    Ok(Bug {
        name: patch.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        what: header("Bug:")?,
        invariants: header("Invariant:")?.split_whitespace().map(str::to_owned).collect(),
        seeds: header("Seeds:")?.parse()?,
        patch,
    })
}

/// Whether a patch applies to a tree.
///
/// # Errors
/// git cannot be run.
pub fn applies(bug: &Bug, tree: &Path) -> Result<bool> {
    git_apply(tree, &["--check"], bug)
}

fn git_apply(tree: &Path, options: &[&str], bug: &Bug) -> Result<bool> {
    let status = Command::new("git").current_dir(tree).arg("apply").args(options).arg(&bug.patch).status();
    Ok(status.context("running git")?.success())
}

/// Plants every bug in turn and looks for it.
///
/// # Errors
/// The tree cannot be copied, or git or cargo cannot be run.
pub fn run(args: &Args) -> Result<ExitCode> {
    let tree = std::env::temp_dir().join("flyball-planted");
    let mut lost = 0;
    println!("{:<32}{:>7}{:>8}  found by", "bug", "limit", "seeds");
    for bug in bugs()?.into_iter().filter(|it| it.name.contains(&args.only)) {
        copy(&tree)?;
        let (seeds, found) = match plant(&tree, &bug)? {
            Some((seeds, found)) => (seeds.to_string(), found),
            None => ("-".to_owned(), "NOTHING".to_owned()),
        };
        let known = bug.invariants.contains(&found);
        lost += usize::from(!known);
        println!(
            "{:<32}{:>7}{seeds:>8}  {found}{}",
            bug.name,
            bug.seeds,
            if known { "" } else { "  (not as expected)" }
        );
    }
    Ok(if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes the copy as the tree is. Files that are the same stay untouched, so that little has to be built.
fn copy(tree: &Path) -> Result<()> {
    let listed = Command::new("git").current_dir(root()).args(["ls-files", "-z"]).output().context("running git")?;
    ensure!(listed.status.success(), "git cannot list the tree");
    for name in String::from_utf8(listed.stdout)?.split('\0').filter(|it| !it.is_empty()) {
        let (from, to) = (root().join(name), tree.join(name));
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|it| it == bytes) {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&to, bytes)?;
    }
    Ok(())
}

/// Builds the tree with one bug and simulates until it is found: after how many seeds, and by which invariant.
fn plant(tree: &Path, bug: &Bug) -> Result<Option<(u64, String)>> {
    ensure!(git_apply(tree, &[], bug)?, "{} does not apply", bug.name);
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from).join("planted");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let seeds = bug.seeds.to_string();
    let mut run = Command::new(cargo);
    run.current_dir(tree).env("CARGO_TARGET_DIR", target);
    run.args([
        "run",
        "--quiet",
        "--profile",
        "proof",
        "-p",
        "flyball-proof",
        "--",
        "sim",
        "--first",
        "--seeds",
        &seeds,
    ]);
    let output = run.output().context("running cargo")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let Some(closing) = said.lines().find(|it| it.contains(" seeds, ")) else {
        bail!("{} does not build:\n{}", bug.name, String::from_utf8_lossy(&output.stderr));
    };
    let seeds = closing.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(bug.seeds);
    // `seed 17: S5: what was seen`, one line a breach.
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for line in said.lines().filter(|it| it.starts_with("seed ")) {
        *found.entry(line.split(": ").nth(1).unwrap_or_default()).or_default() += 1;
    }
    let named = found.keys().find(|it| bug.invariants.iter().any(|known| known == *it)).or_else(|| found.keys().next());
    Ok(named.map(|it| (seeds, (*it).to_owned())))
}

#[cfg(test)]
mod tests {
    use super::{applies, bugs, root};

    #[test]
    fn every_patch_applies() {
        let bugs = bugs().expect("every header is whole");
        assert!(bugs.len() >= 10, "bugs are gone");
        for bug in bugs {
            assert!(applies(&bug, root()).expect("git runs"), "{} does not apply any more", bug.name);
            assert!(bug.seeds > 0 && !bug.invariants.is_empty() && bug.what.len() > 20, "{bug:?}");
        }
    }
}
