//! An image that Vulkan and CUDA share, created by hand: allocated, exported, imported and mapped
//! as a surface.
#![allow(unsafe_code)] // Vulkan and driver calls.

use std::ffi::c_void;
use std::ptr;

use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::sys;
use bridge::{CudaCompute, ExportDevice};

use super::cuda::{Kernel, bound, check, warn};
use super::handle;
use super::shared::Exports;

/// The format of all images here; a texel has 8 bytes.
pub(crate) const FORMAT: vk::Format = vk::Format::R16G16B16A16_SFLOAT;

/// A shared image to copy from. The owner must wait for both sides before dropping it.
pub(crate) struct SharedImage {
    image: vk::Image,
    memory: vk::DeviceMemory,
    imported: sys::CUexternalMemory,
    array: sys::CUmipmappedArray,
    surface: sys::CUsurfObject,
    device: ExportDevice,
}

impl SharedImage {
    /// Creates an image of `extent` texels.
    pub(crate) fn new(device: &ExportDevice, cuda: &CudaCompute, exports: &Exports, extent: [u32; 2]) -> Result<Self> {
        let raw = device.as_raw();
        let [width, height] = extent;
        let mut external =
            vk::ExternalMemoryImageCreateInfo::default().handle_types(vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD);
        let info = vk::ImageCreateInfo::default()
            .image_type(vk::ImageType::TYPE_2D)
            .format(FORMAT)
            .extent(vk::Extent3D { width, height, depth: 1 })
            .mip_levels(1)
            .array_layers(1)
            .samples(vk::SampleCountFlags::TYPE_1)
            .tiling(vk::ImageTiling::OPTIMAL)
            .usage(vk::ImageUsageFlags::TRANSFER_SRC)
            .push_next(&mut external);
        // SAFETY: VUID-VkImageCreateInfo-pNext-00990, -imageCreateMaxMipLevels-02251: the bridge
        // has created the same image, after querying its support.
        let image = unsafe { raw.create_image(&info, None) }?;
        // From here on, a failure drops what was created; null handles are ignored.
        let mut shared = Self {
            image,
            memory: vk::DeviceMemory::null(),
            imported: ptr::null_mut(),
            array: ptr::null_mut(),
            surface: 0,
            device: device.clone(),
        };
        let (size, own) = shared.allocate()?;
        bound(cuda)?;
        shared.imported = handle::memory(&exports.memory, shared.memory, size, own)?;
        shared.map(extent)?;
        Ok(shared)
    }

    /// Binds exportable memory to the image; returns its size in bytes, and whether it is
    /// dedicated.
    fn allocate(&mut self) -> Result<(u64, bool)> {
        let raw = self.device.as_raw();
        let mut dedicated = vk::MemoryDedicatedRequirements::default();
        let mut requirements = vk::MemoryRequirements2::default().push_next(&mut dedicated);
        let question = vk::ImageMemoryRequirementsInfo2::default().image(self.image);
        // SAFETY: a live image of this device.
        unsafe { raw.get_image_memory_requirements2(&question, &mut requirements) };
        let requirements = requirements.memory_requirements;
        let own = dedicated.prefers_dedicated_allocation | dedicated.requires_dedicated_allocation != 0;
        let types = self.device.physical().memory.memory_types_as_slice().iter().zip(0u32..);
        let memory_type = types
            .filter(|(_, index)| requirements.memory_type_bits & (1 << index) != 0)
            .find(|(kind, _)| kind.property_flags.contains(vk::MemoryPropertyFlags::DEVICE_LOCAL))
            .map(|(_, index)| index)
            .context("no memory type for a shared image")?;
        let mut export =
            vk::ExportMemoryAllocateInfo::default().handle_types(vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD);
        let mut to = vk::MemoryDedicatedAllocateInfo::default().image(self.image);
        let mut info = vk::MemoryAllocateInfo::default()
            .allocation_size(requirements.size)
            .memory_type_index(memory_type)
            .push_next(&mut export);
        if own {
            info = info.push_next(&mut to);
        }
        // SAFETY: VUID-vkAllocateMemory-pAllocateInfo-01714: the type is one of the device's; the
        // size is the image's.
        self.memory = unsafe { raw.allocate_memory(&info, None) }?;
        // SAFETY: VUID-vkBindImageMemory-memory-01047 to -01049: the type, size and alignment are
        // the image's.
        unsafe { raw.bind_image_memory(self.image, self.memory, 0) }?;
        Ok((requirements.size, own))
    }

