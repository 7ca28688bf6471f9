//! The compute pipelines that draw images and points into the picture.

// Vulkan calls.
#![allow(unsafe_code)]

use std::ffi::CStr;

use bridge::ExportDevice;
use bridge::ash::vk;

use crate::error::{Result, failed};

/// The fields of `Params` in `picture.wgsl`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageParams {
    pub(crate) source: [u32; 2],
    pub(crate) picture: [u32; 2],
    pub(crate) channels: u32,
    pub(crate) kind: u32,
    pub(crate) gain: f32,
    pub(crate) flags: u32,
}

/// The fields of `Params` in `points.wgsl`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PointParams {
    /// Column-major matrix.
    pub(crate) camera: [f32; 16],
    pub(crate) count: u32,
    pub(crate) channels: u32,
    pub(crate) picture: [u32; 2],
    pub(crate) size: u32,
    pub(crate) color: u32,
    pub(crate) separate: u32,
}

/// Size of the larger of the two parameter structures in bytes, with WGSL's padding.
const PARAMS: u32 = 96;

const ELEMENTS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/elements.spv"));
const TEXELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/texels.spv"));
const POINTS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/points.spv"));

/// Width and height of a workgroup of `picture.wgsl`.
const TILE: u32 = 8;
/// Invocations per workgroup of `points.wgsl`, and maximum number of workgroups per row (`ROW`).
const GROUP: u32 = 256;
const ROW: u32 = 65535;

/// Parameters of an image or of points.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Params {
    /// An image in a buffer.
    Image(ImageParams),
    /// A shared image.
    Texture(ImageParams),
    Points(PointParams),
}

/// The pipelines and their layouts. Dropping this frees them immediately: keep it until the GPU no
/// longer uses them.
pub(crate) struct Pipelines {
    image: vk::Pipeline,
    texture: vk::Pipeline,
    /// The passes for points: clear, nearest, color.
    points: [vk::Pipeline; 3],
    layout: vk::PipelineLayout,
    set_layout: vk::DescriptorSetLayout,
    device: ExportDevice,
}

