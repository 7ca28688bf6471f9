//! Vulkan's access to an image: one value for its usage, its layout and all its barriers.

use std::ops::{BitOr, BitOrAssign};

use ash::vk;

use crate::buffer::access::writes;
use crate::device::stages::covers_copies;

/// Vulkan's access to a shared image while it owns it.
///
/// One value decides the usage flags of the image, its layout while Vulkan owns it, and the stages
/// and accesses of its barriers, so the four cannot disagree. Combine several accesses with `|`: if
/// their layouts differ, the image is in `VK_IMAGE_LAYOUT_GENERAL`, which allows every access.
///
/// ```
/// use vk_export::ImageAccess;
/// use vk_export::ash::vk;
///
/// assert_eq!(
///     ImageAccess::SAMPLED.layout,
///     vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL
/// );
/// let sampled_and_read_back = ImageAccess::SAMPLED | ImageAccess::TRANSFER_READ;
/// assert_eq!(sampled_and_read_back.layout, vk::ImageLayout::GENERAL);
/// # let usage = sampled_and_read_back.usage;
/// # assert!(usage.contains(vk::ImageUsageFlags::TRANSFER_SRC));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageAccess {
    /// The image usage flags that the access needs.
    pub usage: vk::ImageUsageFlags,
    /// The stages that access the image.
    pub stages: vk::PipelineStageFlags2,
    /// The accesses that those stages make.
    pub access: vk::AccessFlags2,
    /// The layout of the image for these accesses, which descriptors and attachments must name; it
    /// must be allowed by `usage`, see [`check_layout`](crate::ExportDevice::check_layout).
    pub layout: vk::ImageLayout,
}

impl ImageAccess {
    /// Sampled by vertex and fragment shaders.
    pub const SAMPLED: Self = Self {
        usage: vk::ImageUsageFlags::SAMPLED,
        stages: vk::PipelineStageFlags2::from_raw(
            vk::PipelineStageFlags2::VERTEX_SHADER.as_raw() | vk::PipelineStageFlags2::FRAGMENT_SHADER.as_raw(),
        ),
        access: vk::AccessFlags2::SHADER_SAMPLED_READ,
        layout: vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL,
    };
    /// Sampled by compute shaders.
    pub const COMPUTE_SAMPLED: Self = Self {
        usage: vk::ImageUsageFlags::SAMPLED,
        stages: vk::PipelineStageFlags2::COMPUTE_SHADER,
        access: vk::AccessFlags2::SHADER_SAMPLED_READ,
        layout: vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL,
    };
    /// Read as a storage image by compute shaders.
    pub const STORAGE_READ: Self = Self {
        usage: vk::ImageUsageFlags::STORAGE,
        stages: vk::PipelineStageFlags2::COMPUTE_SHADER,
        access: vk::AccessFlags2::SHADER_STORAGE_READ,
        layout: vk::ImageLayout::GENERAL,
    };
    /// Read and written as a storage image by compute shaders.
    pub const STORAGE_READ_WRITE: Self = Self {
        usage: vk::ImageUsageFlags::STORAGE,
        stages: vk::PipelineStageFlags2::COMPUTE_SHADER,
        access: vk::AccessFlags2::from_raw(
            vk::AccessFlags2::SHADER_STORAGE_READ.as_raw() | vk::AccessFlags2::SHADER_STORAGE_WRITE.as_raw(),
        ),
        layout: vk::ImageLayout::GENERAL,
    };
    /// Rendered to, including loading and blending.
    pub const COLOR_ATTACHMENT: Self = Self {
        usage: vk::ImageUsageFlags::COLOR_ATTACHMENT,
        stages: vk::PipelineStageFlags2::COLOR_ATTACHMENT_OUTPUT,
        access: vk::AccessFlags2::from_raw(
            vk::AccessFlags2::COLOR_ATTACHMENT_READ.as_raw() | vk::AccessFlags2::COLOR_ATTACHMENT_WRITE.as_raw(),
        ),
        layout: vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL,
    };
    /// The source of copies and blits.
    pub const TRANSFER_READ: Self = Self {
        usage: vk::ImageUsageFlags::TRANSFER_SRC,
        stages: vk::PipelineStageFlags2::ALL_TRANSFER,
        access: vk::AccessFlags2::TRANSFER_READ,
        layout: vk::ImageLayout::TRANSFER_SRC_OPTIMAL,
    };
    /// The destination of copies, blits and clears.
    pub const TRANSFER_WRITE: Self = Self {
        usage: vk::ImageUsageFlags::TRANSFER_DST,
        stages: vk::PipelineStageFlags2::ALL_TRANSFER,
        access: vk::AccessFlags2::TRANSFER_WRITE,
        layout: vk::ImageLayout::TRANSFER_DST_OPTIMAL,
    };

