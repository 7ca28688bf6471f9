//! Commands that a queue refuses leave no command pool behind. One test: the device's functions are stood in for.
#![allow(unsafe_code, clippy::unwrap_used)] // Stand-ins for Vulkan functions.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bridge::ash::vk;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, QueueKind};
use bridge_tests::{Engine, Need, Rig, skip_case};

/// Whether `vkQueueSubmit2` fails.
static REFUSES: AtomicBool = AtomicBool::new(false);
static POOLS_MADE: AtomicUsize = AtomicUsize::new(0);
static POOLS_DESTROYED: AtomicUsize = AtomicUsize::new(0);

static SUBMIT: Mutex<Option<vk::PFN_vkQueueSubmit2>> = Mutex::new(None);
static MAKE_POOL: Mutex<Option<vk::PFN_vkCreateCommandPool>> = Mutex::new(None);
static DESTROY_POOL: Mutex<Option<vk::PFN_vkDestroyCommandPool>> = Mutex::new(None);

unsafe extern "system" fn submit(
    queue: vk::Queue,
    count: u32,
    batches: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    if REFUSES.load(Ordering::Relaxed) {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    let real = SUBMIT.lock().unwrap().unwrap();
    // SAFETY: handed on.
    unsafe { real(queue, count, batches, fence) }
}

unsafe extern "system" fn make_pool(
    device: vk::Device,
    info: *const vk::CommandPoolCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    pool: *mut vk::CommandPool,
) -> vk::Result {
    POOLS_MADE.fetch_add(1, Ordering::Relaxed);
    let real = MAKE_POOL.lock().unwrap().unwrap();
    // SAFETY: handed on.
    unsafe { real(device, info, allocator, pool) }
}

unsafe extern "system" fn destroy_pool(
    device: vk::Device,
    pool: vk::CommandPool,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    POOLS_DESTROYED.fetch_add(1, Ordering::Relaxed);
    let real = DESTROY_POOL.lock().unwrap().unwrap();
    // SAFETY: handed on.
    unsafe { real(device, pool, allocator) };
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
        *MAKE_POOL.lock().unwrap() = Some(real);
        return make_pool as *const c_void;
    }
    if name == c"vkDestroyCommandPool" {
        // SAFETY: as above.
        let real = unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkDestroyCommandPool>(real) };
        *DESTROY_POOL.lock().unwrap() = Some(real);
        return destroy_pool as *const c_void;
    }
    real
}

/// Of an engine that submits nothing beside the bridge.
struct Alone;

impl QueueLock for Alone {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

/// Command pools that are alive.
fn pools() -> usize {
    POOLS_MADE.load(Ordering::Relaxed) - POOLS_DESTROYED.load(Ordering::Relaxed)
}

#[test]
fn refused_commands_are_freed() {
    // Never destroyed: NVIDIA's driver deadlocks when a device goes while a thread that has used Vulkan exits.
    let engine = std::mem::ManuallyDrop::new(Engine::new(Some(hook)));
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Alone));
    info.features.buffer_device_address = true;
    // SAFETY: the engine's own handles, which live for ever.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let host = Compute::new(&device, Backend::Host).unwrap();
    frames(&host);
    if device.has_buffer_device_address() {
        memory(&Compute::inline(&device, QueueKind::Graphics).unwrap());
    } else {
        skip_case(Need::Other, "kernel memory", "the device has no bufferDeviceAddress");
    }
    engine.assert_silent();
}

/// `run_once` in both directions.
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
    first.close().unwrap();
    second.close().unwrap();
}

/// The copy of the first contents.
fn memory(compute: &Compute) {
    let before = pools();
    let held = compute.device().queue().with(|_| compute.kernel_memory("state", &[1_u32; 64]).map(|_| ()));
    held.unwrap().unwrap_err();
    REFUSES.store(true, Ordering::Relaxed);
    compute.kernel_memory("state", &[1_u32; 64]).unwrap_err();
    REFUSES.store(false, Ordering::Relaxed);
    assert_eq!(pools(), before, "kernel memory");
    drop(compute.kernel_memory("state", &[1_u32; 64]).unwrap());
    assert_eq!(pools(), before, "kernel memory that was made");
}
