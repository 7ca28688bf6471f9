//! The compute pipeline that draws a tensor into the picture.

// Vulkan calls.
#![allow(unsafe_code)]

use bridge::ExportDevice;
use bridge::ash::vk;

use crate::error::{Fault, Kind};

/// As `Params` in `picture.wgsl`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Params {
    pub(crate) source: [u32; 2],
    pub(crate) picture: [u32; 2],
    pub(crate) channels: u32,
    pub(crate) kind: u32,
    pub(crate) gain: f32,
    pub(crate) flags: u32,
}

impl Params {
    const SIZE: u32 = 32;

    fn to_bytes(self) -> Vec<u8> {
        let Self { source: [sw, sh], picture: [pw, ph], channels, kind, gain, flags } = self;
        [sw, sh, pw, ph, channels, kind, gain.to_bits(), flags].iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}

const SPIRV: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/picture.spv"));

/// Of `picture.wgsl`.
const WORKGROUP: u32 = 8;

/// The pipeline and its layouts. Dropping it frees them at once: keep it until the GPU is done with it.
pub(crate) struct Pipeline {
    raw: vk::Pipeline,
    layout: vk::PipelineLayout,
    set_layout: vk::DescriptorSetLayout,
    device: ExportDevice,
}

impl Pipeline {
    pub(crate) fn new(device: &ExportDevice) -> Result<Self, Fault> {
        // Each handle is in its place as soon as it is made, so that a failure frees what came before.
        let mut made = Self {
            raw: vk::Pipeline::null(),
            layout: vk::PipelineLayout::null(),
            set_layout: vk::DescriptorSetLayout::null(),
            device: device.clone(),
        };
        let raw = device.as_raw();
        let buffer = |binding| {
            vk::DescriptorSetLayoutBinding::default()
                .binding(binding)
                .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
        };
        let bindings = [buffer(0), buffer(1)];
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: VUID-VkDescriptorSetLayoutCreateInfo-binding-00279: two different bindings.
        made.set_layout =
            unsafe { raw.create_descriptor_set_layout(&info, None) }.map_err(failed("vkCreateDescriptorSetLayout"))?;
        let sets = [made.set_layout];
        let range = vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(Params::SIZE);
        let ranges = [range];
        let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets).push_constant_ranges(&ranges);
        // SAFETY: VUID-VkPipelineLayoutCreateInfo-setLayoutCount-00286: one set; 32 bytes of the 128 that every device has.
        made.layout = unsafe { raw.create_pipeline_layout(&info, None) }.map_err(failed("vkCreatePipelineLayout"))?;
        let words: Vec<u32> =
            SPIRV.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
        let info = vk::ShaderModuleCreateInfo::default().code(&words);
        // SAFETY: VUID-VkShaderModuleCreateInfo-pCode-08737: naga validated what it wrote.
        let module = unsafe { raw.create_shader_module(&info, None) }.map_err(failed("vkCreateShaderModule"))?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main");
        let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(made.layout)];
        // SAFETY: VUID-VkComputePipelineCreateInfo-layout-07987, -07988: the layout has what the shader declares.
        let pipelines = unsafe { raw.create_compute_pipelines(vk::PipelineCache::null(), &info, None) };
        // SAFETY: VUID-vkDestroyShaderModule-shaderModule-parameter: made above; pipelines do not need it any more.
        unsafe { raw.destroy_shader_module(module, None) };
        let pipelines = pipelines.map_err(|(_, code)| failed("vkCreateComputePipelines")(code))?;
        made.raw = pipelines.first().copied().unwrap_or_default();
        Ok(made)
    }

    pub(crate) fn set_layout(&self) -> vk::DescriptorSetLayout {
        self.set_layout
    }

    /// Records drawing from the set's first buffer into its second.
    ///
    /// # Safety
    /// `commands` is recording outside a render pass. The set's buffers hold the tensor and the picture of `params`, and live,
    /// as this pipeline does, until the commands have run.
    pub(crate) unsafe fn record(&self, commands: vk::CommandBuffer, set: vk::DescriptorSet, params: Params) {
        let raw = self.device.as_raw();
        let point = vk::PipelineBindPoint::COMPUTE;
        let [width, height] = params.picture.map(|side| side.div_ceil(WORKGROUP));
        // SAFETY: VUID-vkCmdBindPipeline-pipeline-00779: a compute pipeline of this device.
        unsafe { raw.cmd_bind_pipeline(commands, point, self.raw) };
        // SAFETY: VUID-vkCmdBindDescriptorSets-pDescriptorSets-00358: made with this set layout.
        unsafe { raw.cmd_bind_descriptor_sets(commands, point, self.layout, 0, &[set], &[]) };
        let bytes = params.to_bytes();
        // SAFETY: VUID-vkCmdPushConstants-offset-01795: the one range of the layout.
        unsafe { raw.cmd_push_constants(commands, self.layout, vk::ShaderStageFlags::COMPUTE, 0, &bytes) };
        // SAFETY: VUID-vkCmdDispatch-groupCountX-00386: the view's size is checked against what a device must have.
        unsafe { raw.cmd_dispatch(commands, width, height, 1) };
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkDestroyPipeline-pipeline-00765: kept until the GPU was done, as documented; null is allowed.
        unsafe { raw.destroy_pipeline(self.raw, None) };
        // SAFETY: VUID-vkDestroyPipelineLayout-pipelineLayout-parameter: its last user is gone; null is allowed.
        unsafe { raw.destroy_pipeline_layout(self.layout, None) };
        // SAFETY: VUID-vkDestroyDescriptorSetLayout-descriptorSetLayout-parameter: as above.
        unsafe { raw.destroy_descriptor_set_layout(self.set_layout, None) };
    }
}

/// For `map_err`, with the call's name.
pub(crate) fn failed(call: &'static str) -> impl Fn(vk::Result) -> Fault {
    move |code| Fault::new(Kind::Driver, format!("{call} failed: {code:?} ({})", code.as_raw()))
}
