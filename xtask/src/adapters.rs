//! The engine adapters, each a workspace with its own dependency versions and lock file.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::lint;
use crate::screen::VirtualScreen;
use crate::setup;
use crate::shell;
use crate::test::{self, Package, Program, part, unit_tests, whole};

/// The runs of the examples of `bridge-wgpu`: self-checking programs with minimal workloads.
const WGPU_EXAMPLES: &[&str] = &[
    "wgpu_particles --frames 8 --particles 20000 --size 640x360 --backend host",
    "wgpu_filter --frames 6 --size 320x180 --resize 150x200 --backend host",
    "wgpu_cost --frames 4 --samples 1 --rounds 1 --mib 1 --backend host",
];

/// The runs of the examples of `bridge-wgpu` that open a window, configure its surface, and do so
/// again when the window has another size.
const WGPU_WINDOWS: &[&str] = &[
    "wgpu_particles --window --frames 8 --particles 20000 --size 320x180 --resize 150x200 --backend host",
    "wgpu_filter --window --frames 8 --size 320x180 --resize 150x200 --backend host",
];

/// The tests of `bridge-wgpu` that also run with CUDA on the driver double: the contents and the
/// lifetimes of wgpu's frames, and the unit tests, which submit frames incorrectly.
const WGPU_ON_THE_DOUBLE: &[Program] = &[
    part("lives", &["a_thousand_come_and_go", "a_fault_of_cuda_hangs_no_wait"]),
    unit_tests("bridge_wgpu"),
    whole("contents"),
];

/// The runs of the example of `bevy-vk-cuda`: as on a machine without CUDA, and as on one with
/// CUDA, on the single queue that software drivers have.
const BEVY_EXAMPLES: &[&str] = &[
    "bevy_cube --frames 6 --particles 5000 --way upload --validate",
    "bevy_cube --frames 6 --particles 5000 --way host --share-queue --validate",
    "bevy_cube --frames 4 --particles 5000 --texture 256 --way host --share-queue --compare --validate",
];

/// The runs of the example of `bevy-vk-cuda` in a window, which it resizes.
const BEVY_WINDOWS: &[&str] = &[
    "bevy_cube --window --frames 9 --resize 640x360 --particles 5000 --way host --share-queue",
    "bevy_cube --window --frames 6 --particles 5000 --way upload",
];

/// The tests of `bevy-vk-cuda` that also run with CUDA on the driver double, with copies on a queue
/// of a family that only copies, and on a second queue of the family that draws.
const BEVY_ON_THE_DOUBLE: &[Program] = &[
    part("app", &["a_thousand_are_added_and_removed"]).on_queues("2,1"),
    part("app", &["backends::", "destroyed::", "ends::", "inserted::", "late::", "recovered::", "stopped::"])
        .on_queues("2"),
    unit_tests("bevy_vk_cuda").on_queues("2"),
];

/// The runs of the example of `bevy-vk-cuda` on the driver double, with these queues, without a
/// window and in windows.
const BEVY_EXAMPLES_ON_THE_DOUBLE: &[(&str, &str)] = &[
    ("bevy_cube --frames 6 --particles 5000 --validate", "2"),
    ("bevy_cube --frames 6 --particles 5000 --validate", "2,1"),
    ("bevy_cube --window --frames 9 --resize 640x360 --particles 5000", "2"),
    ("bevy_cube --window --frames 9 --resize 640x360 --particles 5000", "2,1"),
];

/// Builds, lints, documents and tests `adapters/bridge-wgpu`, also with CUDA on the driver double,
/// and runs its examples, without windows and in windows.
pub(crate) fn wgpu() -> Result<()> {
    // Includes the windows of the examples, which no other step lints.
    let features = &["--features", "window,f16"];
    let package = Package { name: "vk-cuda-bridge-wgpu", folder: folder("bridge-wgpu") };
    adapter(&package, features, WGPU_EXAMPLES)?;
    in_windows(&package, features, WGPU_WINDOWS)?;
    test::run_adapter(WGPU_ON_THE_DOUBLE, Vec::new(), tests(&package.folder, features)?, package)
}

