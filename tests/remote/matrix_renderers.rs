//! Renderers that end while a worker at its own rate, which is this process, uses their slots:
//! `cargo xtask kill-matrix --rounds N`.

use std::ffi::CString;
use std::time::{Duration, Instant};

use bridge_tests::{PROBE, Rig, compute};
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::cuda_import::{Kernel, KernelModule};
use bridge_worker::{Buffer, Error, LatestReader, LatestWriter, Read, Work, Worker};
use rustix::process::Signal;

use crate::cuda_worker::fill;
use crate::matrix::{SIGNALS, rounds};
use crate::reading::launch;
use crate::renderer::{Renderer, connect, connect_to_read};

/// The duration of a kernel that runs when the renderer ends.
const BUSY: Duration = Duration::from_millis(300);

/// The states of workers with CUDA whose renderers end: the number of frames before the end, and
/// how long a kernel of the worker continues to run.
const WRITERS: [(&str, usize, Duration); 3] = [
    ("renderer, CUDA has written nothing", 0, Duration::ZERO),
    ("renderer, CUDA writes", 20, Duration::ZERO),
    ("renderer, CUDA writes in a kernel", 5, BUSY),
];
const READERS: [(&str, usize, Duration); 3] = [
    ("renderer, CUDA has read nothing", 0, Duration::ZERO),
    ("renderer, CUDA reads", 20, Duration::ZERO),
    ("renderer, CUDA reads in a kernel", 5, BUSY),
];

#[test]
fn the_end_of_a_renderer_of_a_cuda_worker_is_survived() {
    let rig = Rig::open();
    // Keeps the context of this process between two connections.
    let Some(_compute) = compute(rig.device(), bridge::Backend::Cuda) else { return };
    print_head();
    for (state, frames, busy) in WRITERS {
        end_renderers(state, |signal| end_renderer(Backend::Cuda, frames, busy, signal));
    }
}

#[test]
fn the_end_of_a_renderer_that_draws_for_a_cuda_worker_is_survived() {
    let rig = Rig::open();
    let Some(_compute) = compute(rig.device(), bridge::Backend::Cuda) else { return };
    print_head();
    for (state, frames, busy) in READERS {
        end_renderers(state, |signal| end_drawing_renderer(Backend::Cuda, frames, busy, signal));
    }
}

fn print_head() {
    println!(
        "{:34} {:12} {:>7} {:12} {:>12} {:>18}",
        "state of the process", "signal", "rounds", "", "told within", "next within"
    );
}

/// Ends renderers in one state, with each signal.
pub(crate) fn end_renderers(state: &str, mut case: impl FnMut(Signal) -> [Duration; 2]) {
    let rounds = rounds();
    for (name, signal) in SIGNALS {
        let mut most = [Duration::ZERO; 2];
        for _ in 0..rounds {
            most.iter_mut().zip(case(signal)).for_each(|(most, took)| *most = took.max(*most));
        }
        let [reported, next] = most;
        println!("{state:34} {name:12} {rounds:7} {:12} {reported:12.1?} {next:18.1?}", "");
    }
}

/// Ends a renderer after a number of frames of this worker, which goes on, and whose kernel is
/// `busy` for some time. Returns the time to the report of it, and from the start of the next
/// renderer's process to its first frames.
pub(crate) fn end_renderer(backend: Backend, frames: usize, busy: Duration, signal: Signal) -> [Duration; 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    let mut renderer = Renderer::start(&path);
    let (worker, mut writer) = connect(&path, backend);
    let kernel = kernel(&worker);
    (0..frames).for_each(|_| write(&mut writer, kernel.as_ref(), Duration::ZERO).unwrap());
    if !busy.is_zero() {
        write(&mut writer, kernel.as_ref(), busy).unwrap();
    }
    let ending = std::thread::spawn(move || renderer.end(signal));
    let error = until_lost(|| write(&mut writer, kernel.as_ref(), Duration::ZERO));
    let reported = Instant::now();
    let reported = ending.join().unwrap().until(reported);
    assert!(owes_nothing(&error), "{error}");
    // No work of this process waits for the renderer.
    writer.stream().into_iter().for_each(|stream| stream.synchronize().unwrap());
    drop((writer, worker));
    let start = Instant::now();
    let _next = Renderer::start(&path);
    let (_worker, mut writer) = connect(&path, backend);
    (0..8).for_each(|_| write(&mut writer, kernel.as_ref(), Duration::ZERO).unwrap());
    [reported, start.elapsed()]
}

