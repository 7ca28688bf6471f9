//! The ray-tracing pipeline and its shader binding table.
#![allow(unsafe_code)] // Vulkan calls.

use std::ffi::CStr;

use bridge::ExportDevice;
use bridge::ash::{khr, vk};

use super::memory::Raw;
use super::shader;

/// The shaders' names in their module, in the order of their groups.
const SHADERS: [(&CStr, vk::ShaderStageFlags); 3] = [
    (c"generate", vk::ShaderStageFlags::RAYGEN_KHR),
    (c"miss", vk::ShaderStageFlags::MISS_KHR),
    (c"hit", vk::ShaderStageFlags::CLOSEST_HIT_KHR),
];

/// A pipeline with one shader of each kind.
pub(crate) struct Pipeline {
    pub(crate) set_layout: vk::DescriptorSetLayout,
    layout: vk::PipelineLayout,
    raw: vk::Pipeline,
    table: Table,
    rays: khr::ray_tracing_pipeline::Device,
    device: ExportDevice,
}

/// The shaders' handles, in memory that the device reads.
struct Table {
    /// The regions of the ray generation, miss and hit shaders.
    regions: [vk::StridedDeviceAddressRegionKHR; 3],
    _buffer: Raw,
}

impl Pipeline {
    pub(crate) fn new(device: &ExportDevice) -> Self {
        let (raw, rays) = (device.as_raw(), khr::ray_tracing_pipeline::Device::new(device.instance(), device.as_raw()));
        let binding = |index, ty| {
            let binding =
                vk::DescriptorSetLayoutBinding::default().binding(index).descriptor_type(ty).descriptor_count(1);
            binding.stage_flags(vk::ShaderStageFlags::RAYGEN_KHR)
        };
        let bindings = [
            binding(0, vk::DescriptorType::ACCELERATION_STRUCTURE_KHR),
            binding(1, vk::DescriptorType::STORAGE_BUFFER),
        ];
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: two bindings with different numbers.
        let set_layout = unsafe { raw.create_descriptor_set_layout(&info, None) }.unwrap();
        let set_layouts = [set_layout];
        let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&set_layouts);
        // SAFETY: a live layout.
        let layout = unsafe { raw.create_pipeline_layout(&info, None) }.unwrap();
        let pipeline = pipeline(device, &rays, layout);
        let table = Table::new(device, &rays, pipeline);
        Self { set_layout, layout, raw: pipeline, table, rays, device: device.clone() }
    }

    /// Traces one ray.
    ///
    /// # Safety
    ///
    /// `commands` is recording outside of rendering, and the objects in `set` live until the
    /// commands have run.
    pub(crate) unsafe fn trace(&self, commands: vk::CommandBuffer, set: vk::DescriptorSet) {
        let (raw, point) = (self.device.as_raw(), vk::PipelineBindPoint::RAY_TRACING_KHR);
        // SAFETY: recording; a ray-tracing pipeline.
        unsafe { raw.cmd_bind_pipeline(commands, point, self.raw) };
        // SAFETY: VUID-vkCmdBindDescriptorSets-pDescriptorSets-00358: the set was allocated for
        // this layout.
        unsafe { raw.cmd_bind_descriptor_sets(commands, point, self.layout, 0, &[set], &[]) };
        let [generate, miss, hit] = &self.table.regions;
        let none = vk::StridedDeviceAddressRegionKHR::default();
        // SAFETY: VUID-vkCmdTraceRaysKHR-size-04023 and related rules: the regions are those of
        // this pipeline's table.
        unsafe { self.rays.cmd_trace_rays(commands, generate, miss, hit, &none, 1, 1, 1) };
    }
}

