//! Vulkan's side of an image test: commands that fill an image from memory, and that read it back.

use bridge::ash::vk;
use bridge::cuda_import::Texel;
use bridge::vk_export::Image;
use bridge::{ComputeTurn, ExportDevice, ImageSpec, RenderFirst, RenderImage, RenderTurn};
use bridge_tests::{Commands, Rig, to_host};
use vk_local::{LocalBuffer, MemoryLocation};

/// A command buffer, and memory that the host and the copies access, tightly packed: level by
/// level, and layer by layer within a level.
pub(crate) struct Transfer {
    device: ExportDevice,
    commands: Commands,
    memory: LocalBuffer,
}

/// Returns the size of an image in bytes, for all levels and layers.
pub(crate) fn size_of_image(image: &RenderImage<'_>, texel: usize) -> usize {
    let levels = 0..image.range().level_count;
    let texels: usize =
        levels.map(|level| image.level_extent(level).iter().map(|n| *n as usize).product::<usize>()).sum();
    texels * image.range().layer_count as usize * texel
}

impl Transfer {
    pub(crate) fn new(device: &ExportDevice, size: usize) -> Self {
        let usage = vk::BufferUsageFlags::TRANSFER_DST | vk::BufferUsageFlags::TRANSFER_SRC;
        let memory = LocalBuffer::new(device, "transfer", size as u64, usage, MemoryLocation::GpuToCpu).unwrap();
        Self { device: device.clone(), commands: Commands::new(device), memory }
    }

    fn regions(image: &RenderImage<'_>, texel: usize) -> Vec<vk::BufferImageCopy> {
        let mut offset = 0;
        let range = image.range();
        (0..range.level_count)
            .map(|level| {
                let [width, height, depth] = image.level_extent(level);
                let subresource = vk::ImageSubresourceLayers {
                    aspect_mask: vk::ImageAspectFlags::COLOR,
                    mip_level: level,
                    base_array_layer: 0,
                    layer_count: range.layer_count,
                };
                let region = vk::BufferImageCopy::default()
                    .buffer_offset(offset)
                    .image_subresource(subresource)
                    .image_extent(vk::Extent3D { width, height, depth });
                offset += u64::from(width * height * depth * range.layer_count) * texel as u64;
                // Offsets are multiples of the texel size and of 4
                // (VUID-vkCmdCopyImageToBuffer-dstImage-07975 and related).
                offset = offset.next_multiple_of(16);
                region
            })
            .collect()
    }

    /// Returns the bytes with every level at the offset of its copy.
    fn pad(image: &RenderImage<'_>, texel: usize, tight: &[u8]) -> Vec<u8> {
        let mut padded = Vec::new();
        let mut rest = tight;
        for region in Self::regions(image, texel) {
            padded.resize(usize::try_from(region.buffer_offset).unwrap(), 0);
            let (level, after) = rest.split_at(size_of_region(&region, texel));
            padded.extend_from_slice(level);
            rest = after;
        }
        padded
    }

    /// Submits the frame and returns the contents of the image.
    pub(crate) fn read<T: Texel>(&self, turn: RenderTurn<ImageSpec<T>>, texel: usize) -> Vec<u8> {
        let source = turn.resources();
        let regions = Self::regions(&source, texel);
        let commands = self.commands.record(&turn, |commands| self.record_download(commands, &source, texel));
        // SAFETY: recorded with the turn's barriers, waited for below.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        point.wait(Rig::LONG).unwrap();
        // SAFETY: the frame is done, waited for above, with a barrier to the host after its copies.
        let bytes = unsafe { self.memory.bytes() }.unwrap();
        let level = |region: &vk::BufferImageCopy| {
            let start = usize::try_from(region.buffer_offset).unwrap();
            bytes[start..start + size_of_region(region, texel)].to_vec()
        };
        regions.iter().flat_map(level).collect()
    }

    /// Returns the first bytes that were read. The frame must have been waited for.
    pub(crate) fn bytes(&self, len: usize) -> Vec<u8> {
        // SAFETY: the caller has waited for the frame, and the copy ends before the next frame is
        // recorded.
        unsafe { self.memory.bytes() }.unwrap()[..len].to_vec()
    }

