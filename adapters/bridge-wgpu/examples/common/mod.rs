//! Code shared by the examples: the command line, the headless frame loop, and picture files.

#[cfg(feature = "window")]
mod window;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bridge_wgpu::{Backend, Bridge, wgpu};

/// The format of the picture without a window.
const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

/// The command-line options.
pub(crate) struct Args {
    pub(crate) frames: u32,
    pub(crate) size: [u32; 2],
    pub(crate) particles: u32,
    pub(crate) backend: Backend,
    resize: Option<[u32; 2]>,
    out: PathBuf,
    window: bool,
}

const USAGE: &str = "\
    --window        in a window; with `--frames`, for that many frames; needs `--features window`\n  \
    --frames N      frames without a window; the picture of the last is written (60)\n  \
    --out DIR       where to (out)\n  \
    --size WxH      of the picture (960x540)\n  \
    --resize WxH    its size from the middle of the frames on; in a window, with `--frames`\n  \
    --particles N   of wgpu_particles (100000)\n  \
    --backend NAME  auto, cuda or host (auto)";

impl Args {
    fn parse() -> Result<Self> {
        let mut args = Self {
            frames: 60,
            size: [960, 540],
            particles: 100_000,
            backend: Backend::Auto,
            resize: None,
            out: "out".into(),
            window: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} takes a value"));
            match word.as_str() {
                "--window" => args.window = true,
                "--frames" => args.frames = value()?.parse()?,
                "--out" => args.out = value()?.into(),
                "--size" => args.size = size(&value()?)?,
                "--resize" => args.resize = Some(size(&value()?)?),
                "--particles" => args.particles = value()?.parse()?,
                "--backend" => args.backend = value()?.parse()?,
                _ => bail!("what is {word}? There are\n  {USAGE}"),
            }
        }
        if args.frames == 0 || args.particles == 0 {
            bail!("at least one frame and one particle");
        }
        Ok(args)
    }
}

/// Parses WIDTHxHEIGHT in texels.
fn size(text: &str) -> Result<[u32; 2]> {
    let (width, height) = text.split_once('x').with_context(|| format!("{text} is not WIDTHxHEIGHT"))?;
    let size = [width.parse()?, height.parse()?];
    if size.contains(&0) {
        bail!("a picture has at least one texel");
    }
    Ok(size)
}

/// Longer than the kernels of a frame take.
const LIMIT: Duration = Duration::from_secs(20);

/// A program that draws frames and can check them.
pub(crate) trait Demo: Sized {
    /// The name of the picture's file.
    const NAME: &str;

    fn new(gpu: &Bridge, args: &Args, format: wgpu::TextureFormat) -> Result<Self>;

    /// Resizes the resources for the following frames.
    fn resize(&mut self, gpu: &Bridge, size: [u32; 2]) -> Result<()>;

    /// Computes and draws a frame.
    fn frame(&mut self, gpu: &Bridge, frame: u32, target: &wgpu::TextureView) -> Result<()>;

    /// Checks the last drawn frame.
    fn check(&self, gpu: &Bridge, frame: u32, picture: &Picture) -> Result<()>;
}

