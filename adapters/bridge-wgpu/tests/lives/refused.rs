//! The contents of the objects that a frame fills, after wgpu has refused the submission.
#![allow(clippy::unwrap_used)] // A test.

use bridge_wgpu::bridge::ImageSpec;
use bridge_wgpu::{Bridge, Error, Exchange, Frame, LatestInfo, Newest, SharedBuffer, SharedTexture, Work, wgpu};

use crate::support::{Filler, alone, bridges, info, mapped, read_buffer, staging, validation_messages, ways};

const LEN: usize = 512;

type Numbers = SharedBuffer<u32>;
type Picture = SharedTexture<u32>;

fn numbers() -> Numbers {
    SharedBuffer::new(LEN, wgpu::BufferUsages::COPY_SRC)
}

fn picture() -> Picture {
    SharedTexture::new(wgpu::TextureFormat::R32Uint, [64, 8], wgpu::TextureUsages::COPY_SRC).with_mip_levels(2)
}

/// Records a command buffer that wgpu refuses, because it uses a destroyed buffer.
fn refused(bridge: &Bridge) -> wgpu::CommandBuffer {
    let buffer = staging(bridge, 16);
    let mut commands = bridge.device().create_command_encoder(&Default::default());
    commands.clear_buffer(&buffer, 0, None);
    buffer.destroy();
    commands.finish()
}

fn fill(work: Work<'_, ImageSpec<u32>>, word: u32) {
    match work {
        Work::Host(host) => host
            .run(move |mut image| {
                for level in 0..2 {
                    image.plane_mut(level, 0).unwrap().rows_mut(0).for_each(|row| row.fill(word));
                }
            })
            .unwrap(),
        Work::Cuda(mut cuda) => {
            cuda.resources.write_from_host(cuda.stream, 0, .., &[word; LEN]).unwrap();
            cuda.resources.write_from_host(cuda.stream, 1, .., &[word; LEN / 4]).unwrap();
        }
        _ => panic!("no such compute side was asked for"),
    }
}

/// Returns a frame of each exchange to submit.
fn frame(
    (buffers, textures): (&mut Exchange<Numbers>, &mut Exchange<Picture>),
    filler: &Filler,
    word: u32,
) -> (Frame<Numbers>, Frame<Picture>) {
    let (mut numbers, mut picture) = (buffers.begin().unwrap(), textures.begin().unwrap());
    filler.fill(&mut numbers, word, std::time::Duration::ZERO);
    fill(picture.work(), word);
    (numbers.finish().unwrap(), picture.finish().unwrap())
}

/// Reads the first level.
pub(crate) fn read_texture(bridge: &Bridge, texture: &wgpu::Texture) -> Vec<u32> {
    let seen = staging(bridge, 4 * LEN as u64);
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(256), rows_per_image: None };
    let mut commands = bridge.device().create_command_encoder(&Default::default());
    let to = wgpu::TexelCopyBufferInfo { buffer: &seen, layout };
    commands.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
    bridge.queue().submit([commands.finish()]);
    mapped(bridge, &seen)
}

/// Checks that frames of both exchanges that are not refused arrive in the objects.
fn arrives(
    bridge: &Bridge,
    (buffers, textures): (&mut Exchange<Numbers>, &mut Exchange<Picture>),
    filler: &Filler,
    word: u32,
) {
    let frames = frame((&mut *buffers, &mut *textures), filler, word);
    bridge.submit([], frames).unwrap();
    assert_eq!(read_buffer(bridge, buffers.objects()), Filler::pattern(LEN, word));
    assert_eq!(read_texture(bridge, textures.objects()), [word; LEN]);
}

fn lose(bridge: &Bridge, frames: (Frame<Numbers>, Frame<Picture>)) {
    let error = bridge.submit([refused(bridge)], frames).unwrap_err();
    assert!(matches!(error, Error::Refused { call: "Queue::submit", .. }), "{error}");
}

