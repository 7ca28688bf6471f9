//! Each side against its end behind each message that crosses: `cargo xtask kill-matrix --rounds
//! N`. One side follows a script and stops there, the other is the real one.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bridge::{Error, ExchangeInfo, RemoteExchange};
use bridge_ipc::Role;
use bridge_tests::Rig;
use bridge_worker::bridge_ipc::Error as Ipc;
use bridge_worker::{Buffer, Error as Told, Image, Work, Worker as Other, WorkerInfo};
use rustix::process::Signal;

use crate::dialogue::{DIALOGUES, Dialogue, End, Scripted, words};
use crate::matrix::{SIGNALS, rounds};
use crate::painter::Painter;
use crate::reading::{self, Reading};
use crate::renderer;
use crate::scene::Scene;
use crate::step_worker;
use crate::steps::Stepping;
use crate::worker::{Habit, Worker};

/// All that crosses between workers on the CPU and this renderer, which takes no frame of its own
/// back. Timelines go to workers with CUDA only: `tests/double/tests/worker_ends.rs`.
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
const OF_RENDERERS: [&str; 18] = [
    "hears Bye",
    "hears Close",
    "hears Done",
    "hears Free",
    "hears Hello",
    "hears Publish",
    "hears Ready",
    "hears Refused",
    "hears Torn",
    "says Bye",
    "says Close",
    "says Free",
    "says Hello",
    "says Offer",
    "says Publish",
    "says Refused",
    "says Resource",
    "says Torn",
];

/// The most that each message took, and how often it was the last.
type Rows = BTreeMap<String, (u32, [Duration; 2])>;

#[test]
fn the_end_of_a_worker_behind_each_message_is_survived() {
    let rows = each_message("worker", survive);
    assert_eq!(crossed(&rows), OF_WORKERS, "messages behind which a worker was ended");
}

#[test]
fn the_end_of_a_renderer_behind_each_message_is_survived() {
    let rows = each_message("renderer", outlive);
    assert_eq!(crossed(&rows), OF_RENDERERS, "messages behind which a renderer was ended");
}

