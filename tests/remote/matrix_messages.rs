//! Workers that end after each message: `cargo xtask kill-matrix --rounds N`. The worker follows a
//! script and stops there; the renderer is the real implementation.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bridge::{Error, ExchangeInfo, RemoteExchangeReader};
use bridge_ipc::{Backend, Role};
use bridge_tests::Rig;
use rustix::process::Signal;

use crate::dialogue::{DIALOGUES, Dialogue, End, Scripted, words};
use crate::matrix::{SIGNALS, rounds};
use crate::painter::Painter;
use crate::reading::Reading;
use crate::scene::Scene;
use crate::step_painter::StepPainter;
use crate::step_reader;
use crate::steps::Stepping;
use crate::worker::{Behavior, Worker};

/// All messages between workers on the CPU and this renderer, which does not withdraw frames.
/// Timelines are sent only to workers with CUDA: `tests/double/tests/workers/ends.rs`.
const OF_WORKERS: [&str; 16] = [
    "hears Bye",
    "hears Close",
    "hears Free",
    "hears Hello",
    "hears Offer",
    "hears Publish",
    "hears Resource",
    "says Bye",
    "says Close",
    "says Done",
    "says Free",
    "says Hello",
    "says Publish",
    "says Ready",
    "says Refused",
    "says Torn",
];
/// For each last message: the number of cases, and the longest times.
pub(crate) type Rows = BTreeMap<String, (u32, [Duration; 2])>;

#[test]
fn the_end_of_a_worker_after_each_message_is_survived() {
    let rows = each_message("worker", &DIALOGUES, end_worker);
    assert_eq!(message_kinds(&rows), OF_WORKERS, "messages behind which a worker was ended");
}

pub(crate) fn message_kinds(rows: &Rows) -> Vec<&str> {
    let mut kinds: Vec<_> = rows.keys().map(|row| row.split_once(": ").unwrap().1).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Ends one side after each message of each dialogue, with one signal after another.
pub(crate) fn each_message(
    side: &str,
    dialogues: &[Dialogue],
    mut case: impl FnMut(Dialogue, u32, Signal) -> (End, [Duration; 2]),
) -> Rows {
    let mut rows = Rows::new();
    for &dialogue in dialogues {
        for round in 0..rounds() {
            for last in 1.. {
                // All signals are used within four rounds.
                let (_, signal) = SIGNALS[(last + round) as usize % SIGNALS.len()];
                let (End { message, .. }, took) = case(dialogue, last, signal);
                let Some(message) = message else { break };
                let (count, most) = rows.entry(format!("{dialogue:?}: {message}")).or_default();
                *count += 1;
                most.iter_mut().zip(took).for_each(|(most, took)| *most = took.max(*most));
            }
        }
    }
    println!("{:34} {:>7} {:>12} {:>18}", format!("last message of the {side}"), "ends", "told within", "next within");
    for (row, (count, [reported, next])) in &rows {
        println!("{row:34} {count:7} {reported:12.1?} {next:18.1?}");
    }
    rows
}

pub(crate) fn end_in_background(process: Scripted, signal: Signal) -> JoinHandle<End> {
    std::thread::spawn(move || process.end(signal))
}

/// Ends the worker; returns the time from its end to the report of it, and from the start of the
/// next worker's process to a frame.
fn end_worker(dialogue: Dialogue, last: u32, signal: Signal) -> (End, [Duration; 2]) {
    match dialogue {
        Dialogue::Reads => end_reading_worker(last, signal),
        Dialogue::InStep => end_worker_in_step(last, signal),
        Dialogue::ReadsInStep => end_reading_worker_in_step(last, signal),
        _ => end_writing_worker(dialogue, last, signal),
    }
}

/// Returns `true` if the error is one that may be reported for a worker that has not taken the
/// exchange, or has not been accepted.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Connection(_)) || error.to_string().contains("another is expected")
}