/// The same for a renderer that draws.
pub(crate) fn end_drawing_renderer(backend: Backend, frames: usize, busy: Duration, signal: Signal) -> [Duration; 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    let mut renderer = Renderer::start_painting(&path);
    let (worker, mut reader) = connect_to_read(&path, backend);
    let (kernel, mut last) = (kernel(&worker), None);
    (0..frames).for_each(|_| last = Some(read(&mut reader, None, last).unwrap()));
    if !busy.is_zero() {
        last = Some(read(&mut reader, kernel.as_ref(), last).unwrap());
    }
    let ending = std::thread::spawn(move || renderer.end(signal));
    let error = until_lost(|| read(&mut reader, None, last).map(|word| last = Some(word)));
    let reported = Instant::now();
    let reported = ending.join().unwrap().until(reported);
    assert!(owes_nothing(&error), "{error}");
    reader.stream().into_iter().for_each(|stream| stream.synchronize().unwrap());
    drop((reader, worker));
    let start = Instant::now();
    let _next = Renderer::start_painting(&path);
    let (_worker, mut reader) = connect_to_read(&path, backend);
    (0..3).fold(None, |last, _| Some(read(&mut reader, None, last).unwrap()));
    [reported, start.elapsed()]
}

/// Returns the kernel of a worker with CUDA.
fn kernel(worker: &Worker) -> Option<Kernel> {
    let device = worker.cuda()?;
    let module = KernelModule::new(device, "probe", &CString::new(PROBE).unwrap()).unwrap();
    Some(module.kernel("fill_after").unwrap())
}

/// Repeats a frame until the renderer's end is reported.
fn until_lost(mut frame: impl FnMut() -> Result<(), Error>) -> Error {
    let start = Instant::now();
    loop {
        match frame() {
            Ok(()) => assert!(start.elapsed() < Rig::LONG, "the renderer's end is not reported"),
            Err(error) => return error,
        }
    }
}

/// Returns `true` for the report of a renderer's end, which owes nothing to a worker at its own
/// rate.
fn owes_nothing(error: &Error) -> bool {
    matches!(error, Error::PeerLost { owed: None, .. } | Error::Closed { .. })
}

/// Writes one frame.
fn write(writer: &mut LatestWriter<Buffer<u32>>, kernel: Option<&Kernel>, busy: Duration) -> Result<(), Error> {
    let mut turn = writer.begin()?;
    let value = turn.frame() as u32;
    match turn.work() {
        Work::Cuda(mut cuda) => fill(kernel.unwrap(), cuda.stream, &mut cuda.resources, value, busy),
        Work::Host(mut host) => host.resources.write_from(0, &vec![value; host.resources.len()])?,
        _ => panic!("no other backend"),
    }
    turn.publish()
}

/// Reads a frame that is newer than the last, so its word is greater. With a `kernel`, it is
/// [`BUSY`] with the frame afterwards.
fn read(reader: &mut LatestReader<Buffer<u32>>, kernel: Option<&Kernel>, last: Option<u32>) -> Result<u32, Error> {
    while !reader.wait_for_newer(Rig::LONG)? {}
    let turn = reader.newest()?.unwrap();
    let words = match turn.work() {
        Read::Cuda(cuda) => cuda.stream.clone_dtoh(&cuda.resources).unwrap(),
        Read::Host(host) => {
            let mut words = vec![0; host.resources.len()];
            host.resources.read_into(0, &mut words)?;
            words
        }
        _ => panic!("no other backend"),
    };
    assert!(words.iter().all(|word| *word == words[0]), "frame {} is torn", turn.frame());
    assert!(last < Some(words[0]), "{} behind {last:?}", words[0]);
    if let (Some(kernel), Read::Cuda(cuda)) = (kernel, turn.work()) {
        launch(kernel, &cuda, BUSY);
    }
    turn.finish()?;
    Ok(words[0])
}
