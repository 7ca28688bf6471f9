//! A CUDA context that is lost while Vulkan's queue waits for it.

use std::thread::{Scope, ScopedJoinHandle};

use bridge::ash::vk;
use bridge::{
    Backend, Compute, Error, Exchange, ExchangeInfo, LatestInfo, LiveObjects, Newest, SubmitInfo, TimelinePoint,
};
use bridge_tests::{Rig, assert_silent};
use driver_double::{Call, Double};

use crate::{Words, double, info, words};

/// `CUDA_ERROR_LAUNCH_FAILED`
pub(crate) const LAUNCH_FAILED: u32 = 719;
/// `CUDA_ERROR_NOT_READY`
const NOT_READY: u32 = 600;
/// In nanoseconds: enough time for a frame that ends.
pub(crate) const LONG: u64 = Rig::LONG.as_nanos() as u64;

/// The operation on the exchanges after the context is lost. Exchanges that it leaves in place are
/// kept alive, because the end of an exchange also signals what Vulkan waits for.
pub(crate) type Ask = fn(&mut Option<Exchange<Words>>, &mut Option<Exchange<Words>>);

/// An engine that waits for its own fence also waits for CUDA, which no longer signals, until an
/// exchange of the compute side is used or dropped.
pub(crate) fn the_queue_continues(name: &str, info: &ExchangeInfo<'_>, ask: Ask) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    // The host signals in place of the lost context; the layer cannot know that CUDA's signal never
    // comes.
    rig.allow(&["VUID-VkSemaphoreSignalInfo-value-03259"]);
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let mut exchange = Exchange::new(&compute, info, words()).unwrap();
    let mut other = Some(Exchange::new(&compute, info, words()).unwrap());
    let fence = Fence::new(&rig);

    double.hold_work();
    let turn = exchange.begin().unwrap().finish().unwrap();
    let frame = Frame::of(&rig, &turn.computed());
    // SAFETY: no commands; the fence is new.
    let rendered = unsafe { turn.submit_with(&SubmitInfo { fence: fence.raw, ..Default::default() }) }.unwrap();
    double.lose_context(0, LAUNCH_FAILED);
    double.release_work();
    assert!(!frame.is_signaled(), "the control: nobody has asked");
    let error = rendered.wait(Rig::LONG).unwrap_err();
    assert!(error.is_device_lost(), "a wait of the bridge's is told at once: {error}");
    assert!(!frame.is_signaled(), "a wait signals nothing");
    assert_eq!(fence.wait(0), Err(vk::Result::TIMEOUT), "the queue does not wait for it");
    let mut exchange = Some(exchange);
    ask(&mut exchange, &mut other);
    fence.wait(LONG).unwrap();
    // Ending the exchanges is not a part of this test.
    std::mem::forget((exchange, other));
}

/// Begins a frame of the first exchange.
pub(crate) fn begin(exchange: &mut Option<Exchange<Words>>, _: &mut Option<Exchange<Words>>) {
    let error: Error = exchange.as_mut().unwrap().begin().unwrap_err();
    assert!(error.is_device_lost(), "{error}");
}

/// Begins a frame of the second exchange.
pub(crate) fn begin_other(exchange: &mut Option<Exchange<Words>>, other: &mut Option<Exchange<Words>>) {
    begin(other, exchange);
}

/// Checks the compute side, without an exchange.
pub(crate) fn check(exchange: &mut Option<Exchange<Words>>, _: &mut Option<Exchange<Words>>) {
    let error = exchange.as_ref().unwrap().compute().check_alive().unwrap_err();
    assert!(error.is_device_lost(), "{error}");
}

/// Waits for the compute side's signals, without an exchange.
pub(crate) fn wait(exchange: &mut Option<Exchange<Words>>, _: &mut Option<Exchange<Words>>) {
    exchange.as_ref().unwrap().compute().wait_for_signals(Rig::LONG).unwrap();
}

/// Ends the first exchange.
pub(crate) fn end(exchange: &mut Option<Exchange<Words>>, _: &mut Option<Exchange<Words>>) {
    drop(exchange.take());
}

