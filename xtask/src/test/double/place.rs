//! The folder in which the loaders find the double, and test runs that use it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::{SKIP_LOG, read_log};
use super::built::{Built, Program};
use crate::{setup, shell};

/// Environment variable with the file to which the double appends its findings.
const FINDINGS: &str = "DRIVER_DOUBLE_FINDINGS";
/// Environment variable with the number of queues of each family of the double.
const QUEUES: &str = "DRIVER_DOUBLE_QUEUES";

/// The result of a program.
pub(in crate::test) struct Ran {
    pub(in crate::test) output: Output,
    pub(super) time: Duration,
    /// The findings of the double, one per line.
    pub(in crate::test) findings: Vec<String>,
}

/// The folder in which the loaders find the double.
pub(in crate::test) struct Place {
    folder: PathBuf,
}

impl Place {
    /// Creates the folder, replacing an existing one.
    pub(in crate::test) fn new(folder: &Path, double: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        #[cfg(unix)]
        for name in ["libcuda.so", "libcuda.so.1"] {
            std::os::unix::fs::symlink(double, folder.join(name)).context("cannot link to the driver double")?;
        }
        let icd = format!(r#"{{ "library_path": {:?}, "api_version": "1.3.0" }}"#, double.display().to_string());
        let manifest = format!(r#"{{ "file_format_version": "1.0.0", "ICD": {icd} }}"#);
        fs::write(folder.join("icd.json"), manifest)?;
        Ok(Self { folder: folder.to_owned() })
    }

    pub(super) fn skips(&self) -> PathBuf {
        self.folder.join("skips.log")
    }

    /// Runs a program without the tests whose names contain one of `without`, for at most `limit`
    /// seconds.
    pub(in crate::test) fn run(
        &self,
        program: &Program,
        built: &Built,
        without: &[&str],
        limit: Option<u64>,
    ) -> Result<Ran> {
        let findings = self.folder.join(format!("{}.findings", program.title()));
        let path = built.program(program.name)?;
        let mut command = match limit {
            Some(seconds) => limited(path, seconds),
            None => Command::new(path),
        };
        // Set up as cargo would do it.
        let package = &built.package;
        command
            .current_dir(&package.folder)
            .env("CARGO_MANIFEST_DIR", &package.folder)
            .env("CARGO_PKG_NAME", package.name);
        for word in program.without.iter().chain(without) {
            command.args(["--skip", word]);
        }
        self.prepare(&mut command, program.queues, &findings)?;
        let start = Instant::now();
        let output = command.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start `{}`", shell::command_line(&command)))?;
        Ok(Ran { output, time: start.elapsed(), findings: read_findings(&findings)? })
    }

    /// Runs a command of an example, which checks itself, with these queues. Fails if it fails, or
    /// if the double reports a finding.
    pub(super) fn run_example(&self, command: &mut Command, queues: Option<&str>) -> Result<()> {
        let findings = self.folder.join("example.findings");
        self.prepare(command, queues, &findings)?;
        shell::run(command)?;
        let found = read_findings(&findings)?;
        ensure!(
            found.is_empty(),
            "`{}` broke rules of the driver's:\n{}",
            shell::command_line(command),
            found.join("\n")
        );
        Ok(())
    }

    /// Makes the command's loaders find the double, with these queues.
    fn prepare(&self, command: &mut Command, queues: Option<&str>, findings: &Path) -> Result<()> {
        let own = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let libraries = std::iter::once(self.folder.clone()).chain(std::env::split_paths(&own));
        command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries)?);
        for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            command.env(name, self.folder.join("icd.json"));
        }
        match queues {
            Some(queues) => command.env(QUEUES, queues),
            None => command.env_remove(QUEUES),
        };
        if let Some(path) = setup::layer_path() {
            command.env("VK_LAYER_PATH", path);
        }
        command.env(SKIP_LOG, self.skips()).env(FINDINGS, findings);
        shell::without_wayland(command);
        // These variables concern a real GPU.
        command.env_remove("REQUIRE_GPU").env_remove("BRIDGE_TEST_GPU_FAULTS");
        Ok(())
    }
}

fn read_findings(path: &Path) -> Result<Vec<String>> {
    let findings = if path.exists() { read_log(path)? } else { String::new() };
    Ok(findings.lines().map(str::to_owned).collect())
}

/// Returns a command that runs the program and ends it after the given time.
fn limited(program: &Path, seconds: u64) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after", "5", &seconds.to_string()]).arg(program);
    command
}
