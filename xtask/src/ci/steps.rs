//! The implementations of steps that belong to no other command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::documented::DOCUMENTED;
use crate::setup;
use crate::setup::consent::Consent;
use crate::{api, programs, python, shell, test, windows};

/// Builds everything that [`demo`] runs. The command names an example and no package: cargo selects
/// the features of dependencies by the packages and target kinds of a command, and would build the
/// crates again for each selection. This selection is that of `cargo test --workspace`.
const DEMOS: &str = "build --examples --bin engine";

/// Small enough for two cores without a GPU, large enough for the demo to check its own picture.
const DEMO: &str = "examples/particles --frames 24 --particles 60000 --size 640x360 --backend host --validate";

/// The image demos, at a similarly small size.
const IMAGE_DEMOS: &[&str] = &[
    "examples/texture --frames 24 --grid 256x112 --size 640x360 --backend host --validate",
    "examples/postprocess --frames 24 --size 640x360 --backend host --validate",
];

/// The engine, which runs its script of pauses, resizes, and systems that are added and removed.
const ENGINE: &str = "engine --frames 100 --size 320x180 --backend host --validate";

/// A renderer that kills its worker and accepts another one.
const PROCESSES: &str = "examples/remote_particles --frames 60";

/// The tests that kill processes; each prints a table.
const MATRIX: &str = "test --workspace --test remote -- --exact --nocapture --test-threads=1";
const MATRIX_OF_HOST: &[&str] = &[
    "matrix::each_state_and_each_signal_is_survived",
    "matrix_messages::the_end_of_a_worker_after_each_message_is_survived",
    "matrix_messages_renderers::the_end_of_a_renderer_after_each_message_is_survived",
    "matrix_reads::each_state_of_a_reader_is_survived",
    "matrix_steps::each_state_in_step_is_survived",
    "matrix_steps::each_state_of_a_reader_in_step_is_survived",
];
const MATRIX_OF_CUDA: &[&str] = &[
    "matrix::each_state_with_cuda_and_each_signal_is_survived",
    "matrix_messages_cuda::the_end_of_a_cuda_worker_after_each_message_is_survived",
    "matrix_reads::each_state_of_a_reader_with_cuda_is_survived",
    "matrix_renderers::the_end_of_a_renderer_of_a_cuda_worker_is_survived",
    "matrix_renderers::the_end_of_a_renderer_that_draws_for_a_cuda_worker_is_survived",
    "matrix_steps::each_state_in_step_with_cuda_is_survived",
    "matrix_steps::each_state_of_a_reader_in_step_with_cuda_is_survived",
];
/// The variable with the number of rounds.
const ROUNDS: &str = "BRIDGE_KILL_ROUNDS";
/// The test that runs one renderer and prints its resource use.
const SOAK: &str = "test --workspace --test remote_soak -- --exact --nocapture";

/// The introductory programs.
const FIRST_PROGRAMS: &[&str] = &[
    "01_buffer",
    "02_image",
    "03_post_process",
    "04_adopt_a_device",
    "05_cuda_kernel",
    "06_kernels_in_the_queue",
    "07_latest",
    "08_view",
    "09_frame_loop",
];

/// Runs a cargo command given as words separated by spaces.
pub(super) fn cargo(words: &str) -> Result<()> {
    shell::run(shell::cargo().args(words.split_whitespace()))
}

/// Checks for the compiler that two of the steps need, and for the two components that a minimal
/// toolchain lacks.
pub(super) fn toolchain() -> Result<()> {
    api::require_compiler()?;
    let lacks = |tool: &&str| !shell::succeeds(shell::cargo().args([tool, "--version"]));
    let missing: Vec<_> = ["fmt", "clippy"].into_iter().filter(lacks).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let typed = "rustup component add rustfmt clippy";
    eprintln!("setup: the command: {typed}");
    Consent::from_environment().confirm(typed)?;
    shell::run(Command::new("rustup").args(["component", "add", "rustfmt", "clippy"]))
        .with_context(|| format!("cargo has no {}; install it and try again", missing.join(" and no ")))
}

