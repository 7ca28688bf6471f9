#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
//! The programs that share images, as a user runs them: their output files, their checks, and their
//! exit status.

use std::fs;

use bridge_examples::picture::Picture;
use serde_json::Value;

mod common;

/// Runs `program` for a few frames with the validation layer; returns its summary. The pictures are
/// in `out`.
fn summary(program: &str, out: &std::path::Path, arguments: &[&str]) -> Option<Value> {
    let arguments = [&["--json", "--validate"], arguments].concat();
    let output = common::run(program, out, &arguments)?;
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("VK_LAYER_KHRONOS_validation") && !output.status.success() {
        bridge_tests::skip(bridge_tests::Need::Other, error.trim());
        return None;
    }
    assert!(output.status.success(), "{program}: {error}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn kinds(summary: &Value) -> Vec<(u64, &str)> {
    let checks = summary["checks"].as_array().unwrap();
    checks.iter().map(|check| (check["frame"].as_u64().unwrap(), check["kind"].as_str().unwrap())).collect()
}

#[test]
fn a_pattern_is_grown_and_drawn_correctly() {
    let out = tempfile::tempdir().unwrap();
    for (slots, samples) in [("1", "1"), ("3", "2")] {
        let arguments = ["--frames", "7", "--grid", "130x61", "--steps", "90", "--slots", slots, "--samples", samples];
        let Some(summary) = summary("texture", out.path(), &arguments) else { return };
        let expected = [0, 3, 6].into_iter().flat_map(|frame| [(frame, "data"), (frame, "picture")]);
        assert_eq!(kinds(&summary), expected.chain([(6, "validation")]).collect::<Vec<_>>(), "{summary}");
        assert_eq!((&summary["state"], &summary["grid"]), (&"complete".into(), &serde_json::json!([130, 61])));
    }
    let frames: Vec<Picture> =
        (0..7).map(|frame| Picture::open(&out.path().join(format!("frame_{frame:04}.png"))).unwrap()).collect();
    assert!(frames.windows(2).all(|pair| pair[0] != pair[1]), "a frame is shown twice");
    assert!(frames[6].pixels.chunks(4).any(|rgba| rgba[0] > 150), "the picture is dark");
}

/// The pictures do not depend on whether they are copied in separate submissions or with the
/// frames.
#[test]
fn pictures_do_not_depend_on_how_they_are_copied() {
    for program in ["texture", "postprocess"] {
        let outs = ["frame", "apart", "auto"].map(|copy| (copy, tempfile::tempdir().unwrap()));
        for (copy, out) in &outs {
            if summary(program, out.path(), &["--frames", "7", "--slots", "2", "--copy", copy]).is_none() {
                return;
            }
        }
        for frame in 0..7 {
            let file = |index: usize| fs::read(outs[index].1.path().join(format!("frame_{frame:04}.png"))).unwrap();
            assert!(file(0) == file(1) && file(0) == file(2), "{program}: frame {frame}");
        }
    }
}

#[test]
fn a_scene_is_drawn_filtered_and_shown_correctly() {
    let out = tempfile::tempdir().unwrap();
    for (slots, samples, size) in [("1", "1", "192x108"), ("3", "2", "191x107")] {
        let arguments = ["--frames", "7", "--slots", slots, "--samples", samples, "--size", size];
        let Some(summary) = summary("postprocess", out.path(), &arguments) else { return };
        let expected = [0, 3, 6].into_iter().flat_map(|frame| [(frame, "scene"), (frame, "picture")]);
        assert_eq!(kinds(&summary), expected.chain([(6, "validation")]).collect::<Vec<_>>(), "{summary}");
    }
    let frames: Vec<Picture> =
        (0..7).map(|frame| Picture::open(&out.path().join(format!("frame_{frame:04}.png"))).unwrap()).collect();
    assert!(frames.windows(2).all(|pair| pair[0] != pair[1]), "a frame is shown twice");
    assert!(frames[6].pixels.chunks(4).any(|rgba| rgba[0] > 200), "the picture is dark");
}

#[test]
fn a_scene_of_a_few_texels_passes_its_own_checks() {
    let out = tempfile::tempdir().unwrap();
    let arguments = ["--frames", "20", "--size", "7x5", "--every", "0", "--no-animation"];
    let Some(output) = common::run("postprocess", out.path(), &arguments) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn invalid_options_are_one_error_without_a_panic() {
    let out = tempfile::tempdir().unwrap();
    for (program, arguments, code, word) in [
        ("texture", &["--frames", "0"][..], 2, "--frames"),
        ("texture", &["--steps", "0"], 2, "--steps"),
        ("texture", &["--grid", "640x8"], 2, "--grid"),
        ("texture", &["--grid", "1x1"], 2, "--grid"),
        ("texture", &["--gpu", "no such device"], 1, "no such device"),
        // Larger than the images of any device; detected before anything is created.
        ("texture", &["--grid", "16384x16384", "--size", "16384x16384", "--samples", "4"], 1, "65536"),
        ("postprocess", &["--samples", "3"], 2, "--samples"),
        ("postprocess", &["--gpu", "no such device"], 1, "no such device"),
        ("postprocess", &["--size", "1280"], 2, "--size"),
    ] {
        let Some(output) = common::run(program, &out.path().join("out"), arguments) else { return };
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{program} {arguments:?}: {error}");
        assert!(error.contains(word) && !error.contains("panicked"), "{program} {arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
    let file = out.path().join("a file");
    fs::write(&file, "x").unwrap();
    for program in ["texture", "postprocess"] {
        let Some(output) = common::run(program, &file.join("out"), &[]) else { return };
        assert!(String::from_utf8_lossy(&output.stderr).contains("--out"));
    }
}

#[test]
fn programs_do_not_clear_each_others_frames() {
    let out = tempfile::tempdir().unwrap();
    let arguments = ["--frames", "2", "--grid", "32x16", "--steps", "1", "--no-animation"];
    if common::run("texture", out.path(), &arguments).is_none() {
        return;
    }
    let kept = out.path().join("frame_0001.png");
    let pattern = fs::read(&kept).unwrap();
    let output = common::run("postprocess", out.path(), &["--frames", "1", "--no-animation"]).unwrap();
    assert!(output.status.success());
    assert_eq!(fs::read(&kept).unwrap(), pattern);
    let summary: Value = serde_json::from_slice(&fs::read(out.path().join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["program"], "postprocess");
}

#[test]
fn windows_show_frames() {
    let out = tempfile::tempdir().unwrap();
    for (program, arguments) in [("texture", &["--grid", "64x32"][..]), ("postprocess", &[])] {
        let arguments = [&["--frames", "12", "--validate", "--json"], arguments].concat();
        let Some(output) = common::run_in_window(program, out.path(), &arguments) else { return };
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&summary["state"], &summary["frames"]), (&"complete".into(), &12.into()));
    }
}
