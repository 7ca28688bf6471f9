//! The logger belongs to the program: the bridge holds no lock while it calls it.

use std::io::Write;
use std::sync::{Mutex, OnceLock, mpsc};

use bridge::{Backend, Compute, Exchange, FrameGraph, Work, trace_to};
use bridge_tests::Rig;
use driver_double::Double;
use log::{Log, Metadata, Record};

use crate::{Words, double, info, lost_vulkan, words};

/// Called with each line.
static HOOK: OnceLock<fn(&str)> = OnceLock::new();

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(hook) = HOOK.get() {
            hook(&record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Installs the logger. Call it before a device is opened, which sets the harness's own logger.
fn logger() {
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn record_line(line: &str) {
    LINES.lock().unwrap().push(line.to_owned());
}

struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        String::from_utf8_lossy(bytes).lines().for_each(|line| record_line(&format!("trace: {line}")));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The trace of a signal is written once the lock is released, so the log line follows it.
pub(crate) fn signals_are_logged_after_their_lock_is_released(name: &str) {
    let Some(_double) = double(name) else { return };
    logger();
    let rig = Rig::open();
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let mut exchange = Exchange::new(&compute, &info(1), words()).unwrap();
    let mut graph = FrameGraph::new(&exchange);
    let captured = |exchange: &mut Exchange<Words>, graph: &mut FrameGraph<Words>| {
        // SAFETY: only the frame's own buffer is used.
        let turn = unsafe {
            exchange.compute_with(graph, |_, work| {
                let Work::Cuda(mut cuda) = work else { unreachable!() };
                Ok(cuda.stream.memset_zeros(&mut cuda.resources)?)
            })
        };
        turn.unwrap().skip();
    };
    captured(&mut exchange, &mut graph);
    trace_to(Sink);
    HOOK.set(record_line).unwrap();
    let place = |lines: &[String], begin: &str, part: &str| {
        let found = lines.iter().position(|line| line.starts_with(begin) && line.contains(part));
        found.unwrap_or_else(|| panic!("no line \"{begin}\" with \"{part}\": {lines:#?}"))
    };
    type Frame<'a> = &'a mut dyn FnMut(&mut Exchange<Words>);
    let frames: [(&str, Frame<'_>); 2] = [
        ("signal ", &mut |exchange| exchange.begin().unwrap().finish().unwrap().skip()),
        ("launch ", &mut |exchange| captured(exchange, &mut graph)),
    ];
    for (begin, frame) in frames {
        LINES.lock().unwrap().clear();
        frame(&mut exchange);
        let lines = std::mem::take(&mut *LINES.lock().unwrap());
        let (traced, logged) = (place(&lines, "trace: ", "\"signal\""), place(&lines, begin, ""));
        assert!(traced < logged, "{lines:#?}");
    }
    drop(graph);
    exchange.close().unwrap();
    bridge::trace_off();
}

/// The exchange that the logger uses.
static OTHER: Mutex<Option<Exchange<Words>>> = Mutex::new(None);
static DOUBLE: OnceLock<Double> = OnceLock::new();

/// Closes an exchange, which also signals in place of a lost device, on a thread that the logger
/// waits for. CUDA is busy until then.
fn close_other(line: &str) {
    if !line.starts_with("signal ") || !line.contains("rendered") {
        return;
    }
    let Some(other) = OTHER.lock().unwrap().take() else { return };
    let (send, ended) = mpsc::channel();
    std::thread::spawn(move || send.send(other.close().is_err()));
    assert_eq!(ended.recv_timeout(lost_vulkan::LIMIT), Ok(true), "it waits for a lock, or CUDA is idle");
    record_line("closed");
    DOUBLE.get().unwrap().release_work();
}

pub(crate) fn a_release_is_logged_after_its_lock_is_released(name: &str) {
    lost_vulkan::with_waiting(name, logger, |double, [waiting, idle]| {
        *OTHER.lock().unwrap() = Some(idle);
        double.hold_work();
        DOUBLE.set(double).unwrap();
        HOOK.set(close_other).unwrap();
        let closed = waiting.close();
        log::set_max_level(log::LevelFilter::Off);
        assert_eq!(*LINES.lock().unwrap(), ["closed"]);
        closed.unwrap();
    });
}
