//! Operations of the tests on an image in Vulkan: hand-overs around commands that write and read
//! all of it.

use bridge::ash::vk;
use bridge::vk_export::{Counterpart, ExportDevice, Image, ImageAccess, ImageHandover};
use bridge_tests::{Rig, to_host};
use vk_local::{LocalBuffer, MemoryLocation};

fn handover(image: &Image, counterpart: Counterpart, accesses: ImageAccess) -> ImageHandover {
    ImageHandover::new(image, counterpart, image.device().queue().family(), accesses)
}

fn barrier(device: &ExportDevice, commands: vk::CommandBuffer, barrier: Option<vk::ImageMemoryBarrier2<'static>>) {
    let Some(barrier) = barrier else { return };
    let barriers = [barrier];
    // SAFETY: recording, on an image that lives until `run` returns.
    unsafe { device.cmd_pipeline_barrier2(commands, &vk::DependencyInfo::default().image_memory_barriers(&barriers)) };
}

pub(crate) fn run(device: &ExportDevice, record: impl FnOnce(vk::CommandBuffer)) {
    // SAFETY: the tests record valid commands on objects that they keep alive.
    unsafe { device.run_once(device.queue(), "test", Rig::LONG, record) }.unwrap();
}

/// Hands a new image over to its counterpart.
pub(crate) fn initialize(image: &Image, counterpart: Counterpart) {
    let device = image.device();
    let handover = handover(image, counterpart, ImageAccess::TRANSFER_WRITE);
    run(device, |commands| {
        barrier(device, commands, Some(handover.initial()));
        barrier(device, commands, Some(handover.release()));
    });
}

/// Acquires the image from its counterpart, records commands, and gives it back.
pub(crate) fn turn(
    image: &Image,
    counterpart: Counterpart,
    accesses: ImageAccess,
    record: impl FnOnce(vk::CommandBuffer),
) {
    let device = image.device();
    let handover = handover(image, counterpart, accesses);
    run(device, |commands| {
        barrier(device, commands, Some(handover.acquire()));
        barrier(device, commands, handover.transition_in());
        record(commands);
        barrier(device, commands, handover.transition_out());
        barrier(device, commands, Some(handover.release()));
    });
}

/// Each layer of each level.
pub(crate) fn subresources(image: &Image) -> impl Iterator<Item = (u32, u32)> + use<> {
    let layers = image.array_layers();
    (0..image.mip_levels()).flat_map(move |level| (0..layers).map(move |layer| (level, layer)))
}

/// The value that [`clear`] writes to a layer of a level.
pub(crate) fn value((level, layer): (u32, u32), base: u32) -> u32 {
    base + 100 * level + layer
}

pub(crate) fn clear(image: &Image, counterpart: Counterpart, base: u32) {
    let accesses = ImageAccess::TRANSFER_WRITE;
    turn(image, counterpart, accesses, |commands| {
        for subresource in subresources(image) {
            let color = vk::ClearColorValue { uint32: [value(subresource, base); 4] };
            let (base_mip_level, base_array_layer) = subresource;
            let range = vk::ImageSubresourceRange {
                base_mip_level,
                base_array_layer,
                level_count: 1,
                layer_count: 1,
                ..image.range()
            };
            let raw = image.device().as_raw();
            // SAFETY: between the barriers, in the barriers' layout.
            unsafe { raw.cmd_clear_color_image(commands, image.as_raw(), accesses.layout, &color, &[range]) };
        }
    });
}

/// Copies of one aspect of an image, between the image and the start of a buffer.
#[derive(Clone, Copy)]
pub(crate) struct Copies {
    pub(crate) aspect: vk::ImageAspectFlags,
    /// Bytes in a block or texel.
    pub(crate) block: u64,
    /// Texels along a side of a block.
    pub(crate) side: u32,
}

impl Copies {
    /// Copies of the color aspect, with texels of `size` bytes.
    pub(crate) fn of_texels(size: u64) -> Self {
        Self { aspect: vk::ImageAspectFlags::COLOR, block: size, side: 1 }
    }