/// If the first frame is refused, the objects contain zeros, not the previous contents of their
/// memory.
#[test]
fn objects_hold_zeros_where_the_first_frame_is_refused() {
    let _alone = alone();
    for bridge in ways() {
        let filler = Filler::new(&bridge);
        for _ in 0..4 {
            // Fills memory that new allocations may reuse.
            let usage = wgpu::BufferUsages::COPY_DST;
            let descriptor =
                wgpu::BufferDescriptor { label: None, size: 4 * LEN as u64, usage, mapped_at_creation: false };
            let used: Vec<_> = (0..64).map(|_| bridge.device().create_buffer(&descriptor)).collect();
            used.iter().for_each(|buffer| bridge.queue().write_buffer(buffer, 0, &[7; 4 * LEN]));
            bridge.queue().submit([]);
            bridge.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
            drop(used);
            let mut buffers = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
            let mut textures = Exchange::new(&bridge, &info("picture"), picture()).unwrap();
            lose(&bridge, frame((&mut buffers, &mut textures), &filler, 1));
            assert_eq!(read_buffer(&bridge, buffers.objects()), [0; LEN]);
            assert_eq!(read_texture(&bridge, textures.objects()), [0; LEN]);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn frames_go_on_behind_those_that_are_refused() {
    let _alone = alone();
    for bridge in ways() {
        let filler = Filler::new(&bridge);
        let mut buffers = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let mut textures = Exchange::new(&bridge, &info("picture"), picture()).unwrap();
        for round in 0..10 {
            let both = (&mut buffers, &mut textures);
            lose(&bridge, frame(both, &filler, 1000 + round));
            if round > 0 {
                // The buffer keeps its contents.
                assert_eq!(read_buffer(&bridge, buffers.objects()), Filler::pattern(LEN, 10 * (round - 1) + 2));
            }
            for next in 0..3 {
                let word = 10 * round + next;
                arrives(&bridge, (&mut buffers, &mut textures), &filler, word);
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// A refused frame of a latest exchange is returned to the exchange, and arrives once it is
/// submitted.
#[test]
fn a_refused_texture_of_a_latest_exchange_is_given_back() {
    let _alone = alone();
    for bridge in ways() {
        let info = LatestInfo { newest: Newest::Published, ..crate::support::latest::latest("picture") };
        let (mut writer, mut reader) = Exchange::latest(&bridge, &info, picture()).unwrap();
        for word in 1..6 {
            let mut turn = writer.begin().unwrap();
            fill(turn.work(), word);
            turn.publish().unwrap();
            let turn = reader.newest().unwrap();
            bridge.submit([refused(&bridge)], turn).unwrap_err();
            assert_eq!(read_texture(&bridge, reader.objects()), [0; LEN]);
            for is_new in [true, false] {
                let turn = reader.newest().unwrap().unwrap();
                assert_eq!(turn.is_new(), is_new);
                bridge.submit([], turn).unwrap();
                assert_eq!(read_texture(&bridge, reader.objects()), [word; LEN]);
            }
            // The same frame again fills nothing, so nothing is repaired.
            let turn = reader.newest().unwrap();
            bridge.submit([refused(&bridge)], turn).unwrap_err();
            assert_eq!(read_texture(&bridge, reader.objects()), [word; LEN]);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// A program may destroy the objects that frames fill.
#[test]
fn frames_of_objects_that_were_destroyed_are_refused() {
    let _alone = alone();
    for bridge in ways() {
        let filler = Filler::new(&bridge);
        let mut buffers = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let mut textures = Exchange::new(&bridge, &info("picture"), picture()).unwrap();
        let frames = frame((&mut buffers, &mut textures), &filler, 1);
        bridge.submit([], frames).unwrap();
        let of_texture = textures.objects().clone();
        buffers.objects().destroy();
        for destroy in [false, true] {
            let frames = frame((&mut buffers, &mut textures), &filler, 2);
            if destroy {
                of_texture.destroy();
            }
            let error = bridge.submit([], frames).unwrap_err();
            assert!(matches!(error, Error::Refused { .. }) && error.to_string().contains("destroyed"), "{error}");
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// wgpu also runs the deferred actions of a refused command buffer, and submits pending writes for
/// them, in a submission that is not that of the frames.
#[test]
fn frames_do_not_go_with_what_refused_commands_had_deferred() {
    let _alone = alone();
    for bridge in bridges() {
        let filler = Filler::new(&bridge);
        let (to_write, to_map) = (staging(&bridge, 16), staging(&bridge, 16));
        // Refused commands after pending writes, with a callback or a mapping.
        let refused = |maps: bool| {
            let destroyed = staging(&bridge, 16);
            let mut commands = bridge.device().create_command_encoder(&Default::default());
            commands.clear_buffer(&destroyed, 0, None);
            destroyed.destroy();
            bridge.queue().write_buffer(&to_write, 0, &[1; 16]);
            bridge.queue().write_buffer(&to_map, 0, &[1; 16]);
            match maps {
                true => commands.map_buffer_on_submit(&to_map, wgpu::MapMode::Read, .., |_| ()),
                false => commands.on_submitted_work_done(|| ()),
            }
            commands.finish()
        };
        let mut buffers = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let mut textures = Exchange::new(&bridge, &info("picture"), picture()).unwrap();
        let info = LatestInfo { newest: Newest::Published, ..crate::support::latest::latest("numbers") };
        let (mut writer, mut reader) = Exchange::latest(&bridge, &info, picture()).unwrap();
        for (round, maps) in [false, true, false, true].into_iter().enumerate() {
            let word = 10 + round as u32;
            let frames = frame((&mut buffers, &mut textures), &filler, word);
            let error = bridge.submit([refused(maps)], frames).unwrap_err();
            assert!(matches!(error, Error::Refused { call: "Queue::submit", .. }), "{error}");
            if maps {
                to_map.unmap();
            }
            // The frames were skipped, and wgpu's tracking is repaired.
            assert_eq!(read_texture(&bridge, textures.objects()), [0; LEN]);
            let mut turn = writer.begin().unwrap();
            fill(turn.work(), word);
            turn.publish().unwrap();
            let turn = reader.newest().unwrap();
            bridge.submit([refused(maps)], turn).unwrap_err();
            if maps {
                to_map.unmap();
            }
            assert_eq!(reader.retired(), 0, "it counts as one that may have been submitted");
            let turn = reader.newest().unwrap().unwrap();
            assert!(turn.is_new());
            bridge.submit([], turn).unwrap();
            assert_eq!(read_texture(&bridge, reader.objects()), [word; LEN]);
            // The same frame again, which needs no copy.
            let turn = reader.newest().unwrap().unwrap();
            assert!(!turn.is_new());
            let error = bridge.submit([refused(maps)], turn).unwrap_err();
            assert!(matches!(error, Error::Refused { call: "Queue::submit", .. }), "{error}");
            if maps {
                to_map.unmap();
            }
            assert_eq!(reader.retired(), 0, "it counts as one that may have been submitted");
            arrives(&bridge, (&mut buffers, &mut textures), &filler, word);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// wgpu's tracked state of the picture is the one after the commands before the one at fault, or
/// the actual one if the fault came first.
#[test]
fn textures_are_repaired_from_whatever_wgpu_has_noted() {
    let _alone = alone();
    for bridge in bridges() {
        let both = || (SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::MAP_READ), picture());
        let mut exchange = Exchange::new(&bridge, &info("both"), both()).unwrap();
        let mut frame = |word| {
            let mut turn = exchange.begin().unwrap();
            match turn.work() {
                Work::Host(host) => host
                    .run(move |(numbers, mut picture)| {
                        numbers.fill(word);
                        for level in 0..2 {
                            picture.plane_mut(level, 0).unwrap().rows_mut(0).for_each(|row| row.fill(word));
                        }
                    })
                    .unwrap(),
                Work::Cuda(mut cuda) => {
                    cuda.resources.1.write_from_host(cuda.stream, 0, .., &[word; LEN]).unwrap();
                    cuda.resources.1.write_from_host(cuda.stream, 1, .., &[word; LEN / 4]).unwrap();
                }
                _ => panic!("no such compute side was asked for"),
            }
            (turn.finish().unwrap(), exchange.objects().0.clone(), exchange.objects().1.clone())
        };
        for round in 0..4 {
            let (lost, numbers, texture) = frame(100 + round);
            // The first commands leave the picture as a copy source, and the second are refused.
            let seen = staging(&bridge, 4 * LEN as u64);
            let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(256), rows_per_image: None };
            let mut reads = bridge.device().create_command_encoder(&Default::default());
            let to = wgpu::TexelCopyBufferInfo { buffer: &seen, layout };
            reads.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
            let error = bridge.submit([reads.finish(), refused(&bridge)], lost).unwrap_err();
            assert!(matches!(error, Error::Refused { call: "Queue::submit", .. }), "{error}");
            assert_eq!(read_texture(&bridge, &texture), [0; LEN]);
            let (kept, ..) = frame(round);
            bridge.submit([], kept).unwrap();
            assert_eq!(read_texture(&bridge, &texture), [round; LEN]);
            // wgpu refuses the copy itself.
            let (lost, ..) = frame(200 + round);
            map(&bridge, &numbers);
            let error = bridge.submit([], lost).unwrap_err();
            assert!(matches!(error, Error::Refused { call: "Queue::submit", .. }), "{error}");
            numbers.unmap();
            assert_eq!(read_texture(&bridge, &texture), [0; LEN]);
            let (kept, ..) = frame(10 + round);
            bridge.submit([], kept).unwrap();
            assert_eq!(read_texture(&bridge, &texture), [10 + round; LEN]);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

fn map(bridge: &Bridge, buffer: &wgpu::Buffer) {
    buffer.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    bridge.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
}
