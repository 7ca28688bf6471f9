//! Semaphores that another API created and exported.
//!
//! Contains unsafe code because the driver does not validate the origin of a handle.
#![allow(unsafe_code)]

use crate::device::CudaDevice;
#[cfg(windows)]
use crate::error::Error;
use crate::error::{Object, Result};
use crate::handle::{ImportHandle, import_with};
use crate::leak::count_leak;
use crate::logging::{log_error, log_trace};
use crate::reaper;
use crate::sys::SemaphoreHandle;

pub use crate::sys::SemaphoreKind;

/// An imported semaphore. [`wait`](crate::wait()) and [`signal`](crate::signal()) use it on a
/// stream. It can be used from any thread.
///
/// Drop it only after all waits and signals on it have completed, as those two functions require;
/// if that cannot be determined, leak it with [`std::mem::forget`].
///
/// See "Importing Synchronization Objects" in the [CUDA programming guide][guide].
///
/// [guide]: https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#external-resource-interoperability
#[doc(alias = "CUexternalSemaphore")]
#[derive(Debug)]
pub struct ImportedSemaphore {
    handle: SemaphoreHandle,
    kind: SemaphoreKind,
    name: Box<str>,
    device: CudaDevice,
}

impl ImportedSemaphore {
    /// Imports an opaque handle. On success the CUDA driver owns a descriptor; on failure it is
    /// closed here. An NT handle is closed here in both cases. See [`ImportHandle`] for each kind
    /// of handle.
    ///
    /// Driver API: [`cuImportExternalSemaphore`][driver].
    ///
    /// # Errors
    /// [`Error::TimelineUnsupported`](crate::Error::TimelineUnsupported) if the device does not
    /// support timelines; [`Error::Driver`](crate::Error::Driver) if the driver call fails; on
    /// Windows, [`Error::InvalidHandle`](crate::Error::InvalidHandle) for a handle that is not
    /// open, and for a timeline's KMT handle.
    ///
    /// # Safety
    /// `handle` is an opaque handle that the same GPU exported from a semaphore of this `kind`, and
    /// not from another object: the driver does not check this. A timeline may be of another GPU if
    /// that is known to work (two H100s with driver 580), but no specification allows it.
    ///
    /// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__EXTRES__INTEROP.html
    #[doc(alias = "cuImportExternalSemaphore")]
    pub unsafe fn import(
        device: &CudaDevice,
        handle: impl Into<ImportHandle>,
        kind: SemaphoreKind,
        name: &str,
    ) -> Result<Self> {
        let (handle, object) = (handle.into(), Object("semaphore", name));
        #[cfg(windows)]
        if matches!((&handle, kind), (ImportHandle::Kmt(_), SemaphoreKind::Timeline)) {
            return Err(Error::InvalidHandle {
                object: object.to_string(),
                reason: "a timeline cannot be shared by a KMT handle; export it as OPAQUE_WIN32".to_owned(),
            });
        }
        if kind == SemaphoreKind::Timeline {
            device.require_timeline_semaphores(&object.to_string())?;
        }
        device.check_recorded()?;
        let handle = import_with(handle, &object, device.name(), |raw| {
            let _current = device.bind()?;
            // SAFETY: `import_with` keeps `raw` open; this function's caller guarantees its origin
            // and kind.
            unsafe { device.driver().import_semaphore(raw, kind) }
        })?;
        let imported = Self { handle, kind, name: name.into(), device: device.clone() };
        log_trace!("import {object}: {kind:?}");
        Ok(imported)
    }

    /// Returns whether it is a binary or a timeline semaphore.
    pub fn kind(&self) -> SemaphoreKind {
        self.kind
    }

    /// Returns the name in errors, logs and traces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the device that the semaphore was imported on.
    pub fn device(&self) -> &CudaDevice {
        &self.device
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
        let handle = self.handle;
        let destroyed = reaper::call(&self.device, "cuDestroyExternalSemaphore", move |driver| {
            // SAFETY: "any outstanding signals or waits must have completed": by the contracts of
            // `wait` and `signal`, the semaphore is kept until then. The handle is not used after
            // this drop.
            unsafe { driver.destroy_semaphore(handle) }
        });
        match destroyed {
            Ok(()) => log_trace!("destroy {}", self.object()),
            Err(error) => {
                count_leak();
                let error = error.at(&self.object(), self.device.name());
                log_error!("{error}");
            }
        }
    }
}
