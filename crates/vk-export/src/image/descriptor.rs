//! Descriptions of an image for its importer and for a host mapping.

use ash::vk;

use crate::handle::MemoryHandle;
use crate::image::info::ImageKind;
use crate::memory::MemoryDescriptor;

/// Parameters that an importer of an image must repeat exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageDescriptor {
    /// Description of the image's memory.
    pub memory: MemoryDescriptor,
    /// Dimensions of the image.
    pub kind: ImageKind,
    /// Format of the image.
    pub format: vk::Format,
    /// Width, height and depth of the first level, in texels; unused dimensions are 1.
    pub extent: [u32; 3],
    /// Number of mip levels.
    pub mip_levels: u32,
    /// Number of array layers, six per cube.
    pub array_layers: u32,
    /// Layout of its texels in memory.
    pub tiling: vk::ImageTiling,
    /// Vulkan usage flags, of which an importer must know `COLOR_ATTACHMENT`.
    pub usage: vk::ImageUsageFlags,
}

/// An exported image.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExportedImage {
    /// A handle to the memory, owned by this object. Closed on drop if its type requires that.
    pub handle: MemoryHandle,
    /// Parameters that the importer must repeat.
    pub descriptor: ImageDescriptor,
}

/// Location of one layer of one level in the host mapping, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostLayout {
    /// Bytes from [`Image::host_ptr`](crate::Image::host_ptr) to the first texel.
    pub offset: u64,
    /// Bytes from the first texel to the end of the last row.
    pub size: u64,
    /// Bytes from one row to the next.
    pub row_pitch: u64,
    /// Bytes from one layer to the next; meaningless for an image with one layer.
    pub array_pitch: u64,
    /// Bytes from one slice of a 3D image to the next; meaningless for other images.
    pub depth_pitch: u64,
}
