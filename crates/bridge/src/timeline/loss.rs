//! Loss of the Vulkan device, and values that are signaled on its behalf.

use vk_export::ExportDevice;

use super::{Inner, Timeline};
use crate::error::{Error, Result};

impl Timeline {
    /// Sets the timeline that shows whether the device is lost. Another process may signal this
    /// timeline with `u64::MAX`, the value that some drivers report for a lost device; its
    /// [value](Self::value) is then `u64::MAX`, and no error, unless `witness` reports the loss.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(crate) fn set_witness(&self, witness: &Self) {
        let _ = self.0.witness.set(witness.clone());
    }

    /// Returns `true` if both timelines belong to the same Vulkan device.
    pub(crate) fn is_same_device(&self, other: &Self) -> bool {
        self.is_on(other.0.vulkan.device())
    }

    /// Returns `true` if the timeline belongs to this Vulkan device.
    pub(crate) fn is_on(&self, device: &ExportDevice) -> bool {
        self.0.vulkan.device().as_raw().handle() == device.as_raw().handle()
    }

    /// Checks for a lost Vulkan device with a zero-timeout wait for an unreached value, since some
    /// drivers report the loss in no other way. Returns the error that reports it.
    pub(crate) fn device_loss(&self) -> Option<vk_export::Error> {
        match self.value().and_then(|reached| self.0.check_vulkan(reached.saturating_add(1))) {
            Err(Error::Vulkan(error)) if error.is_device_lost() => Some(error),
            _ => None,
        }
    }

    /// Makes every later read of the value return `loss`, because the counter may then be raised
    /// for commands that the lost device never ran. Must be called before the counter is raised.
    pub(crate) fn abandon(&self, loss: &vk_export::Error) {
        let _ = self.0.lost.set(loss.clone());
    }

    /// Returns `true` after [`abandon`](Self::abandon).
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.lost.get().is_some()
    }

    /// Returns the counter's value, whichever side or thread has raised it.
    pub(crate) fn counter(&self) -> Result<u64> {
        Ok(self.0.vulkan.value()?)
    }
}

impl Inner {
    /// Returns the value reached through signals of the signaler.
    #[inline]
    pub(super) fn value(&self) -> Result<u64> {
        let value = self.vulkan.value().or_else(|error| self.value_despite(error))?;
        // Checked after the read, because the loss is recorded before the counter is raised on
        // behalf of the lost device.
        self.check_not_abandoned()?;
        Ok(value)
    }

    /// Returns the value if `error` reports a lost device although the device is not lost.
    #[cold]
    fn value_despite(&self, error: vk_export::Error) -> Result<u64> {
        match self.witness.get() {
            Some(witness) if error.is_device_lost() && witness.value().is_ok() => Ok(u64::MAX),
            _ => Err(error.into()),
        }
    }

    #[inline]
    pub(super) fn has_reached(&self, value: u64) -> Result<bool> {
        Ok(self.value()? >= value)
    }

    /// Checks that no values are signaled on behalf of a lost device.
    #[inline]
    pub(super) fn check_not_abandoned(&self) -> Result<()> {
        match self.lost.get() {
            None => Ok(()),
            Some(loss) => Err(loss.clone().into()),
        }
    }
}