fn pipeline(
    device: &ExportDevice,
    rays: &khr::ray_tracing_pipeline::Device,
    layout: vk::PipelineLayout,
) -> vk::Pipeline {
    let words = shader::words();
    let info = vk::ShaderModuleCreateInfo::default().code(&words);
    // SAFETY: valid SPIR-V, written by naga, that only uses capabilities that are enabled.
    let module = unsafe { device.as_raw().create_shader_module(&info, None) }.unwrap();
    let stages = SHADERS
        .map(|(name, stage)| vk::PipelineShaderStageCreateInfo::default().stage(stage).module(module).name(name));
    let group = |ty, general, hit| {
        vk::RayTracingShaderGroupCreateInfoKHR::default()
            .ty(ty)
            .general_shader(general)
            .closest_hit_shader(hit)
            .any_hit_shader(vk::SHADER_UNUSED_KHR)
            .intersection_shader(vk::SHADER_UNUSED_KHR)
    };
    let groups = [
        group(vk::RayTracingShaderGroupTypeKHR::GENERAL, 0, vk::SHADER_UNUSED_KHR),
        group(vk::RayTracingShaderGroupTypeKHR::GENERAL, 1, vk::SHADER_UNUSED_KHR),
        group(vk::RayTracingShaderGroupTypeKHR::TRIANGLES_HIT_GROUP, vk::SHADER_UNUSED_KHR, 2),
    ];
    let info = vk::RayTracingPipelineCreateInfoKHR::default()
        .stages(&stages)
        .groups(&groups)
        .max_pipeline_ray_recursion_depth(1)
        .layout(layout);
    let (deferred, cache) = (vk::DeferredOperationKHR::null(), vk::PipelineCache::null());
    // SAFETY: VUID-VkRayTracingPipelineCreateInfoKHR-stage-03425: there is a ray generation shader;
    // the layout contains what the shaders use.
    let pipelines = unsafe { rays.create_ray_tracing_pipelines(deferred, cache, &[info], None) };
    // SAFETY: pipelines no longer use it.
    unsafe { device.as_raw().destroy_shader_module(module, None) };
    pipelines.map_err(|(_, result)| result).unwrap()[0]
}

impl Table {
    fn new(device: &ExportDevice, rays: &khr::ray_tracing_pipeline::Device, pipeline: vk::Pipeline) -> Self {
        let mut limits = vk::PhysicalDeviceRayTracingPipelinePropertiesKHR::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut limits);
        // SAFETY: the device's own instance and physical device.
        unsafe { device.instance().get_physical_device_properties2(device.physical().handle, &mut properties) };
        let size = limits.shader_group_handle_size as usize;
        // Every region starts at a multiple of this, which is a multiple of the handles' own
        // alignment.
        let stride = u64::from(limits.shader_group_base_alignment).max(size as u64);
        let count = SHADERS.len();
        let handles =
            // SAFETY: VUID-vkGetRayTracingShaderGroupHandlesKHR-dataSize-02420: this is the number
            // of groups, each with a handle of this size.
            unsafe { rays.get_ray_tracing_shader_group_handles(pipeline, 0, count as u32, count * size) }.unwrap();
        let bytes = stride * (count as u64 + 1);
        let buffer = Raw::new(device, bytes, vk::BufferUsageFlags::SHADER_BINDING_TABLE_KHR, true);
        let start = buffer.address.next_multiple_of(stride);
        let mut at = start;
        let regions = std::array::from_fn(|group| {
            let to = buffer.mapped.wrapping_add((at - buffer.address) as usize);
            // SAFETY: inside the mapped buffer, which has space for one stride more than there are
            // groups.
            unsafe { std::ptr::copy_nonoverlapping(handles[group * size..].as_ptr(), to, size) };
            let region = vk::StridedDeviceAddressRegionKHR { device_address: at, stride, size: stride };
            at += stride;
            region
        });
        Self { regions, _buffer: buffer }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkDestroyPipeline-pipeline-00765: the test has waited for all commands.
        unsafe { raw.destroy_pipeline(self.raw, None) };
        // SAFETY: as above.
        unsafe { raw.destroy_pipeline_layout(self.layout, None) };
        // SAFETY: as above; its set is no longer used.
        unsafe { raw.destroy_descriptor_set_layout(self.set_layout, None) };
    }
}
