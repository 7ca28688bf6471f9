//! A device on which the creation of images and submissions fail when a test requests it.
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
/// Whether the bridge's submissions fail. wgpu's use `vkQueueSubmit` and do not.
pub(super) static FULL: AtomicBool = AtomicBool::new(false);
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
    // SAFETY: the arguments are passed on unchanged.
    unsafe { SUBMIT.get().unwrap()(queue, count, infos, fence) }
}

/// The stand-ins exist once for the process, so one test runs at a time.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    REFUSED.store(0, Ordering::SeqCst);
    FULL.store(false, Ordering::SeqCst);
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
            b"vkCreateImage" => {
                // SAFETY: the function of that name has this type.
                let _ = CREATE.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkCreateImage>(real) });
                create as *const c_void
            }
            b"vkQueueSubmit2" => {
                // SAFETY: the function of that name has this type.
                let _ = SUBMIT.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkQueueSubmit2>(real) });
                submit as *const c_void
            }
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
