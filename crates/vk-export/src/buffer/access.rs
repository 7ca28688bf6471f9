//! Vulkan's access to a buffer: one value for its usage flags and for both barriers.

use std::ops::{BitOr, BitOrAssign};

use ash::vk;

use crate::device::stages::covers_copies;

/// Vulkan's access to a shared buffer while it owns it.
///
/// One value decides the usage flags of the buffer and the stages and accesses of its acquire and
/// release barriers, so the three cannot disagree. Combine several accesses with `|`.
///
/// ```
/// use vk_export::BufferAccess;
///
/// let drawn_and_read_back =
///     BufferAccess::VERTEX_INPUT | BufferAccess::TRANSFER_READ;
/// # use vk_export::ash::vk;
/// # let usage = drawn_and_read_back.usage;
/// # assert!(usage.contains(vk::BufferUsageFlags::TRANSFER_SRC));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BufferAccess {
    /// The buffer usage flags that the access needs.
    pub usage: vk::BufferUsageFlags,
    /// The stages that access the buffer.
    pub stages: vk::PipelineStageFlags2,
    /// The accesses that those stages make.
    pub access: vk::AccessFlags2,
}

impl BufferAccess {
    /// Read as vertex input of draws (`vkCmdBindVertexBuffers`).
    pub const VERTEX_INPUT: Self = Self {
        usage: vk::BufferUsageFlags::VERTEX_BUFFER,
        stages: vk::PipelineStageFlags2::VERTEX_INPUT,
        access: vk::AccessFlags2::VERTEX_ATTRIBUTE_READ,
    };
    /// Read as the indices of draws.
    pub const INDEX_INPUT: Self = Self {
        usage: vk::BufferUsageFlags::INDEX_BUFFER,
        stages: vk::PipelineStageFlags2::VERTEX_INPUT,
        access: vk::AccessFlags2::INDEX_READ,
    };
    /// Read as the arguments of indirect draws and dispatches.
    pub const INDIRECT: Self = Self {
        usage: vk::BufferUsageFlags::INDIRECT_BUFFER,
        stages: vk::PipelineStageFlags2::DRAW_INDIRECT,
        access: vk::AccessFlags2::INDIRECT_COMMAND_READ,
    };
    /// Read as a storage buffer by vertex and fragment shaders.
    pub const SHADER_READ: Self = Self {
        usage: vk::BufferUsageFlags::STORAGE_BUFFER,
        stages: vk::PipelineStageFlags2::from_raw(
            vk::PipelineStageFlags2::VERTEX_SHADER.as_raw() | vk::PipelineStageFlags2::FRAGMENT_SHADER.as_raw(),
        ),
        access: vk::AccessFlags2::SHADER_STORAGE_READ,
    };
    /// Read and written as a storage buffer by vertex and fragment shaders. Writes need the
    /// features `vertexPipelineStoresAndAtomics` and `fragmentStoresAndAtomics`.
    pub const SHADER_READ_WRITE: Self = Self {
        usage: Self::SHADER_READ.usage,
        stages: Self::SHADER_READ.stages,
        access: Self::COMPUTE_READ_WRITE.access,
    };
    /// Read as a uniform buffer by vertex and fragment shaders.
    pub const UNIFORM_READ: Self = Self {
        usage: vk::BufferUsageFlags::UNIFORM_BUFFER,
        stages: Self::SHADER_READ.stages,
        access: vk::AccessFlags2::UNIFORM_READ,
    };
    /// Read as a storage buffer by compute shaders.
    pub const COMPUTE_READ: Self = Self {
        usage: vk::BufferUsageFlags::STORAGE_BUFFER,
        stages: vk::PipelineStageFlags2::COMPUTE_SHADER,
        access: vk::AccessFlags2::SHADER_STORAGE_READ,
    };
    /// Read and written as a storage buffer by compute shaders.
    pub const COMPUTE_READ_WRITE: Self = Self {
        usage: vk::BufferUsageFlags::STORAGE_BUFFER,
        stages: vk::PipelineStageFlags2::COMPUTE_SHADER,
        access: vk::AccessFlags2::from_raw(
            vk::AccessFlags2::SHADER_STORAGE_READ.as_raw() | vk::AccessFlags2::SHADER_STORAGE_WRITE.as_raw(),
        ),
    };
    /// The source of copies.
    pub const TRANSFER_READ: Self = Self {
        usage: vk::BufferUsageFlags::TRANSFER_SRC,
        stages: vk::PipelineStageFlags2::ALL_TRANSFER,
        access: vk::AccessFlags2::TRANSFER_READ,
    };
    /// The destination of copies, fills and updates.
    pub const TRANSFER_WRITE: Self = Self {
        usage: vk::BufferUsageFlags::TRANSFER_DST,
        stages: vk::PipelineStageFlags2::ALL_TRANSFER,
        access: vk::AccessFlags2::TRANSFER_WRITE,
    };

