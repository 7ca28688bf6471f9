//! Buffers that are extended and textures that are resized while frames are in flight, with and
//! without a copy.
#![allow(unsafe_code, clippy::unwrap_used)] // A test; slots are used in their frames' commands alone.

use crate::support::texels::{Dimensions, Levels, patterns, seen, write};
use crate::support::{alone, bridge_on, bridges, info, mapped, read_buffer, staging, validation_messages};
use bridge_wgpu::bridge::{self, BufferSpec, LiveObjects};
use bridge_wgpu::{
    Backend, Bridge, Error, Exchange, ExchangeInfo, SharedBuffer, SharedTexture, SlotBuffer, SlotTexture, Work, wgpu,
};
use wgpu::TextureFormat::R32Uint;

/// Successive lengths of a buffer.
const LENS: [usize; 4] = [256, 1000, 1000, 4096];

/// Exchange with one slot, so that each frame sees the contents that the previous one left.
fn one_slot(name: &str) -> ExchangeInfo<'_> {
    ExchangeInfo { slots: 1, ..info(name) }
}

/// Returns a recorded command buffer.
fn encode(bridge: &Bridge, record: impl FnOnce(&mut wgpu::CommandEncoder)) -> wgpu::CommandBuffer {
    let mut commands = bridge.device().create_command_encoder(&Default::default());
    record(&mut commands);
    commands.finish()
}

/// Lets the compute side write `word` to the elements from `from` on; the others keep their values.
fn append(work: Work<'_, BufferSpec<u32>>, from: usize, word: u32) {
    match work {
        Work::Host(host) => host
            .run(move |words| {
                std::thread::sleep(std::time::Duration::from_millis(5));
                words[from..].fill(word);
            })
            .unwrap(),
        Work::Cuda(mut cuda) => {
            let words = vec![word; cuda.resources.len() - from];
            if !words.is_empty() {
                let mut rest = cuda.resources.slice_mut(from..).unwrap();
                cuda.stream.memcpy_htod(&words, &mut rest).unwrap();
            }
        }
        _ => panic!("no such compute side was asked for"),
    }
}

/// Returns the contents of a buffer that was extended to each of these lengths, where each frame
/// wrote its number to the new elements.
fn appended(lens: &[usize]) -> Vec<u32> {
    let mut words = Vec::new();
    lens.iter().zip(1..).for_each(|(len, word)| words.resize(*len, word));
    words
}

