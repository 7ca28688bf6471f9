//! Buffers and textures that wgpu uses in the slots, without a copy.
#![allow(unsafe_code, clippy::unwrap_used)] // A test; slots are used in their frames' commands alone.

use std::sync::mpsc;
use std::time::Duration;

use crate::support::{alone, bridge_on, bridges, info, mapped, staging, validation_messages};
use bridge_wgpu::bridge::LiveObjects;
use bridge_wgpu::{Backend, Bridge, Exchange, Frame, SharedBuffer, SlotBuffer, SlotTexture, Work, wgpu};

const LEN: usize = 1024;
const SIZE: [u32; 2] = [64, 16];

fn pattern(frame: u32) -> Vec<u32> {
    (0..LEN as u32).map(|index| index ^ (frame << 16)).collect()
}

fn slot_buffer(usage: wgpu::BufferUsages) -> SlotBuffer<u32> {
    // SAFETY: the tests use the objects that frames lend in the commands of these frames.
    unsafe { SlotBuffer::new(LEN, usage) }
}

fn slot_texture(usage: wgpu::TextureUsages) -> SlotTexture<[u8; 4]> {
    // SAFETY: the tests use the objects that frames lend in the commands of these frames.
    unsafe { SlotTexture::new(wgpu::TextureFormat::Rgba8Unorm, SIZE, usage) }
}

fn write(work: Work<'_, bridge_wgpu::bridge::BufferSpec<u32>>, words: Vec<u32>) {
    match work {
        Work::Host(host) => host.run(move |target| target.copy_from_slice(&words)).unwrap(),
        Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(&words, &mut cuda.resources).unwrap(),
        _ => panic!("no such compute side was asked for"),
    }
}

/// Returns a recorded command buffer.
fn encode(bridge: &Bridge, record: impl FnOnce(&mut wgpu::CommandEncoder)) -> wgpu::CommandBuffer {
    let mut commands = bridge.device().create_command_encoder(&Default::default());
    record(&mut commands);
    commands.finish()
}

