//! Checks of a shared buffer against a device.
#![allow(unsafe_code)] // A query.

use ash::vk;

use crate::device::{EnabledFeatures, ExportDevice};
use crate::error::{Error, Result};
use crate::handle::handle_type::HandleType;
use crate::logging::log_warn;
use crate::memory::size::{check_buffer, range_warning};

/// Checks that size and usage are not zero, that the usage is known and its features are enabled,
/// and that the device supports buffers of this size.
pub(crate) fn require_possible(
    device: &ExportDevice,
    size: u64,
    usage: vk::BufferUsageFlags,
    object: &str,
) -> Result<()> {
    let invalid = |reason: &str| Err(Error::invalid(object, reason));
    if size == 0 {
        return invalid("its size is 0 bytes; share at least one element");
    }
    if usage.is_empty() {
        return invalid("its usage is empty; say how Vulkan uses it");
    }
    let foreign = usage & !usages(device.enabled());
    if !foreign.is_empty() {
        return invalid(&format!(
            "its usage has {foreign:?}, which shared buffers do not support, or only with a feature that is not \
             enabled: `buffer_device_address` for SHADER_DEVICE_ADDRESS, `acceleration_structure` for build inputs"
        ));
    }
    check_buffer(device.physical(), size, object)
}

/// Logs a warning if no descriptor can cover the whole buffer.
pub(crate) fn log_range_warning(device: &ExportDevice, size: u64, usage: vk::BufferUsageFlags, object: &str) {
    if let Some(warning) = range_warning(device.physical(), size, usage, object) {
        log_warn!("{warning}");
    }
}

/// Returns the usages that a shared buffer can have: those of Vulkan 1.0, and those of enabled
/// features.
fn usages(enabled: &EnabledFeatures) -> vk::BufferUsageFlags {
    use vk::BufferUsageFlags as Usage;
    let mut usages = Usage::TRANSFER_SRC
        | Usage::TRANSFER_DST
        | Usage::UNIFORM_TEXEL_BUFFER
        | Usage::STORAGE_TEXEL_BUFFER
        | Usage::UNIFORM_BUFFER
        | Usage::STORAGE_BUFFER
        | Usage::INDEX_BUFFER
        | Usage::VERTEX_BUFFER
        | Usage::INDIRECT_BUFFER;
    if enabled.buffer_device_address {
        usages |= Usage::SHADER_DEVICE_ADDRESS;
    }
    if enabled.acceleration_structure {
        usages |= Usage::ACCELERATION_STRUCTURE_BUILD_INPUT_READ_ONLY_KHR;
    }
    usages
}

/// Returns the handle type as which a buffer of this usage can be exported, and whether only a
/// dedicated allocation can be exported.
pub(crate) fn query_handle_type(
    device: &ExportDevice,
    usage: vk::BufferUsageFlags,
    object: &str,
) -> Result<(HandleType, bool)> {
    for &handle_type in HandleType::MEMORY_TYPES {
        let features = external_features(device.instance(), device.physical().handle, usage, handle_type);
        if features.contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE) {
            return Ok((handle_type, features.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY)));
        }
    }
    Err(Error::NotExportable {
        object: object.to_owned(),
        handle_type: HandleType::NATIVE.as_str(),
        device: device.name().to_owned(),
        reason: format!("the driver does not export buffers of usage {usage:?}"),
    })
}

/// Returns the support of a physical device of `instance` for buffers of `usage` as handles of a
/// type.
pub(crate) fn external_features(
    instance: &ash::Instance,
    physical: vk::PhysicalDevice,
    usage: vk::BufferUsageFlags,
    handle_type: HandleType,
) -> vk::ExternalMemoryFeatureFlags {
    let question = vk::PhysicalDeviceExternalBufferInfo::default().usage(usage).handle_type(handle_type.memory());
    let mut answer = vk::ExternalBufferProperties::default();
    // SAFETY: a query of a physical device of this instance.
    unsafe { instance.get_physical_device_external_buffer_properties(physical, &question, &mut answer) };
    answer.external_memory_properties.external_memory_features
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usages_require_their_features() {
        use vk::BufferUsageFlags as Usage;
        let off = EnabledFeatures::default();
        let address = EnabledFeatures { buffer_device_address: true, ..off };
        let inputs = EnabledFeatures { acceleration_structure: true, ..off };
        assert!(usages(&off).contains(Usage::STORAGE_BUFFER | Usage::VERTEX_BUFFER | Usage::TRANSFER_DST));
        assert!(!usages(&off).intersects(Usage::SHADER_DEVICE_ADDRESS | Usage::from_raw(1 << 31)));
        assert!(usages(&address).contains(Usage::SHADER_DEVICE_ADDRESS));
        assert!(!usages(&address).contains(Usage::ACCELERATION_STRUCTURE_BUILD_INPUT_READ_ONLY_KHR));
        assert!(usages(&inputs).contains(Usage::ACCELERATION_STRUCTURE_BUILD_INPUT_READ_ONLY_KHR));
    }
}
