//! Creation of a device that this crate owns.
#![allow(unsafe_code)] // Instance and device creation.

use std::ffi::CStr;

use ash::{ext, khr, vk};

use super::{EnabledFeatures, ExportDevice, OpenInfo, Ownership, Parts};
use crate::device::dependencies::{missing_of_device, missing_of_instance};
use crate::device::instance::OwnedInstance;
use crate::device::physical::PhysicalDeviceInfo;
use crate::device::queue::QueueKind;
use crate::device::queue_lock::QueueAccess;
use crate::device::requirements::{CUDA_KERNEL_EXTENSIONS, EXPORT_EXTENSIONS, RequiredFeatures, base_extensions};
use crate::device::resident::load;
use crate::device::select::Candidate;
use crate::error::requirement::to_texts;
use crate::error::{Error, Requirement, Result};
use crate::logging::log_info;

impl ExportDevice {
    /// Opens a device with everything enabled that this crate needs, and with the export extensions
    /// if the driver has them.
    ///
    /// A device that cannot export is opened too, because memory that is only shared with the CPU
    /// needs no export; [`missing_for_export`](Self::missing_for_export) lists what it lacks.
    ///
    /// # Errors
    /// [`Error::NoLoader`], [`Error::NoDevice`], [`Error::Missing`] with everything that is
    /// missing, or the error of the failed driver call.
    pub fn open(info: &OpenInfo<'_>) -> Result<Self> {
        let info = &OpenInfo {
            features: normalized(info.features),
            buffer_device_address: info.buffer_device_address || info.cuda_kernels,
            ..info.clone()
        };
        let entry = load()?;
        let instance = OwnedInstance::new(&entry, info)?;
        let physical = info.device.pick(candidates(&instance, info)?)?;
        let api_version = instance.api_version.min(physical.api_version);
        let family = physical.queue_family(QueueKind::Graphics).unwrap_or(0);
        let more = [QueueKind::Compute, QueueKind::Transfer].map(|kind| physical.queue_family(kind));
        let families = std::iter::once(family).chain(more.into_iter().flatten());

        let missing_for_export = physical.gaps().export;
        let extensions = wanted_extensions(info, &instance, &physical, api_version)?;
        let enabled = enabled_features(info, &physical);
        let raw = create(info, &instance, &physical, families.clone(), &extensions)?;
        // SAFETY: VUID-vkGetDeviceQueue-queueFamilyIndex-00384: one queue of each of these families
        // was created above.
        let queue_of = |family| (unsafe { raw.get_device_queue(family, 0) }, family);
        let (queue, additional_queues) = (queue_of(family), families.skip(1).map(queue_of).collect());
        let device = Self::assemble(Parts {
            entry,
            instance: instance.raw.clone(),
            raw,
            physical,
            api_version,
            queue,
            additional_queues,
            queue_access: QueueAccess::Unlocked,
            missing_for_export,
            enabled,
            extensions: extensions.into_iter().map(CStr::to_owned).collect(),
            names: instance.names,
            ownership: Ownership::Opened(Box::new(instance)),
        });
        if info.cuda_kernels {
            device.kernel_calls()?;
        }
        // Log only now: a logger that panics here drops the device, and the instance after it.
        log_info!("Vulkan device: {}", device.physical().summary());
        Ok(device)
    }
}

/// Returns the extensions to enable: the program's and this crate's own.
///
/// # Errors
/// [`Error::Missing`] with the dependencies of these extensions that are not enabled.
fn wanted_extensions<'a>(
    info: &OpenInfo<'a>,
    instance: &OwnedInstance,
    physical: &PhysicalDeviceInfo,
    api_version: u32,
) -> Result<Vec<&'a CStr>> {
    let mut extensions: Vec<&CStr> = info.device_extensions.to_vec();
    extensions.extend(base_extensions(api_version));
    extensions.extend(EXPORT_EXTENSIONS.iter().filter(|name| physical.has_extension(name)));
    if info.dynamic_rendering && api_version < vk::API_VERSION_1_3 {
        extensions.push(khr::dynamic_rendering::NAME);
    }
    if info.cuda_kernels {
        extensions.extend(CUDA_KERNEL_EXTENSIONS);
    }
    extensions.sort_unstable();
    extensions.dedup();
    let mut of_instance = info.instance_extensions.to_vec();
    if instance.names {
        of_instance.push(ext::debug_utils::NAME);
    }
    let mut missing = missing_of_instance(&extensions, &of_instance);
    missing.extend(missing_of_device(&extensions, api_version));
    if !missing.is_empty() {
        return Err(Error::Missing { device: physical.name.clone(), purpose: "this program", missing });
    }
    Ok(extensions)
}

/// Returns the features that [`create`] enables.
fn enabled_features(info: &OpenInfo<'_>, physical: &PhysicalDeviceInfo) -> EnabledFeatures {
    EnabledFeatures {
        timeline_semaphore: true,
        synchronization2: true,
        image_cube_array: physical.features.image_cube_array != vk::FALSE,
        buffer_device_address: info.buffer_device_address,
        geometry_shader: info.features.geometry_shader != 0,
        tessellation_shader: info.features.tessellation_shader != 0,
        ..EnabledFeatures::default()
    }
}

