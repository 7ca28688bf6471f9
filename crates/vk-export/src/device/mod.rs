//! A Vulkan device that resources are exported from: opened here, or adopted from an engine.

#![allow(unsafe_code)] // Vulkan calls.
pub(crate) mod blocking;
pub(crate) mod commands;
pub(crate) mod dependencies;
pub(crate) mod export_calls;
pub(crate) mod instance;
pub(crate) mod kernel_calls;
pub(crate) mod memory_types;
pub(crate) mod one_time;
pub(crate) mod physical;
pub(crate) mod queue;
pub(crate) mod queue_lock;
pub(crate) mod registry;
pub(crate) mod release;
pub(crate) mod requirements;
pub(crate) mod requirements_of;
pub(crate) mod resident;
pub(crate) mod stages;
pub(crate) mod synchronization2;
pub(crate) mod validation;
pub(crate) mod validation_lines;

mod adopt;
mod adopt_raw;
mod kernels;
mod once;
mod open;
mod opening;
mod properties;
mod select;

use std::any::Any;
use std::ffi::{CStr, CString};
use std::sync::Arc;

use ash::{ext, vk};
use uuid::Uuid;

use crate::device::export_calls::ExportCalls;
use crate::device::instance::OwnedInstance;
use crate::device::kernel_calls::KernelCalls;
use crate::device::physical::PhysicalDeviceInfo;
use crate::device::queue::{Queue, QueueKind};
use crate::device::queue_lock::QueueAccess;
use crate::device::registry::Registry;
use crate::device::requirements::kernel_gaps;
use crate::device::synchronization2::Synchronization2;
use crate::device::validation::Messenger;
use crate::device::validation::ValidationMessage;
use crate::error::{Error, Requirement, Result};
use crate::logging::log_debug;

pub use adopt::{AdoptInfo, EnabledFeatures};
pub use adopt_raw::{RawHandles, requirements_for_raw};
pub use open::{OpenInfo, Validation};
pub use select::DeviceSelector;

/// A Vulkan device that can export. Clones are cheap and refer to the same device.
///
/// Every object made from it holds a clone, so the device is destroyed after the last object.
#[derive(Clone)]
pub struct ExportDevice(Arc<Inner>);

struct Inner {
    debug_utils: Option<ext::debug_utils::Device>,
    export_calls: ExportCalls,
    calls: Synchronization2,
    /// The functions for CUDA kernels, or the requirements that are not met.
    kernel_calls: std::result::Result<KernelCalls, Vec<Requirement>>,
    /// The main queue, the additional queues, and the first of those of each kind, by its index.
    queue: Queue,
    additional_queues: Vec<Queue>,
    compute_queue: Option<usize>,
    transfer_queue: Option<usize>,
    raw: ash::Device,
    instance: ash::Instance,
    physical: PhysicalDeviceInfo,
    api_version: u32,
    missing_for_export: Vec<Requirement>,
    enabled: EnabledFeatures,
    extensions: Vec<CString>,
    registry: Registry,
    // Dropped after `Drop` below has destroyed the device: the instance must outlive it.
    ownership: Ownership,
    entry: ash::Entry,
}

/// The owner that destroys the instance and the device.
enum Ownership {
    /// Created and destroyed by this crate.
    Opened(Box<OwnedInstance>),
    /// Created by the engine, which destroys them after this has been dropped.
    Adopted { keep_alive: Option<Box<dyn Any + Send + Sync>> },
}

/// The input of [`ExportDevice::assemble`], the common last step of `open` and `adopt`.
struct Parts {
    entry: ash::Entry,
    instance: ash::Instance,
    raw: ash::Device,
    physical: PhysicalDeviceInfo,
    api_version: u32,
    /// The main queue and additional queues, with their families.
    queue: (vk::Queue, u32),
    additional_queues: Vec<(vk::Queue, u32)>,
    queue_access: QueueAccess,
    missing_for_export: Vec<Requirement>,
    enabled: EnabledFeatures,
    /// The enabled device extensions.
    extensions: Vec<CString>,
    names: bool,
    ownership: Ownership,
}

