//! Device properties and device creation.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};

use ash::{ext, khr, vk};

use super::DEVICE;
use super::chain::find;
use super::families::{self, UNDERLYING_FAMILY};
use super::queues::registry;
use super::underlying::underlying;
use crate::calls::uuid;
use crate::gate;

/// Extensions that this library adds to the device.
const ADDED_EXTENSIONS: [&CStr; 2] = [khr::external_memory_fd::NAME, khr::external_semaphore_fd::NAME];
/// The extension that exportable memory is created with.
const HOST_MEMORY_EXTENSION: &CStr = ext::external_memory_host::NAME;

fn is_opaque(handle_type: vk::ExternalMemoryHandleTypeFlags) -> bool {
    handle_type == vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD
}

pub(super) unsafe extern "system" fn enumerate_extensions(
    physical: vk::PhysicalDevice,
    layer: *const c_char,
    count: *mut u32,
    properties: *mut vk::ExtensionProperties,
) -> vk::Result {
    let enumerate = underlying().instance.fp_v1_0().enumerate_device_extension_properties;
    let mut found = 0;
    // SAFETY: the same contract; only the count is queried.
    let result = unsafe { enumerate(physical, layer, &mut found, std::ptr::null_mut()) };
    if result != vk::Result::SUCCESS {
        return result;
    }
    let mut all = vec![vk::ExtensionProperties::default(); found as usize];
    // SAFETY: `all` has room for `found` elements.
    let result = unsafe { enumerate(physical, layer, &mut found, all.as_mut_ptr()) };
    if result != vk::Result::SUCCESS {
        return result;
    }
    for name in ADDED_EXTENSIONS {
        if !all.iter().any(|one| one.extension_name_as_c_str() == Ok(name)) {
            let added = vk::ExtensionProperties { spec_version: 1, ..Default::default() };
            all.extend(added.extension_name(name).ok());
        }
    }
    // SAFETY: the specification: an input and output.
    let room = unsafe { count.replace(all.len() as u32) } as usize;
    if properties.is_null() {
        return vk::Result::SUCCESS;
    }
    let given = room.min(all.len());
    // SAFETY: the specification: room for `count` elements.
    unsafe { properties.copy_from_nonoverlapping(all.as_ptr(), given) };
    // SAFETY: as above.
    unsafe { count.write(given as u32) };
    if given < all.len() { vk::Result::INCOMPLETE } else { vk::Result::SUCCESS }
}

/// Creates the device without the extensions that the underlying driver does not support, and with
/// the one for exportable memory.
pub(super) unsafe extern "system" fn create(
    physical: vk::PhysicalDevice,
    info: *const vk::DeviceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    device: *mut vk::Device,
) -> vk::Result {
    // SAFETY: the specification: a valid structure.
    let mut info = unsafe { *info };
    let mut names: Vec<*const c_char> = match info.enabled_extension_count {
        0 => Vec::new(),
        // SAFETY: the specification: an array of `count` elements.
        count => unsafe { std::slice::from_raw_parts(info.pp_enabled_extension_names, count as usize) }.to_vec(),
    };
    // SAFETY: the specification: NUL-terminated strings.
    let is = |name: *const c_char, wanted: &CStr| unsafe { CStr::from_ptr(name) } == wanted;
    names.retain(|name| !ADDED_EXTENSIONS.iter().chain([&HOST_MEMORY_EXTENSION]).any(|added| is(*name, added)));
    names.push(HOST_MEMORY_EXTENSION.as_ptr());
    info.enabled_extension_count = names.len() as u32;
    info.pp_enabled_extension_names = names.as_ptr();
    let mut heaps = vk::PhysicalDeviceMemoryProperties::default();
    // SAFETY: the specification: a valid physical device.
    unsafe { (underlying().instance.fp_v1_0().get_physical_device_memory_properties)(physical, &mut heaps) };
    let room = heaps.memory_heaps_as_slice().iter().map(|heap| heap.size).max();
    gate::ledger().vulkan.room = room.unwrap_or(0);
    let create = underlying().instance.fp_v1_0().create_device;
    let Some(families) = families::reported() else {
        // SAFETY: the same contract; the names live until the call returns.
        return unsafe { create(physical, &info, allocator, device) };
    };
    // SAFETY: the specification: an array of `count` elements, at least one.
    let queues =
        unsafe { std::slice::from_raw_parts(info.p_queue_create_infos, info.queue_create_info_count as usize) };
    let requested: Vec<_> = queues.iter().map(|queues| (queues.queue_family_index, queues.queue_count)).collect();
    let has = |(family, count): &(u32, u32)| families.get(*family as usize).is_some_and(|all| count <= all);
    if !requested.iter().all(has) {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    }
    let only = [vk::DeviceQueueCreateInfo::default().queue_family_index(UNDERLYING_FAMILY).queue_priorities(&[1.0])];
    let info = info.queue_create_infos(&only);
    // SAFETY: the same contract, with the underlying driver's only queue; the names live until the
    // call returns.
    let result = unsafe { create(physical, &info, allocator, device) };
    if result == vk::Result::SUCCESS {
        // SAFETY: the specification: an output, which was set.
        registry::insert(unsafe { *device }, &requested);
    }
    result
}

