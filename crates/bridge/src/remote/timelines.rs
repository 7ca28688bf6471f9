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
    /// New ones: no other worker has them, whatever it does.
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

    /// The messages that describe them to the worker, with their handles, in order.
    pub(super) fn export(&self, exchange: u32) -> Result<[(Timeline, OwnedFd); 2]> {
        let export = |semaphore: &Semaphore, side| -> Result<_> {
            let exported = semaphore.export()?;
            let timeline = Timeline { exchange, side, device_uuid: exported.descriptor.device_uuid, value: 0 };
            Ok((timeline, exported.handle))
        };
        Ok([export(&self.computed, Side::Computed)?, export(&self.rendered, Side::Rendered)?])
    }

    /// The value that the worker's timeline has reached.
    ///
    /// # Errors
    /// The error of the failed driver call. The worker can signal the value that is told for the
    /// loss of the device.
    pub(super) fn reached(&self) -> Result<u64> {
        Ok(self.computed.value()?)
    }

    /// What the worker did before `value`, which was seen reached, is ordered before what the host
    /// does next. Asking for the value orders no memory; a wait does, and returns at once.
    pub(super) fn order(&self, value: u64) -> Result<()> {
        // NVIDIA's driver notices signals of CUDA in a wait later than it counts them, so that the
        // wait may time out. There the counter is what the GPU has written, behind all that the
        // signal is behind.
        self.computed.try_wait(value, Duration::ZERO)?;
        Ok(())
    }

    /// Signals the next value of `rendered`, behind what the host has seen the end of: a slot is
    /// free, or a frame drawn. Gives the value.
    ///
    /// # Errors
    /// The error of the failed driver call; and where the worker has signaled the timeline, which
    /// is not its own.
    pub(super) fn signal_next(&mut self) -> Result<u64> {
        let value = self.signaled + 1;
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03259 and -03260: this call is the only signal
        // of the timeline that this process makes, its values rise, and none is pending, since no
        // submission has it. A worker that signals it all the same is seen by the value that it has
        // then.
        unsafe { signal_exactly(&self.rendered, value) }?;
        self.signaled = value;
        Ok(value)
    }
}

#[cfg(test)]
#[path = "timelines_tests.rs"]
mod tests;

/// The other process's part, for tests in this one.
#[cfg(test)]
impl Timelines {
    /// On a device that exports none.
    pub(super) fn unexported(device: &ExportDevice, exchange: &str) -> Result<Self> {
        Self::create(device, exchange, false)
    }

    /// A stand-in for the worker's GPU, while the timelines live.
    pub(super) fn player(&self) -> impl Fn(u64) + use<> {
        let (device, computed) = (self.computed.device().clone(), self.computed.as_raw());
        move |value| {
            let info = vk_export::ash::vk::SemaphoreSignalInfo::default().semaphore(computed).value(value);
            // SAFETY: VUID-VkSemaphoreSignalInfo-semaphore-parameter: tests call it while the
            // thread that has the timelines runs; the values rise, and no submission signals them.
            unsafe { device.as_raw().signal_semaphore(&info) }.unwrap();
        }
    }

    /// The worker's GPU has come to `value`.
    pub(super) fn finish_in_test(&self, value: u64) {
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03259 and -03260: tests signal it from one
        // thread, and no submission does.
        unsafe { self.computed.signal(value) }.unwrap();
    }

    /// The worker signals what is not its own.
    pub(super) fn disturb_in_test(&self, value: u64) {
        // SAFETY: as above.
        unsafe { self.rendered.signal(value) }.unwrap();
    }

    /// The value of the renderer's timeline that the worker sees.
    pub(super) fn freed(&self) -> Result<u64> {
        Ok(self.rendered.value()?)
    }
}