/// A frame of a latest exchange, whose compute side has its own stream, is in the queue while a
/// frame of an exchange of the same compute side is requested.
pub(crate) fn a_latest_exchange_continues_with_the_others(name: &str) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    rig.allow(&["VUID-VkSemaphoreSignalInfo-value-03259"]);
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let other = Exchange::new(&compute, &info(2), words()).unwrap();
    let latest = LatestInfo { name: "latest", newest: Newest::Published, timeout: Rig::LONG, ..Default::default() };
    let (mut writer, mut reader) = Exchange::latest(&compute, &latest, words()).unwrap();
    let fence = Fence::new(&rig);

    double.hold_work();
    writer.begin().unwrap().publish().unwrap();
    let turn = reader.newest().unwrap().unwrap();
    let frame = Frame::of(&rig, &turn.computed());
    // SAFETY: no commands; the fence is new.
    unsafe { turn.submit_with(&SubmitInfo { fence: fence.raw, ..Default::default() }) }.unwrap();
    double.lose_context(0, LAUNCH_FAILED);
    double.release_work();
    assert!(!frame.is_signaled(), "the control: nobody has asked");
    assert_eq!(fence.wait(0), Err(vk::Result::TIMEOUT), "the queue does not wait for it");
    drop(other);
    fence.wait(LONG).unwrap();
    std::mem::forget((writer, reader));
}

/// The writer of a latest exchange waits for its own frames, which never end after the context is
/// lost.
pub(crate) fn a_waiting_writer_lets_the_queue_continue(name: &str) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    rig.allow(&["VUID-VkSemaphoreSignalInfo-value-03259"]);
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let latest = LatestInfo {
        name: "latest",
        newest: Newest::Published,
        writer_in_flight: 1,
        timeout: Rig::LONG,
        ..Default::default()
    };
    let (mut writer, mut reader) = Exchange::latest(&compute, &latest, words()).unwrap();
    let fence = Fence::new(&rig);

    double.hold_work();
    writer.begin().unwrap().publish().unwrap();
    let turn = reader.newest().unwrap().unwrap();
    let frame = Frame::of(&rig, &turn.computed());
    // SAFETY: no commands; the fence is new.
    unsafe { turn.submit_with(&SubmitInfo { fence: fence.raw, ..Default::default() }) }.unwrap();
    double.lose_context(0, LAUNCH_FAILED);
    double.release_work();
    assert!(!frame.is_signaled(), "the control: nobody has asked");
    assert_eq!(fence.wait(0), Err(vk::Result::TIMEOUT), "the queue does not wait for it");
    let error = writer.begin().map(drop).unwrap_err();
    assert!(error.is_device_lost(), "{error}");
    fence.wait(LONG).unwrap();
    std::mem::forget((writer, reader));
}

/// The context is lost after the end of an exchange has seen that it is alive, while it waits for
/// Vulkan.
pub(crate) fn while_an_exchange_ends(name: &str, end: fn(Exchange<Words>)) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    rig.allow(&["VUID-VkSemaphoreSignalInfo-value-03259"]);
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let before = LiveObjects::now();
    let mut exchange = Exchange::new(&compute, &info(2), words()).unwrap();
    let fence = Fence::new(&rig);

    double.hold_work();
    let turn = exchange.begin().unwrap().finish().unwrap();
    // SAFETY: no commands; the fence is new.
    unsafe { turn.submit_with(&SubmitInfo { fence: fence.raw, ..Default::default() }) }.unwrap();
    std::thread::scope(|scope| drop(lose_once_queried(scope, &double, || end(exchange))));
    fence.wait(LONG).unwrap();
    assert_nothing_in_use(before);
    assert_silent(rig.device());
}

/// The context is lost while `run_once` waits for the frame's commands, which wait for CUDA. The
/// error is not a timeout, which means that the commands have ended.
pub(crate) fn while_commands_run_once(name: &str) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    rig.allow(&["VUID-VkSemaphoreSignalInfo-value-03259"]);
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let mut exchange = Exchange::new(&compute, &info(2), words()).unwrap();

    double.hold_work();
    let turn = exchange.begin().unwrap().finish().unwrap();
    let error = std::thread::scope(|scope| {
        // SAFETY: nothing is recorded but the turn's barriers.
        let ran = lose_once_queried(scope, &double, || unsafe { turn.run_once(Rig::LONG, |_, _| {}) });
        ran.join().unwrap().unwrap_err()
    });
    assert!(error.is_device_lost(), "{error}");
    let fence = Fence::new(&rig);
    // SAFETY: no commands; the fence is new.
    unsafe { rig.device().queue().submit(&[], fence.raw) }.unwrap();
    // Nothing asks for the context here, so what has not ended stays that way.
    fence.wait(LONG).expect("what was before it has ended");
    assert_silent(rig.device());
    exchange.close().unwrap();
}