    /// Bytes in a layer of a level.
    fn size(&self, image: &Image, level: u32) -> u64 {
        let [width, height, depth] = image.level_extent(level);
        let blocks = u64::from(width.div_ceil(self.side)) * u64::from(height.div_ceil(self.side));
        blocks * u64::from(depth) * self.block
    }

    /// Bytes in all layers of all levels.
    pub(crate) fn total(&self, image: &Image) -> u64 {
        subresources(image).map(|(level, _)| self.size(image, level)).sum()
    }

    /// One region for each layer of each level, one after the other.
    fn regions(&self, image: &Image) -> Vec<vk::BufferImageCopy> {
        let mut buffer_offset = 0;
        let region = |(mip_level, base_array_layer)| {
            let [width, height, depth] = image.level_extent(mip_level);
            let region = vk::BufferImageCopy::default()
                .buffer_offset(buffer_offset)
                .image_subresource(vk::ImageSubresourceLayers {
                    aspect_mask: self.aspect,
                    mip_level,
                    base_array_layer,
                    layer_count: 1,
                })
                .image_extent(vk::Extent3D { width, height, depth });
            buffer_offset += self.size(image, mip_level);
            region
        };
        subresources(image).map(region).collect()
    }

    /// Returns the contents of the image, read through Vulkan.
    pub(crate) fn read(&self, image: &Image, counterpart: Counterpart) -> Vec<u8> {
        let device = image.device();
        let (size, usage) = (self.total(image), vk::BufferUsageFlags::TRANSFER_DST);
        let target = LocalBuffer::new(device, "readback", size, usage, MemoryLocation::GpuToCpu).unwrap();
        let accesses = ImageAccess::TRANSFER_READ;
        let regions = self.regions(image);
        turn(image, counterpart, accesses, |commands| {
            let (raw, from) = (device.as_raw(), image.as_raw());
            // SAFETY: between the barriers, in the barriers' layout; the regions are the image's
            // own and fit the buffer.
            unsafe { raw.cmd_copy_image_to_buffer(commands, from, accesses.layout, target.as_raw(), &regions) };
            to_host(device, commands);
        });
        // SAFETY: the commands have run and `turn` has waited for them; they end with a barrier to
        // the host.
        unsafe { target.bytes() }.unwrap().to_vec()
    }

    /// Writes the whole image.
    pub(crate) fn write(&self, image: &Image, counterpart: Counterpart, bytes: &[u8]) {
        let device = image.device();
        let (size, usage) = (self.total(image), vk::BufferUsageFlags::TRANSFER_SRC);
        let mut source = LocalBuffer::new(device, "source", size, usage, MemoryLocation::CpuToGpu).unwrap();
        // SAFETY: the GPU does not use the buffer yet.
        unsafe { source.bytes_mut() }.unwrap().copy_from_slice(bytes);
        let accesses = ImageAccess::TRANSFER_WRITE;
        let regions = self.regions(image);
        turn(image, counterpart, accesses, |commands| {
            let (raw, to) = (device.as_raw(), image.as_raw());
            // SAFETY: between the barriers, in the barriers' layout; the regions are the image's
            // own and fit the buffer.
            unsafe { raw.cmd_copy_buffer_to_image(commands, source.as_raw(), to, accesses.layout, &regions) };
        });
    }
}

/// Returns the 4-byte texels of each layer of each level, read through Vulkan.
pub(crate) fn read(image: &Image, counterpart: Counterpart) -> Vec<((u32, u32), Vec<u32>)> {
    let copies = Copies::of_texels(4);
    let mut words = bytemuck::pod_collect_to_vec::<u8, u32>(&copies.read(image, counterpart)).into_iter();
    let len = |level| usize::try_from(copies.size(image, level) / 4).unwrap();
    subresources(image).map(|at| (at, words.by_ref().take(len(at.0)).collect())).collect()
}
