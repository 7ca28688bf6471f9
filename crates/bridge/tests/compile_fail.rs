//! Programs that must not compile: every way to hold a turn wrong that the compiler can see.

/// The messages in the `.stderr` files are those of this compiler; others word them differently.
const COMPILER: &str = "1.95";

#[test]
#[ignore = "takes a minute, and needs no device: cargo xtask ci --step misuse"]
fn misuse_does_not_compile() {
    let version = std::process::Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    if !version.starts_with(&format!("rustc {COMPILER}")) {
        return test_support::skip(
            test_support::Need::Other,
            &format!("the expected messages are those of rustc {COMPILER}, this is {version}"),
        );
    }
    let cases = trybuild::TestCases::new();
    for case in [
        "buffer_outside_its_turn",
        "device_beside_compute",
        "finish_twice",
        "invented_point",
        "named_by_anyone",
        "pointer_past_its_turn",
        "run_with_itself",
        "slice_escapes_its_closure",
        "submit_twice",
        "submit_what_was_lent",
        "unproven_pair",
    ] {
        cases.compile_fail(format!("tests/compile_fail/{case}.rs"));
    }
}
