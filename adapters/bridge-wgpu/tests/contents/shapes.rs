//! Mip levels, layers, cubes, 1D and 3D textures, in both directions, with a copy and without.
#![allow(unsafe_code, clippy::unwrap_used)] // A test; slots are used in their frames' commands alone.

use crate::support::texels::{Dimensions, Levels, patterns, seen, write};
use crate::support::{bridge_on, bridges, info, validation_messages};
use bridge_wgpu::{Bridge, Exchange, SharedTexture, SlotTexture, wgpu};
use wgpu::TextureFormat::R32Uint;

/// Records a command buffer.
fn encode(bridge: &Bridge, record: impl FnOnce(&mut wgpu::CommandEncoder)) -> wgpu::CommandBuffer {
    let mut commands = bridge.device().create_command_encoder(&Default::default());
    record(&mut commands);
    commands.finish()
}

/// Returns textures of every kind.
fn shared(usage: wgpu::TextureUsages) -> Vec<SharedTexture<u32>> {
    vec![
        SharedTexture::new_1d(R32Uint, 40, usage),
        SharedTexture::new(R32Uint, [64, 24], usage).with_mip_levels(3),
        SharedTexture::new(R32Uint, [20, 9], usage).with_full_mip_chain(),
        SharedTexture::new(R32Uint, [20, 9], usage).with_layers(3),
        SharedTexture::new(R32Uint, [16, 16], usage).with_layers(2).with_full_mip_chain(),
        SharedTexture::new_3d(R32Uint, [16, 8, 5], usage),
        SharedTexture::new_3d(R32Uint, [16, 8, 5], usage).with_full_mip_chain(),
        SharedTexture::cube(R32Uint, 16, usage).with_full_mip_chain(),
        SharedTexture::cube(R32Uint, 8, usage).with_layers(2),
    ]
}

/// Returns the same textures in the slots, with their dimensions.
fn slots(usage: wgpu::TextureUsages) -> Vec<(SlotTexture<u32>, Dimensions)> {
    use wgpu::TextureDimension::{D1, D2, D3};
    // SAFETY: the lent textures are only used in the commands of their frames.
    let line = |width| unsafe { SlotTexture::new_1d(R32Uint, width, usage) };
    // SAFETY: the lent textures are only used in the commands of their frames.
    let flat = |size| unsafe { SlotTexture::new(R32Uint, size, usage) };
    // SAFETY: the lent textures are only used in the commands of their frames.
    let volume = |size| unsafe { SlotTexture::new_3d(R32Uint, size, usage) };
    // SAFETY: the lent textures are only used in the commands of their frames.
    let cube = |side| unsafe { SlotTexture::cube(R32Uint, side, usage) };
    let of = |dimension, [width, height, depth_or_array_layers]: [u32; 3], levels| Dimensions {
        size: wgpu::Extent3d { width, height, depth_or_array_layers },
        dimension,
        levels,
    };
    vec![
        (line(40), of(D1, [40, 1, 1], 1)),
        (flat([64, 24]).with_mip_levels(3), of(D2, [64, 24, 1], 3)),
        (flat([20, 9]).with_full_mip_chain(), of(D2, [20, 9, 1], 5)),
        (flat([20, 9]).with_layers(3), of(D2, [20, 9, 3], 1)),
        (flat([16, 16]).with_layers(2).with_full_mip_chain(), of(D2, [16, 16, 2], 5)),
        (volume([16, 8, 5]), of(D3, [16, 8, 5], 1)),
        (volume([16, 8, 5]).with_full_mip_chain(), of(D3, [16, 8, 5], 5)),
        (cube(16).with_full_mip_chain(), of(D2, [16, 16, 6], 5)),
        (cube(8).with_layers(2), of(D2, [8, 8, 12], 1)),
    ]
}

