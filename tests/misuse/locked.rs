//! Loggers that use the exchange whose submission they are called for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bridge::ash::vk;
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, ExportDevice, QueueKind, QueueLock, RenderTurn,
};
use bridge_tests::{Commands, Engine, Rig};

use super::in_child;

/// An engine's lock that panics after its closure has returned, once each time it is armed. The
/// submission has been made by then, and the panic is logged.
#[derive(Default)]
struct Panics(AtomicBool);

impl QueueLock for Panics {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
        if self.0.swap(false, Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new("the engine panics"));
        }
    }
}

/// The action of the logger once the panic is logged.
static CALL: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);
static HAS_RETURNED: AtomicBool = AtomicBool::new(false);

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if !record.args().to_string().contains("panicked after a call") {
            return;
        }
        let call = CALL.lock().unwrap().take();
        if let Some(call) = call {
            call();
            HAS_RETURNED.store(true, Ordering::SeqCst);
        }
    }

    fn flush(&self) {}
}

type Words = BufferSpec<u32>;

/// A device with that lock.
struct Locked {
    // Field order is drop order.
    commands: Commands,
    device: ExportDevice,
    lock: Arc<Panics>,
    _engine: Engine,
}

impl Locked {
    /// Call this before anything else, because the harness sets its own logger.
    fn open() -> Self {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Error);
        let (engine, lock) = (Engine::new(None), Arc::<Panics>::default());
        let mut info = engine.info();
        info.features.buffer_device_address = true;
        info.queue_lock = Some(Arc::clone(&lock) as Arc<dyn QueueLock>);
        // SAFETY: the engine's own handles, which live until all objects of the device are dropped.
        let device = unsafe { ExportDevice::adopt(info) }.unwrap();
        Self { commands: Commands::new(&device), device, lock, _engine: engine }
    }

    fn exchange(&self, compute: &Compute) -> Exchange<Words> {
        let info = ExchangeInfo { name: "locked", slots: 2, timeout: Rig::LONG, ..Default::default() };
        Exchange::new(compute, &info, BufferSpec::new(16, BufferAccess::TRANSFER_READ)).unwrap()
    }

    /// Runs `submission`, after which the lock panics; the logger calls `logged`.
    fn with_panic<T>(&self, submission: impl FnOnce() -> T, logged: impl FnOnce() + Send + 'static) -> T {
        *CALL.lock().unwrap() = Some(Box::new(logged));
        self.lock.0.store(true, Ordering::SeqCst);
        let done = submission();
        assert!(!self.lock.0.load(Ordering::SeqCst), "nothing was submitted: this test is void");
        assert!(HAS_RETURNED.swap(false, Ordering::SeqCst), "the logger was not called");
        done
    }

    fn submit(&self, turn: RenderTurn<Words>) {
        let recorded = self.commands.record(&turn, |_| {});
        // SAFETY: recorded with the turn's barriers, and kept alive until the point is reached.
        self.commands.note(unsafe { turn.submit(&[recorded]) }.unwrap());
    }

    /// Submits a frame; the logger asks the exchange for what a flush would submit.
    fn a_frame_is_submitted(&self, compute: &Compute) {
        let mut exchange = self.exchange(compute);
        let turn = exchange.begin().unwrap().finish().unwrap();
        let exchange = Arc::new(Mutex::new(exchange));
        let logged = Arc::clone(&exchange);
        self.with_panic(|| self.submit(turn), move || drop(logged.lock().unwrap().flush_parts().unwrap()));
        self.commands.finish();
        Arc::into_inner(exchange).unwrap().into_inner().unwrap().close().unwrap();
    }
}

#[test]
fn a_logger_may_use_the_exchange_that_submits() {
    if !in_child("locked::a_logger_may_use_the_exchange_that_submits") {
        return;
    }
    let locked = Locked::open();
    locked.a_frame_is_submitted(&Compute::new(&locked.device, Backend::Host).unwrap());
}

#[test]
fn a_logger_may_use_the_exchange_that_submits_kernels() {
    if !in_child("locked::a_logger_may_use_the_exchange_that_submits_kernels") {
        return;
    }
    let locked = Locked::open();
    let compute = Compute::inline(&locked.device, QueueKind::Graphics).unwrap();
    locked.a_frame_is_submitted(&compute);

    // What a lent frame waits for is submitted when it is lent.
    let mut exchange = locked.exchange(&compute);
    let [turn, other] = [(); 2].map(|()| exchange.begin().unwrap().finish().unwrap());
    let lent = locked.with_panic(|| turn.lend().unwrap(), move || drop(other.lend()));
    // SAFETY: it was not submitted, and will not be.
    unsafe { lent.not_submitted() };
    exchange.close().unwrap();
}

/// The logger is not called under a lock of the exchange, but under the lock of the queue of
/// kernels.
#[test]
fn a_logger_may_submit_kernels_while_a_point_is_waited_for() {
    if !in_child("locked::a_logger_may_submit_kernels_while_a_point_is_waited_for") {
        return;
    }
    let locked = Locked::open();
    let compute = Compute::inline(&locked.device, QueueKind::Graphics).unwrap();
    let mut exchange = locked.exchange(&compute);
    let [turn, other] = [(); 2].map(|()| exchange.begin().unwrap().finish().unwrap());
    let point = turn.computed();
    locked.with_panic(|| point.wait(Rig::LONG).unwrap(), move || drop(other.lend()));
    turn.skip();
    drop((point, exchange));
}
