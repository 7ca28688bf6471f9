//! Graphics pipelines.
#![allow(unsafe_code)] // Vulkan calls.

use std::sync::Arc;

use anyhow::{Context, Result};
use ash::vk;

use crate::gpu::Gpu;
use crate::memory::Image;

/// Configuration of a pipeline: one target of the engine's format, dynamic viewport.
#[derive(Clone, Copy)]
pub struct PipelineInfo<'a> {
    /// The name used in errors.
    pub name: &'a str,
    /// The vertex shader, as SPIR-V with the entry point `main`.
    pub vertex: &'a [u32],
    /// The fragment shader.
    pub fragment: &'a [u32],
    /// The primitive topology.
    pub topology: vk::PrimitiveTopology,
    /// The size of a vertex in bytes, which is one attribute of four floats; 0 if there is no
    /// vertex buffer.
    pub stride: u32,
    /// `true` if the fragment shader fetches from a texture at binding 0.
    pub textured: bool,
    /// The size of the push constants in bytes.
    pub constants: u32,
}

/// The stages that read push constants.
pub(crate) const CONSTANT_STAGES: vk::ShaderStageFlags = vk::ShaderStageFlags::VERTEX;

/// A graphics pipeline. The owner must keep it until the GPU has finished with it.
pub struct Pipeline {
    pub(crate) raw: vk::Pipeline,
    pub(crate) layout: vk::PipelineLayout,
    pub(crate) set_layout: vk::DescriptorSetLayout,
    gpu: Arc<Gpu>,
}

impl Pipeline {
    /// Creates a pipeline.
    ///
    /// # Errors
    /// The driver cannot create it.
    pub fn new(gpu: &Arc<Gpu>, info: &PipelineInfo<'_>) -> Result<Self> {
        let mut pipeline = Self {
            raw: vk::Pipeline::null(),
            layout: vk::PipelineLayout::null(),
            set_layout: vk::DescriptorSetLayout::null(),
            gpu: Arc::clone(gpu),
        };
        pipeline.make(info).with_context(|| format!("pipeline {}", info.name))?;
        Ok(pipeline)
    }

    fn make(&mut self, info: &PipelineInfo<'_>) -> Result<()> {
        let device = self.gpu.device();
        let bindings = [vk::DescriptorSetLayoutBinding::default()
            .descriptor_type(vk::DescriptorType::SAMPLED_IMAGE)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::FRAGMENT)];
        let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: a plain layout of one binding.
        self.set_layout = unsafe { device.create_descriptor_set_layout(&set, None) }?;
        let (sets, ranges) =
            ([self.set_layout], [vk::PushConstantRange::default().stage_flags(CONSTANT_STAGES).size(info.constants)]);
        let layout = vk::PipelineLayoutCreateInfo::default()
            .set_layouts(&sets[..usize::from(info.textured)])
            .push_constant_ranges(&ranges[..usize::from(info.constants > 0)]);
        // SAFETY: VUID-VkPushConstantRange-size-00298: a few bytes; the set layout is alive.
        self.layout = unsafe { device.create_pipeline_layout(&layout, None) }?;
        let vertex = self.module(info.vertex)?;
        let fragment = match self.module(info.fragment) {
            Ok(fragment) => fragment,
            Err(error) => {
                // SAFETY: just created, and not used.
                unsafe { device.destroy_shader_module(vertex, None) };
                return Err(error);
            }
        };
        let made = self.make_raw(info, vertex, fragment);
        for module in [vertex, fragment] {
            // SAFETY: a pipeline does not need its modules after it was created.
            unsafe { device.destroy_shader_module(module, None) };
        }
        self.raw = made?;
        Ok(())
    }

    fn make_raw(
        &self,
        info: &PipelineInfo<'_>,
        vertex: vk::ShaderModule,
        fragment: vk::ShaderModule,
    ) -> Result<vk::Pipeline> {
        let stage =
            |stage, module| vk::PipelineShaderStageCreateInfo::default().stage(stage).module(module).name(c"main");
        let stages = [stage(vk::ShaderStageFlags::VERTEX, vertex), stage(vk::ShaderStageFlags::FRAGMENT, fragment)];
        let buffers = [vk::VertexInputBindingDescription::default().stride(info.stride)];
        let attributes = [vk::VertexInputAttributeDescription::default().format(vk::Format::R32G32B32A32_SFLOAT)];
        let some = usize::from(info.stride > 0);
        let input = vk::PipelineVertexInputStateCreateInfo::default()
            .vertex_binding_descriptions(&buffers[..some])
            .vertex_attribute_descriptions(&attributes[..some]);
        let assembly = vk::PipelineInputAssemblyStateCreateInfo::default().topology(info.topology);
        let viewport = vk::PipelineViewportStateCreateInfo::default().viewport_count(1).scissor_count(1);
        let raster = vk::PipelineRasterizationStateCreateInfo::default().line_width(1.0);
        let samples =
            vk::PipelineMultisampleStateCreateInfo::default().rasterization_samples(vk::SampleCountFlags::TYPE_1);
        let attachments =
            [vk::PipelineColorBlendAttachmentState::default().color_write_mask(vk::ColorComponentFlags::RGBA)];
        let blend = vk::PipelineColorBlendStateCreateInfo::default().attachments(&attachments);
        let dynamic = vk::PipelineDynamicStateCreateInfo::default()
            .dynamic_states(&[vk::DynamicState::VIEWPORT, vk::DynamicState::SCISSOR]);
        let formats = [Image::FORMAT];
        let mut rendering = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(&formats);
        let create = vk::GraphicsPipelineCreateInfo::default()
            .stages(&stages)
            .vertex_input_state(&input)
            .input_assembly_state(&assembly)
            .viewport_state(&viewport)
            .rasterization_state(&raster)
            .multisample_state(&samples)
            .color_blend_state(&blend)
            .dynamic_state(&dynamic)
            .layout(self.layout)
            .push_next(&mut rendering);
        // SAFETY: VUID-VkGraphicsPipelineCreateInfo-layout-07987, -07988: the layout has the
        // texture and the constants that the info declares for its shaders; both modules are alive.
        let made = unsafe { self.gpu.device().create_graphics_pipelines(vk::PipelineCache::null(), &[create], None) };
        made.map_err(|(_, result)| result)?.first().copied().context("no pipeline")
    }

    fn module(&self, code: &[u32]) -> Result<vk::ShaderModule> {
        let info = vk::ShaderModuleCreateInfo::default().code(code);
        // SAFETY: VUID-VkShaderModuleCreateInfo-pCode-08737: the caller's shaders are SPIR-V.
        unsafe { self.gpu.device().create_shader_module(&info, None) }.context("vkCreateShaderModule")
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let device = self.gpu.device();
        // SAFETY: VUID-vkDestroyPipeline-pipeline-00765: the owner kept it until the GPU was done;
        // null is ignored.
        unsafe { device.destroy_pipeline(self.raw, None) };
        // SAFETY: as above.
        unsafe { device.destroy_pipeline_layout(self.layout, None) };
        // SAFETY: as above; sets that were allocated with the layout are used only with this
        // pipeline.
        unsafe { device.destroy_descriptor_set_layout(self.set_layout, None) };
    }
}
