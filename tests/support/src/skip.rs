//! Skips that are reported, and that `cargo xtask test` counts.
//!
//! If `REQUIRE_GPU` is set to anything but `0`, a skip for a missing GPU ([`Need::Gpu`]) is a
//! failure. The variable has no other meaning, and only this module reads it.

use std::ffi::OsStr;
use std::io::Write as _;

/// The environment variable with the file that skips are appended to, one line each: program, test,
/// case (empty for a whole test) and reason, separated by tabs.
pub const SKIP_LOG: &str = "BRIDGE_SKIP_LOG";

/// The missing requirement of a skipped test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// An NVIDIA GPU that shares memory with CUDA.
    Gpu,
    /// Something else that the machine may lack, such as the validation layer.
    Other,
}

/// Returns `true` if `REQUIRE_GPU` declares that this machine has a GPU.
pub fn require_gpu() -> bool {
    asks_for_a_gpu(std::env::var_os("REQUIRE_GPU").as_deref())
}

fn asks_for_a_gpu(variable: Option<&OsStr>) -> bool {
    variable.is_some_and(|value| !value.is_empty() && value != "0")
}

/// Skips the calling test, which must return immediately: it does not count as passed.
///
/// # Panics
/// Panics if `REQUIRE_GPU` is set and a GPU is missing.
pub fn skip(need: Need, reason: &str) {
    note(need, "", reason);
}

/// Skips a part of the calling test; the test continues, and counts as passed.
///
/// # Panics
/// Panics as [`skip`] does.
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
    // One write per line, because tests run in parallel in several processes.
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

/// Returns the name of the running test: libtest names its thread after it.
fn test() -> String {
    std::thread::current().name().unwrap_or("a thread without a name").to_owned()
}

/// Returns the package, if cargo sets it, and the test program without the hash that cargo adds:
/// two packages may have programs with the same name, and two programs tests with the same name.
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
