//! Shared images: what the driver has can be made, cleared, copied, mapped and exported; what it has not is refused.
#![allow(unsafe_code, clippy::unwrap_used)] // Recording commands.

use std::time::Duration;

use bridge::ash::vk;
use bridge::vk_export::{
    Error, ExportDevice, Image, ImageConsumer, ImageHandover, ImageInfo, ImageKind, Partner, Placement, Semaphore,
    SemaphoreInfo, image_support, mip_count,
};
use bridge_tests::{Need, Rig, open_descriptors, skip_case};
use vk_local::{LocalBuffer, MemoryLocation};

const TRANSFERS: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
    vk::ImageUsageFlags::TRANSFER_SRC.as_raw() | vk::ImageUsageFlags::TRANSFER_DST.as_raw(),
);

/// Every kind with and without layers, with one level and with all.
fn shapes() -> Vec<ImageInfo<'static>> {
    use ImageKind::{Cube, D1, D2, D3};
    let kinds = [
        (D1, [37, 1, 1], 1),
        (D1, [37, 1, 1], 3),
        (D2, [37, 19, 1], 1),
        (D2, [37, 19, 1], 3),
        (D3, [13, 7, 5], 1),
        (Cube, [16, 16, 1], 6),
        (Cube, [16, 16, 1], 12),
    ];
    let mut shapes = Vec::new();
    for (kind, extent, array_layers) in kinds {
        for mip_levels in [1, mip_count(extent)] {
            let format = vk::Format::R32_UINT;
            let usage = TRANSFERS | vk::ImageUsageFlags::SAMPLED;
            shapes.push(ImageInfo { name: "shape", kind, format, extent, mip_levels, array_layers, usage, ..info() });
        }
    }
    shapes
}

fn info() -> ImageInfo<'static> {
    ImageInfo {
        name: "image",
        format: vk::Format::R8G8B8A8_UNORM,
        extent: [64, 32, 1],
        usage: TRANSFERS,
        ..ImageInfo::default()
    }
}

fn describe(info: &ImageInfo<'_>) -> String {
    format!(
        "{:?} {:?}, {} levels, {} layers, {:?}, {:?}",
        info.kind, info.extent, info.mip_levels, info.array_layers, info.tiling, info.placement
    )
}

/// Makes the image, or says why not.
fn make(rig: &Rig, case: &str, info: &ImageInfo<'_>) -> Option<Image> {
    match Image::new(rig.device(), info) {
        Ok(image) => Some(image),
        Err(error) => {
            let asked = image_support(rig.device(), info);
            let refused = asked.as_ref().is_err()
                || asked.as_ref().is_ok_and(|support| {
                    let fits = support.max_extent.iter().zip(info.extent).all(|(most, asked)| asked <= *most);
                    let counts =
                        info.mip_levels <= support.max_mip_levels && info.array_layers <= support.max_array_layers;
                    !(fits && counts && (support.exportable || info.placement == Placement::HostVisible))
                });
            assert!(refused, "the driver has {}, but: {error}", describe(info));
            skip_case(Need::Other, &format!("{case}, {}", describe(info)), &error.to_string());
            None
        }
    }
}

fn partner(info: &ImageInfo<'_>) -> Partner {
    if info.placement == Placement::HostVisible { Partner::Host } else { Partner::External }
}

fn handover(image: &Image, partner: Partner, consumer: ImageConsumer) -> ImageHandover {
    ImageHandover::new(image, partner, image.device().queue().family(), consumer)
}

fn barrier(device: &ExportDevice, commands: vk::CommandBuffer, barrier: Option<vk::ImageMemoryBarrier2<'static>>) {
    let Some(barrier) = barrier else { return };
    let barriers = [barrier];
    // SAFETY: recording, on an image that lives until `run` returns.
    unsafe { device.cmd_pipeline_barrier2(commands, &vk::DependencyInfo::default().image_memory_barriers(&barriers)) };
}

