//! How often a waiting thread queries the value of a timeline, which is what spinning consists of.
//! This is one test, because the device's function is replaced.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

use bridge::ExportDevice;
use bridge::ash::vk;
use bridge_tests::{Engine, case_on};

use super::*;

type GetCounter = vk::PFN_vkGetSemaphoreCounterValue;
type WaitSemaphores = vk::PFN_vkWaitSemaphores;

static GET_COUNTER: OnceLock<GetCounter> = OnceLock::new();
static WAIT_SEMAPHORES: OnceLock<WaitSemaphores> = OnceLock::new();

thread_local! {
    static QUERIES: Cell<u128> = const { Cell::new(0) };
    static WAITS: Cell<u128> = const { Cell::new(0) };
}

unsafe extern "system" fn get_counter(device: vk::Device, semaphore: vk::Semaphore, value: *mut u64) -> vk::Result {
    QUERIES.set(QUERIES.get() + 1);
    let real = GET_COUNTER.get().unwrap();
    // SAFETY: forwarded to the real function.
    unsafe { real(device, semaphore, value) }
}

unsafe extern "system" fn wait_semaphores(
    device: vk::Device,
    info: *const vk::SemaphoreWaitInfo<'_>,
    limit: u64,
) -> vk::Result {
    WAITS.set(WAITS.get() + 1);
    let real = WAIT_SEMAPHORES.get().unwrap();
    // SAFETY: forwarded to the real function.
    unsafe { real(device, info, limit) }
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    match name.to_bytes() {
        b"vkGetSemaphoreCounterValue" => {
            // SAFETY: the function of that name has this type.
            let _ = GET_COUNTER.set(unsafe { std::mem::transmute::<*const c_void, GetCounter>(real) });
            get_counter as *const c_void
        }
        b"vkWaitSemaphores" => {
            // SAFETY: as above.
            let _ = WAIT_SEMAPHORES.set(unsafe { std::mem::transmute::<*const c_void, WaitSemaphores>(real) });
            wait_semaphores as *const c_void
        }
        _ => real,
    }
}

#[test]
fn a_blocking_wait_does_not_spin() {
    // Never destroyed: NVIDIA's driver deadlocks if a device is destroyed while a thread that has
    // used Vulkan exits.
    let engine = Box::leak(Box::new(Engine::new(Some(hook))));
    for backend in [Backend::Host, Backend::Cuda] {
        // SAFETY: the engine's own handles, which live forever.
        let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
        if let Some(compute) = case_on(&device, backend, "a_held_frame") {
            a_held_frame(&device, &compute);
        }
    }
    engine.assert_silent();
}

/// Waits for both points of a frame that is held, so each wait ends with a timeout.
fn a_held_frame(device: &ExportDevice, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(device, SIZE));
    let info = ExchangeInfo { name: "looks", timeout: Rig::LONG, ..Default::default() };
    let spec = BufferSpec::new(LEN, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::<BufferSpec<u32>>::new(compute, &info, spec).unwrap();
    let gate = Gate::on(compute);
    let mut turn = exchange.begin().unwrap();
    gate.hold(&mut turn);
    filler.fill(&mut turn, 1);
    let turn = turn.finish().unwrap();
    let computed = turn.computed();
    let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
    // SAFETY: recorded with the turn's barriers; waited for below.
    let rendered = unsafe { turn.submit(&[commands]) }.unwrap();
    match compute.backend() {
        Backend::Cuda => polls(&computed),
        _ => blocks(&computed),
    }
    blocks(&rendered);
    gate.open();
    rendered.wait_blocking(Rig::LONG).unwrap();
    assert!(computed.is_reached().unwrap() && rendered.is_reached().unwrap());
}

const LIMIT: Duration = Duration::from_millis(5);

/// The result of a wait that does not end.
struct Waited {
    queries: u128,
    /// Calls in which the driver was asked to block.
    blocks: u128,
    time: Duration,
}

impl Waited {
    fn of(wait: impl FnOnce() -> bridge::Result<()>) -> Self {
        let (queries, blocks, start) = (QUERIES.get(), WAITS.get(), Instant::now());
        let error = wait().unwrap_err();
        let time = start.elapsed();
        assert!(matches!(error, bridge::Error::Timeout { .. }), "{error}");
        Self { queries: QUERIES.get() - queries, blocks: WAITS.get() - blocks, time }
    }
}

/// Vulkan or the CPU signals: the driver is asked to block, again each time it returns too early.
/// The only look is for the error, which contains the value of the timeline.
fn blocks(point: &TimelinePoint) {
    // If CUDA is in use, one thread blocks at a time and the others look and sleep. This thread
    // does so while another test waits.
    let mut waits = std::iter::repeat_with(|| Waited::of(|| point.wait_blocking(LIMIT))).take(2000);
    let alone = waits.find(|waited| waited.blocks > 0 && waited.queries <= 1);
    assert_eq!(alone.expect("no wait blocks").queries, 1, "the error says how far the timeline has come");
    // The negative control. If a thread does not get the processor, the first waits may not spin.
    let mut waits = std::iter::repeat_with(|| Waited::of(|| point.wait(LIMIT))).take(2000);
    assert!(waits.any(|waited| waited.queries > 2), "a wait that spins queries no more often");
}

/// CUDA signals, which the driver notices late if it is asked to block, so the thread looks itself.
/// Between two looks it sleeps for at least 20 us, which bounds the number of looks by the duration
/// of the wait; it checks whether the device is lost every 20 ms.
fn polls(point: &TimelinePoint) {
    let most = |time: Duration| time.as_micros() / 20 + 3;
    let Waited { queries, blocks, time } = Waited::of(|| point.wait_blocking(LIMIT));
    assert!(queries <= most(time), "{queries} looks in {time:?}");
    assert!(blocks <= time.as_millis() / 20, "{blocks} calls that block in {time:?}");
    // The negative control: a wait that spins looks more often. If other threads use the processor,
    // it may look less often, so it is tried several times.
    let start = Instant::now();
    loop {
        let Waited { queries, time, .. } = Waited::of(|| point.wait(LIMIT));
        if queries > most(time) {
            return;
        }
        assert!(start.elapsed() < Rig::LONG, "a wait that spins looks {queries} times in {time:?}");
    }
}
