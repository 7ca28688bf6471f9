//! Particles: a storage buffer that CUDA or the CPU fills, and a material that draws it.
#![allow(unsafe_code)] // Kernel launches.

use std::ffi::c_void;
use std::ptr::from_ref;

use bevy::asset::{RenderAssetUsages, uuid_handle};
use bevy::camera::visibility::NoFrustumCulling;
use bevy::mesh::PrimitiveTopology;
use bevy::prelude::*;
use bevy::render::render_resource::AsBindGroup;
use bevy::render::storage::ShaderBuffer;
use bevy::shader::ShaderRef;
use bevy_vk_cuda::bridge::cuda_import::CudaDevice;
use bevy_vk_cuda::bridge::{Kernel, LaunchConfig, cudarc};
use bevy_vk_cuda::{Cuda, CudaBuffer, Frame};

use crate::pace::Pace;
use crate::staged::{self, Staged};

const KERNELS: &str = include_str!("../../../../shaders/wgpu.ptx");

const SHADER: Handle<Shader> = uuid_handle!("3a2cbb2e-1a0b-4f0e-9c68-5d1c6c2a7e51");

/// Position in the plane, distance from the middle, brightness.
pub(crate) type Particle = [f32; 4];

#[derive(Asset, TypePath, AsBindGroup, Clone)]
pub(crate) struct SwarmMaterial {
    #[storage(0, read_only)]
    particles: Handle<ShaderBuffer>,
}

impl Material for SwarmMaterial {
    fn vertex_shader() -> ShaderRef {
        SHADER.into()
    }

    fn fragment_shader() -> ShaderRef {
        SHADER.into()
    }

    fn alpha_mode(&self) -> AlphaMode {
        AlphaMode::Add
    }

    fn enable_prepass() -> bool {
        false
    }

    fn enable_shadows() -> bool {
        false
    }
}

/// The simulation that moves the particles.
#[derive(Component)]
pub(crate) struct Swarm {
    pub(crate) buffer: CudaBuffer<Particle>,
    kernel: Option<Kernel>,
    /// Set if CUDA computes frames that are uploaded.
    staged: Option<staged::Shared<f32>>,
    pub(crate) count: u32,
    /// The number of frames so far.
    pub(crate) frames: u32,
}

/// Returns the time of a frame.
fn time(frame: u32) -> f32 {
    frame as f32 / 30.0
}

pub(crate) fn plugin(app: &mut App) {
    let shader = Shader::from_wgsl(include_str!("particles.wgsl"), "particles.wgsl");
    app.add_plugins(MaterialPlugin::<SwarmMaterial>::default());
    // The insertion fails only if the handle is no longer in use.
    let _ = app.world_mut().resource_mut::<Assets<Shader>>().insert(&SHADER, shader);
}

/// Adds particles to a scene. If frames are uploaded, `gpu` computes them.
pub(crate) fn spawn(
    world: &mut World,
    count: u32,
    transform: Transform,
    gpu: Option<&CudaDevice>,
) -> anyhow::Result<()> {
    let cuda = world.resource::<Cuda>().clone();
    let buffer = CudaBuffer::new(&cuda, &mut world.resource_mut(), "particles", count as usize)?;
    let kernels = cuda.load("swarm", KERNELS)?;
    let kernel = kernels.map(|kernels| kernels.kernel("swarm")).transpose()?;
    let staged = gpu.map(|gpu| Staged::new(gpu, KERNELS, "swarm", 4 * count as usize)).transpose()?;
    let corners = [[0.0, 1.6], [-1.4, -0.8], [1.4, -0.8]];
    let corner = |particle: u32| corners.map(|[x, y]| [particle as f32, x, y]);
    let vertices: Vec<[f32; 3]> = (0..count).flat_map(corner).collect();
    let mesh = Mesh::new(PrimitiveTopology::TriangleList, RenderAssetUsages::RENDER_WORLD)
        .with_inserted_attribute(Mesh::ATTRIBUTE_POSITION, vertices);
    let mesh = world.resource_mut::<Assets<Mesh>>().add(mesh);
    let material = SwarmMaterial { particles: buffer.handle().clone() };
    let material = world.resource_mut::<Assets<SwarmMaterial>>().add(material);
    let swarm = Swarm { buffer, kernel, staged, count, frames: 0 };
    world.spawn((Mesh3d(mesh), MeshMaterial3d(material), transform, NoFrustumCulling, swarm));
    Ok(())
}