fn run(device: &ExportDevice, record: impl FnOnce(vk::CommandBuffer)) {
    // SAFETY: the tests record valid commands on objects that they hold.
    unsafe { device.run_once(device.queue(), "test", Rig::LONG, record) }.unwrap();
}

/// Gives a new image to its partner.
fn initialise(image: &Image, partner: Partner) {
    let device = image.device();
    let handover = handover(image, partner, ImageConsumer::TRANSFER_WRITE);
    run(device, |commands| {
        barrier(device, commands, Some(handover.initial()));
        barrier(device, commands, Some(handover.release()));
    });
}

/// Takes the image over from the partner, records, gives it back.
fn turn(image: &Image, partner: Partner, consumer: ImageConsumer, record: impl FnOnce(vk::CommandBuffer)) {
    let device = image.device();
    let handover = handover(image, partner, consumer);
    run(device, |commands| {
        barrier(device, commands, Some(handover.acquire()));
        barrier(device, commands, handover.enter());
        record(commands);
        barrier(device, commands, handover.leave());
        barrier(device, commands, Some(handover.release()));
    });
}

/// Each layer of each level.
fn subresources(image: &Image) -> impl Iterator<Item = (u32, u32)> + use<> {
    let layers = image.array_layers();
    (0..image.mip_levels()).flat_map(move |level| (0..layers).map(move |layer| (level, layer)))
}

/// What [`clear`] leaves in a layer of a level.
fn value((level, layer): (u32, u32), base: u32) -> u32 {
    base + 100 * level + layer
}

fn clear(image: &Image, partner: Partner, base: u32) {
    let consumer = ImageConsumer::TRANSFER_WRITE;
    turn(image, partner, consumer, |commands| {
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
            // SAFETY: between the barriers, in their layout.
            unsafe { raw.cmd_clear_color_image(commands, image.as_raw(), consumer.layout, &color, &[range]) };
        }
    });
}

/// Texels of 4 bytes of each layer of each level, read through Vulkan.
fn read(image: &Image, partner: Partner) -> Vec<((u32, u32), Vec<u32>)> {
    let device = image.device();
    let len = |level| image.level_extent(level).iter().map(|d| u64::from(*d)).product::<u64>();
    let size = 4 * subresources(image).map(|(level, _)| len(level)).sum::<u64>();
    let usage = vk::BufferUsageFlags::TRANSFER_DST;
    let target = LocalBuffer::new(device, "readback", size, usage, MemoryLocation::GpuToCpu).unwrap();
    let consumer = ImageConsumer::TRANSFER_READ;
    turn(image, partner, consumer, |commands| {
        let mut buffer_offset = 0;
        for (mip_level, base_array_layer) in subresources(image) {
            let [width, height, depth] = image.level_extent(mip_level);
            let region = vk::BufferImageCopy::default()
                .buffer_offset(buffer_offset)
                .image_subresource(vk::ImageSubresourceLayers {
                    aspect_mask: image.range().aspect_mask,
                    mip_level,
                    base_array_layer,
                    layer_count: 1,
                })
                .image_extent(vk::Extent3D { width, height, depth });
            buffer_offset += 4 * len(mip_level);
            let (raw, regions) = (device.as_raw(), [region]);
            // SAFETY: between the barriers, in their layout; the regions are the image's own and fit the buffer.
            unsafe {
                raw.cmd_copy_image_to_buffer(commands, image.as_raw(), consumer.layout, target.as_raw(), &regions)
            };
        }
        let to_host = [vk::MemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags2::HOST)
            .dst_access_mask(vk::AccessFlags2::HOST_READ)];
        // SAFETY: recording.
        unsafe { device.cmd_pipeline_barrier2(commands, &vk::DependencyInfo::default().memory_barriers(&to_host)) };
    });
    // SAFETY: the commands have run, waited for by `turn`, with a barrier to the host at their end.
    let mut words = bytes_to_words(unsafe { target.bytes() }.unwrap()).into_iter();
    subresources(image).map(|at| (at, words.by_ref().take(usize::try_from(len(at.0)).unwrap()).collect())).collect()
}

