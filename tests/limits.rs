//! Vulkan is never called with usages and stages whose feature is missing or with allocations that
//! no heap can hold, but with allocations beyond the size that it promises. A single test, see
//! `Rig`.
#![allow(unsafe_code, clippy::unwrap_used)] // An engine with altered driver results.

use bridge::ash::vk;
use bridge::vk_export::{
    Block, BlockInfo, Buffer, BufferInfo, CUDA_KERNEL_EXTENSIONS, Error, ExportDevice, Placement, Validation,
};
use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, OpenInfo};
use bridge_tests::{Engine, Need, Rig, SmallLimits, assert_silent, skip_case};
use vk_local::{LocalBuffer, LocalImage, LocalImageInfo, MemoryLocation};

#[test]
fn only_supported_usages_reach_vulkan() {
    usages_need_their_feature();
    kernels_in_the_queue_need_their_extensions();
    resources_that_are_not_shared_are_checked_too();
    stages_need_their_feature_and_accesses_a_stage();
    a_queue_has_one_lock();
    more_than_promised_is_tried_but_no_more_than_the_heap();
}

fn buffer(device: &ExportDevice, size: u64, usage: vk::BufferUsageFlags) -> Result<Buffer, Error> {
    Buffer::new(device, &BufferInfo { name: "limit", size, usage, placement: Placement::HostVisible })
}

fn usages_need_their_feature() {
    use vk::BufferUsageFlags as Usage;
    let info = OpenInfo { validation: Validation::IfPresent, ..OpenInfo::default() };
    let device = ExportDevice::open(&info).unwrap();
    let refused = [
        Usage::SHADER_DEVICE_ADDRESS,
        Usage::ACCELERATION_STRUCTURE_BUILD_INPUT_READ_ONLY_KHR,
        Usage::VIDEO_DECODE_SRC_KHR,
        Usage::from_raw(1 << 31),
    ];
    for usage in refused.map(|usage| usage | Usage::STORAGE_BUFFER) {
        assert!(matches!(buffer(&device, 64, usage), Err(Error::InvalidArgument { .. })), "{usage:?}");
        let info = BlockInfo { name: "limit", size: 64, usage, placement: Placement::HostVisible };
        assert!(matches!(Block::new(&device, &info), Err(Error::InvalidArgument { .. })), "a block of {usage:?}");
    }
    assert_silent(&device);
    if !device.physical().buffer_device_address {
        return skip_case(Need::Other, "usages_need_their_feature", "the device has no bufferDeviceAddress");
    }
    let info = OpenInfo { buffer_device_address: true, validation: Validation::IfPresent, ..OpenInfo::default() };
    let device = ExportDevice::open(&info).unwrap();
    let addressed = buffer(&device, 64, Usage::STORAGE_BUFFER | Usage::SHADER_DEVICE_ADDRESS).unwrap();
    assert_ne!(addressed.device_address().unwrap(), 0);
    let block = BlockInfo {
        name: "limit",
        size: 1 << 16,
        usage: Usage::STORAGE_BUFFER | Usage::SHADER_DEVICE_ADDRESS,
        placement: Placement::HostVisible,
    };
    let block = Block::new(&device, &block).unwrap();
    let [first, second] = [0, block.alignment()].map(|offset| Buffer::new_in(&block, "part", offset, 16).unwrap());
    assert_eq!(second.device_address().unwrap() - first.device_address().unwrap(), block.alignment());
    let plain = buffer(&device, 64, Usage::STORAGE_BUFFER).unwrap();
    assert_eq!(plain.device_address(), None);
    assert!(device.has_buffer_device_address());
    assert_silent(&device);
}

fn kernels_in_the_queue_need_their_extensions() {
    let info = OpenInfo { validation: Validation::IfPresent, ..OpenInfo::default() };
    let device = ExportDevice::open(&info).unwrap();
    assert!(!device.has_cuda_kernels(), "off by default");
    let gaps = device.missing_for_cuda_kernels();
    assert_eq!(gaps.len(), 3, "{gaps:?}");
    let info = OpenInfo { cuda_kernels: true, validation: Validation::IfPresent, ..OpenInfo::default() };
    let on_device = CUDA_KERNEL_EXTENSIONS.iter().all(|name| device.physical().has_extension(name));
    match ExportDevice::open(&info) {
        Ok(device) => {
            assert!(device.has_cuda_kernels() && device.has_buffer_device_address());
            assert_silent(&device);
        }
        Err(error @ Error::NoDevice { .. }) if !on_device => {
            let text = error.to_string();
            assert!(text.contains("VK_NVX_binary_import") && text.contains("CUDA stream"), "{text}");
            assert!(text.contains(device.name()), "{text}");
        }
        Err(error) => panic!("{error}"),
    }
    assert_silent(&device);
}