/// The system that computes the particles.
pub(crate) fn simulate(mut swarms: Query<'_, '_, &mut Swarm>, pace: Res<'_, Pace>) -> Result {
    for mut swarm in &mut swarms {
        let Swarm { buffer, kernel, staged, count, frames } = &mut *swarm;
        let Some(writer) = buffer.writer() else { continue };
        let (count, time) = (*count, time(*frames + 1));
        let written = pace.begin(|| {
            writer.write(|frame| match (frame, &*kernel) {
                (Frame::Cpu(cpu), _) => match staged.clone() {
                    None => cpu.run(move |particles| {
                        (0..).zip(particles).for_each(|(i, target)| *target = particle(i, count, time));
                    }),
                    Some(staged) => cpu.run(move |particles| {
                        let config = cudarc::driver::LaunchConfig {
                            grid_dim: (count.div_ceil(256), 1, 1),
                            block_dim: (256, 1, 1),
                            shared_mem_bytes: 0,
                        };
                        let args: [*const c_void; 2] = [from_ref(&count).cast(), from_ref(&time).cast()];
                        let take = |frame: &[f32]| particles.as_flattened_mut().copy_from_slice(frame);
                        // SAFETY: these are the kernel's parameters after its memory, to which it
                        // writes `count` elements of four numbers.
                        unsafe { staged::compute(&staged, &config, &args, take) };
                    }),
                },
                (Frame::Cuda(work), Some(kernel)) => {
                    let work = work.kernels()?;
                    let config = LaunchConfig::for_elements(count.into(), 256);
                    // SAFETY: these are the kernel's parameters, and it writes `count` elements of
                    // 16 bytes.
                    Ok(unsafe { work.launch(kernel, &config, (work.resources, count, time)) }?)
                }
                _ => unreachable!("the kernel is loaded wherever CUDA computes"),
            })
        })?;
        *frames += u32::from(written);
    }
    Ok(())
}

/// Returns the expected last frame.
pub(crate) fn expected(swarm: &Swarm) -> impl Iterator<Item = Particle> + use<> {
    let (count, time) = (swarm.count, time(swarm.frames));
    (0..count).map(move |i| particle(i, count, time))
}

/// Computes a particle on the CPU, with the operations of the kernel `swarm` in `shaders/wgpu.cu`
/// in the same order.
fn particle(i: u32, count: u32, time: f32) -> Particle {
    let distance = ((i as f32 + 0.5) / count as f32).sqrt();
    let random = (i.wrapping_mul(2_654_435_769) >> 8) as f32 / 8_388_608.0 - 1.0;
    let arm = (i % 3) as f32 / 3.0 + random * random * random * (0.6 - 0.4 * distance);
    let turns = arm + time / (6.0 + 30.0 * distance) - distance * 0.9;
    let wave = 1.0 + 0.06 * sin_turns(3.0 * turns + time);
    let radius = (distance * distance * 0.6 + distance * 0.4) * wave * 0.9;
    let light = 0.35 + 0.65 * (i.wrapping_mul(747_796_405) >> 24) as f32 / 255.0;
    [radius * cos_turns(turns), radius * sin_turns(turns), distance, light]
}

/// Returns the sine of an angle in turns, with the operations of `shaders/maths.cuh` in the same
/// order.
fn sin_turns(x: f32) -> f32 {
    let mut r = x - (x + 0.5).floor();
    if r > 0.25 {
        r = 0.5 - r;
    }
    if r < -0.25 {
        r = -0.5 - r;
    }
    let q = r * r;
    r * (6.283_185_5 + q * (-41.341_7 + q * (81.605_25 + q * (-76.705_86 + q * 42.058_7))))
}

fn cos_turns(x: f32) -> f32 {
    sin_turns(x + 0.25)
}