/// Checks each crate with its oldest and its newest CUDA binding, one at a time: bindings exclude
/// each other, and an API that both versions have exists in all versions between them. The newest
/// one is checked with 16-bit floats. Also checks that two bindings at once are refused.
pub(super) fn features() -> Result<()> {
    let crates = shell::root().join("crates");
    let mut checked = 0;
    for entry in fs::read_dir(&crates).with_context(|| format!("cannot read {}", crates.display()))? {
        let manifest = entry?.path().join("Cargo.toml");
        let text = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
        let features = cuda_features(&text);
        let ends = [features.iter().min(), features.iter().max()];
        for (feature, more) in ends.into_iter().flatten().zip(["", ",f16"]) {
            let (mut command, features) = (shell::cargo(), format!("{feature}{more}"));
            command.args(["check", "--no-default-features", "--features", &features, "--manifest-path"]).arg(&manifest);
            shell::run(&mut command)?;
            checked += 1;
        }
    }
    if checked == 0 {
        bail!("no crate under {} has a cuda- feature", crates.display());
    }
    refused_bindings()
}

/// Checks that building with all bindings or with none fails with one error that says why.
fn refused_bindings() -> Result<()> {
    for features in ["--all-features", "--no-default-features"] {
        let mut command = shell::cargo();
        // cudarc also refuses, and must not end the build before this crate reports its error.
        command.args(["check", "--keep-going", features, "--package", "cuda-import"]);
        let output = command.output().with_context(|| format!("cannot run `{}`", shell::command_line(&command)))?;
        let text = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || text.matches("choose exactly one version of CUDA's binding").count() != 1 {
            bail!("`{}` does not say once that one binding is to be chosen:\n{text}", shell::command_line(&command));
        }
    }
    Ok(())
}

/// Returns the names under `[features]` that select a version of CUDA's API.
fn cuda_features(manifest: &str) -> Vec<&str> {
    let section = manifest.lines().map(str::trim).skip_while(|line| *line != "[features]").skip(1);
    section
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| Some(line.split_once('=')?.0.trim()))
        .filter(|name| name.starts_with("cuda-"))
        .collect()
}

