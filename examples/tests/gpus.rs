#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
//! The particle demo on two GPUs, as a user runs it.

use std::path::Path;
use std::process::{Command, Output};

use bridge_tests::{Need, Peers, Rig, cuda_devices, skip};
use serde_json::Value;

#[allow(dead_code, reason = "it has what all programs need")]
mod common;

/// Runs the demo on two GPUs, with the output folder `out`.
fn run(out: &Path, arguments: &[&str]) -> Option<Output> {
    let Some(program) = common::program("particles") else {
        skip(Need::Other, "the example `particles` is not built");
        return None;
    };
    let mut command = Command::new(program);
    command.env_remove("VK_INSTANCE_LAYERS").args(["--backend", "cuda", "--gpus", "2", "--size", "192x108"]);
    Some(command.args(arguments).arg("--out").arg(out).output().unwrap())
}

/// Each of two GPUs moves half of the particles, in both scenes; the checks compare particles of
/// both halves bit for bit with those of the CPU, and the picture.
#[test]
fn each_of_two_gpus_moves_half_of_the_particles() {
    let rig = Rig::open();
    if Peers::Both.devices(rig.device()).is_none() {
        return;
    }
    let out = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let galaxies = ["--frames", "6", "--particles", "30011", "--every", "0", "--no-animation", "--json"];
    let Some(output) = run(out[0].path(), &galaxies) else { return };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(error.contains(" and ") && error.contains("memory of"), "it does not say where it computes: {error}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = summary["checks"].as_array().unwrap();
    assert!(checks.len() >= 6 && checks.iter().all(|check| check["error"].is_null()), "{summary}");

    let picture = out[0].path().join("frame_0005.png");
    let mosaic = ["--frames", "9", "--image", picture.to_str().unwrap(), "--particles", "20736", "--no-animation"];
    let Some(output) = run(out[1].path(), &mosaic) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// With one GPU, the error names the missing GPU.
#[test]
fn a_missing_second_gpu_is_named() {
    let Some(devices) = cuda_devices() else { return };
    if devices.len() > 1 {
        return skip(Need::Other, "there are two GPUs or more");
    }
    let out = tempfile::tempdir().unwrap();
    let Some(output) = run(out.path(), &["--frames", "1"]) else { return };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && !error.contains("panicked"), "{error}");
    assert!(error.contains("--gpus 2 takes the GPU that draws and 1 more, and CUDA sees 1"), "{error}");
}
