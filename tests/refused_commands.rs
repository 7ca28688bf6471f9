//! If a queue refuses a submission, no command pool is leaked, and no buffer of uploads and
//! read-backs. A single test, because the device's functions are replaced.
#![allow(unsafe_code, clippy::unwrap_used)] // Replaced Vulkan functions.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bridge::ash::vk;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, KernelMemory, QueueKind, RenderTurn};
use bridge_tests::{Engine, Need, Rig, skip_case};

/// `true` if `vkQueueSubmit2` fails.
static REFUSES: AtomicBool = AtomicBool::new(false);
static POOLS_CREATED: AtomicUsize = AtomicUsize::new(0);
static POOLS_DESTROYED: AtomicUsize = AtomicUsize::new(0);
static BUFFERS_CREATED: AtomicUsize = AtomicUsize::new(0);
static BUFFERS_DESTROYED: AtomicUsize = AtomicUsize::new(0);
static SUBMISSIONS: AtomicUsize = AtomicUsize::new(0);

static SUBMIT: Mutex<Option<vk::PFN_vkQueueSubmit2>> = Mutex::new(None);
static CREATE_POOL: Mutex<Option<vk::PFN_vkCreateCommandPool>> = Mutex::new(None);
static DESTROY_POOL: Mutex<Option<vk::PFN_vkDestroyCommandPool>> = Mutex::new(None);
static CREATE_BUFFER: Mutex<Option<vk::PFN_vkCreateBuffer>> = Mutex::new(None);
static DESTROY_BUFFER: Mutex<Option<vk::PFN_vkDestroyBuffer>> = Mutex::new(None);

unsafe extern "system" fn submit(
    queue: vk::Queue,
    count: u32,
    batches: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    if REFUSES.load(Ordering::Relaxed) {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    SUBMISSIONS.fetch_add(1, Ordering::Relaxed);
    let real = SUBMIT.lock().unwrap().unwrap();
    // SAFETY: forwarded to the real function.
    unsafe { real(queue, count, batches, fence) }
}

unsafe extern "system" fn create_pool(
    device: vk::Device,
    info: *const vk::CommandPoolCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    pool: *mut vk::CommandPool,
) -> vk::Result {
    POOLS_CREATED.fetch_add(1, Ordering::Relaxed);
    let real = CREATE_POOL.lock().unwrap().unwrap();
    // SAFETY: forwarded to the real function.
    unsafe { real(device, info, allocator, pool) }
}

unsafe extern "system" fn destroy_pool(
    device: vk::Device,
    pool: vk::CommandPool,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    POOLS_DESTROYED.fetch_add(1, Ordering::Relaxed);
    let real = DESTROY_POOL.lock().unwrap().unwrap();
    // SAFETY: forwarded to the real function.
    unsafe { real(device, pool, allocator) };
}

unsafe extern "system" fn create_buffer(
    device: vk::Device,
    info: *const vk::BufferCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    buffer: *mut vk::Buffer,
) -> vk::Result {
    BUFFERS_CREATED.fetch_add(1, Ordering::Relaxed);
    let real = CREATE_BUFFER.lock().unwrap().unwrap();
    // SAFETY: forwarded to the real function.
    unsafe { real(device, info, allocator, buffer) }
}

unsafe extern "system" fn destroy_buffer(
    device: vk::Device,
    buffer: vk::Buffer,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    BUFFERS_DESTROYED.fetch_add(1, Ordering::Relaxed);
    let real = DESTROY_BUFFER.lock().unwrap().unwrap();
    // SAFETY: forwarded to the real function.
    unsafe { real(device, buffer, allocator) };
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    if name == c"vkQueueSubmit2" || name == c"vkQueueSubmit2KHR" {
        // SAFETY: the function of that name has this type.
        *SUBMIT.lock().unwrap() = Some(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkQueueSubmit2>(real) });
        return submit as *const c_void;
    }
    if name == c"vkCreateCommandPool" {
        // SAFETY: as above.
        let real = unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkCreateCommandPool>(real) };
        *CREATE_POOL.lock().unwrap() = Some(real);
        return create_pool as *const c_void;
    }
    if name == c"vkDestroyCommandPool" {
        // SAFETY: as above.
        let real = unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkDestroyCommandPool>(real) };
        *DESTROY_POOL.lock().unwrap() = Some(real);
        return destroy_pool as *const c_void;
    }
    if name == c"vkCreateBuffer" {
        // SAFETY: as above.
        let real = unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkCreateBuffer>(real) };
        *CREATE_BUFFER.lock().unwrap() = Some(real);
        return create_buffer as *const c_void;
    }
    if name == c"vkDestroyBuffer" {
        // SAFETY: as above.
        let real = unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkDestroyBuffer>(real) };
        *DESTROY_BUFFER.lock().unwrap() = Some(real);
        return destroy_buffer as *const c_void;
    }
    real
}

