//! Extensions and features that an engine enables on one physical device.
#![allow(unsafe_code)] // Queries, with a handle from the caller.

use std::ffi::CStr;

use ash::{ext, vk};

use super::EnabledFeatures;
use crate::device::physical::PhysicalDeviceInfo;
use crate::device::requirements::{
    CUDA_KERNEL_EXTENSIONS, EXPORT_EXTENSIONS, MEMORY_EXTENSION, SEMAPHORE_EXTENSION, base_extensions,
};
use crate::error::{Error, Requirement, Result};

/// Extensions and features for an engine to enable on a physical device, and those that the device
/// lacks; see [`requirements_for`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeviceRequirements {
    /// Properties of the device.
    pub physical: PhysicalDeviceInfo,
    /// The extensions to enable: those of
    /// [`required_device_extensions`](crate::required_device_extensions) that the device has. List
    /// them in [`AdoptInfo::device_extensions`](crate::AdoptInfo::device_extensions) as well.
    pub extensions: Vec<&'static CStr>,
    /// The features to enable, in the form of [`AdoptInfo::features`](crate::AdoptInfo::features);
    /// [`RequiredFeatures`](crate::RequiredFeatures) contains them for `VkDeviceCreateInfo`.
    pub features: EnabledFeatures,
    /// Requirements for adoption that the device lacks; empty if it lacks none.
    pub missing: Vec<Requirement>,
    /// Optional extensions and features, each with its purpose. The export extensions are already
    /// in [`extensions`](Self::extensions) if the device has them; the engine decides about the
    /// others.
    pub optional: Vec<OptionalRequirement>,
}

/// An optional extension or feature, without which some functionality is not available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionalRequirement {
    /// The extension or feature.
    pub kind: OptionalKind,
    /// Its purpose.
    pub purpose: &'static str,
    /// `true` if the device has it.
    pub is_supported: bool,
}

/// An extension or feature that an engine may enable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OptionalKind {
    /// A device extension.
    Extension(&'static CStr),
    /// A feature, by its name in the specification.
    Feature(&'static str),
}

/// Returns the extensions and features for an engine to enable when it creates a device on
/// `physical`: the required ones that the device supports, the required ones that it lacks, and the
/// optional ones with their purpose.
///
/// `api_version` is that of the instance's `VkApplicationInfo`, packed; it cannot be queried from
/// an instance.
///
/// # Errors
/// The error of the failed query. It is not an error if the device lacks something; see
/// [`DeviceRequirements::check_met`].
///
/// # Safety
/// `instance` is alive and was created with `api_version`, and `physical` is one of its physical
/// devices.
#[doc = concat!("\n# Examples\n```no_run\n", include_str!("../../docs/requirements_for.rs"), "```")]
pub unsafe fn requirements_for(
    instance: &ash::Instance,
    api_version: u32,
    physical: vk::PhysicalDevice,
) -> Result<DeviceRequirements> {
    let physical = PhysicalDeviceInfo::query(instance, physical, api_version)?;
    let version = api_version.min(physical.api_version);
    let extensions = EXPORT_EXTENSIONS.iter().chain(base_extensions(version)).copied();
    let features = EnabledFeatures {
        timeline_semaphore: physical.timeline_semaphore,
        synchronization2: physical.synchronization2,
        ..EnabledFeatures::default()
    };
    Ok(DeviceRequirements {
        extensions: extensions.filter(|name| physical.has_extension(name)).collect(),
        features,
        missing: physical.gaps().base,
        optional: optional(&physical),
        physical,
    })
}

impl DeviceRequirements {
    /// Returns `true` if a device that is created with these requirements can be adopted.
    pub fn is_met(&self) -> bool {
        self.missing.is_empty()
    }

    /// Checks that a device that is created with these requirements can be adopted.
    ///
    /// # Errors
    /// [`Error::Missing`] with everything that the device lacks.
    pub fn check_met(&self) -> Result<()> {
        if self.is_met() {
            return Ok(());
        }
        let (device, missing) = (self.physical.name.clone(), self.missing.clone());
        Err(Error::Missing { device, purpose: "adopting", missing })
    }
}

impl std::fmt::Display for OptionalRequirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            OptionalKind::Extension(name) => write!(f, "device extension {}", name.to_string_lossy())?,
            OptionalKind::Feature(name) => write!(f, "feature {name}")?,
        }
        write!(f, " ({}): {}", if self.is_supported { "supported" } else { "not supported" }, self.purpose)
    }
}

fn optional(physical: &PhysicalDeviceInfo) -> Vec<OptionalRequirement> {
    let export = [
        (MEMORY_EXTENSION, "memory that a CUDA stream works on; without it, kernels in the Vulkan queue, or the CPU"),
        (SEMAPHORE_EXTENSION, "timelines that a CUDA stream waits for and signals; without it, as above"),
    ];
    let kernels =
        CUDA_KERNEL_EXTENSIONS.iter().map(|name| (*name, "CUDA kernels in the Vulkan queue; experimental by name"));
    let budget =
        [(ext::memory_budget::NAME, "nothing to enable: if it is supported, errors say how much of a heap is free")];
    let extension = |(name, purpose)| OptionalRequirement {
        kind: OptionalKind::Extension(name),
        purpose,
        is_supported: physical.has_extension(name),
    };
    let feature =
        |name, purpose, is_supported| OptionalRequirement { kind: OptionalKind::Feature(name), purpose, is_supported };
    let features = [
        feature(
            "bufferDeviceAddress",
            "CUDA kernels in the Vulkan queue, and buffers with SHADER_DEVICE_ADDRESS",
            physical.buffer_device_address,
        ),
        feature("imageCubeArray", "views of arrays of cubes", physical.features.image_cube_array != vk::FALSE),
    ];
    export.into_iter().chain(kernels).chain(budget).map(extension).chain(features).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_requirements_have_a_reason() {
        let mut physical = PhysicalDeviceInfo::nameless();
        physical.extensions = vec![MEMORY_EXTENSION.to_owned()];
        let optional = optional(&physical);
        let supported = |kind| optional.iter().find(|one| one.kind == kind).unwrap().is_supported;
        assert!(supported(OptionalKind::Extension(MEMORY_EXTENSION)));
        assert!(
            !supported(OptionalKind::Extension(SEMAPHORE_EXTENSION))
                && !supported(OptionalKind::Feature("imageCubeArray"))
        );
        assert!(CUDA_KERNEL_EXTENSIONS.iter().all(|name| !supported(OptionalKind::Extension(name))));
        let text = optional[0].to_string();
        assert!(text.contains("(supported): memory that a CUDA stream works on"), "{text}");
    }
}
