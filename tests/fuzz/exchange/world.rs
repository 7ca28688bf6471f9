//! The state of a case: compute sides, pools, and the exchanges on them.
#![allow(unsafe_code, clippy::unwrap_used)] // A failure here fails the case.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bridge::{
    Backend, BufferAccess, BufferSpec, ComputeFirst, ExportDevice, ImageSpec, LiveObjects, RenderFirst, SharedBuffer,
    SharedPool, SharedPoolInfo,
};
use bridge_fuzz::Counts;
use bridge_tests::Rig;

use crate::common::{Common, Kept, Side, settle};
use crate::direction_ext::DirectionExt;
use crate::op::{Op, Open, PoolOp, RingOp};
use crate::planted::Planted;
use crate::ring::{AnyRing, Ring};
use crate::shape::Shape;

type Words = BufferSpec<u32>;
type Texels = ImageSpec<u32>;

/// Maximum number of open exchanges, so that operations concentrate on few of them.
pub(crate) const MOST_RINGS: usize = 4;

pub(crate) struct World {
    pub(crate) common: Common,
    pub(crate) backend: Backend,
    images: bool,
    pub(crate) side: Side,
    pool: Option<SharedPool>,
    buffers: Vec<(SharedBuffer<u32>, u32)>,
    pub(crate) rings: Vec<Box<dyn AnyRing>>,
    pub(crate) kept: Kept,
}

pub(crate) fn has_images(device: &ExportDevice, backend: Backend) -> bool {
    let open = Open { shape: 0, vulkan_first: false, slots: 1, pooled: false, in_flight: None, short: false };
    Ring::<Texels, ComputeFirst>::open(&Common::new(device), &Side::new(device, backend), &open, None).is_ok()
}

pub(crate) fn run(device: &ExportDevice, backend: Backend, images: bool, ops: &[Op]) -> Counts {
    let (before, said) = (LiveObjects::now(), device.validation_messages().len());
    let common = Common::new(device);
    let mut world = World {
        common: common.clone(),
        backend,
        images,
        side: Side::new(device, backend),
        pool: None,
        buffers: Vec::new(),
        rings: Vec::new(),
        kept: Kept::default(),
    };
    common.count(if backend == Backend::Inline { "cases on inline" } else { "cases on host" });
    for op in ops {
        world.step(*op);
        common.assert_no_faults();
        common.count("operations");
    }
    let kept = world.end();
    settle(&format!("{kept:?} beyond {before}"), |now| kept.is_all(&before, now));
    common.assert_no_faults();
    common.checks.verify(&common);
    let messages = device.validation_messages().split_off(said);
    assert!(messages.is_empty(), "the validation layer said: {messages:#?}");
    common.counts.lock().unwrap().clone()
}

impl World {
    fn step(&mut self, op: Op) {
        match op {
            Op::Open(open) => self.open(&open),
            Op::On(ring, op) => self.on(ring, |ring| ring.step(op)),
            Op::OnThread(ring, op) => self.on(ring, |ring| {
                std::thread::scope(|scope| scope.spawn(|| ring.step(op)).join()).unwrap_or_else(again);
            }),
            Op::Both(a, x, b, y) => self.both(a, x, b, y),
            Op::Pair(pair) => self.pair(&pair),
            Op::EndInside(what, place) => self.end_inside(what, place),
            Op::Fail(ring) => self.fail(ring),
            Op::Revive => {
                if self.side.has_failed() {
                    // Pools belong to one compute side.
                    self.buffers.clear();
                    self.pool = None;
                    self.side = Side::new(&self.common.device, self.backend);
                    self.common.count("new compute sides");
                }
            }
            Op::Pool(op) => self.pool(op),
        }
    }

    fn open(&mut self, open: &Open) {
        let failed = &self.side.failed;
        let done = self.rings.iter().position(|ring| ring.is_done() || !ring.is_on(failed));
        if let Some(done) = done {
            self.kept.add(&self.rings.swap_remove(done).end());
        }
        if self.rings.len() >= MOST_RINGS {
            return;
        }
        let ring = match (open.shape % 5, open.vulkan_first) {
            (0, false) => self.ring::<Words, ComputeFirst>(open),
            (0, true) => self.ring::<Words, RenderFirst>(open),
            (1, false) if self.images => self.ring::<Texels, ComputeFirst>(open),
            (1, true) if self.images => self.ring::<Texels, RenderFirst>(open),
            (2, false) if self.images => self.ring::<(Words, Texels), ComputeFirst>(open),
            (2, true) if self.images => self.ring::<(Words, Texels), RenderFirst>(open),
            (3, false) => self.ring::<(Words, Vec<Words>), ComputeFirst>(open),
            (3, true) => self.ring::<(Words, Vec<Words>), RenderFirst>(open),
            (_, false) => self.ring::<Vec<Words>, ComputeFirst>(open),
            (_, true) => self.ring::<Vec<Words>, RenderFirst>(open),
        };
        self.rings.push(ring);
        self.common.count("exchanges");
    }

