//! The promise, proven: seeded simulation, crashes and faults on real servers, soak, starts, moves. It knows everything, and nothing
//! depends on it.

pub mod crash;
pub mod faults;
pub mod judge;
pub mod moves;
pub mod planted;
pub mod proxy;
pub mod random;
pub mod rig;
pub mod sim;
pub mod soak;
pub mod start;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program under test, built once for each process, so that no test ever judges a binary of yesterday.
///
/// # Panics
/// It cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("proof/ lies in the root");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // Chosen among the whole workspace: of one package alone the dependencies would have other features, and all of them be
        // built once more.
        build.current_dir(root).args(["build", "--quiet", "--workspace", "--bin", "flyball"]);
        // Built as we are: whoever measures asks for a release.
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        if profile == "release" {
            build.arg("--release");
        }
        // What `cargo run` says about this package would make build scripts run again, and half the tree with them.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        assert!(build.status().expect("cargo runs").success(), "flyball is built");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        target.join(profile).join("flyball")
    })
}
