//! An engine's queue lock that panics: a submission that was made counts, and one that was not is
//! an error.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bridge::ash::vk;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge::{Backend, BufferAccess, BufferSpec, Exchange, ExchangeInfo};
use bridge_tests::{Engine, Filler, Readback, Rig, case_on};

/// Whether the lock panics before or after the closure that it calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    Before,
    After,
}

/// A lock that panics once each time it is armed, without printing a panic message.
struct Panics {
    place: Place,
    armed: AtomicBool,
}

impl Panics {
    fn new(place: Place) -> Arc<Self> {
        Arc::new(Self { place, armed: AtomicBool::new(false) })
    }

    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    fn panic(&self, here: Place) {
        if here == self.place && self.armed.swap(false, Ordering::SeqCst) {
            resume_unwind(Box::new("the engine panics"));
        }
    }
}

impl QueueLock for Panics {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        self.panic(Place::Before);
        f();
        self.panic(Place::After);
    }
}

/// Frames continue while every other submission meets a panic.
pub(super) fn frames_continue(backend: Backend, place: Place) {
    const LEN: usize = 1024;
    let (engine, lock) = (Engine::new(None), Panics::new(place));
    let mut info = engine.info();
    info.queue_lock = Some(lock.clone());
    // SAFETY: the engine's own handles, which outlive the function.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let Some(compute) = case_on(&device, backend, "frames_continue") else { return };

    lock.arm();
    // SAFETY: nothing is recorded.
    let ran = unsafe { device.run_once(device.queue(), "nothing", Rig::LONG, |_| {}) };
    match place {
        // The layer reports if the pool and the fence are destroyed while they are in use.
        Place::After => ran.unwrap(),
        Place::Before => {
            let error = ran.unwrap_err().to_string();
            assert!(error.contains("panicked without calling its closure"), "{error}");
        }
    }

    let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
    let info = ExchangeInfo { name: "panics", slots: 2, timeout: Rig::LONG, ..Default::default() };
    let mut exchange = Exchange::new(&compute, &info, spec).unwrap();
    let (filler, readback) = (Filler::new(&compute), Readback::new(&device, 4 * LEN as u64));
    let mut last = 0;
    for frame in 0..6u32 {
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, frame * 10);
        let turn = turn.finish().unwrap();
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), 4 * LEN as u64)]);
        let panics = frame % 2 == 1;
        if panics {
            lock.arm();
        }
        // SAFETY: recorded with the turn's barriers; waited for below.
        let submitted = unsafe { turn.submit(&[commands]) };
        if panics && place == Place::Before {
            let error = submitted.unwrap_err().to_string();
            assert!(error.contains("panicked without calling its closure"), "{error}");
            continue;
        }
        let rendered = submitted.unwrap();
        assert!(rendered.value() > last, "a value is signaled once");
        last = rendered.value();
        rendered.wait(Rig::LONG).unwrap();
        assert_eq!(readback.words(), Filler::pattern(LEN, frame * 10));
    }
    exchange.close().unwrap();
    assert!(!lock.armed.load(Ordering::SeqCst), "the lock did not panic: this test is void");
    engine.assert_silent();
}

/// A panic of the program's own closure propagates to the program.
pub(super) fn a_panic_of_a_closure_propagates() {
    let engine = Engine::new(None);
    let mut info = engine.info();
    info.queue_lock = Some(Panics::new(Place::Before));
    // SAFETY: the engine's own handles.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let with = || device.queue().with(|_| resume_unwind(Box::new("the program panics")));
    let panic = catch_unwind(AssertUnwindSafe(with)).map(drop).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"the program panics"));
    assert!(!device.queue().is_held());
    // SAFETY: nothing is recorded.
    unsafe { device.run_once(device.queue(), "nothing", Rig::LONG, |_| {}) }.unwrap();
}

/// A lock that catches panics of its closure.
struct Swallows;

impl QueueLock for Swallows {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        let _ = catch_unwind(AssertUnwindSafe(f));
    }
}

/// If the lock swallows a panic, the error must not claim that the closure was not called.
pub(super) fn a_panic_that_the_lock_swallows_is_an_error() {
    let engine = Engine::new(None);
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Swallows));
    // SAFETY: the engine's own handles, which outlive the function.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let called: Result<(), _> = device.queue().with(|_| resume_unwind(Box::new("the closure panics")));
    let error = called.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("the closure panicked") && !error.contains("without calling"), "{error}");
    device.queue().with(|_| ()).unwrap();
}
