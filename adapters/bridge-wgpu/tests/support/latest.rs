//! The two sides of a latest exchange of words.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bridge_wgpu::bridge::{BufferSpec, ComputeWrite};
use bridge_wgpu::{LatestInfo, LatestWriter, SharedBuffer, Work};

pub const LEN: usize = 4096;

pub fn latest(name: &str) -> LatestInfo<'_> {
    LatestInfo { name, timeout: Duration::from_secs(60), ..Default::default() }
}

pub fn write(turn: &mut ComputeWrite<BufferSpec<u32>>, word: u32, delay: Duration) {
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

/// Publishes frames with their number in each word, until `stop` is set.
pub fn publish(mut writer: LatestWriter<SharedBuffer<u32>>, pause: Duration, stop: &AtomicBool) -> u32 {
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

/// Stops the writer when a test fails, because its thread is joined.
pub struct Stops<'a>(pub &'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
