//! The renderer's side of the trials, in both directions.
#![allow(unsafe_code)] // Recording and submitting.

use std::time::{Duration, Instant};

use bridge::ash::vk;
use bridge::vk_export::{DeviceSelector, OneTimeCommands};
use bridge::{
    BufferAccess, BufferSpec, ExportDevice, LatestInfo, Listener, OpenInfo, Remote, RemoteLatestReader,
    RemoteLatestWriter, RenderWrite,
};

use super::child::Worker;
use super::contents::{BYTES, FRAMES, WORDS, contents, frame_of};
use super::problem::{Problem, ProcessFailure, Stopped};
use super::task::NAME;
use super::{Candidate, Direction, ProcessTrial, StartWorker};
use crate::trial::milliseconds;

/// Limit of every wait. The slowest one, for the start of CUDA in the worker, takes a second or
/// two.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// Limit on the end of a worker after the exchange is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two polls.
const PAUSE: Duration = Duration::from_millis(1);
/// Interval of checks of a worker that has not connected.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

type Words = BufferSpec<u32>;

/// Shares frames between this process and a worker that it starts.
pub(super) fn run(
    candidate: &Candidate,
    direction: Direction,
    start: StartWorker<'_>,
    limit: Duration,
) -> ProcessTrial {
    let mut trial = ProcessTrial {
        backend: if candidate.cuda { "cuda" } else { "host" }.to_owned(),
        direction,
        device: candidate.name.clone(),
        frames: 0,
        bytes: BYTES,
        failure: None,
        start_ms: None,
        frames_ms: None,
    };
    let mut step = "making a private folder for the socket";
    if let Err(Stopped { mut problem, error }) = attempt(candidate, start, limit, &mut trial, &mut step) {
        // Each driver reports a hidden GPU with a different error.
        if candidate.hidden && problem == Problem::Other {
            problem = Problem::HiddenGpu;
        }
        trial.failure = Some(ProcessFailure { problem, step, error });
    }
    trial
}

fn attempt(
    candidate: &Candidate,
    start: StartWorker<'_>,
    limit: Duration,
    trial: &mut ProcessTrial,
    step: &mut &'static str,
) -> Result<(), Stopped> {
    let in_folder = |error: std::io::Error| {
        Stopped::new(Problem::Folder, format!("{error}, in {}", std::env::temp_dir().display()))
    };
    // The folder has mode 0700.
    let folder = tempfile::Builder::new().prefix("doctor-").tempdir().map_err(in_folder)?;
    *step = "listening at a socket";
    let listener = Listener::bind(folder.path().join("renderer"))?;
    *step = "opening the Vulkan device";
    let selector = DeviceSelector::Index(candidate.index);
    let device = ExportDevice::open(&OpenInfo { application_name: "doctor", device: selector, ..OpenInfo::default() })?;
    *step = "starting the worker";
    let began = Instant::now();
    let mut worker = Worker::start(start, listener.path(), candidate.cuda, trial.direction, limit)?;
    let ended = exchange(&listener, &device, &mut worker, (began, limit), trial, step);
    if let Err(stopped) = ended {
        return Err(with_reported_reason(stopped, &mut worker));
    }
    // The exchange is closed, so the worker has nothing more to wait for.
    let silent = || Stopped::new(Problem::Timeout, format!("the worker has not ended within {CLOSE_TIMEOUT:?}"));
    worker.outcome(CLOSE_TIMEOUT).ok_or_else(silent)??;
    if worker.ends_within(CLOSE_TIMEOUT) { Ok(()) } else { Err(silent()) }
}

/// Replaces a generic error or timeout with the reason that the worker has reported, if any.
fn with_reported_reason(stopped: Stopped, worker: &mut Worker) -> Stopped {
    if !matches!(stopped.problem, Problem::Other | Problem::Timeout) {
        return stopped;
    }
    match worker.outcome(Duration::from_millis(500)) {
        Some(Err(said)) => Stopped { error: format!("{}; seen from here: {}", said.error, stopped.error), ..said },
        _ => stopped,
    }
}

