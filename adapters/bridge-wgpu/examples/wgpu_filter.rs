//! wgpu draws a scene, CUDA or the CPU draws its edges over it, and wgpu shows both side by side.
//!
//! `cargo run --example wgpu_filter -- --frames 60 --out out`. It checks every texel that the
//! filter has computed from wgpu's drawing, and exits with an error if one is wrong.
#![allow(unsafe_code)] // Kernel launches.

mod common;

use anyhow::{Result, bail};
use bridge_wgpu::bridge::{Kernel, TextureInfo};
use bridge_wgpu::{
    Backend, Bridge, ComputeTurn, Exchange, ExchangeInfo, LaunchConfig, RenderFirst, SharedTexture, Work, wgpu,
};
use common::{Args, Demo, Picture, pass, pipeline};

type Texel = [u8; 4];
type Image = SharedTexture<Texel>;

struct Filter {
    /// wgpu begins the frames of `scene`, the compute side those of `filtered`.
    scene: Exchange<Image, RenderFirst>,
    filtered: Exchange<Image>,
    kernel: Option<Kernel>,
    size: [u32; 2],
    draw: wgpu::RenderPipeline,
    view: wgpu::Buffer,
    view_group: wgpu::BindGroup,
    target: wgpu::TextureView,
    compare: wgpu::RenderPipeline,
    /// Both textures stay the same until they are resized.
    textures: wgpu::BindGroup,
}

/// Computes one texel with the operations of the kernel `ink` in `shaders/wgpu.cu` in the same
/// order; `at` returns the scene's texels.
fn ink(x: i32, y: i32, [width, height]: [i32; 2], at: impl Fn(i32, i32) -> Texel) -> Texel {
    let light = |x: i32, y: i32| {
        let [r, g, b, _] = at(x.clamp(0, width - 1), y.clamp(0, height - 1)).map(i32::from);
        2 * r + 5 * g + b
    };
    let around: [i32; 9] = std::array::from_fn(|k| light(x + k as i32 % 3 - 1, y + k as i32 / 3 - 1));
    let right = around[2] + 2 * around[5] + around[8] - around[0] - 2 * around[3] - around[6];
    let down = around[6] + 2 * around[7] + around[8] - around[0] - 2 * around[1] - around[2];
    let edge = ((right.abs() + down.abs()) / 16).min(255);
    let [r, g, b, _] = at(x, y).map(i32::from);
    [(r / 3 + edge).min(255), (g / 3 + edge).min(255), (b / 2 + edge / 2).min(255), 255].map(|channel| channel as u8)
}

impl Filter {
    fn filter(&self, source: &mut ComputeTurn<Image, RenderFirst>, target: &mut ComputeTurn<Image>) -> Result<()> {
        let [width, height] = self.size;
        match (source.work(), target.work(), &self.kernel) {
            (Work::Host(mut source), Work::Host(mut target), _) => {
                source.run_with(&mut target, move |source, mut target| {
                    let rows: Vec<&[Texel]> = source.rows().collect();
                    for (y, row) in (0..).zip(target.rows_mut()) {
                        for (x, texel) in (0..).zip(row) {
                            let at = |x: i32, y: i32| rows[y as usize][x as usize];
                            *texel = ink(x, y, [width as i32, height as i32], at);
                        }
                    }
                })?;
            }
            (source, target, Some(kernel)) => {
                let (source, target) = (source.kernels()?, target.kernels()?);
                let texels = TextureInfo { level: Some(0), normalized_coordinates: false, ..Default::default() };
                let (texture, surface) = (source.resources.texture(&texels)?, target.resources.surface(0)?);
                let config = LaunchConfig::new([width.div_ceil(32), height.div_ceil(8), 1], [32, 8, 1]);
                // SAFETY: these are the kernel's parameters, and it stays within `width` x `height`
                // texels.
                unsafe { target.launch(kernel, &config, (texture, surface, width, height)) }?;
            }
            _ => bail!("the kernel was not loaded"),
        }
        Ok(())
    }
}

fn group(gpu: &Bridge, pipeline: &wgpu::RenderPipeline, entries: &[wgpu::BindGroupEntry<'_>]) -> wgpu::BindGroup {
    let layout = &pipeline.get_bind_group_layout(0);
    gpu.device().create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries })
}