fn resources_that_are_not_shared_are_checked_too() {
    let device = Rig::open_own();
    for usage in [vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS, vk::BufferUsageFlags::from_raw(1 << 31)] {
        let made = LocalBuffer::new(&device, "local", 64, usage, MemoryLocation::GpuOnly);
        assert!(matches!(made, Err(vk_local::Error::InvalidArgument { .. })), "{usage:?}");
    }
    let extent = vk::Extent2D { width: 4, height: 4 };
    let of_usage = |usage| LocalImageInfo { name: "local", format: vk::Format::R8G8B8A8_UNORM, extent, usage };
    // Images with these usages cannot have a view.
    let transient = vk::ImageUsageFlags::TRANSIENT_ATTACHMENT;
    for usage in [
        vk::ImageUsageFlags::TRANSFER_SRC,
        vk::ImageUsageFlags::from_raw(1 << 31),
        transient,
        transient | vk::ImageUsageFlags::SAMPLED,
        transient | vk::ImageUsageFlags::COLOR_ATTACHMENT,
        vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT,
    ] {
        let made = LocalImage::new(&device, &of_usage(usage));
        assert!(matches!(made, Err(vk_local::Error::InvalidArgument { .. })), "{usage:?}");
    }
    LocalImage::new(&device, &of_usage(vk::ImageUsageFlags::SAMPLED)).unwrap();
    // Their views are not of the color aspect, or want a conversion.
    for (format, usage) in [
        (vk::Format::D32_SFLOAT, vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT),
        (vk::Format::D16_UNORM, vk::ImageUsageFlags::SAMPLED),
        (vk::Format::S8_UINT, vk::ImageUsageFlags::SAMPLED),
        (vk::Format::D24_UNORM_S8_UINT, vk::ImageUsageFlags::SAMPLED),
        (vk::Format::G8_B8R8_2PLANE_420_UNORM, vk::ImageUsageFlags::SAMPLED),
        (vk::Format::G8B8G8R8_422_UNORM, vk::ImageUsageFlags::SAMPLED),
    ] {
        let made = LocalImage::new(&device, &LocalImageInfo { format, ..of_usage(usage) });
        assert!(matches!(made, Err(vk_local::Error::InvalidArgument { .. })), "{format:?}: {made:?}");
    }
    // No device writes compressed texels; one that does not have them has no such images at all.
    let format = vk::Format::BC1_RGBA_UNORM_BLOCK;
    let compressed = LocalImageInfo { format, ..of_usage(vk::ImageUsageFlags::COLOR_ATTACHMENT) };
    let result = match LocalImage::new(&device, &compressed) {
        Err(vk_local::Error::Vulkan { result, .. }) => Some(result),
        made => made.err().map(|_| vk::Result::ERROR_FORMAT_NOT_SUPPORTED),
    };
    assert_eq!(result, Some(vk::Result::ERROR_FORMAT_NOT_SUPPORTED));
    let mut mapped =
        LocalBuffer::new(&device, "mapped", 3, vk::BufferUsageFlags::TRANSFER_SRC, MemoryLocation::CpuToGpu).unwrap();
    // SAFETY: the GPU has not used it.
    unsafe { mapped.bytes_mut() }.unwrap().copy_from_slice(&[1, 2, 3]);
    // SAFETY: as above.
    assert_eq!(unsafe { mapped.bytes() }, Some(&[1, 2, 3][..]));
    assert_silent(&device);
}

fn stages_need_their_feature_and_accesses_a_stage() {
    use vk::{AccessFlags2 as Access, PipelineStageFlags2 as Stages};
    let compute = Compute::new(&Rig::open_own(), Backend::Host).unwrap();
    let info = ExchangeInfo { name: "stages", ..ExchangeInfo::default() };
    for (stages, access, reason) in [
        (Stages::RAY_TRACING_SHADER_KHR, Access::SHADER_STORAGE_READ, "does not support RAY_TRACING_SHADER"),
        (Stages::GEOMETRY_SHADER, Access::SHADER_STORAGE_READ, "does not support GEOMETRY_SHADER"),
        (Stages::from_raw(1 << 63), Access::NONE, "does not support "),
        (Stages::VERTEX_SHADER, Access::TRANSFER_READ, "supports its accesses TRANSFER_READ"),
    ] {
        let accesses = BufferAccess { stages, access, ..BufferAccess::SHADER_READ };
        let error = Exchange::new(&compute, &info, BufferSpec::<u32>::new(16, accesses)).err().unwrap().to_string();
        assert!(error.contains(reason), "{error}");
        let accesses = ImageAccess { stages, access, ..ImageAccess::SAMPLED };
        let spec = ImageSpec::<u32>::new(vk::Format::R32_UINT, [4, 4], accesses);
        let error = Exchange::new(&compute, &info, spec).err().unwrap().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_silent(compute.device());
}

fn a_queue_has_one_lock() {
    let engine = Engine::new(None);
    // SAFETY: the engine's own handles.
    let first = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    let queue = first.queue().with(|queue| queue).unwrap();
    let more = [(queue, 0)];
    let mut again = engine.info();
    again.additional_queues = &more;
    // SAFETY: as above.
    let second = unsafe { ExportDevice::adopt(again) }.unwrap();
    let other = Rig::open_own();
    let held = |device: &ExportDevice| first.queue().with(|_| device.queue().is_held()).unwrap();
    assert!(held(&first) && held(&second) && !held(&other));
    let error = first.queue().with(|_| second.queue().with(|_| ()).unwrap_err()).unwrap();
    assert!(error.to_string().contains("already locked by this thread"), "{error}");
}

fn more_than_promised_is_tried_but_no_more_than_the_heap() {
    let engine = Engine::new(None);
    let mut info = engine.info();
    info.instance = SmallLimits::instance(&info.entry, &info.instance);
    // SAFETY: the engine's own handles.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    assert_eq!(device.physical().max_allocation_size, SmallLimits::ALLOCATION);
    let large = buffer(&device, 4 << 20, vk::BufferUsageFlags::TRANSFER_DST).unwrap();
    assert_eq!(large.size(), 4 << 20, "more than promised, and there");
    let limits = [(SmallLimits::HEAP, "the size of its memory heap"), (SmallLimits::BUFFER, "maxBufferSize")];
    for expected in limits {
        match buffer(&device, expected.0 + 1, vk::BufferUsageFlags::TRANSFER_DST) {
            Err(Error::TooLarge { limit, limit_name, .. }) => assert_eq!((limit, limit_name), expected),
            other => panic!("{other:?}"),
        }
    }
}
