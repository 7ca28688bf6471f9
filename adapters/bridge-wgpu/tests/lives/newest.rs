//! Exchanges whose two sides run at independent rates.
#![allow(unsafe_code, clippy::unwrap_used)] // A test; slots are used in their frames' commands alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::gate::Gate;
use crate::support::latest::{LEN, Stops, latest, publish, write};
use crate::support::{alone, bridges, mapped, read_buffer, staging, validation_messages, ways};
use bridge_wgpu::bridge::LiveObjects;
use bridge_wgpu::{
    Bridge, Error, Exchange, LatestInfo, LatestReader, LatestWriter, Newest, SharedBuffer, SharedTexture, SlotBuffer,
    Work, wgpu,
};

/// Longer than any wait here takes.
const LIMIT: Duration = Duration::from_secs(60);

type Numbers = SharedBuffer<u32>;

/// Returns both handles of an exchange of words.
fn numbers(bridge: &Bridge) -> (LatestWriter<Numbers>, LatestReader<Numbers>) {
    let spec = Numbers::new(LEN, wgpu::BufferUsages::COPY_SRC);
    Exchange::latest(bridge, &latest("numbers"), spec).unwrap()
}

/// Publishes a frame with this number, and waits until it is finished.
fn publish_finished(writer: &mut LatestWriter<Numbers>, frame: u32) {
    let mut turn = writer.begin().unwrap();
    write(&mut turn, frame, Duration::ZERO);
    turn.publish().unwrap().wait(LIMIT).unwrap();
}

