//! A device whose driver reports no LINEAR images, or only limited ones, regardless of the real
//! driver, so that this case can be tested on every machine.
#![allow(unsafe_code)] // Replacements of Vulkan functions.

use std::ffi::{CStr, c_void};
use std::sync::{Arc, OnceLock};

use bridge::ash::{self, ext, vk};
use bridge::vk_export::{AdoptInfo, QueueLock, required_device_extensions};
use bridge::{ExportDevice, QueueKind};

/// The driver's support of LINEAR images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linear {
    /// No format supports LINEAR images.
    Missing,
    /// LINEAR images are supported, but samplers cannot filter them.
    Unfiltered,
}

type GetImageFormatProperties = vk::PFN_vkGetPhysicalDeviceImageFormatProperties2;
type GetFormatProperties = vk::PFN_vkGetPhysicalDeviceFormatProperties;
static GET_IMAGE_FORMAT_PROPERTIES: OnceLock<GetImageFormatProperties> = OnceLock::new();
static GET_FORMAT_PROPERTIES: OnceLock<GetFormatProperties> = OnceLock::new();

unsafe extern "system" fn without_linear(
    physical: vk::PhysicalDevice,
    question: *const vk::PhysicalDeviceImageFormatInfo2<'_>,
    answer: *mut vk::ImageFormatProperties2<'_>,
) -> vk::Result {
    // SAFETY: the caller passes a valid structure.
    if unsafe { (*question).tiling } == vk::ImageTiling::LINEAR {
        return vk::Result::ERROR_FORMAT_NOT_SUPPORTED;
    }
    // SAFETY: the arguments are passed on unchanged.
    unsafe { GET_IMAGE_FORMAT_PROPERTIES.get().unwrap()(physical, question, answer) }
}

unsafe extern "system" fn unfiltered(
    physical: vk::PhysicalDevice,
    format: vk::Format,
    answer: *mut vk::FormatProperties,
) {
    // SAFETY: the arguments are passed on unchanged.
    unsafe { GET_FORMAT_PROPERTIES.get().unwrap()(physical, format, answer) };
    // SAFETY: the caller's own structure.
    unsafe { (*answer).linear_tiling_features &= !vk::FormatFeatureFlags::SAMPLED_IMAGE_FILTER_LINEAR };
}

/// Returns an instance's functions, with some of them replaced.
pub fn instance_with(linear: Linear, entry: &ash::Entry, instance: &ash::Instance) -> ash::Instance {
    let load = |name: &CStr| {
        // SAFETY: the instance is alive; the name is null-terminated.
        let real = unsafe { (entry.static_fn().get_instance_proc_addr)(instance.handle(), name.as_ptr()) };
        let real = real.map_or(std::ptr::null(), |function| function as *const c_void);
        match (linear, name.to_bytes()) {
            (Linear::Missing, b"vkGetPhysicalDeviceImageFormatProperties2") => {
                // SAFETY: the function of that name has this type.
                let _ = GET_IMAGE_FORMAT_PROPERTIES
                    .set(unsafe { std::mem::transmute::<*const c_void, GetImageFormatProperties>(real) });
                without_linear as *const c_void
            }
            (Linear::Unfiltered, b"vkGetPhysicalDeviceFormatProperties") => {
                // SAFETY: the function of that name has this type.
                let _ = GET_FORMAT_PROPERTIES
                    .set(unsafe { std::mem::transmute::<*const c_void, GetFormatProperties>(real) });
                unfiltered as *const c_void
            }
            _ => real,
        }
    };
    // SAFETY: every function is the instance's own, or a replacement with the same signature.
    unsafe { ash::Instance::load_with(load, instance.handle()) }
}

/// Every submission already holds the bridge's own lock.
struct Unlocked;

impl QueueLock for Unlocked {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

/// Returns the same device, adopted with the functions of such a driver.
///
/// # Panics
/// Panics if it cannot be adopted.
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
    info.additional_queues = &more;
    info.device_extensions = &extensions;
    if device.is_validated() {
        info.instance_extensions = &[ext::debug_utils::NAME];
    }
    info.features.timeline_semaphore = true;
    info.features.synchronization2 = true;
    // Enabled on a device that was opened here, if the driver supports it.
    // SAFETY: the instance's own physical device.
    let features = unsafe { device.instance().get_physical_device_features(physical.handle) };
    info.features.image_cube_array = features.image_cube_array == vk::TRUE;
    info.queue_lock = Some(Arc::new(Unlocked));
    info.keep_alive = Some(Box::new(device.clone()));
    // SAFETY: the handles of a device that lives as long as this one, and the features enabled on
    // it.
    unsafe { ExportDevice::adopt(info) }.unwrap()
}
