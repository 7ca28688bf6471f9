//! Skips that are loud, and that `cargo xtask test` counts.
//!
//! With `REQUIRE_GPU` set to anything but `0`, a skip for want of a GPU ([`Need::Gpu`]) is a
//! failure. That is its only meaning, and this is the only place that reads it.

use std::ffi::OsStr;
use std::io::Write as _;

/// Names the file that skips are appended to, one line each: program, test, case (empty for a whole
/// test) and reason, with tabs between them.
pub const SKIP_LOG: &str = "BRIDGE_SKIP_LOG";

/// What a skipped test lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// An NVIDIA GPU that shares memory with CUDA.
    Gpu,
    /// Something else that the machine may lack, such as the validation layer.
    Other,
}

/// Whether this machine is said to have a GPU, by `REQUIRE_GPU`.
pub fn require_gpu() -> bool {
    asks_for_a_gpu(std::env::var_os("REQUIRE_GPU").as_deref())
}

fn asks_for_a_gpu(variable: Option<&OsStr>) -> bool {
    variable.is_some_and(|value| !value.is_empty() && value != "0")
}

/// Skips the test that calls this, which is to return at once: it does not count as passed.
///
/// # Panics
/// With `REQUIRE_GPU`, if a GPU is what is missing.
pub fn skip(need: Need, reason: &str) {
    note(need, "", reason);
}

/// Skips a part of the test that calls this; the test goes on, and counts as passed.
///
/// # Panics
/// As [`skip`].
pub fn skip_case(need: Need, case: &str, reason: &str) {
    note(need, case, reason);
}

fn note(need: Need, case: &str, reason: &str) {
    let (program, test) = (program(), test());
    let colon = if case.is_empty() { "" } else { ": " };
    assert!(need != Need::Gpu || !require_gpu(), "REQUIRE_GPU is set, but {test}{colon}{case} cannot run: {reason}");
    // Not `eprintln`, whose output libtest hides for a test that passes.
    let _ = writeln!(std::io::stderr(), "SKIP {program} {test}{colon}{case}: {reason}");
    let Some(path) = std::env::var_os(SKIP_LOG) else { return };
    // One write per line: tests run side by side, in several processes.
    let written = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line(&program, &test, case, reason).as_bytes()));
    assert!(written.is_ok(), "cannot write {}: {written:?}", std::path::Path::new(&path).display());
}

fn line(program: &str, test: &str, case: &str, reason: &str) -> String {
    let plain = |text: &str| text.replace(['\n', '\r', '\t'], " ");
    format!("{program}\t{test}\t{}\t{}\n", plain(case), plain(reason))
}

/// The running test: libtest names its thread after it.
fn test() -> String {
    std::thread::current().name().unwrap_or("a thread without a name").to_owned()
}

/// The package, where cargo says it, and the test program without the hash that cargo adds: two
/// packages may have programs of one name, and two programs tests of one name.
fn program() -> String {
    let path = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_default();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.rsplit_once('-').map_or(stem.as_ref(), |(name, _)| name);
    match std::env::var("CARGO_PKG_NAME") {
        Ok(package) => format!("{package}/{name}"),
        Err(_) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_names_program_test_and_case() {
        assert_eq!(
            line("tests/one", "on_host::a", "of two\tparts", "one\nis gone"),
            "tests/one\ton_host::a\tof two parts\tone is gone\n"
        );
        assert_eq!(line("tests/one", "a", "", "why"), "tests/one\ta\t\twhy\n");
        assert!(program().ends_with("test_support"), "{}", program());
        assert_eq!(test(), "skip::tests::a_skip_names_program_test_and_case");
    }

    #[test]
    fn a_required_gpu_makes_a_skip_a_failure() {
        for (value, required) in
            [(Some("1"), true), (Some("yes"), true), (Some("0"), false), (Some(""), false), (None, false)]
        {
            assert_eq!(asks_for_a_gpu(value.map(OsStr::new)), required, "{value:?}");
        }
    }
}
