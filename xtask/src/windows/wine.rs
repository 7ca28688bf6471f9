//! A separate Windows environment under Wine, with a screen.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::tools::{Tools, compiler};
use crate::screen::VirtualScreen;
use crate::setup;
use crate::shell;

/// Replaces a Windows library that Wine 8 lacks. Rust's standard library takes random numbers from
/// it.
const PRIMITIVES: &str = "bcryptprimitives.dll";

pub(super) struct Wine {
    program: PathBuf,
    prefix: PathBuf,
    /// Set if the machine has no screen: Wine provides Vulkan only to programs with a screen.
    screen: Option<VirtualScreen>,
}

impl Wine {
    /// Creates the folder of drive C: and boots Windows.
    pub(super) fn start(tools: &Tools) -> Result<Self> {
        let prefix = tools.folder().join("wine");
        fs::create_dir_all(&prefix).with_context(|| format!("cannot make {}", prefix.display()))?;
        let screen = if setup::has_screen() { None } else { Some(VirtualScreen::start()?) };
        let wine = Self { program: tools.wine().to_owned(), prefix, screen };
        let system = wine.prefix.join("drive_c/windows/system32");
        if !system.join("kernel32.dll").exists() {
            shell::run(wine.command(Path::new("wineboot")).arg("--init"))?;
        }
        if !system.is_dir() {
            bail!("`{}` did not create a Wine prefix in {}", wine.program.display(), wine.prefix.display());
        }
        wine.add_primitives(&system)?;
        Ok(wine)
    }

    /// Builds the replacement library, unless Wine has its own.
    fn add_primitives(&self, system: &Path) -> Result<()> {
        let library = system.join(PRIMITIVES);
        if library.exists() {
            return Ok(());
        }
        let source = shell::root().join("xtask/src/windows/bcryptprimitives.c");
        let mut compile = Command::new(compiler());
        compile.args(["-O2", "-Wall", "-Werror", "-shared", "-o"]).arg(&library).arg(source).arg("-ladvapi32");
        shell::run(&mut compile)
    }

    /// Returns a command that runs a Windows program.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(program).current_dir(shell::root());
        self.prepare(&mut command);
        command
    }

    /// Sets the environment variables that a command needs to start Windows programs.
    pub(super) fn prepare(&self, command: &mut Command) {
        command.env("WINEPREFIX", &self.prefix).env("WINEDEBUG", "-all");
        // Suppresses windows that offer to install .NET or a browser.
        command.env("WINEDLLOVERRIDES", "mscoree,mshtml=");
        if let Some(screen) = &self.screen {
            command.env("DISPLAY", screen.display());
        }
    }

    /// Converts a Linux path to the corresponding Windows path.
    pub(super) fn path(path: &Path) -> OsString {
        let mut windows = OsString::from("Z:");
        windows.push(path);
        windows
    }
}
