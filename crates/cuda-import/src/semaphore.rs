//! Semaphores that another API made and exported.
//!
//! Unsafe because the driver believes what it is told of a handle.
#![allow(unsafe_code)]

use crate::device::CudaDevice;
use crate::error::{Object, Result};
use crate::handle::{ImportHandle, give};
use crate::leak::count_leak;
use crate::logging::{log_error, log_trace};
use crate::reaper;
use crate::sys::SemaphoreHandle;

pub use crate::sys::SemaphoreKind;

/// An imported semaphore. [`wait`](crate::wait()) and [`signal`](crate::signal()) use it on a
/// stream. Any thread may use it.
///
/// Its owner drops it only when all waits and signals on it have completed, which is what those two
/// functions ask for; if that cannot be seen, it is to be forgotten ([`std::mem::forget`]).
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
    /// closed here. An NT handle is closed here either way. What holds for which handle stands at
    /// [`ImportHandle`].
    ///
    /// # Errors
    /// [`Error::TimelineUnsupported`](crate::Error::TimelineUnsupported) when the device cannot do
    /// timelines; [`Error::Driver`](crate::Error::Driver) when the driver refuses. On Windows
    /// [`Error::InvalidHandle`](crate::Error::InvalidHandle) for one that is not open, and for a
    /// timeline's KMT handle.
    ///
    /// # Safety
    /// `handle` is an opaque handle that this very GPU exported from a semaphore of this `kind`,
    /// and of no other object: the driver cannot tell. A timeline may be another GPU's, where that
    /// is known to work (two H100s with driver 580): no specification says so.
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
            return Err(crate::Error::InvalidHandle {
                object: object.to_string(),
                reason: "no timeline is shared by a KMT handle; export it as OPAQUE_WIN32".to_owned(),
            });
        }
        if kind == SemaphoreKind::Timeline {
            device.require_timeline_semaphores(&object.to_string())?;
        }
        device.check_recorded()?;
        let handle = give(handle, &object, device.name(), |raw| {
            let _current = device.bind()?;
            // SAFETY: `raw` is open, `give` holds it; this function's caller answers for its origin
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

    /// Returns the name, as errors, logs and traces have it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the device that it was imported on.
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
            // SAFETY: "any outstanding signals or waits must have completed": whoever enqueued one
            // through `wait` or `signal` vowed to keep the semaphore that long. The handle is not
            // used after its owner's drop.
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
