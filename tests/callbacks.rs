//! User code that is called at critical moments: trace sinks that use the bridge, loggers that
//! panic, and exchanges that end inside closures. Each test runs in its own process, since it needs
//! the process's only logger or would hang if it fails.
#![allow(unsafe_code, clippy::unwrap_used)] // Recording and submissions.

use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use bridge::ash::vk;
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, ExportDevice, ImageAccess, ImageSpec,
    LiveObjects, RenderTurn, SharedBuffer, SharedPool, SharedPoolInfo, Work, trace_to,
};
use bridge_tests::{Commands, Rig, assert_silent};

/// Time limit of a test in its process; the tests only wait for the CPU.
const LIMIT: Duration = Duration::from_secs(60);

/// A process in which a test continues. Dropping it at the end of the test fails the test if the
/// validation layer has reported anything.
struct Child;

impl Drop for Child {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            opened().iter().for_each(assert_silent);
        }
    }
}

/// Returns the devices of this process.
fn opened() -> MutexGuard<'static, Vec<ExportDevice>> {
    static OPENED: Mutex<Vec<ExportDevice>> = Mutex::new(Vec::new());
    OPENED.lock().unwrap()
}

/// Returns a [`Child`] in a new process, in which the test continues, and `None` in the original
/// process once the new one has passed.
fn in_child(test: &str) -> Option<Child> {
    const VARIABLE: &str = "CALLBACKS_CHILD";
    if std::env::var_os(VARIABLE).is_some() {
        return Some(Child);
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(VARIABLE, "1").stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{test}: {status}");
            return None;
        }
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{test}: it hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `call` on another thread. Returns `None` if it does not return.
fn call_with_timeout<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = sender.send(call());
    });
    receiver.recv_timeout(Rig::LONG).ok()
}

fn host() -> (ExportDevice, Compute) {
    let device = Rig::open_own();
    opened().push(device.clone());
    let compute = Compute::new(&device, Backend::Host).unwrap();
    (device, compute)
}

fn info(slots: usize) -> ExchangeInfo<'static> {
    ExchangeInfo { name: "watched", slots, timeout: Duration::from_secs(5), ..Default::default() }
}

fn exchange(compute: &Compute, slots: usize) -> Exchange<BufferSpec<u32>> {
    Exchange::new(compute, &info(slots), BufferSpec::new(16, BufferAccess::TRANSFER_READ)).unwrap()
}

/// A thread that holds the queue, for example to present, can create an exchange or gets an error,
/// but never deadlocks.
#[test]
fn an_exchange_is_made_or_refused_while_its_thread_holds_the_queue() {
    let Some(_child) = in_child("an_exchange_is_made_or_refused_while_its_thread_holds_the_queue") else { return };
    let (device, compute) = host();
    let made = call_with_timeout(move || {
        let spec = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [4, 4], ImageAccess::TRANSFER_READ);
        device.queue().with(|_| Exchange::new(&compute, &info(1), spec).is_ok()).unwrap()
    });
    assert!(made.is_some(), "the thread waits for a lock that it holds itself");
}

/// A trace sink that runs a callback for each line that contains a text, and notes that a call has
/// returned.
struct Sink<F> {
    text: &'static str,
    call: F,
    called: Arc<AtomicBool>,
}

/// Returns the sink, and a function that returns whether its callback has run.
fn sink<F: FnMut()>(text: &'static str, call: F) -> (Sink<F>, impl Fn() -> bool) {
    let called = Arc::new(AtomicBool::new(false));
    let sink = Sink { text, call, called: Arc::clone(&called) };
    (sink, move || called.load(Ordering::SeqCst))
}

