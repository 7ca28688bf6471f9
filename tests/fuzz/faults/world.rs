//! The state of a case: a compute side and the exchanges on it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bridge::{
    Backend, BufferSpec, Compute, ComputeFirst, Error, ExportDevice, ImageSpec, KernelMemory, Lease, LiveObjects,
    QueueKind, RenderFirst, SharedPool, SharedPoolInfo,
};
use bridge_fuzz::Counts;

use crate::crossing::Crossing;
use crate::direction_ext::DirectionExt;
use crate::driver;
use crate::held::{Held, Queue};
use crate::hook::{self, inside};
use crate::op::Op;
use crate::ring::{AnyRing, Ring};
use crate::transfer::Transfer;

/// How long threads of the bridge may keep objects alive after the end of a case.
const PATIENCE: Duration = Duration::from_secs(10);

/// Block size of the pool in bytes.
const BLOCK: u64 = 64 << 10;

/// Maximum number of open exchanges.
const MOST_RINGS: usize = 3;

/// State shared by the exchanges of a case.
pub(crate) struct Shared {
    device: ExportDevice,
    compute: Compute,
    counts: Counts,
    idle: Vec<Transfer>,
    /// Transfers that may have been submitted.
    kept: Vec<Transfer>,
    faults: Arc<Mutex<Vec<String>>>,
    tag: u32,
    /// `true` if any call has failed.
    faulted: bool,
    /// `true` if commands were lost, including everything that open turns have recorded.
    commands_lost: bool,
    /// The pool of all pooled buffers, created for the first one.
    pool: Option<SharedPool>,
    pub(crate) trial: Trial,
    queue: Queue,
    /// The leases of all exchanges.
    pub(crate) leases: VecDeque<Lease>,
    /// Memory that submitted commands may use.
    pub(crate) memories: Vec<KernelMemory<u32>>,
}

/// Changes to a case that check whether a fault is detected.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trial {
    pub(crate) held: Held,
    /// `true` if the case's own submissions omit the wait for the compute side.
    pub(crate) engine_forgets: bool,
}

impl Shared {
    pub(crate) fn count(&mut self, what: &'static str) {
        self.counts.add(what);
    }

    pub(crate) fn side(&self) -> (ExportDevice, Compute) {
        (self.device.clone(), self.compute.clone())
    }

    /// Returns the pool, or `None` if a call failed.
    pub(crate) fn pool(&mut self) -> Option<SharedPool> {
        if self.pool.is_none() {
            let info = SharedPoolInfo { name: "pool", block_size: BLOCK, ..Default::default() };
            let (made, hit) = inside(|| SharedPool::new(&self.compute, &info));
            self.note(hit);
            match made {
                Ok(pool) => self.pool = Some(pool),
                Err(error) => self.allow(&error, hit),
            }
        }
        self.pool.clone()
    }

    /// Holds streams, if requested. Called before work of the compute side.
    pub(crate) fn hold_streams(&self) {
        if self.trial.held == Held::Streams {
            driver::hold();
        }
    }

    /// Holds the queue, if requested. Called before a submission.
    pub(crate) fn hold_queue(&mut self) {
        self.queue.hold(&self.device);
    }

    /// Returns `true` if the case must not wait for the compute side.
    pub(crate) fn is_held(&self) -> bool {
        self.queue.is_held() || self.trial.held == Held::Streams
    }

    /// Releases held work. Called before the case waits.
    pub(crate) fn release(&mut self) {
        self.queue.release();
        if self.trial.held == Held::Streams {
            driver::release();
        }
    }

    pub(crate) fn tag(&mut self) -> u32 {
        self.tag += 1;
        self.tag
    }

    pub(crate) fn faults(&self) -> Arc<Mutex<Vec<String>>> {
        Arc::clone(&self.faults)
    }

    pub(crate) fn transfer(&mut self) -> Transfer {
        self.idle.pop().unwrap_or_else(|| Transfer::new(&self.device))
    }

    pub(crate) fn give_back(&mut self, transfer: Transfer) {
        self.idle.push(transfer);
    }

    pub(crate) fn keep(&mut self, transfer: Transfer) {
        self.kept.push(transfer);
    }

    /// Notes that a call of this function failed.
    pub(crate) fn note(&mut self, hit: Option<&'static str>) {
        if let Some(name) = hit {
            self.faulted = true;
            self.commands_lost |= ["vkEndCommandBuffer", "vkQueueSubmit2", hook::LOCK].contains(&name);
            self.count(name);
        }
    }

    /// Checks the result of the case's own calls on a CUDA stream.
    pub(crate) fn worked_on_cuda(&mut self, worked: Result<Option<String>, String>, hit: Option<&'static str>) {
        match worked {
            Ok(difference) => {
                assert!(difference.is_none() || self.has_failed(), "CUDA reads another frame: {difference:?}");
                self.count("works");
            }
            Err(error) => {
                // cudarc reports failures in destructors with the next call.
                let fails = hit.is_some() || !driver::hits().is_empty();
                assert!(fails || self.has_failed(), "nothing failed, and cudarc says: {error}");
                self.count("errors");
            }
        }
    }

    /// Returns `true` if the compute side is lost.
    pub(crate) fn has_failed(&self) -> bool {
        self.compute.check_alive().is_err()
    }

    /// Checks an error other than a misuse of a turn. Such an error needs a failed call, either now
    /// or, if another turn has recorded into the same command buffer, before. Errors of CUDA name
    /// any call that has failed, or say that one has.
    pub(crate) fn allow(&mut self, error: &Error, hit: Option<&'static str>) {
        self.note(hook::hit());
        let names_it = hit.is_none_or(|name| error.to_string().contains(name) || name == "vkMapMemory");
        let text = error.to_string();
        let before = self.faulted && text.contains("vkEndCommandBuffer");
        let of_cuda =
            driver::hits().iter().any(|name| text.contains(name) || text.contains("an earlier call in this context"));
        assert!(
            self.has_failed() || before || of_cuda || (hit.is_some() && names_it),
            "{hit:?} failed, and the error is: {error}"
        );
        self.count("errors");
    }
}

