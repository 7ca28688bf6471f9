//! Release of a device.

use std::sync::Arc;

use super::ExportDevice;

/// A device that cannot be released because an object made from it is alive; see
/// [`ExportDevice::try_release`].
#[derive(Debug)]
#[non_exhaustive]
pub struct InUse {
    /// The device, to be released after the remaining objects are dropped.
    pub device: ExportDevice,
    /// Live objects of the device, in order of creation, such as `buffer "vertices"`.
    pub alive: Vec<String>,
    /// Clones of the device that no object in [`alive`](Self::alive) holds: the program's own,
    /// those of compute sides, and those of objects that are being freed.
    pub clones: usize,
}

impl ExportDevice {
    /// Releases the device if this is its last clone and no object made from it is alive. A device
    /// that was [opened](Self::open) is destroyed. An [adopted](Self::adopt) device is no longer
    /// used, so the engine may destroy it.
    ///
    /// Dropping the last clone does the same. This method is for engines that destroy the device
    /// themselves and need to know when they may do so.
    ///
    /// # Errors
    /// [`InUse`] with the device and the objects that are alive; the device is unchanged.
    ///
    /// Dropping an exchange waits for the frames in flight, so a release after it normally succeeds
    /// at once. Exchanges that were dropped in a closure of the CPU backend, or whose worker in
    /// another process was killed, are freed on a separate thread: try again. Objects that a drop
    /// has leaked, see the log, stay alive, and the device can then not be released.
    #[doc(alias = "vkDestroyDevice")]
    pub fn try_release(self) -> Result<(), InUse> {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => {
                drop(inner);
                Ok(())
            }
            Err(shared) => {
                let alive = shared.registry.alive();
                // Each object holds one clone, and so does each allocation.
                let held = alive.len() + shared.registry.allocations() + 1;
                let clones = Arc::strong_count(&shared).saturating_sub(held);
                Err(InUse { device: Self(shared), alive, clones })
            }
        }
    }
}

impl std::fmt::Display for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is in use: ", self.device.name())?;
        for (index, object) in self.alive.iter().enumerate() {
            write!(f, "{}{object}", if index == 0 { "" } else { ", " })?;
        }
        match (self.alive.is_empty(), self.clones) {
            (false, 0) => f.write_str("; drop what holds them first"),
            (false, clones) => write!(f, ", and {clones} more clones of it; drop what holds them first"),
            (true, clones) => {
                write!(f, "{clones} clones of it are alive, such as those of compute sides; drop them first")
            }
        }
    }
}

impl std::error::Error for InUse {}
