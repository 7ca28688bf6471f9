//! Both sides at rates of their own.
#![allow(unsafe_code, clippy::unwrap_used)] // A test; slots are used in their frames' commands alone.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bridge_wgpu::bridge::{BufferSpec, ComputeWrite, LiveObjects};
use bridge_wgpu::{
    Backend, Bridge, Exchange, LatestInfo, LatestWriter, Newest, SharedBuffer, SharedTexture, SlotBuffer, Work, wgpu,
};
use support::{alone, bridges, mapped, read_buffer, staging, validation_messages};

const LEN: usize = 4096;

fn latest(name: &str) -> LatestInfo<'_> {
    LatestInfo { name, timeout: Duration::from_secs(60), ..Default::default() }
}

fn write(turn: &mut ComputeWrite<BufferSpec<u32>>, word: u32, delay: Duration) {
    match turn.work() {
        Work::Host(host) => host
            .run(move |words| {
                std::thread::sleep(delay);
                words.fill(word);
            })
            .unwrap(),
        Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(&[word; LEN], &mut cuda.resources).unwrap(),
        _ => panic!("no such compute side was asked for"),
    }
}

/// Publishes frames with their number in each word, until it is told to stop.
fn publish(mut writer: LatestWriter<SharedBuffer<u32>>, pause: Duration, stop: &AtomicBool) -> u32 {
    let mut frame = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut turn = writer.begin().unwrap();
        write(&mut turn, frame + 1, Duration::ZERO);
        turn.publish().unwrap();
        frame += 1;
        std::thread::sleep(pause);
    }
    frame
}

/// Stops the writer when a test fails: its thread is joined.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads frames as fast as it goes; the numbers of those that were seen.
fn watch(bridge: &Bridge, pause: Duration, read: Duration) -> (Vec<u32>, u32) {
    let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
    let (writer, mut reader) = Exchange::latest(bridge, &latest("numbers"), spec).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        let writing = scope.spawn(|| publish(writer, pause, &stop));
        let (start, mut seen) = (Instant::now(), Vec::new());
        while start.elapsed() < Duration::from_millis(700) {
            let turn = reader.newest().unwrap();
            let is_new = turn.as_ref().map(|turn| turn.is_new());
            let expected = turn.as_ref().map_or(0, |turn| u32::try_from(turn.frame()).unwrap() + 1);
            bridge.submit([], turn).unwrap();
            let words = read_buffer(bridge, reader.objects());
            assert_eq!(words, [expected; LEN], "new: {is_new:?}");
            seen.push(expected);
            std::thread::sleep(read);
        }
        stop.store(true, Ordering::Relaxed);
        (seen, writing.join().unwrap())
    })
}

