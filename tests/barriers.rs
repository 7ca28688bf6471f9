//! What a turn records: every resource is taken over before and given back after, with the right families. Neither the
//! validation layer nor a forgiving driver would tell. One test: the device's functions are stood in for.
#![allow(unsafe_code, clippy::unwrap_used)] // A stand-in for a Vulkan function.

use std::ffi::{CStr, c_void};
use std::sync::{Mutex, OnceLock};

use bridge::ash::vk;
use bridge::vk_export::ExportDevice;
use bridge::{Backend, BufferSpec, Compute, Consumer, Exchange, ExchangeInfo, ImageConsumer, ImageSpec};
use bridge_tests::{Engine, Readback, Rig, case_on};

static REAL: OnceLock<vk::PFN_vkCmdPipelineBarrier2> = OnceLock::new();
/// The buffer barriers of each recorded dependency, and the number of its image barriers; those that have any.
static RECORDED: Mutex<Vec<(Vec<vk::BufferMemoryBarrier2<'static>>, u32)>> = Mutex::new(Vec::new());

unsafe extern "system" fn listen(commands: vk::CommandBuffer, dependency: *const vk::DependencyInfo<'_>) {
    // SAFETY: the caller passes a valid structure.
    let info = unsafe { &*dependency };
    let (buffers, images) = (info.buffer_memory_barrier_count, info.image_memory_barrier_count);
    if buffers + images > 0 {
        let barriers = if buffers == 0 {
            &[]
        } else {
            // SAFETY: so many barriers, valid for the call.
            unsafe { std::slice::from_raw_parts(info.p_buffer_memory_barriers, usize::try_from(buffers).unwrap()) }
        };
        // Their chains are empty, so that copies mean the same.
        let copies = barriers.iter().map(|b| vk::BufferMemoryBarrier2 { _marker: std::marker::PhantomData, ..*b });
        RECORDED.lock().unwrap().push((copies.collect(), images));
    }
    let real = REAL.get().unwrap();
    // SAFETY: handed on.
    unsafe { real(commands, dependency) };
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    if name != c"vkCmdPipelineBarrier2" {
        return real;
    }
    // SAFETY: the function of that name has this type.
    let _ = REAL.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkCmdPipelineBarrier2>(real) });
    listen as *const c_void
}

#[test]
fn every_resource_is_taken_over_and_given_back() {
    let engine = Engine::new(Some(hook));
    for backend in [Backend::Host, Backend::Cuda] {
        // SAFETY: the engine's own handles, which outlive the loop.
        let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
        if let Some(compute) = case_on(&device, backend, "every_resource_is_taken_over") {
            one_frame(&device, &compute);
        }
    }
}

fn one_frame(device: &ExportDevice, compute: &Compute) {
    let spec = (
        BufferSpec::<[f32; 4]>::new(64, Consumer::VERTEX_INPUT | Consumer::TRANSFER_READ),
        vec![BufferSpec::<u32>::new(64, Consumer::TRANSFER_READ); 20],
        ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [16, 16], ImageConsumer::TRANSFER_READ),
    );
    let mut exchange = Exchange::new(compute, &ExchangeInfo { name: "barriers", ..Default::default() }, spec).unwrap();
    let readback = Readback::new(device, 64);
    let turn = exchange.begin().unwrap().finish().unwrap();
    RECORDED.lock().unwrap().clear();
    let commands = readback.record(&turn, &[]);
    let recorded = std::mem::take(&mut *RECORDED.lock().unwrap());
    // Everything changes owner at once; the image changes its layout apart from that.
    let [(acquired, 1), (entered, 1), (left, 1), (released, 1)] = recorded.as_slice() else { panic!("{recorded:?}") };
    assert!(entered.is_empty() && left.is_empty());

    let (vertices, others, _) = turn.resources();
    let buffers: Vec<_> = std::iter::once(vertices.as_raw()).chain(others.map(|other| other.as_raw())).collect();
    let family = device.queue().family();
    let (theirs, ours) = match compute.backend() {
        Backend::Cuda => (vk::QUEUE_FAMILY_EXTERNAL, family),
        _ => (vk::QUEUE_FAMILY_IGNORED, vk::QUEUE_FAMILY_IGNORED),
    };
    for (barriers, from, to) in [(acquired, theirs, ours), (released, ours, theirs)] {
        assert_eq!(barriers.iter().map(|b| b.buffer).collect::<Vec<_>>(), buffers);
        assert!(barriers.iter().all(|b| (b.offset, b.size) == (0, vk::WHOLE_SIZE)));
        assert!(barriers.iter().all(|b| (b.src_queue_family_index, b.dst_queue_family_index) == (from, to)));
    }
    let first = &acquired[0];
    assert!(first.dst_access_mask.contains(vk::AccessFlags2::VERTEX_ATTRIBUTE_READ | vk::AccessFlags2::TRANSFER_READ));
    assert!(released[0].src_stage_mask.contains(vk::PipelineStageFlags2::VERTEX_INPUT));
    let host = compute.backend() == Backend::Host;
    assert_eq!(first.src_access_mask.contains(vk::AccessFlags2::HOST_WRITE), host);

    // SAFETY: recorded with the turn's barriers; waited for here.
    unsafe { turn.submit(&[commands]) }.unwrap().wait(Rig::LONG).unwrap();
    exchange.close().unwrap();
}
