//! A CUDA device and the context of all imported objects.

pub(crate) mod peer;
pub(crate) mod private_context;
pub(crate) mod report;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};

use cudarc::driver::{CudaContext, CudaStream};
use uuid::Uuid;

use crate::device::private_context::Template;
use crate::device::report::CudaDeviceReport;
use crate::error::{Error, Result};
use crate::logging::log_debug;
use crate::sys::{CallError, CallResult, Current, Driver, DriverVersion, Restoring};

/// A device to import into, with its context. Clones refer to the same device and can be used from
/// any thread.
///
/// Imported objects keep the device and its context alive.
#[derive(Clone)]
pub struct CudaDevice {
    inner: Arc<Inner>,
}

struct Inner {
    driver: Driver,
    version: DriverVersion,
    report: CudaDeviceReport,
    context: Restoring<Arc<CudaContext>>,
    /// Completed once the program may have the context object or a stream of it.
    known: Once,
    /// See [`CudaDevice::unsettled`].
    unsettled: Arc<AtomicBool>,
    /// Template of the context object, unless that was already shared.
    template: Option<Template>,
}

impl CudaDevice {
    /// Returns the device with this UUID, with its primary context. Take the UUID from the
    /// exporting API: only a matching UUID proves that both are the same GPU.
    ///
    /// # Errors
    /// Those of [`report`](crate::report()); [`Error::NoSuchDevice`] with a list of the available
    /// devices.
    pub fn by_uuid(uuid: Uuid) -> Result<Self> {
        let found = report::report()?;
        let Some(device) = found.devices.iter().find(|device| device.uuid == uuid) else {
            return Err(found.no_such_device(uuid));
        };
        let context = primary_context(Driver::load()?, device.ordinal).map_err(|error| error.at("", &device.name))?;
        Self::adopt(context)
    }

    /// Returns the device of a context that the program already has.
    ///
    /// # Errors
    /// [`Error::DriverTooOld`] if the driver lacks functions that this crate needs.
    pub fn adopt(mut context: Arc<CudaContext>) -> Result<Self> {
        let template = Template::new(&mut context);
        // Before the first call that can fail: this may be the last owner.
        let context = Restoring::new(context);
        let driver = Driver::load()?;
        let version = driver.version().map_err(|error| error.at("", ""))?;
        let report =
            report::describe(driver, context.cu_device(), context.ordinal()).map_err(|error| error.at("", ""))?;
        let (version, known) = (DriverVersion::from_raw(version), Once::new());
        if template.is_none() {
            known.call_once(|| {});
        }
        let device = Self {
            inner: Arc::new(Inner { driver, version, report, context, known, unsettled: Arc::default(), template }),
        };
        let report = device.report();
        log_debug!("device {} ({}), ordinal {}", report.name, report.uuid, report.ordinal);
        Ok(device)
    }

    /// Returns the marketing name, such as "NVIDIA H200".
    pub fn name(&self) -> &str {
        &self.inner.report.name
    }

    /// Returns the UUID by which graphics APIs identify this GPU.
    pub fn uuid(&self) -> Uuid {
        self.inner.report.uuid
    }

    /// Returns the device's index in the driver's order. Other APIs use other orders.
    pub fn ordinal(&self) -> usize {
        self.inner.report.ordinal
    }

    /// Returns this device's part of [`report`](crate::report()).
    pub fn report(&self) -> &CudaDeviceReport {
        &self.inner.report
    }

    /// Returns the newest CUDA version that the driver supports.
    pub fn driver_version(&self) -> DriverVersion {
        self.inner.version
    }

    /// Returns the context that imported objects live in.
    pub fn context(&self) -> &Arc<CudaContext> {
        self.inner.known.call_once(|| {});
        self.object()
    }

    /// Returns the [`context`](Self::context) for uses that do not pass a clone out of the crate.
    pub(crate) fn object(&self) -> &Arc<CudaContext> {
        &self.inner.context
    }

    /// Returns `true` if [`SemaphoreKind::Timeline`](crate::SemaphoreKind::Timeline) can be
    /// imported.
    pub fn supports_timeline_semaphores(&self) -> bool {
        self.inner.report.timeline_semaphores
    }

    /// Checks that timeline semaphores can be imported; `object` names the user of that support in
    /// the error.
    ///
    /// # Errors
    /// [`Error::TimelineUnsupported`] if
    /// [`supports_timeline_semaphores`](Self::supports_timeline_semaphores) returns `false`.
    pub fn require_timeline_semaphores(&self, object: &str) -> Result<()> {
        if self.supports_timeline_semaphores() {
            return Ok(());
        }
        Err(Error::TimelineUnsupported {
            object: object.to_owned(),
            device: self.name().to_owned(),
            driver: self.driver_version(),
        })
    }

    /// Calls `with` with the context object if code outside of the crate cannot have it yet; such
    /// code does not get it before `with` has returned.
    pub(crate) fn while_unshared<T>(&self, with: impl FnOnce(&Arc<CudaContext>) -> T) -> Option<T> {
        let mut done = None;
        self.inner.known.call_once(|| done = Some(with(self.object())));
        done
    }

    /// Returns the flag that is set while a first stream is being created, and remains set if that
    /// fails.
    pub(crate) fn unsettled(&self) -> &Arc<AtomicBool> {
        &self.inner.unsettled
    }

    pub(crate) fn template(&self) -> Option<&Template> {
        self.inner.template.as_ref()
    }

    pub(crate) fn driver(&self) -> Driver {
        self.inner.driver
    }

    /// Makes the context current on this thread until the result is dropped.
    pub(crate) fn bind(&self) -> Result<Current, CallError> {
        self.driver().bind(self.object())
    }

    /// Returns an error that cudarc recorded where it could not return it: in destructors, and in
    /// the ordering of streams.
    pub(crate) fn check_recorded(&self) -> Result<()> {
        check_recorded(self.object()).map_err(|error| error.at("", self.name()))
    }

    /// Returns `true` if the stream belongs to this device's context.
    pub(crate) fn owns(&self, stream: &CudaStream) -> bool {
        stream.context().cu_ctx() == self.object().cu_ctx()
    }
}

/// Returns an object of the device's primary context. cudarc makes that context current and does
/// not restore the previous one, so it is current before.
fn primary_context(driver: Driver, ordinal: usize) -> CallResult<Arc<CudaContext>> {
    let failed = |error| CallError::from_cudarc("cuDevicePrimaryCtxRetain", error);
    let create = || CudaContext::new(ordinal).map(Restoring::new).map_err(failed);
    let created = driver.with_primary(driver.device(ordinal as i32)?, create)?;
    Ok(Arc::clone(&created))
}

/// Implements [`CudaDevice::check_recorded`] for a context.
pub(crate) fn check_recorded(context: &CudaContext) -> Result<(), CallError> {
    context.check_err().map_err(|error| CallError::from_cudarc("an earlier call in this context", error))
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaDevice")
            .field("name", &self.name())
            .field("uuid", &self.uuid())
            .field("ordinal", &self.ordinal())
            .finish()
    }
}