pub(super) unsafe extern "system" fn properties(
    physical: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    // SAFETY: the same contract.
    unsafe { (underlying().instance.fp_v1_1().get_physical_device_properties2)(physical, properties) };
    // SAFETY: the specification: a valid chain.
    let id = unsafe { find::<vk::PhysicalDeviceIDProperties<'_>>(properties.cast()) };
    if let Some(id) = id {
        // SAFETY: as above.
        unsafe { (*id).device_uuid = uuid(DEVICE) };
    }
    // SAFETY: as above.
    let all = unsafe { find::<vk::PhysicalDeviceVulkan11Properties<'_>>(properties.cast()) };
    if let Some(all) = all {
        // SAFETY: as above.
        unsafe { (*all).device_uuid = uuid(DEVICE) };
    }
}

fn exportable() -> vk::ExternalMemoryProperties {
    vk::ExternalMemoryProperties {
        external_memory_features: vk::ExternalMemoryFeatureFlags::EXPORTABLE,
        export_from_imported_handle_types: vk::ExternalMemoryHandleTypeFlags::empty(),
        compatible_handle_types: vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD,
    }
}

pub(super) unsafe extern "system" fn external_buffers(
    physical: vk::PhysicalDevice,
    question: *const vk::PhysicalDeviceExternalBufferInfo<'_>,
    answer: *mut vk::ExternalBufferProperties<'_>,
) {
    // SAFETY: the specification: a valid structure.
    if is_opaque(unsafe { (*question).handle_type }) {
        // SAFETY: the specification: an output.
        unsafe { (*answer).external_memory_properties = exportable() };
        return;
    }
    let ask = underlying().instance.fp_v1_1().get_physical_device_external_buffer_properties;
    // SAFETY: the same contract.
    unsafe { ask(physical, question, answer) };
}

/// Supports timelines only. A query without a semaphore type, as the validation layer makes, also
/// means timelines.
pub(super) unsafe extern "system" fn external_semaphores(
    physical: vk::PhysicalDevice,
    question: *const vk::PhysicalDeviceExternalSemaphoreInfo<'_>,
    answer: *mut vk::ExternalSemaphoreProperties<'_>,
) {
    // SAFETY: the specification: a valid chain.
    let kind = unsafe { find::<vk::SemaphoreTypeCreateInfo<'_>>(question.cast()) };
    // SAFETY: as above.
    let is_timeline = kind.is_none_or(|kind| unsafe { (*kind).semaphore_type } == vk::SemaphoreType::TIMELINE);
    // SAFETY: as above.
    if is_timeline && unsafe { (*question).handle_type } == vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD {
        // SAFETY: the specification: an output.
        let answer = unsafe { &mut *answer };
        answer.compatible_handle_types = vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;
        answer.export_from_imported_handle_types = vk::ExternalSemaphoreHandleTypeFlags::empty();
        answer.external_semaphore_features = vk::ExternalSemaphoreFeatureFlags::EXPORTABLE;
        return;
    }
    let ask = underlying().instance.fp_v1_1().get_physical_device_external_semaphore_properties;
    // SAFETY: the same contract.
    unsafe { ask(physical, question, answer) };
}

/// Reports what the underlying driver supports for images that are not exported.
pub(super) unsafe extern "system" fn image_format(
    physical: vk::PhysicalDevice,
    question: *const vk::PhysicalDeviceImageFormatInfo2<'_>,
    answer: *mut vk::ImageFormatProperties2<'_>,
) -> vk::Result {
    let ask = underlying().instance.fp_v1_1().get_physical_device_image_format_properties2;
    // SAFETY: the specification: a valid chain.
    let external = unsafe { find::<vk::PhysicalDeviceExternalImageFormatInfo<'_>>(question.cast()) };
    // SAFETY: as above.
    if !external.is_some_and(|external| is_opaque(unsafe { (*external).handle_type })) {
        // SAFETY: the same contract.
        return unsafe { ask(physical, question, answer) };
    }
    // SAFETY: as above.
    let list = unsafe { find::<vk::ImageFormatListCreateInfo<'_>>(question.cast()) };
    // SAFETY: as above; the underlying driver does not accept other structures of the chain either.
    let list = list.map(|list| vk::ImageFormatListCreateInfo { p_next: std::ptr::null(), ..unsafe { *list } });
    let next = list.as_ref().map_or(std::ptr::null(), |list| std::ptr::from_ref(list).cast());
    // SAFETY: the specification: a valid structure.
    let plain = vk::PhysicalDeviceImageFormatInfo2 { p_next: next, ..unsafe { *question } };
    // SAFETY: the same contract, with a chain that lives until the call returns.
    let result = unsafe { ask(physical, &plain, answer) };
    // SAFETY: the specification: a valid chain.
    let properties = unsafe { find::<vk::ExternalImageFormatProperties<'_>>(answer.cast()) };
    if let Some(properties) = properties {
        // SAFETY: as above.
        unsafe { (*properties).external_memory_properties = exportable() };
    }
    result
}
