//! Work of one exchange that is lost with a call of another is said by its own turn.

use bridge::ash::vk;
use bridge::{BufferSpec, Compute, Exchange, ExchangeInfo, ExportDevice, QueueKind, Work};

use crate::hook::{self, NAMES, Plan, inside};
use crate::shape::Shape;

/// Turns of two exchanges have work in one command buffer. The end of one fails, and both frames
/// are lost: the other's must not pass for computed.
pub(crate) fn work_of_another_turn_is_not_lost_in_silence(device: &ExportDevice) {
    let compute = Compute::inline(device, QueueKind::Graphics).unwrap();
    let exchange = |name| {
        let info = ExchangeInfo { name, slots: 1, ..Default::default() };
        Exchange::new(&compute, &info, <BufferSpec<u32>>::spec()).unwrap()
    };
    let (mut one, mut other) = (exchange("one"), exchange("other"));
    let (mut first, mut second) = (one.begin().unwrap(), other.begin().unwrap());
    for turn in [&mut first, &mut second] {
        let Work::Inline(work) = turn.work() else { unreachable!("no other backend is opened") };
        // SAFETY: nothing is recorded.
        unsafe { work.record(|_| {}) }.unwrap();
    }
    let function = NAMES.iter().position(|name| *name == "vkEndCommandBuffer").unwrap();
    hook::plan(Some(Plan { function, left: 0, result: vk::Result::ERROR_OUT_OF_HOST_MEMORY }));
    let (failed, hit) = inside(|| second.finish());
    assert!(hit.is_some() && failed.unwrap_err().to_string().contains("vkEndCommandBuffer"));
    let error = first.finish().expect_err("its work is lost").to_string();
    assert!(error.contains("vkEndCommandBuffer"), "{error}");
    // Both go on.
    for exchange in [&mut one, &mut other] {
        assert!(exchange.begin().is_err(), "a lost frame is said");
        exchange.begin().unwrap().finish().unwrap().skip();
    }
    one.close().unwrap();
    other.close().unwrap();
}
