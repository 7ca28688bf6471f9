//! Copies for another process.

use std::time::Duration;

use vk_export::BufferAccess;

use super::*;
use crate::buffer::spec::BufferSpec;
use crate::compute::remote::Trust;
use crate::test_device::own_device;

const LIMIT: Duration = Duration::from_secs(20);

/// The copy is refused, not dropped as if it had been made.
#[test]
fn copy_off_the_cpu_is_an_error_and_the_value_is_signaled() {
    let Some(device) = own_device() else { return };
    let compute = Compute::remote_unchecked(&device, false, Trust::Simulated).unwrap();
    let info = ExchangeInfo { name: "steps", ..Default::default() };
    let spec = BufferSpec::<u32>::new(64, BufferAccess::TRANSFER_READ);
    let writer = WorkerWriter::new(&compute, &info, &spec).unwrap();
    let (slot, _) = writer.send_slot(|_| true).unwrap();
    let announced = writer.announce(slot).unwrap();
    let copy = |_: Run, _: &mut [u8]| panic!("nothing is mapped");
    let error = writer.fill(announced, Some(copy)).unwrap_err().to_string();
    assert!(error.contains("does not compute on the CPU"), "{error}");
    writer.state.objects.computed.point(announced.value).wait(LIMIT).unwrap();
}