/// Creates the device, with a queue of each of the families.
fn create(
    info: &OpenInfo<'_>,
    instance: &OwnedInstance,
    physical: &PhysicalDeviceInfo,
    families: impl Iterator<Item = u32>,
    extensions: &[&CStr],
) -> Result<ash::Device> {
    let names: Vec<_> = extensions.iter().map(|e| e.as_ptr()).collect();
    let queues: Vec<_> = families
        .map(|family| vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0]))
        .collect();
    let mut required = RequiredFeatures::default();
    // For the views of shared cube arrays.
    let image_cube_array = vk::Bool32::from(physical.features.image_cube_array != vk::FALSE);
    let features = vk::PhysicalDeviceFeatures { image_cube_array, ..info.features };
    let mut rendering = vk::PhysicalDeviceDynamicRenderingFeatures::default().dynamic_rendering(true);
    let mut addresses = vk::PhysicalDeviceBufferDeviceAddressFeatures::default().buffer_device_address(true);
    let mut device_info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&names)
        .enabled_features(&features)
        .push_next(&mut required.timeline_semaphore)
        .push_next(&mut required.synchronization2);
    if info.dynamic_rendering {
        device_info = device_info.push_next(&mut rendering);
    }
    if info.buffer_device_address {
        device_info = device_info.push_next(&mut addresses);
    }
    // SAFETY: VUID-vkCreateDevice-ppEnabledExtensionNames-01387 and the feature VUIDs: `candidates`
    // rejects devices that lack an extension or feature that is enabled here, and the dependencies
    // of the extensions were checked.
    unsafe { instance.raw.create_device(physical.handle, &device_info, None) }.map_err(|result| Error::Vulkan {
        call: "vkCreateDevice",
        result,
        object: "device".into(),
        device: physical.name.clone(),
    })
}

/// Returns the physical devices, each with the reasons against it or with the error of its queries.
fn candidates(instance: &OwnedInstance, info: &OpenInfo<'_>) -> Result<Vec<Candidate>> {
    // SAFETY: the instance is alive; VUID-vkEnumeratePhysicalDevices-instance-parameter.
    let handles = unsafe { instance.raw.enumerate_physical_devices() }.map_err(|result| Error::Vulkan {
        call: "vkEnumeratePhysicalDevices",
        result,
        object: "instance".into(),
        device: "any device".into(),
    })?;
    let candidates = handles
        .into_iter()
        .map(|handle| {
            let device = PhysicalDeviceInfo::query(&instance.raw, handle, instance.api_version)?;
            let mut missing = device.gaps().base;
            missing.extend(
                info.device_extensions
                    .iter()
                    .filter(|name| !device.has_extension(name))
                    .map(|name| Requirement::device_extension(name)),
            );
            if info.dynamic_rendering && !device.dynamic_rendering {
                missing.push(Requirement::Feature("dynamicRendering"));
            }
            if info.cuda_kernels {
                missing.extend(device.kernel_gaps());
            } else if info.buffer_device_address && !device.buffer_device_address {
                missing.push(Requirement::Feature("bufferDeviceAddress"));
            }
            if device.queue_family(QueueKind::Graphics).is_none() {
                missing.push(Requirement::QueueFamily("graphics and compute"));
            }
            missing.extend(missing_features(&info.features, &device.features));
            Ok((device, to_texts(&missing)))
        })
        .collect();
    Ok(candidates)
}

/// Returns the features with every value 0 or 1: a `VkBool32` must be one of the two, and
/// `missing_features` compares the values.
fn normalized(features: vk::PhysicalDeviceFeatures) -> vk::PhysicalDeviceFeatures {
    type Words = [vk::Bool32; size_of::<vk::PhysicalDeviceFeatures>() / size_of::<vk::Bool32>()];
    // SAFETY: the structure is `repr(C)` and has only `VkBool32` fields (Vulkan specification,
    // `VkPhysicalDeviceFeatures`), so it has no padding, and every value of the fields is valid.
    let words = unsafe { std::mem::transmute::<vk::PhysicalDeviceFeatures, Words>(features) };
    // SAFETY: as above.
    unsafe { std::mem::transmute::<Words, vk::PhysicalDeviceFeatures>(words.map(|word| u32::from(word != vk::FALSE))) }
}

/// Returns the names of wanted features of Vulkan 1.0 that are missing. The structures are arrays
/// of `VkBool32`. Their `Debug` output contains the field names, which avoids a table of 55 names
/// that could become outdated.
fn missing_features(wanted: &vk::PhysicalDeviceFeatures, there: &vk::PhysicalDeviceFeatures) -> Vec<Requirement> {
    let fields = |features: &vk::PhysicalDeviceFeatures| {
        format!("{features:?}")
            .trim_start_matches("PhysicalDeviceFeatures {")
            .trim_end_matches('}')
            .split(',')
            .map(|field| field.trim().to_owned())
            .collect::<Vec<_>>()
    };
    fields(wanted)
        .into_iter()
        .zip(fields(there))
        .filter(|(wanted, there)| wanted.ends_with(": 1") && there.ends_with(": 0"))
        .map(|(wanted, _)| Requirement::CoreFeature(wanted.trim_end_matches(": 1").to_owned()))
        .collect()
}
