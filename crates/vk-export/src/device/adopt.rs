//! Adoption of an engine's device.
#![allow(unsafe_code)] // Handles from the engine.

use std::any::Any;
use std::ffi::CStr;
use std::sync::Arc;

use ash::vk::Handle as _;
use ash::{ext, vk};

use super::{ExportDevice, Ownership, Parts};
use crate::device::physical::PhysicalDeviceInfo;
use crate::device::queue_lock::{EngineLock, QueueAccess, QueueLock};
use crate::device::requirements::Gaps;
use crate::device::resident;
use crate::error::{Error, Result};

/// An engine's Vulkan objects to adopt. Create it with [`new`](Self::new), then set the remaining
/// fields.
#[non_exhaustive]
pub struct AdoptInfo<'a> {
    /// The loader that the instance came from.
    pub entry: ash::Entry,
    /// The engine's instance.
    pub instance: ash::Instance,
    /// The `apiVersion` that the instance was created with, packed.
    pub api_version: u32,
    /// The physical device.
    pub physical_device: vk::PhysicalDevice,
    /// The engine's device.
    pub device: ash::Device,
    /// The queue of the device that will use the shared resources.
    pub queue: vk::Queue,
    /// The family of that queue.
    pub queue_family: u32,
    /// Additional queues with their families, for exchanges on a [`QueueKind`](crate::QueueKind)
    /// other than the main one; may be empty. They may be of any family, including the main
    /// queue's: [`QueueKind::Additional`](crate::QueueKind::Additional) selects one by its index.
    pub additional_queues: &'a [(vk::Queue, u32)],
    /// The device extensions that the engine enabled; see
    /// [`requirements_for`](crate::requirements_for).
    pub device_extensions: &'a [&'a CStr],
    /// The instance extensions that the engine enabled. With `VK_EXT_debug_utils`, objects get
    /// names.
    pub instance_extensions: &'a [&'a CStr],
    /// The features that the engine enabled; see [`RequiredFeatures`](crate::RequiredFeatures).
    pub features: EnabledFeatures,
    /// The engine's lock around its queues, for engines that submit from other threads. With
    /// `None`, the engine must not call functions on a queue while this crate does, and this crate
    /// submits only what the program asks it to. If a device is adopted twice, or if two devices
    /// share one mutex, pass clones of the same `Arc`: calls that would deadlock are detected by
    /// it.
    pub queue_lock: Option<Arc<dyn QueueLock>>,
    /// `true` for an engine whose lock around its queues cannot be taken from outside, such as
    /// wgpu's. Nothing is then submitted through the adopted device: [`Queue::submit`] and
    /// [`Queue::with`], and everything that calls them, return [`Error::OnlyEngineSubmits`], even
    /// if the program asks for the submission. The engine submits what `Exchange::record_initial`,
    /// `RenderTurn::lend` and `Exchange::flush_parts` of `bridge` give it. Default: `false`.
    ///
    /// [`Queue::submit`]: crate::Queue::submit
    /// [`Queue::with`]: crate::Queue::with
    pub only_engine_submits: bool,
    /// Anything that must live as long as the adopted device, such as the engine's own reference to
    /// it; dropped with the last clone. With `None`, the engine must keep the device alive until
    /// [`try_release`](ExportDevice::try_release) succeeds; drops that could otherwise leave
    /// pending work to a background thread then wait for it, see
    /// [`is_kept_alive`](ExportDevice::is_kept_alive). Two drops cannot wait and leave a background
    /// thread that uses the device, which `try_release` reports as well: that of an exchange inside
    /// a closure of the CPU backend or one that records kernels, until its frames have ended, and
    /// that of an exchange with another process inside [`Queue::with`](crate::Queue::with), until
    /// the worker owes no more frames and, if it was killed, its process has ended.
    pub keep_alive: Option<Box<dyn Any + Send + Sync>>,
}

impl AdoptInfo<'_> {
    /// Creates the configuration from the handles, the version that the instance was created with,
    /// and the family of the queue. It has no additional queues, extensions or features, and no
    /// `keep_alive`.
    pub fn new(
        (entry, instance, api_version): (ash::Entry, ash::Instance, u32),
        physical_device: vk::PhysicalDevice,
        device: ash::Device,
        (queue, queue_family): (vk::Queue, u32),
    ) -> Self {
        Self {
            entry,
            instance,
            api_version,
            physical_device,
            device,
            queue,
            queue_family,
            additional_queues: &[],
            device_extensions: &[],
            instance_extensions: &[],
            features: EnabledFeatures::default(),
            queue_lock: None,
            only_engine_submits: false,
            keep_alive: None,
        }
    }
}

/// The features that an engine enabled on its device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnabledFeatures {
    /// `timelineSemaphore`
    pub timeline_semaphore: bool,
    /// `synchronization2`
    pub synchronization2: bool,
    /// `imageCubeArray`, needed only by views of arrays of cubes. Default for all fields below as
    /// well: off.
    pub image_cube_array: bool,
    /// `bufferDeviceAddress`, needed by buffers with `SHADER_DEVICE_ADDRESS`.
    pub buffer_device_address: bool,
    /// `accelerationStructure`, needed by buffers that are build inputs, and by the build stages.
    pub acceleration_structure: bool,
    /// `rayTracingPipeline`, needed by its shader stages.
    pub ray_tracing_pipeline: bool,
    /// `geometryShader`, needed by its stage.
    pub geometry_shader: bool,
    /// `tessellationShader`, needed by its stages.
    pub tessellation_shader: bool,
    /// `taskShader` of `VK_EXT_mesh_shader`, needed by its stage.
    pub task_shader: bool,
    /// `meshShader` of `VK_EXT_mesh_shader`, needed by its stage.
    pub mesh_shader: bool,
}