fn bytes_to_words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
}

#[test]
fn every_shape_keeps_what_was_written_through_hand_overs() {
    let rig = Rig::open();
    let (mut made, mut exported) = (0, 0);
    for shape in shapes() {
        for (tiling, placement) in [
            (vk::ImageTiling::OPTIMAL, Placement::Exportable),
            (vk::ImageTiling::LINEAR, Placement::Exportable),
            (vk::ImageTiling::LINEAR, Placement::HostVisible),
        ] {
            let info = ImageInfo { tiling, placement, ..shape };
            let Some(image) = make(&rig, "every_shape", &info) else { continue };
            made += 1;
            assert!(image.view().is_some());
            let partner = partner(&info);
            initialise(&image, partner);
            clear(&image, partner, 7_000);
            for (at, texels) in read(&image, partner) {
                assert!(texels.iter().all(|texel| *texel == value(at, 7_000)), "{}: {at:?}", describe(&info));
            }
            if placement == Placement::Exportable {
                let descriptor = image.export().unwrap().descriptor;
                assert_eq!((descriptor.kind, descriptor.extent), (info.kind, info.extent));
                assert_eq!((descriptor.mip_levels, descriptor.array_layers), (info.mip_levels, info.array_layers));
                assert_eq!((descriptor.tiling, descriptor.usage), (info.tiling, info.usage));
                assert!(descriptor.memory.allocation_size >= 4 * u64::from(info.extent[0]));
                exported += 1;
            }
        }
    }
    assert!(made > 0);
    println!("{made} images made, {exported} of them exported");
}

#[test]
fn formats_of_every_size_are_cleared_and_viewed() {
    let rig = Rig::open();
    use vk::Format as F;
    for format in [
        F::R8_UNORM,
        F::R8G8B8A8_UNORM,
        F::B8G8R8A8_UNORM,
        F::R16G16B16A16_SFLOAT,
        F::R32_SFLOAT,
        F::R32G32B32A32_SFLOAT,
    ] {
        let usage = TRANSFERS | ImageConsumer::SAMPLED.usage | ImageConsumer::COLOR_ATTACHMENT.usage;
        let info = ImageInfo { name: "format", format, usage, mip_levels: 3, ..info() };
        let info = ImageInfo { placement: placement(&rig), tiling: tiling(&rig), ..info };
        let info = if info.placement == Placement::HostVisible { ImageInfo { mip_levels: 1, ..info } } else { info };
        let Some(image) = make(&rig, &format!("formats, {format:?}"), &info) else { continue };
        initialise(&image, partner(&info));
        turn(&image, partner(&info), ImageConsumer::TRANSFER_WRITE, |commands| {
            let color = vk::ClearColorValue { float32: [1.0; 4] };
            let (raw, layout) = (rig.device().as_raw(), ImageConsumer::TRANSFER_WRITE.layout);
            // SAFETY: between the barriers, in their layout.
            unsafe { raw.cmd_clear_color_image(commands, image.as_raw(), layout, &color, &[image.range()]) };
        });
        assert!(image.view().is_some() && image.view_as(format) == image.view());
        assert_eq!(image.view_as(F::R8G8_SNORM), None);
    }
}

/// Exportable where this machine exports images, else for the host.
fn placement(rig: &Rig) -> Placement {
    let exportable = image_support(rig.device(), &info()).is_ok_and(|support| support.exportable);
    if exportable { Placement::Exportable } else { Placement::HostVisible }
}

fn tiling(rig: &Rig) -> vk::ImageTiling {
    match placement(rig) {
        Placement::Exportable => vk::ImageTiling::OPTIMAL,
        _ => vk::ImageTiling::LINEAR,
    }
}

