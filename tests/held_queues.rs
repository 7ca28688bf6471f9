//! An engine with one lock for all its queues: a thread inside `Queue::with` of one queue gets an
//! error when it submits to another, and does not wait for other threads that submit.
#![allow(unsafe_code, clippy::unwrap_used)] // Adoption, and submissions.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, TryLockError, mpsc};

use bridge::ash::vk;
use bridge::vk_export::Queue;
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Error, Exchange, ExchangeInfo, ExportDevice, ImageAccess, ImageSpec,
    LatestInfo, QueueKind, QueueLock,
};
use bridge_tests::{Engine, Rig};

/// One mutex for all queues, which notifies once a thread waits for it.
#[derive(Default)]
struct OneLock {
    mutex: Mutex<()>,
    waits: Mutex<Option<mpsc::Sender<()>>>,
    /// `true` if it panics after its next call.
    panics: AtomicBool,
}

impl QueueLock for OneLock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        let _guard = match self.mutex.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                if let Some(waits) = self.waits.lock().unwrap().take() {
                    waits.send(()).unwrap();
                }
                self.mutex.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        f();
        if self.panics.swap(false, Ordering::SeqCst) {
            resume_unwind(Box::new("the engine panics"));
        }
    }
}

/// Creates an engine that is never destroyed, because a thread keeps using it if a test fails.
fn engine() -> &'static Engine {
    static LOGGER: Once = Once::new();
    // Before the harness installs a logger.
    LOGGER.call_once(|| {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Error);
    });
    Box::leak(Box::new(Engine::with_second_queue()))
}

/// Adopts a device with two queues, the second of which the exchanges use.
fn adopt(engine: &'static Engine, lock: &Arc<OneLock>) -> ExportDevice {
    let mut info = engine.info();
    let more = [(engine.second_queue(), info.queue_family)];
    info.additional_queues = &more;
    info.queue_lock = Some(Arc::clone(lock) as Arc<dyn QueueLock>);
    // SAFETY: the engine's own handles, which live forever; one lock serializes both queues.
    unsafe { ExportDevice::adopt(info) }.unwrap()
}

fn info() -> ExchangeInfo<'static> {
    ExchangeInfo {
        name: "other",
        slots: 2,
        queue: QueueKind::Additional(0),
        timeout: Rig::LONG,
        ..ExchangeInfo::default()
    }
}

fn image(size: u32) -> ImageSpec<[u8; 4]> {
    ImageSpec::new(vk::Format::R8G8B8A8_UNORM, [size, size], ImageAccess::TRANSFER_READ)
}

fn numbers() -> BufferSpec<u32> {
    BufferSpec::new(16, BufferAccess::TRANSFER_READ)
}

/// Runs a test with its own engine and the engine's lock, on another thread with a time limit. The
/// test fails if the validation layer reports anything.
fn run_with_timeout(test: impl FnOnce(&'static Engine, Arc<OneLock>) + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let engine = engine();
        test(engine, Arc::default());
        engine.assert_silent();
        sender.send(()).unwrap();
    });
    match receiver.recv_timeout(Rig::LONG) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a thread waits for a lock that it holds itself"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => thread.join().unwrap(),
    }
}

#[track_caller]
fn assert_held<T>(result: Result<T, Error>) {
    match result {
        Err(Error::Vulkan(bridge::vk_export::Error::QueueHeld { .. })) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was not refused"),
    }
}

/// Runs `f` inside the engine's lock, through its main queue.
fn with_lock<R>(queue: &Queue, f: impl FnOnce() -> R) -> R {
    queue.with(|_| f()).unwrap()
}