    pub(crate) fn ring<S: Shape, D: DirectionExt>(&self, open: &Open) -> Box<dyn AnyRing> {
        let pool = self.pool.as_ref().filter(|_| open.pooled);
        Box::new(Ring::<S, D>::open(&self.common, &self.side, open, pool).unwrap())
    }

    fn on(&mut self, ring: u8, step: impl FnOnce(&mut dyn AnyRing)) {
        let count = self.rings.len().max(1);
        if let Some(ring) = self.rings.get_mut(usize::from(ring) % count) {
            step(&mut **ring);
        }
    }

    /// Returns two different exchanges, if the indices differ.
    fn two(&mut self, a: u8, b: u8) -> Option<[&mut Box<dyn AnyRing>; 2]> {
        let count = self.rings.len().max(1);
        self.rings.get_disjoint_mut([usize::from(a) % count, usize::from(b) % count]).ok()
    }

    fn both(&mut self, a: u8, x: RingOp, b: u8, y: RingOp) {
        let Some([first, second]) = self.two(a, b) else { return };
        let outcomes = std::thread::scope(|scope| {
            let threads = [scope.spawn(|| first.step(x)), scope.spawn(|| second.step(y))];
            threads.map(|thread| thread.join())
        });
        outcomes.into_iter().for_each(|outcome| outcome.unwrap_or_else(again));
        self.common.count("steps side by side");
    }

    fn end_inside(&mut self, what: u8, place: u8) {
        let Some([ends, runs]) = self.two(what, place) else { return };
        let parts = ends.take();
        drop(runs.run(Box::new(move || drop(parts))));
        self.common.count("ends inside a closure");
    }

    fn fail(&mut self, ring: u8) {
        let side = self.side.clone();
        if side.has_failed() {
            return;
        }
        let mut asked = false;
        self.on(ring, |ring| asked = ring.fail());
        if !asked {
            return;
        }
        let start = Instant::now();
        // The exchange may have been on a compute side that had failed before.
        while side.compute.check_alive().is_ok() && start.elapsed() < Rig::LONG {
            if !self.on_side(ring) {
                return;
            }
            std::thread::yield_now();
        }
        assert!(side.compute.check_alive().is_err(), "a panic is not noticed");
        if Planted::PanicIgnored.is_now() {
            return;
        }
        side.failed.store(true, Ordering::SeqCst);
        self.common.count("compute sides lost");
    }

    /// Returns `true` if the exchange is on the current compute side.
    fn on_side(&mut self, ring: u8) -> bool {
        let failed = std::sync::Arc::clone(&self.side.failed);
        let mut is_on = false;
        self.on(ring, |ring| is_on = ring.is_on(&failed));
        is_on
    }

    fn pool(&mut self, op: PoolOp) {
        match op {
            PoolOp::Make if self.pool.is_none() => {
                let info = SharedPoolInfo { name: "fuzzed pool", block_size: 64 << 10, ..Default::default() };
                self.pool = Some(SharedPool::new(&self.side.compute, &info).unwrap());
                self.common.count("pools");
            }
            PoolOp::Make => {}
            // Buffers created in the pool stay usable.
            PoolOp::Drop => self.pool = None,
            PoolOp::Take(words) => {
                let Some(pool) = &self.pool else { return };
                let (len, tag) = (usize::from(words), self.common.tag());
                let usage = BufferAccess::TRANSFER_READ | BufferAccess::TRANSFER_WRITE;
                let buffer = SharedBuffer::<u32>::new_in(pool, "part", len, usage).unwrap();
                // SAFETY: nothing else uses the buffer.
                if let Some(words) = unsafe { buffer.host_mut() } {
                    words.fill(tag);
                }
                self.buffers.push((buffer, tag));
                self.common.count("pooled buffers");
            }
            PoolOp::GiveBack(which) => {
                if !self.buffers.is_empty() {
                    let index = usize::from(which) % self.buffers.len();
                    assert_own(&self.buffers.swap_remove(index));
                    self.common.count("pooled buffers given back");
                }
            }
        }
    }

    fn end(mut self) -> Kept {
        self.buffers.iter().for_each(assert_own);
        self.buffers.clear();
        for mut ring in std::mem::take(&mut self.rings) {
            self.kept.add(&ring.end());
        }
        self.kept
    }
}

/// Checks that a buffer of a pool was not overwritten.
fn assert_own((buffer, tag): &(SharedBuffer<u32>, u32)) {
    // SAFETY: nothing else uses the buffer.
    let Some(words) = (unsafe { buffer.host_mut() }) else {
        // The memory is accessible to Vulkan only.
        return;
    };
    let wrong = words.iter().position(|word| word != tag);
    assert_eq!(wrong, None, "somebody wrote into a buffer of {} words", words.len());
}

/// Resumes a panic on this thread.
fn again(panic: Box<dyn std::any::Any + Send>) {
    std::panic::resume_unwind(panic)
}