/// The reader always gets the newest frame while both sides run at full speed.
#[test]
fn the_reader_has_the_newest() {
    let _alone = alone();
    for bridge in bridges() {
        let before = LiveObjects::now();
        let (writer, mut reader) = numbers(&bridge);
        let stop = AtomicBool::new(false);
        let (seen, written) = std::thread::scope(|scope| {
            let _stops = Stops(&stop);
            let writing = scope.spawn(|| publish(writer, Duration::ZERO, &stop));
            let (end, mut seen) = (Instant::now() + LIMIT, Vec::new());
            while seen.last().is_none_or(|last| *last < 20) || seen.len() < 50 {
                assert!(Instant::now() < end, "nothing new is seen: {seen:?}");
                let turn = reader.newest().unwrap();
                let is_new = turn.as_ref().map(|turn| turn.is_new());
                let expected = turn.as_ref().map_or(0, |turn| u32::try_from(turn.frame()).unwrap() + 1);
                bridge.submit([], turn).unwrap();
                let words = read_buffer(&bridge, reader.objects());
                assert_eq!(words, [expected; LEN], "new: {is_new:?}");
                seen.push(expected);
            }
            stop.store(true, Ordering::Relaxed);
            (seen, writing.join().unwrap())
        });
        assert!(seen.is_sorted(), "never back: {seen:?}");
        assert!(seen.last().is_some_and(|last| *last <= written), "{seen:?} of {written}");
        drop(reader);
        assert_eq!(LiveObjects::now(), before);
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// While the reader has a frame open, the writer makes twice as many frames as there are slots. The
/// next frame that is read is the last of them.
#[test]
fn a_slow_reader_delays_no_writer() {
    let _alone = alone();
    for bridge in bridges() {
        let (mut writer, mut reader) = numbers(&bridge);
        let info = latest("numbers");
        let frames = 2 * u32::try_from(info.writer_in_flight + info.reader_in_flight + 2).unwrap();
        let ((ask, asked), (done, is_done)) = (mpsc::channel(), mpsc::channel());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for (first, count) in asked {
                    (first..first + count).for_each(|frame| publish_finished(&mut writer, frame));
                    done.send(()).unwrap();
                }
            });
            // Moved here, so that a panic ends the thread.
            let ask = ask;
            let publish = |first, count| {
                ask.send((first, count)).unwrap();
                is_done.recv_timeout(LIMIT).expect("the writer waits for the reader");
            };
            publish(1, 1);
            let mut shown = 1;
            for _ in 0..3 {
                let open = reader.newest().unwrap().unwrap();
                assert!(open.is_new() && open.frame() == u64::from(shown - 1));
                publish(shown + 1, frames);
                bridge.submit([], open).unwrap();
                assert_eq!(read_buffer(&bridge, reader.objects()), [shown; LEN], "it was open");
                shown += frames;
            }
        });
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// While the writer computes a frame, the reader keeps getting the previous one.
#[test]
fn a_slow_writer_delays_no_reader() {
    let _alone = alone();
    for bridge in bridges() {
        let (mut writer, mut reader) = numbers(&bridge);
        publish_finished(&mut writer, 1);
        for frame in 2..5 {
            let mut newest = |is_new| {
                let turn = reader.newest().unwrap().unwrap();
                assert_eq!(turn.is_new(), is_new);
                bridge.submit([], turn).unwrap();
            };
            newest(true);
            let mut turn = writer.begin().unwrap();
            // In this order, because a copy from host memory may wait for the gate.
            write(&mut turn, frame, Duration::ZERO);
            let gate = Gate::hold(turn.work());
            let computed = turn.publish().unwrap();
            (0..10).for_each(|_| newest(false));
            assert!(!computed.is_reached().unwrap(), "the gate holds nothing");
            gate.open();
            computed.wait(LIMIT).unwrap();
            assert_eq!(read_buffer(&bridge, reader.objects()), [frame - 1; LEN]);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// If the writer stops or is slow, the last frame stays in place without further copies.
#[test]
fn the_same_frame_again_costs_no_copy() {
    let _alone = alone();
    for bridge in bridges() {
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST);
        let info = LatestInfo { newest: Newest::Published, ..latest("numbers") };
        let (mut writer, mut reader) = Exchange::latest(&bridge, &info, spec).unwrap();
        assert!(reader.newest().unwrap().is_none());
        let mut turn = writer.begin().unwrap();
        write(&mut turn, 7, Duration::from_millis(20));
        turn.publish().unwrap();
        drop(writer);
        for round in 0..4 {
            let turn = reader.newest().unwrap();
            assert_eq!(turn.as_ref().map(|turn| turn.is_new()), Some(round == 0));
            bridge.submit([], turn).unwrap();
            let words = read_buffer(&bridge, reader.objects());
            assert_eq!(words, [if round == 0 { 7 } else { 70 + round - 1 }; LEN]);
            // Contents that a copy would overwrite.
            let bytes: Vec<u8> = [70 + round; LEN].iter().flat_map(|word| word.to_ne_bytes()).collect();
            bridge.queue().write_buffer(reader.objects(), 0, &bytes);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn a_refused_submission_gives_the_frame_back() {
    let _alone = alone();
    for bridge in ways() {
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let info = LatestInfo { newest: Newest::Published, ..latest("numbers") };
        let (mut writer, mut reader) = Exchange::latest(&bridge, &info, spec).unwrap();
        for frame in 1..6 {
            let mut turn = writer.begin().unwrap();
            write(&mut turn, frame, Duration::ZERO);
            turn.publish().unwrap();
            bridge.submit([refused(&bridge)], reader.newest().unwrap()).unwrap_err();
            let turn = reader.newest().unwrap().unwrap();
            assert!(turn.is_new(), "it was not read");
            bridge.submit([], turn).unwrap();
            assert_eq!(read_buffer(&bridge, reader.objects()), [frame; LEN]);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Records commands that wgpu refuses.
fn refused(bridge: &Bridge) -> wgpu::CommandBuffer {
    let destroyed = staging(bridge, 16);
    let mut commands = bridge.device().create_command_encoder(&Default::default());
    commands.clear_buffer(&destroyed, 0, None);
    destroyed.destroy();
    commands.finish()
}

/// A submission with the same frame again waits for nothing, but its failure is still reported.
#[test]
fn a_refused_submission_of_the_same_frame_costs_nothing() {
    let _alone = alone();
    for bridge in ways() {
        let before = LiveObjects::now();
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let info = LatestInfo { newest: Newest::Published, ..latest("again") };
        let (mut writer, mut reader) = Exchange::latest(&bridge, &info, spec).unwrap();
        let mut turn = writer.begin().unwrap();
        write(&mut turn, 7, Duration::ZERO);
        turn.publish().unwrap();
        let turn = reader.newest().unwrap();
        bridge.submit([], turn).unwrap();
        for _ in 0..4 {
            let turn = reader.newest().unwrap().unwrap();
            assert!(!turn.is_new());
            bridge.submit([refused(&bridge)], turn).unwrap_err();
            assert_eq!(reader.retired(), 0, "it counts as one that may have been submitted");
            let turn = reader.newest().unwrap().unwrap();
            assert!(!turn.is_new());
            bridge.submit([], turn).unwrap();
            assert_eq!(read_buffer(&bridge, reader.objects()), [7; LEN]);
        }
        let turn = reader.newest().unwrap().unwrap();
        bridge.device().destroy();
        let error = bridge.submit([], turn).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
        assert_eq!(reader.retired(), 0, "it counts as one that may have been submitted");
        drop((reader, writer));
        assert_eq!(LiveObjects::now(), before);
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// wgpu writes textures, and the compute side reads the newest one.
#[test]
fn the_compute_side_has_wgpus_newest() {
    let _alone = alone();
    for bridge in bridges() {
        let usage = wgpu::TextureUsages::COPY_DST;
        let spec = SharedTexture::<[u8; 4]>::new(wgpu::TextureFormat::Rgba8Unorm, [64, 8], usage);
        let (mut writer, mut reader) = Exchange::latest_render_first(&bridge, &latest("scene"), spec).unwrap();
        assert!(reader.newest().unwrap().is_none());
        for frame in 0..20u8 {
            let texture = writer.objects();
            let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(256), rows_per_image: None };
            bridge.queue().write_texture(texture.as_image_copy(), &[frame; 2048], layout, texture.size());
            let turn = writer.begin().unwrap();
            bridge.submit([], turn).unwrap().wait(Duration::from_secs(60)).unwrap();
            if frame % 3 == 0 {
                let mut turn = reader.newest().unwrap().unwrap();
                assert!(turn.is_new() && turn.frame() == u64::from(frame));
                let seen: Vec<[u8; 4]> = match turn.work() {
                    Work::Host(host) => {
                        let (sender, receiver) = mpsc::channel();
                        host.run(move |image| sender.send(image.rows().flatten().copied().collect()).unwrap()).unwrap();
                        receiver.recv_timeout(Duration::from_secs(60)).unwrap()
                    }
                    Work::Cuda(cuda) => {
                        let mut texels = vec![[0; 4]; 512];
                        cuda.resources.read_to_host(cuda.stream, 0, .., &mut texels).unwrap();
                        texels
                    }
                    _ => panic!("no such compute side was asked for"),
                };
                turn.finish().unwrap();
                assert_eq!(seen, [[frame; 4]; 512]);
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Without a copy, the same frame again is in the same slot, which stays with wgpu.
#[test]
fn the_newest_is_read_in_its_slot() {
    let _alone = alone();
    for bridge in bridges() {
        // SAFETY: the lent buffers are only used in the commands of their frames.
        let spec = unsafe { SlotBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC) };
        let info = LatestInfo { newest: Newest::Published, ..latest("slots") };
        let (mut writer, mut reader) = Exchange::latest(&bridge, &info, spec).unwrap();
        for frame in 1..12 {
            let mut turn = writer.begin().unwrap();
            write(&mut turn, frame, Duration::ZERO);
            turn.publish().unwrap();
            for round in 0..frame % 3 {
                let turn = reader.newest().unwrap().unwrap();
                assert_eq!(turn.is_new(), round == 0);
                let seen = staging(&bridge, 4 * LEN as u64);
                let mut commands = bridge.device().create_command_encoder(&Default::default());
                commands.copy_buffer_to_buffer(turn.objects().unwrap(), 0, &seen, 0, None);
                bridge.submit([commands.finish()], turn).unwrap();
                assert_eq!(mapped(&bridge, &seen), [frame; LEN]);
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}
