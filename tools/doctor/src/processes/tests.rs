//! Tests of the trials with two processes, including failures.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use test_support::{Need, skip};

use super::*;
use crate::vulkan::NVIDIA;

const LONG: Duration = Duration::from_secs(30);

/// Not a test: runs as the worker process if the environment variable is set.
#[test]
fn worker_process() {
    if std::env::var_os(task::VARIABLE).is_some() {
        let _ = work();
        // The test harness prints more lines, which are not JSON.
    }
}

fn vulkan_device() -> Option<Candidate> {
    let devices = bridge::vk_export::report().map(|report| report.devices).unwrap_or_default();
    let usable = devices.iter().find(|device| device.missing_requirements.is_empty())?;
    Some(Candidate { index: usable.index, name: usable.info.name.clone(), cuda: false, hidden: false })
}

fn failed(direction: Direction, start: StartWorker<'_>, limit: Duration) -> Option<ProcessFailure> {
    let Some(candidate) = vulkan_device() else {
        skip(Need::Other, "there is no Vulkan device");
        return None;
    };
    let trial = renderer::run(&candidate, direction, start, limit);
    Some(trial.failure.unwrap_or_else(|| panic!("{direction:?} passed")))
}

#[test]
fn the_wait_for_a_silent_worker_is_limited() {
    for direction in [Direction::WorkerWrites, Direction::WorkerReads] {
        let sleeps = || {
            let mut command = Command::new("sleep");
            command.arg("1000");
            Ok(command)
        };
        let Some(failure) = failed(direction, &sleeps, Duration::from_millis(100)) else { return };
        assert_eq!(failure.problem, Problem::Timeout, "{failure:?}");
        assert!(failure.error.contains("has not connected within 100ms"), "{failure:?}");
    }
}

#[test]
fn a_worker_that_ends_immediately_is_reported_with_its_status() {
    let ends = || {
        let mut command = Command::new("sh");
        command.args(["-c", "kill -SEGV $$"]);
        Ok(command)
    };
    let Some(failure) = failed(Direction::WorkerWrites, &ends, LONG) else { return };
    assert_eq!(failure.problem, Problem::Ended, "{failure:?}");
    assert!(failure.error.contains("signal: 11"), "{failure:?}");
}

#[test]
fn a_worker_that_cannot_be_started_is_reported() {
    let missing = || Ok(Command::new("/no/such/program"));
    let Some(failure) = failed(Direction::WorkerReads, &missing, LONG) else { return };
    assert_eq!(failure.problem, Problem::NoProcess, "{failure:?}");
}

/// The error that a worker reports takes precedence over the error seen by the renderer.
#[test]
fn the_error_of_a_failed_worker_is_reported() {
    let says = || {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo '{"Err":{"problem":"hidden-gpu","error":"cannot take the timelines"}}'; exit 1"#]);
        Ok(command)
    };
    let Some(failure) = failed(Direction::WorkerWrites, &says, LONG) else { return };
    assert_eq!(failure.problem, Problem::HiddenGpu, "{failure:?}");
    assert!(failure.error.contains("cannot take the timelines"), "{failure:?}");
}

/// For a GPU that is hidden from CUDA, the reason is reported as hidden, whatever the driver's
/// error is.
#[test]
fn a_hidden_gpu_is_reported_whatever_the_driver_returns() {
    let says = || {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo '{"Err":{"problem":"other","error":"no such device"}}'; exit 1"#]);
        Ok(command)
    };
    let Some(candidate) = vulkan_device() else { return skip(Need::Other, "there is no Vulkan device") };
    for (hidden, problem) in [(true, Problem::HiddenGpu), (false, Problem::Other)] {
        let candidate = Candidate { hidden, ..candidate.clone() };
        let trial = renderer::run(&candidate, Direction::WorkerReads, &says, LONG);
        assert_eq!(trial.failure.unwrap().problem, problem);
    }
}

/// The environment variable that makes the test program a doctor whose worker waits.
const DOCTOR: &str = "BRIDGE_TEST_DOCTOR";

/// Not a test: a doctor that is killed while its worker waits.
#[test]
fn doctor_process() {
    let Some(socket) = std::env::var_os(DOCTOR) else { return };
    let worker = child::Worker::start(&worker_command, Path::new(&socket), false, Direction::WorkerWrites, LONG * 100);
    println!("\n@worker {}", worker.unwrap().leak());
    std::io::stdout().flush().unwrap();
    std::thread::sleep(LONG * 100);
}

/// Kills its process at the end of a test.
struct EndsOnDrop(Child);

impl Drop for EndsOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_worker_ends_with_its_doctor() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("renderer");
    // The listener accepts no connection, so the worker waits.
    let listener = bridge::Listener::bind(&socket).unwrap();
    let mut doctor = Command::new(std::env::current_exe().unwrap());
    doctor.args(["--exact", "processes::tests::doctor_process", "--nocapture", "--test-threads=1"]);
    doctor.env(DOCTOR, &socket).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut doctor = EndsOnDrop(doctor.spawn().unwrap());
    let mut lines = BufReader::new(doctor.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.find_map(|line| line.strip_prefix("@worker ").map(str::to_owned)).unwrap();
    let worker = Path::new("/proc").join(said);
    let start = Instant::now();
    let is_alive = || std::fs::read_to_string(worker.join("stat")).is_ok_and(|stat| !stat.contains(") Z "));
    let wait = |alive: bool| {
        while is_alive() != alive {
            assert!(start.elapsed() < LONG, "the worker is alive: {}", is_alive());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait(true);
    doctor.0.kill().unwrap();
    wait(false);
    drop(listener);
}

#[test]
fn candidates_passed_in_one_process_or_are_hidden() {
    let device = |index, uuid: &str| VulkanDevice {
        index,
        uuid: uuid.to_owned(),
        vendor: NVIDIA.to_owned(),
        driver: "NVIDIA 580".to_owned(),
        exports_buffers: true,
        exports_timelines: true,
        ..VulkanDevice::default()
    };
    let cuda = CudaDevice { uuid: "b".to_owned(), timeline_semaphores: true, ..CudaDevice::default() };
    let pair = Pair { vulkan: 1, cuda: 0, uuid: "b".to_owned() };
    let trial = |backend: &str, uuid: &str, failure| Trial {
        backend: backend.to_owned(),
        peer: None,
        device: String::new(),
        uuid: Some(uuid.to_owned()),
        frames: 0,
        bytes: 4,
        failure,
        times: crate::Times::default(),
    };
    let fails = || Some(crate::Failure { step: "closing", error: "no".to_owned() });
    let both = [device(0, "a"), device(1, "b")];
    let tried = |cuda: &[CudaDevice], trials: &[Trial]| {
        let found = candidates(&both, cuda, std::slice::from_ref(&pair), trials);
        found.iter().map(|candidate| (candidate.index, candidate.cuda)).collect::<Vec<_>>()
    };
    let passed = [trial("cuda", "b", None), trial("host", "a", None)];
    assert_eq!(tried(&[cuda], &passed), [(1, true), (0, false), (0, true)]);
    assert_eq!(tried(&[], &passed), [(1, true), (0, false)]);
    assert_eq!(tried(&[], &[trial("cuda", "b", fails()), trial("host", "a", fails())]), []);
}