impl Pipelines {
    pub(crate) fn new(device: &ExportDevice) -> Result<Self> {
        // Each handle is stored as soon as it is created, so that a failure frees the earlier ones.
        let mut made = Self {
            image: vk::Pipeline::null(),
            texture: vk::Pipeline::null(),
            points: [vk::Pipeline::null(); 3],
            layout: vk::PipelineLayout::null(),
            set_layout: vk::DescriptorSetLayout::null(),
            device: device.clone(),
        };
        let raw = device.as_raw();
        let binding = |binding, ty| {
            vk::DescriptorSetLayoutBinding::default()
                .binding(binding)
                .descriptor_type(ty)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
        };
        let (buffer, image) = (vk::DescriptorType::STORAGE_BUFFER, vk::DescriptorType::SAMPLED_IMAGE);
        let bindings = [binding(0, buffer), binding(1, buffer), binding(2, buffer), binding(3, image)];
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: VUID-VkDescriptorSetLayoutCreateInfo-binding-00279: the four bindings are
        // different.
        let set_layout = unsafe { raw.create_descriptor_set_layout(&info, None) };
        made.set_layout = set_layout.map_err(failed(device, "vkCreateDescriptorSetLayout"))?;
        let sets = [made.set_layout];
        let range = vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(PARAMS);
        let ranges = [range];
        let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets).push_constant_ranges(&ranges);
        made.layout =
            // SAFETY: VUID-VkPipelineLayoutCreateInfo-setLayoutCount-00286: one set, and 96 of the
            // 128 bytes that every device supports.
            unsafe { raw.create_pipeline_layout(&info, None) }.map_err(failed(device, "vkCreatePipelineLayout"))?;
        made.image = made.pipeline(ELEMENTS, c"main")?;
        made.texture = made.pipeline(TEXELS, c"main")?;
        for (place, entry) in [c"clear", c"nearest", c"color"].into_iter().enumerate() {
            made.points[place] = made.pipeline(POINTS, entry)?;
        }
        Ok(made)
    }

    fn pipeline(&self, spirv: &[u8], entry: &CStr) -> Result<vk::Pipeline> {
        let (device, raw) = (&self.device, self.device.as_raw());
        let words: Vec<u32> =
            spirv.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
        let info = vk::ShaderModuleCreateInfo::default().code(&words);
        let module =
            // SAFETY: VUID-VkShaderModuleCreateInfo-pCode-08737: naga has validated the shader.
            unsafe { raw.create_shader_module(&info, None) }.map_err(failed(device, "vkCreateShaderModule"))?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(entry);
        let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(self.layout)];
        // SAFETY: VUID-VkComputePipelineCreateInfo-layout-07987, -07988: the layout contains all
        // that the shaders declare.
        let pipelines = unsafe { raw.create_compute_pipelines(vk::PipelineCache::null(), &info, None) };
        // SAFETY: VUID-vkDestroyShaderModule-shaderModule-parameter: created above; pipelines do
        // not need the module after their creation.
        unsafe { raw.destroy_shader_module(module, None) };
        let pipelines = pipelines.map_err(|(_, code)| failed(device, "vkCreateComputePipelines")(code))?;
        Ok(pipelines.first().copied().unwrap_or_default())
    }

    pub(crate) fn set_layout(&self) -> vk::DescriptorSetLayout {
        self.set_layout
    }

    /// Returns the pool sizes for `count` sets.
    pub(crate) fn pool_sizes(count: u32) -> [vk::DescriptorPoolSize; 2] {
        let size = |ty, descriptor_count| vk::DescriptorPoolSize { ty, descriptor_count };
        [size(vk::DescriptorType::STORAGE_BUFFER, 3 * count), size(vk::DescriptorType::SAMPLED_IMAGE, count)]
    }

    /// Records drawing from the source bound in the set into the picture, with the depth buffer for
    /// points.
    ///
    /// # Safety
    /// `commands` is recording outside a render pass. The resources bound in the set contain the
    /// image or the points, the picture and the depths that `params` describes. They and the
    /// pipelines live until the commands have run.
    pub(crate) unsafe fn record(&self, commands: vk::CommandBuffer, set: vk::DescriptorSet, params: Params) {
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkCmdBindDescriptorSets-pDescriptorSets-00358: the pipeline layout was
        // created with the layout of the set.
        unsafe {
            raw.cmd_bind_descriptor_sets(commands, vk::PipelineBindPoint::COMPUTE, self.layout, 0, &[set], &[]);
        }
        let bytes = params.to_bytes();
        // SAFETY: VUID-vkCmdPushConstants-offset-01795: the range is the one of the layout.
        unsafe { raw.cmd_push_constants(commands, self.layout, vk::ShaderStageFlags::COMPUTE, 0, &bytes) };
        match params {
            Params::Image(image) | Params::Texture(image) => {
                let texture = matches!(params, Params::Texture(_));
                let pipeline = if texture { self.texture } else { self.image };
                let groups = image.picture.map(|side| side.div_ceil(TILE));
                // SAFETY: the caller upholds the contract.
                unsafe { self.dispatch(commands, pipeline, groups) };
            }
            Params::Points(points) => {
                let [width, height] = points.picture;
                let invocations = [width * height, points.count, points.count];
                for (pipeline, invocations) in self.points.into_iter().zip(invocations) {
                    let groups = invocations.div_ceil(GROUP);
                    // SAFETY: the caller upholds the contract.
                    unsafe { self.dispatch(commands, pipeline, [groups.min(ROW), groups.div_ceil(ROW)]) };
                    // SAFETY: the command buffer is recording, outside a render pass.
                    unsafe { self.barrier(commands) };
                }
            }
        }
    }

    /// # Safety
    /// The contract of [`record`](Self::record); set and parameters are bound. No count is greater
    /// than 65 535.
    unsafe fn dispatch(&self, commands: vk::CommandBuffer, pipeline: vk::Pipeline, [x, y]: [u32; 2]) {
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkCmdBindPipeline-pipeline-00779: it is a compute pipeline of this device.
        unsafe { raw.cmd_bind_pipeline(commands, vk::PipelineBindPoint::COMPUTE, pipeline) };
        // SAFETY: VUID-vkCmdDispatch-groupCountX-00386: the counts are within the limits of every
        // device.
        unsafe { raw.cmd_dispatch(commands, x, y, 1) };
    }

    /// # Safety
    /// `commands` is recording.
    unsafe fn barrier(&self, commands: vk::CommandBuffer) {
        let shader = vk::AccessFlags::SHADER_READ | vk::AccessFlags::SHADER_WRITE;
        let barrier =
            vk::MemoryBarrier::default().src_access_mask(vk::AccessFlags::SHADER_WRITE).dst_access_mask(shader);
        let stage = vk::PipelineStageFlags::COMPUTE_SHADER;
        // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: every graphics queue supports the
        // stage.
        unsafe {
            let none = vk::DependencyFlags::empty();
            self.device.as_raw().cmd_pipeline_barrier(commands, stage, stage, none, &[barrier], &[], &[]);
        }
    }
}

impl Params {
    /// Returns the bytes of the whole push constant range, so that no part of it is undefined.
    fn to_bytes(self) -> Vec<u8> {
        let words: Vec<u32> = match self {
            Self::Image(image) | Self::Texture(image) => {
                let ImageParams { source: [sw, sh], picture: [pw, ph], channels, kind, gain, flags } = image;
                vec![sw, sh, pw, ph, channels, kind, gain.to_bits(), flags]
            }
            Self::Points(PointParams { camera, count, channels, picture: [width, height], size, color, separate }) => {
                let rest = [count, channels, width, height, size, color, separate];
                camera.iter().map(|entry| entry.to_bits()).chain(rest).collect()
            }
        };
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.resize(PARAMS as usize, 0);
        bytes
    }
}

impl Drop for Pipelines {
    fn drop(&mut self) {
        let raw = self.device.as_raw();
        for pipeline in [self.image, self.texture].into_iter().chain(self.points) {
            // SAFETY: VUID-vkDestroyPipeline-pipeline-00765: the GPU no longer uses the pipeline,
            // as documented; null is allowed.
            unsafe { raw.destroy_pipeline(pipeline, None) };
        }
        // SAFETY: VUID-vkDestroyPipelineLayout-pipelineLayout-parameter: its pipelines are
        // destroyed; null is allowed.
        unsafe { raw.destroy_pipeline_layout(self.layout, None) };
        // SAFETY: VUID-vkDestroyDescriptorSetLayout-descriptorSetLayout-parameter: as above.
        unsafe { raw.destroy_descriptor_set_layout(self.set_layout, None) };
    }
}
