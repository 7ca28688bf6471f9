//! Host waits that a test can detect: a device whose functions that wait for a timeline or a fence,
//! or query a timeline, record the calling thread. A test of a call that has to wait can then open
//! the gate when the call waits, instead of after a delay in which it should have begun to wait.
#![allow(unsafe_code)] // Replacements of Vulkan functions.

use std::cell::RefCell;
use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bridge::ash::vk;
use bridge::cuda_import::CudaDevice;
use bridge::{Backend, Compute, ExportDevice, QueueLock};

use crate::{Engine, Gate};

static WAIT_SEMAPHORES: OnceLock<vk::PFN_vkWaitSemaphores> = OnceLock::new();
static WAIT_FENCES: OnceLock<vk::PFN_vkWaitForFences> = OnceLock::new();
static GET_COUNTER: OnceLock<vk::PFN_vkGetSemaphoreCounterValue> = OnceLock::new();

/// A call with this number of timeline queries is waiting. Calls that return immediately make a few
/// queries.
const POLLING_QUERIES: usize = 64;

thread_local! {
    /// The number of queries of this thread, if a test counts them; a call that blocks counts as
    /// [`POLLING_QUERIES`].
    static QUERIES: RefCell<Option<Arc<AtomicUsize>>> = const { RefCell::new(None) };
}

fn record_queries(looks: usize) {
    QUERIES.with_borrow(|noted| {
        if let Some(noted) = noted {
            noted.fetch_add(looks, Ordering::SeqCst);
        }
    });
}

unsafe extern "system" fn wait_semaphores(
    device: vk::Device,
    info: *const vk::SemaphoreWaitInfo<'_>,
    limit: u64,
) -> vk::Result {
    record_queries(if limit > 0 { POLLING_QUERIES } else { 1 });
    let real = WAIT_SEMAPHORES.get().unwrap();
    // SAFETY: the arguments are passed on unchanged.
    unsafe { real(device, info, limit) }
}

unsafe extern "system" fn wait_fences(
    device: vk::Device,
    count: u32,
    fences: *const vk::Fence,
    all: vk::Bool32,
    limit: u64,
) -> vk::Result {
    record_queries(if limit > 0 { POLLING_QUERIES } else { 1 });
    let real = WAIT_FENCES.get().unwrap();
    // SAFETY: the arguments are passed on unchanged.
    unsafe { real(device, count, fences, all, limit) }
}

unsafe extern "system" fn get_counter(device: vk::Device, semaphore: vk::Semaphore, value: *mut u64) -> vk::Result {
    record_queries(1);
    let real = GET_COUNTER.get().unwrap();
    // SAFETY: the arguments are passed on unchanged.
    unsafe { real(device, semaphore, value) }
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    match name.to_bytes() {
        b"vkWaitSemaphores" => {
            // SAFETY: the function of that name has this type.
            let _ =
                WAIT_SEMAPHORES.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkWaitSemaphores>(real) });
            wait_semaphores as *const c_void
        }
        b"vkWaitForFences" => {
            // SAFETY: as above.
            let _ = WAIT_FENCES.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkWaitForFences>(real) });
            wait_fences as *const c_void
        }
        b"vkGetSemaphoreCounterValue" => {
            // SAFETY: as above.
            let _ = GET_COUNTER
                .set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkGetSemaphoreCounterValue>(real) });
            get_counter as *const c_void
        }
        _ => real,
    }
}

/// Serializes the bridge's submissions.
struct Lock(Mutex<()>);

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        let _guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f();
    }
}

/// The compute side of a device whose waits can be detected.
pub struct SeenWaits {
    compute: Compute,
    /// Never destroyed: NVIDIA's driver deadlocks if a device is destroyed while a thread that has
    /// used Vulkan exits.
    engine: &'static Engine,
}

impl SeenWaits {
    /// Opens a device, and a compute side on the GPUs of another compute side.
    ///
    /// # Panics
    /// Panics if either cannot be created.
    pub fn like(compute: &Compute) -> Self {
        let peers = compute.cuda().filter(|cuda| cuda.is_peer());
        let gpus: Vec<CudaDevice> = peers.iter().flat_map(|cuda| cuda.gpus()).map(|(gpu, _)| gpu.clone()).collect();
        Self::with(|device| match &gpus[..] {
            [] => Compute::new(device, compute.backend()),
            gpus => Compute::group(device, gpus),
        })
    }

    /// Opens a device, and its CPU backend.
    ///
    /// # Panics
    /// Panics if either cannot be created.
    pub fn on_host() -> Self {
        Self::with(|device| Compute::new(device, Backend::Host))
    }

    fn with(compute: impl FnOnce(&ExportDevice) -> bridge::Result<Compute>) -> Self {
        let engine: &'static Engine = Box::leak(Box::new(Engine::new(Some(hook))));
        let mut info = engine.info();
        // As for a device that the bridge opened: the bridge may submit.
        info.queue_lock = Some(Arc::new(Lock(Mutex::new(()))));
        // SAFETY: the engine's own handles, which live forever.
        let device = unsafe { ExportDevice::adopt(info) }.unwrap();
        Self { compute: compute(&device).unwrap(), engine }
    }

    /// Returns the compute side.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Returns the device.
    pub fn device(&self) -> &ExportDevice {
        self.compute.device()
    }

    /// Calls `call` on this thread, and opens the gate when the call waits for a timeline or a
    /// fence, or has returned without waiting. Returns the call's result, whether it waited, and
    /// the gate.
    ///
    /// # Panics
    /// Panics if the device is lost.
    pub fn open_once_waited<T>(&self, gate: Gate, call: impl FnOnce() -> T) -> (T, bool, Gate) {
        /// Opens the gate, also if the call panics.
        struct Ended<'a>(&'a AtomicBool);
        impl Drop for Ended<'_> {
            fn drop(&mut self) {
                QUERIES.set(None);
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let (looks, ended) = (Arc::new(AtomicUsize::new(0)), AtomicBool::new(false));
        let waits = || looks.load(Ordering::SeqCst) >= POLLING_QUERIES;
        std::thread::scope(|scope| {
            let opener = scope.spawn(|| {
                let gate = gate;
                while !waits() && !ended.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_micros(100));
                }
                gate.open();
                gate
            });
            let guard = Ended(&ended);
            QUERIES.set(Some(Arc::clone(&looks)));
            let result = call();
            let waited = waits();
            drop(guard);
            (result, waited, opener.join().unwrap())
        })
    }
}

impl Drop for SeenWaits {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.engine.assert_silent();
        }
    }
}
