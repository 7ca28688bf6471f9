//! Additions to the creation of Bevy's Vulkan device: extensions, a feature, and a queue for copies.
#![allow(unsafe_code)] // Registers a callback that changes how the device is created.

use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ash::vk;
use bevy_render::renderer::raw_vulkan_init::{AdditionalVulkanFeatures, RawVulkanInitSettings};
use bridge::{DeviceRequirements, RequiredFeatures, requirements_for};
use wgpu::hal::vulkan::{Adapter, CreateDeviceCallbackArgs, Device, InstanceShared};

/// The family from which wgpu 29 takes its queue.
pub(crate) const FAMILY: u32 = 0;

/// The newest Vulkan version that wgpu 29 requests for an instance.
const WGPU_API_VERSION: u32 = vk::API_VERSION_1_3;

/// The queues that were added to a device. It also has the extensions and features that sharing
/// needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addition {
    /// The first queue of the first family that only copies. On NVIDIA GPUs it has an engine of its
    /// own, so copies do not interrupt the drawing.
    pub(crate) transfer: bool,
    /// The second queue of [`FAMILY`].
    pub(crate) second: bool,
}

impl Addition {
    /// Another plugin has requested more queues, or there are no others.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self { transfer: false, second: false };

    /// Records the addition in the extensions of a device that is being created: replaces the last
    /// name by an equal one at another address. Without any extension, nothing is recorded.
    pub(crate) fn note(self, extensions: &mut [&'static CStr]) {
        let Some(last) = extensions.last_mut() else { return };
        // The names of a device's extensions live as long as the process. This leaks about 30 bytes
        // for each device.
        let own: &'static CStr = Box::leak((*last).into());
        *last = own;
        noted().push((own.as_ptr() as usize, self));
    }

    /// Returns the addition that a device was created with; `None` if this crate did not add
    /// anything.
    ///
    /// Only a device whose creation has called [`note`](Self::note) has such a name, unless unsafe
    /// code takes the list of its extensions for another device. A value in Bevy's
    /// [`AdditionalVulkanFeatures`] would prove nothing: safe code can clone that resource and
    /// combine it with any device (`RenderCreation::manual`).
    pub(crate) fn of(device: &Device) -> Option<Self> {
        Self::noted_in(device.enabled_device_extensions())
    }

    fn noted_in(extensions: &[&'static CStr]) -> Option<Self> {
        let noted = noted();
        let of_name = |name: &&CStr| noted.iter().find(|(address, _)| *address == name.as_ptr() as usize);
        extensions.iter().find_map(of_name).map(|(_, addition)| *addition)
    }
}

/// Returns the addresses of the names that [`Addition::note`] has made.
fn noted() -> MutexGuard<'static, Vec<(usize, Addition)>> {
    static NOTED: Mutex<Vec<(usize, Addition)>> = Mutex::new(Vec::new());
    NOTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds the callback to the settings that Bevy's device is created with.
pub(crate) fn register(settings: &mut RawVulkanInitSettings) {
    // SAFETY: `add` removes nothing, and only adds what the physical device supports: the names come
    // from `needed`, or are equal to names that are already there.
    unsafe { settings.add_create_device_callback(add) };
}

fn add(args: &mut CreateDeviceCallbackArgs<'_, '_, '_>, adapter: &Adapter, _: &mut AdditionalVulkanFeatures) {
    // Settings that already had this callback were cloned.
    if Addition::noted_in(args.extensions).is_some() {
        return;
    }
    let needed = match needed(adapter) {
        Ok(needed) => needed,
        Err(error) => return log::warn!("Bevy's device is created without what sharing with CUDA needs: {error}"),
    };
    for name in &needed.extensions {
        // wgpu enables some of them itself.
        if !args.extensions.contains(name) {
            args.extensions.push(name);
        }
    }
    // The chain must live until the device is created, which happens after this function returns.
    // This leaks 32 bytes for each device of the process.
    let synchronization2 = Box::leak(Box::new(RequiredFeatures::default().synchronization2));
    *args.create_info = std::mem::take(args.create_info).push_next(synchronization2);
    let families = families(adapter.shared_instance(), adapter.raw_physical_device());
    request_queues(&families, args.queue_create_infos).note(args.extensions);
}

/// Adds queues to those that a device is created with. If another plugin has requested queues of the
/// same family, its request is left unchanged.
fn request_queues(
    families: &[vk::QueueFamilyProperties],
    requested: &mut Vec<vk::DeviceQueueCreateInfo<'_>>,
) -> Addition {
    let transfer = transfer_family(families).filter(|family| of_family(requested, *family).is_none());
    if let Some(family) = transfer {
        requested.push(vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0]));
    }
    let available = families.first().map_or(0, |family| family.queue_count);
    let wgpus = of_family(requested, FAMILY).filter(|info| info.queue_count == 1 && available > 1);
    let second = wgpus.map(|info| *info = info.queue_priorities(&[1.0, 1.0])).is_some();
    Addition { transfer: transfer.is_some(), second }
}

fn of_family<'r, 'p>(
    requested: &'r mut [vk::DeviceQueueCreateInfo<'p>],
    family: u32,
) -> Option<&'r mut vk::DeviceQueueCreateInfo<'p>> {
    requested.iter_mut().find(|info| info.queue_family_index == family)
}