    /// Read by address as vertices, indices, transforms or instances in acceleration structure
    /// builds. Needs the features `accelerationStructure` and `bufferDeviceAddress`
    /// ([`EnabledFeatures`](crate::EnabledFeatures)).
    #[doc(alias = "VK_KHR_acceleration_structure")]
    pub const ACCELERATION_STRUCTURE_INPUT: Self = Self {
        usage: vk::BufferUsageFlags::from_raw(
            vk::BufferUsageFlags::ACCELERATION_STRUCTURE_BUILD_INPUT_READ_ONLY_KHR.as_raw()
                | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS.as_raw(),
        ),
        stages: vk::PipelineStageFlags2::ACCELERATION_STRUCTURE_BUILD_KHR,
        access: vk::AccessFlags2::SHADER_READ,
    };

    /// Returns the accesses that write.
    pub fn writes(&self) -> vk::AccessFlags2 {
        writes(self.access)
    }

    /// Returns `true` if commands may copy from a buffer with this access.
    pub fn allows_copies_from(&self) -> bool {
        self.allows_copies(Self::TRANSFER_READ)
    }

    /// Returns `true` if commands may copy to a buffer with this access.
    pub fn allows_copies_to(&self) -> bool {
        self.allows_copies(Self::TRANSFER_WRITE)
    }

    fn allows_copies(&self, needed: Self) -> bool {
        self.usage.contains(needed.usage) && self.access.contains(needed.access) && covers_copies(self.stages)
    }

    /// Returns the access with a [device address](crate::Buffer::device_address), for shaders that
    /// find the buffer by its address instead of a descriptor. Needs the feature
    /// `bufferDeviceAddress` ([`EnabledFeatures`](crate::EnabledFeatures)).
    #[must_use]
    #[doc(alias = "VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT")]
    pub const fn with_device_address(self) -> Self {
        let address = vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS.as_raw();
        Self { usage: vk::BufferUsageFlags::from_raw(self.usage.as_raw() | address), ..self }
    }

    /// Returns an access that allows everything that either of the two allows.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self {
            usage: vk::BufferUsageFlags::from_raw(self.usage.as_raw() | other.usage.as_raw()),
            stages: vk::PipelineStageFlags2::from_raw(self.stages.as_raw() | other.stages.as_raw()),
            access: vk::AccessFlags2::from_raw(self.access.as_raw() | other.access.as_raw()),
        }
    }
}

impl BitOr for BufferAccess {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for BufferAccess {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

/// Returns the accesses of `access` that write.
pub(crate) fn writes(access: vk::AccessFlags2) -> vk::AccessFlags2 {
    use vk::AccessFlags2 as Access;
    let all = Access::SHADER_WRITE
        | Access::SHADER_STORAGE_WRITE
        | Access::COLOR_ATTACHMENT_WRITE
        | Access::DEPTH_STENCIL_ATTACHMENT_WRITE
        | Access::TRANSFER_WRITE
        | Access::ACCELERATION_STRUCTURE_WRITE_KHR
        | Access::MEMORY_WRITE;
    access & all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_address_adds_its_usage_and_nothing_else() {
        const BY_ADDRESS: BufferAccess = BufferAccess::SHADER_READ.with_device_address();
        let usage = BufferAccess::SHADER_READ.usage | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS;
        assert_eq!(BY_ADDRESS, BufferAccess { usage, ..BufferAccess::SHADER_READ });
    }

    #[test]
    fn accesses_are_added_in_place() {
        let mut accesses = BufferAccess::SHADER_READ_WRITE;
        accesses |= BufferAccess::TRANSFER_READ;
        assert_eq!(accesses, BufferAccess::SHADER_READ_WRITE | BufferAccess::TRANSFER_READ);
        assert_eq!(accesses, accesses | BufferAccess::SHADER_READ, "it reads too");
    }
}