/// Returns a view of the scene, and a bind group of both textures for the shader that compares
/// them.
fn views(
    gpu: &Bridge,
    compare: &wgpu::RenderPipeline,
    scene: &Exchange<Image, RenderFirst>,
    filtered: &Exchange<Image>,
) -> (wgpu::TextureView, wgpu::BindGroup) {
    let target = scene.objects().create_view(&Default::default());
    let shown = filtered.objects().create_view(&Default::default());
    let textures = group(
        gpu,
        compare,
        &[
            wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::TextureView(&target) },
            wgpu::BindGroupEntry { binding: 1, resource: wgpu::BindingResource::TextureView(&shown) },
        ],
    );
    (target, textures)
}

impl Demo for Filter {
    const NAME: &str = "filter";

    fn new(gpu: &Bridge, args: &Args, format: wgpu::TextureFormat) -> Result<Self> {
        let image = |usage| Image::new(wgpu::TextureFormat::Rgba8Unorm, args.size, usage);
        let seen = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_SRC;
        let drawn = image(seen | wgpu::TextureUsages::RENDER_ATTACHMENT);
        let scene = Exchange::render_first(gpu, &ExchangeInfo { name: "scene", ..Default::default() }, drawn)?;
        let filtered = Exchange::new(gpu, &ExchangeInfo { name: "filtered", ..Default::default() }, image(seen))?;
        let kernel = match gpu.backend() {
            Backend::Host => None,
            _ => Some(gpu.load("wgpu", include_str!("../../../shaders/wgpu.ptx"))?.kernel("ink")?),
        };
        let draw = pipeline(gpu, include_str!("shaders/scene.wgsl"), wgpu::TextureFormat::Rgba8Unorm, &[], None);
        let compare = pipeline(gpu, include_str!("shaders/compare.wgsl"), format, &[], None);
        let view = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("view"),
            size: 16,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let view_group = group(gpu, &draw, &[wgpu::BindGroupEntry { binding: 0, resource: view.as_entire_binding() }]);
        let (target, textures) = views(gpu, &compare, &scene, &filtered);
        let size = args.size;
        Ok(Self { scene, filtered, kernel, size, draw, view, view_group, target, compare, textures })
    }

    fn resize(&mut self, gpu: &Bridge, size: [u32; 2]) -> Result<()> {
        self.scene.resize(size)?;
        self.filtered.resize(size)?;
        (self.target, self.textures) = views(gpu, &self.compare, &self.scene, &self.filtered);
        self.size = size;
        Ok(())
    }

    fn frame(&mut self, gpu: &Bridge, frame: u32, target: &wgpu::TextureView) -> Result<()> {
        let [width, height] = self.size.map(|side| side as f32);
        gpu.queue().write_buffer(&self.view, 0, bytemuck::cast_slice(&[width, height, frame as f32 / 30.0, 0.0]));
        let drawing = pass(gpu, &self.target, |pass| {
            pass.set_pipeline(&self.draw);
            pass.set_bind_group(0, &self.view_group, &[]);
            pass.draw(0..3, 0..1);
        });
        // The scene is drawn, then copied to the compute side.
        let frame = self.scene.begin()?;
        let mut source = gpu.submit([drawing], frame)?;
        let mut filtered = self.filtered.begin()?;
        self.filter(&mut source, &mut filtered)?;
        source.finish()?;
        // The compute side's result is copied, then shown.
        let showing = pass(gpu, target, |pass| {
            pass.set_pipeline(&self.compare);
            pass.set_bind_group(0, &self.textures, &[]);
            pass.draw(0..3, 0..1);
        });
        gpu.submit([showing], filtered.finish()?)?;
        Ok(())
    }

    fn check(&self, gpu: &Bridge, _: u32, picture: &Picture) -> Result<()> {
        let scene = Picture::read(gpu, self.scene.objects())?;
        let filtered = Picture::read(gpu, self.filtered.objects())?;
        let [width, height] = self.size.map(|side| side as i32);
        let place = |x: i32, y: i32| (y * width + x) as usize;
        let mut edges = 0;
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let expected = ink(x, y, [width, height], |x, y| scene.texels[place(x, y)]);
            let found = filtered.texels[place(x, y)];
            if found != expected {
                bail!("texel {x}, {y} is {found:?} and should be {expected:?}");
            }
            edges += usize::from(expected[0] > 128);
            let shown = if x < width / 2 { scene.texels[place(x, y)] } else { expected };
            if picture.texels[place(x, y)] != shown {
                bail!("texel {x}, {y} of the picture is {:?} and should be {shown:?}", picture.texels[place(x, y)]);
            }
        }
        // An empty scene would pass the checks above.
        if edges == 0 {
            bail!("the scene has no edges");
        }
        Ok(())
    }
}

fn main() {
    common::run::<Filter>();
}
