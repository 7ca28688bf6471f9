#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
//! The particle demo as a user runs it: what it leaves, what it says, and how it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bridge_examples::picture::Picture;
use serde_json::Value;

/// The program, which cargo builds with the tests; or, where both were carried elsewhere, beside them.
fn program() -> Option<PathBuf> {
    let here = std::env::current_exe().unwrap();
    let folder = here.parent().unwrap();
    let name = format!("particles{}", std::env::consts::EXE_SUFFIX);
    [folder.parent().unwrap().join("examples").join(&name), folder.join(&name)].into_iter().find(|path| path.exists())
}

fn demo(out: &Path, arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(program()?);
    // A layer that the environment turns on, and not the program, speaks on standard output.
    command.env_remove("VK_INSTANCE_LAYERS");
    command.args(["--size", "192x108", "--particles", "3000", "--backend", "host", "--out"]).arg(out).args(arguments);
    Some(command)
}

/// Runs it; None, with a word about it, where nothing here can run it.
fn run(test: &str, out: &Path, arguments: &[&str]) -> Option<Output> {
    let Some(mut command) = demo(out, arguments) else {
        bridge_tests::skip(bridge_tests::Need::Other, test, "the example `particles` is not built");
        return None;
    };
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("found: none") || error.contains("no Vulkan loader") {
        bridge_tests::skip(bridge_tests::Need::Other, test, error.trim());
        return None;
    }
    Some(output)
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn a_run_leaves_frames_an_animation_and_a_summary_and_checks_itself() {
    let out = tempfile::tempdir().unwrap();
    let Some(output) = run(
        "a_run_leaves_frames_an_animation_and_a_summary_and_checks_itself",
        out.path(),
        &["--frames", "5", "--json"],
    ) else {
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
fn a_picture_leaves_and_comes_home() {
    let out = tempfile::tempdir().unwrap();
    let Some(first) = run("a_picture_leaves_and_comes_home", out.path(), &["--frames", "3", "--every", "0"]) else {
        return;
    };
    assert!(first.status.success());
    let image = out.path().join("frame_0002.png");
    let second = tempfile::tempdir().unwrap();
    let arguments = ["--frames", "9", "--no-animation", "--particles", "20736", "--image", image.to_str().unwrap()];
    let mut command = Command::new(program().unwrap());
    command.env_remove("VK_INSTANCE_LAYERS");
    command.args(["--size", "192x108", "--backend", "host", "--out"]).arg(second.path()).args(arguments);
    let output = command.output().unwrap();
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
fn what_cannot_be_is_one_error_without_a_panic() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("a file");
    fs::write(&file, "x").unwrap();
    for (arguments, word) in [
        (&["--frames", "0"][..], "--frames"),
        (&["--image", "nothing.png"], "nothing.png"),
        (&["--image", file.to_str().unwrap()], "a file"),
        (&["--gpu", "no such device"], "no such device"),
    ] {
        let Some(output) = run("what_cannot_be_is_one_error_without_a_panic", &out.path().join("out"), arguments)
        else {
            return;
        };
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(word), "{arguments:?}: {error}");
        assert!(error.matches("error").count() >= 1 && !error.contains("panicked"), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
    let Some(output) = run("what_cannot_be_is_one_error_without_a_panic", &file.join("out"), &[]) else { return };
    assert!(String::from_utf8_lossy(&output.stderr).contains("--out"));
}

#[cfg(unix)]
mod interrupted {
    use std::process::Stdio;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use super::*;

    /// Does not outlive its test.
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
        if run("an_interrupt_leaves_whole_frames_only", out.path(), &["--frames", "1"]).is_none() {
            return;
        }
        let mut command = demo(out.path(), &["--frames", "1000000"]).unwrap();
        let mut child = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let begun = Instant::now();
        while !out.path().join("frame_0003.png").exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "no fourth frame in half a minute");
            sleep(Duration::from_millis(20));
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child.0), rustix::process::Signal::INT)
            .unwrap();
        assert_eq!(child.0.wait().unwrap().code(), Some(130));
        let names = names(out.path());
        assert!(!names.iter().any(|name| name == "animation.gif" || name.ends_with(".part")), "{names:?}");
        for name in names.iter().filter(|name| name.ends_with(".png")) {
            assert!(Picture::open(&out.path().join(name)).is_ok(), "{name}");
        }
        let summary: Value = serde_json::from_slice(&fs::read(out.path().join("summary.json")).unwrap()).unwrap();
        assert_eq!(summary["state"], "interrupted");
    }
}

#[test]
fn a_window_shows_frames() {
    let test = "a_window_shows_frames";
    let screen = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "linux") && !screen("DISPLAY") && !screen("WAYLAND_DISPLAY") {
        return bridge_tests::skip(bridge_tests::Need::Other, test, "there is no screen");
    }
    let out = tempfile::tempdir().unwrap();
    let Some(output) = run(test, out.path(), &["--window", "--frames", "12", "--validate", "--json"]) else { return };
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("device extension VK_KHR_swapchain") {
        return bridge_tests::skip(bridge_tests::Need::Other, test, error.trim());
    }
    assert!(output.status.success(), "{error}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["state"], &summary["frames"]), (&"complete".into(), &12.into()));
}
