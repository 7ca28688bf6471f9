//! A turn reports the loss of its work even if a call of another exchange caused it.

use bridge::ash::vk;
use bridge::{BufferSpec, Compute, Exchange, ExchangeInfo, ExportDevice, QueueKind, Work};

use crate::hook::{self, NAMES, Plan, inside};
use crate::shape::Shape;

/// Two exchanges have work in one command buffer. Ending it fails in a call of one of them, and the
/// work of both is lost: the other's frame must not count as computed.
pub(crate) fn lost_work_of_another_turn_is_reported(device: &ExportDevice) {
    let compute = Compute::inline(device, QueueKind::Graphics).unwrap();
    let exchange = |name| {
        let info = ExchangeInfo { name, slots: 1, ..Default::default() };
        Exchange::new(&compute, &info, <BufferSpec<u32>>::spec()).unwrap()
    };
    let (mut one, mut other) = (exchange("one"), exchange("other"));
    let mut first = one.begin().unwrap();
    let Work::Inline(work) = first.work() else { unreachable!("no other backend is opened") };
    // SAFETY: nothing is recorded.
    unsafe { work.record(|_| {}) }.unwrap();
    let function = NAMES.iter().position(|name| *name == "vkEndCommandBuffer").unwrap();
    hook::plan(Some(Plan { function, left: 0, result: vk::Result::ERROR_OUT_OF_HOST_MEMORY }));
    // The copy of the buffers' contents is recorded after the first frame's work.
    let len = other.resources().len();
    let (failed, hit) = inside(|| other.grow(2 * len));
    assert!(hit.is_some() && failed.unwrap_err().to_string().contains("vkEndCommandBuffer"));
    let error = first.finish().expect_err("its work is lost").to_string();
    assert!(error.contains("vkEndCommandBuffer"), "{error}");
    // Both exchanges remain usable.
    assert!(one.begin().is_err(), "a lost frame is said");
    for exchange in [&mut one, &mut other] {
        exchange.begin().unwrap().finish().unwrap().skip();
    }
    one.close().unwrap();
    other.close().unwrap();
}