impl<F: FnMut()> Write for Sink<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if String::from_utf8_lossy(bytes).contains(self.text) {
            (self.call)();
            self.called.store(true, Ordering::SeqCst);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// "It may use this crate": no lock of an exchange is held while its sink is called.
#[test]
fn a_sink_may_lend_another_frame_of_the_exchange() {
    let Some(_child) = in_child("a_sink_may_lend_another_frame_of_the_exchange") else { return };
    let (device, compute) = host();
    let mut exchange = exchange(&compute, 2);
    let [first, second] = [(); 2].map(|()| exchange.begin().unwrap().finish().unwrap());
    first.computed().wait(Rig::LONG).unwrap();
    second.computed().wait(Rig::LONG).unwrap();
    let second: Arc<Mutex<Option<RenderTurn<BufferSpec<u32>>>>> = Arc::new(Mutex::new(Some(second)));
    let (sink, called) = sink("watched.rendered", move || {
        if let Some(second) = second.lock().unwrap().take() {
            // The ledger lends or refuses it; the result is dropped either way.
            drop(second.lend());
        }
    });
    trace_to(sink);
    let submitted = call_with_timeout(move || {
        let commands = Commands::new(&device);
        let recorded = commands.record(&first, |_| {});
        // SAFETY: recorded with the turn's barriers, and kept: the process ends before anything is
        // freed.
        let submitted = unsafe { first.submit(&[recorded]) }.is_ok();
        std::mem::forget((commands, exchange));
        submitted
    });
    assert!(submitted.is_some(), "the thread waits for a lock that it holds itself");
    assert!(called(), "the sink was not called");
}

/// Like the test above: no lock of a pool is held either.
#[test]
fn a_sink_may_look_at_the_pool_that_grows() {
    let Some(_child) = in_child("a_sink_may_look_at_the_pool_that_grows") else { return };
    let (_device, compute) = host();
    const LEN: usize = 1 << 20;
    let info = SharedPoolInfo { block_size: 4 * LEN as u64, ..Default::default() };
    let pool = SharedPool::new(&compute, &info).unwrap();
    let made = |pool: &_, name| SharedBuffer::<u32>::new_in(pool, name, LEN, BufferAccess::TRANSFER_READ);
    let _first = made(&pool, "first").unwrap();
    let looks = pool.clone();
    let (sink, called) = sink("pool.block", move || {
        let _ = looks.report();
    });
    trace_to(sink);
    // The first buffer has filled its block.
    let made = call_with_timeout(move || made(&pool, "second").is_ok());
    assert!(made.is_some(), "the thread waits for a lock that it holds itself");
    assert!(called(), "the sink was not called");
}

/// Like the test above: a sink may replace itself, for example when its file is full.
#[test]
fn a_sink_may_replace_itself() {
    let Some(_child) = in_child("a_sink_may_replace_itself") else { return };
    let (_device, compute) = host();
    let (sink, called) = sink("create", || trace_to(std::io::sink()));
    trace_to(sink);
    let made = call_with_timeout(move || exchange(&compute, 1).slots());
    assert!(made.is_some(), "the thread waits for a lock that it holds itself");
    assert!(called(), "the sink was not called");
}

thread_local! {
    /// Whether the logger panics on this thread.
    static PANICS: Cell<bool> = const { Cell::new(false) };
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        assert!(!PANICS.get(), "the logger panics at {:?}", record.args().to_string());
    }

    fn flush(&self) {}
}

