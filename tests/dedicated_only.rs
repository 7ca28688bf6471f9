//! A driver that requires a dedicated allocation for each buffer: pools are impossible there, and
//! the error says so. A single test, because a function of the device is replaced.
#![allow(unsafe_code, clippy::unwrap_used)] // A replaced Vulkan function.

use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

use bridge::ash::vk;
use bridge::vk_export::{Block, BlockInfo, Buffer, BufferInfo, Error, ExportDevice, Placement};
use bridge::{Backend, BufferAccess, SharedPool, SharedPoolInfo};
use bridge_tests::{Engine, Need, case_on, skip};

type Real = vk::PFN_vkGetBufferMemoryRequirements2;
static REAL: OnceLock<Real> = OnceLock::new();

/// Returns the driver's result, changed to require dedicated allocations.
unsafe extern "system" fn require_dedicated(
    device: vk::Device,
    info: *const vk::BufferMemoryRequirementsInfo2<'_>,
    requirements: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: forwarded to the real function.
    unsafe { REAL.get().unwrap()(device, info, requirements) };
    // SAFETY: the caller's own structure.
    let mut next = unsafe { (*requirements).p_next }.cast::<vk::BaseOutStructure<'_>>();
    // SAFETY: a chain ends with null, and each structure begins like this one.
    while let Some(link) = unsafe { next.as_mut() } {
        if link.s_type == vk::StructureType::MEMORY_DEDICATED_REQUIREMENTS {
            // SAFETY: its structure type identifies it.
            let dedicated = unsafe { &mut *next.cast::<vk::MemoryDedicatedRequirements<'_>>() };
            dedicated.requires_dedicated_allocation = vk::TRUE;
        }
        next = link.p_next;
    }
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    match name.to_bytes() {
        b"vkGetBufferMemoryRequirements2" => {
            // SAFETY: the function of that name has this type.
            let _ = REAL.set(unsafe { std::mem::transmute::<*const c_void, Real>(real) });
            require_dedicated as *const c_void
        }
        _ => real,
    }
}

#[test]
fn dedicated_resources_are_not_pooled() {
    // Never destroyed: NVIDIA's driver deadlocks if a device is destroyed while a thread that has
    // used Vulkan exits.
    let engine = Box::leak(Box::new(Engine::new(Some(hook))));
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    let (usage, size, placement) = (BufferAccess::TRANSFER_READ.usage, 64 << 10, Placement::Exportable);
    let own = match Buffer::new(&device, &BufferInfo { name: "own", size, usage, placement }) {
        Ok(own) => own,
        Err(error @ (Error::NotExportable { .. } | Error::Missing { .. })) => {
            return skip(Need::Gpu, &error.to_string());
        }
        Err(error) => panic!("{error}"),
    };
    assert!(own.export().unwrap().descriptor.dedicated);
    let error = Block::new(&device, &BlockInfo { name: "slab", size, usage, placement }).unwrap_err();
    assert!(matches!(error, Error::NotExportable { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("block \"slab\"") && text.contains("without a block or a pool"), "{text}");
    assert!(text.contains(device.name()), "{text}");

    for backend in [Backend::Host, Backend::Cuda] {
        let Some(compute) = case_on(&device, backend, "a pool") else { continue };
        let error = SharedPool::new(&compute, &SharedPoolInfo { name: "brook", ..Default::default() }).unwrap_err();
        assert!(error.to_string().contains("brook.block0"), "{error}");
    }
    engine.assert_silent();
}