fn exchange(
    listener: &Listener,
    device: &ExportDevice,
    worker: &mut Worker,
    (began, limit): (Instant, Duration),
    trial: &mut ProcessTrial,
    step: &mut &'static str,
) -> Result<(), Stopped> {
    *step = "waiting for the worker to connect";
    let remote = accept(listener, device, worker, limit)?;
    *step = "offering the worker an exchange";
    let info = LatestInfo { name: NAME, timeout: limit, ..Default::default() };
    match trial.direction {
        Direction::WorkerWrites => {
            let mut reader = remote.latest(&info, Words::new(WORDS, BufferAccess::TRANSFER_READ))?;
            trial.start_ms = Some(milliseconds(began));
            *step = "reading the worker's frames";
            read(&mut reader, limit, trial)?;
            *step = "closing";
            Ok(reader.close()?)
        }
        Direction::WorkerReads => {
            let mut writer = remote.latest_render_first(&info, Words::new(WORDS, BufferAccess::TRANSFER_WRITE))?;
            trial.start_ms = Some(milliseconds(began));
            *step = "drawing frames for the worker";
            draw(device, &mut writer, worker, limit, trial)?;
            *step = "closing";
            Ok(writer.close()?)
        }
    }
}

/// Waits until the worker connects.
fn accept(listener: &Listener, device: &ExportDevice, worker: &mut Worker, limit: Duration) -> Result<Remote, Stopped> {
    let start = Instant::now();
    loop {
        if let Some(remote) = listener.accept(device, POLL_INTERVAL)? {
            return Ok(remote);
        }
        worker.outcome(Duration::ZERO).transpose()?;
        if start.elapsed() >= limit {
            let text = format!("the worker's process has not connected within {limit:?}");
            return Err(Stopped::new(Problem::Timeout, text));
        }
    }
}

/// Reads frames until there were enough, checking that each is complete and newer than the previous
/// one.
fn read(reader: &mut RemoteLatestReader<Words>, limit: Duration, trial: &mut ProcessTrial) -> Result<(), Stopped> {
    let (start, mut since) = (Instant::now(), Instant::now());
    let (mut shown, mut last) = (None, None);
    while trial.frames < FRAMES {
        reader.check_worker()?;
        match reader.newest()? {
            Some(turn) if shown != Some(turn.frame()) => {
                shown = Some(turn.frame());
                last = Some(frame_of(&turn.read_back(limit)?, last)?);
                trial.frames += 1;
                trial.frames_ms.get_or_insert_with(|| milliseconds(start));
                since = Instant::now();
            }
            turn => {
                if let Some(turn) = turn {
                    turn.skip();
                }
                std::thread::sleep(PAUSE);
            }
        }
        if since.elapsed() >= limit {
            let text = format!("no newer frame was received within {limit:?}, after {}", trial.frames);
            return Err(Stopped::new(Problem::Timeout, text));
        }
    }
    Ok(())
}

/// Draws frames until the worker reports that it has seen enough.
fn draw(
    device: &ExportDevice,
    writer: &mut RemoteLatestWriter<Words>,
    worker: &mut Worker,
    limit: Duration,
    trial: &mut ProcessTrial,
) -> Result<(), Stopped> {
    let start = Instant::now();
    for frame in 0.. {
        // The worker itself reports if it gets no frame within the limit.
        if let Some(outcome) = worker.outcome(PAUSE) {
            trial.frames = outcome?;
            trial.frames_ms = Some(milliseconds(start));
            return Ok(());
        }
        if start.elapsed() >= limit * 2 {
            break;
        }
        let turn = writer.begin()?;
        draw_one(device, turn, frame, limit)?;
    }
    Err(Stopped::new(Problem::Timeout, format!("the worker has not seen {FRAMES} frames within {:?}", limit * 2)))
}

fn draw_one(device: &ExportDevice, turn: RenderWrite<Words>, frame: u32, limit: Duration) -> Result<(), Stopped> {
    let words = contents(frame);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let record = |commands| {
        // SAFETY: the command buffer is recording, outside a render pass, for the family of the
        // turn's queue, and is submitted with this turn.
        unsafe { turn.record_acquire(commands) };
        update(device, commands, turn.resources().as_raw(), &bytes);
        // SAFETY: as for the acquire.
        unsafe { turn.record_release(commands) };
    };
    // SAFETY: the queue belongs to the device; the commands are between the turn's barriers.
    let commands = unsafe { OneTimeCommands::record(device, turn.queue(), "doctor", record) }?;
    // SAFETY: the commands contain the turn's barriers, and are kept until they have run, or are
    // leaked.
    let point = unsafe { turn.submit(&[commands.as_raw()]) }?;
    point.wait(limit).map_err(|error| {
        // The commands may still be running.
        std::mem::forget(commands);
        error.into()
    })
}

/// Records the words of a frame.
fn update(device: &ExportDevice, commands: vk::CommandBuffer, target: vk::Buffer, bytes: &[u8]) {
    // SAFETY: VUID-vkCmdUpdateBuffer-dataSize-00037: 64 KiB is a multiple of 4 and the maximum of
    // the command; the buffer has this size, and was acquired for transfer writes.
    unsafe { device.as_raw().cmd_update_buffer(commands, target, 0, bytes) };
}
