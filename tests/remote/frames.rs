//! Workers that stay alive.

use std::time::{Duration, Instant};

use bridge::vk_export::ExportDevice;
use bridge::vk_export::ash::vk;
use bridge::{Backend, BufferAccess, BufferSpec, ImageAccess, ImageSpec, Listener};
use bridge_tests::{Engine, Rig};
use rustix::process::Signal;

use crate::scene::Scene;
use crate::worker::{Behavior, LEN, Worker};

#[test]
fn frames_are_intact_and_never_older() {
    let mut scene = Scene::new();
    let (_worker, mut reader) = scene.with(Behavior::Runs, 1);
    scene.read_until(&mut reader, (1 << 20) + 60);
    reader.check_worker().unwrap();
    reader.close().unwrap();
}

/// A negative control: a worker that publishes half a frame is detected.
#[test]
fn a_torn_frame_is_detected() {
    let mut scene = Scene::new();
    let (_worker, mut reader) = scene.with(Behavior::PublishesHalves, 1);
    let read = std::panic::AssertUnwindSafe(|| scene.read_until(&mut reader, (1 << 20) + 1));
    let panic = std::panic::catch_unwind(read).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("is torn"), "{text}");
}

#[test]
fn all_resources_are_of_one_frame() {
    let scene = Scene::new();
    let mut worker = Worker::start(&scene.path(), Behavior::Idles, 1);
    let image = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [37, 21], ImageAccess::TRANSFER_READ);
    let spec = (BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ), image);
    let mut reader = scene.accept().latest(&Scene::info(), spec).unwrap();
    worker.wait_for_state();
    let start = Instant::now();
    while reader.newest().unwrap().is_none_or(|turn| turn.frame() == 0) {
        assert!(start.elapsed() < Rig::LONG, "the next frame does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
    let turn = reader.newest().unwrap().unwrap();
    let (buffer, image) = turn.resources();
    let readback = bridge_tests::Readback::new(scene.rig.device(), 1 << 20);
    let layout = image.layout();
    let images = [(image.as_raw(), layout, [37, 21])];
    let commands = readback.record_read_all(&turn, &[(buffer.as_raw(), LEN as u64 * 4)], &images);
    // SAFETY: the commands begin with the turn's barriers; `readback` waits for them below.
    #[allow(unsafe_code)]
    let point = unsafe { turn.submit(&[commands]) }.unwrap();
    readback.note(point.clone());
    point.wait(Rig::LONG).unwrap();
    let read = readback.words();
    let read = &read[..LEN + 37 * 21];
    assert!(read.iter().all(|word| *word == read[0]) && read[0] > 1 << 20, "{:#x} {:#x}", read[0], read[LEN]);
}

#[test]
fn a_worker_that_expects_something_else_refuses_the_offer() {
    let scene = Scene::new();
    let _worker = Worker::start(&scene.path(), Behavior::Refuses, 1);
    let error = scene.accept().latest(&Scene::info(), Scene::spec()).unwrap_err().to_string();
    assert!(error.contains("refuses it (Resource): expected floats"), "{error}");
}

#[test]
fn a_second_worker_has_its_own_exchange() {
    let mut scene = Scene::new();
    let (first, mut reader) = scene.with(Behavior::Runs, 1);
    let (second, mut other) = scene.with(Behavior::Runs, 2);
    scene.read_until(&mut reader, (1 << 20) + 10);
    let mut second_scene = None;
    let start = Instant::now();
    while second_scene.is_none() && start.elapsed() < Rig::LONG {
        second_scene = other.newest().unwrap().map(|turn| turn.read_back(Rig::LONG).unwrap()[0]);
    }
    assert_eq!(second_scene.unwrap() >> 20, 2);
    assert_eq!((reader.pid(), other.pid()), (first.pid(), second.pid()));
    // The exchange still has a worker.
    let _third = Worker::start(&scene.path(), Behavior::Runs, 3);
    let third = scene.accept();
    assert_eq!((third.backend(), third.is_on_another_gpu()), (Backend::Host, false));
    let error = reader.reconnect(third).unwrap_err().to_string();
    assert!(error.contains("`disconnect` it first"), "{error}");
    reader.check_worker().unwrap();
}

#[test]
fn a_stopped_worker_is_not_dead() {
    let mut scene = Scene::new();
    let (worker, mut reader) = scene.with(Behavior::Runs, 1);
    scene.read_until(&mut reader, (1 << 20) + 5);
    worker.signal(Signal::STOP);
    let (start, mut last) = (Instant::now(), None);
    for _ in 0..100 {
        last = scene.read(&mut reader);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(start.elapsed() < Rig::LONG, "the renderer waits for a stopped worker");
    reader.check_worker().unwrap();
    worker.signal(Signal::CONT);
    scene.read_until(&mut reader, last.unwrap() + 5);
    reader.check_worker().unwrap();
}

/// If an engine hands its images over late, it receives the frame that the worker wrote before, and
/// the worker is not notified.
#[test]
fn a_frame_waits_for_images_that_are_not_handed_over() {
    // Only one test at a time may count descriptors.
    let _alone = Rig::open();
    // Never destroyed: NVIDIA's driver deadlocks if a device is destroyed while a thread that has
    // used Vulkan exits.
    let engine = std::mem::ManuallyDrop::new(Engine::new(None));
    // SAFETY: the engine's own handles, which live forever.
    #[allow(unsafe_code)]
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("renderer")).unwrap();
    let (path, (done, until)) = (listener.path().to_owned(), std::sync::mpsc::channel::<()>());
    let (publish, published) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        let worker = bridge_worker::Worker::connect_with(&path, &crate::renderer::on_the_cpu()).unwrap();
        let mut writer = worker.latest::<bridge_worker::Image<f32>>("remote").unwrap();
        let mut turn = writer.begin().unwrap();
        let bridge_worker::Work::Host(mut host) = turn.work() else { panic!() };
        host.resources.write_from(0, 0, &[2.5; 256]).unwrap();
        turn.publish().unwrap();
        publish.send(()).unwrap();
        // Only this one frame.
        let _ = until.recv();
    });
    let remote = listener.accept(&device, Rig::LONG).unwrap().unwrap();
    let spec = ImageSpec::<f32>::new(vk::Format::R32_SFLOAT, [16, 16], ImageAccess::TRANSFER_READ);
    let mut reader = remote.latest(&Scene::info(), spec).unwrap();
    assert!(reader.needs_initial());
    published.recv_timeout(Rig::LONG).expect("the worker publishes nothing");
    reader.initialize().unwrap();
    let start = Instant::now();
    let turn = loop {
        match reader.newest().unwrap() {
            Some(turn) => break turn,
            None => assert!(start.elapsed() < Rig::LONG, "its frame is lost"),
        }
    };
    assert_eq!(turn.read_back(Rig::LONG).unwrap(), [2.5; 256]);
    reader.close().unwrap();
    drop(done);
    worker.join().unwrap();
    engine.assert_silent();
}
