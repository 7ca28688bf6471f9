//! Graphics pipelines, and the textures that they read.
#![allow(unsafe_code)] // Vulkan calls.

use anyhow::{Context, Result};
use bridge::ExportDevice;
use bridge::ash::vk;
use vk_local::LocalImage;

use super::depth::Depth;
use super::failed;
use crate::shader::spirv;

/// Configuration of a pipeline: one color target, dynamic viewport.
#[derive(Clone, Copy, Debug)]
pub struct PipelineInfo<'a> {
    /// The debug name.
    pub name: &'a str,
    /// The vertex shader's file in `shaders/`.
    pub vertex: &'a str,
    /// The fragment shader's file in `shaders/`.
    pub fragment: &'a str,
    /// The primitive topology. Default: triangles.
    pub topology: vk::PrimitiveTopology,
    /// The attributes of a vertex, all from one buffer. Default: none.
    pub attributes: &'a [vk::VertexInputAttributeDescription],
    /// The distance between two vertices in bytes. Default: 0.
    pub stride: u32,
    /// Blending. Default: the new color replaces the old one.
    pub blend: Option<vk::PipelineColorBlendAttachmentState>,
    /// The target's format.
    pub target: vk::Format,
    /// `true` if depth testing is enabled; the targets then need a depth buffer. Default: no.
    pub depth: bool,
    /// The number of textures that the shaders read, at bindings 0, 1, … of set 0. Default: 0.
    pub textures: u32,
    /// `true` if the shaders read the textures through a sampler, at the binding after the last
    /// texture. It filters linearly and repeats the texture. Default: no.
    pub sampled: bool,
    /// The size of the push constants in bytes. Default: 0.
    pub constants: u32,
}

impl Default for PipelineInfo<'_> {
    fn default() -> Self {
        Self {
            name: "",
            vertex: "screen.vert",
            fragment: "copy.frag",
            topology: vk::PrimitiveTopology::TRIANGLE_LIST,
            attributes: &[],
            stride: 0,
            blend: None,
            target: vk::Format::UNDEFINED,
            depth: false,
            textures: 0,
            sampled: false,
            constants: 0,
        }
    }
}

/// The stages that read push constants.
pub(crate) const CONSTANT_STAGES: vk::ShaderStageFlags =
    vk::ShaderStageFlags::from_raw(vk::ShaderStageFlags::VERTEX.as_raw() | vk::ShaderStageFlags::FRAGMENT.as_raw());

/// A graphics pipeline. Dropping it frees it immediately: keep it until the GPU has finished with
/// it.
pub struct Pipeline {
    pub(crate) raw: vk::Pipeline,
    pub(crate) layout: vk::PipelineLayout,
    pub(crate) constants: u32,
    pub(crate) textures: u32,
    pub(crate) sampler: vk::Sampler,
    set_layout: vk::DescriptorSetLayout,
    device: ExportDevice,
}

impl Pipeline {
    /// Creates a pipeline.
    ///
    /// # Errors
    /// An unknown shader, or the error of the failed driver call.
    pub fn new(device: &ExportDevice, info: &PipelineInfo<'_>) -> Result<Self> {
        let context = || format!("pipeline \"{}\"", info.name);
        // A failure from here on drops the objects created so far; null handles are ignored.
        let mut pipeline = Self {
            raw: vk::Pipeline::null(),
            layout: vk::PipelineLayout::null(),
            constants: info.constants,
            textures: info.textures,
            sampler: vk::Sampler::null(),
            set_layout: vk::DescriptorSetLayout::null(),
            device: device.clone(),
        };
        pipeline.make_layout(info).with_context(context)?;
        let vertex = Module::new(device, info.vertex).with_context(context)?;
        let fragment = Module::new(device, info.fragment).with_context(context)?;
        pipeline.make(info, &vertex, &fragment).with_context(context)?;
        // SAFETY: just created on this device; no other thread has the handle yet.
        unsafe { device.set_name(pipeline.raw, info.name) };
        Ok(pipeline)
    }

