//! Tests of the timeline on which a worker with CUDA sees Vulkan's progress: the worker can signal
//! it with any value, and this process concludes nothing from that.
#![allow(unsafe_code)] // Submitting, and the worker's signals.

use vk_export::ash::vk;

use super::tests::{HANGS, LIMIT, Words, Worker, submit};
use super::*;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::error::Error;
use crate::exchange::{ProgramHalf as _, RenderTurn};
use crate::remote::test_renderer::BEFORE_PENDING;
use crate::signaler::Signaler;
use crate::test_device::{allow, own_device};

impl Worker {
    /// Returns the value of Vulkan's progress that the worker sees.
    fn sees(&self) -> u64 {
        self.steps.state().mirror_semaphore().unwrap().value().unwrap()
    }

    /// Signals the timeline in Vulkan's place.
    fn lies(&self, value: u64) {
        let state = self.steps.state();
        let semaphore = state.mirror_semaphore().unwrap();
        allow(semaphore.device(), &[BEFORE_PENDING]);
        let info = vk::SemaphoreSignalInfo::default().semaphore(semaphore.as_raw()).value(value);
        // SAFETY: the handle is of this device. VUID-VkSemaphoreSignalInfo-value-03258 holds; the
        // lower value that the queue signals next is wrong on purpose, and only a number here.
        unsafe { semaphore.device().as_raw().signal_semaphore(&info) }.unwrap();
    }
}

/// Submits a turn as an engine does, with the signals of its parts only.
fn lend(turn: RenderTurn<Words>) -> crate::timeline::TimelinePoint {
    let lent = turn.lend().unwrap();
    let (parts, signals) = (lent.parts(), [lent.parts().signal()]);
    let batch = vk::SubmitInfo2::default().wait_semaphore_infos(parts.waits()).signal_semaphore_infos(&signals);
    // SAFETY: no commands use the slot; the parts are submitted unchanged, to the turn's queue.
    unsafe { lent.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: the parts were submitted by the call above.
    unsafe { lent.submitted() }
}

/// Nothing counts as free, reusable or finished before the queue has signaled it on a timeline that
/// the worker does not have.
#[test]
fn forged_signal_ends_no_wait_of_the_renderer() {
    let Some(mut worker) = Worker::new() else { return };
    worker.announce();
    let point = submit(worker.turn());
    // The queue waits for the worker, which signals that Vulkan has long finished.
    worker.lies(1000);
    assert_eq!(worker.sees(), 1000);
    assert!(!point.is_reached().unwrap(), "the worker's word is taken for Vulkan's");
    assert!(matches!(point.wait(HANGS), Err(Error::Timeout { .. })));
    // If this succeeded, the next worker would get the slots, and the timelines would be destroyed.
    let _ = worker.part.handle.export_timelines(EXCHANGE);
    let refused = worker.part.handle.renew(&|| Ok(())).unwrap_err();
    assert!(matches!(refused, Error::Timeout { .. }), "{refused}");
    // The program leaves meanwhile.
    let stopped = || Err(Error::HostFailed { reason: "stopped".into() });
    let refused = worker.part.handle.renew(&stopped).unwrap_err();
    assert!(matches!(refused, Error::HostFailed { .. }), "{refused}");
    worker.finish(1);
    point.wait(LIMIT).unwrap();
    worker.steps.close().unwrap();
}

/// A worker cannot influence the time in which it counts as waiting for Vulkan.
#[test]
fn worker_cannot_influence_its_waiting_time() {
    let Some(mut worker) = Worker::new() else { return };
    let limit = Duration::from_millis(30);
    let slots: Vec<_> = (0..6).map(|_| (worker.announce().0, submit(worker.turn()))).collect();
    let (slots, points): (Vec<_>, Vec<_>) = slots.into_iter().unzip();
    assert_eq!(slots, [0, 1, 2, 0, 1, 2]);
    worker.lies(1000);
    assert_eq!(worker.part.handle.rendered().unwrap(), 0);
    worker.finish(6);
    points.iter().for_each(|point| point.wait(LIMIT).unwrap());
    assert_eq!((worker.part.handle.rendered().unwrap(), worker.part.describe_overrun(limit, false)), (6, None));
}

/// The loss of the device is detected on a timeline that the worker does not have.
#[test]
fn forged_device_loss_value_is_ignored() {
    let Some(worker) = Worker::new() else { return };
    worker.lies(u64::MAX);
    assert!(worker.steps.state().mirror_semaphore().unwrap().value().unwrap_err().is_device_lost());
    assert!(!worker.part.handle.is_lost());
}

#[test]
fn worker_observes_each_value_of_the_queue() {
    let Some(mut worker) = Worker::new() else { return };
    for frame in 1..=5 {
        worker.announce();
        let point = submit(worker.turn());
        assert!(worker.sees() < frame && !point.is_reached().unwrap());
        worker.finish(frame);
        point.wait(LIMIT).unwrap();
        worker.steps.state().mirror_semaphore().unwrap().wait(point.value(), LIMIT).unwrap();
    }
    assert_eq!(worker.sees(), 5);
}

/// An engine signals only `rendered`: the worker gets the slot once the engine's commands have
/// ended, with a value that the worker will see.
#[test]
fn slot_submitted_by_an_engine_is_sent_once_finished() {
    let Some(mut worker) = Worker::new() else { return };
    worker.announce();
    worker.announce();
    let (first, second) = (submit(worker.turn()), lend(worker.turn()));
    worker.advance();
    assert_eq!(Vec::from(worker.slots.clone()), [(2, 0), (0, first.value())], "the second is in use");
    assert!(worker.part.retry_delay().is_some());
    worker.finish(2);
    second.wait(LIMIT).unwrap();
    worker.advance();
    assert_eq!(worker.slots.back(), Some(&(1, first.value())), "behind what it sees");
    assert_eq!((worker.sees(), worker.part.retry_delay()), (first.value(), None));
    // A submission of the bridge covers the engine's earlier ones.
    worker.announce();
    worker.announce();
    let (third, fourth) = (lend(worker.turn()), submit(worker.turn()));
    worker.advance();
    assert_eq!(Vec::from(worker.slots.clone()), [(1, 1), (2, third.value()), (0, fourth.value())]);
    worker.finish(4);
    fourth.wait(LIMIT).unwrap();
    worker.steps.state().mirror_semaphore().unwrap().wait(fourth.value(), LIMIT).unwrap();
}

/// A trusted worker gets the compute timeline, on a device that exports it, but never the queue's.
#[test]
fn queue_timeline_is_never_exported() {
    let Some(device) = own_device() else { return };
    for (trust, computed) in [(Trust::None, false), (Trust::Shared, true)] {
        let compute = Compute::remote_unchecked(&device, false, trust).unwrap();
        let taken = [Signaler::Compute, Signaler::Queue].map(|signaler| compute.side().imports_timeline(signaler));
        assert_eq!(taken, [computed, false]);
    }
}
