//! A device on which the creation of images and submissions fail, and which is lost, when a test
//! requests it.
#![allow(unsafe_code)] // Opens it, with stand-ins for functions of Vulkan's.

use std::ffi::c_void;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use ash::vk;
use wgpu::hal::api::Vulkan;

use crate::vulkan::{init, stand_in};

/// The number of the image, counted from the next, whose creation fails; 0 for none.
pub(super) static REFUSED: AtomicU32 = AtomicU32::new(0);
/// `true` if the bridge's submissions fail. wgpu's use `vkQueueSubmit` and do not.
pub(super) static FULL: AtomicBool = AtomicBool::new(false);
/// The number of the query of a semaphore's counter, counted from the next, that loses the device;
/// 0 for none.
pub(super) static LOOKS: AtomicU32 = AtomicU32::new(0);
/// `true` if the device is lost.
pub(super) static LOST: AtomicBool = AtomicBool::new(false);
/// `true` if no submission appears to end: counters stay 0, and waits time out at once.
pub(super) static STUCK: AtomicBool = AtomicBool::new(false);
/// The number of freed memory allocations.
pub(super) static FREED: AtomicU32 = AtomicU32::new(0);
/// The source and target images of each copy.
pub(super) static COPIES: Mutex<Vec<[vk::Image; 2]>> = Mutex::new(Vec::new());
/// The destroyed images.
pub(super) static DESTROYED: Mutex<Vec<vk::Image>> = Mutex::new(Vec::new());
static COPY: OnceLock<vk::PFN_vkCmdCopyImage> = OnceLock::new();
static DESTROY: OnceLock<vk::PFN_vkDestroyImage> = OnceLock::new();
static COUNTER: OnceLock<vk::PFN_vkGetSemaphoreCounterValue> = OnceLock::new();
static IDLE: OnceLock<vk::PFN_vkDeviceWaitIdle> = OnceLock::new();
static WAIT: OnceLock<vk::PFN_vkWaitSemaphores> = OnceLock::new();
static SUBMIT_OF_WGPU: OnceLock<vk::PFN_vkQueueSubmit> = OnceLock::new();
static FREE: OnceLock<vk::PFN_vkFreeMemory> = OnceLock::new();
static CREATE: OnceLock<vk::PFN_vkCreateImage> = OnceLock::new();
static SUBMIT: OnceLock<vk::PFN_vkQueueSubmit2> = OnceLock::new();