impl ExportDevice {
    /// Adopts an engine's device. Dropping the result destroys none of the engine's objects.
    ///
    /// [`missing_for_export`](Self::missing_for_export) lists what exporting needs but the engine
    /// did not enable.
    ///
    /// # Errors
    /// [`Error::Missing`] with everything that the device lacks or the engine did not enable,
    /// [`Error::InvalidArgument`] for null handles, for a queue family that does not exist, and for
    /// a [`queue_lock`](AdoptInfo::queue_lock) together with
    /// [`only_engine_submits`](AdoptInfo::only_engine_submits).
    ///
    /// # Safety
    /// - The handles are null, or valid and belong together as described for the fields, and stay
    ///   valid until the last clone of the device, and everything made from it, is dropped. Without
    ///   [`keep_alive`](AdoptInfo::keep_alive), no exchange with another process is dropped inside
    ///   [`Queue::with`](crate::Queue::with), which would leave a thread that uses the device:
    ///   [`try_release`](Self::try_release) refuses until that thread has ended.
    /// - `device_extensions`, `instance_extensions` and `features` name only what is actually
    ///   enabled.
    /// - The engine makes no calls that need external synchronization on the queues while a call is
    ///   made through [`queue`](Self::queue) or [`queue_of`](Self::queue_of). A
    ///   [`queue_lock`](AdoptInfo::queue_lock) ensures this, and so does
    ///   [`only_engine_submits`](AdoptInfo::only_engine_submits), with which no call is made.
    pub unsafe fn adopt(info: AdoptInfo<'_>) -> Result<Self> {
        check_handles(&info)?;
        let queue_access = queue_access(&info)?;
        let physical = PhysicalDeviceInfo::query(&info.instance, info.physical_device, info.api_version)?;
        let api_version = info.api_version.min(physical.api_version);
        let gaps = Gaps::find(api_version, info.features.timeline_semaphore, info.features.synchronization2, |name| {
            info.device_extensions.contains(&name)
        });
        if !gaps.base.is_empty() {
            return Err(Error::Missing { device: physical.name, purpose: "adopting", missing: gaps.base });
        }
        let families = physical.queue_families.len();
        for family in std::iter::once(info.queue_family).chain(info.additional_queues.iter().map(|(_, family)| *family))
        {
            if usize::try_from(family).map_or(true, |family| family >= families) {
                return Err(Error::invalid(
                    format!("adopted device {}", physical.name),
                    format!("queue family {family} does not exist, it has {families}"),
                ));
            }
        }
        resident::keep_loaded();
        Ok(Self::assemble(Parts {
            entry: info.entry,
            instance: info.instance,
            raw: info.device,
            physical,
            api_version,
            queue: (info.queue, info.queue_family),
            additional_queues: info.additional_queues.to_vec(),
            queue_access,
            missing_for_export: gaps.export,
            enabled: info.features,
            extensions: info.device_extensions.iter().map(|name| (*name).to_owned()).collect(),
            names: info.instance_extensions.contains(&ext::debug_utils::NAME),
            ownership: Ownership::Adopted { keep_alive: info.keep_alive },
        }))
    }
}

/// Returns what calls on the queues need.
fn queue_access(info: &AdoptInfo<'_>) -> Result<QueueAccess> {
    match (info.only_engine_submits, &info.queue_lock) {
        (false, None) => Ok(QueueAccess::Unlocked),
        (false, Some(lock)) => Ok(QueueAccess::Locked(EngineLock::new(Arc::clone(lock)))),
        (true, None) => Ok(QueueAccess::EngineOnly),
        (true, Some(_)) => Err(Error::invalid(
            "adopted queues",
            "`queue_lock` and `only_engine_submits` are both set, but a lock is for submissions that the engine does not \
             make; set one of them",
        )),
    }
}

/// Checks that no handle is null; the error names all null handles.
fn check_handles(info: &AdoptInfo<'_>) -> Result<()> {
    let given = [
        ("instance", info.instance.handle().is_null()),
        ("physical_device", info.physical_device.is_null()),
        ("device", info.device.handle().is_null()),
        ("queue", info.queue.is_null()),
        ("a queue of additional_queues", info.additional_queues.iter().any(|(queue, _)| queue.is_null())),
    ];
    let null: Vec<&str> = given.iter().filter(|(_, is_null)| *is_null).map(|(name, _)| *name).collect();
    if null.is_empty() {
        return Ok(());
    }
    Err(Error::invalid("adopted handles", format!("{} must not be null", null.join(", "))))
}

impl std::fmt::Debug for AdoptInfo<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdoptInfo")
            .field("api_version", &self.api_version)
            .field("physical_device", &self.physical_device)
            .field("device", &self.device.handle())
            .field("queue", &self.queue)
            .field("queue_family", &self.queue_family)
            .field("additional_queues", &self.additional_queues)
            .field("device_extensions", &self.device_extensions)
            .field("instance_extensions", &self.instance_extensions)
            .field("features", &self.features)
            .field("queue_lock", &self.queue_lock.is_some())
            .field("only_engine_submits", &self.only_engine_submits)
            .field("keep_alive", &self.keep_alive.is_some())
            .finish_non_exhaustive()
    }
}
