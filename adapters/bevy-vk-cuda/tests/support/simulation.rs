//! The simulations of the tests, on the CPU and with CUDA.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use bevy::prelude::*;
use bevy::render::render_resource::TextureFormat;
use bevy_vk_cuda::bridge::{self, BufferSpec, ImageSpec, Kernel, LaunchConfig, Work};
use bevy_vk_cuda::{Cuda, CudaBuffer, CudaImage, CudaWriter, Error, Frame};

use super::gate::Gate;
use super::{SIDE, Seen, cuda};

pub type Picture = CudaImage<[u8; 4]>;

/// Width and height of the pictures, which fill the camera's picture.
pub const TEXELS: u32 = SIDE as u32;

/// Creates a texture whose texels depend on the frame and their position.
pub fn picture(app: &mut App, name: &str, size: [u32; 2]) -> Picture {
    let cuda = cuda(app);
    let mut images = app.world_mut().resource_mut::<Assets<Image>>();
    Picture::new(&cuda, &mut images, name, TextureFormat::Rgba8UnormSrgb, size).unwrap()
}

/// Returns `true` if the camera's picture consists of one frame, texel for texel.
pub fn shows(app: &App, frame: u32) -> bool {
    let seen = &app.world().resource::<Seen>().picture;
    let expected = (0..SIDE * SIDE).map(|at| Painter::texel(at % SIDE, at / SIDE, frame));
    // The texture is sampled with filtering at the centers of its texels.
    let near = |(seen, expected): (&[u8], [u8; 4])| seen.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1);
    seen.len() == 4 * SIDE * SIDE && seen.chunks_exact(4).zip(expected).all(near)
}

pub fn numbers(app: &mut App, len: usize) -> CudaBuffer<u32> {
    let cuda = cuda(app);
    CudaBuffer::new(&cuda, &mut app.world_mut().resource_mut(), "numbers", len).unwrap()
}

/// Returns the first number of the buffer that Bevy has read back, if all numbers belong to one
/// frame.
pub fn seen(app: &App) -> Option<u32> {
    let numbers: Vec<u32> = bytemuck::pod_collect_to_vec(&app.world().resource::<Seen>().buffer);
    let first = *numbers.first()?;
    let zeros = numbers.iter().all(|number| *number == 0);
    assert!(zeros || (first..).zip(&numbers).all(|(expected, number)| expected == *number), "torn, at {first}");
    Some(first).filter(|_| !zeros)
}

/// Paints pictures, with a kernel or on the CPU.
pub struct Painter(Option<Kernel>);

impl Painter {
    pub fn new(cuda: &Cuda) -> Self {
        let module = cuda.load("paint", include_str!("../../../../shaders/engine.ptx")).unwrap();
        Self(module.map(|module| module.kernel("paint").unwrap()))
    }

    /// Returns a texel, as computed by the kernel `paint` in `shaders/engine.cu`.
    pub fn texel(x: usize, y: usize, frame: u32) -> [u8; 4] {
        let (x, y) = (x as u32, y as u32);
        [((x ^ y) + frame) as u8, (2 * x + 3 * frame) as u8, (2 * y).wrapping_sub(frame) as u8, 255]
    }

    /// Begins a frame of `side` by `side` texels; returns `false` if two are unfinished.
    pub fn paint(&self, writer: &mut CudaWriter<ImageSpec<[u8; 4]>>, side: u32, frame: u32) -> Result<bool, Error> {
        writer.write(|work| match (work, &self.0) {
            (Frame::Cpu(cpu), _) => cpu.run(move |mut rows| rows.fill_with(|x, y| Self::texel(x, y, frame))),
            (Frame::Cuda(work), Some(kernel)) => Ok(launch(kernel, work, side, frame)?),
            _ => panic!("the kernel was not loaded"),
        })
    }

    /// Paints in the work of one of the bridge's turns.
    pub fn paint_work(&self, work: Work<'_, ImageSpec<[u8; 4]>>, side: u32, frame: u32) {
        match (work, &self.0) {
            (Work::Host(host), _) => host.run(move |mut image| {
                for (y, row) in image.rows_mut().enumerate() {
                    row.iter_mut().enumerate().for_each(|(x, texel)| *texel = Self::texel(x, y, frame));
                }
            }),
            (work, Some(kernel)) => launch(kernel, work, side, frame),
            _ => panic!("the kernel was not loaded"),
        }
        .unwrap();
    }
}

fn launch(kernel: &Kernel, work: Work<'_, ImageSpec<[u8; 4]>>, side: u32, frame: u32) -> bridge::Result<()> {
    let work = work.kernels()?;
    let blocks = side.div_ceil(8);
    let (config, surface) = (LaunchConfig::new([blocks, blocks, 1], [8, 8, 1]), work.resources.surface(0)?);
    // SAFETY: the kernel's parameters, and it writes texels of 4 bytes within the image.
    unsafe { work.launch(kernel, &config, (surface, side, side, frame)) }
}

/// Fills buffers with consecutive numbers.
pub struct Filler(Option<Kernel>);

impl Filler {
    pub fn new(cuda: &Cuda) -> Self {
        let module = cuda.load("probe", include_str!("../../../../shaders/probe.ptx")).unwrap();
        Self(module.map(|module| module.kernel("fill_after").unwrap()))
    }

    /// Begins a frame that takes `delay`, then writes consecutive numbers from `base` on; returns
    /// `false` if two are unfinished.
    pub fn fill(
        &self,
        writer: &mut CudaWriter<BufferSpec<u32>>,
        len: u32,
        base: u32,
        delay: Duration,
    ) -> Result<bool, Error> {
        writer.write(|work| match (work, &self.0) {
            (Frame::Cpu(cpu), _) => cpu.run(move |items| {
                std::thread::sleep(delay);
                (base..).zip(items).for_each(|(number, item)| *item = number);
            }),
            (Frame::Cuda(work), Some(kernel)) => {
                let work = work.kernels()?;
                let (config, nanoseconds) = (LaunchConfig::for_elements(len.into(), 256), delay.as_nanos() as u64);
                // SAFETY: the kernel's four parameters, of these types, and it writes `len`
                // elements.
                Ok(unsafe { work.launch(kernel, &config, (work.resources, len, base, nanoseconds)) }?)
            }
            _ => panic!("the kernel was not loaded"),
        })
    }
}

/// A frame that ends when this value is dropped.
#[must_use]
pub struct Held(#[allow(dead_code)] (Option<Gate>, Sender<()>));

/// Begins a frame that is held; returns `None` if two are unfinished.
pub fn hold(writer: &mut CudaWriter<BufferSpec<u32>>) -> Option<Held> {
    let ((open, opened), mut gate) = (channel::<()>(), None);
    let begun = writer.write(|work| match work {
        Frame::Cpu(cpu) => cpu.run(move |_| {
            let _ = opened.recv();
        }),
        Frame::Cuda(work) => {
            gate = Some(Gate::hold(work));
            Ok::<_, Error>(())
        }
        _ => panic!("no such side was asked for"),
    });
    begun.unwrap().then_some(Held((gate, open)))
}