#[test]
fn the_host_writes_what_vulkan_reads_and_the_other_way_round() {
    let rig = Rig::open();
    let mut made = 0;
    for shape in shapes() {
        let info = ImageInfo { tiling: vk::ImageTiling::LINEAR, placement: Placement::HostVisible, ..shape };
        let Some(image) = make(&rig, "the_host_writes", &info) else { continue };
        made += 1;
        initialise(&image, Partner::Host);
        for at in subresources(&image) {
            for (index, pointer) in texels(&image, at).into_iter().enumerate() {
                // SAFETY: inside the mapping, aligned to 4; nothing else uses the image now.
                unsafe { pointer.write(pattern(at, index)) };
            }
        }
        for (at, texels) in read(&image, Partner::Host) {
            let expected: Vec<u32> = (0..texels.len()).map(|index| pattern(at, index)).collect();
            assert_eq!(texels, expected, "{}: {at:?}", describe(&info));
        }
        clear(&image, Partner::Host, 9_000);
        for at in subresources(&image) {
            for pointer in texels(&image, at) {
                // SAFETY: as above; the clear was waited for and made visible to the host.
                assert_eq!(unsafe { pointer.read() }, value(at, 9_000));
            }
        }
        assert_eq!(image.host_layout(info.mip_levels, 0), None);
        assert_eq!(image.host_layout(0, info.array_layers), None);
        assert!(image.export().unwrap_err().to_string().contains("HostVisible"));
    }
    assert!(made > 0);
}

fn pattern((level, layer): (u32, u32), index: usize) -> u32 {
    u32::try_from(index).unwrap().wrapping_mul(2_654_435_761) ^ (level << 8) ^ layer
}

/// Where the texels of a layer of a level are, row by row, slice by slice.
fn texels(image: &Image, (level, layer): (u32, u32)) -> Vec<*mut u32> {
    let layout = image.host_layout(level, layer).unwrap();
    let [width, height, depth] = image.level_extent(level).map(u64::from);
    let mut texels = Vec::new();
    for (z, y, x) in (0..depth).flat_map(|z| (0..height).flat_map(move |y| (0..width).map(move |x| (z, y, x)))) {
        let within = z * layout.depth_pitch * u64::from(depth > 1) + y * layout.row_pitch + x * 4;
        assert!(within + 4 <= layout.size, "{layout:?}");
        let offset = usize::try_from(layout.offset + within).unwrap();
        // SAFETY: inside the mapping, as the driver's layout says.
        texels.push(unsafe { image.host_ptr().unwrap().add(offset) }.cast::<u32>().as_ptr());
    }
    texels
}

#[test]
fn every_consumer_gets_its_layout() {
    let rig = Rig::open();
    let consumers = [
        ImageConsumer::SAMPLED,
        ImageConsumer::COMPUTE_SAMPLED,
        ImageConsumer::STORAGE_READ,
        ImageConsumer::STORAGE_READ_WRITE,
        ImageConsumer::COLOR_ATTACHMENT,
        ImageConsumer::TRANSFER_READ,
        ImageConsumer::TRANSFER_WRITE,
        ImageConsumer::SAMPLED | ImageConsumer::TRANSFER_READ,
    ];
    let usage = consumers.iter().fold(vk::ImageUsageFlags::empty(), |all, consumer| all | consumer.usage);
    let mut info = ImageInfo { name: "consumed", format: vk::Format::R32_SFLOAT, usage, mip_levels: 4, ..info() };
    if placement(&rig) == Placement::HostVisible {
        info = ImageInfo { placement: Placement::HostVisible, tiling: vk::ImageTiling::LINEAR, mip_levels: 1, ..info };
    }
    let Some(image) = make(&rig, "every_consumer", &info) else { return };
    let partner = partner(&info);
    initialise(&image, partner);
    for consumer in consumers {
        turn(&image, partner, consumer, |_| {});
    }
}

