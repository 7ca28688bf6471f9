//! Drawing an image in a buffer into a picture, with the shader that `bridge-view` uses for this.
#![allow(unsafe_code)] // Vulkan calls.

use anyhow::{Context, Result};
use bridge::ExportDevice;
use bridge::ash::vk;
use vk_local::{LocalBuffer, MemoryLocation};

const SHADER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/picture.spv"));

/// Width and height of a workgroup.
const TILE: u32 = 8;
/// Size of the parameters in bytes.
const PARAMS: u32 = 32;

/// Type of the image's values, numbered as in the shader.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    U8 = 0,
    F16 = 1,
}

impl Kind {
    /// Returns the size of a value in bytes.
    pub(crate) const fn size(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::F16 => 2,
        }
    }
}

/// A pipeline, a descriptor set for each source, and the picture. The owner must wait for the GPU
/// before dropping it.
pub(crate) struct Drawing {
    pipeline: vk::Pipeline,
    layout: vk::PipelineLayout,
    set_layout: vk::DescriptorSetLayout,
    pool: vk::DescriptorPool,
    sets: Vec<vk::DescriptorSet>,
    picture: LocalBuffer,
    size: [u32; 2],
    kind: Kind,
    device: ExportDevice,
}

impl Drawing {
    /// Creates the drawing of images of `size` with four channels, in these buffers.
    pub(crate) fn new(device: &ExportDevice, size: [u32; 2], kind: Kind, sources: &[vk::Buffer]) -> Result<Self> {
        let bytes = 4 * u64::from(size[0]) * u64::from(size[1]);
        let usage = vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::TRANSFER_SRC;
        let mut made = Self {
            pipeline: vk::Pipeline::null(),
            layout: vk::PipelineLayout::null(),
            set_layout: vk::DescriptorSetLayout::null(),
            pool: vk::DescriptorPool::null(),
            sets: Vec::new(),
            picture: LocalBuffer::new(device, "picture by hand", bytes, usage, MemoryLocation::GpuOnly)?,
            size,
            kind,
            device: device.clone(),
        };
        made.make_layouts()?;
        made.make_pipeline()?;
        made.make_sets(sources)?;
        Ok(made)
    }

