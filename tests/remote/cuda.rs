//! Workers that compute with CUDA: they write the slots directly, and the renderer does not use
//! CUDA.

use std::time::{Duration, Instant};

use bridge::ash::vk;
use bridge::{Backend, BufferAccess, BufferSpec, Compute, Error, ImageAccess, ImageSpec, LatestInfo};
use bridge_ipc::{ConnectInfo, Connection};
use bridge_tests::{Need, Peers, Readback, Rig, skip};
use rustix::process::Signal;

use crate::cuda_worker::{Behavior, start, start_with};
use crate::scene::Scene;
use crate::shown::Shown;
use crate::worker::{LEN, Worker};

/// Half of the duration of a hanging kernel, which nothing may wait for.
const HALF: Duration = Duration::from_secs(10);

#[test]
fn thousands_of_frames_are_intact_and_none_is_stale() {
    let Some(mut shown) = Shown::new() else { return };
    let (_worker, mut reader) = shown.with(Behavior::Runs, 1);
    let start = Instant::now();
    while shown.seen < 4000 {
        shown.read_until(&mut reader, 1 << 20);
        assert!(start.elapsed() < Rig::LONG * 2, "only {} frames; last: {:x?}", shown.seen, shown.last);
    }
    let last = shown.last;
    println!("{} frames seen in {:.1?}; the last is {last:x?}", shown.seen, start.elapsed());
    shown.assert_right();
    reader.check_worker().unwrap();
    reader.close().unwrap();
}

/// The negative control: frames that are published before their kernels have written are detected
/// as wrong.
#[test]
fn unordered_frames_are_detected() {
    let Some(mut shown) = Shown::new() else { return };
    let (_worker, mut reader) = shown.with(Behavior::IsUnordered, 1);
    let start = Instant::now();
    while shown.wrong.is_empty() {
        shown.read(&mut reader);
        assert!(start.elapsed() < Rig::LONG, "the check sees nothing wrong in {} frames", shown.seen);
    }
    println!("after {} frames: {}", shown.seen, shown.wrong[0]);
}

#[test]
fn an_idle_worker_is_killed_and_another_writes_the_same_slots() {
    let Some(mut shown) = Shown::new() else { return };
    let (mut worker, mut reader) = shown.with(Behavior::Idles, 1);
    worker.wait_for_state();
    shown.read_until(&mut reader, (1 << 20) + 4);
    worker.kill();
    let (error, reported, ended) = shown.lost(&mut reader);
    println!("idle: told to be lost after {reported:.1?}, to have ended after {ended:.1?}");
    let Error::PeerLost { worker: process, frame, owed, .. } = &error else { panic!("{error}") };
    assert_eq!((*process, *owed, frame.is_some()), (worker.pid(), 0, true), "{error}");
    assert!(ended < HALF, "told after {ended:?}");
    assert_eq!(shown.read(&mut reader), Some((1 << 20) + 4), "the last frame stays");

    let _next = start(&shown.scene.path(), Behavior::Runs, 2);
    reader.reconnect(shown.scene.accept()).unwrap();
    shown.read_until(&mut reader, (2 << 20) + 50);
    shown.assert_right();
    reader.close().unwrap();
}

#[test]
fn a_worker_is_killed_inside_a_kernel_and_its_frame_is_never_shown() {
    let Some(mut shown) = Shown::new() else { return };
    let (mut worker, mut reader) = shown.with(Behavior::Hangs, 1);
    worker.wait_for_state();
    shown.read_until(&mut reader, (1 << 20) + 4);
    // The renderer continues while the kernel runs.
    let mut longest = Duration::ZERO;
    for _ in 0..500 {
        let begun = Instant::now();
        // If the renderer waited for the kernel, this would be the next frame.
        assert_eq!(shown.read(&mut reader), Some((1 << 20) + 4), "the frame is not finished");
        longest = longest.max(begun.elapsed());
    }
    reader.check_worker().unwrap();
    println!("500 reads beside a kernel that hangs, {longest:.1?} at most");

    worker.kill();
    let (error, reported, ended) = shown.lost(&mut reader);
    println!("in a kernel: told to be lost after {reported:.1?}, to have ended after {ended:.1?}");
    let Error::PeerLost { owed, frame, .. } = &error else { panic!("{error}") };
    assert_eq!((*owed, *frame), (1, shown.last.map(|(frame, _)| frame)), "{error}");
    assert!(ended < HALF, "told after {ended:?}");
    std::thread::sleep(Rig::MOMENT);
    assert_eq!(shown.read(&mut reader), Some((1 << 20) + 4), "half a frame is shown");

    let _next = start(&shown.scene.path(), Behavior::Runs, 2);
    reader.reconnect(shown.scene.accept()).unwrap();
    shown.read_until(&mut reader, (2 << 20) + 50);
    shown.assert_right();
    reader.close().unwrap();
}

