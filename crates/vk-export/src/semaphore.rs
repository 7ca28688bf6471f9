//! Shared timeline and binary semaphores.
#![allow(unsafe_code)] // Vulkan calls.

use std::time::{Duration, Instant};

use ash::vk;
use uuid::Uuid;

use crate::device::ExportDevice;
use crate::device::registry::Registered;
use crate::device::requirements::SEMAPHORE_EXTENSION;
use crate::error::{Error, Result};
use crate::handle::OsHandle;
use crate::handle::handle_type::HandleType;
use crate::handle::os::Exporter;
use crate::logging::log_debug;

/// The two kinds of semaphore.
///
/// See [`VkSemaphoreType`].
///
/// [`VkSemaphoreType`]: https://docs.vulkan.org/refpages/latest/refpages/source/VkSemaphoreType.html
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SemaphoreKind {
    /// Its value increases; any number of waits for a value, before or after its signal.
    #[default]
    Timeline,
    /// One wait for one signal; the signal must be submitted first.
    Binary,
}

/// Configuration of a semaphore.
#[derive(Debug, Clone, Copy, Default)]
pub struct SemaphoreInfo<'a> {
    /// The name in errors, traces and GPU debuggers. Default: empty.
    pub name: &'a str,
    /// Timeline or binary. Default: timeline.
    pub kind: SemaphoreKind,
    /// `true` if another API will import it. Default: no.
    pub exportable: bool,
}

/// Parameters that an importer must repeat exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreDescriptor {
    /// The type of the handle.
    pub handle_type: HandleType,
    /// Whether it is a binary or a timeline semaphore.
    pub kind: SemaphoreKind,
    /// The UUID of the device that the semaphore is on.
    pub device_uuid: Uuid,
    /// The name of the semaphore.
    pub name: String,
}

/// An exported semaphore.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExportedSemaphore {
    /// A handle to the semaphore, owned by this object and closed on drop.
    pub handle: OsHandle,
    /// Parameters that the importer must repeat.
    pub descriptor: SemaphoreDescriptor,
}

/// A semaphore. A timeline starts at 0.
///
/// Dropping it destroys it immediately, so keep it until every wait and signal on it has completed.
///
/// See [`VkExportSemaphoreCreateInfo`] and [`vkGetSemaphoreFdKHR`].
///
/// [`VkExportSemaphoreCreateInfo`]: https://docs.vulkan.org/refpages/latest/refpages/source/VkExportSemaphoreCreateInfo.html
/// [`vkGetSemaphoreFdKHR`]: https://docs.vulkan.org/refpages/latest/refpages/source/vkGetSemaphoreFdKHR.html
#[derive(Debug)]
pub struct Semaphore {
    raw: vk::Semaphore,
    kind: SemaphoreKind,
    exporter: Option<Exporter>,
    name: String,
    device: Registered,
}

impl Semaphore {
    /// Creates a semaphore. If it is exportable, first queries whether the driver can export
    /// exactly this kind.
    ///
    /// # Errors
    /// [`Error::NotExportable`] and [`Error::Missing`] if it cannot be exported, otherwise the
    /// error of the failed driver call.
    pub fn new(device: &ExportDevice, info: &SemaphoreInfo<'_>) -> Result<Self> {
        Self::create(device, info, Exporter::new)
    }

    /// Creates a semaphore as [`new`](Self::new) does, with a name or a security descriptor for the
    /// exported handle. It is exportable regardless of `info`.
    ///
    /// # Errors
    /// Those of [`new`](Self::new); [`Error::InvalidArgument`] for a name that is invalid or in
    /// use, and for a security descriptor that Windows rejects or that grants access to everyone.
    #[cfg(windows)]
    pub fn new_shared(
        device: &ExportDevice,
        info: &SemaphoreInfo<'_>,
        sharing: &crate::handle::nt::NtSharing<'_>,
    ) -> Result<Self> {
        let info = SemaphoreInfo { exportable: true, ..*info };
        Self::create(device, &info, |handle_type, object| Exporter::shared(handle_type, sharing, object))
    }

