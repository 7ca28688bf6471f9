//! The two timelines of a connection with a worker that computes with CUDA. No submission waits for
//! them or signals them.
#![allow(unsafe_code)] // Signaling from the host.

use std::os::fd::OwnedFd;
use std::time::Duration;

use bridge_ipc::{Side, Timeline};
use vk_export::{ExportDevice, Semaphore, SemaphoreInfo, SemaphoreKind};

use crate::error::Result;
use crate::timeline::host_signal::signal_exactly;

/// The two timelines of a connection: the worker signals `computed`, the host of this process
/// signals `rendered`.
#[derive(Debug)]
pub(super) struct Timelines {
    computed: Semaphore,
    rendered: Semaphore,
    /// The last value of `rendered`.
    signaled: u64,
}

impl Timelines {
    /// Creates new timelines, which no other worker has.
    pub(super) fn new(device: &ExportDevice, exchange: &str) -> Result<Self> {
        Self::create(device, exchange, true)
    }

    fn create(device: &ExportDevice, exchange: &str, exportable: bool) -> Result<Self> {
        let semaphore = |side| {
            let name = format!("{exchange}.worker.{side}");
            Semaphore::new(device, &SemaphoreInfo { name: &name, kind: SemaphoreKind::Timeline, exportable })
        };
        Ok(Self { computed: semaphore("computed")?, rendered: semaphore("rendered")?, signaled: 0 })
    }

    /// Returns the messages that describe them to the worker, with their handles, in order.
    pub(super) fn export(&self, exchange: u32) -> Result<[(Timeline, OwnedFd); 2]> {
        let export = |semaphore: &Semaphore, side| -> Result<_> {
            let exported = semaphore.export()?;
            let timeline = Timeline { exchange, side, device_uuid: exported.descriptor.device_uuid, value: 0 };
            Ok((timeline, exported.handle))
        };
        Ok([export(&self.computed, Side::Computed)?, export(&self.rendered, Side::Rendered)?])
    }

    /// Returns the value that the worker's timeline has reached.
    ///
    /// # Errors
    /// The error of the failed driver call. The worker can signal the value that reports the loss
    /// of the device.
    pub(super) fn reached(&self) -> Result<u64> {
        Ok(self.computed.value()?)
    }

    /// Orders the worker's accesses before `value`, which was observed as reached, before the
    /// host's next accesses. Reading the value does not order memory; a wait does, and returns
    /// immediately.
    pub(super) fn order(&self, value: u64) -> Result<()> {
        // With NVIDIA's driver, a wait notices signals of CUDA later than the counter does, and may
        // time out. The GPU writes the counter after all work before the signal, so that is
        // sufficient.
        self.computed.try_wait(value, Duration::ZERO)?;
        Ok(())
    }

    /// Signals the next value of `rendered`, after the host has observed the end of an event: a
    /// slot is free, or a frame is drawn. Returns the value.
    ///
    /// # Errors
    /// The error of the failed driver call, or an error if the worker has signaled the timeline,
    /// which only this process may do.
    pub(super) fn signal_next(&mut self) -> Result<u64> {
        let value = self.signaled + 1;
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03259 and -03260: this call makes the only
        // signals of the timeline in this process, its values rise, and none is pending, since no
        // submission uses the timeline. If a worker signals it nevertheless, its value shows that.
        unsafe { signal_exactly(&self.rendered, value) }?;
        self.signaled = value;
        Ok(value)
    }
}

#[cfg(test)]
#[path = "timelines_tests.rs"]
mod tests;

/// The other process's actions, for tests in this process.
#[cfg(test)]
impl Timelines {
    /// Creates timelines on a device that cannot export them.
    pub(super) fn unexported(device: &ExportDevice, exchange: &str) -> Result<Self> {
        Self::create(device, exchange, false)
    }

    /// Returns a function that plays the worker's GPU while the timelines live.
    pub(super) fn player(&self) -> impl Fn(u64) + use<> {
        let (device, computed) = (self.computed.device().clone(), self.computed.as_raw());
        move |value| {
            let info = vk_export::ash::vk::SemaphoreSignalInfo::default().semaphore(computed).value(value);
            // SAFETY: VUID-VkSemaphoreSignalInfo-semaphore-parameter: tests call it while the
            // thread that has the timelines runs; the values rise, and no submission signals them.
            unsafe { device.as_raw().signal_semaphore(&info) }.unwrap();
        }
    }

    /// Signals `value` in place of the worker's GPU.
    pub(super) fn finish_in_test(&self, value: u64) {
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03259 and -03260: tests signal it from one
        // thread, and no submission signals it.
        unsafe { self.computed.signal(value) }.unwrap();
    }

    /// Signals the timeline that the worker must not signal.
    pub(super) fn disturb_in_test(&self, value: u64) {
        // SAFETY: as above.
        unsafe { self.rendered.signal(value) }.unwrap();
    }

    /// Returns the value of the renderer's timeline that the worker sees.
    pub(super) fn freed(&self) -> Result<u64> {
        Ok(self.rendered.value()?)
    }
}