#[test]
fn a_buffer_grows_and_keeps_its_slots() {
    let _alone = alone();
    for bridge in bridges() {
        let spec = SharedBuffer::<u32>::new(LENS[0], wgpu::BufferUsages::COPY_SRC);
        let mut exchange = Exchange::new(&bridge, &one_slot("numbers"), spec).unwrap();
        let (mut from, mut before) = (0, None);
        for (round, len) in LENS.into_iter().enumerate() {
            exchange.grow(len).unwrap();
            let buffer = exchange.objects().clone();
            assert_eq!(buffer.size(), 4 * len as u64);
            // The same length changes nothing.
            assert_eq!(before.as_ref() == Some(&buffer), round > 0 && LENS[round - 1] == len);
            let mut turn = exchange.begin().unwrap();
            append(turn.work(), from, round as u32 + 1);
            // The frame is in flight during the next extension, except those that are read here.
            bridge.submit([], turn.finish().unwrap()).unwrap();
            if round % 2 == 1 {
                assert_eq!(read_buffer(&bridge, &buffer), appended(&LENS[..=round]), "on {}", bridge.backend());
            }
            (from, before) = (len, Some(buffer));
        }
        // A clone of a replaced buffer belongs to wgpu and keeps its contents.
        let text = exchange.grow(7).unwrap_err().to_string();
        assert!(text.contains("4096 elements") && text.contains("`Exchange::replace`"), "{text}");
        exchange.replace(SharedBuffer::new(7, wgpu::BufferUsages::COPY_SRC)).unwrap();
        let turn = exchange.begin().unwrap().finish().unwrap();
        bridge.submit([], turn).unwrap();
        assert_eq!(read_buffer(&bridge, exchange.objects()), [1; 7]);
        assert_eq!(read_buffer(&bridge, before.as_ref().unwrap()), appended(&LENS));
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn a_buffer_that_wgpu_fills_grows() {
    let _alone = alone();
    for bridge in bridges() {
        let spec = SharedBuffer::<u32>::new(LENS[0], wgpu::BufferUsages::COPY_DST);
        let mut exchange = Exchange::render_first(&bridge, &info("numbers"), spec).unwrap();
        for (len, frame) in LENS.into_iter().zip(1u32..) {
            exchange.grow(len).unwrap();
            let bytes: Vec<u8> = (0..len as u32).flat_map(|word| (word + frame).to_ne_bytes()).collect();
            bridge.queue().write_buffer(exchange.objects(), 0, &bytes);
            let turn = exchange.begin().unwrap();
            let mut turn = bridge.submit([], turn).unwrap();
            assert_eq!(words(turn.work()), (frame..frame + len as u32).collect::<Vec<_>>());
            turn.finish().unwrap();
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Returns the buffer's contents on the compute side.
fn words(work: Work<'_, BufferSpec<u32>>) -> Vec<u32> {
    match work {
        Work::Host(host) => {
            let (sender, receiver) = std::sync::mpsc::channel();
            host.run(move |words| sender.send(words.to_vec()).unwrap()).unwrap();
            receiver.recv_timeout(std::time::Duration::from_secs(60)).unwrap()
        }
        Work::Cuda(cuda) => {
            let mut words = vec![0; cuda.resources.len()];
            cuda.stream.memcpy_dtoh(&cuda.resources, &mut words).unwrap();
            cuda.stream.synchronize().unwrap();
            words
        }
        _ => panic!("no such compute side was asked for"),
    }
}

/// Objects that frames lent earlier stay valid, but are no longer written.
#[test]
fn slots_grow_and_what_was_lent_stays_valid() {
    let _alone = alone();
    for bridge in bridges() {
        let before = LiveObjects::now();
        // SAFETY: lent objects are used in the commands of their frame; kept ones are used after
        // they were replaced.
        let spec = unsafe { SlotBuffer::<u32>::new(LENS[0], wgpu::BufferUsages::COPY_SRC) };
        let mut exchange = Exchange::new(&bridge, &one_slot("slots"), spec).unwrap();
        let (mut from, mut kept) = (0, Vec::new());
        for (round, len) in LENS.into_iter().enumerate() {
            exchange.grow(len).unwrap();
            let mut turn = exchange.begin().unwrap();
            append(turn.work(), from, round as u32 + 1);
            let turn = turn.finish().unwrap();
            let seen = staging(&bridge, 4 * len as u64);
            let buffer = turn.objects().unwrap().clone();
            let copy = encode(&bridge, |commands| commands.copy_buffer_to_buffer(&buffer, 0, &seen, 0, None));
            bridge.submit([copy], turn).unwrap();
            assert_eq!(mapped(&bridge, &seen), appended(&LENS[..=round]), "on {}", bridge.backend());
            if !kept.contains(&buffer) {
                kept.push(buffer);
            }
            from = len;
        }
        let sizes: Vec<_> = kept.iter().map(wgpu::Buffer::size).collect();
        assert_eq!(sizes, [4 * 256, 4 * 1000, 4 * 4096]);
        drop(exchange);
        assert_eq!(read_buffer(&bridge, &kept[1]), appended(&LENS[..3]), "on {}", bridge.backend());
        drop(kept);
        bridge.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
        assert_eq!(LiveObjects::now(), before);
    }
    assert_eq!(validation_messages(), [""; 0]);
}

const SIZES: [[u32; 2]; 4] = [[64, 24], [20, 33], [20, 33], [100, 7]];

#[test]
fn a_texture_is_resized_in_both_directions() {
    let _alone = alone();
    for bridge in bridges() {
        let spec = |usage| SharedTexture::<u32>::new(R32Uint, SIZES[0], usage).with_full_mip_chain();
        let mut there = Exchange::new(&bridge, &info("there"), spec(wgpu::TextureUsages::COPY_SRC)).unwrap();
        let mut back = Exchange::render_first(&bridge, &info("back"), spec(wgpu::TextureUsages::COPY_DST)).unwrap();
        for (size, frame) in SIZES.into_iter().zip(1..) {
            there.resize(size).unwrap();
            back.resize(size).unwrap();
            let dimensions = Dimensions::of(there.objects());
            assert_eq!([dimensions.size.width, dimensions.size.height], size);
            assert_eq!(dimensions.levels, size[0].max(size[1]).ilog2() + 1);
            for frame in [frame, 7 + frame] {
                let mut turn = there.begin().unwrap();
                write(turn.work(), dimensions, frame);
                let read = Levels::to_read(&bridge, dimensions);
                let written = Levels::of_frame(&bridge, dimensions, 15 - frame);
                let commands = encode(&bridge, |commands| {
                    read.read(commands, there.objects());
                    written.write(commands, back.objects());
                });
                let frames = (turn.finish().unwrap(), back.begin().unwrap());
                let (_, mut turn) = bridge.submit([commands], frames).unwrap();
                assert_eq!(read.texels(&bridge), patterns(dimensions, frame), "{size:?} on {}", bridge.backend());
                assert_eq!(seen(turn.work(), dimensions), patterns(dimensions, 15 - frame));
                turn.finish().unwrap();
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn textures_in_slots_are_resized_in_both_directions() {
    let _alone = alone();
    for bridge in bridges() {
        // SAFETY: objects that frames lend are used in their commands.
        let spec = |usage| unsafe { SlotTexture::<u32>::new(R32Uint, SIZES[0], usage) };
        let mut there = Exchange::new(&bridge, &info("there"), spec(wgpu::TextureUsages::COPY_SRC)).unwrap();
        let mut back = Exchange::render_first(&bridge, &info("back"), spec(wgpu::TextureUsages::COPY_DST)).unwrap();
        for (size, frame) in SIZES.into_iter().zip(1..) {
            there.resize(size).unwrap();
            back.resize(size).unwrap();
            let [width, height] = size;
            let size = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
            let dimensions = Dimensions { size, dimension: wgpu::TextureDimension::D2, levels: 1 };
            for frame in [frame, 7 + frame] {
                let mut turn = there.begin().unwrap();
                write(turn.work(), dimensions, frame);
                let frames = (turn.finish().unwrap(), back.begin().unwrap());
                let read = Levels::to_read(&bridge, dimensions);
                let written = Levels::of_frame(&bridge, dimensions, 15 - frame);
                let commands = encode(&bridge, |commands| {
                    read.read(commands, frames.0.objects().unwrap());
                    written.write(commands, frames.1.objects().unwrap());
                });
                let (_, mut turn) = bridge.submit([commands], frames).unwrap();
                assert_eq!(read.texels(&bridge), patterns(dimensions, frame), "{size:?} on {}", bridge.backend());
                assert_eq!(seen(turn.work(), dimensions), patterns(dimensions, 15 - frame));
                turn.finish().unwrap();
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// A buffer and a texture together: `replace` takes all resources of the exchange.
#[test]
fn several_resources_are_replaced_together() {
    let _alone = alone();
    for bridge in bridges() {
        let both = |len, size| {
            let buffer = SharedBuffer::<u32>::new(len, wgpu::BufferUsages::COPY_SRC);
            (buffer, SharedTexture::<u32>::new(R32Uint, size, wgpu::TextureUsages::COPY_SRC))
        };
        let mut exchange = Exchange::new(&bridge, &info("both"), both(64, [16, 16])).unwrap();
        let turn = exchange.begin().unwrap().finish().unwrap();
        bridge.submit([], turn).unwrap();
        exchange.replace(both(128, [8, 40])).unwrap();
        let (buffer, texture) = exchange.objects();
        assert_eq!((buffer.size(), texture.width(), texture.height()), (512, 8, 40));
        let turn = exchange.begin().unwrap().finish().unwrap();
        bridge.submit([], turn).unwrap();
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// After each error, frames continue with the existing resources.
#[test]
fn what_cannot_be_leaves_the_exchange_as_it_was() {
    let _alone = alone();
    let bridge = bridge_on(Backend::Host).unwrap();
    let before = LiveObjects::now();
    let usage = wgpu::TextureUsages::COPY_SRC;
    let mut exchange =
        Exchange::new(&bridge, &info("picture"), SharedTexture::<u32>::new(R32Uint, [16, 16], usage)).unwrap();
    let dimensions = Dimensions::of(exchange.objects());
    let held = LiveObjects::now();
    for frame in 1..6 {
        let error = match frame {
            1 => exchange.resize([0, 16]).unwrap_err(),
            2 => exchange.resize([1 << 20, 16]).unwrap_err(),
            3 => exchange.replace(SharedTexture::new(wgpu::TextureFormat::Depth32Float, [16, 16], usage)).unwrap_err(),
            4 => {
                // A frame that is neither submitted nor skipped.
                let turn = exchange.begin().unwrap().finish().unwrap();
                let error = exchange.resize([32, 32]).unwrap_err();
                let open = matches!(error, Error::Bridge(bridge::Error::ReplacedWhileOpen { .. }));
                assert!(open, "{error}");
                turn.skip();
                error
            }
            _ => exchange.replace(SharedTexture::new(R32Uint, [16, 16], usage).with_mip_levels(9)).unwrap_err(),
        };
        assert!(!error.to_string().is_empty());
        assert_eq!(Dimensions::of(exchange.objects()).size, dimensions.size, "{error}");
        let mut turn = exchange.begin().unwrap();
        write(turn.work(), dimensions, frame);
        let read = Levels::to_read(&bridge, dimensions);
        let commands = encode(&bridge, |commands| read.read(commands, exchange.objects()));
        bridge.submit([commands], turn.finish().unwrap()).unwrap();
        assert_eq!(read.texels(&bridge), patterns(dimensions, frame), "behind {error}");
        assert_eq!(LiveObjects::now(), held, "behind {error}");
    }
    drop(exchange);
    assert_eq!(LiveObjects::now(), before);
    assert_eq!(validation_messages(), [""; 0]);
}

/// On a device that accepts no submissions any more, nothing is handed over, and each call returns
/// an error.
#[test]
fn a_lost_device_is_reported_by_each_call() {
    let _alone = alone();
    let before = LiveObjects::now();
    let bridge = bridge_on(Backend::Host).unwrap();
    let usage = wgpu::TextureUsages::COPY_SRC;
    let mut exchange =
        Exchange::new(&bridge, &info("picture"), SharedTexture::<u32>::new(R32Uint, [16, 16], usage)).unwrap();
    bridge.device().destroy();
    let error = exchange.resize([32, 32]).unwrap_err();
    assert!(matches!(error, Error::DeviceLost { .. } | Error::Refused { .. }), "{error}");
    for _ in 0..2 {
        let begun = exchange.begin().and_then(|turn| turn.finish()).and_then(|frame| bridge.submit([], frame));
        let error = begun.unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. } | Error::Refused { .. }), "{error}");
    }
    drop((exchange, bridge));
    assert_eq!(LiveObjects::now(), before);
    assert_eq!(validation_messages(), [""; 0]);
}

/// wgpu does not check the size that it is given for a slot's image.
#[test]
fn a_1d_texture_keeps_its_height() {
    let _alone = alone();
    for bridge in bridges() {
        let usage = wgpu::TextureUsages::COPY_SRC;
        // SAFETY: objects that frames lend are used in their commands.
        let slots = unsafe { SlotTexture::<u32>::new_1d(R32Uint, 40, usage) };
        let mut slots = Exchange::new(&bridge, &info("slots"), slots).unwrap();
        let mut stays =
            Exchange::new(&bridge, &info("stays"), SharedTexture::<u32>::new_1d(R32Uint, 40, usage)).unwrap();
        for told in [slots.resize([40, 5]), stays.resize([40, 5])] {
            let told = told.unwrap_err().to_string();
            assert!(told.contains("height of 1"), "{told}");
        }
        slots.resize([80, 1]).unwrap();
        stays.resize([80, 1]).unwrap();
    }
    assert_eq!(validation_messages(), [""; 0]);
}
