//! `cargo xtask fuzz`: checks random sequences of operations against a model, for a given time.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::setup;
use crate::shell;

/// The environment variables that `tests/fuzz` reads.
const SECONDS: &str = "BRIDGE_FUZZ_SECONDS";
const SEED: &str = "BRIDGE_FUZZ_SEED";
const COMPLETE: &str = "BRIDGE_FUZZ_COMPLETE";
const REPORT: &str = "BRIDGE_FUZZ_REPORT";

/// The test programs of `tests/fuzz`; the time is shared among them.
const TARGETS: &[&str] = &["cuda", "driver", "exchange", "faults", "ipc", "latest"];

/// The duration of the step in continuous integration, in seconds.
const IN_CI: u64 = 60;

/// Runs all targets, or one of them, for `seconds` in total, starting from a seed.
pub(crate) fn run(target: Option<&str>, seconds: u64, seed: u64) -> Result<()> {
    run_targets(target, seconds, seed, false)
}

/// Runs targets. If `complete`, a target fails unless each of its operations was executed.
fn run_targets(target: Option<&str>, seconds: u64, seed: u64, complete: bool) -> Result<()> {
    let targets = targets(target)?;
    let report = shell::target_dir().join("fuzz.txt");
    fs::create_dir_all(shell::target_dir())?;
    fs::write(&report, "").with_context(|| format!("cannot write {}", report.display()))?;
    let each = (seconds / targets.len() as u64).max(1);
    for target in targets {
        let mut command = shell::cargo();
        // The features of the whole workspace, with which `cargo test` has built it. Other packages
        // have targets of these names, but without tests.
        command.args(["test", "--workspace", "--test", target, "--", "--nocapture", "--exact", target]);
        command.env(SECONDS, each.to_string()).env(SEED, seed.to_string()).env(REPORT, &report);
        if complete {
            command.env(COMPLETE, "1");
        }
        if std::env::var_os("RUST_LOG").is_none() {
            // Intentional leaks are logged each time.
            command.env("RUST_LOG", "off");
        }
        if let Some(path) = setup::layer_path() {
            command.env("VK_LAYER_PATH", path);
        }
        shell::run(&mut command)?;
        let said = fs::read_to_string(&report).with_context(|| format!("cannot read {}", report.display()))?;
        ensure!(said.contains(&format!("{target}: ")), "the test `{target}` did not run");
    }
    crate::console::print(&fs::read_to_string(&report).with_context(|| format!("cannot read {}", report.display()))?)?;
    Ok(())
}

/// Runs the step of continuous integration: always the same cases, different from those of `cargo
/// test`. Each operation of a target must have been executed.
pub(crate) fn in_ci() -> Result<()> {
    run_targets(None, IN_CI, 1_000, true)
}

fn targets(target: Option<&str>) -> Result<Vec<&'static str>> {
    let chosen: Vec<_> = TARGETS.iter().copied().filter(|name| target.is_none_or(|target| target == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no target `{}`; the targets are {}", target.unwrap_or_default(), TARGETS.join(", "));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_lists_all() {
        assert_eq!(targets(None).unwrap(), TARGETS);
        assert_eq!(targets(Some("exchange")).unwrap(), ["exchange"]);
        let error = targets(Some("x")).unwrap_err().to_string();
        assert!(error.contains("`x`") && error.contains("exchange"), "{error}");
    }
}
