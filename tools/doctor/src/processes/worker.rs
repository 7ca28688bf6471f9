//! The worker's side of the trials.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bridge_worker::bridge_ipc::Backend;
use bridge_worker::{Buffer, Error, LatestReader, LatestWriter, Read, Work, Worker, WorkerInfo};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::contents::{FRAMES, WORDS, contents, frame_of};
use super::problem::{Problem, Stopped};
use super::task::{NAME, Task, VARIABLE};

/// Pause between two frames, so that the renderer sees more than the last one.
const PAUSE: Duration = Duration::from_millis(1);

/// Runs as a worker that a doctor has started: performs the task in its environment, and prints the
/// outcome as a line of JSON.
pub fn work() -> ExitCode {
    let Some((task, socket)) = std::env::var(VARIABLE).ok().and_then(|value| Task::of(&value)) else {
        eprintln!("doctor: a worker is started by a doctor, which sets {VARIABLE}");
        return ExitCode::from(64);
    };
    if !end_with_parent(task.doctor) {
        return ExitCode::FAILURE;
    }
    let outcome = attempt(&task, &socket);
    let code = if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    // A reading worker has reported its outcome before; only the first report counts.
    report(&outcome);
    code
}

/// Reports the outcome to the doctor.
fn report(outcome: &Result<u32, Stopped>) {
    let mut stdout = io::stdout().lock();
    // Errors are ignored: a doctor that no longer reads has its own outcome.
    let _ = serde_json::to_string(outcome).map(|line| writeln!(stdout, "\n{line}").and_then(|()| stdout.flush()));
}

/// Makes the kernel kill this process when the doctor that started it ends. Returns `false` if the
/// doctor has ended already.
fn end_with_parent(doctor: u32) -> bool {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        log::debug!("the worker ends by its limits alone: {error}");
    }
    getppid().is_some_and(|parent| parent.as_raw_nonzero().get().unsigned_abs() == doctor)
}

fn attempt(task: &Task, socket: &Path) -> Result<u32, Stopped> {
    let backend = if task.cuda { Backend::Cuda } else { Backend::Host };
    let info = WorkerInfo { name: "doctor", backend: Some(backend), timeout: task.limit, ..Default::default() };
    let worker = Worker::connect_with(socket, &info)?;
    match task.writes {
        true => write(worker.latest(NAME)?),
        false => read(worker.latest_reader(NAME)?, task.limit),
    }
}

/// Writes frames until the renderer has seen enough, and closes the exchange.
fn write(mut writer: LatestWriter<Buffer<u32>>) -> Result<u32, Stopped> {
    let mut frame = 0;
    while write_one(&mut writer, frame)? {
        frame += 1;
        std::thread::sleep(PAUSE);
    }
    Ok(frame)
}

/// Writes a frame. Returns `false` if the renderer has closed the exchange.
fn write_one(writer: &mut LatestWriter<Buffer<u32>>, frame: u32) -> Result<bool, Stopped> {
    let mut turn = match writer.begin() {
        Err(Error::Closed { .. }) => return Ok(false),
        turn => turn?,
    };
    let words = contents(frame);
    match turn.work() {
        Work::Cuda(mut cuda) => {
            let copied = cuda.stream.memcpy_htod(&words, &mut cuda.resources);
            copied.map_err(|error| Stopped::new(Problem::Other, error))?;
        }
        Work::Host(mut host) => host.resources.write_from(0, &words)?,
        // Other backends are never requested.
        _ => {}
    }
    match turn.publish() {
        Err(Error::Closed { .. }) => Ok(false),
        published => Ok(published.map(|()| true)?),
    }
}

/// Reads frames until there are enough.
fn read(mut reader: LatestReader<Buffer<u32>>, limit: Duration) -> Result<u32, Stopped> {
    let (mut seen, mut last, mut since) = (0, None, Instant::now());
    while seen < FRAMES {
        if !reader.wait_for_newer(limit.saturating_sub(since.elapsed()))? {
            return Err(Stopped::new(
                Problem::Timeout,
                format!("no frame was received within {limit:?}, after {seen}"),
            ));
        }
        since = Instant::now();
        let Some(turn) = reader.newest()? else { continue };
        let mut words = vec![0; WORDS];
        match turn.work() {
            Read::Cuda(cuda) => {
                words = cuda.stream.clone_dtoh(&cuda.resources).map_err(|error| Stopped::new(Problem::Other, error))?;
            }
            Read::Host(host) => host.resources.read_into(0, &mut words)?,
            _ => {}
        }
        last = Some(frame_of(&words, last)?);
        seen += 1;
        turn.finish()?;
    }
    report(&Ok(seen));
    // Waits until the renderer has closed the exchange.
    let start = Instant::now();
    while reader.wait_for_newer(PAUSE).is_ok() && start.elapsed() < limit {}
    Ok(seen)
}
