//! The engine as a user runs it: without a window, and in a window.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::process::{Command, Output};

use test_support::{Need, skip};

fn engine(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_engine")).args(arguments).output().unwrap()
}

/// Runs the engine. Returns `None` and reports the reason if this machine cannot run it.
fn run(arguments: &[&str]) -> Option<Output> {
    let output = engine(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("no Vulkan device") || error.contains("no Vulkan loader") || error.contains("vkCreateInstance") {
        skip(Need::Other, error.trim());
        return None;
    }
    Some(output)
}

#[test]
fn engine_runs_on_the_cpu_under_the_validation_layer_and_checks_itself() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let arguments = ["--frames", "60", "--size", "320x180", "--backend", "host", "--out", folder];
    let Some(mut output) = run(&[&arguments[..], &["--validate"]].concat()) else { return };
    if String::from_utf8_lossy(&output.stderr).contains("the validation layer is not installed") {
        skip(Need::Other, "the validation layer is not installed; run without");
        output = engine(&arguments);
    }
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{error}");
    // The pause draws one frame before it, and at least one behind it.
    let drawn = text.lines().find_map(|line| line.split_once(" frames drawn")).unwrap().0;
    assert!(drawn.parse::<u32>().unwrap() >= 62 && text.contains("checks held"), "{text}");
    for (system, most) in [("particles", 60), ("painting", 60), ("filter", 60)] {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{system}: "))).unwrap();
        let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert!(numbers[0] > 20 && numbers[0] <= most && numbers[1] <= 3, "{system}: {line}");
    }
    assert!(std::fs::read_dir(out.path()).unwrap().count() > 10, "pictures are written");
}

#[test]
fn engine_draws_in_a_window() {
    let screen = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "linux") && !screen("DISPLAY") && !screen("WAYLAND_DISPLAY") {
        return skip(Need::Other, "there is no screen");
    }
    let arguments = ["--window", "--frames", "20", "--size", "160x90", "--backend", "host"];
    let Some(mut output) = run(&[&arguments[..], &["--validate"]].concat()) else { return };
    if String::from_utf8_lossy(&output.stderr).contains("the validation layer is not installed") {
        skip(Need::Other, "the validation layer is not installed; run without");
        output = engine(&arguments);
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn invalid_options_are_one_error() {
    let out = tempfile::NamedTempFile::new().unwrap();
    let file = out.path().to_str().unwrap();
    for (arguments, word) in [
        (&["--frames", "3"][..], "--frames"),
        (&["--size", "0x9"], "--size"),
        (&["--out", file], "--out"),
        (&["--gpu", "no such device"], "no Vulkan"),
    ] {
        let output = engine(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(word) && !error.contains("panicked"), "{error}");
    }
}
