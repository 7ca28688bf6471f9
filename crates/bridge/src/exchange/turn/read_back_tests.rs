//! Tests of the copies of frames to the host: which resources are copied, and the barriers.
#![allow(unsafe_code, clippy::unwrap_used)] // Replaces Vulkan functions.

use std::cell::RefCell;
use std::ffi::c_void;
use std::fmt::Debug;
use std::sync::OnceLock;

use vk::{AccessFlags2 as Access, PipelineStageFlags2 as Stages};
use vk_export::{BufferAccess, ImageAccess};

use super::*;
use crate::compute::{Backend, Compute};
use crate::exchange::{Exchange, ExchangeInfo, LatestInfo};
use crate::test_device::device;
use crate::timeline::hooked::hooked;

const LIMIT: Duration = Duration::from_secs(20);

fn check<T: Debug>(result: Result<T>, (stages, is_copied): (Stages, bool)) {
    match result {
        Err(Error::InvalidArgument { .. }) if !is_copied => {}
        Ok(_) if is_copied => {}
        result => panic!("{stages:?}: {result:?}"),
    }
}

/// Barriers order a copy only at stages that include copies. An access for blits alone has the same
/// usage and access flags.
#[test]
fn stages_without_copies_are_refused() {
    let Some(device) = device() else { return };
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let cases = [
        (Stages::BLIT, false),
        (Stages::RESOLVE | Stages::BLIT | Stages::FRAGMENT_SHADER, false),
        (Stages::COPY | Stages::BLIT, true),
        (Stages::ALL_TRANSFER, true),
        (Stages::ALL_COMMANDS, true),
    ];
    let (info, latest) = (ExchangeInfo::default(), LatestInfo::default());
    for case in cases {
        let buffer = BufferSpec::<u32>::new(64, BufferAccess { stages: case.0, ..BufferAccess::TRANSFER_READ });
        let access = ImageAccess { stages: case.0, ..ImageAccess::TRANSFER_READ };
        let image = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [8, 8], access);

        let mut exchange = Exchange::new(&compute, &info, buffer.clone()).unwrap();
        check(exchange.begin().unwrap().finish().unwrap().read_back(LIMIT), case);
        let mut exchange = Exchange::new(&compute, &info, image.clone()).unwrap();
        check(exchange.begin().unwrap().finish().unwrap().read_back(LIMIT), case);

        let (mut writer, mut reader) = Exchange::latest(&compute, &latest, buffer).unwrap();
        writer.begin().unwrap().publish().unwrap().wait(LIMIT).unwrap();
        check(reader.newest().unwrap().unwrap().read_back(LIMIT), case);
        let (mut writer, mut reader) = Exchange::latest(&compute, &latest, image).unwrap();
        writer.begin().unwrap().publish().unwrap().wait(LIMIT).unwrap();
        check(reader.newest().unwrap().unwrap().read_back(LIMIT), case);
    }
}

/// A barrier or copy that a test has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Recorded {
    /// A global memory barrier, from and to these stages and accesses.
    Global((Stages, Access), (Stages, Access)),
    /// Barriers of buffers.
    Buffers,
    Copy,
}

thread_local! {
    static RECORDED: RefCell<Vec<Recorded>> = const { RefCell::new(Vec::new()) };
}

static BARRIER: OnceLock<vk::PFN_vkCmdPipelineBarrier2> = OnceLock::new();
static COPY: OnceLock<vk::PFN_vkCmdCopyBuffer> = OnceLock::new();

unsafe extern "system" fn barrier(commands: vk::CommandBuffer, dependency: *const vk::DependencyInfo<'_>) {
    // SAFETY: by the specification, a valid structure.
    let info = unsafe { &*dependency };
    RECORDED.with_borrow_mut(|all| {
        if info.memory_barrier_count > 0 {
            // SAFETY: as above, an array of at least one element.
            let global = unsafe { &*info.p_memory_barriers };
            let from = (global.src_stage_mask, global.src_access_mask);
            all.push(Recorded::Global(from, (global.dst_stage_mask, global.dst_access_mask)));
        }
        if info.buffer_memory_barrier_count > 0 {
            all.push(Recorded::Buffers);
        }
    });
    // SAFETY: upheld by the caller.
    unsafe { BARRIER.get().unwrap()(commands, dependency) };
}

unsafe extern "system" fn copy(
    commands: vk::CommandBuffer,
    from: vk::Buffer,
    to: vk::Buffer,
    count: u32,
    regions: *const vk::BufferCopy,
) {
    RECORDED.with_borrow_mut(|all| all.push(Recorded::Copy));
    // SAFETY: upheld by the caller.
    unsafe { COPY.get().unwrap()(commands, from, to, count, regions) };
}

/// Returns the device, whose barriers and copies are recorded. Returns `None` and skips the test if
/// there is no device.
fn recorded() -> Option<ExportDevice> {
    hooked(|name, real| match name.to_bytes() {
        b"vkCmdPipelineBarrier2" => {
            // SAFETY: the function of this name has this type.
            let _ = BARRIER.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkCmdPipelineBarrier2>(real) });
            barrier as *const c_void
        }
        b"vkCmdCopyBuffer" => {
            // SAFETY: as above.
            let _ = COPY.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkCmdCopyBuffer>(real) });
            copy as *const c_void
        }
        _ => real,
    })
}

/// Turns with the frame of an earlier turn wait for no semaphore. If that turn may have written the
/// frame, a barrier precedes the copy.
#[test]
fn a_frame_seen_before_is_read_after_a_barrier() {
    let Some(device) = recorded() else { return };
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let info = LatestInfo { name: "again", timeout: LIMIT, ..Default::default() };
    for (uses, writes) in [
        (BufferAccess::COMPUTE_READ_WRITE, Access::SHADER_STORAGE_WRITE),
        (BufferAccess::TRANSFER_WRITE, Access::TRANSFER_WRITE),
        (BufferAccess::COMPUTE_READ, Access::NONE),
    ] {
        let accesses = BufferAccess::TRANSFER_READ | uses;
        let (mut writer, mut reader) = Exchange::latest(&compute, &info, BufferSpec::<u32>::new(64, accesses)).unwrap();
        writer.begin().unwrap().publish().unwrap().wait(LIMIT).unwrap();
        for is_new in [true, false, false] {
            let turn = reader.newest().unwrap().unwrap();
            assert_eq!(turn.is_new(), is_new);
            RECORDED.take();
            turn.read_back(LIMIT).unwrap();
            let between = Recorded::Global((accesses.stages, writes), (accesses.stages, accesses.access));
            let first = if is_new { Some(Recorded::Buffers) } else { (!writes.is_empty()).then_some(between) };
            let expected: Vec<_> = first.into_iter().chain([Recorded::Copy, Recorded::Buffers]).collect();
            assert_eq!(RECORDED.take(), expected, "{uses:?}, new: {is_new}");
        }
        writer.close(reader).unwrap();
    }
}