fn crossed(rows: &Rows) -> Vec<&str> {
    let mut kinds: Vec<_> = rows.keys().map(|row| row.split_once(": ").unwrap().1).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Ends one side behind each message of each dialogue, with one signal after the other.
fn each_message(side: &str, case: fn(Dialogue, u32, Signal) -> (End, [Duration; 2])) -> Rows {
    let mut rows = Rows::new();
    for dialogue in DIALOGUES {
        for round in 0..rounds() {
            for last in 1.. {
                // All of them in four rounds.
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
    for (row, (count, [told, next])) in &rows {
        println!("{row:34} {count:7} {told:12.1?} {next:18.1?}");
    }
    rows
}

fn ending(process: Scripted, signal: Signal) -> JoinHandle<End> {
    std::thread::spawn(move || process.end(signal))
}

/// The worker is ended; gives the time from its end to the word of it, and from the start of the
/// next one's process to a frame.
fn survive(dialogue: Dialogue, last: u32, signal: Signal) -> (End, [Duration; 2]) {
    match dialogue {
        Dialogue::Reads => survive_reading(last, signal),
        Dialogue::InStep => survive_in_step(last, signal),
        _ => survive_writing(dialogue, last, signal),
    }
}

/// What a renderer may be told of a worker that has not taken the exchange, or not been met.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Connection(_)) || error.to_string().contains("another is expected")
}

/// A worker of this renderer's that has been met, if it has come so far.
fn met(accepted: bridge::Result<Option<bridge::Remote>>) -> Option<bridge::Remote> {
    match accepted {
        Ok(remote) => Some(remote.expect("the end of a worker that was not met is not told")),
        Err(error) => {
            assert!(is_gone(&error), "{error}");
            None
        }
    }
}

/// The exchange, if the worker has taken it.
fn taken<T>(made: bridge::Result<T>) -> Option<T> {
    made.inspect_err(|error| assert!(is_gone(error), "{error}")).ok()
}

fn survive_writing(dialogue: Dialogue, last: u32, signal: Signal) -> (End, [Duration; 2]) {
    let mut scene = Scene::new();
    let process = Scripted::start(Role::Worker, dialogue, last, &scene.path());
    let ending = ending(process, signal);
    let remote = met(scene.listener.accept(scene.rig.device(), Rig::LONG));
    let mut reader = remote.and_then(|remote| taken(remote.latest(&Scene::info(), Scene::spec())));
    if let Some(reader) = &mut reader {
        let start = Instant::now();
        while !matches!(reader.check(), Err(Error::PeerLost { dead: true, .. })) {
            // Whole frames alone, of which none is older than one before.
            scene.read(reader);
            assert!(start.elapsed() < Rig::LONG, "its end is not told");
        }
        scene.read(reader);
    }
    let told = Instant::now();
    let end = ending.join().unwrap();
    let start = Instant::now();
    let _next = Worker::start(&scene.path(), Habit::Runs, 2);
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
    let took = [told.saturating_duration_since(end.at), next];
    (end, took)
}

fn survive_reading(last: u32, signal: Signal) -> (End, [Duration; 2]) {
    let mut painter = Painter::new();
    let process = Scripted::start(Role::Worker, Dialogue::Reads, last, &painter.scene.path());
    let ending = ending(process, signal);
    let remote = met(painter.scene.listener.accept(painter.scene.rig.device(), Rig::LONG));
    let offered = |remote: bridge::Remote| taken(remote.latest_render_first(&Scene::info(), Painter::spec()));
    let mut writer = remote.and_then(offered);
    if let Some(writer) = &mut writer {
        let start = Instant::now();
        while !matches!(writer.check(), Err(Error::PeerLost { dead: true, .. })) {
            painter.draw(writer);
            assert!(start.elapsed() < Rig::LONG, "its end is not told");
        }
    }
    let told = Instant::now();
    let end = ending.join().unwrap();
    let start = Instant::now();
    let next = Reading::start(&painter.scene.path(), bridge_ipc::Backend::Host, reading::Habit::Reads);
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
    let took = [told.saturating_duration_since(end.at), start.elapsed()];
    writer.close().unwrap();
    (end, took)
}

fn survive_in_step(last: u32, signal: Signal) -> (End, [Duration; 2]) {
    let scene = Scene::new();
    let process = Scripted::start(Role::Worker, Dialogue::InStep, last, &scene.path());
    let ending = ending(process, signal);
    let info = bridge::AcceptInfo { timeout: Rig::LONG, trust: true };
    let remote = met(scene.listener.accept_with(scene.rig.device(), &info));
    let info = ExchangeInfo { name: "steps", timeout: Rig::LONG, ..Default::default() };
    let mut steps = remote.and_then(|remote| taken(remote.exchange(&info, Scene::spec())));
    steps.iter_mut().for_each(read_all);
    let told = Instant::now();
    let end = ending.join().unwrap();
    let start = Instant::now();
    let mut stepping = Stepping::of(scene);
    let _next = match &mut steps {
        Some(steps) => stepping.go_on(steps, 2),
        None => {
            let (next, mut steps) = stepping.with(step_worker::Habit::Runs, 1, Rig::LONG);
            (0..8).for_each(|_| stepping.read(&mut steps, 1));
            next
        }
    };
    let took = [told.saturating_duration_since(end.at), start.elapsed()];
    (end, took)
}

/// Reads all frames, the torn ones included, until the worker's end is told: those that are not
/// torn are whole.
fn read_all(steps: &mut RemoteExchange<bridge::BufferSpec<u32>>) {
    let (mut read, mut torn) = (Vec::new(), Vec::new());
    let start = Instant::now();
    loop {
        match steps.next(Duration::from_millis(1)) {
            // It waits for the frame, or for the worker's end.
            Ok(Some(turn)) => read.push((turn.frame(), turn.read_back(Rig::LONG).unwrap())),
            Ok(None) => {}
            Err(Error::PeerLost { dead: true, torn: these, .. }) if steps.owed().is_empty() => {
                torn.extend(these);
                break;
            }
            Err(Error::PeerLost { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(start.elapsed() < Rig::LONG, "its end is not told");
    }
    // The worker takes the second back.
    for (frame, found) in read.iter().filter(|(frame, _)| *frame != 1 && !torn.contains(frame)) {
        assert!(found.iter().copied().eq(words(*frame, true)), "frame {frame} is not whole: {:#x}", found[0]);
    }
}

/// The renderer is ended; gives the time from its end to the word of it, and from the start of the
/// next one's process until all of its dialogue was had.
fn outlive(dialogue: Dialogue, last: u32, signal: Signal) -> (End, [Duration; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    let mut process = Scripted::start(Role::Renderer, dialogue, last, &path);
    process.listens();
    let ending = ending(process, signal);
    let error = live_with(dialogue, &path);
    let told = Instant::now();
    // A renderer that is gone, or has said so; the worker itself refuses another type.
    let expected = match &error {
        Told::PeerLost { .. } | Told::Closed { .. } | Told::Ipc(Ipc::Closed { .. }) => true,
        // It was reaped before this process had a pidfd of it: it waits for no word of the worker's
        // before its first, and none at all where it declines.
        Told::Ipc(Ipc::System { call, .. }) => {
            (last == 1 || dialogue == Dialogue::Declines) && (call.contains("pidfd") || call.contains("PIDFD"))
        }
        Told::Mismatch { .. } => dialogue == Dialogue::Refuses,
        _ => false,
    };
    assert!(expected, "{dialogue:?}, behind message {last}: {error}");
    let end = ending.join().unwrap();
    let start = Instant::now();
    let mut next = Scripted::start(Role::Renderer, dialogue, u32::MAX, &path);
    next.listens();
    live_with(dialogue, &path);
    assert!(next.end(Signal::KILL).message.is_none());
    let took = [told.saturating_duration_since(end.at), start.elapsed()];
    (end, took)
}

/// A worker, this process, with a renderer; gives the error with which that ends.
fn live_with(dialogue: Dialogue, path: &Path) -> Told {
    match dialogue {
        Dialogue::Writes => connect(path).and_then(|worker| {
            let mut writer = worker.latest("remote")?;
            loop {
                renderer::write(&mut writer)?;
            }
        }),
        Dialogue::Reads => connect(path).and_then(|worker| {
            let mut reader = worker.latest_reader::<Buffer<u32>>("remote")?;
            loop {
                reader.wait_for_newer(Rig::LONG)?;
                reader.newest()?;
            }
        }),
        Dialogue::InStep => connect(path).and_then(|worker| {
            let mut exchange = worker.exchange::<Buffer<u32>>("steps")?;
            loop {
                let mut turn = exchange.begin()?;
                let Work::Host(mut host) = turn.work() else { panic!("it computes with CUDA") };
                host.views.write_from(0, &[7])?;
                if turn.frame() == 1 {
                    turn.announce()?;
                    turn.skip()?;
                } else {
                    turn.finish()?;
                }
            }
        }),
        Dialogue::Refuses | Dialogue::Declines => connect(path)
            .and_then(|worker| worker.latest::<Image<f32>>("remote").map(drop))
            .and_then(|()| unreachable!()),
    }
    .unwrap_or_else(|error: Told| error)
}

fn connect(path: &Path) -> Result<Other, Told> {
    let info = WorkerInfo { timeout: Rig::LONG * 2, ..step_worker::info(bridge_ipc::Backend::Host) };
    Other::connect_with(path, &info)
}
