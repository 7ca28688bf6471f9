//! A CUDA context that is lost while Vulkan's queue waits for it.

use bridge::ash::vk;
use bridge::{Backend, Compute, Error, Exchange, SubmitInfo};
use bridge_tests::Rig;

use crate::{Words, double, info, words};

/// `CUDA_ERROR_LAUNCH_FAILED`
const LAUNCH_FAILED: u32 = 719;
/// In nanoseconds: time for a frame to be seen to end that does not.
const MOMENT: u64 = 200_000_000;

/// An engine that waits for its own fence waits for CUDA, which signals no more, until an exchange
/// of the compute side is asked or dropped.
pub(crate) fn the_queue_goes_on(name: &str, ask: fn(Exchange<Words>, Exchange<Words>)) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    // The host signals in place of the lost context; the layer cannot know that CUDA's signal never
    // comes.
    rig.allow(&["VUID-VkSemaphoreSignalInfo-value-03259"]);
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let mut exchange = Exchange::new(&compute, &info(2), words()).unwrap();
    let other = Exchange::new(&compute, &info(2), words()).unwrap();
    let raw = rig.device().as_raw();
    // SAFETY: a live device.
    let fence = unsafe { raw.create_fence(&vk::FenceCreateInfo::default(), None) }.unwrap();
    // SAFETY: a fence of the device.
    let wait = |limit| unsafe { raw.wait_for_fences(&[fence], true, limit) };

    double.hold_work();
    let turn = exchange.begin().unwrap().finish().unwrap();
    // SAFETY: no commands; the fence is new.
    let rendered = unsafe { turn.submit_with(&SubmitInfo { fence, ..Default::default() }) }.unwrap();
    double.lose_context(0, LAUNCH_FAILED);
    double.let_work_go();
    assert_eq!(wait(MOMENT), Err(vk::Result::TIMEOUT), "the control: nobody has asked");
    let error = rendered.wait(Rig::LONG).unwrap_err();
    assert!(error.is_device_lost(), "a wait of the bridge's is told at once: {error}");
    ask(exchange, other);
    wait(u64::try_from(Rig::LONG.as_nanos()).unwrap()).unwrap();
    // SAFETY: the submission that has it has ended.
    unsafe { raw.destroy_fence(fence, None) };
}

pub(crate) fn begin(mut exchange: Exchange<Words>) {
    let error: Error = exchange.begin().unwrap_err();
    assert!(error.is_device_lost(), "{error}");
    // Its end, too, signals what Vulkan waits for.
    std::mem::forget(exchange);
}