/// Neither end of the connection waits for a kernel of another process.
#[test]
fn nothing_waits_for_a_kernel_at_the_end() {
    let Some(mut shown) = Shown::new() else { return };
    for stopped in [false, true] {
        let (mut worker, mut reader) = shown.with(Behavior::Hangs, 1 + u32::from(stopped));
        worker.wait_for_state();
        shown.read_until(&mut reader, 1 << 20);
        if stopped {
            worker.signal(Signal::STOP);
        }
        let start = Instant::now();
        reader.close().unwrap();
        assert!(start.elapsed() < HALF, "closing took {:?}, stopped: {stopped}", start.elapsed());
        // The next exchange counts its frames from 0.
        shown.last = None;
    }
    shown.assert_right();
}

#[test]
fn a_worker_that_fails_tears_its_frame_and_no_other() {
    // The fault outlives the process: other programs may be unable to render afterwards.
    if std::env::var_os("BRIDGE_TEST_GPU_FAULTS").is_none() {
        return skip(Need::Other, "it faults the GPU; set BRIDGE_TEST_GPU_FAULTS=1 to run it");
    }
    let Some(mut shown) = Shown::new() else { return };
    let (mut worker, mut reader) = shown.with(Behavior::Faults, 1);
    worker.wait_for_state();
    shown.read_until(&mut reader, (1 << 20) + 4);
    std::thread::sleep(Rig::MOMENT);
    assert_eq!(shown.read(&mut reader), Some((1 << 20) + 4), "a torn frame is shown");
    worker.kill();
    shown.lost(&mut reader);
    let _next = start(&shown.scene.path(), Behavior::Runs, 2);
    reader.reconnect(shown.scene.accept()).unwrap();
    shown.read_until(&mut reader, (2 << 20) + 5);
    shown.assert_right();
}

