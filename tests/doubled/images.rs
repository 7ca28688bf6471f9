//! Images of the Vulkan driver, mapped as CUDA arrays: the texels are where Vulkan has them if the
//! image is described as it is and CUDA places its layers as Vulkan does.

use std::os::fd::IntoRawFd;

use bridge::ash::vk;
use bridge::cudarc::driver::sys;
use bridge::vk_export::{Image, ImageInfo, MemoryDescriptor, MemoryHandle};
use bridge::{Backend, Compute};
use bridge_tests::{Commands, Rig};

use crate::double;

pub(crate) const EXTENT: [u32; 3] = [17, 9, 1];
const LAYERS: u32 = 3;
/// All mip levels of an image with this extent.
const ALL_LEVELS: u32 = 5;

/// The value that Vulkan fills a layer of a level with.
fn word(level: u32, layer: u32) -> u32 {
    1000 + 10 * level + layer
}

fn subresource(level: u32, layer: u32) -> vk::ImageSubresourceRange {
    vk::ImageSubresourceRange::default()
        .aspect_mask(vk::ImageAspectFlags::COLOR)
        .base_mip_level(level)
        .level_count(1)
        .base_array_layer(layer)
        .layer_count(1)
}

/// An exportable image, filled with [`word`].
pub(crate) fn drawn(rig: &Rig, levels: u32) -> Image {
    let info = ImageInfo {
        name: "layers",
        format: vk::Format::R32_UINT,
        extent: EXTENT,
        mip_levels: levels,
        array_layers: LAYERS,
        usage: vk::ImageUsageFlags::TRANSFER_DST,
        ..Default::default()
    };
    let image = Image::new(rig.device(), &info).unwrap();
    let commands = Commands::new(rig.device());
    let raw = commands.begin();
    let to_general = [vk::ImageMemoryBarrier2::default()
        .dst_stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
        .dst_access_mask(vk::AccessFlags2::MEMORY_WRITE)
        .new_layout(vk::ImageLayout::GENERAL)
        .image(image.as_raw())
        .subresource_range(image.range())];
    let dependency = vk::DependencyInfo::default().image_memory_barriers(&to_general);
    // SAFETY: recording; the image is new.
    unsafe { rig.device().cmd_pipeline_barrier2(raw, &dependency) };
    for (level, layer) in each(levels) {
        let color = vk::ClearColorValue { uint32: [word(level, layer); 4] };
        let (range, layout) = ([subresource(level, layer)], vk::ImageLayout::GENERAL);
        let device = rig.device().as_raw();
        // SAFETY: recording; the image is in that layout after the barrier.
        unsafe { device.cmd_clear_color_image(raw, image.as_raw(), layout, &color, &range) };
    }
    commands.end();
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(raw)];
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos);
    // SAFETY: recorded above, and waited for below.
    unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: a live queue, under its lock.
    rig.device().queue().with(|queue| unsafe { rig.device().as_raw().queue_wait_idle(queue) }).unwrap().unwrap();
    image
}

fn each(levels: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..levels).flat_map(|level| (0..LAYERS).map(move |layer| (level, layer)))
}

/// Imports memory into CUDA.
pub(crate) fn imported(handle: MemoryHandle, memory: &MemoryDescriptor) -> sys::CUexternalMemory {
    let MemoryHandle::Fd(handle) = handle else { panic!("no descriptor") };
    let desc = sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC {
        type_: sys::CUexternalMemoryHandleType::CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD,
        handle: sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st__bindgen_ty_1 { fd: handle.into_raw_fd() },
        size: memory.allocation_size,
        flags: memory.dedicated.into(),
        reserved: [0; 16],
    };
    let mut imported = std::ptr::null_mut();
    // SAFETY: a complete descriptor, and a pointer that is valid for the result.
    unsafe { sys::cuImportExternalMemory(&mut imported, &desc) }.result().unwrap();
    imported
}

/// Maps the image in CUDA. Returns the array and its memory.
pub(crate) fn mapped(image: &Image, extent: [u32; 3]) -> (sys::CUmipmappedArray, sys::CUexternalMemory) {
    let exported = image.export().unwrap();
    let memory = exported.descriptor.memory;
    let imported = imported(exported.handle, &memory);
    let mut array = std::ptr::null_mut();
    let desc = sys::CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC {
        offset: memory.offset,
        arrayDesc: sys::CUDA_ARRAY3D_DESCRIPTOR {
            Width: extent[0] as usize,
            Height: extent[1] as usize,
            Depth: LAYERS as usize,
            Format: sys::CUarray_format::CU_AD_FORMAT_UNSIGNED_INT32,
            NumChannels: 1,
            Flags: sys::CUDA_ARRAY3D_LAYERED,
        },
        numLevels: image.mip_levels(),
        reserved: [0; 16],
    };
    // SAFETY: as above. The differences from the image are what the tests are about; it is no
    // larger.
    unsafe { sys::cuExternalMemoryGetMappedMipmappedArray(&mut array, imported, &desc) }.result().unwrap();
    (array, imported)
}