#[test]
fn an_srgb_view_of_a_storage_image_is_for_sampling() {
    let rig = Rig::open();
    let views = [vk::Format::R8G8B8A8_SRGB, vk::Format::R8G8B8A8_UNORM, vk::Format::R32_UINT];
    let usage = TRANSFERS | vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::STORAGE;
    let info = ImageInfo { name: "srgb", usage, view_formats: &views, ..info() };
    let info = ImageInfo { placement: placement(&rig), tiling: tiling(&rig), ..info };
    let Some(image) = make(&rig, "an_srgb_view", &info) else { return };
    let all = [image.view(), image.view_as(views[0]), image.view_as(views[2])];
    assert!(all.iter().all(Option::is_some) && all[0] != all[1] && all[1] != all[2]);
    assert_eq!(image.view_as(views[1]), image.view(), "its own format is viewed once");
    assert_eq!(image.view_as(vk::Format::B8G8R8A8_SRGB), None);
    let Some(moved) = make(&rig, "a transfer image", &ImageInfo { usage: TRANSFERS, ..info }) else { return };
    assert_eq!(moved.view(), None, "nothing can be viewed");
}

#[test]
fn depth_and_block_compressed_images_pass_through() {
    let rig = Rig::open();
    for (format, usage) in [
        (vk::Format::D32_SFLOAT, vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT | vk::ImageUsageFlags::SAMPLED),
        (vk::Format::D24_UNORM_S8_UINT, vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT),
        (vk::Format::BC7_UNORM_BLOCK, vk::ImageUsageFlags::SAMPLED),
        (vk::Format::G8_B8R8_2PLANE_420_UNORM, vk::ImageUsageFlags::SAMPLED),
    ] {
        let info = ImageInfo { name: "special", format, usage: usage | TRANSFERS, ..info() };
        let Some(image) = make(&rig, &format!("special, {format:?}"), &info) else { continue };
        initialise(&image, Partner::External);
        assert_eq!(image.view().is_some(), format != vk::Format::G8_B8R8_2PLANE_420_UNORM);
        image.export().unwrap();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn every_export_is_fresh_and_nothing_is_left_open() {
    use std::os::fd::AsRawFd;

    use bridge::vk_export::MemoryHandle;

    let rig = Rig::open();
    let Some(image) = make(&rig, "every_export_is_fresh", &info()) else { return };
    let (first, second) = (image.export().unwrap(), image.export().unwrap());
    let (MemoryHandle::Fd(one), MemoryHandle::Fd(other)) = (&first.handle, &second.handle);
    assert_ne!(one.as_raw_fd(), other.as_raw_fd());
    assert_eq!(first.descriptor, second.descriptor);
    let memory = &first.descriptor.memory;
    assert_eq!((memory.offset, memory.size), (0, memory.allocation_size));
    assert_eq!((memory.device_uuid, memory.name.as_str()), (rig.device().uuid(), "image"));
    if image_support(rig.device(), &info()).unwrap().dedicated_only {
        assert!(memory.dedicated);
    }
    drop((first, second, image));

    let round = || {
        let image = Image::new(rig.device(), &info()).unwrap();
        drop(image.export().unwrap());
        drop(image.export().unwrap());
        Image::new(rig.device(), &ImageInfo { mip_levels: 99, ..info() }).unwrap_err();
    };
    round();
    let before = open_descriptors();
    (0..200).for_each(|_| round());
    assert_eq!(before, open_descriptors(), "descriptors before and after 200 rounds");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let rig = Rig::open();
    let error = |info: ImageInfo<'_>| Image::new(rig.device(), &info).unwrap_err();
    let says = |info: ImageInfo<'_>, because: &str| {
        let text = error(info).to_string();
        assert!(text.contains("image \"image\"") && text.contains(because), "{text}");
    };
    says(ImageInfo { extent: [0, 32, 1], ..info() }, "its extent is 0 x 32 x 1");
    says(ImageInfo { mip_levels: 8, ..info() }, "at most 7");
    says(ImageInfo { kind: ImageKind::Cube, extent: [8, 8, 1], array_layers: 7, ..info() }, "no multiple of 6");
    says(ImageInfo { extent: [u32::MAX, 1, 1], ..info() }, "maxImageDimension2D");
    says(ImageInfo { usage: vk::ImageUsageFlags::empty(), ..info() }, "its usage is empty");
    says(ImageInfo { placement: Placement::HostVisible, ..info() }, "make the tiling LINEAR");
    says(ImageInfo { view_formats: &[vk::Format::R8_UNORM], ..info() }, "cannot be viewed as R8_UNORM");

    // An sRGB format is no storage image anywhere, and the driver knows what would do.
    let storage = TRANSFERS | vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::STORAGE;
    let srgb = ImageInfo { format: vk::Format::R8G8B8A8_SRGB, usage: storage, ..info() };
    if Image::new(rig.device(), &srgb).is_err() {
        let refused = error(srgb);
        assert!(matches!(refused, Error::UnsupportedImage { .. }), "{refused}");
        for part in ["R8G8B8A8_SRGB", "OPTIMAL", "it would do without STORAGE", rig.device().name()] {
            assert!(refused.to_string().contains(part), "{refused}");
        }
    }
    let limits = &rig.device().physical().limits;
    let huge = ImageInfo {
        format: vk::Format::R32G32B32A32_SFLOAT,
        extent: [limits.max_image_dimension2_d, limits.max_image_dimension2_d, 1],
        array_layers: limits.max_image_array_layers,
        ..info()
    };
    let huge = error(huge);
    assert!(matches!(huge, Error::TooLarge { .. } | Error::InvalidArgument { .. }), "{huge}");
}

#[test]
fn commands_that_do_not_end_are_left_alone() {
    let rig = Rig::open();
    let (raw, queue) = (rig.device().as_raw(), rig.device().queue());
    let gate = Semaphore::new(rig.device(), &SemaphoreInfo { name: "gate", ..Default::default() }).unwrap();
    let target =
        LocalBuffer::new(rig.device(), "late", 4, vk::BufferUsageFlags::TRANSFER_DST, MemoryLocation::GpuOnly).unwrap();
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(queue.family());
    // SAFETY: a plain pool of the queue's family.
    let pool = unsafe { raw.create_command_pool(&info, None) }.unwrap();
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
    // SAFETY: one primary command buffer of that pool.
    let late = unsafe { raw.allocate_command_buffers(&info) }.unwrap()[0];
    // SAFETY: fresh.
    unsafe { raw.begin_command_buffer(late, &vk::CommandBufferBeginInfo::default()) }.unwrap();
    // SAFETY: recording, inside the buffer.
    unsafe { raw.cmd_fill_buffer(late, target.as_raw(), 0, 4, 1) };
    // SAFETY: recording.
    unsafe { raw.end_command_buffer(late) }.unwrap();

    // What is submitted later signals its fence only after this, which waits for the gate.
    let waits = [vk::SemaphoreSubmitInfo::default()
        .semaphore(gate.as_raw())
        .value(1)
        .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
    let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(late)];
    let batch = vk::SubmitInfo2::default().wait_semaphore_infos(&waits).command_buffer_infos(&commands);
    // SAFETY: everything lives until the queue is idle below.
    unsafe { queue.submit(&[batch], vk::Fence::null()) }.unwrap();
    let limit = Duration::from_millis(50);
    // SAFETY: nothing is recorded.
    let error = unsafe { rig.device().run_once(queue, "stuck", limit, |_| {}) }.unwrap_err();

    // SAFETY: nobody else signals it.
    unsafe { gate.signal(1) }.unwrap();
    // SAFETY: under the queue's lock.
    queue.with(|queue| unsafe { raw.queue_wait_idle(queue) }).unwrap().unwrap();
    // SAFETY: the queue is idle.
    unsafe { raw.destroy_command_pool(pool, None) };
    assert!(matches!(&error, Error::Unfinished { waited, .. } if *waited >= limit), "{error}");
    assert!(error.to_string().contains("commands \"stuck\" did not finish"), "{error}");
}