    /// Maps the imported memory as an array like the Vulkan image. The context must be bound.
    fn map(&mut self, [width, height]: [u32; 2]) -> Result<()> {
        let desc = sys::CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC {
            offset: 0,
            arrayDesc: sys::CUDA_ARRAY3D_DESCRIPTOR {
                Width: width as usize,
                Height: height as usize,
                Depth: 0,
                Format: sys::CUarray_format::CU_AD_FORMAT_HALF,
                NumChannels: 4,
                Flags: sys::CUDA_ARRAY3D_SURFACE_LDST,
            },
            numLevels: 1,
            reserved: [0; 16],
        };
        // SAFETY: the memory was just imported; the array matches the image, with one level.
        let code = unsafe { sys::cuExternalMemoryGetMappedMipmappedArray(&mut self.array, self.imported, &desc) };
        check("cuExternalMemoryGetMappedMipmappedArray", code)?;
        let mut level = ptr::null_mut();
        // SAFETY: the array has a level 0, which lives as long as the array.
        check("cuMipmappedArrayGetLevel", unsafe { sys::cuMipmappedArrayGetLevel(&mut level, self.array, 0) })?;
        // SAFETY: a plain C struct; 0 is CU_RESOURCE_TYPE_ARRAY, and "flags must be zero".
        let mut desc: sys::CUDA_RESOURCE_DESC = unsafe { std::mem::zeroed() };
        desc.resType = sys::CUresourcetype::CU_RESOURCE_TYPE_ARRAY;
        desc.res.array.hArray = level;
        // SAFETY: the array was mapped with CUDA_ARRAY3D_SURFACE_LDST.
        check("cuSurfObjectCreate", unsafe { sys::cuSurfObjectCreate(&mut self.surface, &desc) })
    }

    pub(crate) fn as_raw(&self) -> vk::Image {
        self.image
    }

    /// Returns the surface through which CUDA writes the image.
    pub(crate) fn surface(&self) -> sys::CUsurfObject {
        self.surface
    }
}

impl Drop for SharedImage {
    fn drop(&mut self) {
        if self.surface != 0 {
            // SAFETY: the owner waited for the kernels that use the surface.
            warn(check("cuSurfObjectDestroy", unsafe { sys::cuSurfObjectDestroy(self.surface) }));
        }
        if !self.array.is_null() {
            // SAFETY: the owner waited for the kernels; "mapped mipmapped arrays must be freed
            // using cuMipmappedArrayDestroy".
            warn(check("cuMipmappedArrayDestroy", unsafe { sys::cuMipmappedArrayDestroy(self.array) }));
        }
        if !self.imported.is_null() {
            // SAFETY: the only mapping has been freed.
            warn(check("cuDestroyExternalMemory", unsafe { sys::cuDestroyExternalMemory(self.imported) }));
        }
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkDestroyImage-image-01000: the owner waited for the submissions that use
        // the image.
        unsafe { raw.destroy_image(self.image, None) };
        // SAFETY: VUID-vkFreeMemory-memory-00677: the memory is no longer used.
        unsafe { raw.free_memory(self.memory, None) };
    }
}

/// Number of threads in a block of the kernels that fill images.
const BLOCK: u32 = 256;

/// Launches `paint`, which fills a surface, or `paint_buffer`, which fills a buffer, depending on
/// `target`.
///
/// # Safety
/// `target` is what the kernel takes and has `extent` texels of four half floats. The stream may
/// write it, and it lives until the kernel is done.
pub(crate) unsafe fn paint(
    kernel: Kernel,
    stream: sys::CUstream,
    target: Target,
    [width, height]: [u32; 2],
    mut value: u16,
) -> Result<()> {
    let mut texels = width * height;
    let blocks = texels.div_ceil(BLOCK);
    match target {
        Target::Surface(mut surface) => {
            let mut width = width;
            let arguments: [*mut c_void; 4] =
                [(&raw mut surface).cast(), (&raw mut width).cast(), (&raw mut texels).cast(), (&raw mut value).cast()];
            // SAFETY: the kernel's four parameters, of these types; it stays within `texels`
            // texels.
            unsafe { kernel.launch(stream, blocks, BLOCK, arguments) }
        }
        Target::Buffer(mut pointer) => {
            let arguments: [*mut c_void; 3] =
                [(&raw mut pointer).cast(), (&raw mut texels).cast(), (&raw mut value).cast()];
            // SAFETY: the kernel's three parameters, of these types; it stays within `texels`
            // texels.
            unsafe { kernel.launch(stream, blocks, BLOCK, arguments) }
        }
    }
}

/// The target of a kernel.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Target of `paint`.
    Surface(sys::CUsurfObject),
    /// Target of `paint_buffer`.
    Buffer(sys::CUdeviceptr),
}
