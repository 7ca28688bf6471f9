//! Skips that are loud.

use std::io::Write as _;

/// What a skipped test lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// An NVIDIA GPU that shares memory with CUDA.
    Gpu,
    /// Something else that the machine may lack, such as the validation layer.
    Other,
}

/// Says that a test is skipped and why; fails it where `REQUIRE_GPU=1` is set and a GPU is what it lacks.
///
/// # Panics
/// With `REQUIRE_GPU=1`.
pub fn skip(need: Need, test: &str, reason: &str) {
    assert!(
        need != Need::Gpu || std::env::var_os("REQUIRE_GPU").is_none_or(|v| v.is_empty() || v == "0"),
        "REQUIRE_GPU is set, but {test} cannot run: {reason}"
    );
    eprintln!("SKIP {test}: {reason}");
    // `cargo xtask test` counts these.
    if let Some(path) = std::env::var_os("BRIDGE_SKIP_LOG") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        if let Ok(mut file) = file {
            // One write a line: tests run side by side, in several processes.
            let line = format!("{}::{test}\t{}\n", program(), reason.replace(['\n', '\t'], " "));
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// The name of the test program, without the hash that cargo adds: two programs may have tests of one name.
fn program() -> String {
    let path = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_default();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.rsplit_once('-').map_or(stem.as_ref(), |(name, _)| name).to_owned()
}