/// The queue lock of an engine that submits nothing itself.
struct Unlocked;

impl QueueLock for Unlocked {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

/// Returns the number of live command pools.
fn pools() -> usize {
    POOLS_CREATED.load(Ordering::Relaxed) - POOLS_DESTROYED.load(Ordering::Relaxed)
}

#[test]
fn refused_commands_are_freed() {
    // Never destroyed: NVIDIA's driver deadlocks if a device is destroyed while a thread that has
    // used Vulkan exits.
    let engine = std::mem::ManuallyDrop::new(Engine::new(Some(hook)));
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Unlocked));
    info.features.buffer_device_address = true;
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let host = Compute::new(&device, Backend::Host).unwrap();
    frames(&host);
    if device.has_buffer_device_address() {
        let (pools_before, buffers_before) = (pools(), buffers());
        memory(&Compute::inline(&device, QueueKind::Graphics).unwrap());
        assert_eq!((pools(), buffers()), (pools_before, buffers_before), "with the compute side all of it is gone");
    } else {
        skip_case(Need::Other, "kernel memory", "the device has no bufferDeviceAddress");
    }
    engine.assert_silent();
}

/// Runs `run_once` in both directions.
fn frames(compute: &Compute) {
    let (info, spec) = (ExchangeInfo::default(), || BufferSpec::<u32>::new(64, BufferAccess::TRANSFER_READ));
    let mut first = Exchange::new(compute, &info, spec()).unwrap();
    let mut second = Exchange::render_first(compute, &info, spec()).unwrap();
    let before = pools();
    for round in 0..3 {
        let turn = first.begin().unwrap().finish().unwrap();
        REFUSES.store(true, Ordering::Relaxed);
        // SAFETY: nothing is recorded.
        unsafe { turn.run_once(Rig::LONG, |_, _| {}) }.unwrap_err();
        REFUSES.store(false, Ordering::Relaxed);
        assert_eq!(pools(), before, "the compute side begins, round {round}");
        let turn = second.begin().unwrap();
        REFUSES.store(true, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { turn.run_once(Rig::LONG, |_, _| {}) }.unwrap_err();
        REFUSES.store(false, Ordering::Relaxed);
        assert_eq!(pools(), before, "Vulkan begins, round {round}");
    }
    let before = (pools(), buffers());
    for round in 0..3 {
        let turn = (first.begin().or_else(|_| first.begin())).unwrap().finish().unwrap();
        REFUSES.store(true, Ordering::Relaxed);
        turn.read_back(Rig::LONG).unwrap_err();
        REFUSES.store(false, Ordering::Relaxed);
        assert_eq!((pools(), buffers()), before, "reading back, round {round}");
    }
    first.close().unwrap();
    second.close().unwrap();
}

/// Returns the number of live buffers.
fn buffers() -> usize {
    BUFFERS_CREATED.load(Ordering::Relaxed) - BUFFERS_DESTROYED.load(Ordering::Relaxed)
}

/// Computes a frame in which the memory is copied to the slot.
fn frame(
    exchange: &mut Exchange<BufferSpec<u32>>,
    memory: &KernelMemory<u32>,
) -> bridge::Result<RenderTurn<BufferSpec<u32>>> {
    let device = exchange.compute().device().clone();
    let mut turn = exchange.begin()?;
    let work = turn.work().kernels()?;
    let (from, to) = (memory.as_raw().unwrap(), work.resources.as_raw().unwrap());
    let record = |commands| {
        let region = [vk::BufferCopy::default().size(4 * memory.len() as u64)];
        let barrier = |from, to| {
            let barrier = [vk::MemoryBarrier2::default()
                .src_stage_mask(from)
                .src_access_mask(vk::AccessFlags2::MEMORY_WRITE)
                .dst_stage_mask(to)
                .dst_access_mask(vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE)];
            let dependency = vk::DependencyInfo::default().memory_barriers(&barrier);
            // SAFETY: recording, outside a render pass.
            unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
        };
        barrier(vk::PipelineStageFlags2::COMPUTE_SHADER, vk::PipelineStageFlags2::ALL_TRANSFER);
        // SAFETY: recording; both have the same size, and live until the frame is read back.
        unsafe { device.as_raw().cmd_copy_buffer(commands, from, to, &region) };
        barrier(vk::PipelineStageFlags2::ALL_TRANSFER, vk::PipelineStageFlags2::COMPUTE_SHADER);
    };
    // SAFETY: the copy has barriers from and to the surrounding commands.
    unsafe { work.record(record) }?;
    turn.finish()
}

/// The copy of the initial contents is recorded but not submitted, runs with the first frame that
/// is not refused, and its source is freed after that.
fn memory(compute: &Compute) {
    let (pools_before, buffers_before) = (pools(), buffers());
    let (info, spec) = (ExchangeInfo::default(), BufferSpec::<u32>::new(64, BufferAccess::TRANSFER_READ));
    let mut exchange = Exchange::new(compute, &info, spec).unwrap();
    let with_slots = buffers();
    let contents: Vec<u32> = (0..64).collect();
    let submissions = SUBMISSIONS.load(Ordering::Relaxed);
    let make = || compute.kernel_memory("state", &contents).unwrap();
    let state = compute.device().queue().with(|_| make()).unwrap();
    assert_eq!(buffers(), with_slots + 2, "the memory, and what it is copied from");
    assert_eq!(SUBMISSIONS.load(Ordering::Relaxed), submissions);
    REFUSES.store(true, Ordering::Relaxed);
    // SAFETY: nothing is recorded.
    unsafe { frame(&mut exchange, &state).unwrap().run_once(Rig::LONG, |_, _| {}) }.unwrap_err();
    REFUSES.store(false, Ordering::Relaxed);
    // The lost frame is reported once.
    let turn = frame(&mut exchange, &state).or_else(|_| frame(&mut exchange, &state)).unwrap();
    assert_eq!(turn.read_back(Rig::LONG).unwrap(), contents);
    assert_eq!(frame(&mut exchange, &state).unwrap().read_back(Rig::LONG).unwrap(), contents, "again");
    assert_eq!(buffers(), with_slots + 1, "what it is copied from is freed once the copy has run");
    for round in 0..20 {
        let state = make();
        assert_eq!(frame(&mut exchange, &state).unwrap().read_back(Rig::LONG).unwrap(), contents, "round {round}");
        assert!(buffers() <= with_slots + 3, "round {round}: {} buffers", buffers() - with_slots);
    }
    drop(state);
    exchange.close().unwrap();
    assert_eq!(buffers(), buffers_before, "buffers");
    // Its copy is never submitted, so the memory is freed with the compute side.
    drop(make());
    assert_eq!(buffers(), buffers_before + 2);
    assert!(pools() <= pools_before + 8, "command buffers are used again: {}", pools() - pools_before);
}
