//! Each state of a reading worker combined with each signal: `cargo xtask kill-matrix --rounds N`.

use std::time::{Duration, Instant};

use bridge_tests::{Rig, compute};
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::{Buffer, Error, LatestReader, Read};
use rustix::process::Signal;

use crate::matrix::{SIGNALS, rounds};
use crate::painter::Painter;
use crate::reading::Behavior;
use crate::renderer::{self, Renderer};

const STATES: [(&str, Behavior); 5] = [
    ("reading", Behavior::Reads),
    ("exchange taken, nothing read", Behavior::NeverReads),
    ("holding a frame", Behavior::Holds),
    ("waiting for a frame", Behavior::Waits),
    ("frame given back, others unread", Behavior::StopsAfterFree),
];

/// After each state of the worker's process, the renderer draws, and another worker receives
/// frames.
#[test]
fn each_state_of_a_reader_is_survived() {
    let mut painter = Painter::new();
    end_workers(&mut painter, Backend::Host, &STATES, "reads");
    for (state, frames) in [("renderer, nothing read", 0), ("renderer, drawing", 20)] {
        for (name, signal) in SIGNALS {
            let mut most = [Duration::ZERO; 2];
            for _ in 0..rounds() {
                let took = end_renderer(frames, signal);
                most.iter_mut().zip(took).for_each(|(most, took)| *most = took.max(*most));
            }
            let [reported, next] = most;
            println!("{state:34} {name:12} {:7} {reported:12.1?} {:12} {next:18.1?}", rounds(), "");
        }
    }
}

/// The same for workers that compute with CUDA.
#[test]
fn each_state_of_a_reader_with_cuda_is_survived() {
    let mut painter = Painter::new();
    if compute(painter.scene.rig.device(), bridge::Backend::Cuda).is_none() {
        return;
    }
    let states = STATES.into_iter().filter(|(_, behavior)| *behavior != Behavior::StopsAfterFree);
    let states: Vec<_> = states.chain([("in a kernel", Behavior::Hangs)]).collect();
    end_workers(&mut painter, Backend::Cuda, &states, "reads, with CUDA");
}

fn end_workers(painter: &mut Painter, backend: Backend, states: &[(&str, Behavior)], what: &str) {
    let state = format!("state of a process that {what}");
    println!(
        "{state:34} {:12} {:>7} {:>12} {:>12} {:>18}",
        "signal", "rounds", "lost within", "dead within", "next within"
    );
    for (state, behavior) in states {
        for (name, signal) in SIGNALS {
            let mut most = [Duration::ZERO; 3];
            for _ in 0..rounds() {
                let took = painter.end_worker(backend, *behavior, signal);
                most.iter_mut().zip(took).for_each(|(most, took)| *most = took.max(*most));
            }
            let [lost, dead, next] = most;
            println!("{state:34} {name:12} {:7} {lost:12.1?} {dead:12.1?} {next:18.1?}", rounds());
        }
    }
}

/// Runs a worker in this process whose renderer ends after a number of frames; returns the time to
/// the report of it, and to the first frame of the next renderer.
fn end_renderer(frames: usize, signal: Signal) -> [Duration; 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    let mut renderer = Renderer::start_painting(&path);
    let (_worker, mut reader) = renderer::connect_to_read(&path);
    let mut last = None;
    (0..frames).for_each(|_| last = Some(read(&mut reader, last)));
    renderer.signal(signal);
    if signal == Signal::STOP {
        // A stopped process is not dead: the last frame stays.
        while reader.wait_for_newer(Duration::from_millis(30)).unwrap() {}
    }
    renderer.kill();
    let start = Instant::now();
    while match reader.wait_for_newer(Rig::LONG) {
        Ok(_) => true,
        Err(Error::PeerLost { .. } | Error::Closed { .. }) => false,
        Err(error) => panic!("{error}"),
    } {
        assert!(start.elapsed() < Rig::LONG, "the renderer's end is not reported");
    }
    let reported = start.elapsed();
    let start = Instant::now();
    let _next = Renderer::start_painting(&path);
    let (_worker, mut reader) = renderer::connect_to_read(&path);
    read(&mut reader, None);
    [reported, start.elapsed()]
}

/// Reads a frame that is newer than the last, so its word is greater.
fn read(reader: &mut LatestReader<Buffer<u32>>, last: Option<u32>) -> u32 {
    assert!(reader.wait_for_newer(Rig::LONG).unwrap(), "no frame comes");
    let turn = reader.newest().unwrap().unwrap();
    let Read::Host(host) = turn.work() else { panic!("it computes with CUDA") };
    let mut words = vec![0; host.resources.len()];
    host.resources.read_into(0, &mut words).unwrap();
    assert!(words.iter().all(|word| *word == words[0]), "frame {} is torn", turn.frame());
    assert!(last < Some(words[0]), "{} behind {last:?}", words[0]);
    words[0]
}
