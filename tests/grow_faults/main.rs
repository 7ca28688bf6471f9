//! Every Vulkan call that replacing resources makes, and every one that the reader of a latest
//! exchange makes, fails once: the error is the driver's, the exchange continues with what it had,
//! nothing is leaked, and a second attempt works. The same is tested for each call that creates an
//! exchange; what its commands may still use is counted as leaked. The tests run one at a time,
//! because the device's functions are replaced.
#![allow(unsafe_code, clippy::unwrap_used)] // Stand-ins for Vulkan functions.

mod frames;
mod hook;
mod new;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bridge::ash::vk;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, LatestInfo,
    LatestReader, LiveObjects, QueueKind,
};
use bridge_tests::{Engine, Peers, Rig, case_on};
use frames::{Walked, work};
use hook::{arm, disarm, hook};

/// Makes the tests run one at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Needs no lock: the test is the engine's only thread.
struct Lock;

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

type Shared = (BufferSpec<u32>, Vec<ImageSpec<u32>>);

fn shared(len: usize, side: u32) -> Shared {
    let uses = BufferAccess::TRANSFER_READ | BufferAccess::TRANSFER_WRITE;
    let image = ImageSpec::new(vk::Format::R32_UINT, [side, side], ImageAccess::SAMPLED | ImageAccess::TRANSFER_READ);
    (BufferSpec::new(len, uses), vec![image; 2])
}

#[test]
fn every_call_may_fail() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Never destroyed: NVIDIA's driver deadlocks if a device is destroyed while a thread that has
    // used Vulkan exits.
    let engine = Box::leak(Box::new(Engine::new(Some(hook))));
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Lock));
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    // SAFETY: as above.
    let unlocked = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    let backends = [Backend::Host, Backend::Cuda].into_iter();
    let found = backends.filter_map(|backend| case_on(&device, backend, "every_call_may_fail"));
    let computes: Vec<_> = found.collect();
    for compute in &computes {
        let info = ExchangeInfo { name: "growing", slots: 2, timeout: Rig::LONG, ..Default::default() };
        walk(compute, &|compute| Exchange::new(compute, &info, shared(8, 4)).unwrap());
        walk(compute, &|compute| Exchange::render_first(compute, &info, shared(8, 4)).unwrap());
        walk_latest(compute);
    }
    // What these leak exists until the end.
    for compute in &computes {
        let info = ExchangeInfo { name: "first", slots: 2, timeout: Rig::LONG, ..Default::default() };
        new::walk_new(Some("vkWaitForFences"), &|| Exchange::new(compute, &info, shared(8, 4)));
        let engines = Compute::new(&unlocked, compute.backend()).unwrap();
        new::walk_new(None, &|| {
            let mut exchange = Exchange::new(&engines, &info, shared(8, 4))?;
            exchange.initialize()?;
            Ok(exchange)
        });
        new::walk_initialize(&engines, &|| Exchange::new(&engines, &info, shared(8, 4)).unwrap());
    }
    engine.assert_silent();
}

/// Work in command buffers: contents are copied by commands in the queue.
#[test]
fn every_call_may_fail_in_command_buffers() {
    on_an_engine(|device| Some(Compute::inline(device, QueueKind::Graphics).unwrap()));
}

/// The images are staged: they consist of rows for the other GPU and of the images themselves.
#[test]
fn every_call_may_fail_on_another_gpu() {
    on_an_engine(|device| on_peers(device, Peers::Other));
}

#[test]
fn every_call_may_fail_on_two_gpus() {
    on_an_engine(|device| on_peers(device, Peers::Both));
}

fn on_peers(device: &ExportDevice, peers: Peers) -> Option<Compute> {
    Some(Compute::group(device, &peers.devices(device)?).unwrap())
}

/// Walks the calls of a compute side on an engine's device, if there is one.
fn on_an_engine(make: impl FnOnce(&ExportDevice) -> Option<Compute>) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Never destroyed, as above.
    let engine = Box::leak(Box::new(Engine::new(Some(hook))));
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Lock));
    // The engine enables it if the device supports it; work in command buffers requires it.
    info.features.buffer_device_address = Rig::open_own().physical().buffer_device_address;
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let Some(compute) = make(&device) else { return };
    let info = ExchangeInfo { name: "growing", slots: 2, timeout: Rig::LONG, ..Default::default() };
    walk(&compute, &|compute| Exchange::new(compute, &info, shared(8, 4)).unwrap());
    walk(&compute, &|compute| Exchange::render_first(compute, &info, shared(8, 4)).unwrap());
    // Both sides of an exchange in command buffers are on one queue: none runs ahead of the other.
    if compute.backend() != Backend::Inline {
        walk_latest(&compute);
    }
    new::walk_new(Some("vkWaitForFences"), &|| Exchange::new(&compute, &info, shared(8, 4)));
    engine.assert_silent();
}

