//! Features of adopted devices for engines: handles of other bindings, required features,
//! additional queues, release, memory use and layouts. A single test, see `Rig`.
#![allow(unsafe_code, clippy::unwrap_used)] // The engine.

use std::ffi::c_void;

use bridge::ash::vk;
use bridge::ash::vk::Handle as _;
use bridge::cuda_import::cudarc;
use bridge::vk_export::{
    AdoptInfo, Block, BlockInfo, Error, ExportDevice, OptionalKind, Placement, requirements_for, requirements_for_raw,
};
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, LatestInfo, QueueKind,
    RawHandles, SharedPool, SharedPoolInfo, required_device_extensions,
};
use bridge_tests::{Commands, Engine, Filler, Readback, Rig, case_on, take_submissions};

const LEN: usize = 1024;

#[test]
fn an_engine_embeds_the_bridge() {
    handles_of_other_bindings_are_adopted();
    null_handles_are_refused_by_name();
    features_to_enable_are_those_of_the_device();
    a_device_in_use_cannot_be_released();
    for placement in [Placement::Exportable, Placement::DeviceLocal, Placement::HostVisible] {
        a_block_is_no_clone(placement);
    }
    for backend in [Backend::Host, Backend::Cuda] {
        frames_go_through_a_further_queue(backend);
        allocated_bytes_are_those_of_shared_resources(backend);
        images_are_lent_in_the_layout_that_was_fixed(backend);
    }
    the_engines_cuda_context_stays_current(Backend::Cuda);
}

/// Returns the engine's handles, as a program without this version of ash has them.
fn raw(engine: &Engine) -> (*const c_void, RawHandles) {
    let info = engine.info();
    let handles = RawHandles {
        instance: info.instance.handle().as_raw(),
        api_version: info.api_version,
        physical_device: info.physical_device.as_raw(),
        device: info.device.handle().as_raw(),
        queue: info.queue.as_raw(),
        queue_family: info.queue_family,
    };
    (info.entry.static_fn().get_instance_proc_addr as *const c_void, handles)
}

fn handles_of_other_bindings_are_adopted() {
    let engine = Engine::new(None);
    let (load, handles) = raw(&engine);
    // SAFETY: the engine's own handles, and its loader's function.
    let mut info = unsafe { AdoptInfo::from_raw(load, &handles) }.unwrap();
    // All missing features are reported in one error, as with `AdoptInfo::new`. SAFETY: as above.
    let bare = unsafe { AdoptInfo::from_raw(load, &handles) }.unwrap();
    // SAFETY: as above.
    let error = unsafe { ExportDevice::adopt(bare) }.unwrap_err().to_string();
    assert!(error.contains("timelineSemaphore") && error.contains("synchronization2"), "{error}");
    let extensions: Vec<_> = engine.info().device_extensions.to_vec();
    info.device_extensions = &extensions;
    info.features = engine.info().features;
    // SAFETY: as above.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(&compute, &ExchangeInfo::default(), spec).unwrap();
    let mut turn = exchange.begin().unwrap();
    Filler::new(&compute).fill(&mut turn, 7);
    let turn = turn.finish().unwrap();
    assert_eq!(turn.resources().usage(), vk::BufferUsageFlags::TRANSFER_SRC);
    assert_eq!(turn.read_back(Rig::LONG).unwrap(), Filler::pattern(LEN, 7));
}

fn null_handles_are_refused_by_name() {
    let engine = Engine::new(None);
    let (load, handles) = raw(&engine);
    let nulls = RawHandles { device: 0, queue: 0, ..handles };
    // SAFETY: the engine's own handles; those that are null are refused.
    let error = unsafe { AdoptInfo::from_raw(load, &nulls) }.err().unwrap().to_string();
    assert!(error.contains("device, queue must not be null"), "{error}");
    let mut info = engine.info();
    info.queue = vk::Queue::null();
    info.physical_device = vk::PhysicalDevice::null();
    let more = [(vk::Queue::null(), 0)];
    info.additional_queues = &more;
    // SAFETY: as above.
    let error = unsafe { ExportDevice::adopt(info) }.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("physical_device, queue, a queue of additional_queues must not be null"), "{error}");
}