impl ExportDevice {
    fn assemble(parts: Parts) -> Self {
        let Parts { entry, instance, raw, physical, api_version, ownership, .. } = parts;
        let calls = Synchronization2::new(&instance, &raw, api_version);
        let lock = |queue: (vk::Queue, u32)| {
            let stages = physical.stages_of(queue.1);
            Queue::new(raw.handle(), queue, stages, parts.queue_access.clone(), calls.clone(), &physical.name)
        };
        let is_enabled = |name: &CStr| parts.extensions.iter().any(|one| one.as_c_str() == name);
        let gaps = kernel_gaps(parts.enabled.buffer_device_address, is_enabled, |name| physical.has_extension(name));
        let kernel_calls = if gaps.is_empty() {
            KernelCalls::load(&instance, &raw).map_err(|name| vec![Requirement::Function(name)])
        } else {
            Err(gaps)
        };
        let first = |kind| parts.additional_queues.iter().position(|(_, family)| physical.is_family(*family, kind));
        let (compute_queue, transfer_queue) = (first(QueueKind::Compute), first(QueueKind::Transfer));
        let (queue, additional_queues) = (lock(parts.queue), parts.additional_queues.into_iter().map(lock).collect());
        Self(Arc::new(Inner {
            debug_utils: parts.names.then(|| ext::debug_utils::Device::new(&instance, &raw)),
            export_calls: ExportCalls::new(&instance, &raw),
            calls,
            kernel_calls,
            queue,
            additional_queues,
            compute_queue,
            transfer_queue,
            raw,
            instance,
            physical,
            api_version,
            missing_for_export: parts.missing_for_export,
            enabled: parts.enabled,
            extensions: parts.extensions,
            registry: Registry::default(),
            ownership,
            entry,
        }))
    }

    /// Returns the name of the device.
    pub fn name(&self) -> &str {
        &self.0.physical.name
    }

    /// Returns the UUID that identifies the same GPU in another API.
    #[doc(alias = "VkPhysicalDeviceIDProperties")]
    pub fn uuid(&self) -> Uuid {
        self.0.physical.uuid
    }

    /// Returns the properties of the physical device.
    pub fn physical(&self) -> &PhysicalDeviceInfo {
        &self.0.physical
    }

    /// Returns the effective Vulkan version, packed: the lower of the instance's and the device's.
    pub fn api_version(&self) -> u32 {
        self.0.api_version
    }

    /// Returns the main queue.
    #[inline]
    pub fn queue(&self) -> &Queue {
        &self.0.queue
    }

    /// Returns a queue of a kind, if the device has one. [`QueueKind::Graphics`] is the main queue,
    /// [`QueueKind::Additional`] selects one of the additional queues by its index, and the other
    /// kinds select one of them by its family.
    #[inline]
    pub fn queue_of(&self, kind: QueueKind) -> Option<&Queue> {
        let index = match kind {
            QueueKind::Graphics => return Some(&self.0.queue),
            QueueKind::Compute => self.0.compute_queue?,
            QueueKind::Transfer => self.0.transfer_queue?,
            QueueKind::Additional(index) => index,
        };
        self.0.additional_queues.get(index)
    }

    /// Returns `true` if all submissions to the queues are known to be synchronized, because this
    /// crate opened the device or the engine provided a [`queue_lock`](AdoptInfo::queue_lock).
    /// Otherwise, nothing may be submitted without the engine's knowledge.
    pub fn queues_are_synchronized(&self) -> bool {
        matches!(self.0.ownership, Ownership::Opened(_)) || self.0.queue.has_engine_lock()
    }

    /// Returns the device's functions and handle, which stay owned by this object.
    pub fn as_raw(&self) -> &ash::Device {
        &self.0.raw
    }

    /// Returns the instance's functions and handle, which stay owned by this object.
    pub fn instance(&self) -> &ash::Instance {
        &self.0.instance
    }

    /// Returns the loader's functions.
    pub fn entry(&self) -> &ash::Entry {
        &self.0.entry
    }

    /// Returns the requirements for exporting that this device does not meet; empty if it can
    /// export.
    pub fn missing_for_export(&self) -> &[Requirement] {
        &self.0.missing_for_export
    }

    /// Returns `true` if `bufferDeviceAddress` is enabled, so that buffers may have
    /// `SHADER_DEVICE_ADDRESS`.
    pub fn has_buffer_device_address(&self) -> bool {
        self.0.enabled.buffer_device_address
    }

    /// Checks that this device can export; `purpose` names the user of that support in the error.
    ///
    /// # Errors
    /// [`Error::Missing`] with [`missing_for_export`](Self::missing_for_export), if not empty.
    pub fn require_export(&self, purpose: &'static str) -> Result<()> {
        if self.0.missing_for_export.is_empty() {
            return Ok(());
        }
        Err(Error::Missing { device: self.name().to_owned(), purpose, missing: self.0.missing_for_export.clone() })
    }

