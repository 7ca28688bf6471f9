//! Command buffers, semaphores and fences for presenting pictures.

// Vulkan calls.
#![allow(unsafe_code)]

use std::time::Duration;

use bridge::ExportDevice;
use bridge::ash::vk;

use crate::draw::pipeline::Pipelines;
use crate::error::{Result, failed};

/// Maximum number of pictures that are being presented at the same time.
const PICTURES: usize = 3;

/// The objects for presenting one picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) commands: vk::CommandBuffer,
    /// Signaled when the window's image can be written.
    pub(crate) acquired: vk::Semaphore,
    /// The descriptor set for drawing again.
    pub(crate) set: vk::DescriptorSet,
    index: usize,
}

struct Slot {
    place: Place,
    /// Signaled when the queue no longer uses the picture, including presentation.
    done: vk::Fence,
    busy: bool,
    /// `true` if it is unusable, because its semaphore may be signaled and nothing waits for it.
    abandoned: bool,
}

/// All places. Dropping this frees them immediately: all must be idle by then.
pub(crate) struct Places {
    pool: vk::CommandPool,
    sets: vk::DescriptorPool,
    slots: Vec<Slot>,
    device: ExportDevice,
}

impl Places {
    pub(crate) fn new(device: &ExportDevice, pipelines: &Pipelines) -> Result<Self> {
        let mut made = Self {
            pool: vk::CommandPool::null(),
            sets: vk::DescriptorPool::null(),
            slots: Vec::new(),
            device: device.clone(),
        };
        let raw = device.as_raw();
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(device.queue().family())
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        // SAFETY: VUID-vkCreateCommandPool-queueFamilyIndex-01937: the family is that of the
        // device's queue.
        made.pool = unsafe { raw.create_command_pool(&info, None) }.map_err(failed(device, "vkCreateCommandPool"))?;
        let info =
            vk::CommandBufferAllocateInfo::default().command_pool(made.pool).command_buffer_count(PICTURES as u32);
        let buffers =
            // SAFETY: VUID-vkAllocateCommandBuffers-pAllocateInfo-00044: the count is not 0.
            unsafe { raw.allocate_command_buffers(&info) }.map_err(failed(device, "vkAllocateCommandBuffers"))?;
        let count = PICTURES as u32;
        let sizes = Pipelines::pool_sizes(count);
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(count).pool_sizes(&sizes);
        made.sets =
            // SAFETY: VUID-VkDescriptorPoolCreateInfo-descriptorPoolOverallocation-09227: the count
            // is not 0.
            unsafe { raw.create_descriptor_pool(&info, None) }.map_err(failed(device, "vkCreateDescriptorPool"))?;
        let layouts = [pipelines.set_layout(); PICTURES];
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(made.sets).set_layouts(&layouts);
        let sets =
            // SAFETY: VUID-VkDescriptorSetAllocateInfo-apiVersion-07895: the pool was created for
            // this number of sets.
            unsafe { raw.allocate_descriptor_sets(&info) }.map_err(failed(device, "vkAllocateDescriptorSets"))?;
        for (index, (commands, set)) in buffers.into_iter().zip(sets).enumerate() {
            let place = Place { commands, set, acquired: vk::Semaphore::null(), index };
            made.slots.push(Slot { place, done: vk::Fence::null(), busy: false, abandoned: false });
        }
        for slot in &mut made.slots {
            slot.place.acquired = semaphore(device)?;
            let info = vk::FenceCreateInfo::default();
            // SAFETY: VUID-VkFenceCreateInfo-flags-parameter: no flags are used.
            slot.done = unsafe { raw.create_fence(&info, None) }.map_err(failed(device, "vkCreateFence"))?;
        }
        Ok(made)
    }

    /// Returns an idle place, if any. Does not wait.
    pub(crate) fn take_idle(&mut self) -> Result<Option<Place>> {
        self.look()?;
        Ok(self.slots.iter().find(|slot| !slot.busy && !slot.abandoned).map(|slot| slot.place))
    }

    /// Returns `true` if all places are idle. Does not wait.
    pub(crate) fn are_all_idle(&mut self) -> Result<bool> {
        self.look()?;
        Ok(self.slots.iter().all(|slot| !slot.busy))
    }

