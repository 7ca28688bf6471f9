//! A million particles or fewer: CUDA or the CPU moves them, and wgpu draws them.
//!
//! `cargo run --example wgpu_particles -- --frames 60 --out out`. It checks the particles that wgpu
//! sees bit for bit, and exits with an error if one is wrong.
#![allow(unsafe_code)] // Kernel launches.

mod common;
#[path = "common/maths.rs"]
mod maths;

use anyhow::{Context, Result, bail};
use bridge_wgpu::bridge::{Kernel, TwinSlice};
use bridge_wgpu::{Bridge, ComputeTurn, Exchange, ExchangeInfo, LaunchConfig, SharedBuffer, wgpu};
use common::{Args, Demo, Picture, pass, pipeline, read};
use maths::{cos_turns, sin_turns};

/// Position, distance from the middle, brightness.
type Particle = [f32; 4];

struct Particles {
    exchange: Exchange<SharedBuffer<Particle>>,
    /// On the CPU, its twin.
    kernel: Kernel,
    count: u32,
    pipeline: wgpu::RenderPipeline,
    /// The size of the picture.
    uniform: wgpu::Buffer,
    size: wgpu::BindGroup,
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

fn time(frame: u32) -> f32 {
    frame as f32 / 30.0
}

impl Particles {
    fn compute(&self, turn: &mut ComputeTurn<SharedBuffer<Particle>>, time: f32) -> Result<()> {
        let count = self.count;
        let work = turn.work().kernels()?;
        let config = LaunchConfig::for_elements(count.into(), 256);
        // SAFETY: these are the kernel's parameters, and it writes `count` elements of 16 bytes.
        Ok(unsafe { work.launch(&self.kernel, &config, (work.resources, count, time)) }?)
    }
}

impl Demo for Particles {
    const NAME: &str = "particles";

    fn new(gpu: &Bridge, args: &Args, format: wgpu::TextureFormat) -> Result<Self> {
        let usage = wgpu::BufferUsages::VERTEX | wgpu::BufferUsages::COPY_SRC;
        let particles = SharedBuffer::new(args.particles as usize, usage);
        let exchange = Exchange::new(gpu, &ExchangeInfo { name: "particles", ..Default::default() }, particles)?;
        let module = gpu.load("wgpu", include_str!("../../../shaders/wgpu.ptx"))?;
        let module = module.with_twin::<(TwinSlice<Particle>, u32, f32)>("swarm", |_, (particles, count, time)| {
            (0..count).zip(particles).for_each(|(i, target)| *target = particle(i, count, time));
        })?;
        let kernel = module.kernel("swarm")?;
        let layout = wgpu::VertexBufferLayout {
            array_stride: size_of::<Particle>() as u64,
            step_mode: wgpu::VertexStepMode::Instance,
            attributes: &wgpu::vertex_attr_array![0 => Float32x4],
        };
        let add = wgpu::BlendComponent {
            src_factor: wgpu::BlendFactor::One,
            dst_factor: wgpu::BlendFactor::One,
            operation: wgpu::BlendOperation::Add,
        };
        let blend = wgpu::BlendState { color: add, alpha: add };
        let pipeline = pipeline(gpu, include_str!("shaders/particles.wgsl"), format, &[Some(layout)], Some(blend));
        let uniform = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("size"),
            size: 8,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let size = args.size.map(|side| side as f32);
        gpu.queue().write_buffer(&uniform, 0, bytemuck::cast_slice(&size));
        let size = gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() }],
        });
        Ok(Self { exchange, kernel, count: args.particles, pipeline, uniform, size })
    }

    fn resize(&mut self, gpu: &Bridge, size: [u32; 2]) -> Result<()> {
        gpu.queue().write_buffer(&self.uniform, 0, bytemuck::cast_slice(&size.map(|side| side as f32)));
        Ok(())
    }

    fn frame(&mut self, gpu: &Bridge, frame: u32, target: &wgpu::TextureView) -> Result<()> {
        let mut turn = self.exchange.begin()?;
        self.compute(&mut turn, time(frame))?;
        let drawing = pass(gpu, target, |pass| {
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.size, &[]);
            pass.set_vertex_buffer(0, self.exchange.objects().slice(..));
            pass.draw(0..4, 0..self.count);
        });
        gpu.submit([drawing], turn.finish()?)?;
        Ok(())
    }

    fn check(&self, gpu: &Bridge, frame: u32, picture: &Picture) -> Result<()> {
        let buffer = self.exchange.objects();
        let bytes = read(gpu, buffer.size(), |commands, staging| {
            commands.copy_buffer_to_buffer(buffer, 0, staging, 0, buffer.size());
        })?;
        let particles: Vec<Particle> = bytemuck::pod_collect_to_vec(&bytes);
        let expected = |i| particle(i, self.count, time(frame));
        if let Some(i) = (0..self.count).find(|&i| particles[i as usize] != expected(i)) {
            bail!("particle {i} is {:?} and should be {:?}", particles[i as usize], expected(i));
        }
        // The picture is lit where a particle is.
        let [width, height] = picture.size.map(|side| side as f32);
        for [x, y, ..] in particles {
            let at = [(x * height / width + 1.0) * 0.5 * width, (1.0 - y) * 0.5 * height];
            // A picture that is taller than wide does not show all particles.
            if !(0.0..width).contains(&at[0]) {
                continue;
            }
            let at = at.map(|at| at as usize);
            let texel = picture.texels.get(at[1] * picture.size[0] as usize + at[0]).context("outside")?;
            if texel[..3] == [0; 3] {
                bail!("no light at {at:?}, where a particle is");
            }
        }
        let lit = picture.texels.iter().filter(|texel| texel[..3] != [0; 3]).count();
        let most = (9 * self.count as usize).min(picture.texels.len() * 9 / 10);
        if lit > most {
            bail!("{lit} of {} texels are lit, and {most} at most should be", picture.texels.len());
        }
        Ok(())
    }
}

fn main() {
    common::run::<Particles>();
}