    /// Returns the enabled features among those that decide which resources and stages are allowed.
    pub(crate) fn enabled(&self) -> &EnabledFeatures {
        &self.0.enabled
    }

    /// Returns `true` if a device extension is enabled.
    pub(crate) fn is_enabled(&self, extension: &CStr) -> bool {
        self.0.extensions.iter().any(|name| name.as_c_str() == extension)
    }

    /// Returns the messages of the validation layer to date, without the silenced ones. A message
    /// is available once the call that caused it has returned.
    ///
    /// They are also logged as warnings and errors, and the silenced ones as debug messages. A
    /// separate thread writes the log, soon after the call, so the logger may use this crate and
    /// may panic. Dropping the device waits for that thread for at most one second.
    ///
    /// Also empty if the layer is disabled; see [`OpenInfo::validation`] and
    /// [`is_validated`](Self::is_validated).
    pub fn validation_messages(&self) -> Vec<ValidationMessage> {
        self.messenger().map(|m| m.log().snapshot()).unwrap_or_default()
    }

    /// Returns `true` if the device lives until the last clone of this is dropped, independent of
    /// the rest of the program: it was [opened](Self::open), or adopted with
    /// [`keep_alive`](AdoptInfo::keep_alive). Work that uses the device may then be left to a
    /// background thread.
    pub fn is_kept_alive(&self) -> bool {
        match &self.0.ownership {
            Ownership::Opened(_) => true,
            Ownership::Adopted { keep_alive } => keep_alive.is_some(),
        }
    }

    /// Returns `true` if messages of a validation layer are collected for this device.
    pub fn is_validated(&self) -> bool {
        self.messenger().is_some()
    }

    fn messenger(&self) -> Option<&Messenger> {
        match &self.0.ownership {
            Ownership::Opened(instance) => instance.messenger.as_ref(),
            Ownership::Adopted { .. } => None,
        }
    }

    /// Returns `true` if both refer to the same device, not only to the same GPU.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Gives an object a name that validation messages and GPU debuggers show. Does nothing without
    /// `VK_EXT_debug_utils`. Objects of this crate are named when they are created.
    ///
    /// # Safety
    /// `handle` is a valid handle of this device or of its instance, and no other thread uses the
    /// object during the call (`vkSetDebugUtilsObjectNameEXT`, "Host Synchronization"): name it
    /// before sharing it with another thread.
    #[doc(alias = "vkSetDebugUtilsObjectNameEXT")]
    pub unsafe fn set_name<H: vk::Handle>(&self, handle: H, name: &str) {
        let Some(debug_utils) = &self.0.debug_utils else { return };
        let Ok(name) = std::ffi::CString::new(name) else { return };
        let info = vk::DebugUtilsObjectNameInfoEXT::default().object_handle(handle).object_name(&name);
        // SAFETY: VUID-vkSetDebugUtilsObjectNameEXT-pNameInfo-07874 and "Host access to
        // pNameInfo->objectHandle must be externally synchronized": the caller guarantees both.
        if let Err(result) = unsafe { debug_utils.set_debug_utils_object_name(&info) } {
            log_debug!("vkSetDebugUtilsObjectNameEXT: {result}");
        }
    }

    /// Records a pipeline barrier, also on devices without `synchronization2`.
    ///
    /// # Safety
    /// The Valid Usage of `vkCmdPipelineBarrier2`: `commands` records on this device and is
    /// externally synchronized.
    #[doc(alias = "vkCmdPipelineBarrier2")]
    pub unsafe fn cmd_pipeline_barrier2(&self, commands: vk::CommandBuffer, dependency: &vk::DependencyInfo<'_>) {
        // SAFETY: this function's contract.
        unsafe { self.0.calls.barrier(commands, dependency) };
    }

    pub(crate) fn export_calls(&self) -> &ExportCalls {
        &self.0.export_calls
    }

    /// Returns a closure for `map_err` that describes a failed call on `object`.
    pub(crate) fn failed(&self, call: &'static str, object: &str) -> impl FnOnce(vk::Result) -> Error + use<> {
        let (object, device) = (object.to_owned(), self.name().to_owned());
        move |result| Error::Vulkan { call, result, object, device }
    }
}

impl std::fmt::Debug for ExportDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ExportDevice").field(&self.0.physical.summary()).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ownership::Opened(_) = self.ownership {
            // SAFETY: VUID-vkDestroyDevice-device-05137: every object of this crate holds a clone
            // of the device, so none is left; objects that the program created through `as_raw`
            // must be destroyed by the program first.
            unsafe { self.raw.destroy_device(None) };
        }
    }
}
