//! A device whose driver makes no LINEAR images, or only poor ones, whatever the real one does:
//! what a frame does there can be tested on every machine.
#![allow(unsafe_code)] // Stand-ins for Vulkan functions.

use std::ffi::{CStr, c_void};
use std::sync::{Arc, OnceLock};

use bridge::ash::{self, ext, vk};
use bridge::vk_export::{AdoptInfo, QueueLock, required_device_extensions};
use bridge::{ExportDevice, QueueKind};

/// What the driver says of LINEAR images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linear {
    /// There are none, of any format.
    Missing,
    /// There are, but samplers cannot filter them.
    Unfiltered,
}

type Ask = vk::PFN_vkGetPhysicalDeviceImageFormatProperties2;
type Features = vk::PFN_vkGetPhysicalDeviceFormatProperties;
static ASK: OnceLock<Ask> = OnceLock::new();
static FEATURES: OnceLock<Features> = OnceLock::new();

unsafe extern "system" fn none_linear(
    physical: vk::PhysicalDevice,
    question: *const vk::PhysicalDeviceImageFormatInfo2<'_>,
    answer: *mut vk::ImageFormatProperties2<'_>,
) -> vk::Result {
    // SAFETY: the caller passes a valid structure.
    if unsafe { (*question).tiling } == vk::ImageTiling::LINEAR {
        return vk::Result::ERROR_FORMAT_NOT_SUPPORTED;
    }
    // SAFETY: handed on.
    unsafe { ASK.get().unwrap()(physical, question, answer) }
}

unsafe extern "system" fn unfiltered(
    physical: vk::PhysicalDevice,
    format: vk::Format,
    answer: *mut vk::FormatProperties,
) {
    // SAFETY: handed on.
    unsafe { FEATURES.get().unwrap()(physical, format, answer) };
    // SAFETY: the caller's own structure.
    unsafe { (*answer).linear_tiling_features &= !vk::FormatFeatureFlags::SAMPLED_IMAGE_FILTER_LINEAR };
}

/// An instance's functions, with some of them stood in for.
pub fn instance_with(linear: Linear, entry: &ash::Entry, instance: &ash::Instance) -> ash::Instance {
    let load = |name: &CStr| {
        // SAFETY: the instance lives; the name is null-terminated.
        let real = unsafe { (entry.static_fn().get_instance_proc_addr)(instance.handle(), name.as_ptr()) };
        let real = real.map_or(std::ptr::null(), |function| function as *const c_void);
        match (linear, name.to_bytes()) {
            (Linear::Missing, b"vkGetPhysicalDeviceImageFormatProperties2") => {
                // SAFETY: the function of that name has this type.
                let _ = ASK.set(unsafe { std::mem::transmute::<*const c_void, Ask>(real) });
                none_linear as *const c_void
            }
            (Linear::Unfiltered, b"vkGetPhysicalDeviceFormatProperties") => {
                // SAFETY: the function of that name has this type.
                let _ = FEATURES.set(unsafe { std::mem::transmute::<*const c_void, Features>(real) });
                unfiltered as *const c_void
            }
            _ => real,
        }
    };
    // SAFETY: every function is the instance's own, or a stand-in with its signature.
    unsafe { ash::Instance::load_with(load, instance.handle()) }
}

/// Every submission goes through the bridge's own lock.
struct Unlocked;

impl QueueLock for Unlocked {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

/// The same device, as such a driver shows it.
///
/// # Panics
/// When it cannot be adopted.
pub fn device_with(linear: Linear, device: &ExportDevice) -> ExportDevice {
    let (entry, version) = (device.entry().clone(), device.api_version());
    let instance = instance_with(linear, &entry, device.instance());
    let queue = |kind| {
        let queue = device.queue_of(kind)?;
        Some((queue.with(|raw| raw).unwrap(), queue.family()))
    };
    let physical = device.physical();
    let more: Vec<_> = [QueueKind::Compute, QueueKind::Transfer].into_iter().filter_map(queue).collect();
    let extensions: Vec<_> = required_device_extensions(version).filter(|e| physical.has_extension(e)).collect();
    let main = queue(QueueKind::Graphics).unwrap();
    let mut info = AdoptInfo::new((entry, instance, version), physical.handle, device.as_raw().clone(), main);
    info.more_queues = &more;
    info.device_extensions = &extensions;
    if device.is_validated() {
        info.instance_extensions = &[ext::debug_utils::NAME];
    }
    info.features.timeline_semaphore = true;
    info.features.synchronization2 = true;
    // On in a device that was opened here, where the driver has it.
    // SAFETY: the instance's own physical device.
    let features = unsafe { device.instance().get_physical_device_features(physical.handle) };
    info.features.image_cube_array = features.image_cube_array == vk::TRUE;
    info.queue_lock = Some(Arc::new(Unlocked));
    info.keep_alive = Some(Box::new(device.clone()));
    // SAFETY: the handles of a device that lives as long as this one, with what was enabled on it.
    unsafe { ExportDevice::adopt(info) }.unwrap()
}