pub(crate) fn run(device: &ExportDevice, backend: Backend, ops: &[Op], trial: Trial) -> Counts {
    hook::plan(None);
    let _ = hook::hit();
    let before = LiveObjects::now();
    let compute = match backend {
        Backend::Inline => Compute::inline(device, QueueKind::Graphics),
        backend => Compute::new(device, backend),
    };
    let mut shared = Shared {
        device: device.clone(),
        compute: compute.unwrap(),
        counts: Counts::default(),
        idle: Vec::new(),
        kept: Vec::new(),
        faults: Arc::default(),
        tag: 0x5eed_0000,
        faulted: false,
        commands_lost: false,
        pool: None,
        trial,
        queue: Queue::new(trial.held),
        leases: VecDeque::new(),
        memories: Vec::new(),
    };
    shared.count(match backend {
        Backend::Inline => "cases on inline",
        Backend::Cuda => "cases on CUDA",
        _ => "cases on host",
    });
    let mut rings: Vec<Box<dyn AnyRing>> = Vec::new();
    for op in ops {
        step(*op, &mut rings, &mut shared);
        if std::mem::take(&mut shared.commands_lost) {
            rings.iter_mut().for_each(|ring| ring.forget_open());
        }
        shared.count("operations");
    }
    for ring in &mut rings {
        ring.end(&mut shared);
    }
    hook::plan(None);
    driver::plan(None);
    shared.note(hook::hit());
    // SAFETY: a live queue, under its lock.
    device.queue().with(|queue| unsafe { device.as_raw().queue_wait_idle(queue) }).unwrap().unwrap();
    let Shared { compute, mut counts, faults, faulted, pool, leases, memories, .. } = shared;
    let faulted = faulted || !driver::hits().is_empty();
    let failed = compute.check_alive().is_err();
    drop((leases, memories, pool, compute));
    settle(&before, faulted);
    let faults = faults.lock().unwrap();
    assert!(faults.is_empty() || failed, "closures found: {faults:#?}");
    if faulted {
        counts.add("cases with a failed call");
    }
    if failed {
        counts.add("compute sides lost");
    }
    counts
}

fn step(op: Op, rings: &mut Vec<Box<dyn AnyRing>>, shared: &mut Shared) {
    let count = rings.len().max(1);
    match op {
        Op::Open { vulkan_first, slots, pooled, images } => {
            if let Some(done) = rings.iter().position(|ring| ring.is_done()) {
                rings.swap_remove(done).end(shared);
            }
            if rings.len() >= MOST_RINGS {
                return;
            }
            let opened = match (vulkan_first, images) {
                (true, true) => open::<ImageSpec<u32>, RenderFirst>(shared, slots, pooled),
                (true, false) => open::<BufferSpec<u32>, RenderFirst>(shared, slots, pooled),
                (false, true) => open::<ImageSpec<u32>, ComputeFirst>(shared, slots, pooled),
                (false, false) => open::<BufferSpec<u32>, ComputeFirst>(shared, slots, pooled),
            };
            if let Some(ring) = opened {
                rings.push(ring);
                shared.count("exchanges");
            }
        }
        Op::On(ring, op) => {
            if let Some(ring) = rings.get_mut(usize::from(ring) % count) {
                ring.step(op, shared);
            }
        }
        Op::Copy(from, to) => {
            let (from, to) = (usize::from(from) % count, usize::from(to) % count);
            if from == to {
                return;
            }
            let source = rings.get_mut(from).and_then(|ring| ring.buffer());
            if let (Some((source, content)), Some(ring)) = (source, rings.get_mut(to)) {
                ring.copy_from(source, content, shared);
            }
        }
        Op::Arm(plan) => hook::plan(Some(plan)),
        Op::ArmDriver(plan) => driver::plan(Some(plan)),
    }
}

/// Opens an exchange. Returns `None` if a call failed.
fn open<S: Crossing, D: DirectionExt>(shared: &mut Shared, slots: usize, pooled: bool) -> Option<Box<dyn AnyRing>> {
    let ring = Ring::<S, D>::open(shared, slots, pooled)?;
    if S::IMAGES > 0 {
        shared.count("exchanges of images");
    }
    Some(Box::new(ring))
}

/// Waits until only objects counted as leaked are alive; without a failed call, nothing may be
/// leaked.
fn settle(before: &LiveObjects, faulted: bool) {
    let start = Instant::now();
    loop {
        let now = LiveObjects::now();
        // In this order: buffers and images, timelines, memories of kernels, turns, leases.
        let leaked = |all: &LiveObjects| {
            [all.leaked_buffers + all.leaked_images, all.leaked_timelines, all.leaked_kernel_memories, 0, 0]
        };
        let live =
            |all: &LiveObjects| [all.buffers + all.images, all.timelines, all.kernel_memories, all.turns, all.leases];
        let since = |count: fn(&LiveObjects) -> [usize; 5]| {
            let (now, before) = (count(&now), count(before));
            std::array::from_fn::<_, 5, _>(|kind| now[kind] - before[kind])
        };
        let (alive, leaked) = (since(live), since(leaked));
        if alive == leaked && (faulted || leaked == [0; 5]) {
            return;
        }
        // The text of the objects contains "on purpose", which would silence the panic.
        assert!(start.elapsed() < PATIENCE, "alive are {alive:?}; as leaked are counted {leaked:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