/// Returns the first family whose queues only copy.
fn transfer_family(families: &[vk::QueueFamilyProperties]) -> Option<u32> {
    let other = vk::QueueFlags::SPARSE_BINDING | vk::QueueFlags::PROTECTED;
    let copies = |family: &vk::QueueFamilyProperties| family.queue_flags & !other == vk::QueueFlags::TRANSFER;
    (0..).zip(families).find(|(_, family)| family.queue_count > 0 && copies(family)).map(|(index, _)| index)
}

/// Returns the queue families of wgpu's physical device.
fn families(instance: &InstanceShared, physical: vk::PhysicalDevice) -> Vec<vk::QueueFamilyProperties> {
    // SAFETY: the physical device is wgpu's, from this instance.
    unsafe { instance.raw_instance().get_physical_device_queue_family_properties(physical) }
}

/// The queues that were added to a device, with their families.
pub(crate) struct AddedQueues {
    pub(crate) transfer: Option<(vk::Queue, u32)>,
    pub(crate) second: Option<(vk::Queue, u32)>,
}

/// Returns the queues that were added to a device.
pub(crate) fn added_queues(device: &Device, Addition { transfer, second }: Addition) -> AddedQueues {
    let queue = |family, index| {
        // SAFETY: the addition was noted when the device was created, after this queue was
        // requested. Only unsafe code could have withdrawn the request since: the callback of
        // another plugin, for which docs/embedding/bevy.md forbids it.
        (unsafe { device.raw_device().get_device_queue(family, index) }, family)
    };
    let families = families(device.shared_instance(), device.raw_physical_device());
    AddedQueues {
        transfer: transfer_family(&families).filter(|_| transfer).map(|family| queue(family, 0)),
        second: second.then(|| queue(FAMILY, 1)),
    }
}

/// Returns the families of the queues that copy and draw: one, or two different ones.
pub(crate) fn families_in_use(device: &Device) -> Vec<u32> {
    let families = families(device.shared_instance(), device.raw_physical_device());
    let copies = Addition::of(device).filter(|added| added.transfer).and_then(|_| transfer_family(&families));
    std::iter::once(FAMILY).chain(copies).collect()
}

/// Returns the requirements of the bridge on the adapter's device.
///
/// # Errors
/// Mandatory requirements that the device does not meet.
pub(crate) fn needed(adapter: &Adapter) -> Result<DeviceRequirements, bridge::vk_export::Error> {
    let instance = adapter.shared_instance();
    let (raw, physical) = (instance.raw_instance(), adapter.raw_physical_device());
    // SAFETY: the physical device is the adapter's own, from this instance, which was created for
    // that version.
    let needed = unsafe { requirements_for(raw, api_version(instance), physical) }?;
    needed.check_met()?;
    Ok(needed)
}

/// Returns the version that the instance was created with.
pub(crate) fn api_version(instance: &InstanceShared) -> u32 {
    instance.instance_api_version().min(WGPU_API_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(flags: vk::QueueFlags, count: u32) -> vk::QueueFamilyProperties {
        vk::QueueFamilyProperties::default().queue_flags(flags).queue_count(count)
    }

    /// Returns whether there is a queue that only copies, and a second one of wgpu's family, and the
    /// requested numbers of queues by family.
    fn requested(families: &[vk::QueueFamilyProperties], before: &[(u32, usize)]) -> ([bool; 2], Vec<(u32, u32)>) {
        let info = |(family, count): &(u32, usize)| {
            vk::DeviceQueueCreateInfo::default().queue_family_index(*family).queue_priorities(&[1.0; 4][..*count])
        };
        let mut infos: Vec<_> = before.iter().map(info).collect();
        let Addition { transfer, second } = request_queues(families, &mut infos);
        ([transfer, second], infos.iter().map(|info| (info.queue_family_index, info.queue_count)).collect())
    }

    #[test]
    fn queues_are_added_where_no_other_plugin_has_requested_them() {
        use vk::QueueFlags as Flags;
        let draws = Flags::GRAPHICS | Flags::COMPUTE | Flags::TRANSFER;
        let computes = family(Flags::COMPUTE | Flags::TRANSFER, 8);
        let copies = family(Flags::TRANSFER | Flags::SPARSE_BINDING, 2);
        let (one, many) = (family(draws, 1), family(draws, 16));
        let of_wgpu = [(0, 1)];
        assert_eq!(requested(&[many, computes, copies], &of_wgpu), ([true, true], vec![(0, 2), (2, 1)]));
        assert_eq!(requested(&[one, copies], &of_wgpu), ([true, false], vec![(0, 1), (1, 1)]));
        assert_eq!(requested(&[many, computes], &of_wgpu), ([false, true], vec![(0, 2)]));
        assert_eq!(requested(&[one, computes], &of_wgpu), ([false, false], vec![(0, 1)]));
        // What another plugin has requested remains.
        assert_eq!(requested(&[many, copies], &[(0, 1), (1, 2)]), ([false, true], vec![(0, 2), (1, 2)]));
        assert_eq!(requested(&[many, copies], &[(0, 3), (1, 1)]), ([false, false], vec![(0, 3), (1, 1)]));
    }

    #[test]
    fn names_are_recognized_by_their_address() {
        let added = Addition { transfer: true, second: false };
        let plain = [c"VK_EXT_one", c"VK_EXT_other"];
        let (mut one, mut two) = (plain, plain);
        added.note(&mut one);
        Addition::NONE.note(&mut two);
        assert_eq!((one, two), (plain, plain));
        assert_eq!(
            [one, two, plain].map(|names| Addition::noted_in(&names)),
            [Some(added), Some(Addition::NONE), None]
        );
        added.note(&mut []);
    }
}
