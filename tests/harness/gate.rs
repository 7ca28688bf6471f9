//! A gate that the host opens. Work that waits for the gate does not run before the gate is opened,
//! on a machine of any speed: tests of order use gates instead of assuming that one operation takes
//! longer than another.
//!
//! A gate is a timeline semaphore that the host signals (`vkSignalSemaphore`). Vulkan queues, CUDA
//! streams (which import the semaphore) and the thread of the CPU backend can wait for it.
#![allow(unsafe_code)] // Signals, imports and waits.

use std::cell::RefCell;
use std::sync::Arc;

use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::CudaStream;
use bridge::cuda_import::{self, CudaDevice, ImportedSemaphore};
use bridge::vk_export::{Semaphore, SemaphoreInfo, SemaphoreKind};
use bridge::{Compute, ComputeTurn, Direction, ExportDevice, QueueKind, Resources, Work};

use crate::Rig;

/// A gate that is closed at first. Dropping it opens it and waits for the work that it held.
///
/// While it is closed, nothing may be called that waits for the GPU. With CUDA this includes,
/// besides explicit waits, loading a module, the first launch of a kernel, freeing memory, and
/// copies from memory that is not pinned.
pub struct Gate {
    // Declared, and so dropped, before the timeline that it was exported from.
    cuda: Option<(ImportedSemaphore, Arc<CudaStream>)>,
    timeline: Arc<Semaphore>,
    queues: RefCell<Vec<QueueKind>>,
}

impl Gate {
    const OPEN: u64 = 1;

    /// Creates a gate for the queues of a device.
    ///
    /// # Panics
    /// Panics if the semaphore cannot be created.
    pub fn new(device: &ExportDevice) -> Self {
        Self::with(device, None)
    }

    /// Creates a gate for a compute side and the queues of its device.
    ///
    /// # Panics
    /// Panics if the semaphore cannot be created or imported, or if `CUDA_LAUNCH_BLOCKING` would
    /// make a launch wait for the gate.
    pub fn on(compute: &Compute) -> Self {
        Self::with(compute.device(), Some(compute))
    }

    fn with(device: &ExportDevice, compute: Option<&Compute>) -> Self {
        Self::import(device, compute.and_then(Compute::cuda).map(|cuda| (cuda.device(), cuda.stream())))
    }

    fn import(device: &ExportDevice, cuda: Option<(&CudaDevice, &Arc<CudaStream>)>) -> Self {
        let info = SemaphoreInfo { name: "gate", kind: SemaphoreKind::Timeline, exportable: cuda.is_some() };
        let timeline = Semaphore::new(device, &info).unwrap();
        let cuda = cuda.map(|(cuda, stream)| {
            let blocking = std::env::var("CUDA_LAUNCH_BLOCKING").is_ok_and(|value| value != "0");
            assert!(
                !blocking,
                "with CUDA_LAUNCH_BLOCKING the launch of a kernel waits for the gate before it, for ever"
            );
            let handle = timeline.export().unwrap().handle;
            let imported =
                // SAFETY: just exported, from a timeline of this GPU, or of a GPU that this one is
                // a proven peer of.
                unsafe { ImportedSemaphore::import(cuda, handle, cuda_import::SemaphoreKind::Timeline, "gate") };
            (imported.unwrap(), Arc::clone(stream))
        });
        Self { cuda, timeline: Arc::new(timeline), queues: RefCell::default() }
    }

    /// Creates a gate for one of the GPUs of a CUDA side, by its index:
    /// [`hold_stream`](Self::hold_stream) holds its stream.
    ///
    /// # Panics
    /// Panics as [`on`](Self::on) does, or if there is no such GPU.
    pub fn on_gpu(compute: &Compute, place: usize) -> Self {
        let (_, stream) = compute.cuda().unwrap().gpus().nth(place).unwrap();
        Self::on_stream(compute, place, stream)
    }

    /// [`on_gpu`](Self::on_gpu) for another stream of that GPU.
    ///
    /// # Panics
    /// Panics as [`on_gpu`](Self::on_gpu) does.
    pub fn on_stream(compute: &Compute, place: usize, stream: &Arc<CudaStream>) -> Self {
        let (device, _) = compute.cuda().unwrap().gpus().nth(place).unwrap();
        Self::import(compute.device(), Some((device, stream)))
    }