#[test]
fn a_slot_is_read_in_its_frame() {
    let _alone = alone();
    for bridge in bridges() {
        let mut exchange = Exchange::new(&bridge, &info("slots"), slot_buffer(wgpu::BufferUsages::COPY_SRC)).unwrap();
        let mut buffers = Vec::new();
        for frame in 0..9 {
            let mut turn = exchange.begin().unwrap();
            write(turn.work(), pattern(frame));
            let turn = turn.finish().unwrap();
            let seen = staging(&bridge, 4 * LEN as u64);
            let buffer = turn.objects().unwrap();
            let copy = encode(&bridge, |commands| commands.copy_buffer_to_buffer(buffer, 0, &seen, 0, None));
            // One buffer for each slot, the same each time.
            if !buffers.contains(buffer) {
                buffers.push(buffer.clone());
            }
            bridge.submit([copy], turn).unwrap();
            assert_eq!(mapped(&bridge, &seen), pattern(frame), "frame {frame}");
        }
        assert_eq!(buffers.len(), exchange.slots());
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// A shader writes a slot, and the compute side reads it. Other data of the same frame is copied
/// first.
#[test]
fn a_shader_writes_a_slot() {
    let _alone = alone();
    for bridge in bridges() {
        let device = bridge.device();
        let usage = wgpu::BufferUsages::STORAGE;
        let mut out = Exchange::render_first(&bridge, &info("slots"), slot_buffer(usage)).unwrap();
        let mut addend = Exchange::new(&bridge, &info("addend"), SharedBuffer::<u32>::new(LEN, usage)).unwrap();
        let shader = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(
                "@group(0) @binding(0) var<storage, read_write> out: array<u32>;
                 @group(0) @binding(1) var<storage, read_write> addend: array<u32>;
                 @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3u) {
                     out[at.x] = addend[at.x] + at.x;
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
        for frame in 0..7 {
            let mut turn = addend.begin().unwrap();
            write(turn.work(), vec![frame * 1000; LEN]);
            let (there, back) = (turn.finish().unwrap(), out.begin().unwrap());
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[
                    wgpu::BindGroupEntry { binding: 0, resource: back.objects().unwrap().as_entire_binding() },
                    wgpu::BindGroupEntry { binding: 1, resource: there.objects().unwrap().as_entire_binding() },
                ],
            });
            let dispatch = encode(&bridge, |commands| {
                let mut pass = commands.begin_compute_pass(&Default::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &group, &[]);
                pass.dispatch_workgroups(LEN as u32 / 64, 1, 1);
            });
            let (_, mut turn) = bridge.submit([dispatch], (there, back)).unwrap();
            let seen = match turn.work() {
                Work::Host(host) => {
                    let (sender, receiver) = mpsc::channel();
                    host.run(move |words| sender.send(words.to_vec()).unwrap()).unwrap();
                    receiver.recv_timeout(Duration::from_secs(60)).unwrap()
                }
                Work::Cuda(cuda) => cuda.stream.clone_dtoh(&cuda.resources).unwrap(),
                _ => panic!("no such compute side was asked for"),
            };
            turn.finish().unwrap();
            assert!((0..).zip(&seen).all(|(index, word)| *word == frame * 1000 + index), "frame {frame}: {seen:?}");
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Draws into a slot whose texture can also be sampled and copied.
fn draw(
    bridge: &Bridge,
    frame: &Frame<SlotTexture<[u8; 4]>, bridge_wgpu::RenderFirst>,
    red: u8,
) -> wgpu::CommandBuffer {
    let texture = frame.objects().unwrap();
    let view = texture.create_view(&Default::default());
    encode(bridge, |commands| {
        let color = wgpu::Color { r: f64::from(red) / 255.0, g: 0.0, b: 1.0, a: 1.0 };
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
    })
}

#[test]
fn wgpu_draws_into_a_slot() {
    let _alone = alone();
    for bridge in bridges() {
        let usage = wgpu::TextureUsages::RENDER_ATTACHMENT
            | wgpu::TextureUsages::TEXTURE_BINDING
            | wgpu::TextureUsages::COPY_SRC;
        let mut exchange = Exchange::render_first(&bridge, &info("scene"), slot_texture(usage)).unwrap();
        for frame in 0..7u8 {
            let turn = exchange.begin().unwrap();
            let drawing = draw(&bridge, &turn, frame);
            let mut turn = bridge.submit([drawing], turn).unwrap();
            let seen: Vec<[u8; 4]> = match turn.work() {
                Work::Host(host) => {
                    let (sender, receiver) = mpsc::channel();
                    host.run(move |image| sender.send(image.rows().flatten().copied().collect()).unwrap()).unwrap();
                    receiver.recv_timeout(Duration::from_secs(60)).unwrap()
                }
                Work::Cuda(cuda) => {
                    let mut texels = vec![[0; 4]; LEN];
                    cuda.resources.read_to_host(cuda.stream, 0, .., &mut texels).unwrap();
                    texels
                }
                _ => panic!("no such compute side was asked for"),
            };
            turn.finish().unwrap();
            assert_eq!(seen, [[frame, 0, 255, 255]; LEN], "frame {frame}");
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Demonstrates a requirement of `SlotTexture::new`: wgpu clears a texture whose contents a pass
/// has discarded before the next use, and cannot clear the wrapper of a slot.
#[test]
fn wgpu_cannot_use_a_slot_that_was_discarded() {
    let _alone = alone();
    for bridge in bridges() {
        let usage = wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC;
        let mut exchange = Exchange::render_first(&bridge, &info("discarded"), slot_texture(usage)).unwrap();
        let turn = exchange.begin().unwrap();
        let texture = turn.objects().unwrap().clone();
        let view = texture.create_view(&Default::default());
        let discards = encode(&bridge, |commands| {
            let ops = wgpu::Operations { load: wgpu::LoadOp::Clear(wgpu::Color::RED), store: wgpu::StoreOp::Discard };
            let attachment =
                wgpu::RenderPassColorAttachment { view: &view, resolve_target: None, depth_slice: None, ops };
            drop(commands.begin_render_pass(&wgpu::RenderPassDescriptor {
                color_attachments: &[Some(attachment)],
                ..Default::default()
            }));
        });
        bridge.submit([discards], turn).unwrap().finish().unwrap();
        let seen = staging(&bridge, 4 * LEN as u64);
        let copy = encode(&bridge, |commands| {
            let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(256), rows_per_image: None };
            let target = wgpu::TexelCopyBufferInfo { buffer: &seen, layout };
            commands.copy_texture_to_buffer(texture.as_image_copy(), target, texture.size());
        });
        let submit = std::panic::AssertUnwindSafe(|| bridge.queue().submit([copy]));
        assert!(std::panic::catch_unwind(submit).is_err(), "wgpu clears it: the contract may be less");
    }
}

#[test]
fn wgpu_reads_a_texture_in_its_slot() {
    let _alone = alone();
    for bridge in bridges() {
        let usage = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_SRC;
        let mut exchange = Exchange::new(&bridge, &info("picture"), slot_texture(usage)).unwrap();
        for frame in 0..7 {
            let mut turn = exchange.begin().unwrap();
            let texels: Vec<[u8; 4]> = pattern(frame).into_iter().map(u32::to_ne_bytes).collect();
            match turn.work() {
                Work::Host(host) => host
                    .run(move |mut image| {
                        let rows = texels.chunks(SIZE[0] as usize);
                        image.rows_mut().zip(rows).for_each(|(row, texels)| row.copy_from_slice(texels));
                    })
                    .unwrap(),
                Work::Cuda(mut cuda) => cuda.resources.write_from_host(cuda.stream, 0, .., &texels).unwrap(),
                _ => panic!("no such compute side was asked for"),
            }
            let turn = turn.finish().unwrap();
            let seen = staging(&bridge, 4 * LEN as u64);
            let copy = encode(&bridge, |commands| {
                let texture = turn.objects().unwrap();
                let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(256), rows_per_image: None };
                let target = wgpu::TexelCopyBufferInfo { buffer: &seen, layout };
                commands.copy_texture_to_buffer(texture.as_image_copy(), target, texture.size());
            });
            bridge.submit([copy], turn).unwrap();
            assert_eq!(mapped(&bridge, &seen), pattern(frame), "frame {frame}");
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Clones keep the memory alive, in whatever order the objects are dropped.
#[test]
fn clones_of_slots_outlive_everything() {
    let _alone = alone();
    let before = LiveObjects::now();
    for order in 0..6 {
        let Some(bridge) = bridge_on(Backend::Auto) else { return };
        let usage = wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::TEXTURE_BINDING;
        let mut exchange = Exchange::render_first(&bridge, &info("scene"), slot_texture(usage)).unwrap();
        let turn = exchange.begin().unwrap();
        let (drawing, texture) = (draw(&bridge, &turn, 1), turn.objects().unwrap().clone());
        let mut buffers = Exchange::new(&bridge, &info("slots"), slot_buffer(wgpu::BufferUsages::STORAGE)).unwrap();
        let other = buffers.begin().unwrap().finish().unwrap();
        let buffer = other.objects().unwrap().clone();
        let (turn, _) = bridge.submit([drawing], (turn, other)).unwrap();
        drop(turn);
        let device = bridge.device().clone();
        // Creating a view of a clone crashed when the image had been destroyed.
        let use_it = |texture: &wgpu::Texture| drop(texture.create_view(&Default::default()));
        match order {
            0 => drop((exchange, buffers, bridge, device)),
            1 => drop((bridge, device, exchange, buffers)),
            2 => drop((device, exchange, bridge, buffers)),
            3 => {
                drop((exchange, buffers));
                assert!(LiveObjects::now().images > before.images, "the clone keeps its slot");
                use_it(&texture);
                drop((bridge, device));
            }
            4 => {
                device.destroy();
                drop((exchange, buffers, bridge, device));
            }
            _ => {
                texture.destroy();
                drop((exchange, buffers, bridge, device));
            }
        }
        // wgpu returns an error for destroyed objects.
        if order < 4 {
            use_it(&texture);
        }
        drop((buffer, texture));
    }
    assert_eq!(LiveObjects::now().images, before.images);
    assert_eq!(validation_messages(), [""; 0]);
}