unsafe extern "system" fn create(
    device: vk::Device,
    info: *const vk::ImageCreateInfo<'_>,
    callbacks: *const vk::AllocationCallbacks<'_>,
    image: *mut vk::Image,
) -> vk::Result {
    let left = REFUSED.load(Ordering::SeqCst);
    REFUSED.store(left.saturating_sub(1), Ordering::SeqCst);
    if left == 1 {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    // SAFETY: the arguments are passed on unchanged.
    unsafe { CREATE.get().unwrap()(device, info, callbacks, image) }
}

unsafe extern "system" fn submit(
    queue: vk::Queue,
    count: u32,
    infos: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    if FULL.load(Ordering::SeqCst) {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    if LOST.load(Ordering::SeqCst) {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    // SAFETY: the arguments are passed on unchanged.
    unsafe { SUBMIT.get().unwrap()(queue, count, infos, fence) }
}

unsafe extern "system" fn submit_of_wgpu(
    queue: vk::Queue,
    count: u32,
    infos: *const vk::SubmitInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    if LOST.load(Ordering::SeqCst) {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    // SAFETY: the arguments are passed on unchanged.
    unsafe { SUBMIT_OF_WGPU.get().unwrap()(queue, count, infos, fence) }
}

unsafe extern "system" fn counter(device: vk::Device, semaphore: vk::Semaphore, value: *mut u64) -> vk::Result {
    let left = LOOKS.load(Ordering::SeqCst);
    LOOKS.store(left.saturating_sub(1), Ordering::SeqCst);
    if left == 1 {
        LOST.store(true, Ordering::SeqCst);
        // Nothing runs on a lost device: submitted resources are freed.
        // SAFETY: the arguments are passed on unchanged; nothing is submitted any more.
        let idle = unsafe { IDLE.get().unwrap()(device) };
        assert_eq!(idle, vk::Result::SUCCESS);
    }
    if LOST.load(Ordering::SeqCst) {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    if STUCK.load(Ordering::SeqCst) {
        // SAFETY: the caller passes a pointer to write the value to.
        unsafe { value.write(0) };
        return vk::Result::SUCCESS;
    }
    // SAFETY: the arguments are passed on unchanged.
    unsafe { COUNTER.get().unwrap()(device, semaphore, value) }
}

unsafe extern "system" fn wait(device: vk::Device, info: *const vk::SemaphoreWaitInfo<'_>, limit: u64) -> vk::Result {
    if LOST.load(Ordering::SeqCst) {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    if STUCK.load(Ordering::SeqCst) {
        return vk::Result::TIMEOUT;
    }
    // SAFETY: the arguments are passed on unchanged.
    unsafe { WAIT.get().unwrap()(device, info, limit) }
}

unsafe extern "system" fn free(
    device: vk::Device,
    memory: vk::DeviceMemory,
    callbacks: *const vk::AllocationCallbacks<'_>,
) {
    FREED.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the arguments are passed on unchanged.
    unsafe { FREE.get().unwrap()(device, memory, callbacks) };
}

unsafe extern "system" fn copy(
    commands: vk::CommandBuffer,
    from: vk::Image,
    from_layout: vk::ImageLayout,
    to: vk::Image,
    to_layout: vk::ImageLayout,
    count: u32,
    regions: *const vk::ImageCopy,
) {
    COPIES.lock().unwrap().push([from, to]);
    // SAFETY: the arguments are passed on unchanged.
    unsafe { COPY.get().unwrap()(commands, from, from_layout, to, to_layout, count, regions) };
}

unsafe extern "system" fn destroy(device: vk::Device, image: vk::Image, callbacks: *const vk::AllocationCallbacks<'_>) {
    DESTROYED.lock().unwrap().push(image);
    // SAFETY: the arguments are passed on unchanged.
    unsafe { DESTROY.get().unwrap()(device, image, callbacks) };
}

/// Replaces a function by a stand-in, and stores the function in `kept`.
macro_rules! stand_in {
    ($real:expr, $kept:ident, $kind:ty, $stand_in:ident) => {{
        // SAFETY: the function of that name has this type.
        let _ = $kept.set(unsafe { std::mem::transmute::<*const c_void, $kind>($real) });
        $stand_in as *const c_void
    }};
}

/// The stand-ins exist once for the process, so one test runs at a time.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    REFUSED.store(0, Ordering::SeqCst);
    LOOKS.store(0, Ordering::SeqCst);
    FULL.store(false, Ordering::SeqCst);
    LOST.store(false, Ordering::SeqCst);
    STUCK.store(false, Ordering::SeqCst);
    COPIES.lock().unwrap().clear();
    DESTROYED.lock().unwrap().clear();
    alone
}

/// Polls a future of wgpu's once; on native backends it is ready at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let Poll::Ready(value) = pin!(future).poll(&mut Context::from_waker(Waker::noop())) else { panic!("not ready") };
    value
}

/// Creates a device with the stand-ins, in the way Bevy does with the plugin.
pub(super) fn device() -> (wgpu::Device, wgpu::Queue) {
    // Never destroyed: the loader unloads the driver with its last instance, and the stand-ins call
    // the functions that they found first.
    static KEPT: OnceLock<wgpu::Instance> = OnceLock::new();
    let instance = KEPT.get_or_init(|| {
        let mut instance = wgpu::InstanceDescriptor::new_without_display_handle();
        instance.backends = wgpu::Backends::VULKAN;
        wgpu::Instance::new(instance)
    });
    let adapter = ready(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    let descriptor = wgpu::DeviceDescriptor::default();
    let opened = {
        // SAFETY: the guard is only used to open a device.
        let hal = unsafe { adapter.as_hal::<Vulkan>() }.unwrap();
        let raw = hal.shared_instance().raw_instance();
        let mut extensions = hal.required_device_extensions(descriptor.required_features);
        for name in init::needed(&hal).unwrap().extensions {
            if !extensions.contains(&name) {
                extensions.push(name);
            }
        }
        init::Addition::NONE.note(&mut extensions);
        let names: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
        let mut features = hal.physical_device_features(&extensions, descriptor.required_features);
        let mut synchronization2 = bridge::RequiredFeatures::default().synchronization2;
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(init::FAMILY).queue_priorities(&[1.0])];
        let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_extension_names(&names);
        let info = features.add_to_device_create(info).push_next(&mut synchronization2);
        // SAFETY: the physical device has these extensions and features, and one queue in its first
        // family.
        let made = unsafe { raw.create_device(hal.raw_physical_device(), &info, None) }.unwrap();
        let made = stand_in::load(raw, made.handle(), |name, real| match name.to_bytes() {
            b"vkCreateImage" => stand_in!(real, CREATE, vk::PFN_vkCreateImage, create),
            b"vkQueueSubmit" => stand_in!(real, SUBMIT_OF_WGPU, vk::PFN_vkQueueSubmit, submit_of_wgpu),
            b"vkQueueSubmit2" => stand_in!(real, SUBMIT, vk::PFN_vkQueueSubmit2, submit),
            b"vkGetSemaphoreCounterValue" => {
                stand_in!(real, COUNTER, vk::PFN_vkGetSemaphoreCounterValue, counter)
            }
            b"vkDeviceWaitIdle" => {
                // SAFETY: the function of that name has this type.
                let _ = IDLE.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkDeviceWaitIdle>(real) });
                real
            }
            b"vkWaitSemaphores" => stand_in!(real, WAIT, vk::PFN_vkWaitSemaphores, wait),
            b"vkCmdCopyImage" => stand_in!(real, COPY, vk::PFN_vkCmdCopyImage, copy),
            b"vkDestroyImage" => stand_in!(real, DESTROY, vk::PFN_vkDestroyImage, destroy),
            b"vkFreeMemory" => stand_in!(real, FREE, vk::PFN_vkFreeMemory, free),
            _ => real,
        });
        let (features, limits) = (descriptor.required_features, &descriptor.required_limits);
        // SAFETY: the device was created from this adapter with these extensions and features, and
        // this queue; from here on it belongs to wgpu.
        unsafe {
            hal.device_from_raw(made, None, &extensions, features, limits, &descriptor.memory_hints, init::FAMILY, 0)
        }
        .unwrap()
    };
    // SAFETY: opened from this adapter, without features.
    unsafe { adapter.create_device_from_hal(opened, &descriptor) }.unwrap()
}
