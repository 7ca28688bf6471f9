//! Checks of the Python package in `python/`, a separate workspace whose wheel is built and tested
//! as a user would get it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::licenses;
use crate::lint;
use crate::setup;
use crate::setup::consent::Consent;
use crate::setup::install;
use crate::setup::packages::Need;
use crate::shell;

/// The packages that build and test the wheel; numpy is a dependency of the package.
pub(crate) const BUILDER: &str = "maturin>=1.9,<2";
const TESTER: &str = "pytest>=8,<10";
/// The package that compares the stubs with the module.
const CHECKER: &str = "mypy>=1.19,<3";

/// Lints the package, builds its wheel, and tests the wheel in a new environment on the CPU
/// backend.
///
/// maturin refuses a wheel that links libraries that not every Linux has: the loaders of Vulkan and
/// CUDA are opened at run time.
pub(crate) fn ci() -> Result<()> {
    let package = shell::root().join("python");
    let manifest = package.join("Cargo.toml");
    cargo(&manifest, &["fmt", "--", "--check"])?;

    let folder = shell::target_dir().join("ci").join("python");
    let (builder, fresh, wheels) = (folder.join("build"), folder.join("fresh"), folder.join("wheels"));
    let python = python_with_venv()?;
    create_environment(&python, &builder, &[BUILDER])?;
    remove_folder(&wheels)?;
    licenses::write_linked(&package)?;
    let mut build = Command::new(builder.join("bin/maturin"));
    lint::with_lints(&mut build)?;
    build.env("CARGO_TARGET_DIR", shell::shared_target_dir());
    build.args(["build", "--locked", "--profile", "dev", "--auditwheel", "check", "--out"]).arg(&wheels);
    shell::run(build.arg("--interpreter").arg(&python).current_dir(&package))?;

    let wheel = only_file(&wheels)?;
    licenses::check_wheel(&python, &wheel)?;
    test(&python, &fresh, &wheel)
}

/// Tests the wheel, and compares its stubs with its module, in a new environment.
pub(crate) fn test(python: &Path, fresh: &Path, wheel: &Path) -> Result<()> {
    create_environment(python, fresh, &[TESTER, CHECKER, &wheel.to_string_lossy()])?;
    // Both run in folders where no folder has the package's name and would be imported instead.
    let mut stubs = Command::new(fresh.join("bin/python"));
    shell::run(stubs.args(["-m", "mypy.stubtest", "vkview"]).current_dir(fresh))?;
    let mut tests = Command::new(fresh.join("bin/python"));
    tests.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).current_dir(shell::root().join("python/tests"));
    if let Some(path) = setup::layer_path() {
        tests.env("VK_LAYER_PATH", path).env("VKVIEW_VALIDATION", "1");
    }
    shell::run(&mut tests)
}

fn cargo(manifest: &Path, words: &[&str]) -> Result<()> {
    let mut command = shell::cargo();
    let (word, arguments) = words.split_first().context("no word for cargo")?;
    shell::run(command.arg(word).arg("--manifest-path").arg(manifest).args(arguments))
}

/// Removes a folder if it exists.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// Creates a virtual environment with these packages.
pub(crate) fn create_environment(python: &Path, folder: &Path, packages: &[&str]) -> Result<()> {
    shell::run(Command::new(python).args(["-m", "venv", "--clear"]).arg(folder))?;
    let mut pip = Command::new(folder.join("bin/python"));
    shell::run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages))
}

/// Installs the missing parts of Python.
pub(crate) fn set_up() -> Result<()> {
    python_with_venv().map(drop)
}

/// Returns a Python that can create virtual environments; installs it if allowed.
pub(crate) fn python_with_venv() -> Result<PathBuf> {
    let find = || {
        shell::on_path("python3")
            .filter(|python| shell::succeeds(Command::new(python).args(["-c", "import ensurepip, venv"])))
    };
    if let Some(python) = find() {
        return Ok(python);
    }
    install::install(&[Need::Venv], &[], Consent::from_environment())?;
    find().context("python3 with its module venv is still missing; install it and try again")
}

pub(crate) fn only_file(folder: &Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let file = files.next().with_context(|| format!("no file in {}", folder.display()))??;
    Ok(file.path())
}
