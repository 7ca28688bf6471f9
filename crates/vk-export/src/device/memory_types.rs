//! Selection of memory types.

use ash::vk;

use vk::MemoryPropertyFlags as Flags;

/// Types that need an enabled feature, or that only some resources may use.
///
/// `deviceCoherentMemory` (VUID-vkAllocateMemory-deviceCoherentMemory-02790), `protectedMemory`
/// (VUID-VkMemoryAllocateInfo-memoryTypeIndex-01872), and transient attachments.
const SPECIAL: Flags = Flags::from_raw(
    Flags::DEVICE_COHERENT_AMD.as_raw()
        | Flags::DEVICE_UNCACHED_AMD.as_raw()
        | Flags::PROTECTED.as_raw()
        | Flags::LAZILY_ALLOCATED.as_raw(),
);

/// Returns the first memory type of `allowed` that has `wanted` and none of [`SPECIAL`], preferring
/// one that also has `preferred`.
pub(crate) fn memory_type(
    memory: &vk::PhysicalDeviceMemoryProperties,
    allowed: u32,
    wanted: Flags,
    preferred: Flags,
) -> Option<u32> {
    let find = |flags| {
        let mut types = memory.memory_types_as_slice().iter().zip(0u32..);
        types
            .find(|(kind, index)| {
                let has = kind.property_flags;
                allowed & (1 << index) != 0 && has.contains(flags) && !has.intersects(SPECIAL)
            })
            .map(|(_, index)| index)
    };
    find(wanted | preferred).or_else(|| find(wanted))
}

/// Returns the heap index of a memory type; `None` for a type that does not exist.
pub(crate) fn heap_of(memory: &vk::PhysicalDeviceMemoryProperties, memory_type: u32) -> Option<u32> {
    memory.memory_types_as_slice().get(usize::try_from(memory_type).ok()?).map(|kind| kind.heap_index)
}

/// Returns the size in bytes of a memory type's heap; `None` for a type or a heap that does not
/// exist.
pub(crate) fn heap_size(memory: &vk::PhysicalDeviceMemoryProperties, memory_type: u32) -> Option<u64> {
    let heap = usize::try_from(heap_of(memory, memory_type)?).ok()?;
    let heap = memory.memory_heaps_as_slice().get(heap)?;
    Some(heap.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(types: &[Flags]) -> vk::PhysicalDeviceMemoryProperties {
        let mut memory = vk::PhysicalDeviceMemoryProperties {
            memory_type_count: types.len() as u32,
            memory_heap_count: 2,
            ..Default::default()
        };
        memory.memory_heaps[0].size = 8 << 30;
        memory.memory_heaps[1].size = 64 << 20;
        for (kind, flags) in memory.memory_types.iter_mut().zip(types) {
            let heap_index = u32::from(!flags.contains(Flags::DEVICE_LOCAL));
            *kind = vk::MemoryType { property_flags: *flags, heap_index };
        }
        memory
    }

    #[test]
    fn memory_types_that_need_a_feature_are_skipped() {
        for special in
            [Flags::DEVICE_COHERENT_AMD, Flags::DEVICE_UNCACHED_AMD, Flags::PROTECTED, Flags::LAZILY_ALLOCATED]
        {
            let memory = table(&[Flags::DEVICE_LOCAL | special, Flags::DEVICE_LOCAL]);
            assert_eq!(memory_type(&memory, !0, Flags::DEVICE_LOCAL, Flags::empty()), Some(1), "{special:?}");
            assert_eq!(memory_type(&memory, 1, Flags::DEVICE_LOCAL, Flags::empty()), None, "{special:?} alone");
            let host = Flags::HOST_VISIBLE | Flags::HOST_COHERENT;
            let memory = table(&[host | Flags::HOST_CACHED | special, host]);
            assert_eq!(memory_type(&memory, !0, host, Flags::HOST_CACHED), Some(1), "{special:?} preferred");
        }
    }

    #[test]
    fn preferred_memory_type_wins_over_the_first() {
        let host = Flags::HOST_VISIBLE | Flags::HOST_COHERENT;
        let memory = table(&[Flags::DEVICE_LOCAL, host, host | Flags::HOST_CACHED]);
        assert_eq!(memory_type(&memory, !0, host, Flags::HOST_CACHED), Some(2));
        assert_eq!(memory_type(&memory, 0b011, host, Flags::HOST_CACHED), Some(1));
        assert_eq!(memory_type(&memory, 0b001, host, Flags::HOST_CACHED), None);
    }

    #[test]
    fn heap_of_a_memory_type_is_found() {
        let memory = table(&[Flags::DEVICE_LOCAL, Flags::HOST_VISIBLE]);
        assert_eq!(heap_size(&memory, 0), Some(8 << 30));
        assert_eq!(heap_size(&memory, 1), Some(64 << 20));
        assert_eq!(heap_size(&memory, 2), None);
    }
}