/// The first rows of a layer of a level, as CUDA reads them; `width` and `height` are in texels.
fn read(array: sys::CUmipmappedArray, level: u32, layer: u32, [width, height]: [usize; 2]) -> Vec<u32> {
    let mut of_level = std::ptr::null_mut();
    // SAFETY: a live array, and a pointer that is valid for the result.
    unsafe { sys::cuMipmappedArrayGetLevel(&mut of_level, array, level) }.result().unwrap();
    let mut texels = vec![0u32; width * height];
    let copy = sys::CUDA_MEMCPY3D {
        srcXInBytes: 0,
        srcY: 0,
        srcZ: layer as usize,
        srcLOD: 0,
        srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_ARRAY,
        srcHost: std::ptr::null(),
        srcDevice: 0,
        srcArray: of_level,
        reserved0: std::ptr::null_mut(),
        srcPitch: 0,
        srcHeight: 0,
        dstXInBytes: 0,
        dstY: 0,
        dstZ: 0,
        dstLOD: 0,
        dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
        dstHost: texels.as_mut_ptr().cast(),
        dstDevice: 0,
        dstArray: std::ptr::null_mut(),
        reserved1: std::ptr::null_mut(),
        dstPitch: 4 * width,
        dstHeight: height,
        WidthInBytes: 4 * width,
        Height: height,
        Depth: 1,
    };
    // SAFETY: copies rows of a live level to memory of their size, which lives until the stream is
    // idle.
    unsafe { sys::cuMemcpy3DAsync_v2(&copy, std::ptr::null_mut()) }.result().unwrap();
    // SAFETY: the default stream.
    unsafe { sys::cuStreamSynchronize(std::ptr::null_mut()) }.result().unwrap();
    texels
}

/// Maps an image with `levels` levels as one of `extent`. Passes to `expected` the levels and
/// layers in which CUDA does not see what Vulkan has drawn, and the kinds of the double's findings.
fn differences(name: &str, levels: u32, extent: [u32; 3], expected: impl FnOnce(&[(u32, u32)], &[&str])) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    compute.cuda().unwrap().stream().context().bind_to_thread().unwrap();
    let image = drawn(&rig, levels);
    let (array, memory) = mapped(&image, extent);
    let size = |level: u32| [extent[0], extent[1]].map(|side| (side >> level).max(1) as usize);
    let differs = |&(level, layer): &(u32, u32)| {
        read(array, level, layer, size(level)).iter().any(|texel| *texel != word(level, layer))
    };
    let different: Vec<_> = each(levels).filter(differs).collect();
    // SAFETY: nothing uses the array or the memory behind it anymore.
    unsafe { sys::cuMipmappedArrayDestroy(array) }.result().unwrap();
    // SAFETY: as above.
    unsafe { sys::cuDestroyExternalMemory(memory) }.result().unwrap();
    let findings = double.findings();
    let kinds: Vec<_> = findings.iter().map(|finding| finding.kind.as_str()).collect();
    expected(&different, &kinds);
}

#[test]
fn texels_are_where_vulkan_stores_them() {
    let name = "images::texels_are_where_vulkan_stores_them";
    differences(name, ALL_LEVELS, EXTENT, |different, kinds| assert!(different.is_empty() && kinds.is_empty()));
}

#[test]
fn one_level_of_layers_has_the_same_layout() {
    let name = "images::one_level_of_layers_has_the_same_layout";
    differences(name, 1, EXTENT, |different, kinds| assert!(different.is_empty() && kinds.is_empty()));
}

/// CUDA's drivers do not report this mistake.
#[test]
fn layers_with_some_of_the_mip_levels_have_another_layout() {
    let name = "images::layers_with_some_of_the_mip_levels_have_another_layout";
    differences(name, 3, EXTENT, |different, kinds| {
        assert!(!different.is_empty());
        assert_eq!(kinds, ["mip-layout"]);
    });
}

#[test]
fn an_image_described_as_another_reads_as_garbage() {
    let name = "images::an_image_described_as_another_reads_as_garbage";
    differences(name, ALL_LEVELS, [16, 9, 1], |different, kinds| {
        assert!(!different.is_empty());
        assert_eq!(kinds, ["image-differs"]);
    });
}