/// Runs a demo; the process exits with 1 on an error.
pub(crate) fn run<D: Demo>() {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    if let Err(error) =
        Args::parse().and_then(|args| if args.window { window::<D>(args) } else { headless::<D>(&args) })
    {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

#[cfg(feature = "window")]
fn window<D: Demo>(args: Args) -> Result<()> {
    window::show::<D>(args)
}

#[cfg(not(feature = "window"))]
fn window<D: Demo>(_: Args) -> Result<()> {
    bail!("this was built without windows: `cargo run --features window --example ... -- --window`")
}

fn headless<D: Demo>(args: &Args) -> Result<()> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN;
    let instance = wgpu::Instance::new(descriptor);
    let options =
        wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    let adapter = pollster::block_on(instance.request_adapter(&options))?;
    let gpu = Bridge::request_device(&adapter, &wgpu::DeviceDescriptor::default(), args.backend)?;
    println!("wgpu on {}, compute on {} ({})", adapter.get_info().name, gpu.backend(), gpu.reason());
    let mut picture = target(&gpu, args.size, FORMAT);
    let mut view = picture.create_view(&Default::default());
    let mut demo = D::new(&gpu, args, FORMAT)?;
    let start = std::time::Instant::now();
    for frame in 0..args.frames {
        if let Some(size) = args.resize.filter(|_| frame == args.frames / 2) {
            // Frames of the old size are in flight.
            demo.resize(&gpu, size)?;
            picture = target(&gpu, size, FORMAT);
            view = picture.create_view(&Default::default());
        }
        demo.frame(&gpu, frame, &view).with_context(|| format!("frame {frame}"))?;
        if frame == 0 || frame == args.frames / 2 || frame + 1 == args.frames {
            let picture = Picture::read(&gpu, &picture)?;
            demo.check(&gpu, frame, &picture).with_context(|| format!("frame {frame} is wrong"))?;
            if frame + 1 == args.frames {
                let path = args.out.join(format!("{}.png", D::NAME));
                picture.write(&path).with_context(|| format!("cannot write {}", path.display()))?;
                println!("{}", path.display());
            }
        }
    }
    println!(
        "{} frames in {:.2} s, and those that were looked at are right",
        args.frames,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Creates a texture to draw to instead of a window.
fn target(gpu: &Bridge, size: [u32; 2], format: wgpu::TextureFormat) -> wgpu::Texture {
    gpu.device().create_texture(&wgpu::TextureDescriptor {
        label: Some("picture"),
        size: extent(size),
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
        view_formats: &[],
    })
}

fn extent([width, height]: [u32; 2]) -> wgpu::Extent3d {
    wgpu::Extent3d { width, height, depth_or_array_layers: 1 }
}

/// A picture on the host, with texels of four bytes.
pub(crate) struct Picture {
    pub(crate) size: [u32; 2],
    pub(crate) texels: Vec<[u8; 4]>,
}

impl Picture {
    /// Reads a texture after everything that was submitted.
    pub(crate) fn read(gpu: &Bridge, texture: &wgpu::Texture) -> Result<Self> {
        let (width, height) = (texture.width(), texture.height());
        let pitch = (4 * width).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let bytes = read(gpu, u64::from(pitch) * u64::from(height), |commands, staging| {
            let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(pitch), rows_per_image: None };
            let target = wgpu::TexelCopyBufferInfo { buffer: staging, layout };
            commands.copy_texture_to_buffer(texture.as_image_copy(), target, texture.size());
        })?;
        let rows = bytes.chunks_exact(pitch as usize).flat_map(|row| row[..4 * width as usize].chunks_exact(4));
        let blue_first = texture.format() == wgpu::TextureFormat::Bgra8Unorm;
        let [r, b] = if blue_first { [2, 0] } else { [0, 2] };
        let texels = rows.map(|texel| [texel[r], texel[1], texel[b], texel[3]]).collect();
        Ok(Self { size: [width, height], texels })
    }

    fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut encoder = png::Encoder::new(std::fs::File::create(path)?, self.size[0], self.size[1]);
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(self.texels.as_flattened())?;
        Ok(())
    }
}

/// Returns the contents that `copy` puts into a buffer of `size` bytes that the host can read.
pub(crate) fn read(
    gpu: &Bridge,
    size: u64,
    copy: impl FnOnce(&mut wgpu::CommandEncoder, &wgpu::Buffer),
) -> Result<Vec<u8>> {
    let staging = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("staging"),
        size,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut commands = gpu.device().create_command_encoder(&Default::default());
    copy(&mut commands, &staging);
    gpu.queue().submit([commands.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |_| {});
    // The poll has no limit, and would hang after a fault of a kernel.
    gpu.wait_for_signals(LIMIT)?;
    gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
    Ok(staging.get_mapped_range(..)?.to_vec())
}

/// Creates a pipeline that draws with the shader's `vertex` and `fragment`.
pub(crate) fn pipeline(
    gpu: &Bridge,
    wgsl: &str,
    format: wgpu::TextureFormat,
    buffers: &[Option<wgpu::VertexBufferLayout<'_>>],
    blend: Option<wgpu::BlendState>,
) -> wgpu::RenderPipeline {
    let source = wgpu::ShaderSource::Wgsl(wgsl.into());
    let module = gpu.device().create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let target = wgpu::ColorTargetState { format, blend, write_mask: wgpu::ColorWrites::ALL };
    gpu.device().create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: None,
        layout: None,
        vertex: wgpu::VertexState {
            module: &module,
            entry_point: Some("vertex"),
            compilation_options: Default::default(),
            buffers,
        },
        primitive: wgpu::PrimitiveState { topology: wgpu::PrimitiveTopology::TriangleStrip, ..Default::default() },
        depth_stencil: None,
        multisample: Default::default(),
        fragment: Some(wgpu::FragmentState {
            module: &module,
            entry_point: Some("fragment"),
            compilation_options: Default::default(),
            targets: &[Some(target)],
        }),
        multiview_mask: None,
        cache: None,
    })
}

/// Records a command buffer with one pass over a cleared target.
pub(crate) fn pass(
    gpu: &Bridge,
    target: &wgpu::TextureView,
    draw: impl FnOnce(&mut wgpu::RenderPass<'_>),
) -> wgpu::CommandBuffer {
    let mut commands = gpu.device().create_command_encoder(&Default::default());
    let ops = wgpu::Operations { load: wgpu::LoadOp::Clear(wgpu::Color::BLACK), store: wgpu::StoreOp::Store };
    let attachment = wgpu::RenderPassColorAttachment { view: target, depth_slice: None, resolve_target: None, ops };
    let mut pass = commands.begin_render_pass(&wgpu::RenderPassDescriptor {
        color_attachments: &[Some(attachment)],
        ..Default::default()
    });
    draw(&mut pass);
    drop(pass);
    commands.finish()
}
