//! A triangle in a bottom-level acceleration structure, a top-level acceleration structure that
//! contains it, and a ray that is traced.
#![allow(unsafe_code)] // Vulkan calls.

use bridge::ExportDevice;
use bridge::ash::{khr, vk};

use super::memory::Raw;
use super::pipeline::Pipeline;

/// An acceleration structure and its buffers.
struct Structure {
    raw: vk::AccelerationStructureKHR,
    level: vk::AccelerationStructureTypeKHR,
    scratch: Raw,
    _storage: Raw,
}

/// Everything except for the triangle, which differs each time.
pub(crate) struct Scene {
    triangle: Structure,
    world: Structure,
    instances: Raw,
    seen: Raw,
    pool: vk::DescriptorPool,
    pipeline: Pipeline,
    set: vk::DescriptorSet,
    rays: khr::acceleration_structure::Device,
    device: ExportDevice,
}

/// Elements of 16 bytes, the first three floats of which are a vertex.
const STRIDE: u64 = 16;
/// At least the alignment that any device requires for scratch memory.
const ALIGN: u64 = 256;

fn triangles(address: u64) -> vk::AccelerationStructureGeometryKHR<'static> {
    let data = vk::AccelerationStructureGeometryTrianglesDataKHR::default()
        .vertex_format(vk::Format::R32G32B32_SFLOAT)
        .vertex_data(vk::DeviceOrHostAddressConstKHR { device_address: address })
        .vertex_stride(STRIDE)
        .max_vertex(2)
        .index_type(vk::IndexType::NONE_KHR);
    vk::AccelerationStructureGeometryKHR::default()
        .geometry_type(vk::GeometryTypeKHR::TRIANGLES)
        .geometry(vk::AccelerationStructureGeometryDataKHR { triangles: data })
        .flags(vk::GeometryFlagsKHR::OPAQUE)
}

fn instances(address: u64) -> vk::AccelerationStructureGeometryKHR<'static> {
    let data = vk::AccelerationStructureGeometryInstancesDataKHR::default()
        .data(vk::DeviceOrHostAddressConstKHR { device_address: address });
    vk::AccelerationStructureGeometryKHR::default()
        .geometry_type(vk::GeometryTypeKHR::INSTANCES)
        .geometry(vk::AccelerationStructureGeometryDataKHR { instances: data })
        .flags(vk::GeometryFlagsKHR::OPAQUE)
}

impl Structure {
    /// Creates a structure for one primitive; the addresses in `geometry` are not used yet.
    fn new(
        device: &ExportDevice,
        rays: &khr::acceleration_structure::Device,
        level: vk::AccelerationStructureTypeKHR,
        geometry: vk::AccelerationStructureGeometryKHR<'_>,
    ) -> Self {
        let geometries = [geometry];
        let info = vk::AccelerationStructureBuildGeometryInfoKHR::default().ty(level).geometries(&geometries);
        let mut sizes = vk::AccelerationStructureBuildSizesInfoKHR::default();
        let host_or_device = vk::AccelerationStructureBuildTypeKHR::DEVICE;
        // SAFETY: VUID-vkGetAccelerationStructureBuildSizesKHR-pBuildInfo-03619: as many counts as
        // geometries.
        unsafe { rays.get_acceleration_structure_build_sizes(host_or_device, &info, &[1], &mut sizes) };
        let usage = vk::BufferUsageFlags::ACCELERATION_STRUCTURE_STORAGE_KHR;
        let storage = Raw::new(device, sizes.acceleration_structure_size, usage, false);
        let usage = vk::BufferUsageFlags::STORAGE_BUFFER;
        let scratch = Raw::new(device, sizes.build_scratch_size + ALIGN, usage, false);
        let info = vk::AccelerationStructureCreateInfoKHR::default()
            .buffer(storage.buffer)
            .size(sizes.acceleration_structure_size)
            .ty(level);
        // SAFETY: VUID-VkAccelerationStructureCreateInfoKHR-buffer-03614, -offset-03616: the buffer
        // has this usage and size.
        let raw = unsafe { rays.create_acceleration_structure(&info, None) }.unwrap();
        Self { raw, level, scratch, _storage: storage }
    }

