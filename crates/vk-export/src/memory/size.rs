//! Checks of sizes against the device's limits, for buffers, blocks and images.
//!
//! | limit | kind | what happens |
//! |---|---|---|
//! | `maxBufferSize`, `maxResourceSize` of an image | hard | an error without a driver call |
//! | the size of the heap | hard | an error without a driver call |
//! | `maxMemoryAllocationSize` | a promise | still tried: an H100 promises 4 GiB and allows 32 |
//! | pages of 2 MiB | of other GPUs | the memory that they map is enlarged |
//! | `maxStorageBufferRange` | of a descriptor | a warning: shaders can access only a part |
#![allow(unsafe_code)] // A query.

use ash::{ext, vk};

use crate::device::ExportDevice;
use crate::device::memory_types::heap_of;
use crate::device::physical::PhysicalDeviceInfo;
use crate::error::{Error, Result};
use crate::handle::handle_type::HandleType;
use crate::logging::log_debug;
use crate::memory::Placement;

/// Checks that a buffer, or all buffers of a block together, may have `size` bytes
/// (VUID-VkBufferCreateInfo-size-06409).
pub(crate) fn check_buffer(device: &PhysicalDeviceInfo, size: u64, object: &str) -> Result<()> {
    match device.max_buffer_size.filter(|limit| size > *limit) {
        Some(limit) => Err(too_large(device, size, limit, "maxBufferSize", object)),
        None => Ok(()),
    }
}

/// The granularity of mappings on other GPUs: whole pages of this size (measured with NVIDIA driver
/// 580).
const PEER_PAGE: u64 = 2 << 20;

/// Returns the size in bytes with which a buffer or block of `size` requested bytes is created.
pub(crate) fn placed_size(size: u64, placement: Placement) -> u64 {
    match placement {
        // A size that overflows exceeds the limits of every device.
        Placement::Peers => size.checked_next_multiple_of(PEER_PAGE).unwrap_or(u64::MAX),
        Placement::Exportable | Placement::HostVisible | Placement::DeviceLocal => size,
    }
}

/// Checks that an allocation of `size` bytes can be used as the placement requires.
pub(crate) fn check_placed(device: &PhysicalDeviceInfo, size: u64, placement: Placement, object: &str) -> Result<()> {
    if placement != Placement::Peers || size.is_multiple_of(PEER_PAGE) {
        return Ok(());
    }
    Err(Error::NotExportable {
        object: object.to_owned(),
        handle_type: HandleType::NATIVE.as_str(),
        device: device.name.clone(),
        reason: format!("other GPUs map pages of {PEER_PAGE} bytes, and the driver allocates {size} for it"),
    })
}

/// Checks that an image of at least `size` bytes may be created on a device that supports at most
/// `limit` bytes for its format and usage.
pub(crate) fn check_image(device: &PhysicalDeviceInfo, size: u64, limit: u64, object: &str) -> Result<()> {
    if size > limit {
        return Err(too_large(device, size, limit, "maxResourceSize", object));
    }
    Ok(())
}

/// Checks that the heap of a memory type has `size` bytes
/// (VUID-vkAllocateMemory-pAllocateInfo-01713). Logs a size beyond `maxMemoryAllocationSize`.
pub(crate) fn check_memory(device: &PhysicalDeviceInfo, size: u64, memory_type: u32, object: &str) -> Result<()> {
    let heap = device.heap_size(memory_type).unwrap_or(0);
    if size > heap {
        return Err(too_large(device, size, heap, "the size of its memory heap", object));
    }
    let max_allocation_size = device.max_allocation_size;
    if size > max_allocation_size {
        log_debug!(
            "{object}: {size} bytes are more than {} guarantees to allow ({max_allocation_size}, maxMemoryAllocationSize): \
             trying anyway",
            device.name
        );
    }
    Ok(())
}

fn too_large(device: &PhysicalDeviceInfo, size: u64, limit: u64, limit_name: &'static str, object: &str) -> Error {
    Error::TooLarge { object: object.to_owned(), size, limit, limit_name, device: device.name.clone() }
}

/// Returns the warning for a buffer that is larger than a descriptor can cover, if it is.
pub(crate) fn range_warning(
    device: &PhysicalDeviceInfo,
    size: u64,
    usage: vk::BufferUsageFlags,
    object: &str,
) -> Option<String> {
    let range = u64::from(device.limits.max_storage_buffer_range);
    (usage.contains(vk::BufferUsageFlags::STORAGE_BUFFER) && size > range).then(|| {
        format!(
            "{object} has {size} bytes, but a descriptor of {} covers at most {range} (maxStorageBufferRange): bind \
             parts of it, or read it by its device address (`buffer_device_address`)",
            device.name
        )
    })
}

/// Returns the error of an allocation that failed because of a lack of memory, with the available
/// memory.
pub(crate) fn refused(
    device: &ExportDevice,
    result: vk::Result,
    (size, memory_type): (u64, u32),
    object: String,
) -> Error {
    let physical = device.physical();
    let heap = heap_of(&physical.memory, memory_type).unwrap_or(0);
    Error::OutOfMemory {
        object,
        size,
        heap,
        heap_size: physical.heap_size(memory_type).unwrap_or(0),
        free: free(device, heap),
        max_allocation_size: physical.max_allocation_size,
        result,
        device: physical.name.clone(),
    }
}

