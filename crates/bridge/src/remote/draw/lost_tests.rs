//! A worker with CUDA that reads in step, and whose renderer's device is lost.
#![allow(unsafe_code)] // The worker's signals.

use super::tests::{LIMIT, Worker};
use super::*;

/// Nothing can be seen of it: it is neither blamed nor killed for that.
#[test]
fn what_is_owed_to_a_lost_device_is_forgiven() {
    for both in [true, false] {
        let Some(mut worker) = Worker::new() else { return };
        worker.draw().wait(LIMIT).unwrap();
        worker.free();
        assert!(worker.draw.overrun(Duration::ZERO, false).is_some() && worker.draw.is_waited_for());
        worker.draws.state().pretend_loss(both);
        if both {
            worker.advance();
        } else {
            assert_eq!(worker.draw.overrun(Duration::ZERO, false), None);
        }
        assert!(!worker.draw.is_waited_for() && worker.draw.owed() == 0);
    }
    // The negative control: a value that the worker itself has signalled.
    let Some(mut worker) = Worker::new() else { return };
    worker.draw().wait(LIMIT).unwrap();
    worker.free();
    // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: it is the only signal.
    unsafe { worker.draws.state().computed_semaphore().signal(u64::MAX) }.unwrap();
    assert!(worker.draw.advance().is_err() && worker.draw.overrun(Duration::ZERO, false).is_some());
}