    fn build(
        &self,
        rays: &khr::acceleration_structure::Device,
        commands: vk::CommandBuffer,
        geometry: vk::AccelerationStructureGeometryKHR<'_>,
    ) {
        let geometries = [geometry];
        let info = vk::AccelerationStructureBuildGeometryInfoKHR::default()
            .ty(self.level)
            .mode(vk::BuildAccelerationStructureModeKHR::BUILD)
            .dst_acceleration_structure(self.raw)
            .geometries(&geometries)
            .scratch_data(vk::DeviceOrHostAddressKHR { device_address: self.scratch.address.next_multiple_of(ALIGN) });
        let range = [vk::AccelerationStructureBuildRangeInfoKHR::default().primitive_count(1)];
        // SAFETY: VUID-vkCmdBuildAccelerationStructuresKHR-pInfos-03801 and related rules:
        // recording, outside of rendering; the structure and its scratch memory are large enough
        // for one primitive, and the geometry's memory is alive.
        unsafe { rays.cmd_build_acceleration_structures(commands, &[info], &[&range]) };
    }
}

impl Scene {
    pub(crate) fn new(device: &ExportDevice) -> Self {
        let rays = khr::acceleration_structure::Device::new(device.instance(), device.as_raw());
        let triangle = Structure::new(device, &rays, vk::AccelerationStructureTypeKHR::BOTTOM_LEVEL, triangles(0));
        let world = Structure::new(device, &rays, vk::AccelerationStructureTypeKHR::TOP_LEVEL, instances(0));
        let input = vk::BufferUsageFlags::ACCELERATION_STRUCTURE_BUILD_INPUT_READ_ONLY_KHR;
        let placed = Raw::new(device, size_of::<vk::AccelerationStructureInstanceKHR>() as u64, input, true);
        let info = vk::AccelerationStructureDeviceAddressInfoKHR::default().acceleration_structure(triangle.raw);
        let instance = vk::AccelerationStructureInstanceKHR {
            transform: vk::TransformMatrixKHR { matrix: [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0] },
            instance_custom_index_and_mask: vk::Packed24_8::new(0, 0xff),
            instance_shader_binding_table_record_offset_and_flags: vk::Packed24_8::new(0, 0),
            acceleration_structure_reference: vk::AccelerationStructureReferenceKHR {
                // SAFETY: a live acceleration structure.
                device_handle: unsafe { rays.get_acceleration_structure_device_address(&info) },
            },
        };
        // SAFETY: mapped, of this size, and aligned like all mapped memory.
        unsafe { placed.mapped.cast::<vk::AccelerationStructureInstanceKHR>().write(instance) };
        let seen = Raw::new(device, 8, vk::BufferUsageFlags::STORAGE_BUFFER, true);
        let pipeline = Pipeline::new(device);
        let (pool, set) = descriptors(device, pipeline.set_layout, world.raw, &seen);
        Self { triangle, world, instances: placed, seen, pool, pipeline, set, rays, device: device.clone() }
    }

