//! A renderer with workers that compute with CUDA.

use std::time::{Duration, Instant};

use bridge::{Backend, Error};
use bridge_tests::{Rig, compute};
use rustix::process::Signal;

use crate::bounds;
use crate::cuda_worker::{Behavior, next, start};
use crate::scene::{Reader, Scene};
use crate::worker::Process;

/// A renderer, and the frames that it received from workers with CUDA.
pub(crate) struct Shown {
    pub(crate) scene: Scene,
    pub(crate) last: Option<(u64, u32)>,
    /// Descriptions of wrong frames.
    pub(crate) wrong: Vec<String>,
    /// The number of different frames that were read.
    pub(crate) seen: u32,
}

impl Shown {
    /// Returns `None` and skips the test if CUDA and Vulkan share no GPU.
    pub(crate) fn new() -> Option<Self> {
        let scene = Scene::new();
        compute(scene.rig.device(), Backend::Cuda)?;
        Some(Self::of(scene))
    }

    /// For a test that has checked for CUDA: the check starts CUDA.
    pub(crate) fn of(scene: Scene) -> Self {
        Self { scene, last: None, wrong: Vec::new(), seen: 0 }
    }

    pub(crate) fn with(&self, behavior: Behavior, mark: u32) -> (Process, Reader) {
        let worker = start(&self.scene.path(), behavior, mark);
        let reader = self.scene.accept().latest(&Scene::info(), Scene::spec()).unwrap();
        assert_eq!(reader.compute().backend(), Backend::Remote);
        assert!(reader.compute().cuda().is_none(), "this process computes with CUDA");
        (worker, reader)
    }

    /// Returns the first word of the newest frame. Records frames that are torn, older than before,
    /// or different from the published frame.
    pub(crate) fn read(&mut self, reader: &mut Reader) -> Option<u32> {
        let start = Instant::now();
        let turn = reader.newest().unwrap()?;
        let (frame, slot) = (turn.frame(), turn.slot());
        let words = turn.read_back(Rig::LONG).unwrap();
        bounds::check_frame(start.elapsed());
        let first = words[0];
        let torn = words.iter().zip(0u32..).find(|(word, i)| **word != first.wrapping_add(*i));
        if let Some((word, i)) = torn {
            self.wrong.push(format!(
                "frame {frame} in slot {slot} is torn: it begins with {first:#x}, and word {i} is {word:#x}"
            ));
        }
        match self.last {
            Some((last, before)) if frame == last && first != before => {
                self.wrong.push(format!("frame {frame} in slot {slot} was {before:#x} and is {first:#x}"));
            }
            Some((last, before)) if frame < last || frame > last && first <= before => {
                self.wrong.push(format!(
                    "frame {frame} in slot {slot} is stale: {first:#x} after {before:#x} of frame {last}"
                ));
            }
            _ => {}
        }
        self.seen += u32::from(self.last.is_none_or(|(last, _)| frame > last));
        self.last = Some((frame, first));
        Some(first)
    }

    pub(crate) fn read_until(&mut self, reader: &mut Reader, first: u32) -> u32 {
        let begun = Instant::now();
        loop {
            match self.read(reader) {
                Some(read) if read >= first => return read,
                _ => std::thread::yield_now(),
            }
            if let Err(error) = reader.check_worker() {
                panic!("{first:#x} does not come; last: {:x?}; {error}", self.last);
            }
            assert!(begun.elapsed() < Rig::LONG, "{first:#x} does not come; last: {:x?}", self.last);
        }
    }

    pub(crate) fn assert_right(&self) {
        assert!(self.wrong.is_empty(), "{} of {} frames are wrong: {:#?}", self.wrong.len(), self.seen, self.wrong);
    }

    /// Waits until the worker is reported to be dead. Returns the error, the time from now until it
    /// was reported to be lost, and the time until it was reported to be dead.
    pub(crate) fn lost(&mut self, reader: &mut Reader) -> (Error, Duration, Duration) {
        let start = Instant::now();
        let mut lost = None;
        loop {
            if let Err(error) = reader.check_worker() {
                let lost = *lost.get_or_insert(start.elapsed());
                if matches!(error, Error::PeerLost { dead: true, .. }) {
                    return (error, lost, start.elapsed());
                }
            }
            self.read(reader);
            assert!(start.elapsed() < Rig::LONG, "the worker's end is not reported; lost after {lost:?}");
        }
    }
}

impl Shown {
    /// Ends a worker's process; returns the time until it was reported to be lost, the time until
    /// it was reported to be dead, and the time from the start of the next worker's process to its
    /// first frame.
    pub(crate) fn end_worker(&mut self, behavior: Behavior, signal: Signal) -> [Duration; 3] {
        self.last = None;
        let (mut worker, mut reader) = self.with(behavior, 1);
        worker.wait_for_state();
        self.read_until(&mut reader, (1 << 20) + 4);
        worker.signal(signal);
        if signal == Signal::STOP {
            // A stopped process is not dead.
            std::thread::sleep(Duration::from_millis(30));
            self.read(&mut reader);
            reader.check_worker().unwrap();
        }
        worker.kill();
        let (_, lost, dead) = self.lost(&mut reader);
        let begun = Instant::now();
        let _next = next(&self.scene.path(), 2);
        let remote = self.scene.accept();
        let accepted = Instant::now();
        reader.reconnect(remote).unwrap();
        bounds::check_frame(accepted.elapsed());
        self.read_until(&mut reader, 2 << 20);
        bounds::check_next_frame(bridge_worker::bridge_ipc::Backend::Cuda, begun, accepted);
        let next = begun.elapsed();
        reader.close().unwrap();
        [lost, dead, next]
    }
}