fn walk<D: Walked>(compute: &Compute, make: &dyn Fn(&Compute) -> Exchange<Shared, D>) {
    let mut called = BTreeSet::new();
    for call in 0.. {
        let before = LiveObjects::now();
        let mut exchange = make(compute);
        let alive = LiveObjects::now();
        for _ in 0..2 {
            D::frame(compute, &mut exchange, None);
        }
        arm(call, false);
        let replaced = exchange.replace(shared(16, 8));
        let hit = disarm();
        let Some(name) = hit else {
            replaced.unwrap();
            break;
        };
        called.insert(name);
        let error = replaced.expect_err(name).to_string();
        assert!(error.contains(name) || name == "vkMapMemory", "call {call}, {name}: {error}");
        let numbers = ["bytes requested from memory heap", "ask for less"];
        assert!(name != "vkAllocateMemory" || numbers.iter().all(|part| error.contains(part)), "{error}");
        assert_eq!((exchange.resources().0.len(), exchange.resources().1[0].extent()), (8, [4, 4, 1]));
        // The exchange continues with what it had, and a second attempt works.
        for _ in 0..2 {
            D::frame(compute, &mut exchange, Some(8));
        }
        exchange.replace(shared(16, 8)).expect(name);
        for _ in 0..2 {
            D::frame(compute, &mut exchange, Some(16));
        }
        let now = LiveObjects::now();
        assert_eq!(
            (now.timelines, now.leaked_buffers, now.leaked_images),
            (alive.timelines, before.leaked_buffers, before.leaked_images),
            "call {call}, {name}"
        );
        exchange.close().expect(name);
        assert_eq!(LiveObjects::now(), before, "call {call}, {name}");
    }
    let expected = ["vkAllocateMemory", "vkBindImageMemory", "vkCreateCommandPool", "vkQueueSubmit2"];
    assert!(expected.iter().all(|name| called.contains(name)), "{called:?}");
}

/// The reader's calls. A call that failed is repeated, and works.
fn walk_latest(compute: &Compute) {
    let mut called = BTreeSet::new();
    for call in 0.. {
        let before = LiveObjects::now();
        let info = LatestInfo { name: "newest", timeout: Rig::LONG, ..Default::default() };
        let (mut writer, mut reader) = Exchange::latest(compute, &info, shared(8, 4)).unwrap();
        let mut publish = || {
            let mut turn = writer.begin().unwrap();
            work(compute, turn.work(), None);
            turn.publish().unwrap().wait(Rig::LONG).unwrap();
        };
        arm(call, false);
        let mut errors = Vec::new();
        for _ in 0..2 {
            publish();
            let read = |reader: &mut LatestReader<Shared>| {
                let turn = reader.newest().unwrap().unwrap();
                assert!(turn.is_new(), "what was not submitted was not taken");
                // SAFETY: nothing is recorded.
                unsafe { turn.run_once(Rig::LONG, |_, _| {}) }
            };
            if let Err(error) = read(&mut reader) {
                errors.push(error.to_string());
                read(&mut reader).unwrap();
            }
            publish();
            drop(reader.newest().unwrap().unwrap().lend().unwrap());
            assert_eq!(reader.retired(), 2);
            if let Err(error) = reader.initialize() {
                errors.push(error.to_string());
                assert_eq!(reader.retired(), 2);
                reader.initialize().unwrap();
            }
            assert_eq!(reader.retired(), 0);
        }
        let hit = disarm();
        writer.close(reader).unwrap();
        assert_eq!(LiveObjects::now(), before, "call {call}, {hit:?}");
        let Some(name) = hit else {
            assert!(errors.is_empty(), "{errors:?}");
            break;
        };
        called.insert(name);
        assert!(errors.len() == 1 && errors[0].contains(name), "call {call}, {name}: {errors:?}");
    }
    let expected = ["vkBeginCommandBuffer", "vkCreateCommandPool", "vkEndCommandBuffer", "vkQueueSubmit2"];
    assert!(expected.iter().all(|name| called.contains(name)), "{called:?}");
}
