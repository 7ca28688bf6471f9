//! A Vulkan device that is lost, and values that are signaled in its place.

use super::{Inner, Timeline};
use crate::error::{Error, Result};

impl Timeline {
    /// Returns `true` if both are of one Vulkan device.
    pub(crate) fn is_of_device_of(&self, other: &Self) -> bool {
        let handle = |timeline: &Self| timeline.0.vulkan.device().as_raw().handle();
        handle(self) == handle(other)
    }

    /// Asks whether the Vulkan device is lost, by a wait that does not end: some drivers tell it in
    /// no other way. Returns the error that says so.
    pub(crate) fn device_loss(&self) -> Option<vk_export::Error> {
        match self.value().and_then(|reached| self.0.check_vulkan(reached.saturating_add(1))) {
            Err(Error::Vulkan(error)) if error.is_device_lost() => Some(error),
            _ => None,
        }
    }

    /// Makes every later look at a value return `loss`: from here on the counter may be raised for
    /// commands that a lost device never ran. To be called before it is raised.
    pub(crate) fn abandon(&self, loss: &vk_export::Error) {
        let _ = self.0.lost.set(loss.clone());
    }

    /// Returns `true` after [`abandon`](Self::abandon).
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.lost.get().is_some()
    }

    /// The counter, whoever has raised it.
    pub(crate) fn counter(&self) -> Result<u64> {
        Ok(self.0.vulkan.value()?)
    }
}

impl Inner {
    /// The value that was reached, by signals of the signaler.
    #[inline]
    pub(super) fn value(&self) -> Result<u64> {
        let value = self.vulkan.value()?;
        // Only now: whoever raises the counter in place of a lost device notes the loss before.
        self.check_kept()?;
        Ok(value)
    }

    #[inline]
    pub(super) fn has_reached(&self, value: u64) -> Result<bool> {
        Ok(self.value()? >= value)
    }

    /// Checks that nobody signals in place of a lost device.
    #[inline]
    pub(super) fn check_kept(&self) -> Result<()> {
        match self.lost.get() {
            None => Ok(()),
            Some(loss) => Err(loss.clone().into()),
        }
    }
}