pub(super) fn docs() -> Result<()> {
    shell::run(shell::cargo().arg("doc").args(DOCUMENTED.split_whitespace()).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Installs what the parallel steps need, so that downloads overlap with compilation.
pub(super) fn tools() -> Result<()> {
    python::set_up()?;
    if cfg!(target_os = "linux") { windows::set_up(Consent::from_environment()) } else { Ok(()) }
}

/// Runs the README's test command.
pub(super) fn tests() -> Result<()> {
    if test::run(&[])? { Ok(()) } else { bail!("`cargo xtask test` failed") }
}

/// Runs the tests that kill either of two processes in each of its states, and prints the table of
/// recovery times. The workers compute on the CPU or with CUDA. If `parallel`, the tests run at the
/// same time.
pub(crate) fn kill_matrix(rounds: u32, cuda: bool, parallel: bool) -> Result<()> {
    let tests = if cuda { MATRIX_OF_CUDA } else { MATRIX_OF_HOST };
    if !parallel || !cfg!(target_os = "linux") {
        return kill(MATRIX, tests, ROUNDS, u64::from(rounds));
    }
    let shares = |&test| shares_of(test, rounds).into_iter().map(move |rounds| (test, rounds));
    let command = |(test, rounds)| (killing(MATRIX, ROUNDS, u64::from(rounds)), test);
    test::run_named_in_parallel(tests.iter().flat_map(shares).map(command).collect())
}

/// Returns the rounds of each process that runs a share of a test. The tests of messages have several
/// times as many cases as the others. They use all signals within four rounds.
fn shares_of(test: &str, rounds: u32) -> Vec<u32> {
    let shares = if test.starts_with("matrix_messages") { (rounds / 4).clamp(1, 4) } else { 1 };
    (0..shares).map(|share| rounds / shares + u32::from(share < rounds % shares)).collect()
}

/// Runs one renderer whose workers are killed one after another, for the given number of minutes,
/// and prints the resources that it holds at the start and at the end.
pub(crate) fn kill_soak(minutes: u32, cuda: bool) -> Result<()> {
    let of_workers = if cuda { "its_workers_with_cuda" } else { "its_workers" };
    let test = format!("a_renderer_outlives_{of_workers}_and_keeps_its_size");
    kill(SOAK, &[&test], "BRIDGE_KILL_SECONDS", u64::from(minutes) * 60)
}

/// Runs tests of two processes; `variable` and `value` set their duration. Fails if one of them does
/// not run.
fn kill(program: &str, tests: &[&str], variable: &str, value: u64) -> Result<()> {
    if !cfg!(target_os = "linux") {
        crate::console::line("two processes are written for Linux only: there is nothing to kill")?;
        return Ok(());
    }
    test::run_named(&mut killing(program, variable, value), tests)
}

/// Returns the command that runs tests of two processes.
fn killing(program: &str, variable: &str, value: u64) -> Command {
    let mut command = shell::cargo();
    command.args(program.split_whitespace()).env(variable, value.to_string());
    if let Some(path) = setup::layer_path() {
        command.env("VK_LAYER_PATH", path);
    }
    command
}

/// Runs the introductory programs and every demo, the first demo with both scenes. The programs
/// exit non-zero if their results are wrong.
pub(super) fn demo() -> Result<()> {
    cargo(DEMOS)?;
    for name in FIRST_PROGRAMS {
        shell::run(&mut program(&format!("examples/{name}")))?;
    }
    let data = shell::root().join("examples/particles/data");
    let picture = picture(&data).with_context(|| format!("no picture for the demo in {}", data.display()))?;
    let output = shell::target_dir().join("ci");
    shell::run(program(DEMO).arg("--out").arg(output.join("default")))?;
    shell::run(program(DEMO).arg("--out").arg(output.join("image")).arg("--image").arg(picture))?;
    for (index, demo) in IMAGE_DEMOS.iter().enumerate() {
        shell::run(program(demo).arg("--out").arg(output.join(format!("images{index}"))))?;
    }
    if cfg!(target_os = "linux") {
        shell::run(&mut program(PROCESSES))?;
    }
    shell::run(&mut program(ENGINE))
}

/// Returns the command for a program that cargo has built, with its arguments.
fn program(words: &str) -> Command {
    let mut words = words.split_whitespace();
    let mut command = programs::built(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Returns the first PNG in a folder.
fn picture(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|path| path.extension().is_some_and(|extension| extension == "png")).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cuda_features_are_read_from_the_manifest() {
        let manifest = "[package]\nname = \"x\"\n\n[features]\n# why\ndefault = [\"cuda-12000\"]\n\
                        cuda-12000 = [\"y/cuda-12000\"]\ncuda-13000=[]\nextra = []\n[dependencies]\ncuda-like = \"1\"\n";
        assert_eq!(cuda_features(manifest), ["cuda-12000", "cuda-13000"]);
        assert!(cuda_features("[package]\n").is_empty());
    }

    #[test]
    fn shares_of_a_test_have_all_rounds_and_enough_for_each_signal() {
        let messages = MATRIX_OF_CUDA[1];
        assert_eq!(shares_of(MATRIX_OF_CUDA[0], 100), [100]);
        assert_eq!(shares_of(messages, 103), [26, 26, 26, 25]);
        assert_eq!(shares_of(messages, 11), [6, 5]);
        assert_eq!([1, 7].map(|rounds| shares_of(messages, rounds)), [[1], [7]]);
    }

    #[test]
    fn the_first_picture_is_chosen() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(picture(folder.path()), None);
        for name in ["b.png", "a.png", "0.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(picture(folder.path()).unwrap(), folder.path().join("a.png"));
    }
}