    /// Returns `true` if the gate is open.
    ///
    /// # Panics
    /// Panics if the device is lost.
    pub fn is_open(&self) -> bool {
        self.timeline.value().unwrap() >= Self::OPEN
    }

    /// Opens the gate, if it is closed.
    ///
    /// # Panics
    /// Panics if the device is lost.
    pub fn open(&self) {
        if !self.is_open() {
            // SAFETY: only this method signals the timeline, and `Gate` is not `Sync`.
            unsafe { self.timeline.signal(Self::OPEN) }.unwrap();
        }
    }

    /// Makes everything that the turn enqueues from now on wait for the gate.
    ///
    /// # Panics
    /// Panics if the wait cannot be enqueued.
    pub fn hold<R: Resources, D: Direction>(&self, turn: &mut ComputeTurn<R, D>) {
        self.hold_work(turn.work());
    }

    /// [`hold`](Self::hold) for the work of any turn, on the compute side that the gate was created
    /// [on](Self::on).
    ///
    /// # Panics
    /// Panics if the wait cannot be enqueued.
    pub fn hold_work<R: Resources>(&self, work: Work<'_, R>) {
        match work {
            Work::Host(host) => {
                let keeper = self.waiter();
                host.run(move |_| keeper()).unwrap();
            }
            Work::Cuda(_) => self.hold_stream(),
            // The work is submitted to the queue with the frame, or when it is waited for.
            Work::Inline(_) => self.hold_queue(self.timeline.device(), QueueKind::Graphics),
            _ => unreachable!("no other backend is opened here"),
        }
    }

    /// Makes everything that is enqueued on CUDA's stream from now on wait for the gate. Does
    /// nothing for the CPU backend, whose work calls [`waiter`](Self::waiter) first.
    ///
    /// # Panics
    /// Panics if the wait cannot be enqueued.
    pub fn hold_stream(&self) {
        if let Some((semaphore, stream)) = &self.cuda {
            // SAFETY: the semaphore lives until `drop` has seen the stream idle; `open` or `drop`
            // signals the value.
            unsafe { cuda_import::wait_one(stream, semaphore, Self::OPEN) }.unwrap();
        }
    }

    /// Returns a function that a closure of the CPU backend calls to wait for the gate.
    pub fn waiter(&self) -> impl Fn() + Send + 'static + use<> {
        let timeline = Arc::clone(&self.timeline);
        move || timeline.wait(Self::OPEN, Rig::LONG).unwrap()
    }

    /// Makes everything that is submitted to a queue from now on wait for the gate.
    ///
    /// # Panics
    /// Panics if the device has no such queue, or if the submission fails.
    pub fn hold_queue(&self, device: &ExportDevice, queue: QueueKind) {
        self.queues.borrow_mut().push(queue);
        let waits = [self.wait_info()];
        let batch = vk::SubmitInfo2::default().wait_semaphore_infos(&waits);
        // SAFETY: a live timeline of this device, which `drop` keeps until the queue is idle. Later
        // submissions are in the wait's second synchronization scope ("Semaphore Waiting": commands
        // that occur later in submission order).
        unsafe { device.queue_of(queue).unwrap().submit(&[batch], vk::Fence::null()) }.unwrap();
    }

    /// Returns the wait for the gate, for a submission of the test that must complete before the
    /// gate is dropped.
    pub fn wait_info(&self) -> vk::SemaphoreSubmitInfo<'static> {
        vk::SemaphoreSubmitInfo::default()
            .semaphore(self.timeline.as_raw())
            .value(Self::OPEN)
            .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
        if let Some((_, stream)) = &self.cuda {
            // A fault that the test provoked also ends the waits.
            let _ = stream.synchronize();
        }
        let device = self.timeline.device();
        for queue in self.queues.take() {
            // SAFETY: VUID-vkQueueWaitIdle-queue: a live queue, under its lock.
            let _ = device.queue_of(queue).unwrap().with(|queue| unsafe { device.as_raw().queue_wait_idle(queue) });
        }
    }
}