    fn make_layouts(&mut self) -> Result<()> {
        let raw = self.device.as_raw();
        let binding = |binding| {
            vk::DescriptorSetLayoutBinding::default()
                .binding(binding)
                .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
        };
        let bindings = [binding(0), binding(1)];
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: VUID-VkDescriptorSetLayoutCreateInfo-binding-00279: two different bindings.
        self.set_layout = unsafe { raw.create_descriptor_set_layout(&info, None) }?;
        let range = [vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(PARAMS)];
        let sets = [self.set_layout];
        let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets).push_constant_ranges(&range);
        // SAFETY: VUID-VkPipelineLayoutCreateInfo-setLayoutCount-00286: one set; fewer push
        // constant bytes than every device supports.
        self.layout = unsafe { raw.create_pipeline_layout(&info, None) }?;
        Ok(())
    }

    fn make_pipeline(&mut self) -> Result<()> {
        let raw = self.device.as_raw();
        let words: Vec<u32> =
            SHADER.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
        let info = vk::ShaderModuleCreateInfo::default().code(&words);
        // SAFETY: VUID-VkShaderModuleCreateInfo-pCode-08737: naga validated its output.
        let module = unsafe { raw.create_shader_module(&info, None) }?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main");
        let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(self.layout)];
        // SAFETY: VUID-VkComputePipelineCreateInfo-layout-07987, -07988: the layout contains what
        // the shader declares.
        let made = unsafe { raw.create_compute_pipelines(vk::PipelineCache::null(), &info, None) };
        // SAFETY: VUID-vkDestroyShaderModule-shaderModule-parameter: created above; the pipeline
        // does not need it any more.
        unsafe { raw.destroy_shader_module(module, None) };
        let made = made.map_err(|(_, code)| code).context("vkCreateComputePipelines")?;
        self.pipeline = made.first().copied().unwrap_or_default();
        Ok(())
    }

    fn make_sets(&mut self, sources: &[vk::Buffer]) -> Result<()> {
        let raw = self.device.as_raw();
        let count = u32::try_from(sources.len())?;
        let sizes = [vk::DescriptorPoolSize { ty: vk::DescriptorType::STORAGE_BUFFER, descriptor_count: 2 * count }];
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(count).pool_sizes(&sizes);
        // SAFETY: VUID-VkDescriptorPoolCreateInfo-descriptorPoolOverallocation-09227: callers pass
        // at least one source.
        self.pool = unsafe { raw.create_descriptor_pool(&info, None) }?;
        let layouts = vec![self.set_layout; sources.len()];
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(self.pool).set_layouts(&layouts);
        // SAFETY: VUID-VkDescriptorSetAllocateInfo-apiVersion-07895: the number that the pool was
        // created for.
        self.sets = unsafe { raw.allocate_descriptor_sets(&info) }?;
        for (set, source) in self.sets.iter().zip(sources) {
            let whole = [*source, self.picture.as_raw()]
                .map(|buffer| [vk::DescriptorBufferInfo { buffer, offset: 0, range: vk::WHOLE_SIZE }]);
            let write = |binding: usize| {
                vk::WriteDescriptorSet::default()
                    .dst_set(*set)
                    .dst_binding(binding as u32)
                    .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                    .buffer_info(&whole[binding])
            };
            // SAFETY: VUID-VkWriteDescriptorSet-descriptorType-00333: storage buffers, in a set
            // that no work uses yet.
            unsafe { raw.update_descriptor_sets(&[write(0), write(1)], &[]) };
        }
        Ok(())
    }

    /// Records drawing from a source, after any earlier drawing of the picture.
    ///
    /// # Safety
    /// `commands` is recording outside of a render pass, and the source is acquired.
    pub(crate) unsafe fn record(&self, commands: vk::CommandBuffer, source: usize) -> Result<()> {
        let raw = self.device.as_raw();
        let set = [*self.sets.get(source).context("no such source")?];
        let [width, height] = self.size;
        let words = [width, height, width, height, 4, self.kind as u32, 1.0_f32.to_bits(), 0];
        let writes = vk::AccessFlags::SHADER_WRITE;
        let before = [vk::MemoryBarrier::default().src_access_mask(writes).dst_access_mask(writes)];
        let (stage, none) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::DependencyFlags::empty());
        let point = vk::PipelineBindPoint::COMPUTE;
        // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: a stage of every graphics queue.
        unsafe { raw.cmd_pipeline_barrier(commands, stage, stage, none, &before, &[], &[]) };
        // SAFETY: VUID-vkCmdBindPipeline-pipeline-00779: a compute pipeline of this device.
        unsafe { raw.cmd_bind_pipeline(commands, point, self.pipeline) };
        // SAFETY: VUID-vkCmdBindDescriptorSets-pDescriptorSets-00358: allocated with this layout.
        unsafe { raw.cmd_bind_descriptor_sets(commands, point, self.layout, 0, &set, &[]) };
        let bytes = bytemuck::cast_slice(&words);
        // SAFETY: VUID-vkCmdPushConstants-offset-01795: the only range of the layout.
        unsafe { raw.cmd_push_constants(commands, self.layout, vk::ShaderStageFlags::COMPUTE, 0, bytes) };
        // SAFETY: VUID-vkCmdDispatch-groupCountX-00386: no more than every device supports.
        unsafe { raw.cmd_dispatch(commands, width.div_ceil(TILE), height.div_ceil(TILE), 1) };
        Ok(())
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkDestroyPipeline-pipeline-00765: the owner waited; null is ignored.
        unsafe { raw.destroy_pipeline(self.pipeline, None) };
        // SAFETY: VUID-vkDestroyPipelineLayout-pipelineLayout-parameter: as for the pipeline.
        unsafe { raw.destroy_pipeline_layout(self.layout, None) };
        // SAFETY: VUID-vkDestroyDescriptorPool-descriptorPool-00303: as for the pipeline.
        unsafe { raw.destroy_descriptor_pool(self.pool, None) };
        // SAFETY: VUID-vkDestroyDescriptorSetLayout-descriptorSetLayout-parameter: as for the
        // pipeline.
        unsafe { raw.destroy_descriptor_set_layout(self.set_layout, None) };
    }
}