/// Calls `waits` on a thread, and loses the context once that thread has seen that the context is
/// alive.
fn lose_once_queried<'s, T: Send + 's>(
    scope: &'s Scope<'s, '_>,
    double: &Double,
    waits: impl FnOnce() -> T + Send + 's,
) -> ScopedJoinHandle<'s, T> {
    double.forget_calls();
    let thread = scope.spawn(waits);
    let lives = |made: &Call| made.name == "cuStreamQuery" && made.code == NOT_READY;
    double.wait_until("the context is asked for", |double| double.calls().iter().any(lives));
    double.lose_context(0, LAUNCH_FAILED);
    double.release_work();
    thread
}

/// Checks that nothing was leaked because it might be in use. Buffers are not counted, because a
/// lost context does not release its mappings.
fn assert_nothing_in_use(before: LiveObjects) {
    let mut now = LiveObjects::now();
    (now.buffers, now.leaked_buffers) = (before.buffers, before.leaked_buffers);
    assert_eq!(now, before);
}

/// Two compute sides on one device share one context. A frame of one waits behind a frame of the
/// other, and only one of the two sides ends.
pub(crate) fn is_noticed_for_another_compute_side(name: &str) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    rig.allow(&["VUID-VkSemaphoreSignalInfo-value-03259"]);
    let sides = [(), ()].map(|()| Compute::new(rig.device(), Backend::Cuda).unwrap());
    let before = LiveObjects::now();
    let [mut first, mut behind] = sides.each_ref().map(|side| Exchange::new(side, &info(2), words()).unwrap());
    let fence = Fence::new(&rig);

    double.hold_work();
    let turn = first.begin().unwrap().finish().unwrap();
    // SAFETY: no commands.
    unsafe { turn.submit(&[]) }.unwrap();
    let turn = behind.begin().unwrap().finish().unwrap();
    let frame = Frame::of(&rig, &turn.computed());
    // SAFETY: no commands; the fence is new.
    unsafe { turn.submit_with(&SubmitInfo { fence: fence.raw, ..Default::default() }) }.unwrap();
    double.lose_context(0, LAUNCH_FAILED);
    double.release_work();
    assert!(!frame.is_signaled(), "the control: nobody has asked");
    assert_eq!(fence.wait(0), Err(vk::Result::TIMEOUT), "the queue does not wait for it");
    behind.close().unwrap();
    fence.wait(LONG).unwrap();
    first.close().unwrap();
    assert_nothing_in_use(before);
    assert_silent(rig.device());
}

/// A CUDA frame that Vulkan's queue waits for. Once a call of the double has returned, CUDA has
/// signaled all it can, so a single look is enough and no time has to pass.
pub(crate) struct Frame<'r> {
    rig: &'r Rig,
    signal: vk::SemaphoreSubmitInfo<'static>,
}

impl<'r> Frame<'r> {
    pub(crate) fn of(rig: &'r Rig, computed: &TimelinePoint) -> Self {
        Self { rig, signal: computed.wait_info(vk::PipelineStageFlags2::ALL_COMMANDS).unwrap() }
    }

    /// Returns whether the frame is signaled, by CUDA or in its place. Makes no call to the bridge.
    pub(crate) fn is_signaled(&self) -> bool {
        // SAFETY: a timeline of the device, whose exchange is kept alive until then.
        let value = unsafe { self.rig.device().as_raw().get_semaphore_counter_value(self.signal.semaphore) };
        value.unwrap() >= self.signal.value
    }
}

/// A fence of the program. It is destroyed once it is signaled.
pub(crate) struct Fence<'r> {
    pub(crate) raw: vk::Fence,
    rig: &'r Rig,
}

impl<'r> Fence<'r> {
    pub(crate) fn new(rig: &'r Rig) -> Self {
        // SAFETY: a live device.
        let raw = unsafe { rig.device().as_raw().create_fence(&vk::FenceCreateInfo::default(), None) }.unwrap();
        Self { raw, rig }
    }

    pub(crate) fn wait(&self, limit: u64) -> Result<(), vk::Result> {
        // SAFETY: a fence of the device.
        unsafe { self.rig.device().as_raw().wait_for_fences(&[self.raw], true, limit) }
    }
}

impl Drop for Fence<'_> {
    fn drop(&mut self) {
        if self.wait(0).is_ok() {
            // SAFETY: the submission that signals it has ended.
            unsafe { self.rig.device().as_raw().destroy_fence(self.raw, None) };
        }
    }
}