    fn make_layout(&mut self, info: &PipelineInfo<'_>) -> Result<()> {
        let raw = self.device.as_raw();
        let binding = |binding, kind| {
            vk::DescriptorSetLayoutBinding::default()
                .binding(binding)
                .descriptor_type(kind)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::VERTEX | vk::ShaderStageFlags::FRAGMENT)
        };
        let mut bindings: Vec<_> =
            (0..info.textures).map(|number| binding(number, vk::DescriptorType::SAMPLED_IMAGE)).collect();
        let samplers;
        if info.sampled {
            let sampler = vk::SamplerCreateInfo::default()
                .mag_filter(vk::Filter::LINEAR)
                .min_filter(vk::Filter::LINEAR)
                .max_lod(vk::LOD_CLAMP_NONE);
            self.sampler =
                // SAFETY: VUID-VkSamplerCreateInfo-maxLod-01973: the minimum level of detail is 0;
                // all optional features are off. Address mode 0 is "repeat".
                unsafe { raw.create_sampler(&sampler, None) }.map_err(failed(&self.device, "vkCreateSampler"))?;
            samplers = [self.sampler];
            bindings.push(binding(info.textures, vk::DescriptorType::SAMPLER).immutable_samplers(&samplers));
        }
        let set_info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: VUID-VkDescriptorSetLayoutCreateInfo-binding-00279: each binding has its own
        // number.
        self.set_layout = unsafe { raw.create_descriptor_set_layout(&set_info, None) }
            .map_err(failed(&self.device, "vkCreateDescriptorSetLayout"))?;
        let sets = [self.set_layout];
        let ranges = [vk::PushConstantRange::default().stage_flags(CONSTANT_STAGES).size(info.constants)];
        let layout = vk::PipelineLayoutCreateInfo::default()
            .set_layouts(if info.textures > 0 { &sets } else { &[] })
            .push_constant_ranges(if info.constants > 0 { &ranges } else { &[] });
        // SAFETY: VUID-VkPushConstantRange-size-00298: at most 128 bytes, which every device
        // supports; the set layout is alive.
        self.layout = unsafe { raw.create_pipeline_layout(&layout, None) }
            .map_err(failed(&self.device, "vkCreatePipelineLayout"))?;
        Ok(())
    }

    fn make(&mut self, info: &PipelineInfo<'_>, vertex: &Module<'_>, fragment: &Module<'_>) -> Result<()> {
        let stage = |module: &Module<'_>, stage| {
            vk::PipelineShaderStageCreateInfo::default().stage(stage).module(module.raw).name(c"main")
        };
        let stages = [stage(vertex, vk::ShaderStageFlags::VERTEX), stage(fragment, vk::ShaderStageFlags::FRAGMENT)];
        let buffers = [vk::VertexInputBindingDescription::default().stride(info.stride)];
        let input = vk::PipelineVertexInputStateCreateInfo::default()
            .vertex_binding_descriptions(if info.attributes.is_empty() { &[] } else { &buffers })
            .vertex_attribute_descriptions(info.attributes);
        let assembly = vk::PipelineInputAssemblyStateCreateInfo::default().topology(info.topology);
        let viewport = vk::PipelineViewportStateCreateInfo::default().viewport_count(1).scissor_count(1);
        let raster = vk::PipelineRasterizationStateCreateInfo::default().line_width(1.0);
        let samples =
            vk::PipelineMultisampleStateCreateInfo::default().rasterization_samples(vk::SampleCountFlags::TYPE_1);
        let mut attachments = [info.blend.unwrap_or_default()];
        attachments[0].color_write_mask = vk::ColorComponentFlags::RGBA;
        let blend = vk::PipelineColorBlendStateCreateInfo::default().attachments(&attachments);
        let dynamic = vk::PipelineDynamicStateCreateInfo::default()
            .dynamic_states(&[vk::DynamicState::VIEWPORT, vk::DynamicState::SCISSOR]);
        let depth = vk::PipelineDepthStencilStateCreateInfo::default()
            .depth_test_enable(info.depth)
            .depth_write_enable(info.depth)
            .depth_compare_op(vk::CompareOp::LESS_OR_EQUAL);
        let formats = [info.target];
        let mut rendering = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(&formats);
        if info.depth {
            rendering = rendering.depth_attachment_format(Depth::FORMAT);
        }
        let create = vk::GraphicsPipelineCreateInfo::default()
            .stages(&stages)
            .vertex_input_state(&input)
            .input_assembly_state(&assembly)
            .viewport_state(&viewport)
            .rasterization_state(&raster)
            .multisample_state(&samples)
            .depth_stencil_state(&depth)
            .color_blend_state(&blend)
            .dynamic_state(&dynamic)
            .layout(self.layout)
            .push_next(&mut rendering);
        let raw = self.device.as_raw();
        // SAFETY: VUID-VkGraphicsPipelineCreateInfo-layout-07987 and -07988: the layout has the
        // textures and constants that the info declares for its shaders; both modules are alive;
        // the formats are supported targets by the specification's table of required formats.
        let made = unsafe { raw.create_graphics_pipelines(vk::PipelineCache::null(), &[create], None) };
        let pipelines = made.map_err(|(_, result)| failed(&self.device, "vkCreateGraphicsPipelines")(result))?;
        self.raw = pipelines.first().copied().context("vkCreateGraphicsPipelines gave no pipeline")?;
        Ok(())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkDestroyPipeline-pipeline-00765: the owner kept it until the GPU was done,
        // as documented.
        unsafe { raw.destroy_pipeline(self.raw, None) };
        // SAFETY: the layout is not used by any command buffer that is still recorded or pending.
        unsafe { raw.destroy_pipeline_layout(self.layout, None) };
        // SAFETY: as above; sets that were allocated with the layout are used only with this
        // pipeline.
        unsafe { raw.destroy_descriptor_set_layout(self.set_layout, None) };
        // SAFETY: VUID-vkDestroySampler-sampler-01082: as above.
        unsafe { raw.destroy_sampler(self.sampler, None) };
    }
}

