#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
//! The particle demo as a user runs it: its output files, its messages, and its exit status.

use std::fs;
use std::path::Path;
use std::process::Output;

use bridge_examples::picture::Picture;
use serde_json::Value;

mod common;

const PROGRAM: &str = "particles";

fn run(out: &Path, arguments: &[&str]) -> Option<Output> {
    common::run(PROGRAM, out, &[&["--particles", "3000"], arguments].concat())
}

/// Returns the names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn a_run_leaves_frames_an_animation_and_a_summary_and_checks_itself() {
    let out = tempfile::tempdir().unwrap();
    let Some(output) = run(out.path(), &["--frames", "5", "--json"]) else {
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let written: Value = serde_json::from_slice(&fs::read(out.path().join("summary.json")).unwrap()).unwrap();
    assert_eq!(printed, written);
    assert_eq!((&printed["state"], &printed["frames"]), (&"complete".into(), &5.into()));
    assert_eq!(printed["checks"].as_array().map(Vec::len), Some(6), "{printed}");
    let frames = (0..5).map(|frame| format!("frame_{frame:04}.png"));
    assert_eq!(
        names(out.path()),
        ["animation.gif".to_owned()].into_iter().chain(frames).chain(["summary.json".to_owned()]).collect::<Vec<_>>()
    );
    let picture = Picture::open(&out.path().join("frame_0004.png")).unwrap();
    assert_eq!((picture.width, picture.height), (192, 108));
    assert!(picture.pixels.chunks(4).any(|rgba| rgba[0] > 128), "the picture is dark");
}

#[test]
fn a_picture_is_scattered_and_restored() {
    let out = tempfile::tempdir().unwrap();
    let Some(first) = run(out.path(), &["--frames", "3", "--every", "0"]) else {
        return;
    };
    assert!(first.status.success());
    let image = out.path().join("frame_0002.png");
    let second = tempfile::tempdir().unwrap();
    let arguments = ["--frames", "9", "--no-animation", "--particles", "20736", "--image", image.to_str().unwrap()];
    let output = common::command(PROGRAM, second.path(), &arguments).unwrap().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("8 checks passed"), "{text}");
    assert_eq!(text.lines().count(), 1, "one line sums it up");
    let original = Picture::open(&image).unwrap();
    for frame in ["frame_0000.png", "frame_0008.png"] {
        assert!(Picture::open(&second.path().join(frame)).unwrap() == original, "{frame} is not the picture");
    }
    assert!(Picture::open(&second.path().join("frame_0004.png")).unwrap() != original);
}

#[test]
fn invalid_options_are_one_error_without_a_panic() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("a file");
    fs::write(&file, "x").unwrap();
    for (arguments, word) in [
        (&["--frames", "0"][..], "--frames"),
        (&["--image", "nothing.png"], "nothing.png"),
        (&["--image", file.to_str().unwrap()], "a file"),
        (&["--gpu", "no such device"], "no such device"),
        // The programs of the tests compute on the CPU.
        (&["--gpus", "2"], "--gpus 2 computes with CUDA"),
        (&["--gpus", "0"], "--gpus"),
    ] {
        let Some(output) = run(&out.path().join("out"), arguments) else {
            return;
        };
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(word), "{arguments:?}: {error}");
        assert!(error.matches("error").count() >= 1 && !error.contains("panicked"), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
    let Some(output) = run(&file.join("out"), &[]) else { return };
    assert!(String::from_utf8_lossy(&output.stderr).contains("--out"));
}

#[test]
fn small_and_crowded_pictures_pass_their_own_checks() {
    let out = tempfile::tempdir().unwrap();
    for arguments in [
        ["--size", "64x64", "--particles", "150000"],
        ["--size", "7x5", "--particles", "20000"],
        ["--size", "320x180", "--particles", "1000000"],
    ] {
        let arguments = [&["--frames", "2", "--no-animation"][..], &arguments].concat();
        let Some(output) = common::run(PROGRAM, out.path(), &arguments) else { return };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn an_output_folder_that_is_a_file_is_reported() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let Some(output) = run(file.path(), &["--frames", "1"]) else {
        return;
    };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("that is a file, not a folder"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn standard_output_that_is_full_is_an_error_and_one_that_is_closed_is_none() {
    use std::process::Stdio;
    let out = tempfile::tempdir().unwrap();
    let arguments = ["--particles", "3000", "--frames", "1", "--json"];
    if common::run(PROGRAM, out.path(), &arguments).is_none() {
        return;
    }
    let output = |stdout: Stdio| {
        let output = common::command(PROGRAM, out.path(), &arguments).unwrap().stdout(stdout).output().unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, error) = output(fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
    assert!(status.code() == Some(1) && error.contains("standard output"), "{status}: {error}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (status, error) = output(writer.into());
    assert!(status.success() && !error.contains("panicked"), "{status}: {error}");
}

#[cfg(unix)]
mod interrupted {
    use std::process::Stdio;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use super::*;

    /// A child process that is killed when dropped.
    struct Running(std::process::Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn an_interrupt_leaves_whole_frames_only() {
        let out = tempfile::tempdir().unwrap();
        if run(out.path(), &["--frames", "1"]).is_none() {
            return;
        }
        let mut command =
            common::command(PROGRAM, out.path(), &["--particles", "3000", "--frames", "1000000"]).unwrap();
        let mut child = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let begun = Instant::now();
        while !out.path().join("frame_0003.png").exists() {
            assert!(begun.elapsed() < Duration::from_secs(120), "no fourth frame in two minutes");
            sleep(Duration::from_millis(20));
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child.0), rustix::process::Signal::INT)
            .unwrap();
        assert_eq!(child.0.wait().unwrap().code(), Some(130));
        let left = names(out.path());
        assert!(!left.iter().any(|name| name == "animation.gif" || name.ends_with(".part")), "{left:?}");
        for name in left.iter().filter(|name| name.ends_with(".png")) {
            assert!(Picture::open(&out.path().join(name)).is_ok(), "{name}");
        }
        let summary: Value = serde_json::from_slice(&fs::read(out.path().join("summary.json")).unwrap()).unwrap();
        assert_eq!(summary["state"], "interrupted");
    }
}

#[test]
fn a_window_shows_frames() {
    let out = tempfile::tempdir().unwrap();
    let arguments = ["--particles", "3000", "--frames", "12", "--validate", "--json"];
    let Some(output) = common::run_in_window(PROGRAM, out.path(), &arguments) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["state"], &summary["frames"]), (&"complete".into(), &12.into()));
}
