//! Running other programs: finding them, displaying commands, and reporting failures.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

/// Returns the root of the workspace: the parent of this package's folder.
pub(crate) fn root() -> PathBuf {
    let package =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_path_buf)
}

/// Returns the target folder of the other workspaces; it is shared, because most of their
/// dependencies are the same.
pub(crate) fn shared_target_dir() -> PathBuf {
    target_dir().join("beside")
}

/// Returns cargo's target folder.
pub(crate) fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => resolve_user_path(Path::new(&dir)),
        None => root().join("target"),
    }
}

/// Returns the absolute path for a path that is relative to the user's current folder.
pub(crate) fn resolve_user_path(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Returns a command for the cargo that started this program, in the root of the workspace.
pub(crate) fn cargo() -> Command {
    cargo_at(&own_cargo())
}

/// Returns a command for another cargo, in the root of the workspace.
pub(crate) fn cargo_at(program: &Path) -> Command {
    let mut command = plain_cargo(program);
    command.current_dir(root());
    command
}

/// Returns a `cargo WORD` command for this workspace in the user's current folder, for commands
/// that take the user's arguments: paths in them are relative to that folder.
pub(crate) fn cargo_in_user_dir(word: &str) -> Command {
    let mut command = plain_cargo(&own_cargo());
    command.arg(word);
    if env::current_dir().is_ok_and(|here| here != root()) {
        command.arg("--manifest-path").arg(root().join("Cargo.toml"));
    }
    command
}

/// Returns a copy of this program under a path that cargo does not write to, because some commands
/// rebuild this program. Each process makes the copy once; a process that runs from the copy does
/// not.
pub(crate) fn own_copy() -> Result<PathBuf> {
    static COPY: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut made = COPY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(copy) = &*made {
        return Ok(copy.clone());
    }
    let own = env::current_exe().context("this program's own path is unknown")?;
    let copy = copy_into(&own, &target_dir().join("ci/bin"))?;
    *made = Some(copy.clone());
    Ok(copy)
}

/// Returns another copy of this program, in a folder with this name.
pub(crate) fn own_copy_in(folder: &str) -> Result<PathBuf> {
    copy_into(&own_copy()?, &target_dir().join("ci/bin").join(folder))
}

fn copy_into(own: &Path, folder: &Path) -> Result<PathBuf> {
    let copy = folder.join(format!("xtask{}", env::consts::EXE_SUFFIX));
    // On Linux, the name is `xtask (deleted)` if the copy has been replaced since.
    if own.parent() == Some(folder) && copy.exists() {
        return Ok(copy);
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // The copy appears at its path as a whole, because another copy of this program may be running
    // or starting.
    let fresh = tempfile::NamedTempFile::new_in(folder)?.into_temp_path();
    fs::copy(own, &fresh).with_context(|| format!("cannot copy {}", own.display()))?;
    fresh.persist(&copy).with_context(|| format!("cannot replace {}", copy.display()))?;
    Ok(copy)
}

fn own_cargo() -> PathBuf {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).into()
}

fn plain_cargo(program: &Path) -> Command {
    let mut command = Command::new(program);
    // A relative path would be resolved in the folder in which cargo is started.
    if env::var_os("CARGO_TARGET_DIR").is_some() {
        command.env("CARGO_TARGET_DIR", target_dir());
    }
    remove_package_variables(&mut command);
    command
}

/// Removes the variables that the outer `cargo run` has set for this package, so that build scripts
/// and tests do not use them.
pub(crate) fn remove_package_variables(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// Returns the command as it would be typed.
pub(crate) fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(quote).collect::<Vec<_>>().join(" ")
}

fn quote(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Wayland's client library, which wgpu queries for a display, prints a line on each attempt if
/// `XDG_RUNTIME_DIR` is not set. It finds no display in the folder set here either.
pub(crate) fn without_wayland(command: &mut Command) {
    if env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("XDG_RUNTIME_DIR", target_dir().join("ci"));
    }
}

/// Runs the command with this program's output and no input; the error of a failure names the
/// command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{}`", command_line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", command_line(command));
    }
    Ok(())
}

/// Returns `true` if the command runs and succeeds; discards its output.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Returns the program's path if a folder of `PATH` contains it.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let file = format!("{program}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(&file)).find(|path| path.is_file())
}

/// Replaces this process with the command, so that its exit status and Ctrl-C are the command's.
#[cfg(unix)]
pub(crate) fn become_command(mut command: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{}`", command_line(&command)))
}

/// Runs the command and returns its exit status.
#[cfg(not(unix))]
pub(crate) fn become_command(mut command: Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| format!("cannot start `{}`", command_line(&command)))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("/usr/bin/tool");
        command.args(["--size", "640x360", "a b", "it's", ""]);
        assert_eq!(command_line(&command), r"tool --size 640x360 'a b' 'it'\''s' ''");
    }

    #[test]
    fn user_paths_are_relative_to_the_users_folder() {
        // Tests run in the folder of their package, not in the root of the workspace.
        let command = cargo_in_user_dir("run");
        assert_eq!(command.get_current_dir(), None);
        assert!(command_line(&command).ends_with("Cargo.toml"), "{}", command_line(&command));
        assert_eq!(resolve_user_path(Path::new("picture.png")), env::current_dir().unwrap().join("picture.png"));
        assert_eq!(cargo().get_current_dir(), Some(root().as_path()));
    }

    /// Another process may replace the copy that a process runs from; that process then uses the
    /// new copy.
    #[test]
    fn a_copy_that_was_replaced_is_copied_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        let own = folder.path().join("own");
        fs::write(&own, "first").unwrap();
        let copy = copy_into(&own, &bin).unwrap();
        assert_eq!(fs::read(&copy).unwrap(), b"first");
        let replaced = bin.join(format!("{} (deleted)", copy.file_name().unwrap().display()));
        assert_eq!(copy_into(&replaced, &bin).unwrap(), copy);
        fs::write(&own, "second").unwrap();
        assert_eq!(fs::read(copy_into(&own, &bin).unwrap()).unwrap(), b"second");
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("xtask/Cargo.toml").is_file());
    }

    #[test]
    fn a_failure_names_the_command_and_a_missing_program() {
        #[cfg(unix)]
        {
            let error = run(Command::new("false").arg("--option")).unwrap_err();
            assert!(error.to_string().contains("`false --option` failed"), "{error}");
        }
        let error = run(&mut Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("cannot start `no-such-program`"), "{error}");
    }
}
