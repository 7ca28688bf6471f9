//! A device whose driver reports no LINEAR images, or only limited ones, regardless of the real
//! driver, so that this case can be tested on every machine.
#![allow(unsafe_code)] // Replacements of Vulkan functions.

use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

use bridge::ExportDevice;
use bridge::ash::{self, vk};

use crate::replaced::{adopted_with, replaced_instance};

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
    let replace = |name: &CStr, real: *const c_void| match (linear, name.to_bytes()) {
        (Linear::Missing, b"vkGetPhysicalDeviceImageFormatProperties2") => {
            // SAFETY: the function of that name has this type.
            let _ = GET_IMAGE_FORMAT_PROPERTIES
                .set(unsafe { std::mem::transmute::<*const c_void, GetImageFormatProperties>(real) });
            without_linear as *const c_void
        }
        (Linear::Unfiltered, b"vkGetPhysicalDeviceFormatProperties") => {
            // SAFETY: the function of that name has this type.
            let _ =
                GET_FORMAT_PROPERTIES.set(unsafe { std::mem::transmute::<*const c_void, GetFormatProperties>(real) });
            unfiltered as *const c_void
        }
        _ => real,
    };
    // SAFETY: the replacements have the signatures of the functions that they replace.
    unsafe { replaced_instance(entry, instance, replace) }
}

/// Returns the same device, adopted with the functions of such a driver.
///
/// # Panics
/// Panics if it cannot be adopted.
pub fn device_with(linear: Linear, device: &ExportDevice) -> ExportDevice {
    adopted_with(instance_with(linear, device.entry(), device.instance()), device)
}
