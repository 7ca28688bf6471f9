//! Test of a signal for the worker that the driver makes although it returns an error.

use vk_export::BufferAccess;

use super::tests::{LIMIT, Words, Worker, submit_as_engine};
use super::*;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::exchange::ExchangeInfo;
use crate::timeline::hooked::{refuse_next_signal, refusing};

/// The signal counts: a second one of the same value would always fail, and end the connection.
#[test]
fn frame_is_sent_if_its_signal_took_effect_despite_an_error() {
    let Some(device) = refusing() else { return };
    let compute = Compute::remote_unchecked(&device, false, Trust::Simulated).unwrap();
    let info = ExchangeInfo { name: "draws", timeout: LIMIT, ..Default::default() };
    let handle = WorkerReader::new(&compute, &info, &Words::new(64, BufferAccess::TRANSFER_WRITE)).unwrap();
    let mut worker = Worker::of(handle);
    submit_as_engine(worker.begin().unwrap(), &[]).wait(LIMIT).unwrap();
    refuse_next_signal();
    worker.advance();
    assert_eq!((worker.sees(), worker.free()), (1, (0, 1)));
    worker.draw().wait(LIMIT).unwrap();
    assert_eq!(worker.sees(), 2);
}
