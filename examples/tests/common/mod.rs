//! Running of programs as a user runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Returns the path of the example `name`, which cargo builds with the tests, or which is in the
/// same folder if both were copied elsewhere.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let here = std::env::current_exe().unwrap();
    let folder = here.parent().unwrap();
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    [folder.parent().unwrap().join("examples").join(&name), folder.join(&name)].into_iter().find(|path| path.exists())
}

/// Returns the command for a small run on the CPU, with the output folder `out` if it does not open
/// a window, and with `arguments`.
pub(crate) fn command(name: &str, out: &Path, arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(program(name)?);
    // A layer that the environment enables, instead of the program, prints on standard output.
    command.env_remove("VK_INSTANCE_LAYERS");
    if !arguments.contains(&"--size") {
        command.args(["--size", "192x108"]);
    }
    command.args(["--backend", "host"]).args(arguments);
    if !arguments.contains(&"--window") {
        command.arg("--out").arg(out);
    }
    Some(command)
}

/// Runs the program. Returns `None` and reports the reason if this machine cannot run it.
pub(crate) fn run(name: &str, out: &Path, arguments: &[&str]) -> Option<Output> {
    let Some(mut command) = command(name, out, arguments) else {
        bridge_tests::skip(bridge_tests::Need::Other, &format!("the example `{name}` is not built"));
        return None;
    };
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("found: none") || error.contains("no Vulkan loader") {
        bridge_tests::skip(bridge_tests::Need::Other, error.trim());
        return None;
    }
    Some(output)
}

/// Runs the program in a window. Returns `None` and reports the reason if no window can be opened.
pub(crate) fn run_in_window(name: &str, out: &Path, arguments: &[&str]) -> Option<Output> {
    let screen = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "linux") && !screen("DISPLAY") && !screen("WAYLAND_DISPLAY") {
        bridge_tests::skip(bridge_tests::Need::Other, "there is no screen");
        return None;
    }
    let output = run(name, out, &[&["--window"], arguments].concat())?;
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("device extension VK_KHR_swapchain") {
        bridge_tests::skip(bridge_tests::Need::Other, error.trim());
        return None;
    }
    Some(output)
}