/// A shader module, needed only while a pipeline is created.
struct Module<'a> {
    raw: vk::ShaderModule,
    device: &'a ExportDevice,
}

impl<'a> Module<'a> {
    fn new(device: &'a ExportDevice, name: &str) -> Result<Self> {
        let code = spirv(name)?;
        let info = vk::ShaderModuleCreateInfo::default().code(&code);
        // SAFETY: VUID-VkShaderModuleCreateInfo-pCode-08737: naga validated the SPIR-V that it
        // wrote.
        let raw = unsafe { device.as_raw().create_shader_module(&info, None) }
            .map_err(failed(device, "vkCreateShaderModule"))?;
        Ok(Self { raw, device })
    }
}

impl Drop for Module<'_> {
    fn drop(&mut self) {
        // SAFETY: a pipeline does not need its modules after it was created.
        unsafe { self.device.as_raw().destroy_shader_module(self.raw, None) };
    }
}

/// The textures that a pipeline reads, in a descriptor set that does not change. Dropping it frees
/// it immediately.
pub struct Textures {
    pub(crate) set: vk::DescriptorSet,
    pool: vk::DescriptorPool,
    device: ExportDevice,
}

impl Textures {
    /// Binds `images` to the bindings 0, 1, … of `pipeline`, which must have the same number.
    ///
    /// # Errors
    /// The number of images differs from the number of bindings, or the error of the failed driver
    /// call.
    pub fn new(device: &ExportDevice, pipeline: &Pipeline, images: &[&LocalImage]) -> Result<Self> {
        let layout = vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL;
        let views: Vec<_> = images.iter().map(|image| (image.view(), layout)).collect();
        Self::of_views(device, pipeline, &views)
    }

    /// [`new`](Self::new) for views of any images, each with the layout of its image while it is
    /// read.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_views(
        device: &ExportDevice,
        pipeline: &Pipeline,
        images: &[(vk::ImageView, vk::ImageLayout)],
    ) -> Result<Self> {
        anyhow::ensure!(
            !images.is_empty() && images.len() == pipeline.textures as usize,
            "{} textures for a pipeline that reads {}",
            images.len(),
            pipeline.textures
        );
        let raw = device.as_raw();
        let size = |kind, count| vk::DescriptorPoolSize::default().ty(kind).descriptor_count(count);
        let sizes = [size(vk::DescriptorType::SAMPLED_IMAGE, pipeline.textures), size(vk::DescriptorType::SAMPLER, 1)];
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(1).pool_sizes(&sizes);
        let pool =
            // SAFETY: VUID-VkDescriptorPoolCreateInfo-descriptorPoolOverallocation-09227: one set;
            // no size is 0.
            unsafe { raw.create_descriptor_pool(&info, None) }.map_err(failed(device, "vkCreateDescriptorPool"))?;
        let mut textures = Self { set: vk::DescriptorSet::null(), pool, device: device.clone() };
        let layouts = [pipeline.set_layout];
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
        let sets =
            // SAFETY: VUID-vkAllocateDescriptorSets-pAllocateInfo-parameter: the pool was created
            // for exactly this set.
            unsafe { raw.allocate_descriptor_sets(&info) }.map_err(failed(device, "vkAllocateDescriptorSets"))?;
        textures.set = sets.first().copied().context("vkAllocateDescriptorSets gave no set")?;
        let views: Vec<_> = images
            .iter()
            .map(|&(view, layout)| vk::DescriptorImageInfo::default().image_view(view).image_layout(layout))
            .collect();
        let write = vk::WriteDescriptorSet::default()
            .dst_set(textures.set)
            .descriptor_type(vk::DescriptorType::SAMPLED_IMAGE)
            .image_info(&views);
        // SAFETY: VUID-VkWriteDescriptorSet-dstArrayElement-00321: the number of views is the
        // number of consecutive bindings; the set is new, so no pending command uses it.
        unsafe { raw.update_descriptor_sets(&[write], &[]) };
        Ok(textures)
    }
}

impl Drop for Textures {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyDescriptorPool-descriptorPool-00303: the owner kept it until the
        // GPU was done.
        unsafe { self.device.as_raw().destroy_descriptor_pool(self.pool, None) };
    }
}