    /// Records copies out of an image that is in the layout of its accesses.
    pub(crate) fn record_download(&self, commands: vk::CommandBuffer, source: &RenderImage<'_>, texel: usize) {
        let regions = Self::regions(source, texel);
        let (image, layout, memory) = (source.as_raw(), source.layout(), self.memory.as_raw());
        // SAFETY: recording; the regions are within the image and the memory.
        unsafe { self.device.as_raw().cmd_copy_image_to_buffer(commands, image, layout, memory, &regions) };
        to_host(&self.device, commands);
    }

    /// Writes the first bytes of the memory, which nothing else may use.
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        // SAFETY: earlier submissions have been waited for.
        unsafe { self.memory.bytes_mut() }.unwrap()[..bytes.len()].copy_from_slice(bytes);
    }

    /// Records copies into an image that is in the layout of its accesses.
    pub(crate) fn record_upload(&self, commands: vk::CommandBuffer, target: &RenderImage<'_>, texel: usize) {
        let (memory, image, layout) = (self.memory.as_raw(), target.as_raw(), target.layout());
        let regions = Self::regions(target, texel);
        // SAFETY: recording; the image is in that layout; the regions are within the image and the
        // memory.
        unsafe { self.device.as_raw().cmd_copy_buffer_to_image(commands, memory, image, layout, &regions) };
    }

    /// Records a copy of the first level of an image into the memory.
    pub(crate) fn record_download_of(&self, commands: vk::CommandBuffer, image: &Image, layout: vk::ImageLayout) {
        let memory = self.memory.as_raw();
        // SAFETY: recording; the image is in that layout; its first level fits the memory, as the
        // caller guarantees.
        unsafe {
            self.device.as_raw().cmd_copy_image_to_buffer(commands, image.as_raw(), layout, memory, &first(image));
        }
        to_host(&self.device, commands);
    }

    /// Records a copy of the memory into the first level of an image.
    pub(crate) fn record_upload_of(&self, commands: vk::CommandBuffer, image: &Image, layout: vk::ImageLayout) {
        let memory = self.memory.as_raw();
        // SAFETY: as above.
        unsafe {
            self.device.as_raw().cmd_copy_buffer_to_image(commands, memory, image.as_raw(), layout, &first(image));
        }
    }

    /// Records a copy of the first bytes of the memory into one row of a 2D image.
    pub(crate) fn record_upload_of_row(
        &self,
        commands: vk::CommandBuffer,
        target: &RenderImage<'_>,
        row: u32,
        width: u32,
    ) {
        let (memory, image, layout) = (self.memory.as_raw(), target.as_raw(), target.layout());
        let region = Self::regions(target, 4)[0]
            .image_offset(vk::Offset3D { x: 0, y: row.try_into().unwrap(), z: 0 })
            .image_extent(vk::Extent3D { width, height: 1, depth: 1 });
        // SAFETY: as above; the row is inside the image.
        unsafe { self.device.as_raw().cmd_copy_buffer_to_image(commands, memory, image, layout, &[region]) };
    }

    /// Submits a frame that fills the image with `tight`.
    pub(crate) fn write<T: Texel>(
        &mut self,
        turn: RenderTurn<ImageSpec<T>, RenderFirst>,
        texel: usize,
        tight: &[u8],
    ) -> ComputeTurn<ImageSpec<T>, RenderFirst> {
        let target = turn.resources();
        let padded = Self::pad(&target, texel, tight);
        self.commands.finish();
        self.fill(&padded);
        let recorded = self.commands.record(&turn, |commands| self.record_upload(commands, &target, texel));
        // SAFETY: recorded with the turn's barriers; `note` makes the next recording wait for the
        // commands.
        let turn = unsafe { turn.submit(&[recorded]) }.unwrap();
        self.commands.note(turn.rendered());
        turn
    }
}

/// Returns the region of the first level of the first layer.
fn first(image: &Image) -> [vk::BufferImageCopy; 1] {
    let [width, height, depth] = image.extent();
    let subresource =
        vk::ImageSubresourceLayers { aspect_mask: vk::ImageAspectFlags::COLOR, layer_count: 1, ..Default::default() };
    let extent = vk::Extent3D { width, height, depth };
    [vk::BufferImageCopy::default().image_subresource(subresource).image_extent(extent)]
}

fn size_of_region(region: &vk::BufferImageCopy, texel: usize) -> usize {
    let vk::Extent3D { width, height, depth } = region.image_extent;
    (width * height * depth * region.image_subresource.layer_count) as usize * texel
}

/// Returns pseudorandom bytes that depend only on the seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + size_of_val(&state));
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
