#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
//! Tests of the first programs, `examples/01_buffer.rs` to `examples/09_frame_loop.rs`: they run,
//! check their own results, and stay short.

use std::fs;
use std::path::Path;
use std::process::Command;

#[allow(dead_code, reason = "these programs need one helper alone")]
mod common;

/// Each program with its last line of output.
const PROGRAMS: [(&str, &str); 9] = [
    ("01_buffer", "6 frames of 65536 numbers are right"),
    ("02_image", "6 frames of 320 x 200 texels are right"),
    ("03_post_process", "6 frames of 320 x 200 texels are drawn, filtered and right"),
    ("04_adopt_a_device", "1000 numbers are right"),
    ("05_cuda_kernel", "6 frames of 100000 vertices are right"),
    ("06_kernels_in_the_queue", "6 frames of 100000 vertices are right"),
    ("07_latest", "every picture is of one step, and the last of the last"),
    ("08_view", "6 frames of 320 x 200 pixels are drawn and right"),
    ("09_frame_loop", "60 frames of 1000 numbers are right"),
];

/// Parts of the error on a machine that cannot run the programs.
const LACKS: [&str; 4] = ["found: none", "no Vulkan loader", "no Vulkan device", "ERROR_INCOMPATIBLE_DRIVER"];

#[test]
fn the_programs_are_right_and_the_validation_layer_is_silent() {
    for (name, last) in PROGRAMS {
        let Some(program) = common::program(name) else {
            bridge_tests::skip_case(bridge_tests::Need::Other, name, "it is not built");
            continue;
        };
        // If the environment enables the layer, it prints on standard output.
        let layer = ("VK_INSTANCE_LAYERS", "VK_LAYER_KHRONOS_validation");
        let output = Command::new(program).env(layer.0, layer.1).output().unwrap();
        let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if LACKS.into_iter().any(|lack| error.contains(lack)) {
            return bridge_tests::skip(bridge_tests::Need::Other, error.trim());
        }
        assert!(output.status.success(), "{name}: {said}{error}");
        assert_eq!(said.lines().next_back(), Some(last), "{name}");
        assert!(!said.contains("VUID"), "{name}: {said}");
        assert!(said.contains("CUDA"), "{name} tells which side computes, and why: {said}");
    }
}

/// Frames of the CPU backend are presented only after they are computed; otherwise the layer
/// reports it.
#[test]
fn the_eighth_shows_its_frames_in_a_window() {
    shows_frames("08_view", &["--window", "60"], "60 frames of 320 x 200 pixels are drawn and right");
}

/// A view in the program's own window; not a first program, but as short.
#[test]
fn a_view_shows_its_frames_in_the_programs_own_window() {
    shows_frames("own_window", &["60"], "60 frames of 20000 points are drawn and right");
}

/// Runs a program in a window, with the validation layer enabled.
fn shows_frames(name: &str, arguments: &[&str], last: &str) {
    let screen = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "linux") && !screen("DISPLAY") && !screen("WAYLAND_DISPLAY") {
        return bridge_tests::skip(bridge_tests::Need::Other, "there is no screen");
    }
    let Some(program) = common::program(name) else {
        return bridge_tests::skip(bridge_tests::Need::Other, "it is not built");
    };
    let mut command = Command::new(program);
    let output = command.args(arguments).env("VK_INSTANCE_LAYERS", "VK_LAYER_KHRONOS_validation");
    let output = output.output().unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if LACKS.into_iter().chain(["VK_KHR_swapchain", "cannot show pictures"]).any(|lack| error.contains(lack)) {
        return bridge_tests::skip(bridge_tests::Need::Other, error.trim());
    }
    assert!(output.status.success(), "{said}{error}");
    assert_eq!(said.lines().next_back(), Some(last));
    assert!(!said.contains("VUID"), "{said}");
}

/// The programs print the error message with a remedy, and not the fields of an error type.
#[cfg(target_os = "linux")]
#[test]
fn the_programs_report_a_missing_driver_in_words() {
    for (name, _) in PROGRAMS {
        let Some(program) = common::program(name) else {
            bridge_tests::skip_case(bridge_tests::Need::Other, name, "it is not built");
            continue;
        };
        let mut command = Command::new(program);
        command.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
        let output = command.env_remove("VK_ADD_DRIVER_FILES").output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {error}");
        let line = error.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(!line.is_empty() && !line.contains('{'), "{name}: {error}");
    }
}

#[test]
fn the_programs_are_short_and_documented_and_use_only_the_bridge() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok()?.strip_suffix(".rs").map(str::to_owned))
        .filter(|name| name.starts_with(|first: char| first.is_ascii_digit()))
        .collect::<Vec<_>>();
    found.sort();
    assert_eq!(found, PROGRAMS.map(|(name, _)| name));
    for name in found {
        let text = fs::read_to_string(folder.join(format!("{name}.rs"))).unwrap();
        let lines = text.lines().count();
        assert!(lines < 100, "{name} has {lines} lines");
        assert!(text.starts_with("//! ") && text.contains(&format!("`cargo run --example {name}`")), "{name}");
        let uses = text.lines().filter_map(|line| line.strip_prefix("use "));
        for path in uses {
            let ours = ["std::", "bridge::", "bridge_view::"].iter().any(|start| path.starts_with(start));
            assert!(ours, "{name} uses {path}");
        }
    }
}

/// The program prints in which queue its kernels run, and if that is not Vulkan's, what the device
/// lacks.
#[test]
fn the_sixth_prints_where_its_kernels_run() {
    let name = "06_kernels_in_the_queue";
    let Some(program) = common::program(name) else {
        return bridge_tests::skip(bridge_tests::Need::Other, "it is not built");
    };
    let output = Command::new(program).env_remove("VK_INSTANCE_LAYERS").output().unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if LACKS.into_iter().any(|lack| error.contains(lack)) {
        return bridge_tests::skip(bridge_tests::Need::Other, error.trim());
    }
    let in_the_queue = said.contains("compute on inline (CUDA kernels are recorded");
    let refused = said.lines().find(|line| line.starts_with("no CUDA kernels in the Vulkan queue here: "));
    assert_eq!(refused.is_none(), in_the_queue, "{said}");
    if let Some(refused) = refused {
        assert!(refused.contains("device extension VK_NVX_binary_import") && !refused.contains('{'), "{refused}");
        assert!(said.contains("compute on cuda (") || said.contains("compute on host ("), "{said}");
    }
}

#[test]
fn their_kernels_exist_and_round_like_rust() {
    let ptx = include_str!("../../shaders/first.ptx");
    for (call, name, text) in [
        ("load_function", "fade", include_str!("../03_post_process.rs")),
        ("kernel", "parabola", include_str!("../05_cuda_kernel.rs")),
        ("kernel", "parabola", include_str!("../06_kernels_in_the_queue.rs")),
        ("kernel", "parabola", include_str!("../07_latest.rs")),
    ] {
        assert!(text.contains(&format!("{call}(\"{name}\")")), "{name} is not what the program loads");
        assert!(ptx.contains(&format!(".entry {name}(")), "no kernel {name}");
    }
    assert!(!ptx.contains("fma."), "a fused multiply-add rounds once, its twin in Rust twice");
}
