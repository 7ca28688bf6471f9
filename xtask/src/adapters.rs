//! The adapters to engines, each a workspace of its own with its own versions and its own lock
//! file.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::lint;
use crate::setup;
use crate::shell;

/// What is run of `bridge-wgpu`: programs that check their own results, as small as they can.
const WGPU_EXAMPLES: &[&str] = &[
    "wgpu_particles --frames 8 --particles 20000 --size 640x360 --backend host",
    "wgpu_filter --frames 6 --size 320x180 --resize 150x200 --backend host",
    "wgpu_cost --frames 4 --samples 1 --rounds 1 --mib 1 --backend host",
];

/// What is run of `bevy-vk-cuda`: as a machine without CUDA does it, and as one with CUDA, on the
/// one queue that software drivers have.
const BEVY_EXAMPLES: &[&str] = &[
    "bevy_cube --frames 6 --particles 5000 --way upload --validate",
    "bevy_cube --frames 6 --particles 5000 --way host --share-queue --validate",
    "bevy_cube --frames 4 --particles 5000 --texture 256 --way host --share-queue --compare --validate",
];

/// Builds, lints, documents and tests `adapters/bridge-wgpu`, and runs its examples.
pub(crate) fn wgpu() -> Result<()> {
    // With the windows of the examples, which nothing else would lint.
    adapter("bridge-wgpu", &["--features", "window"], WGPU_EXAMPLES)
}

/// Builds, lints, documents and tests `adapters/bevy-vk-cuda`, and runs its example.
pub(crate) fn bevy() -> Result<()> {
    adapter("bevy-vk-cuda", &[], BEVY_EXAMPLES)
}

/// Lints the program on vulkano and runs it under validation.
pub(crate) fn vulkano() -> Result<()> {
    let manifest = shell::root().join("examples/vulkano/Cargo.toml");
    shell::run(cargo(&manifest, "fmt").args(["--", "--check"]))?;
    let mut run = cargo(&manifest, "run");
    lint::with_lints(&mut run)?;
    shell::run(run.args(["--locked", "--", "--validate"]))
}

fn adapter(name: &str, features: &[&str], examples: &[&str]) -> Result<()> {
    let manifest = shell::root().join("adapters").join(name).join("Cargo.toml");
    shell::run(cargo(&manifest, "fmt").args(["--", "--check"]))?;
    let mut test = cargo(&manifest, "test");
    lint::with_lints(&mut test)?;
    shell::run(test.arg("--locked").args(features))?;
    let out = shell::target_dir().join("ci").join(name);
    for example in examples {
        let mut words = example.split_whitespace();
        let mut command = cargo(&manifest, "run");
        // The same features: without them wgpu would be built once more.
        lint::with_lints(&mut command)?;
        command
            .arg("--locked")
            .args(features)
            .arg("--example")
            .args(words.next())
            .arg("--")
            .args(words)
            .arg("--out")
            .arg(&out);
        shell::run(&mut command)?;
    }
    Ok(())
}

/// `cargo WORD` on an adapter, with a current validation layer where there is one.
fn cargo(manifest: &Path, word: &str) -> Command {
    let mut command = shell::cargo();
    command.arg(word).arg("--manifest-path").arg(manifest);
    if let Some(path) = setup::layer_path() {
        command.env("VK_LAYER_PATH", path);
    }
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Wayland's client library, which wgpu asks for a display, writes a line each time if there
        // is none. It finds no display in this folder either.
        command.env("XDG_RUNTIME_DIR", shell::target_dir().join("ci"));
    }
    command
}