#[test]
fn every_level_and_layer_is_copied_to_wgpus_texture() {
    for bridge in bridges() {
        for texture in shared(wgpu::TextureUsages::COPY_SRC) {
            let what = format!("{texture:?} on {}", bridge.backend());
            let mut exchange = Exchange::new(&bridge, &info("texture"), texture).unwrap();
            let dimensions = Dimensions::of(exchange.objects());
            for frame in 1..5 {
                let mut turn = exchange.begin().unwrap();
                write(turn.work(), dimensions, frame);
                let levels = Levels::to_read(&bridge, dimensions);
                let read = encode(&bridge, |commands| levels.read(commands, exchange.objects()));
                bridge.submit([read], turn.finish().unwrap()).unwrap();
                assert_eq!(levels.texels(&bridge), patterns(dimensions, frame), "{what}, frame {frame}");
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn every_level_and_layer_is_copied_to_the_compute_side() {
    for bridge in bridges() {
        for texture in shared(wgpu::TextureUsages::COPY_DST) {
            let what = format!("{texture:?} on {}", bridge.backend());
            let mut exchange = Exchange::render_first(&bridge, &info("texture"), texture).unwrap();
            let dimensions = Dimensions::of(exchange.objects());
            for frame in 1..5 {
                let levels = Levels::of_frame(&bridge, dimensions, frame);
                let write = encode(&bridge, |commands| levels.write(commands, exchange.objects()));
                let turn = exchange.begin().unwrap();
                let mut turn = bridge.submit([write], turn).unwrap();
                assert_eq!(seen(turn.work(), dimensions), patterns(dimensions, frame), "{what}, frame {frame}");
                turn.finish().unwrap();
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn every_level_and_layer_of_a_slot_is_wgpus() {
    for bridge in bridges() {
        for (texture, dimensions) in slots(wgpu::TextureUsages::COPY_SRC) {
            let what = format!("{texture:?} on {}", bridge.backend());
            let mut exchange = Exchange::new(&bridge, &info("slots"), texture).unwrap();
            for frame in 1..5 {
                let mut turn = exchange.begin().unwrap();
                write(turn.work(), dimensions, frame);
                let turn = turn.finish().unwrap();
                let levels = Levels::to_read(&bridge, dimensions);
                let read = encode(&bridge, |commands| levels.read(commands, turn.objects().unwrap()));
                bridge.submit([read], turn).unwrap();
                assert_eq!(levels.texels(&bridge), patterns(dimensions, frame), "{what}, frame {frame}");
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn every_level_and_layer_of_a_slot_is_the_compute_sides() {
    for bridge in bridges() {
        for (texture, dimensions) in slots(wgpu::TextureUsages::COPY_DST) {
            let what = format!("{texture:?} on {}", bridge.backend());
            let mut exchange = Exchange::render_first(&bridge, &info("slots"), texture).unwrap();
            for frame in 1..5 {
                let levels = Levels::of_frame(&bridge, dimensions, frame);
                let turn = exchange.begin().unwrap();
                let write = encode(&bridge, |commands| levels.write(commands, turn.objects().unwrap()));
                let mut turn = bridge.submit([write], turn).unwrap();
                assert_eq!(seen(turn.work(), dimensions), patterns(dimensions, frame), "{what}, frame {frame}");
                turn.finish().unwrap();
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// A cube in a slot can be sampled as a cube: each face has another value, which is found by the
/// face's direction.
#[test]
fn a_shader_samples_a_cube_in_a_slot() {
    for bridge in bridges() {
        let device = bridge.device();
        let usage = wgpu::TextureUsages::TEXTURE_BINDING;
        // SAFETY: the lent textures are only used in the commands of their frames.
        let cube = unsafe { SlotTexture::<f32>::cube(wgpu::TextureFormat::R32Float, 4, usage) };
        let mut exchange = Exchange::new(&bridge, &info("cube"), cube).unwrap();
        let shader = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(
                "@group(0) @binding(0) var cube: texture_cube<f32>;
                 @group(0) @binding(1) var nearest: sampler;
                 @group(0) @binding(2) var<storage, read_write> out: array<f32, 6>;
                 @compute @workgroup_size(1) fn main() {
                     let at = array(vec3f(1, 0, 0), vec3f(-1, 0, 0), vec3f(0, 1, 0), vec3f(0, -1, 0), vec3f(0, 0, 1), vec3f(0, 0, -1));
                     for (var i = 0; i < 6; i++) { out[i] = textureSampleLevel(cube, nearest, at[i], 0.0).x; }
                 }"
                .into(),
            ),
        });
        let binding = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty,
            count: None,
        };
        let sample_type = wgpu::TextureSampleType::Float { filterable: false };
        let texture = wgpu::BindingType::Texture {
            sample_type,
            view_dimension: wgpu::TextureViewDimension::Cube,
            multisampled: false,
        };
        let sampler = wgpu::BindingType::Sampler(wgpu::SamplerBindingType::NonFiltering);
        let words = wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: false },
            has_dynamic_offset: false,
            min_binding_size: None,
        };
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &[binding(0, texture), binding(1, sampler), binding(2, words)],
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                bind_group_layouts: &[Some(&layout)],
                ..Default::default()
            })),
            module: &shader,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let out = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 24,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let nearest = device.create_sampler(&Default::default());
        for frame in 0..4u8 {
            let faces: Vec<f32> = (0..6 * 16).map(|texel| f32::from(frame) * 10.0 + (texel / 16) as f32).collect();
            let mut turn = exchange.begin().unwrap();
            match turn.work() {
                bridge_wgpu::Work::Host(host) => {
                    let faces = faces.clone();
                    host.run(move |mut image| {
                        for layer in 0..6u32 {
                            let mut face = image.plane_mut(0, layer).unwrap();
                            face.rows_mut(0).for_each(|row| row.fill(faces[16 * layer as usize]));
                        }
                    })
                    .unwrap();
                }
                bridge_wgpu::Work::Cuda(mut cuda) => {
                    cuda.resources.write_from_host(cuda.stream, 0, .., &faces).unwrap();
                }
                _ => panic!("no such compute side was asked for"),
            }
            let turn = turn.finish().unwrap();
            let dimension = Some(wgpu::TextureViewDimension::Cube);
            let view =
                turn.objects().unwrap().create_view(&wgpu::TextureViewDescriptor { dimension, ..Default::default() });
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &layout,
                entries: &[
                    wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::TextureView(&view) },
                    wgpu::BindGroupEntry { binding: 1, resource: wgpu::BindingResource::Sampler(&nearest) },
                    wgpu::BindGroupEntry { binding: 2, resource: out.as_entire_binding() },
                ],
            });
            let dispatch = encode(&bridge, |commands| {
                let mut pass = commands.begin_compute_pass(&Default::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &group, &[]);
                pass.dispatch_workgroups(1, 1, 1);
            });
            bridge.submit([dispatch], turn).unwrap();
            let words: Vec<f32> = crate::support::read_buffer(&bridge, &out).into_iter().map(f32::from_bits).collect();
            assert_eq!(words, [0, 1, 2, 3, 4, 5].map(|face: u8| f32::from(frame) * 10.0 + f32::from(face)));
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Returns the error of an exchange that cannot be created.
fn fault(bridge: &Bridge, texture: SharedTexture<u32>) -> String {
    Exchange::new(bridge, &info("texture"), texture).unwrap_err().to_string()
}

#[test]
fn what_is_not_shared_is_named() {
    let bridge = bridge_on(bridge_wgpu::Backend::Host).unwrap();
    let usage = wgpu::TextureUsages::COPY_SRC;
    let flat = |format| SharedTexture::<u32>::new(format, [16, 16], usage);
    let depth = fault(&bridge, flat(wgpu::TextureFormat::Depth32Float));
    assert!(depth.contains("D32_SFLOAT") && depth.contains("R32_SFLOAT"), "{depth}");
    let mips = fault(&bridge, flat(R32Uint).with_mip_levels(6));
    assert!(mips.contains('6') && mips.contains('5'), "{mips}");
    for texture in
        [flat(R32Uint).with_mip_levels(0), flat(R32Uint).with_layers(0), SharedTexture::new(R32Uint, [0, 16], usage)]
    {
        assert!(!fault(&bridge, texture).is_empty());
    }
    let volume = fault(&bridge, SharedTexture::new_3d(R32Uint, [8, 8, 8], usage).with_layers(2));
    assert!(volume.contains("use its depth"), "{volume}");
    let texel = fault(&bridge, flat(wgpu::TextureFormat::R32Float));
    assert!(texel.contains("u32") || texel.contains("U32"), "{texel}");
    let drawn = wgpu::TextureUsages::RENDER_ATTACHMENT;
    // SAFETY: no slot is created.
    let slot = unsafe { SlotTexture::<u32>::new_3d(R32Uint, [8, 8, 8], drawn) };
    let slot = Exchange::new(&bridge, &info("texture"), slot).unwrap_err().to_string();
    assert!(slot.contains("slot texture \"texture\"") && slot.contains("`SharedTexture`"), "{slot}");
    // wgpu may draw to the separate texture of a `SharedTexture`.
    let own = SharedTexture::<u32>::new_3d(R32Uint, [8, 8, 8], drawn);
    Exchange::render_first(&bridge, &info("texture"), own).unwrap();
    assert_eq!(validation_messages(), [""; 0]);
}

/// Mip levels that do not fit a small size return with a larger one.
#[test]
fn levels_come_back_with_the_size() {
    for bridge in bridges() {
        let texture = SharedTexture::<u32>::new(R32Uint, [64, 16], wgpu::TextureUsages::COPY_SRC).with_mip_levels(5);
        let mut exchange = Exchange::new(&bridge, &info("levels"), texture).unwrap();
        for (size, levels) in [([64, 16], 5), ([1, 1], 1), ([64, 16], 5), ([4, 4], 3), ([256, 256], 5)] {
            exchange.resize(size).unwrap();
            let turn = exchange.begin().unwrap().finish().unwrap();
            assert_eq!(turn.objects().unwrap().mip_level_count(), levels, "{size:?}");
            bridge.submit([], turn).unwrap();
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}
