//! Textures in both directions, alone and with buffers.
#![allow(clippy::unwrap_used)] // A test.

use std::sync::mpsc;
use std::time::Duration;

use crate::support::{bridges, info, mapped, read_buffer, staging, validation_messages};
use bridge_wgpu::bridge::Texel;
use bridge_wgpu::{Bridge, ComputeTurn, Exchange, RenderFirst, SharedBuffer, SharedTexture, Work, wgpu};

/// Rows of 256 bytes with texels of 4 bytes, as copies to buffers require.
const SIZE: [u32; 2] = [64, 24];
const TEXELS: usize = (SIZE[0] * SIZE[1]) as usize;

/// Returns texels that differ in every position and frame.
fn pattern(frame: u32) -> Vec<u32> {
    (0..TEXELS as u32).map(|index| index.wrapping_mul(2_654_435_761).rotate_left(frame)).collect()
}

/// Makes the compute side write all texels.
fn write<T: Texel>(turn: &mut ComputeTurn<SharedTexture<T>>, texels: Vec<T>) {
    match turn.work() {
        Work::Host(host) => host
            .run(move |mut image| {
                for (row, texels) in image.rows_mut().zip(texels.chunks(SIZE[0] as usize)) {
                    row.copy_from_slice(texels);
                }
            })
            .unwrap(),
        Work::Cuda(mut cuda) => cuda.resources.write_from_host(cuda.stream, 0, .., &texels).unwrap(),
        _ => panic!("no such compute side was asked for"),
    }
}

/// Returns the texels that the compute side sees.
fn seen<T: Texel>(turn: &mut ComputeTurn<SharedTexture<T>, RenderFirst>) -> Vec<T> {
    match turn.work() {
        Work::Host(host) => {
            let (sender, receiver) = mpsc::channel();
            host.run(move |image| sender.send(image.rows().flatten().copied().collect()).unwrap()).unwrap();
            receiver.recv_timeout(Duration::from_secs(60)).unwrap()
        }
        Work::Cuda(cuda) => {
            let mut texels = vec![T::zeroed(); TEXELS];
            cuda.resources.read_to_host(cuda.stream, 0, .., &mut texels).unwrap();
            texels
        }
        _ => panic!("no such compute side was asked for"),
    }
}

/// Returns all texels of a texture, of 4 bytes each.
fn read_texture(bridge: &Bridge, texture: &wgpu::Texture) -> Vec<u32> {
    let staging = staging(bridge, 4 * TEXELS as u64);
    let mut commands = bridge.device().create_command_encoder(&Default::default());
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(256), rows_per_image: None };
    let target = wgpu::TexelCopyBufferInfo { buffer: &staging, layout };
    commands.copy_texture_to_buffer(texture.as_image_copy(), target, texture.size());
    bridge.queue().submit([commands.finish()]);
    mapped(bridge, &staging)
}

fn fill_and_read<T: Texel>(bridge: &Bridge, format: wgpu::TextureFormat, texel: impl Fn(u32) -> T) {
    let spec = SharedTexture::<T>::new(format, SIZE, wgpu::TextureUsages::COPY_SRC);
    let mut exchange = Exchange::new(bridge, &info("picture"), spec).unwrap();
    for frame in 0..7 {
        let mut turn = exchange.begin().unwrap();
        write(&mut turn, pattern(frame).into_iter().map(&texel).collect());
        bridge.submit([], turn.finish().unwrap()).unwrap();
        assert!(read_texture(bridge, exchange.objects()) == pattern(frame), "{format:?}, frame {frame}");
    }
}