/// Drops a value while the logger panics on this thread.
fn drop_with_panicking_logger(value: impl Sized) {
    static LOGGER: OnceLock<()> = OnceLock::new();
    LOGGER.get_or_init(|| {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
    PANICS.set(true);
    let dropped = catch_unwind(AssertUnwindSafe(move || drop(value)));
    PANICS.set(false);
    assert!(dropped.is_ok(), "the panic of a logger came through");
}

/// Installs the process's only logger before the harness does.
fn host_with_own_logger() -> (ExportDevice, Compute) {
    let _ = catch_unwind(|| drop_with_panicking_logger(()));
    host()
}

#[test]
fn a_compute_turn_is_given_back_although_the_logger_panics() {
    let Some(_child) = in_child("a_compute_turn_is_given_back_although_the_logger_panics") else { return };
    let (_device, compute) = host_with_own_logger();
    let mut exchange = exchange(&compute, 1);
    drop_with_panicking_logger(exchange.begin().unwrap());
    // The loss is reported once, then the exchange continues.
    assert!(exchange.begin().is_err());
    let again = exchange.begin();
    assert!(again.is_ok(), "{again:?}");
}

#[test]
fn a_render_turn_is_given_back_although_the_logger_panics() {
    let Some(_child) = in_child("a_render_turn_is_given_back_although_the_logger_panics") else { return };
    let (_device, compute) = host_with_own_logger();
    let mut exchange = exchange(&compute, 1);
    drop_with_panicking_logger(exchange.begin().unwrap().finish().unwrap());
    // The loss is reported once, then the exchange continues.
    assert!(exchange.begin().is_err());
    let again = exchange.begin();
    assert!(again.is_ok(), "{again:?}");
}

/// "What dropping does, with the error": closing an exchange inside a closure of the compute side
/// frees everything, on a separate thread.
#[test]
fn closing_an_exchange_inside_a_closure_leaks_nothing() {
    let Some(_child) = in_child("closing_an_exchange_inside_a_closure_leaks_nothing") else { return };
    let (_device, compute) = host();
    let before = LiveObjects::now();
    let (mut running, ending) = (exchange(&compute, 1), exchange(&compute, 1));
    let (sender, receiver) = mpsc::channel();
    let mut turn = running.begin().unwrap();
    if let Work::Host(host) = turn.work() {
        host.run(move |_| sender.send(ending.close().map_err(|error| error.to_string())).unwrap()).unwrap();
    }
    turn.finish().unwrap().skip();
    let closed = receiver.recv_timeout(Rig::LONG).unwrap();
    running.close().unwrap();
    // The exchange ends on a separate thread, and the process must not end before it does.
    let start = Instant::now();
    while LiveObjects::now() != before && start.elapsed() < Rig::LONG {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!((LiveObjects::now(), closed), (before, Ok(())), "nothing of it was in use");
}

/// If no thread can be started, the exchange is leaked immediately, because waiting for work of
/// this very thread would deadlock.
#[cfg(target_os = "linux")]
#[test]
fn an_exchange_that_ends_inside_a_closure_without_a_thread_is_leaked_at_once() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Some(_child) = in_child("an_exchange_that_ends_inside_a_closure_without_a_thread_is_leaked_at_once") else {
        return;
    };
    let (_device, compute) = host();
    let (mut running, mut ending) = (exchange(&compute, 1), {
        let info = ExchangeInfo { timeout: 10 * LIMIT, ..info(1) };
        Exchange::new(&compute, &info, BufferSpec::<u32>::new(16, BufferAccess::TRANSFER_READ)).unwrap()
    });
    let (sender, receiver) = mpsc::channel();
    let mut turn = running.begin().unwrap();
    // Its frame is queued after the closure on the same thread.
    let (hand_over, handed_over) = mpsc::channel();
    if let Work::Host(host) = turn.work() {
        host.run(move |_| {
            let ending: Exchange<BufferSpec<u32>> = handed_over.recv().unwrap();
            // Less than the stack of a thread. New threads reuse the stacks of ended threads first.
            let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
            let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
            let before = getrlimit(Resource::As);
            setrlimit(Resource::As, Rlimit { current: Some(pages * 4096 + (1 << 20)), ..before }).unwrap();
            let end = Arc::new(Mutex::new(()));
            let not_yet = end.lock().unwrap();
            let mut waiting = Vec::new();
            let refused = loop {
                let end = Arc::clone(&end);
                match std::thread::Builder::new().spawn(move || drop(end.lock())) {
                    Ok(thread) => waiting.push(thread),
                    Err(error) => break error,
                }
            };
            drop(ending);
            setrlimit(Resource::As, before).unwrap();
            drop(not_yet);
            waiting.into_iter().for_each(|thread| thread.join().unwrap());
            sender.send(refused).unwrap();
        })
        .unwrap();
    }
    ending.begin().unwrap().finish().unwrap().skip();
    hand_over.send(ending).unwrap();
    assert!(receiver.recv_timeout(LIMIT).is_ok(), "it waits for its own thread");
    turn.finish().unwrap().skip();
    running.close().unwrap();
    assert_eq!((LiveObjects::now().leaked_buffers, LiveObjects::now().leaked_timelines), (1, 2));
}