    /// Updates which pictures have completed.
    fn look(&mut self) -> Result<()> {
        let raw = self.device.as_raw();
        for slot in self.slots.iter_mut().filter(|slot| slot.busy) {
            // SAFETY: VUID-vkGetFenceStatus-fence-parameter: the fence was created in `new`.
            let done = unsafe { raw.get_fence_status(slot.done) }.map_err(failed(&self.device, "vkGetFenceStatus"))?;
            slot.busy = !done;
        }
        Ok(())
    }

    /// Notes that the place is in use until the queue has completed all submissions so far.
    pub(crate) fn submitted(&mut self, place: Place) -> Result<()> {
        let (raw, queue) = (self.device.as_raw(), self.device.queue());
        let Some(slot) = self.slots.get_mut(place.index) else { return Ok(()) };
        // From here on only the fence makes the place idle again: if submitting the fence fails, it
        // stays busy.
        slot.busy = true;
        // SAFETY: VUID-vkResetFences-pFences-01123: the fence of an idle place was seen signaled,
        // or was never submitted.
        unsafe { raw.reset_fences(&[slot.done]) }.map_err(failed(&self.device, "vkResetFences"))?;
        // SAFETY: VUID-vkQueueSubmit2-fence-04894, -04895: the fence was reset above and is in no
        // other submission.
        Ok(unsafe { queue.submit(&[], slot.done) }?)
    }

    /// Notes that the place is unusable: an image was acquired with it, but nothing was written to
    /// the image.
    pub(crate) fn abandon(&mut self, place: Place) {
        if let Some(slot) = self.slots.get_mut(place.index) {
            // There is no fence for it.
            (slot.busy, slot.abandoned) = (false, true);
        }
    }

    /// Gives each abandoned place a new semaphore and leaks the old one, since it is not known
    /// whether that may still be signaled. Nothing else of such a place is in use.
    pub(crate) fn replace_abandoned(&mut self) -> Result<()> {
        for slot in self.slots.iter_mut().filter(|slot| slot.abandoned) {
            slot.place.acquired = semaphore(&self.device)?;
            slot.abandoned = false;
        }
        Ok(())
    }

    /// Waits until all places are idle, for at most `limit`. On a lost device all are idle.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<()> {
        let fences: Vec<_> = self.slots.iter().filter(|slot| slot.busy).map(|slot| slot.done).collect();
        if fences.is_empty() {
            return Ok(());
        }
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: VUID-vkWaitForFences-pFences-parameter: the fences were created in `new`.
        match unsafe { self.device.as_raw().wait_for_fences(&fences, true, limit) } {
            Ok(()) | Err(vk::Result::ERROR_DEVICE_LOST) => {}
            Err(code) => return Err(failed(&self.device, "vkWaitForFences")(code)),
        }
        self.slots.iter_mut().for_each(|slot| slot.busy = false);
        Ok(())
    }
}

fn semaphore(device: &ExportDevice) -> Result<vk::Semaphore> {
    let info = vk::SemaphoreCreateInfo::default();
    // SAFETY: VUID-VkSemaphoreCreateInfo-flags-zerobitmask: no flags and no `pNext` chain are used.
    unsafe { device.as_raw().create_semaphore(&info, None) }.map_err(failed(device, "vkCreateSemaphore"))
}

impl Drop for Places {
    fn drop(&mut self) {
        let raw = self.device.as_raw();
        // The objects of abandoned places may be in use, and are leaked.
        for slot in self.slots.iter().filter(|slot| !slot.abandoned) {
            // SAFETY: VUID-vkDestroySemaphore-semaphore-05149: the place is idle, as documented;
            // null is ignored.
            unsafe { raw.destroy_semaphore(slot.place.acquired, None) };
            // SAFETY: VUID-vkDestroyFence-fence-01120: as above.
            unsafe { raw.destroy_fence(slot.done, None) };
        }
        // SAFETY: VUID-vkDestroyCommandPool-commandPool-00041: as above.
        unsafe { raw.destroy_command_pool(self.pool, None) };
        // SAFETY: VUID-vkDestroyDescriptorPool-descriptorPool-00303: as above.
        unsafe { raw.destroy_descriptor_pool(self.sets, None) };
    }
}