#[test]
fn submitting_to_another_queue_of_the_lock_is_refused() {
    run_with_timeout(|engine, lock| {
        let device = adopt(engine, &lock);
        let compute = Compute::new(&device, Backend::Host).unwrap();
        let (queue, other) = (device.queue(), device.queue_of(QueueKind::Additional(0)).unwrap());
        with_lock(queue, || {
            assert!(other.is_held() && other.check_free().is_err() && other.with(|_| ()).is_err());
            assert_held(Exchange::new(&compute, &info(), image(4)));
            assert_held(Exchange::render_first(&compute, &info(), image(4)));
            let latest = LatestInfo { name: "other", queue: QueueKind::Additional(0), ..LatestInfo::default() };
            assert_held(Exchange::latest(&compute, &latest, image(4)));
            assert_held(Exchange::latest_render_first(&compute, &latest, image(4)));
        });
        assert!(!other.is_held());

        let mut images = Exchange::new(&compute, &info(), image(4)).unwrap();
        assert_held(with_lock(queue, || images.resize([8, 8])));
        images.resize([8, 8]).unwrap();
        let turn = images.begin().unwrap().finish().unwrap();
        assert_held(with_lock(queue, || turn.read_back(Rig::LONG)));
        images.begin().err().unwrap();
        images.begin().unwrap().finish().unwrap().read_back(Rig::LONG).unwrap();

        // A submission proves the end of a lent turn.
        drop(images.begin().unwrap().finish().unwrap().lend().unwrap());
        assert_held(with_lock(queue, || images.flush_parts()));
        images.close().unwrap();
        // The same with the queues exchanged.
        let main = ExchangeInfo { queue: QueueKind::Graphics, ..info() };
        assert_held(with_lock(other, || Exchange::new(&compute, &main, image(4))));
    });
}

#[test]
fn two_adoptions_with_one_lock_share_its_state() {
    run_with_timeout(|engine, lock| {
        let [one, other] = [(); 2].map(|()| adopt(engine, &lock));
        let compute = Compute::new(&other, Backend::Host).unwrap();
        with_lock(one.queue(), || assert_held(Exchange::new(&compute, &info(), image(4))));
        Exchange::new(&compute, &info(), image(4)).unwrap().close().unwrap();
    });
}

/// A thread that waits for the engine's lock is not waited for, even though it holds the lock of
/// the exchange's submissions.
#[test]
fn a_thread_that_waits_for_the_engines_lock_is_not_waited_for() {
    run_with_timeout(|engine, lock| {
        let device = adopt(engine, &lock);
        let compute = Compute::new(&device, Backend::Host).unwrap();
        let mut exchange = Exchange::new(&compute, &info(), numbers()).unwrap();
        let [first, second] = [(); 2].map(|()| exchange.begin().unwrap().finish().unwrap());
        let (sender, waits) = mpsc::channel();
        *lock.waits.lock().unwrap() = Some(sender);
        let submitted = with_lock(device.queue(), || {
            let submits = std::thread::spawn(move || {
                // SAFETY: no commands.
                unsafe { first.submit(&[]) }.unwrap().wait(Rig::LONG).unwrap();
            });
            waits.recv().unwrap();
            assert_held(second.lend());
            submits
        });
        submitted.join().unwrap();
        exchange.close().unwrap();
    });
}

/// A logger that locks the queue of the thread when a message says that the engine's lock has
/// panicked.
struct Logger;

thread_local! {
    static LOGGED: RefCell<Option<(ExportDevice, mpsc::Sender<bool>)>> = const { RefCell::new(None) };
}

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.args().to_string().contains("panicked after a call")
            && let Some((device, seen)) = LOGGED.take()
        {
            seen.send(device.queue().with(|_| ()).is_ok()).unwrap();
        }
    }

    fn flush(&self) {}
}

#[test]
fn a_logger_may_lock_the_queue_that_is_logged() {
    run_with_timeout(|engine, lock| {
        let device = adopt(engine, &lock);
        let (sender, seen) = mpsc::channel();
        LOGGED.set(Some((device.clone(), sender)));
        lock.panics.store(true, Ordering::SeqCst);
        assert_eq!(device.queue().with(|_| 7).unwrap(), 7);
        assert_eq!(seen.recv(), Ok(true));
    });
}
