//! The adapters to engines, each a workspace of its own with its own versions and its own lock file.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::publish;
use crate::setup;
use crate::shell;

/// What is run of `bridge-wgpu`: programs that check their own pictures, as small as they can.
const WGPU_EXAMPLES: &[&str] = &[
    "wgpu_particles --frames 8 --particles 20000 --size 640x360 --backend host",
    "wgpu_filter --frames 6 --size 320x180 --backend host",
];

/// Builds, lints and tests `adapters/bridge-wgpu`, and runs its examples.
pub(crate) fn wgpu() -> Result<()> {
    let manifest = shell::root().join("adapters/bridge-wgpu/Cargo.toml");
    publish::licences_of(&manifest)?;
    run(&manifest, "fmt", &["--", "--check"])?;
    run(&manifest, "clippy", &["--locked", "--all-targets", "--features", "window", "--", "-D", "warnings"])?;
    run(&manifest, "test", &["--locked"])?;
    let out = shell::target_dir().join("ci").join("wgpu");
    for example in WGPU_EXAMPLES {
        let mut words = example.split_whitespace();
        let mut command = cargo(&manifest, "run");
        command.args(["--locked", "--example"]).args(words.next()).arg("--").args(words).arg("--out").arg(&out);
        shell::run(&mut command)?;
    }
    let mut docs = cargo(&manifest, "doc");
    shell::run(docs.args(["--locked", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn run(manifest: &PathBuf, word: &str, arguments: &[&str]) -> Result<()> {
    shell::run(cargo(manifest, word).args(arguments))
}

/// `cargo WORD` on an adapter, with a current validation layer where there is one.
fn cargo(manifest: &PathBuf, word: &str) -> Command {
    let mut command = shell::cargo();
    command.arg(word).arg("--manifest-path").arg(manifest);
    if let Some(path) = setup::layer_path() {
        command.env("VK_LAYER_PATH", path);
    }
    command
}