fn features_to_enable_are_those_of_the_device() {
    let engine = Engine::new(None);
    let info = engine.info();
    let of = |version| {
        // SAFETY: the engine's own handles. The instance was created with Vulkan 1.3, which
        // includes the older versions.
        unsafe { requirements_for(&info.instance, version, info.physical_device) }.unwrap()
    };
    let needed = of(vk::API_VERSION_1_3);
    needed.check_met().unwrap();
    assert!(needed.is_met() && needed.missing.is_empty());
    assert!(needed.features.timeline_semaphore && needed.features.synchronization2);
    let has = |name: &&std::ffi::CStr| needed.physical.has_extension(name);
    assert!(needed.extensions.iter().all(has), "nothing that the device lacks");
    let lacking: Vec<_> =
        required_device_extensions(vk::API_VERSION_1_3).filter(|name| !needed.extensions.contains(name)).collect();
    for name in lacking {
        let found = needed.optional.iter().find(|one| one.kind == OptionalKind::Extension(name)).unwrap();
        assert!(!found.is_supported && !found.purpose.is_empty(), "{found}");
    }
    for one in &needed.optional {
        if let OptionalKind::Extension(name) = one.kind {
            assert_eq!(one.is_supported, needed.physical.has_extension(name), "{one}");
        }
    }
    let (load, raw) = raw(&engine);
    // SAFETY: as above, with the engine's own loader.
    let same = unsafe { requirements_for_raw(load, (raw.instance, raw.api_version), raw.physical_device) }.unwrap();
    assert_eq!((same.extensions, same.optional), (needed.extensions.clone(), needed.optional.clone()));
    // An instance of an old version cannot be used, whatever the device supports.
    let error = of(vk::API_VERSION_1_1).check_met().unwrap_err().to_string();
    assert!(error.contains("Vulkan 1.2 (it has 1.1)"), "{error}");
    // Adopting accepts exactly the published requirements.
    let mut adopted = engine.info();
    adopted.device_extensions = &needed.extensions;
    adopted.features = needed.features;
    // SAFETY: the engine's own handles; the engine enabled the same.
    unsafe { ExportDevice::adopt(adopted) }.unwrap();
}

fn a_device_in_use_cannot_be_released() {
    let engine = Engine::new(None);
    // SAFETY: the engine's own handles, which outlive the function.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
    let info = ExchangeInfo { name: "vertices", slots: 2, ..Default::default() };
    let exchange = Exchange::new(&compute, &info, spec).unwrap();
    let in_use = device.try_release().unwrap_err();
    let named = |what: &str| in_use.alive.iter().filter(|one| one.contains(what)).count();
    assert_eq!(named("buffer \"vertices"), 2, "{:?}", in_use.alive);
    assert!(named("timeline \"vertices") == 2, "both timelines: {:?}", in_use.alive);
    assert!(in_use.clones >= 1, "the compute side's: {}", in_use.clones);
    assert!(in_use.to_string().contains("buffer \"vertices"), "{in_use}");

    drop(exchange);
    let in_use = in_use.device.try_release().unwrap_err();
    assert!(in_use.alive.is_empty() && in_use.clones >= 1, "{in_use}");
    assert!(in_use.to_string().contains("compute sides"), "{in_use}");
    drop(compute);
    // The CPU backend's thread ends shortly after it is stopped.
    let (mut device, end) = (in_use.device, std::time::Instant::now() + Rig::LONG);
    while let Err(in_use) = device.try_release() {
        assert!(std::time::Instant::now() < end, "{in_use}");
        device = in_use.device;
        std::thread::yield_now();
    }
    // A device that the bridge opened is destroyed.
    Rig::open_own().try_release().unwrap();
}

/// An object created from a device is reported by its name, and does not count as a clone as well.
fn a_block_is_no_clone(placement: Placement) {
    let device = Rig::open_own();
    let usage = BufferAccess::TRANSFER_READ.usage;
    let block = match Block::new(&device, &BlockInfo { name: "slab", size: 64, usage, placement }) {
        Ok(block) => block,
        // A software driver exports nothing; the one on the double does.
        Err(error) => return assert!(placement == Placement::Exportable, "{error}"),
    };
    let in_use = device.try_release().unwrap_err();
    assert_eq!((in_use.alive.len(), in_use.clones), (1, 0), "{placement:?}: {in_use}");
    drop(block);
    in_use.device.try_release().unwrap();
}

fn frames_go_through_a_further_queue(backend: Backend) {
    let engine = Engine::with_second_queue();
    let mut info = engine.info();
    let (main, further) = (info.queue, engine.second_queue());
    let more = [(further, info.queue_family)];
    info.additional_queues = &more;
    // SAFETY: the engine's own handles, which outlive the function.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let Some(compute) = case_on(&device, backend, "frames_go_through_a_further_queue") else { return };
    let queue = device.queue_of(QueueKind::Additional(0)).unwrap();
    assert_eq!((queue.family(), queue.stages()), (device.queue().family(), device.queue().stages()));
    let info = |queue| ExchangeInfo { name: "further", queue, timeout: Rig::LONG, ..Default::default() };
    let spec = || BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ | BufferAccess::VERTEX_INPUT);
    let error = Exchange::new(&compute, &info(QueueKind::Additional(1)), spec()).unwrap_err().to_string();
    assert!(error.contains("has no additional (1) queue"), "{error}");
    let (filler, readback) = (Filler::new(&compute), Readback::new(&device, 4 * LEN as u64));
    // Frames of the main queue, as a control, are submitted to that one only.
    for (kind, queue) in [(QueueKind::Additional(0), further), (QueueKind::Graphics, main)] {
        let mut exchange = Exchange::new(&compute, &info(kind), spec()).unwrap();
        assert_eq!(exchange.queue().with(|queue| queue).unwrap(), queue);
        take_submissions();
        for frame in 0..4 {
            let mut turn = exchange.begin().unwrap();
            filler.fill(&mut turn, frame);
            let turn = turn.finish().unwrap();
            let source = (turn.resources().as_raw(), 4 * LEN as u64);
            assert_eq!(readback.run(turn, &[source]), Filler::pattern(LEN, frame));
        }
        assert_eq!(take_submissions(), [queue; 4], "{kind:?} of {main:?} and {further:?}");
        exchange.close().unwrap();
    }
}

