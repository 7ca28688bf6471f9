//! Images in step, on the device of an engine, which hands its images over and submits frames
//! itself.

use bridge::vk_export::ExportDevice;
use bridge::vk_export::ash::vk;
use bridge::{Error, ExchangeInfo, ImageAccess, ImageSpec, Listener};
use bridge_tests::{Engine, Rig};
use bridge_worker::bridge_ipc::Backend;
use bridge_worker::{Image, Work, Worker};

use crate::step_worker::info;
use crate::steps::accept_on;

/// Writes frames of 16 x 16 texels, each with the number of its frame, until the renderer has
/// ended.
fn work(path: &std::path::Path) {
    let worker = Worker::connect_with(path, &info(Backend::Host)).unwrap();
    let mut exchange = worker.exchange::<Image<f32>>("steps").unwrap();
    while let Ok(mut turn) = exchange.begin() {
        if turn.announce().is_err() {
            return;
        }
        let texels = [turn.frame() as f32; 256];
        let Work::Host(mut host) = turn.work() else { panic!("it computes with CUDA") };
        host.resources.write_from(0, 0, &texels).unwrap();
        if turn.finish().is_err() {
            return;
        }
    }
}

#[test]
fn an_engine_hands_its_images_over_and_loses_no_frame() {
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
    let path = listener.path().to_owned();
    let worker = std::thread::spawn(move || work(&path));
    let spec = ImageSpec::<f32>::new(vk::Format::R32_SFLOAT, [16, 16], ImageAccess::TRANSFER_READ);
    let exchange = ExchangeInfo { name: "steps", timeout: Rig::LONG, ..Default::default() };
    let mut steps = accept_on(&listener, &device, true).exchange(&exchange, spec).unwrap();
    assert!(steps.needs_initial());
    assert!(steps.next(Rig::MOMENT).unwrap().is_none(), "a slot is given before its image is there");
    steps.initialize().unwrap();
    for frame in 0..20u64 {
        let turn = steps.next(Rig::LONG).unwrap().unwrap();
        assert_eq!((turn.frame(), turn.read_back(Rig::LONG).unwrap()), (frame, vec![frame as f32; 256]));
    }
    // A lent turn returns its slot: immediately if it was not submitted, after a flush if it was
    // leaked.
    let lent = steps.next(Rig::LONG).unwrap().unwrap().lend().unwrap();
    // SAFETY: nothing was submitted.
    #[allow(unsafe_code)]
    unsafe {
        lent.not_submitted();
    }
    drop(steps.next(Rig::LONG).unwrap().unwrap().lend().unwrap());
    for frame in 22..30u64 {
        let turn = steps.next(Rig::LONG).unwrap().unwrap();
        assert_eq!((turn.frame(), turn.read_back(Rig::LONG).unwrap()), (frame, vec![frame as f32; 256]));
    }
    steps.disconnect();
    assert!(matches!(steps.check_worker(), Err(Error::PeerLost { dead: false, .. })));
    steps.close().unwrap();
    worker.join().unwrap();
    engine.assert_silent();
}