    /// Builds both structures, the bottom-level one from the vertices at `address`, and traces the
    /// ray.
    pub(crate) fn record(&self, commands: vk::CommandBuffer, address: u64) {
        use vk::{AccessFlags2 as Access, PipelineStageFlags2 as Stages};
        let barrier = |from: (Stages, Access), to: (Stages, Access)| {
            let barrier = [vk::MemoryBarrier2::default()
                .src_stage_mask(from.0)
                .src_access_mask(from.1)
                .dst_stage_mask(to.0)
                .dst_access_mask(to.1)];
            let dependency = vk::DependencyInfo::default().memory_barriers(&barrier);
            // SAFETY: recording, outside of rendering.
            unsafe { self.device.cmd_pipeline_barrier2(commands, &dependency) };
        };
        let build = Stages::ACCELERATION_STRUCTURE_BUILD_KHR;
        self.triangle.build(&self.rays, commands, triangles(address));
        barrier((build, Access::ACCELERATION_STRUCTURE_WRITE_KHR), (build, Access::ACCELERATION_STRUCTURE_READ_KHR));
        self.world.build(&self.rays, commands, instances(self.instances.address));
        barrier(
            (build, Access::ACCELERATION_STRUCTURE_WRITE_KHR),
            (Stages::RAY_TRACING_SHADER_KHR, Access::ACCELERATION_STRUCTURE_READ_KHR),
        );
        // SAFETY: recording, outside of rendering; the set's structure and buffer live as long as
        // `self`.
        unsafe { self.pipeline.trace(commands, self.set) };
        barrier((Stages::RAY_TRACING_SHADER_KHR, Access::SHADER_STORAGE_WRITE), (Stages::HOST, Access::HOST_READ));
    }

    /// The distance at which the ray of the last commands hit, or `None` if it did not. The
    /// commands must have run.
    pub(crate) fn seen(&self) -> Option<f32> {
        // SAFETY: two floats, mapped; the commands that wrote them have run, and ended with a
        // barrier to the host.
        let [hit, distance] = unsafe { self.seen.mapped.cast::<[f32; 2]>().read() };
        (hit == 1.0).then_some(distance)
    }
}

fn descriptors(
    device: &ExportDevice,
    layout: vk::DescriptorSetLayout,
    world: vk::AccelerationStructureKHR,
    seen: &Raw,
) -> (vk::DescriptorPool, vk::DescriptorSet) {
    let raw = device.as_raw();
    let size = |ty| vk::DescriptorPoolSize::default().ty(ty).descriptor_count(1);
    let sizes = [size(vk::DescriptorType::ACCELERATION_STRUCTURE_KHR), size(vk::DescriptorType::STORAGE_BUFFER)];
    let info = vk::DescriptorPoolCreateInfo::default().max_sets(1).pool_sizes(&sizes);
    // SAFETY: a pool with space for one set.
    let pool = unsafe { raw.create_descriptor_pool(&info, None) }.unwrap();
    let layouts = [layout];
    let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
    // SAFETY: the pool has space for it.
    let set = unsafe { raw.allocate_descriptor_sets(&info) }.unwrap()[0];
    let structures = [world];
    let mut structure = vk::WriteDescriptorSetAccelerationStructureKHR::default().acceleration_structures(&structures);
    let buffers = [vk::DescriptorBufferInfo::default().buffer(seen.buffer).range(vk::WHOLE_SIZE)];
    let writes = [
        vk::WriteDescriptorSet::default()
            .dst_set(set)
            .dst_binding(0)
            .descriptor_type(vk::DescriptorType::ACCELERATION_STRUCTURE_KHR)
            .descriptor_count(1)
            .push_next(&mut structure),
        vk::WriteDescriptorSet::default()
            .dst_set(set)
            .dst_binding(1)
            .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
            .buffer_info(&buffers),
    ];
    // SAFETY: VUID-VkWriteDescriptorSet-descriptorType-02382: the structure is chained; all objects
    // are alive.
    unsafe { raw.update_descriptor_sets(&writes, &[]) };
    (pool, set)
}

impl Drop for Scene {
    fn drop(&mut self) {
        let raw = self.device.as_raw();
        for structure in [&self.triangle, &self.world] {
            // SAFETY: VUID-vkDestroyAccelerationStructureKHR-accelerationStructure-02442: the test
            // has waited for all commands.
            unsafe { self.rays.destroy_acceleration_structure(structure.raw, None) };
        }
        // SAFETY: as above; its set is destroyed with it.
        unsafe { raw.destroy_descriptor_pool(self.pool, None) };
    }
}
