//! Acceleration structures of vertices that the compute side wrote: a ray is traced against the
//! vertices that were written last.
#![allow(unsafe_code, clippy::unwrap_used)] // Records Vulkan commands.

mod memory;
mod pipeline;
mod scene;
mod shader;

use std::sync::Arc;

use bridge::ash::vk;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge::{Backend, BufferAccess, BufferSpec, Compute, ComputeTurn, Exchange, ExchangeInfo, QueueKind, Work};
use bridge_tests::{Engine, Need, Rig, case_on, skip};
use scene::Scene;

type Vertices = BufferSpec<[f32; 4]>;

/// The lock of an engine that submits nothing besides the bridge.
struct Unlocked;

impl QueueLock for Unlocked {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

#[test]
fn rays_hit_what_the_compute_side_wrote() {
    let engine = match Engine::with_rays() {
        Ok(engine) => engine,
        Err(missing) => return skip(Need::Other, &missing),
    };
    // Never destroyed: NVIDIA's driver deadlocks if a device is destroyed while a thread that has
    // used Vulkan exits.
    let engine = std::mem::ManuallyDrop::new(engine);
    let mut info = engine.info();
    info.features.buffer_device_address = true;
    info.features.acceleration_structure = true;
    info.queue_lock = Some(Arc::new(Unlocked));
    // SAFETY: the engine's own handles, which live forever; everything that is declared is enabled.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    for backend in [Backend::Host, Backend::Cuda] {
        if let Some(compute) = case_on(&device, backend, "rays") {
            trace(&compute);
        }
    }
    trace(&Compute::inline(&device, QueueKind::Graphics).unwrap());
    engine.assert_silent();
}

/// A triangle around the z axis, moved by `aside` along the x axis.
fn triangle(z: f32, aside: f32) -> [[f32; 4]; 3] {
    [[aside - 1.0, -1.0, z, 1.0], [aside + 1.0, -1.0, z, 1.0], [aside, 1.0, z, 1.0]]
}

fn trace(compute: &Compute) {
    let backend = compute.backend();
    let info = ExchangeInfo { name: "vertices", slots: 2, timeout: Rig::LONG, ..Default::default() };
    let spec = Vertices::new(3, BufferAccess::ACCELERATION_STRUCTURE_INPUT);
    let mut exchange = Exchange::new(compute, &info, spec).unwrap();
    let scene = Scene::new(compute.device());
    for (z, aside) in [(2.0, 0.0), (3.5, 0.0), (4.0, 10.0), (7.0, 0.25)] {
        let mut turn = exchange.begin().unwrap();
        write(compute.device(), &mut turn, triangle(z, aside));
        let turn = turn.finish().unwrap();
        // SAFETY: the commands use the turn's vertices between its barriers, and everything else
        // they use lives until they have run.
        unsafe {
            turn.run_once(Rig::LONG, |commands, vertices| scene.record(commands, vertices.device_address().unwrap()))
        }
        .unwrap();
        assert_eq!(scene.seen(), (aside < 1.0).then_some(z), "{backend}: a triangle at {z}, {aside} aside");
    }
    exchange.close().unwrap();
}

fn write(device: &ExportDevice, turn: &mut ComputeTurn<Vertices>, vertices: [[f32; 4]; 3]) {
    match turn.work() {
        Work::Host(host) => host.run(move |to| to.copy_from_slice(&vertices)).unwrap(),
        Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(&vertices, &mut cuda.resources).unwrap(),
        Work::Inline(inline) => {
            let buffer = inline.resources.as_raw().unwrap();
            let record = |commands| {
                let kernels = vk::PipelineStageFlags2::COMPUTE_SHADER;
                let transfer = vk::PipelineStageFlags2::ALL_TRANSFER;
                barrier(device, commands, kernels, transfer);
                let bytes = bytemuck::cast_slice(&vertices);
                // SAFETY: recording; the buffer has as many bytes, and may be updated.
                unsafe { device.as_raw().cmd_update_buffer(commands, buffer, 0, bytes) };
                barrier(device, commands, transfer, kernels);
            };
            // SAFETY: the update has barriers from and to the surrounding commands, and uses the
            // turn's own buffer.
            unsafe { inline.record(record) }.unwrap();
        }
        _ => unreachable!("no other backend is opened here"),
    }
}

fn barrier(
    device: &ExportDevice,
    commands: vk::CommandBuffer,
    from: vk::PipelineStageFlags2,
    to: vk::PipelineStageFlags2,
) {
    let all = vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE;
    let barrier = [vk::MemoryBarrier2::default()
        .src_stage_mask(from)
        .src_access_mask(all)
        .dst_stage_mask(to)
        .dst_access_mask(all)];
    let dependency = vk::DependencyInfo::default().memory_barriers(&barrier);
    // SAFETY: recording, outside a render pass.
    unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
}

/// Without the feature, the access is refused with an error that says what to do.
#[test]
fn the_access_requires_the_feature() {
    let rig = Rig::open();
    let compute = Compute::new(rig.device(), Backend::Host).unwrap();
    let spec = Vertices::new(3, BufferAccess::ACCELERATION_STRUCTURE_INPUT);
    let error = Exchange::new(&compute, &ExchangeInfo::default(), spec).unwrap_err().to_string();
    assert!(error.contains("ACCELERATION_STRUCTURE_BUILD") && error.contains("feature is not enabled"), "{error}");
}