#[test]
fn the_reader_has_the_newest_and_neither_waits() {
    let _alone = alone();
    for bridge in bridges() {
        let before = LiveObjects::now();
        for (pause, read) in [(0, 0), (0, 30), (30, 0)] {
            let (seen, written) = watch(&bridge, Duration::from_millis(pause), Duration::from_millis(read));
            assert!(seen.is_sorted(), "never back: {seen:?}");
            let last = *seen.last().unwrap();
            assert!(last > 0 && last <= written, "{last} of {written}");
            let mut distinct = seen.clone();
            distinct.dedup();
            match (pause, read) {
                (0, 30) => assert!(written as usize > 2 * distinct.len(), "a slow reader holds the writer up"),
                (30, 0) => assert!(seen.len() > 2 * distinct.len(), "a slow writer holds the reader up"),
                _ => {}
            }
        }
        assert_eq!(LiveObjects::now(), before);
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Either side stands still for a second, and the other goes on.
#[test]
fn a_pause_of_one_side_is_none_of_the_others() {
    let _alone = alone();
    for bridge in bridges() {
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let (mut writer, mut reader) = Exchange::latest(&bridge, &latest("paused"), spec).unwrap();
        let mut publish = |frame: u32| {
            let mut turn = writer.begin().unwrap();
            write(&mut turn, frame, Duration::ZERO);
            turn.publish().unwrap();
        };
        let mut newest = || {
            let turn = reader.newest().unwrap();
            let is_new = turn.as_ref().is_some_and(|turn| turn.is_new());
            bridge.submit([], turn).unwrap();
            let words = read_buffer(&bridge, reader.objects());
            assert!(words.iter().all(|word| *word == words[0]), "torn");
            (words[0], is_new)
        };
        publish(1);
        let end = Instant::now() + Duration::from_secs(60);
        while newest() != (1, true) {
            assert!(Instant::now() < end, "the first frame was never seen");
        }
        // wgpu takes nothing for a second and for a hundred frames, which is far more than there are
        // slots: were the writer to wait for it, this would not end.
        let (start, mut frame) = (Instant::now(), 1);
        while frame < 100 || start.elapsed() < Duration::from_secs(1) {
            frame += 1;
            publish(frame);
        }
        let (mut seen, is_new) = newest();
        assert!(is_new && seen > 1, "{seen} of {frame}");
        // Nothing is computed for a second: what is being written arrives, and stays.
        let (start, mut last, mut rounds) = (Instant::now(), (seen, is_new), 0);
        while last != (frame, false) || rounds < 20 || start.elapsed() < Duration::from_secs(1) {
            assert!(Instant::now() < end, "the last frame was never seen: {last:?} of {frame}");
            last = newest();
            assert!(last.0 >= seen, "never back: {last:?} after {seen}");
            (seen, rounds) = (last.0, rounds + 1);
        }
        // And both go on.
        publish(frame + 1);
        while newest().0 != frame + 1 {
            assert!(Instant::now() < end, "nothing is seen after the pauses");
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Either side is removed while the other one works, with a frame of its own under way.
#[test]
fn one_side_is_removed_while_the_other_works() {
    let _alone = alone();
    for bridge in bridges() {
        let before = LiveObjects::now();
        for reader_first in [true, false] {
            let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
            let (writer, mut reader) = Exchange::latest(&bridge, &latest("removed"), spec).unwrap();
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let _stops = Stops(&stop);
                let writing = scope.spawn(|| publish(writer, Duration::ZERO, &stop));
                let end = Instant::now() + Duration::from_secs(60);
                let mut seen = 0;
                while seen < 10 {
                    assert!(Instant::now() < end, "{seen} frames were seen");
                    let turn = reader.newest().unwrap();
                    seen += u32::from(turn.as_ref().is_some_and(|turn| turn.is_new()));
                    bridge.submit([], turn).unwrap();
                }
                let mut reader = Some(reader);
                if reader_first {
                    // Its last copy may still run, and the writer is in the middle of a frame.
                    drop(reader.take());
                }
                stop.store(true, Ordering::Relaxed);
                assert!(writing.join().unwrap() >= 10);
                if let Some(mut reader) = reader {
                    // The writer is gone: the last frame stays.
                    let turn = reader.newest().unwrap();
                    bridge.submit([], turn).unwrap();
                    let words = read_buffer(&bridge, reader.objects());
                    assert!(words[0] > 0 && words.iter().all(|word| *word == words[0]), "torn");
                }
            });
            let end = Instant::now() + Duration::from_secs(60);
            while LiveObjects::now() != before {
                assert!(Instant::now() < end, "alive: {}", LiveObjects::now());
                std::thread::yield_now();
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// The compute side of one exchange stands still, and another exchange of another compute goes on.
#[test]
fn a_stalled_exchange_stalls_no_other() {
    let _alone = alone();
    let Some(bridge) = support::bridge_on(Backend::Host) else { return };
    let Some(other) = support::bridge_on(Backend::Host) else { return };
    let spec = || SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
    let (mut stalled, mut waiting) = Exchange::latest(&bridge, &latest("stalled"), spec()).unwrap();
    let (mut writer, mut reader) = Exchange::latest(&other, &latest("running"), spec()).unwrap();
    let (gate, closed) = mpsc::channel::<()>();
    let mut turn = stalled.begin().unwrap();
    let Work::Host(host) = turn.work() else { panic!("the CPU was asked for") };
    host.run(move |words| {
        // Until the gate is dropped.
        let _ = closed.recv();
        words.fill(9);
    })
    .unwrap();
    turn.publish().unwrap();
    for frame in 1..=20 {
        let mut turn = writer.begin().unwrap();
        write(&mut turn, frame, Duration::ZERO);
        turn.publish().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let turn = reader.newest().unwrap();
            other.submit([], turn).unwrap();
            // wgpu's frames go on beside the stalled one, which has nothing to show.
            let nothing = waiting.newest().unwrap();
            assert!(nothing.is_none());
            bridge.submit([], nothing).unwrap();
            let staging = staging(&bridge, 16);
            let mut commands = bridge.device().create_command_encoder(&Default::default());
            commands.clear_buffer(&staging, 0, None);
            bridge.queue().submit([commands.finish()]);
            if read_buffer(&other, reader.objects()) == [frame; LEN] {
                break;
            }
            assert!(Instant::now() < end, "frame {frame} was never seen");
        }
    }
    drop(gate);
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let turn = waiting.newest().unwrap();
        let came = turn.is_some();
        bridge.submit([], turn).unwrap();
        if came {
            break;
        }
        assert!(Instant::now() < end, "the stalled frame never came");
    }
    assert_eq!(read_buffer(&bridge, waiting.objects()), [9; LEN]);
    assert_eq!(validation_messages(), [""; 0]);
}

/// A writer that stops, and one that is slow, leave the last frame where it is.
#[test]
fn the_same_frame_again_costs_no_copy() {
    let _alone = alone();
    for bridge in bridges() {
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST);
        let info = LatestInfo { newest: Newest::Issued, ..latest("numbers") };
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
            // What a copy would overwrite.
            let bytes: Vec<u8> = [70 + round; LEN].iter().flat_map(|word| word.to_ne_bytes()).collect();
            bridge.queue().write_buffer(reader.objects(), 0, &bytes);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn a_refused_submission_gives_the_frame_back() {
    let _alone = alone();
    for bridge in bridges() {
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let info = LatestInfo { newest: Newest::Issued, ..latest("numbers") };
        let (mut writer, mut reader) = Exchange::latest(&bridge, &info, spec).unwrap();
        for frame in 1..6 {
            let mut turn = writer.begin().unwrap();
            write(&mut turn, frame, Duration::ZERO);
            turn.publish().unwrap();
            let destroyed = staging(&bridge, 16);
            let mut commands = bridge.device().create_command_encoder(&Default::default());
            commands.clear_buffer(&destroyed, 0, None);
            destroyed.destroy();
            bridge.submit([commands.finish()], reader.newest().unwrap()).unwrap_err();
            let turn = reader.newest().unwrap().unwrap();
            assert!(turn.is_new(), "it was not read");
            bridge.submit([], turn).unwrap();
            assert_eq!(read_buffer(&bridge, reader.objects()), [frame; LEN]);
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// wgpu writes textures, the compute side reads the newest.
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

/// In the slots, without a copy: the same frame again is the same slot, and stays wgpu's.
#[test]
fn the_newest_is_read_in_its_slot() {
    let _alone = alone();
    for bridge in bridges() {
        // SAFETY: what frames lend is used in the commands of these frames.
        let spec = unsafe { SlotBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC) };
        let info = LatestInfo { newest: Newest::Issued, ..latest("slots") };
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
