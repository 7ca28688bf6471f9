#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
//! Problems that new users had with the demos; each is tested in every demo.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

#[allow(dead_code, reason = "no window is opened here")]
mod common;

/// Each demo, with arguments that make it small.
const DEMOS: [(&str, &[&str]); 3] =
    [("particles", &["--particles", "500"]), ("texture", &["--grid", "32x16", "--steps", "2"]), ("postprocess", &[])];

fn run(demo: (&str, &[&str]), out: &Path, arguments: &[&str]) -> Option<Output> {
    common::run(demo.0, out, &[demo.1, arguments].concat())
}

/// Returns the names of the frames in a folder, sorted.
fn frames(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("frame_")).collect();
    names.sort();
    names
}

#[test]
fn a_shorter_run_leaves_no_frames_of_a_longer_one() {
    for demo in DEMOS {
        let out = tempfile::tempdir().unwrap();
        for (asked, left) in [("4", 4), ("2", 2)] {
            let Some(output) = run(demo, out.path(), &["--frames", asked]) else { return };
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(frames(out.path()).len(), left, "{} {:?}", demo.0, frames(out.path()));
            let summary: Value = serde_json::from_slice(&fs::read(out.path().join("summary.json")).unwrap()).unwrap();
            assert_eq!((&summary["frames"], &summary["pictures"]), (&left.into(), &left.into()));
        }
    }
}

#[test]
fn a_window_and_an_output_folder_exclude_each_other() {
    for (name, _) in DEMOS {
        let Some(program) = common::program(name) else {
            return bridge_tests::skip(bridge_tests::Need::Other, &format!("the example `{name}` is not built"));
        };
        let output = Command::new(program).args(["--window", "--out", "x"]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains("'--window' cannot be used with '--out"), "{error}");
    }
}

#[test]
fn a_file_in_place_of_the_output_folder_is_reported() {
    for demo in DEMOS {
        let file = tempfile::NamedTempFile::new().unwrap();
        let Some(output) = run(demo, file.path(), &["--frames", "1"]) else { return };
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("that is a file, not a folder") && error.contains("--out"), "{error}");
    }
}

#[test]
fn a_jpeg_is_recognized_whatever_its_name() {
    let out = tempfile::tempdir().unwrap();
    let picture = out.path().join("photo.png");
    fs::write(&picture, b"\xff\xd8\xff\xe0\0\x10JFIF\0").unwrap();
    let arguments = ["--image", picture.to_str().unwrap()];
    let Some(output) = run(DEMOS[0], &out.path().join("out"), &arguments) else { return };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("photo.png"), "{error}");
    assert!(error.contains("a JPEG file") && error.contains("convert it to PNG"), "{error}");
}

#[test]
fn a_count_of_one_is_singular() {
    for (name, arguments, expected) in [
        ("particles", &["--particles", "1"][..], &["1 particle:", "1 particle,", "1 frame |"][..]),
        ("texture", &["--grid", "32x16", "--steps", "1"], &["1 step a frame", "1 frame |"]),
        ("postprocess", &["--samples", "1"], &["1 texel a pixel", "1 frame |"]),
    ] {
        let out = tempfile::tempdir().unwrap();
        let Some(output) = run((name, arguments), out.path(), &["--frames", "1"]) else { return };
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}");
        assert!(expected.iter().all(|expected| said.contains(expected)), "{said}");
        let plural = |noun| said.contains(&format!(" 1 {noun}s")) || said.starts_with(&format!("1 {noun}s"));
        assert!(!["particle", "step", "texel", "frame", "check"].into_iter().any(plural), "{said}");
    }
}

#[test]
fn the_fallback_to_the_cpu_is_reported_without_a_log() {
    for (name, arguments) in DEMOS {
        let out = tempfile::tempdir().unwrap();
        // Reports it if the program cannot run on this machine.
        if run((name, arguments), out.path(), &["--frames", "1"]).is_none() {
            return;
        }
        let mut command = Command::new(common::program(name).unwrap());
        command.args(arguments).args(["--size", "64x48", "--frames", "1", "--out"]).arg(out.path());
        let output = command.env("RUST_LOG", "off").env_remove("VK_INSTANCE_LAYERS").output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        let line = error.lines().find(|line| line.starts_with("renders on ")).unwrap();
        let why = if line.contains("computes on host") { "(CUDA cannot share with it: " } else { "computes on cuda (" };
        assert!(line.contains(why), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_pipe_is_no_error_and_a_full_disk_is_one() {
    for demo in DEMOS {
        let out = tempfile::tempdir().unwrap();
        let arguments = [demo.1, &["--frames", "1", "--json"]].concat();
        if common::run(demo.0, out.path(), &arguments).is_none() {
            return;
        }
        let command = || common::command(demo.0, out.path(), &arguments).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = command().stdout(writer).output().unwrap();
        let error = String::from_utf8_lossy(&closed.stderr);
        assert!(closed.status.success() && !error.contains("panicked"), "{error}");
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let full = command().stdout(full).output().unwrap();
        let error = String::from_utf8_lossy(&full.stderr);
        assert!(full.status.code() == Some(1) && error.contains("cannot write to standard output"), "{error}");
    }
}