#[test]
fn what_the_compute_side_fills_is_in_wgpus_texture() {
    for bridge in bridges() {
        fill_and_read(&bridge, wgpu::TextureFormat::Rgba8Unorm, u32::to_ne_bytes);
        fill_and_read(&bridge, wgpu::TextureFormat::Rgba8UnormSrgb, u32::to_ne_bytes);
        fill_and_read(&bridge, wgpu::TextureFormat::Bgra8Unorm, u32::to_ne_bytes);
        fill_and_read(&bridge, wgpu::TextureFormat::R32Uint, |word| word);
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Records a command buffer that clears a texture.
fn clear(bridge: &Bridge, texture: &wgpu::Texture, color: wgpu::Color) -> wgpu::CommandBuffer {
    let view = texture.create_view(&Default::default());
    let mut commands = bridge.device().create_command_encoder(&Default::default());
    let attachment = wgpu::RenderPassColorAttachment {
        view: &view,
        resolve_target: None,
        depth_slice: None,
        ops: wgpu::Operations { load: wgpu::LoadOp::Clear(color), store: wgpu::StoreOp::Store },
    };
    drop(commands.begin_render_pass(&wgpu::RenderPassDescriptor {
        color_attachments: &[Some(attachment)],
        ..Default::default()
    }));
    commands.finish()
}

#[test]
fn what_wgpu_draws_reaches_the_compute_side() {
    for bridge in bridges() {
        let usage = wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::TEXTURE_BINDING;
        let spec = SharedTexture::<[u8; 4]>::new(wgpu::TextureFormat::Rgba8Unorm, SIZE, usage);
        let mut exchange = Exchange::render_first(&bridge, &info("scene"), spec).unwrap();
        for frame in 0..7u8 {
            let color = wgpu::Color { r: f64::from(frame) / 255.0, g: 1.0, b: 0.0, a: 1.0 };
            let drawing = clear(&bridge, exchange.objects(), color);
            let turn = exchange.begin().unwrap();
            let mut turn = bridge.submit([drawing], turn).unwrap();
            assert_eq!(seen(&mut turn), [[frame, 255, 0, 255]; TEXELS]);
            turn.finish().unwrap();
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// One bind group, created before the first frame, sees every frame.
#[test]
fn a_bind_group_stays_valid() {
    for bridge in bridges() {
        let device = bridge.device();
        let usage = wgpu::TextureUsages::TEXTURE_BINDING;
        let picture = SharedTexture::<[u8; 4]>::new(wgpu::TextureFormat::Rgba8Unorm, SIZE, usage);
        let mut exchange = Exchange::new(&bridge, &info("picture"), picture).unwrap();
        let shader = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(
                "@group(0) @binding(0) var picture: texture_2d<f32>;
                 @group(0) @binding(1) var<storage, read_write> out: array<u32>;
                 @compute @workgroup_size(8, 8) fn main(@builtin(global_invocation_id) at: vec3u) {
                     let size = textureDimensions(picture);
                     out[at.y * size.x + at.x] = pack4x8unorm(textureLoad(picture, at.xy, 0));
                 }"
                .into(),
            ),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &shader,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let out = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4 * TEXELS as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let view = exchange.objects().create_view(&Default::default());
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::TextureView(&view) },
                wgpu::BindGroupEntry { binding: 1, resource: out.as_entire_binding() },
            ],
        });
        for frame in 0..7 {
            let mut turn = exchange.begin().unwrap();
            write(&mut turn, pattern(frame).into_iter().map(u32::to_ne_bytes).collect());
            let mut commands = device.create_command_encoder(&Default::default());
            let mut pass = commands.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(SIZE[0] / 8, SIZE[1] / 8, 1);
            drop(pass);
            bridge.submit([commands.finish()], turn.finish().unwrap()).unwrap();
            assert!(read_buffer(&bridge, &out) == pattern(frame), "frame {frame}");
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// A buffer and a texture in one exchange are handed over together, and so are frames of two
/// exchanges in opposite directions in one submission.
#[test]
fn several_resources_and_several_frames_go_together() {
    for bridge in bridges() {
        let texture = |usage| SharedTexture::<[u8; 4]>::new(wgpu::TextureFormat::Rgba8Unorm, SIZE, usage);
        let both =
            (SharedBuffer::<u32>::new(TEXELS, wgpu::BufferUsages::COPY_SRC), texture(wgpu::TextureUsages::COPY_SRC));
        let mut there = Exchange::new(&bridge, &info("there"), both).unwrap();
        let mut back = Exchange::render_first(&bridge, &info("back"), texture(wgpu::TextureUsages::COPY_DST)).unwrap();
        for frame in 0..5 {
            let mut turn = there.begin().unwrap();
            let texels = pattern(frame);
            match turn.work() {
                Work::Host(host) => host
                    .run(move |(words, mut image)| {
                        words.copy_from_slice(&texels);
                        for (row, texels) in image.rows_mut().zip(texels.chunks(SIZE[0] as usize)) {
                            row.iter_mut().zip(texels).for_each(|(texel, word)| *texel = word.to_ne_bytes());
                        }
                    })
                    .unwrap(),
                Work::Cuda(cuda) => {
                    let (mut words, mut image) = cuda.resources;
                    cuda.stream.memcpy_htod(&texels, &mut words).unwrap();
                    let bytes: Vec<[u8; 4]> = texels.iter().map(|word| word.to_ne_bytes()).collect();
                    image.write_from_host(cuda.stream, 0, .., &bytes).unwrap();
                }
                _ => panic!("no such compute side was asked for"),
            }
            // The commands between copy from the texture that the frame fills into the one that is
            // handed back.
            let (buffer, picture) = there.objects();
            let mut commands = bridge.device().create_command_encoder(&Default::default());
            commands.copy_texture_to_texture(picture.as_image_copy(), back.objects().as_image_copy(), picture.size());
            let frames = (turn.finish().unwrap(), back.begin().unwrap());
            let (point, mut turn) = bridge.submit([commands.finish()], frames).unwrap();
            let got: Vec<u32> = seen(&mut turn).into_iter().map(u32::from_ne_bytes).collect();
            assert!(got == pattern(frame), "frame {frame}");
            turn.finish().unwrap();
            assert!(point.is_reached().unwrap());
            assert_eq!(read_buffer(&bridge, buffer), pattern(frame));
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}