/// Returns the worker of this renderer, if it was accepted before its end.
pub(crate) fn accepted_worker(accepted: bridge::Result<Option<bridge::Remote>>) -> Option<bridge::Remote> {
    match accepted {
        Ok(remote) => Some(remote.expect("the end of a worker that was not met is not reported")),
        Err(error) => {
            assert!(is_gone(&error), "{error}");
            None
        }
    }
}

/// Returns the exchange, if the worker has taken it.
pub(crate) fn accepted_exchange<T>(made: bridge::Result<T>) -> Option<T> {
    made.inspect_err(|error| assert!(is_gone(error), "{error}")).ok()
}

fn end_writing_worker(dialogue: Dialogue, last: u32, signal: Signal) -> (End, [Duration; 2]) {
    let mut scene = Scene::new();
    let process = Scripted::start(Role::Worker, dialogue, last, &scene.path());
    let ending = end_in_background(process, signal);
    let remote = accepted_worker(scene.listener.accept(scene.rig.device(), Rig::LONG));
    let mut reader = remote.and_then(|remote| accepted_exchange(remote.latest(&Scene::info(), Scene::spec())));
    if let Some(reader) = &mut reader {
        let start = Instant::now();
        while !matches!(reader.check_worker(), Err(Error::PeerLost { dead: true, .. })) {
            // Frames are complete, and none is older than the previous one.
            scene.read(reader);
            assert!(start.elapsed() < Rig::LONG, "its end is not reported");
        }
        scene.read(reader);
    }
    let reported = Instant::now();
    let end = ending.join().unwrap();
    let start = Instant::now();
    let _next = Worker::start(&scene.path(), Behavior::Runs, 2);
    let remote = scene.accept();
    let mut reader = match reader {
        Some(mut reader) => {
            reader.reconnect(remote).unwrap();
            reader
        }
        None => remote.latest(&Scene::info(), Scene::spec()).unwrap(),
    };
    scene.read_until(&mut reader, 2 << 20);
    let next = start.elapsed();
    reader.close().unwrap();
    let took = [reported.saturating_duration_since(end.at), next];
    (end, took)
}

fn end_reading_worker(last: u32, signal: Signal) -> (End, [Duration; 2]) {
    let painter = Painter::new();
    let process = Scripted::start(Role::Worker, Dialogue::Reads, last, &painter.scene.path());
    paint_for(painter, Backend::Host, process, signal)
}

/// Draws for a worker that is ended, and for the next worker.
pub(crate) fn paint_for(
    mut painter: Painter,
    backend: Backend,
    process: Scripted,
    signal: Signal,
) -> (End, [Duration; 2]) {
    let ending = end_in_background(process, signal);
    let remote = accepted_worker(painter.scene.listener.accept(painter.scene.rig.device(), Rig::LONG));
    let offered =
        |remote: bridge::Remote| accepted_exchange(remote.latest_render_first(&Scene::info(), Painter::spec()));
    let mut writer = remote.and_then(offered);
    if let Some(writer) = &mut writer {
        let start = Instant::now();
        while !matches!(writer.check_worker(), Err(Error::PeerLost { dead: true, .. })) {
            painter.draw(writer);
            assert!(start.elapsed() < Rig::LONG, "its end is not reported");
        }
    }
    let reported = Instant::now();
    let end = ending.join().unwrap();
    let start = Instant::now();
    let next = Reading::next_worker(&painter.scene.path(), backend);
    let remote = painter.scene.accept();
    let mut writer = match writer {
        Some(mut writer) => {
            writer.reconnect(remote).unwrap();
            writer
        }
        None => remote.latest_render_first(&Scene::info(), Painter::spec()).unwrap(),
    };
    painter.forget();
    painter.draw_until_seen(&mut writer, &next, 1);
    let took = [reported.saturating_duration_since(end.at), start.elapsed()];
    writer.close().unwrap();
    (end, took)
}

