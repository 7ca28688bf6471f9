//! Texels that differ at every position of a texture, written and read by each side.

use std::sync::mpsc;
use std::time::Duration;

use bridge_wgpu::bridge::ImageSpec;
use bridge_wgpu::{Bridge, Work, wgpu};

use super::mapped;

/// Dimensions of a texture with texels of 4 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Dimensions {
    pub size: wgpu::Extent3d,
    pub dimension: wgpu::TextureDimension,
    pub levels: u32,
}

impl Dimensions {
    pub fn of(texture: &wgpu::Texture) -> Self {
        Self { size: texture.size(), dimension: texture.dimension(), levels: texture.mip_level_count() }
    }

    pub fn level(self, level: u32) -> wgpu::Extent3d {
        self.size.mip_level_size(level, self.dimension)
    }
}

/// Returns a frame's texel at a position; `slice` is a layer or a depth.
fn texel(frame: u32, level: u32, slice: usize, y: usize, x: usize) -> u32 {
    (frame << 28) | (level << 24) | ((slice as u32) << 16) | ((y as u32) << 8) | x as u32
}

/// Returns all texels of a level, slice by slice and row by row.
pub fn pattern(dimensions: Dimensions, frame: u32, level: u32) -> Vec<u32> {
    let wgpu::Extent3d { width, height, depth_or_array_layers } = dimensions.level(level);
    let slices = 0..depth_or_array_layers as usize;
    let rows = slices.flat_map(|slice| (0..height as usize).map(move |y| (slice, y)));
    rows.flat_map(|(slice, y)| (0..width as usize).map(move |x| texel(frame, level, slice, y, x))).collect()
}

pub fn patterns(dimensions: Dimensions, frame: u32) -> Vec<Vec<u32>> {
    (0..dimensions.levels).map(|level| pattern(dimensions, frame, level)).collect()
}

/// Lets the compute side write all levels and layers.
pub fn write(work: Work<'_, ImageSpec<u32>>, dimensions: Dimensions, frame: u32) {
    match work {
        Work::Host(host) => host
            .run(move |mut image| {
                let (levels, layers) = (image.levels(), image.layers());
                for (level, layer) in (0..levels).flat_map(|level| (0..layers).map(move |layer| (level, layer))) {
                    let mut plane = image.plane_mut(level, layer).unwrap();
                    for z in 0..plane.extent()[2] {
                        for (y, row) in plane.rows_mut(z).enumerate() {
                            let slice = layer as usize + z;
                            row.iter_mut().enumerate().for_each(|(x, to)| *to = texel(frame, level, slice, y, x));
                        }
                    }
                }
            })
            .unwrap(),
        Work::Cuda(mut cuda) => {
            for (level, texels) in patterns(dimensions, frame).iter().enumerate() {
                cuda.resources.write_from_host(cuda.stream, level as u32, .., texels).unwrap();
            }
        }
        _ => panic!("no such compute side was asked for"),
    }
}

/// Returns the texels of each level on the compute side.
pub fn seen(work: Work<'_, ImageSpec<u32>>, dimensions: Dimensions) -> Vec<Vec<u32>> {
    match work {
        Work::Host(host) => {
            let (sender, receiver) = mpsc::channel();
            host.run(move |image| {
                let image = image.as_image();
                let level = |level| -> Vec<u32> {
                    let planes = (0..image.layers()).map(|layer| image.plane(level, layer).unwrap());
                    planes
                        .flat_map(|plane| (0..plane.extent()[2]).flat_map(move |z| plane.rows(z).flatten().copied()))
                        .collect()
                };
                sender.send((0..image.levels()).map(level).collect()).unwrap();
            })
            .unwrap();
            receiver.recv_timeout(Duration::from_secs(60)).unwrap()
        }
        Work::Cuda(cuda) => (0..dimensions.levels)
            .map(|level| {
                let mut texels = vec![0; pattern(dimensions, 0, level).len()];
                cuda.resources.read_to_host(cuda.stream, level, .., &mut texels).unwrap();
                texels
            })
            .collect(),
        _ => panic!("no such compute side was asked for"),
    }
}

/// Returns the row pitch that copies of buffers require.
fn pitch(size: wgpu::Extent3d) -> u32 {
    (4 * size.width).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT)
}

/// Creates a buffer for each level.
fn buffers(bridge: &Bridge, dimensions: Dimensions, usage: wgpu::BufferUsages) -> Vec<wgpu::Buffer> {
    let each = |level| {
        let size = dimensions.level(level);
        let size = u64::from(pitch(size)) * u64::from(size.height) * u64::from(size.depth_or_array_layers);
        bridge.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    (0..dimensions.levels).map(each).collect()
}

/// Buffers, and the copies between them and a texture, level by level.
pub struct Levels {
    dimensions: Dimensions,
    buffers: Vec<wgpu::Buffer>,
}

impl Levels {
    /// Buffers that texels are read into.
    pub fn to_read(bridge: &Bridge, dimensions: Dimensions) -> Self {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Self { dimensions, buffers: buffers(bridge, dimensions, usage) }
    }

    /// Buffers with the texels of a frame.
    pub fn of_frame(bridge: &Bridge, dimensions: Dimensions, frame: u32) -> Self {
        let buffers = buffers(bridge, dimensions, wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST);
        for (buffer, (level, texels)) in buffers.iter().zip((0..).zip(patterns(dimensions, frame))) {
            let size = dimensions.level(level);
            let padding = vec![0; pitch(size) as usize / 4 - size.width as usize];
            let rows = texels.chunks(size.width as usize).flat_map(|row| row.iter().chain(&padding));
            let bytes: Vec<u8> = rows.flat_map(|word| word.to_ne_bytes()).collect();
            bridge.queue().write_buffer(buffer, 0, &bytes);
        }
        Self { dimensions, buffers }
    }

    fn each<'a>(
        &'a self,
        texture: &'a wgpu::Texture,
    ) -> impl Iterator<Item = (wgpu::TexelCopyTextureInfo<'a>, wgpu::TexelCopyBufferInfo<'a>, wgpu::Extent3d)> {
        (0..).zip(&self.buffers).map(|(mip_level, buffer)| {
            let size = self.dimensions.level(mip_level);
            let layout = wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some(pitch(size)),
                rows_per_image: Some(size.height),
            };
            let texture = wgpu::TexelCopyTextureInfo { mip_level, ..texture.as_image_copy() };
            (texture, wgpu::TexelCopyBufferInfo { buffer, layout }, size)
        })
    }

    pub fn read(&self, commands: &mut wgpu::CommandEncoder, texture: &wgpu::Texture) {
        self.each(texture).for_each(|(texture, buffer, size)| commands.copy_texture_to_buffer(texture, buffer, size));
    }

    pub fn write(&self, commands: &mut wgpu::CommandEncoder, texture: &wgpu::Texture) {
        self.each(texture).for_each(|(texture, buffer, size)| commands.copy_buffer_to_texture(buffer, texture, size));
    }

    /// Waits, and returns the texels of each level.
    pub fn texels(&self, bridge: &Bridge) -> Vec<Vec<u32>> {
        let level = |(level, buffer)| -> Vec<u32> {
            let size = self.dimensions.level(level);
            let words = mapped(bridge, buffer);
            let rows = words.chunks(pitch(size) as usize / 4);
            rows.flat_map(|row| row[..size.width as usize].to_vec()).collect()
        };
        (0..).zip(&self.buffers).map(level).collect()
    }
}