#[cfg(test)]
mod tests {
    use bridge::half::f16;
    use bridge_tests::Rig;

    use super::*;

    const SIZE: [u32; 2] = [20, 9];

    fn buffer(device: &ExportDevice, size: usize, usage: vk::BufferUsageFlags, place: MemoryLocation) -> LocalBuffer {
        LocalBuffer::new(device, "of a drawing", size as u64, usage, place).unwrap()
    }

    /// Returns the picture that is drawn from an image with these bytes.
    fn drawn(device: &ExportDevice, kind: Kind, image: &[u8]) -> Vec<u8> {
        let usage = vk::BufferUsageFlags::STORAGE_BUFFER;
        let mut source = buffer(device, image.len(), usage, MemoryLocation::CpuToGpu);
        // SAFETY: no work uses the buffer yet.
        unsafe { source.bytes_mut() }.unwrap().copy_from_slice(image);
        let size = (4 * SIZE[0] * SIZE[1]) as usize;
        let target = buffer(device, size, vk::BufferUsageFlags::TRANSFER_DST, MemoryLocation::GpuToCpu);
        let drawing = Drawing::new(device, SIZE, kind, &[source.as_raw()]).unwrap();
        let raw = device.as_raw();
        let record = |commands| {
            let barrier = |from, to| [vk::MemoryBarrier::default().src_access_mask(from).dst_access_mask(to)];
            let none = vk::DependencyFlags::empty();
            let (draws, copies) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::TRANSFER);
            // SAFETY: recording; the host wrote the source, which every submission makes visible.
            unsafe { drawing.record(commands, 0) }.unwrap();
            let drawn = barrier(vk::AccessFlags::SHADER_WRITE, vk::AccessFlags::TRANSFER_READ);
            // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: stages of every graphics queue.
            unsafe { raw.cmd_pipeline_barrier(commands, draws, copies, none, &drawn, &[], &[]) };
            let whole = [vk::BufferCopy::default().size(size as u64)];
            // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116: both buffers have `size` bytes.
            unsafe { raw.cmd_copy_buffer(commands, drawing.picture.as_raw(), target.as_raw(), &whole) };
            let copied = barrier(vk::AccessFlags::TRANSFER_WRITE, vk::AccessFlags::HOST_READ);
            // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: as above.
            unsafe {
                raw.cmd_pipeline_barrier(commands, copies, vk::PipelineStageFlags::HOST, none, &copied, &[], &[])
            };
        };
        // SAFETY: the resources of the commands live until the commands have run.
        unsafe { device.run_once(device.queue(), "drawing", Rig::LONG, record) }.unwrap();
        // SAFETY: the copy has run.
        unsafe { target.bytes() }.unwrap().to_vec()
    }

    #[test]
    fn the_picture_is_the_image() {
        let rig = Rig::open();
        let bytes: Vec<u8> = (0..4 * SIZE[0] * SIZE[1]).map(|index| (index * 37 % 251) as u8).collect();
        assert!(drawn(rig.device(), Kind::U8, &bytes) == bytes);
        let halves: Vec<u8> =
            bytes.iter().flat_map(|&byte| f16::from_f32(f32::from(byte) / 255.0).to_ne_bytes()).collect();
        assert!(drawn(rig.device(), Kind::F16, &halves) == bytes);
    }
}