/// A worker that has closed the exchange has released its slots, regardless of its process; a
/// worker that was disconnected has not.
#[test]
fn a_live_worker_keeps_its_slots_unless_it_has_closed_the_exchange() {
    let Some(mut shown) = Shown::new() else { return };
    let info = LatestInfo { timeout: Duration::from_secs(3), ..Scene::info() };
    let first = start(&shown.scene.path(), Behavior::Leaves, 1);
    let mut reader = shown.scene.accept().latest(&info, Scene::spec()).unwrap();
    let begun = Instant::now();
    while reader.check_worker().is_ok() {
        shown.read(&mut reader);
        assert!(begun.elapsed() < Rig::LONG, "it does not leave");
    }
    let mut second = start(&shown.scene.path(), Behavior::Runs, 2);
    reader.reconnect(shown.scene.accept()).unwrap();
    shown.read_until(&mut reader, (2 << 20) + 5);
    drop(first);

    // A worker that is notified leaves by itself.
    second.signal(Signal::STOP);
    reader.disconnect();
    let third = start(&shown.scene.path(), Behavior::Runs, 3);
    reader.reconnect(shown.scene.accept()).unwrap();
    let begun = Instant::now();
    let error = loop {
        match reader.check_worker() {
            Err(error) => break error.to_string(),
            Ok(()) => assert!(begun.elapsed() < Rig::LONG, "a worker has slots that another may write to"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let reported = format!("worker process {}, which was lost or disconnected", second.pid());
    assert!(error.contains(&reported) && error.contains("may still use its slots"), "{error}");
    drop(third);
    second.kill();
    let _fourth = start(&shown.scene.path(), Behavior::Runs, 4);
    reader.reconnect(shown.scene.accept()).unwrap();
    shown.read_until(&mut reader, (4 << 20) + 5);
    shown.assert_right();
}

#[test]
fn buffers_and_images_of_a_slot_are_of_one_frame() {
    let Some(shown) = Shown::new() else { return };
    let scene = &shown.scene;
    let mut worker = start(&scene.path(), Behavior::WritesBoth, 1);
    let image = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [37, 21], ImageAccess::TRANSFER_READ);
    let spec = (BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ), image);
    let mut reader = scene.accept().latest(&Scene::info(), spec).unwrap();
    worker.wait_for_state();
    let readback = Readback::new(scene.rig.device(), 1 << 20);
    let begun = Instant::now();
    let mut frames = Vec::new();
    while frames.len() < 200 {
        assert!(begun.elapsed() < Rig::LONG, "only frames {frames:?}");
        let Some(turn) = reader.newest().unwrap() else { continue };
        let frame = turn.frame();
        let (buffer, image) = turn.resources();
        let images = [(image.as_raw(), image.layout(), [37, 21])];
        let commands = readback.record_read_all(&turn, &[(buffer.as_raw(), LEN as u64 * 4)], &images);
        // SAFETY: the commands begin with the turn's barriers; `readback` waits for them below.
        #[allow(unsafe_code)]
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        readback.note(point.clone());
        point.wait(Rig::LONG).unwrap();
        let words = readback.words();
        let (first, texels) = (words[0], &words[LEN..LEN + 37 * 21]);
        assert!(
            words[..LEN].iter().zip(first..).all(|(word, expected)| *word == expected),
            "frame {frame}: {first:#x}"
        );
        let other = texels.iter().find(|texel| **texel != first);
        assert_eq!(other, None, "frame {frame}: the buffer is of {first:#x}, and the image is not");
        frames.push(frame);
        frames.dedup();
    }
}

#[test]
fn a_cpu_worker_does_not_replace_a_cuda_worker() {
    let Some(mut shown) = Shown::new() else { return };
    let (mut worker, mut reader) = shown.with(Behavior::Idles, 1);
    worker.wait_for_state();
    shown.read_until(&mut reader, (1 << 20) + 4);
    worker.kill();
    shown.lost(&mut reader);
    let _other = Worker::start(&shown.scene.path(), crate::worker::Behavior::Runs, 2);
    let error = reader.reconnect(shown.scene.accept()).unwrap_err().to_string();
    assert!(error.contains("for workers with Cuda, but the next one uses Host"), "{error}");
    // This process does not compute.
    let compute = reader.compute();
    for error in [
        compute.load("probe", bridge_tests::PROBE).map(drop).unwrap_err(),
        compute.kernel_memory("numbers", &[1u32]).map(drop).unwrap_err(),
        bridge::Exchange::new(compute, &Default::default(), Scene::spec()).map(drop).unwrap_err(),
    ] {
        assert!(error.to_string().contains("a worker in another process"), "{error}");
    }
}

/// Memory of a GPU that CUDA does not see can be imported, but its timelines cannot: the worker
/// reports this, and the renderer continues with the next worker.
#[test]
fn a_worker_that_sees_only_another_gpu_gets_an_explanation() {
    let scene = Scene::new();
    let Some(other) = Peers::Other.devices(scene.rig.device()) else { return };
    let visible = format!("GPU-{}", other[0].uuid());
    let _worker = start_with(&scene.path(), Behavior::Runs, 1, |program| program.env("CUDA_VISIBLE_DEVICES", visible));
    let refused = scene.accept().latest(&Scene::info(), Scene::spec()).unwrap_err().to_string();
    assert!(refused.contains("which CUDA does not see"), "{refused}");
    let _next = start(&scene.path(), Behavior::Runs, 2);
    scene.accept().latest(&Scene::info(), Scene::spec()).unwrap().close().unwrap();
}

#[test]
fn more_slots_than_the_protocol_allows_are_refused() {
    let Some(shown) = Shown::new() else { return };
    let _worker = start(&shown.scene.path(), Behavior::Runs, 1);
    let info = LatestInfo { slots: Some(65), ..Scene::info() };
    let remote = shown.scene.accept();
    assert_eq!((remote.backend(), remote.is_on_another_gpu()), (Backend::Cuda, false));
    let error = remote.latest(&info, Scene::spec()).unwrap_err().to_string();
    assert!(error.contains("65 slots") && error.contains("at most 64"), "{error}");
}

/// CUDA is allowed only if the device exports the required memory and semaphores.
#[test]
fn an_offer_says_whether_cuda_is_allowed() {
    let scene = Scene::new();
    let exports = scene.rig.device().require_export("workers").is_ok();
    let path = scene.path();
    let asked = std::thread::spawn(move || {
        let connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
        let hello = connection.peer_hello().cloned().unwrap();
        (hello.cuda, hello.host)
    });
    // The worker disconnects without sending a Hello.
    scene.listener.accept(scene.rig.device(), Rig::LONG).unwrap_err();
    assert_eq!(asked.join().unwrap(), (exports, true));
}

#[test]
fn the_remote_backend_cannot_be_requested() {
    let scene = Scene::new();
    let error = Compute::new(scene.rig.device(), Backend::Remote).unwrap_err().to_string();
    assert!(error.contains("`Remote::latest`"), "{error}");
    assert!("remote".parse::<Backend>().is_err());
    assert_eq!(Backend::Remote.to_string(), "remote");
}
