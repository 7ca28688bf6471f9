//! Inherited process state that determines which devices CUDA sees. Each test runs in its own
//! processes, since drivers read the environment once.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, clippy::unwrap_used)] // `fork`.

use std::process::{Command, Output};

use bridge::cuda_import::report;
use bridge::{Backend, Compute, OpenInfo};
use bridge_tests::{Need, cuda_devices, skip_case};

const CHILD: &str = "BRIDGE_TEST_ENVIRONMENT";

/// Runs `test` of this program in a new process, in which [`is_child`] returns `true`.
fn rerun(test: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command.envs(environment.iter().copied()).output().unwrap()
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn assert_passed(output: &Output, what: &str) {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{what}: {out}{error}");
}

/// By default, a device that CUDA sees is opened, whatever devices CUDA is shown in whatever order,
/// and even if `DISPLAY` names a missing server.
#[test]
fn the_default_device_has_a_partner() {
    if is_child() {
        let compute = Compute::open(&OpenInfo::default(), Backend::Auto).unwrap();
        assert_eq!(compute.backend(), Backend::Cuda, "{:?}", compute.device().name());
        assert_eq!(compute.cuda().unwrap().device().uuid(), compute.device().uuid());
        return;
    }
    let Some(devices) = cuda_devices() else { return };
    let uuids: Vec<_> = devices.iter().map(|device| format!("GPU-{}", device.uuid)).collect();
    let mut shown = vec!["0".to_owned()];
    shown.extend(uuids.iter().cloned());
    if uuids.len() > 1 {
        shown.extend(["1".to_owned(), "1,0".to_owned(), format!("{},{}", uuids[1], uuids[0])]);
    } else {
        skip_case(Need::Other, "hidden and reordered GPUs", "there is one GPU");
    }
    for visible in &shown {
        for order in ["FASTEST_FIRST", "PCI_BUS_ID"] {
            let environment = [("CUDA_VISIBLE_DEVICES", visible.as_str()), ("CUDA_DEVICE_ORDER", order)];
            assert_passed(&rerun("the_default_device_has_a_partner", &environment), &format!("{environment:?}"));
        }
    }
    assert_passed(&rerun("the_default_device_has_a_partner", &[("DISPLAY", ":99")]), "a display that is not there");
}

/// CUDA's driver does not work after `fork`, and the error says so and what to do.
#[test]
fn a_forked_process_gets_an_error() {
    if cuda_devices().is_none() {
        return;
    }
    if !is_child() {
        return assert_passed(&rerun("a_forked_process_gets_an_error", &[]), "the process that forks");
    }
    report().unwrap();
    // SAFETY: the other thread of this process, which runs the tests, waits for this one. This
    // thread needs none of the locks that it may hold; the C library's allocator is usable after
    // `fork`.
    match unsafe { libc::fork() } {
        0 => {
            let error = Compute::open(&OpenInfo::default(), Backend::Cuda).err().map(|error| error.to_string());
            let mentions = |part: &str| error.as_ref().is_some_and(|error| error.contains(part));
            let code = if ["forked", "spawn"].into_iter().all(mentions) { 0 } else { 1 };
            if code != 0 {
                eprintln!("{error:?}");
            }
            // SAFETY: ends the process without its exit handlers, which belong to the parent.
            unsafe { libc::_exit(code) };
        }
        child => {
            assert!(child > 0, "{}", std::io::Error::last_os_error());
            let mut status = 0;
            // SAFETY: a child of this process, and its status is valid for the result.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child was told something else, above");
        }
    }
}
