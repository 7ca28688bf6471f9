//! The source version of a run, and the clock rates of the GPU.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use bridge::Uuid;
use serde::{Deserialize, Serialize};

/// Placeholder for unknown values.
pub(crate) const UNKNOWN: &str = "unknown";

/// The source version of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sources {
    /// The commit, or "unknown".
    pub(crate) commit: String,
    /// `true` if the tree had no changes from that commit; `None` if unknown.
    pub(crate) clean: Option<bool>,
}

impl Default for Sources {
    fn default() -> Self {
        Self { commit: UNKNOWN.to_owned(), clean: None }
    }
}

impl Sources {
    /// Returns the commit in `BRIDGE_BENCH_COMMIT`, for a program that was built from another tree;
    /// otherwise the commit of the tree at `root`, if that was found.
    pub(crate) fn look(root: Option<&Path>) -> Self {
        let ask = |arguments: &[&str]| root.and_then(|root| git(root, arguments));
        let given = std::env::var("BRIDGE_BENCH_COMMIT").ok();
        Self::of(ask(&["rev-parse", "HEAD"]), ask(&["status", "--porcelain"]), given)
    }

    fn of(commit: Option<String>, status: Option<String>, given: Option<String>) -> Self {
        match (commit, given) {
            (_, Some(given)) => Self { commit: given, clean: None },
            (Some(commit), None) => Self { commit, clean: status.map(|status| status.is_empty()) },
            (None, None) => Self::default(),
        }
    }

    /// Checks that the commit identifies the measured sources.
    pub(crate) fn require_clean(&self) -> Result<()> {
        match self.clean {
            Some(true) => Ok(()),
            Some(false) => bail!("the tree differs from commit {}; commit first", self.commit),
            None => bail!("the run does not know its commit: git said nothing about its tree"),
        }
    }
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    output_of(Command::new("git").arg("-C").arg(root).args(arguments))
}

/// Returns the output of a program, if it exists and succeeds.
fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The GPU's clock rates as `nvidia-smi` reports them, or "unknown".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Clocks {
    /// The maximum clock rates.
    pub(crate) most: String,
    /// The rates before the first case.
    pub(crate) before: String,
    /// The rates right after the last case.
    pub(crate) after: String,
}

impl Default for Clocks {
    fn default() -> Self {
        let unknown = || UNKNOWN.to_owned();
        Self { most: unknown(), before: unknown(), after: unknown() }
    }
}

impl Clocks {
    /// Reads the maximum rates, and the rates before the first case.
    pub(crate) fn look(gpu: Uuid) -> Self {
        Self { most: clocks(gpu, "clocks.max.sm,clocks.max.memory"), before: current(gpu), ..Self::default() }
    }

    /// Reads the rates after the last case.
    pub(crate) fn end(&mut self, gpu: Uuid) {
        self.after = current(gpu);
    }
}

fn current(gpu: Uuid) -> String {
    clocks(gpu, "clocks.current.sm,clocks.current.memory")
}

fn clocks(gpu: Uuid, fields: &str) -> String {
    let query = format!("--query-gpu=uuid,{fields}");
    let lines = output_of(Command::new("nvidia-smi").args([&query, "--format=csv,noheader"])).unwrap_or_default();
    of_gpu(&lines, gpu).unwrap_or_else(|| UNKNOWN.to_owned())
}

/// Parses lines such as `GPU-…, 1980 MHz, 2619 MHz`.
fn of_gpu(lines: &str, gpu: Uuid) -> Option<String> {
    let name = format!("GPU-{gpu}");
    let line = lines.lines().find_map(|line| line.trim().strip_prefix(&name)?.strip_prefix(", "))?;
    let (processors, memory) = line.split_once(", ")?;
    Some(format!("{processors} processors, {memory} memory"))
}

/// Returns the root of the workspace, which follows from the package's folder that cargo reports,
/// or from the current folder.
pub(crate) fn root() -> Result<PathBuf> {
    let package = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(package) => PathBuf::from(package),
        None => std::env::current_dir()?.join("benches"),
    };
    ensure!(
        package.join("src/report/provenance.rs").is_file(),
        "{} is not the benchmark's package; run it with `cargo xtask bench`, or in the root of the workspace",
        package.display()
    );
    Ok(package.parent().context("a package without a folder")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_of_the_right_gpu_are_read() {
        let [one, other] = [1, 2].map(Uuid::from_u128);
        let lines = format!("GPU-{other}, 345 MHz, 405 MHz\nGPU-{one}, 1980 MHz, 2619 MHz\n");
        assert_eq!(of_gpu(&lines, one).unwrap(), "1980 MHz processors, 2619 MHz memory");
        assert_eq!(of_gpu(&lines, Uuid::from_u128(3)), None);
        assert_eq!(of_gpu("", one), None);
    }

    #[test]
    fn only_a_clean_commit_identifies_the_sources() {
        let some = |text: &str| Some(text.to_owned());
        Sources::of(some("abc"), some(""), None).require_clean().unwrap();
        let changed = Sources::of(some("abc"), some(" M file"), None);
        assert_eq!((changed.commit.as_str(), changed.clean), ("abc", Some(false)));
        assert!(changed.require_clean().unwrap_err().to_string().contains("abc"));
        let given = Sources::of(some("abc"), some(""), some("told"));
        assert_eq!((given.commit.as_str(), given.clean), ("told", None));
        assert!(given.require_clean().is_err());
        assert_eq!(Sources::of(None, None, None), Sources::default());
    }

    #[test]
    fn git_answers_where_there_is_a_repository() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            Sources::of(git(&folder.path().join("nothing"), &["rev-parse", "HEAD"]), None, None).commit,
            UNKNOWN
        );
    }

    #[test]
    fn the_root_has_the_package() {
        assert!(root().unwrap().join("benches/Cargo.toml").is_file());
    }
}
