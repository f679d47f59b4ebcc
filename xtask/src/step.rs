//! Running other programs.

use std::env;
use std::process::Command;

use anyhow::{Context, Result};

/// The cargo that runs us, with `args`.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo run` says about this package. Build scripts that look at it would run again, and with them half the
    // tree be compiled again, each time a plain cargo and this one take turns.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    cargo.args(args);
    cargo
}

/// Runs `command` to its end, with our terminal. Whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command.status().with_context(|| format!("running {}", command.get_program().display()))?;
    Ok(status.success())
}
