//! The promise, proven: seeded simulation, crashes and faults on real servers, soak. It knows everything, and nothing
//! depends on it.

pub mod crash;
pub mod faults;
pub mod planted;
pub mod rig;
pub mod sim;
pub mod soak;

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
        build.current_dir(root).args(["build", "--quiet", "-p", "flyball", "--bin", "flyball"]);
        assert!(build.status().expect("cargo runs").success(), "flyball is built");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        target.join("debug").join("flyball")
    })
}
