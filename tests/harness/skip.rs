//! Skips that are loud.

use std::io::Write as _;

/// Says that a test is skipped and why; where `REQUIRE_GPU=1` is set, fails it.
///
/// # Panics
/// With `REQUIRE_GPU=1`.
pub fn skip(test: &str, reason: &str) {
    assert!(
        std::env::var_os("REQUIRE_GPU").is_none_or(|v| v.is_empty() || v == "0"),
        "REQUIRE_GPU is set, but {test} cannot run: {reason}"
    );
    eprintln!("SKIP {test}: {reason}");
    // `cargo xtask test` counts these.
    if let Some(path) = std::env::var_os("BRIDGE_SKIP_LOG") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        if let Ok(mut file) = file {
            let _ = writeln!(file, "{test}\t{}", reason.replace(['\n', '\t'], " "));
        }
    }
}