fn allocated_bytes_are_those_of_shared_resources(backend: Backend) {
    let engine = Engine::new(None);
    // SAFETY: the engine's own handles, which outlive the function.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    let Some(compute) = case_on(&device, backend, "allocated_bytes_are_those_of_shared_resources") else { return };
    let before = device.allocated_bytes();
    let spec = BufferSpec::<u32>::new(1 << 20, BufferAccess::TRANSFER_READ);
    let exchange = Exchange::new(&compute, &ExchangeInfo { slots: 3, ..Default::default() }, spec).unwrap();
    let with = device.allocated_bytes();
    assert_eq!(with.allocations - before.allocations, 3);
    assert!(with.total - before.total >= 3 * (4 << 20), "{with:?}");
    assert_eq!(with.total, with.by_heap.iter().sum::<u64>());
    let pool = SharedPool::new(&compute, &SharedPoolInfo { name: "pool", ..Default::default() }).unwrap();
    let info = ExchangeInfo { slots: 3, pool: Some(&pool), ..Default::default() };
    let pooled = Exchange::new(&compute, &info, BufferSpec::<u32>::new(16, BufferAccess::TRANSFER_READ)).unwrap();
    assert_eq!(device.allocated_bytes().allocations - with.allocations, 1, "one block");
    drop((exchange, pooled, pool));
    let end = std::time::Instant::now() + Rig::LONG;
    while device.allocated_bytes() != before {
        assert!(std::time::Instant::now() < end, "{:?} are left of {before:?}", device.allocated_bytes());
        std::thread::yield_now();
    }
}

/// An engine with its own CUDA contexts finds the same context current after every operation of the
/// bridge, including drops.
fn the_engines_cuda_context_stays_current(backend: Backend) {
    let engine = Engine::new(None);
    // SAFETY: the engine's own handles, which outlive the function.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    let Some(compute) = case_on(&device, backend, "the_engines_cuda_context_stays_current") else { return };
    let current = || cudarc::driver::result::ctx::get_current().unwrap();
    // SAFETY: null means no context, which is the initial state of a thread.
    unsafe { cudarc::driver::result::ctx::set_current(std::ptr::null_mut()) }.unwrap();
    let spec = || BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(&compute, &ExchangeInfo::default(), spec()).unwrap();
    exchange.begin().unwrap().skip().unwrap();
    assert_eq!(current(), None, "after a frame");
    exchange.close().unwrap();
    assert_eq!(current(), None, "after an exchange was closed");
    // Both halves of this exchange have their own streams.
    drop(Exchange::latest(&compute, &LatestInfo::default(), spec()).unwrap());
    assert_eq!(current(), None, "after an exchange with a stream of its own was dropped");
    drop(compute);
    assert_eq!(current(), None, "after the compute side was dropped");
}

/// For an engine that keeps all its images in one layout, images are lent in that layout and
/// returned in it, whatever their use implies.
fn images_are_lent_in_the_layout_that_was_fixed(backend: Backend) {
    let engine = Engine::new(None);
    // SAFETY: the engine's own handles, which outlive the function.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    let Some(compute) = case_on(&device, backend, "images_are_lent_in_the_layout_that_was_fixed") else { return };
    let access = ImageAccess::TRANSFER_READ.in_layout(vk::ImageLayout::GENERAL);
    let spec = ImageSpec::<u32>::new(vk::Format::R32_UINT, [16, 16], access);
    let info = ExchangeInfo { name: "fixed", timeout: Rig::LONG, ..Default::default() };
    let mut exchange = Exchange::new(&compute, &info, spec).unwrap();
    exchange.initialize().unwrap();
    let commands = Commands::new(&device);
    for _ in 0..3 {
        let turn = exchange.begin().unwrap().finish().unwrap();
        let image = turn.resources();
        assert_eq!((image.layout(), image.accesses()), (vk::ImageLayout::GENERAL, access));
        assert!(image.usage().contains(vk::ImageUsageFlags::TRANSFER_SRC));
        // The validation layer tracks the layouts through the barriers.
        let recorded = commands.record(&turn, |_| {});
        // SAFETY: recorded with the turn's barriers; waited for.
        unsafe { turn.submit(&[recorded]) }.unwrap().wait(Rig::LONG).unwrap();
    }
    exchange.close().unwrap();
    // A layout that the usage does not allow is refused before Vulkan sees it.
    let wrong = ImageAccess::TRANSFER_READ.in_layout(vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL);
    let spec = ImageSpec::<u32>::new(vk::Format::R32_UINT, [16, 16], wrong);
    let error = Exchange::new(&compute, &info, spec).unwrap_err().to_string();
    assert!(error.contains("COLOR_ATTACHMENT_OPTIMAL"), "{error}");
}