fn end_worker_in_step(last: u32, signal: Signal) -> (End, [Duration; 2]) {
    let stepping = Stepping::new();
    let process = Scripted::start(Role::Worker, Dialogue::InStep, last, &stepping.scene.path());
    step_for(stepping, process, signal)
}

/// Reads in step the frames of a worker that is ended, and those of the next worker.
pub(crate) fn step_for(mut stepping: Stepping, process: Scripted, signal: Signal) -> (End, [Duration; 2]) {
    let ending = end_in_background(process, signal);
    let info = bridge::AcceptInfo { timeout: Rig::LONG, trust: true };
    let remote = accepted_worker(stepping.scene.listener.accept_with(stepping.scene.rig.device(), &info));
    let info = ExchangeInfo { name: "steps", timeout: Rig::LONG, ..Default::default() };
    let mut steps = remote.and_then(|remote| accepted_exchange(remote.exchange(&info, Scene::spec())));
    steps.iter_mut().for_each(read_all);
    let reported = Instant::now();
    let end = ending.join().unwrap();
    let start = Instant::now();
    let _next = match &mut steps {
        Some(steps) => stepping.accept_next(steps, 2),
        None => {
            let (next, mut steps) = stepping.with_next(1);
            (0..8).for_each(|_| stepping.read(&mut steps, 1));
            next
        }
    };
    let took = [reported.saturating_duration_since(end.at), start.elapsed()];
    (end, took)
}

fn end_reading_worker_in_step(last: u32, signal: Signal) -> (End, [Duration; 2]) {
    let scene = Scene::new();
    let process = Scripted::start(Role::Worker, Dialogue::ReadsInStep, last, &scene.path());
    draw_for(StepPainter::of(scene, Backend::Host), process, signal)
}

/// Draws in step for a worker that is ended, and for the next worker.
pub(crate) fn draw_for(mut painter: StepPainter, process: Scripted, signal: Signal) -> (End, [Duration; 2]) {
    let ending = end_in_background(process, signal);
    let info = bridge::AcceptInfo { timeout: Rig::LONG, trust: true };
    let remote = accepted_worker(painter.scene.listener.accept_with(painter.scene.rig.device(), &info));
    let info = StepPainter::info(Rig::LONG);
    let mut writer = remote.and_then(|remote| accepted_exchange(remote.exchange_render_first(&info, Painter::spec())));
    writer.iter_mut().for_each(|writer| painter.draw_until_dead(writer));
    let reported = Instant::now();
    let end = ending.join().unwrap();
    let start = Instant::now();
    let _next = match &mut writer {
        Some(writer) => painter.accept_next(writer),
        None => {
            let (next, mut writer) = painter.with_next();
            painter.draw_until_state(&mut writer, &next, step_reader::Behavior::Reads);
            next
        }
    };
    let took = [reported.saturating_duration_since(end.at), start.elapsed()];
    (end, took)
}

/// Reads all frames, including torn ones, until the worker's end is reported: frames that are not
/// torn are complete.
fn read_all(steps: &mut RemoteExchangeReader<bridge::BufferSpec<u32>>) {
    let (mut read, mut torn) = (Vec::new(), Vec::new());
    let start = Instant::now();
    loop {
        match steps.next(Duration::from_millis(1)) {
            // Waits for the frame, or for the worker's end.
            Ok(Some(turn)) => read.push((turn.frame(), turn.read_back(Rig::LONG).unwrap())),
            Ok(None) => {}
            Err(Error::PeerLost { dead: true, torn: these, .. }) if steps.owed_frames().is_empty() => {
                torn.extend(these);
                break;
            }
            Err(Error::PeerLost { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(start.elapsed() < Rig::LONG, "its end is not reported");
    }
    // The worker withdraws the second frame.
    for (frame, found) in read.iter().filter(|(frame, _)| *frame != 1 && !torn.contains(frame)) {
        assert!(found.iter().copied().eq(words(*frame, true)), "frame {frame} is not whole: {:#x}", found[0]);
    }
}