    fn create(
        device: &ExportDevice,
        info: &SemaphoreInfo<'_>,
        exporter: impl FnOnce(HandleType, &str) -> Result<Exporter>,
    ) -> Result<Self> {
        let object = describe(info.kind, info.name);
        let exporter = match info.exportable {
            true => Some(exporter(query_handle_type(device, info.kind, &object)?, &object)?),
            false => None,
        };
        let handle_types = exporter.as_ref().map(|exporter| exporter.handle_type().semaphore());
        let mut export_info = vk::ExportSemaphoreCreateInfo::default().handle_types(handle_types.unwrap_or_default());
        #[cfg(windows)]
        let mut nt_info = exporter.as_ref().and_then(Exporter::semaphore_info);
        let mut kind_info = kind_info(info.kind);
        let mut create = vk::SemaphoreCreateInfo::default().push_next(&mut kind_info);
        if handle_types.is_some() {
            create = create.push_next(&mut export_info);
        }
        #[cfg(windows)]
        if let Some(nt_info) = &mut nt_info {
            create = create.push_next(nt_info);
        }
        // SAFETY: VUID-VkSemaphoreTypeCreateInfo-timelineSemaphore-03252: the feature is enabled in
        // every `ExportDevice`; VUID-VkExportSemaphoreCreateInfo-handleTypes-01124: the handle type
        // was queried with this kind.
        let raw = unsafe { device.as_raw().create_semaphore(&create, None) }
            .map_err(device.failed("vkCreateSemaphore", &object))?;
        // From here on, an error or a logger that panics drops the semaphore.
        let registered = device.register(&object);
        let made = Self { raw, kind: info.kind, exporter, name: info.name.to_owned(), device: registered };
        // SAFETY: just created on this device, and not yet shared with another thread.
        unsafe { device.set_name(raw, info.name) };
        Ok(made)
    }

    /// Returns the Vulkan handle, which stays owned by this object.
    #[inline]
    pub fn as_raw(&self) -> vk::Semaphore {
        self.raw
    }

    /// Returns whether it is a binary or a timeline semaphore.
    pub fn kind(&self) -> SemaphoreKind {
        self.kind
    }

    /// Returns the semaphore's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the device that the semaphore belongs to.
    pub fn device(&self) -> &ExportDevice {
        &self.device
    }

    /// Exports a new handle to the semaphore, with the parameters that an importer must repeat. The
    /// caller owns the handle.
    ///
    /// # Errors
    /// [`Error::NotExportable`] for a semaphore that was not created as `exportable`, otherwise the
    /// error of the failed driver call.
    #[doc(alias = "vkGetSemaphoreFdKHR")]
    #[doc(alias = "vkGetSemaphoreWin32HandleKHR")]
    pub fn export(&self) -> Result<ExportedSemaphore> {
        let object = describe(self.kind, &self.name);
        let Some(exporter) = &self.exporter else {
            return Err(Error::NotExportable {
                object,
                handle_type: HandleType::NATIVE.as_str(),
                device: self.device.name().to_owned(),
                reason: "it was not made `exportable`".to_owned(),
            });
        };
        let handle = exporter.semaphore(&self.device, self.raw, &object)?;
        log_debug!("exported {object}");
        let descriptor = SemaphoreDescriptor {
            handle_type: exporter.handle_type(),
            kind: self.kind,
            device_uuid: self.device.uuid(),
            name: self.name.clone(),
        };
        Ok(ExportedSemaphore { handle, descriptor })
    }

    /// Returns the value that a timeline has reached.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a binary semaphore, otherwise the error of the failed driver
    /// call; a value of `u64::MAX`, which some drivers report after the device was lost, becomes
    /// `VK_ERROR_DEVICE_LOST`.
    #[doc(alias = "vkGetSemaphoreCounterValue")]
    pub fn value(&self) -> Result<u64> {
        self.check_timeline()?;
        // SAFETY: VUID-vkGetSemaphoreCounterValue-semaphore-03255: a live timeline of this device,
        // checked above.
        unsafe { self.device.as_raw().get_semaphore_counter_value(self.raw) }
            .and_then(|value| if value == LOST { Err(vk::Result::ERROR_DEVICE_LOST) } else { Ok(value) })
            .map_err(self.failed("vkGetSemaphoreCounterValue"))
    }

    /// Blocks until a timeline has reached `value`, for at most `timeout`.
    ///
    /// Use it for signals from Vulkan or the host. Some drivers detect a signal from another API
    /// only after milliseconds; poll [`value`](Self::value) for those.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the last value, [`Error::InvalidArgument`] for a binary semaphore,
    /// otherwise the error of the failed driver call.
    #[doc(alias = "vkWaitSemaphores")]
    pub fn wait(&self, value: u64, timeout: Duration) -> Result<()> {
        let start = Instant::now();
        if self.try_wait(value, timeout)? {
            return Ok(());
        }
        Err(Error::Timeout {
            object: describe(self.kind, &self.name),
            value,
            last_seen: self.value()?,
            waited: start.elapsed(),
            device: self.device.name().to_owned(),
        })
    }