    #[cfg(test)]
    pub(crate) const ALL: [Self; 7] = [
        Self::SAMPLED,
        Self::COMPUTE_SAMPLED,
        Self::STORAGE_READ,
        Self::STORAGE_READ_WRITE,
        Self::COLOR_ATTACHMENT,
        Self::TRANSFER_READ,
        Self::TRANSFER_WRITE,
    ];

    /// Returns the accesses that write.
    pub fn writes(&self) -> vk::AccessFlags2 {
        writes(self.access)
    }

    /// Returns `true` if commands may copy from an image with this access, in its layout.
    pub fn allows_copies_from(&self) -> bool {
        self.allows_copies(Self::TRANSFER_READ)
    }

    /// Returns `true` if commands may copy to an image with this access, in its layout.
    pub fn allows_copies_to(&self) -> bool {
        self.allows_copies(Self::TRANSFER_WRITE)
    }

    fn allows_copies(&self, needed: Self) -> bool {
        [needed.layout, vk::ImageLayout::GENERAL].contains(&self.layout)
            && self.usage.contains(needed.usage)
            && self.access.contains(needed.access)
            && covers_copies(self.stages)
    }

    /// Returns the same access in another layout: the one in which an engine returns the image,
    /// such as `VK_IMAGE_LAYOUT_GENERAL` if it keeps all its images in that layout. The turn's
    /// acquire transitions the image into this layout, and its release expects the image in it.
    ///
    /// Call it last, because [`union`](Self::union) sets the layout again.
    ///
    /// ```
    /// use vk_export::ImageAccess;
    /// use vk_export::ash::vk;
    ///
    /// let both = ImageAccess::SAMPLED | ImageAccess::TRANSFER_READ;
    /// let sampled = both.in_layout(vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL);
    /// assert_eq!(sampled.layout, vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL);
    /// assert_eq!(sampled.usage, both.usage);
    /// ```
    #[must_use]
    pub const fn in_layout(self, layout: vk::ImageLayout) -> Self {
        Self { layout, ..self }
    }

    /// Returns both accesses combined, in the layout that they share, otherwise in
    /// `VK_IMAGE_LAYOUT_GENERAL`.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self {
            usage: vk::ImageUsageFlags::from_raw(self.usage.as_raw() | other.usage.as_raw()),
            stages: vk::PipelineStageFlags2::from_raw(self.stages.as_raw() | other.stages.as_raw()),
            access: vk::AccessFlags2::from_raw(self.access.as_raw() | other.access.as_raw()),
            layout: if self.layout.as_raw() == other.layout.as_raw() { self.layout } else { vk::ImageLayout::GENERAL },
        }
    }
}

impl BitOr for ImageAccess {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for ImageAccess {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_combined_only_if_equal() {
        let sampled = ImageAccess::SAMPLED | ImageAccess::COMPUTE_SAMPLED;
        assert_eq!(sampled.layout, vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL);
        assert!(sampled.stages.contains(vk::PipelineStageFlags2::COMPUTE_SHADER | ImageAccess::SAMPLED.stages));
        let mixed = sampled | ImageAccess::COLOR_ATTACHMENT;
        assert_eq!(mixed.layout, vk::ImageLayout::GENERAL);
        assert!(mixed.access.contains(vk::AccessFlags2::COLOR_ATTACHMENT_WRITE | sampled.access));
        assert_eq!((mixed | ImageAccess::COLOR_ATTACHMENT).layout, vk::ImageLayout::GENERAL);
        let mut in_place = sampled;
        in_place |= ImageAccess::COLOR_ATTACHMENT;
        assert_eq!(in_place, mixed);
    }
}
