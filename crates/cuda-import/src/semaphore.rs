//! Semaphores that another API made and exported.
//!
//! Unsafe because the driver believes what it is told of a handle.
#![allow(unsafe_code)]

use crate::device::CudaDevice;
use crate::error::{Error, Object};
use crate::handle::{OsHandle, give};
use crate::sys::SemaphoreHandle;

pub use crate::sys::SemaphoreKind;

/// An imported semaphore. [`wait`](crate::wait()) and [`signal`](crate::signal()) use it on a stream. Any thread may use it.
///
/// Its owner drops it only when all waits and signals on it have completed, which is what those two functions ask for; if
/// that cannot be seen, [`leak`](Self::leak) it.
#[doc(alias = "CUexternalSemaphore")]
#[derive(Debug)]
pub struct ImportedSemaphore {
    handle: SemaphoreHandle,
    kind: SemaphoreKind,
    name: Box<str>,
    device: CudaDevice,
}

impl ImportedSemaphore {
    /// Imports an opaque handle. On success the CUDA driver owns the descriptor; on failure it is closed here. (An NT
    /// handle is closed here either way.)
    ///
    /// # Errors
    /// [`Error::TimelineUnsupported`] when the device cannot do timelines; [`Error::Driver`] when the driver refuses.
    ///
    /// # Safety
    /// `handle` is an opaque handle that this very GPU exported from a semaphore of this `kind`, and of no other object:
    /// the driver cannot tell.
    #[doc(alias = "cuImportExternalSemaphore")]
    pub unsafe fn import(
        device: &CudaDevice,
        handle: OsHandle,
        kind: SemaphoreKind,
        name: &str,
    ) -> Result<Self, Error> {
        let object = Object("semaphore", name);
        if kind == SemaphoreKind::Timeline && !device.supports_timeline_semaphores() {
            return Err(Error::TimelineUnsupported {
                object: object.to_string(),
                device: device.name().to_owned(),
                driver: device.driver_version(),
            });
        }
        device.check_recorded()?;
        let imported = give(handle, |raw| {
            device.bind()?;
            // SAFETY: `raw` is open, `give` holds it; this function's caller answers for its origin and kind.
            unsafe { device.driver().import_semaphore(raw, kind) }
        });
        let handle = imported
            .map_err(|source| Error::NoDescriptor { object: object.to_string(), source })?
            .map_err(|error| error.at(&object, device.name()))?;
        log::trace!("import {object}: {kind:?}");
        Ok(Self { handle, kind, name: name.into(), device: device.clone() })
    }

    /// Binary or timeline.
    pub fn kind(&self) -> SemaphoreKind {
        self.kind
    }

    /// For errors, logs and traces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// Gives it up without destroying it, for owners that could not prove its waits and signals completed.
    pub fn leak(self) {
        log::warn!(
            "{} on {} is leaked: its waits and signals could not be seen to end",
            self.object(),
            self.device.name()
        );
        std::mem::forget(self);
    }

    pub(crate) fn handle(&self) -> SemaphoreHandle {
        self.handle
    }

    pub(crate) fn object(&self) -> Object<'_> {
        Object("semaphore", &self.name)
    }
}

impl Drop for ImportedSemaphore {
    fn drop(&mut self) {
        let destroyed = self.device.bind().and_then(|()| {
            // SAFETY: "any outstanding signals or waits must have completed": whoever enqueued one through `wait` or
            // `signal` vowed to keep the semaphore that long. The handle is not used after its owner's drop.
            unsafe { self.device.driver().destroy_semaphore(self.handle) }
        });
        match destroyed {
            Ok(()) => log::trace!("destroy {}", self.object()),
            Err(error) => log::error!("{}", error.at(self.object(), self.device.name())),
        }
    }
}
