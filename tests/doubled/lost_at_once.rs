//! A CUDA context whose loss several threads notice at once: each timeline is signaled once.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use bridge::ash::vk;
use bridge::{Backend, Compute, Exchange, ExportDevice, QueueLock};
use bridge_tests::{Engine, Rig, Task};

use crate::lost::LAUNCH_FAILED;
use crate::{double, info, words};

static SIGNAL: OnceLock<vk::PFN_vkSignalSemaphore> = OnceLock::new();
/// The timeline at whose signal the first thread stops.
static TIMELINE: Mutex<Option<vk::Semaphore>> = Mutex::new(None);
/// The signals that the host has made.
static SIGNALS: Mutex<Vec<(vk::Semaphore, u64)>> = Mutex::new(Vec::new());
/// The first thread has seen that the timeline is not signaled, is about to signal it, and waits
/// until it may continue.
static STOPPED: AtomicBool = AtomicBool::new(false);
static RELEASED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static STOPS: Cell<bool> = const { Cell::new(false) };
}

fn wait_until(what: &str, is_so: &AtomicBool) {
    let begun = Instant::now();
    while !is_so.load(Ordering::SeqCst) {
        assert!(begun.elapsed() < Rig::LONG, "it never came to this: {what}");
        std::thread::yield_now();
    }
}

unsafe extern "system" fn signal(device: vk::Device, info: *const vk::SemaphoreSignalInfo<'_>) -> vk::Result {
    // SAFETY: VUID-vkSignalSemaphore-pSignalInfo-parameter: the caller's pointer, which is valid.
    let vk::SemaphoreSignalInfo { semaphore, value, .. } = *unsafe { &*info };
    let is_first = {
        let mut signals = SIGNALS.lock().unwrap();
        signals.push((semaphore, value));
        signals.iter().filter(|made| **made == (semaphore, value)).count() == 1
    };
    // The driver's behavior is undefined for a value that does not increase.
    if !is_first {
        return vk::Result::ERROR_OUT_OF_HOST_MEMORY;
    }
    if STOPS.get() && *TIMELINE.lock().unwrap() == Some(semaphore) {
        STOPPED.store(true, Ordering::SeqCst);
        wait_until("the first may go on", &RELEASED);
    }
    // SAFETY: forwarded to the real function.
    unsafe { SIGNAL.get().unwrap()(device, info) }
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    if name != c"vkSignalSemaphore" {
        return real;
    }
    // SAFETY: the function of that name has this type.
    let _ = SIGNAL.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkSignalSemaphore>(real) });
    signal as *const c_void
}

struct Lock(Mutex<()>);

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        let _guard = self.0.lock().unwrap();
        f();
    }
}

/// The second thread arrives while the first is between its look at a timeline and its signal. It
/// has to wait for the first, which continues once the second waits, or has signaled too.
pub(crate) fn is_signaled_once(name: &str) {
    let Some(double) = double(name) else { return };
    // Never destroyed, like the device of an engine.
    let engine: &'static Engine = Box::leak(Box::new(Engine::new(Some(hook))));
    let mut adopted = engine.info();
    adopted.queue_lock = Some(Arc::new(Lock(Mutex::new(()))));
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(adopted) }.unwrap();
    let compute = Compute::new(&device, Backend::Cuda).unwrap();
    let [mut first, mut second] = [(); 2].map(|()| Exchange::new(&compute, &info(2), words()).unwrap());
    double.hold_work();
    let turns = [&mut first, &mut second].map(|exchange| exchange.begin().unwrap().finish().unwrap());
    let awaited = turns[0].computed().wait_info(vk::PipelineStageFlags2::ALL_COMMANDS).unwrap();
    // SAFETY: no commands.
    turns.into_iter().for_each(|turn| drop(unsafe { turn.submit(&[]) }.unwrap()));
    double.lose_context(0, LAUNCH_FAILED);
    double.release_work();
    *TIMELINE.lock().unwrap() = Some(awaited.semaphore);
    let second = std::thread::scope(|scope| {
        scope.spawn(|| {
            STOPS.set(true);
            assert!(first.begin().unwrap_err().is_device_lost());
        });
        wait_until("the first is about to signal", &STOPPED);
        double.forget_calls();
        let (said, task) = std::sync::mpsc::channel();
        let comes = scope.spawn(move || {
            said.send(Task::current()).unwrap();
            assert!(second.begin().unwrap_err().is_device_lost());
            second
        });
        let task = task.recv().unwrap();
        double.wait_until("the second is told that the context is lost", |double| {
            double.calls().iter().any(|call| call.code == LAUNCH_FAILED)
        });
        task.wait_until_asleep(|| comes.is_finished());
        RELEASED.store(true, Ordering::SeqCst);
        comes.join().unwrap()
    });
    let signals = || SIGNALS.lock().unwrap().clone();
    assert_eq!(signals().len(), 2, "a signal each: {:?}", signals());
    first.close().unwrap();
    second.close().unwrap();
    assert_eq!(signals().len(), 2, "their ends have nothing left to signal: {:?}", signals());
    engine.assert_silent();
}
