//! Findings of the double about wrong use of its Vulkan driver: each rule is broken on purpose, so
//! that a test without findings is meaningful.

use bridge::ash::vk;
use bridge::cudarc::driver::sys;
use bridge::vk_export::{Buffer, BufferInfo};
use bridge::{Backend, Compute};
use bridge_tests::Rig;

use crate::double;
use crate::images::{EXTENT, drawn, imported, mapped};

/// Runs `wrong` with CUDA's context current, and expects exactly these kinds of findings.
fn expect_findings(name: &str, expected: &[&str], wrong: fn(&Rig)) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    compute.cuda().unwrap().stream().context().bind_to_thread().unwrap();
    wrong(&rig);
    let findings = double.findings();
    let kinds: Vec<_> = findings.iter().map(|finding| finding.kind.as_str()).collect();
    assert_eq!(kinds, expected, "{findings:#?}");
}

/// Destroys a CUDA array and the memory it is mapped from.
fn destroy(array: sys::CUmipmappedArray, memory: sys::CUexternalMemory) {
    // SAFETY: nothing has used the array.
    unsafe { sys::cuMipmappedArrayDestroy(array) }.result().unwrap();
    // SAFETY: nothing is mapped to it anymore.
    unsafe { sys::cuDestroyExternalMemory(memory) }.result().unwrap();
}

#[test]
fn an_image_that_cuda_has_unmapped_may_be_destroyed() {
    expect_findings("findings::an_image_that_cuda_has_unmapped_may_be_destroyed", &[], |rig| {
        let image = drawn(rig, 1);
        let (array, memory) = mapped(&image, EXTENT);
        destroy(array, memory);
        drop(image);
    });
}

#[test]
fn an_image_destroyed_while_cuda_maps_it() {
    // One finding for the image and one for its memory.
    expect_findings("findings::an_image_destroyed_while_cuda_maps_it", &["mapped-at-free"; 2], |rig| {
        let image = drawn(rig, 1);
        let (array, memory) = mapped(&image, EXTENT);
        drop(image);
        destroy(array, memory);
    });
}

/// Maps the buffer in CUDA. Returns the mapping and its memory.
fn mapped_buffer(buffer: &Buffer) -> (sys::CUdeviceptr, sys::CUexternalMemory) {
    let exported = buffer.export().unwrap();
    let memory = imported(exported.handle, &exported.descriptor);
    let desc = sys::CUDA_EXTERNAL_MEMORY_BUFFER_DESC {
        offset: exported.descriptor.offset,
        size: buffer.size(),
        flags: 0,
        reserved: [0; 16],
    };
    let mut address = 0;
    // SAFETY: a live import, a range of it, and a pointer that is valid for the result.
    unsafe { sys::cuExternalMemoryGetMappedBuffer(&mut address, memory, &desc) }.result().unwrap();
    (address, memory)
}

fn buffer(rig: &Rig) -> Buffer {
    let usage = vk::BufferUsageFlags::TRANSFER_DST;
    let info = BufferInfo { name: "mapped", size: 4096, usage, ..BufferInfo::default() };
    Buffer::new(rig.device(), &info).unwrap()
}

fn free(address: sys::CUdeviceptr) {
    // SAFETY: a mapping that nothing has used.
    unsafe { sys::cuMemFree_v2(address) }.result().unwrap();
}

fn destroy_memory(memory: sys::CUexternalMemory) {
    // SAFETY: nothing is mapped to it anymore.
    unsafe { sys::cuDestroyExternalMemory(memory) }.result().unwrap();
}

/// The importer keeps the memory alive; only a mapping of it is an error.
#[test]
fn memory_that_is_imported_and_not_mapped_may_be_freed() {
    expect_findings("findings::memory_that_is_imported_and_not_mapped_may_be_freed", &[], |rig| {
        let buffer = buffer(rig);
        let (address, memory) = mapped_buffer(&buffer);
        free(address);
        drop(buffer);
        destroy_memory(memory);
    });
}

#[test]
fn memory_freed_while_cuda_maps_it() {
    expect_findings("findings::memory_freed_while_cuda_maps_it", &["mapped-at-free"], |rig| {
        let buffer = buffer(rig);
        let (address, memory) = mapped_buffer(&buffer);
        drop(buffer);
        free(address);
        destroy_memory(memory);
    });
}

/// With both functions. The validation layer reports it too, if it is enabled.
#[test]
fn an_image_bound_twice() {
    expect_findings("findings::an_image_bound_twice", &["bound-twice"; 2], |rig| {
        rig.allow(&["VUID-vkBindImageMemory-image-07460", "VUID-VkBindImageMemoryInfo-image-07460"]);
        let image = drawn(rig, 1);
        let device = rig.device().as_raw();
        // SAFETY: a live image.
        let needs = unsafe { device.get_image_memory_requirements(image.as_raw()) };
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(needs.memory_type_bits.trailing_zeros());
        // SAFETY: one of the types that the image may have.
        let memory = unsafe { device.allocate_memory(&info, None) }.unwrap();
        // SAFETY: valid except for VUID-vkBindImageMemory-image-07460, which is broken on purpose:
        // lavapipe, the underlying driver, replaces the old memory with the new one.
        unsafe { device.bind_image_memory(image.as_raw(), memory, 0) }.unwrap();
        let again = [vk::BindImageMemoryInfo::default().image(image.as_raw()).memory(memory)];
        // SAFETY: as above.
        unsafe { device.bind_image_memory2(&again) }.unwrap();
        drop(image);
        // SAFETY: the image that was bound to it is destroyed.
        unsafe { device.free_memory(memory, None) };
    });
}