/// Returns the driver's estimate of how many bytes of a heap this process may still allocate, if
/// the device has `VK_EXT_memory_budget`.
fn free(device: &ExportDevice, heap: u32) -> Option<u64> {
    if !device.physical().has_extension(ext::memory_budget::NAME) {
        return None;
    }
    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
    // SAFETY: a query of a physical device of this instance, which is for at least Vulkan 1.2; the
    // structure is of an extension that the physical device has, and that need not be enabled for
    // this (Vulkan specification, "Physical-Device-Level Functionality").
    unsafe { device.instance().get_physical_device_memory_properties2(device.physical().handle, &mut properties) };
    let heap = usize::try_from(heap).ok()?;
    Some(budget.heap_budget.get(heap)?.saturating_sub(*budget.heap_usage.get(heap)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// Returns the properties that an H100 reports, with two heaps.
    fn device() -> PhysicalDeviceInfo {
        let mut device = PhysicalDeviceInfo::nameless();
        device.max_allocation_size = 4_292_870_144;
        device.max_buffer_size = Some(1 << 40);
        device.limits.max_storage_buffer_range = u32::MAX;
        device.memory.memory_type_count = 2;
        device.memory.memory_types[1].heap_index = 1;
        device.memory.memory_heap_count = 2;
        device.memory.memory_heaps[0].size = 80 * GIB;
        device.memory.memory_heaps[1].size = 2 * GIB;
        device
    }

    fn limit_of(checked: Result<()>) -> Option<(u64, &'static str)> {
        match checked {
            Ok(()) => None,
            Err(Error::TooLarge { limit, limit_name, .. }) => Some((limit, limit_name)),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn sizes_are_checked_against_hard_limits_only() {
        let device = device();
        for size in [1, 4 * GIB, 17 * GIB, 80 * GIB] {
            assert_eq!(limit_of(check_buffer(&device, size, "o")), None, "{size}");
            assert_eq!(limit_of(check_memory(&device, size, 0, "o")), None, "{size}");
            assert_eq!(limit_of(check_image(&device, size, 80 * GIB, "o")), None, "{size}");
        }
        assert_eq!(limit_of(check_buffer(&device, (1 << 40) + 1, "o")), Some((1 << 40, "maxBufferSize")));
        assert_eq!(limit_of(check_buffer(&device, u64::MAX, "o")), Some((1 << 40, "maxBufferSize")));
        let heap = "the size of its memory heap";
        assert_eq!(limit_of(check_memory(&device, 80 * GIB + 1, 0, "o")), Some((80 * GIB, heap)));
        assert_eq!(limit_of(check_memory(&device, 3 * GIB, 1, "o")), Some((2 * GIB, heap)));
        assert_eq!(limit_of(check_memory(&device, 1, 2, "o")), Some((0, heap)), "a type that does not exist");
        assert_eq!(limit_of(check_image(&device, 5 * GIB, 4 * GIB, "o")), Some((4 * GIB, "maxResourceSize")));
        let mut unknown = device;
        unknown.max_buffer_size = None;
        assert_eq!(limit_of(check_buffer(&unknown, u64::MAX, "o")), None);
    }

    #[test]
    fn peer_memory_is_whole_pages() {
        let device = device();
        const PAGE: u64 = 2 << 20;
        for (size, placed) in [(1, PAGE), (PAGE, PAGE), (PAGE + 1, 2 * PAGE), (u64::MAX, u64::MAX)] {
            assert_eq!(placed_size(size, Placement::Peers), placed);
        }
        assert_eq!(placed_size(7, Placement::Exportable), 7);
        assert!(check_placed(&device, 4 * PAGE, Placement::Peers, "o").is_ok());
        assert!(check_placed(&device, 7, Placement::Exportable, "o").is_ok());
        let text = check_placed(&device, PAGE + 256, Placement::Peers, "buffer \"b\"").unwrap_err().to_string();
        assert!(text.contains("buffer \"b\"") && text.contains("2097408"), "{text}");
    }

    #[test]
    fn range_warning_gives_advice() {
        use vk::BufferUsageFlags as Usage;
        let device = device();
        let range = u64::from(u32::MAX);
        assert_eq!(range_warning(&device, range, Usage::STORAGE_BUFFER, "o"), None);
        assert_eq!(range_warning(&device, u64::MAX, Usage::VERTEX_BUFFER | Usage::TRANSFER_DST, "o"), None);
        let text =
            range_warning(&device, range + 1, Usage::STORAGE_BUFFER | Usage::TRANSFER_SRC, "buffer \"b\"").unwrap();
        assert!(text.contains("buffer \"b\" has 4294967296 bytes") && text.contains("at most 4294967295"), "{text}");
        assert!(text.contains("bind parts of it") && text.contains("`buffer_device_address`"), "{text}");
    }
}