    /// Waits like [`wait`](Self::wait), but returns `false` at the timeout.
    ///
    /// # Errors
    /// Those of [`wait`](Self::wait), except [`Error::Timeout`].
    pub fn try_wait(&self, value: u64, timeout: Duration) -> Result<bool> {
        self.check_timeline()?;
        let (semaphores, values) = ([self.raw], [value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: VUID-VkSemaphoreWaitInfo-pSemaphores-03256: a live timeline, checked above.
        match unsafe { self.device.as_raw().wait_semaphores(&info, nanoseconds) } {
            // A wait on a lost device may succeed whatever was reached.
            Ok(()) if self.value()? >= value => Ok(true),
            Ok(()) => Err(self.failed("vkWaitSemaphores")(vk::Result::ERROR_DEVICE_LOST)),
            Err(vk::Result::TIMEOUT) => Ok(false),
            Err(result) => Err(self.failed("vkWaitSemaphores")(result)),
        }
    }

    /// Sets a timeline to `value` from the host.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a binary semaphore or a value that is not greater than the
    /// current one, otherwise the error of the failed driver call.
    ///
    /// # Safety
    /// No other signal operation on this timeline with a value less than or equal to `value` is
    /// pending, or becomes pending during this call (VUID-VkSemaphoreSignalInfo-value-03259 and
    /// -03260).
    #[doc(alias = "vkSignalSemaphore")]
    pub unsafe fn signal(&self, value: u64) -> Result<()> {
        let reached = self.value()?;
        if value <= reached {
            return Err(Error::invalid(
                describe(self.kind, &self.name),
                format!("signaled with {value}, but it already has {reached}: values must strictly increase"),
            ));
        }
        let info = vk::SemaphoreSignalInfo::default().semaphore(self.raw).value(value);
        // SAFETY: VUID-VkSemaphoreSignalInfo-semaphore-03257: a timeline, checked by `value`;
        // -03258: greater than the current value, checked above; pending signals: guaranteed by the
        // caller.
        unsafe { self.device.as_raw().signal_semaphore(&info) }.map_err(self.failed("vkSignalSemaphore"))
    }

    fn check_timeline(&self) -> Result<()> {
        if self.kind == SemaphoreKind::Timeline {
            return Ok(());
        }
        Err(Error::invalid(describe(self.kind, &self.name), "only a timeline has a value"))
    }

    fn failed(&self, call: &'static str) -> impl FnOnce(vk::Result) -> Error + use<'_> {
        // Format the message only on failure, because this runs in every frame.
        move |result| self.device.failed(call, &describe(self.kind, &self.name))(result)
    }
}

/// Value that some drivers report with `VK_SUCCESS` for every timeline of a lost device. It must
/// not count as a reached value, because pending work would count as finished. No signal sets it,
/// because values start at 0 and increase by one.
const LOST: u64 = u64::MAX;

impl Drop for Semaphore {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroySemaphore-semaphore-05149: the owner keeps it until every
        // submission that refers to it has completed, as the type's documentation requires.
        unsafe { self.device.as_raw().destroy_semaphore(self.raw, None) };
    }
}

fn describe(kind: SemaphoreKind, name: &str) -> String {
    match kind {
        SemaphoreKind::Timeline => format!("timeline \"{name}\""),
        SemaphoreKind::Binary => format!("semaphore \"{name}\""),
    }
}

fn kind_info(kind: SemaphoreKind) -> vk::SemaphoreTypeCreateInfo<'static> {
    vk::SemaphoreTypeCreateInfo::default().initial_value(0).semaphore_type(match kind {
        SemaphoreKind::Timeline => vk::SemaphoreType::TIMELINE,
        SemaphoreKind::Binary => vk::SemaphoreType::BINARY,
    })
}

/// Returns `true` if semaphores of `kind` can be exported from a physical device.
pub(crate) fn is_exportable(
    instance: &ash::Instance,
    physical: vk::PhysicalDevice,
    kind: SemaphoreKind,
    handle_type: HandleType,
) -> bool {
    let mut kind_info = kind_info(kind);
    let question = vk::PhysicalDeviceExternalSemaphoreInfo::default()
        .handle_type(handle_type.semaphore())
        .push_next(&mut kind_info);
    let mut answer = vk::ExternalSemaphoreProperties::default();
    // SAFETY: a query of a physical device of this instance.
    unsafe { instance.get_physical_device_external_semaphore_properties(physical, &question, &mut answer) };
    answer.external_semaphore_features.contains(vk::ExternalSemaphoreFeatureFlags::EXPORTABLE)
}

fn query_handle_type(device: &ExportDevice, kind: SemaphoreKind, object: &str) -> Result<HandleType> {
    let handle_type = device.check_can_export(SEMAPHORE_EXTENSION)?;
    if is_exportable(device.instance(), device.physical().handle, kind, handle_type) {
        return Ok(handle_type);
    }
    Err(Error::NotExportable {
        object: object.to_owned(),
        handle_type: handle_type.as_str(),
        device: device.name().to_owned(),
        reason: format!("the driver does not export {kind:?} semaphores; a software driver has no need to"),
    })
}