/// Builds, lints, documents and tests `adapters/bevy-vk-cuda`, and runs its example, without a
/// window and in windows; all of it also with CUDA on the driver double.
pub(crate) fn bevy() -> Result<()> {
    let features = &["--features", "window,f16"];
    let package = Package { name: "bevy-vk-cuda", folder: folder("bevy-vk-cuda") };
    adapter(&package, features, BEVY_EXAMPLES)?;
    in_windows(&package, features, BEVY_WINDOWS)?;
    let screen = virtual_screen()?;
    let examples = BEVY_EXAMPLES_ON_THE_DOUBLE.iter().map(|(example, queues)| {
        let mut example = self::example(&package, features, example)?;
        on_screen(&mut example, screen.as_ref());
        Ok((example, Some(*queues)))
    });
    let examples = examples.collect::<Result<_>>()?;
    test::run_adapter(BEVY_ON_THE_DOUBLE, examples, tests(&package.folder, features)?, package)
}

/// Lints the vulkano example, tests it and runs it under validation.
pub(crate) fn vulkano() -> Result<()> {
    let manifest = shell::root().join("examples/vulkano/Cargo.toml");
    shell::run(cargo(&manifest, "fmt").args(["--", "--check"]))?;
    let mut test = cargo(&manifest, "test");
    lint::with_lints(&mut test)?;
    shell::run(test.arg("--locked"))?;
    let mut run = cargo(&manifest, "run");
    lint::with_lints(&mut run)?;
    shell::run(run.args(["--locked", "--", "--validate"]))
}

fn adapter(package: &Package, features: &[&str], examples: &[&str]) -> Result<()> {
    shell::run(cargo(&package.folder.join("Cargo.toml"), "fmt").args(["--", "--check"]))?;
    test::run_listed(&mut tests(&package.folder, features)?, package)?;
    examples.iter().try_for_each(|example| shell::run(&mut self::example(package, features, example)?))
}

/// Runs examples that open a window, on a virtual screen if there is no screen. If there is
/// neither, fails on Linux, and prints that nothing is run elsewhere.
fn in_windows(package: &Package, features: &[&str], examples: &[&str]) -> Result<()> {
    if !setup::has_screen() && shell::on_path("Xvfb").is_none() {
        let reason = format!(
            "no window of {} is opened: there is neither a screen nor Xvfb (`cargo xtask setup` installs it)",
            package.name
        );
        return test::nothing_ran(&reason, cfg!(target_os = "linux"));
    }
    let screen = virtual_screen()?;
    examples.iter().try_for_each(|example| {
        let mut command = self::example(package, features, example)?;
        shell::run(on_screen(&mut command, screen.as_ref()))
    })
}

/// Returns a virtual screen; `None` if there is a screen, or no Xvfb.
fn virtual_screen() -> Result<Option<VirtualScreen>> {
    let is_needed = !setup::has_screen() && shell::on_path("Xvfb").is_some();
    is_needed.then(VirtualScreen::start).transpose()
}

fn on_screen<'a>(command: &'a mut Command, screen: Option<&VirtualScreen>) -> &'a mut Command {
    match screen {
        Some(screen) => command.env("DISPLAY", screen.display()),
        None => command,
    }
}

/// Returns a command that runs an example of an adapter with its arguments.
fn example(package: &Package, features: &[&str], example: &str) -> Result<Command> {
    let mut words = example.split_whitespace();
    let mut command = cargo(&package.folder.join("Cargo.toml"), "run");
    // The same features as the tests: other features would build wgpu a second time.
    lint::with_lints(&mut command)?;
    command
        .arg("--locked")
        .args(features)
        .arg("--example")
        .args(words.next())
        .arg("--")
        .args(words)
        .arg("--out")
        .arg(shell::target_dir().join("ci").join(package.name));
    Ok(command)
}

fn folder(name: &str) -> PathBuf {
    shell::root().join("adapters").join(name)
}

/// Returns a `cargo test` command with lints for the adapter in a folder. The tests run on the main
/// thread, as `adapters/.cargo/config.toml` says, which cargo reads in the adapters' folders only.
fn tests(folder: &Path, features: &[&str]) -> Result<Command> {
    let mut test = cargo(&folder.join("Cargo.toml"), "test");
    lint::with_lints(&mut test)?;
    test.arg("--locked").args(features).env("RUST_TEST_THREADS", "1");
    Ok(test)
}

/// Returns a `cargo WORD` command for an adapter, with a current validation layer if there is one.
fn cargo(manifest: &Path, word: &str) -> Command {
    let mut command = shell::cargo();
    command.arg(word).arg("--manifest-path").arg(manifest).env("CARGO_TARGET_DIR", shell::shared_target_dir());
    if let Some(path) = setup::layer_path() {
        command.env("VK_LAYER_PATH", path);
    }
    shell::without_wayland(&mut command);
    command
}
