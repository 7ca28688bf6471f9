//! Command buffers, semaphores and fences of the pictures that are being presented.

// Vulkan calls.
#![allow(unsafe_code)]

use std::time::Duration;

use bridge::ExportDevice;
use bridge::ash::vk;

use crate::draw::pipeline::Pipelines;
use crate::error::{Result, failed};

/// Pictures that may be on their way to the window.
const PICTURES: usize = 3;

/// Objects that one picture is presented with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) commands: vk::CommandBuffer,
    /// Signaled when the window's image can be written.
    pub(crate) acquired: vk::Semaphore,
    /// For drawing again.
    pub(crate) set: vk::DescriptorSet,
    index: usize,
}

struct Slot {
    place: Place,
    /// Signaled when the queue is done with the picture, presenting included.
    done: vk::Fence,
    busy: bool,
    /// Out of use: its semaphore may be signaled and nothing waits for it.
    abandoned: bool,
}

/// The places. Dropping it frees them at once: all are idle by then.
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
        // SAFETY: VUID-vkCreateCommandPool-queueFamilyIndex-01937: the family of the device's
        // queue.
        made.pool = unsafe { raw.create_command_pool(&info, None) }.map_err(failed(device, "vkCreateCommandPool"))?;
        let info =
            vk::CommandBufferAllocateInfo::default().command_pool(made.pool).command_buffer_count(PICTURES as u32);
        let buffers =
            // SAFETY: VUID-vkAllocateCommandBuffers-pAllocateInfo-00044: more than no command
            // buffer.
            unsafe { raw.allocate_command_buffers(&info) }.map_err(failed(device, "vkAllocateCommandBuffers"))?;
        let count = PICTURES as u32;
        let sizes = Pipelines::pool_sizes(count);
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(count).pool_sizes(&sizes);
        made.sets =
            // SAFETY: VUID-VkDescriptorPoolCreateInfo-descriptorPoolOverallocation-09227: more than
            // no set.
            unsafe { raw.create_descriptor_pool(&info, None) }.map_err(failed(device, "vkCreateDescriptorPool"))?;
        let layouts = [pipelines.set_layout(); PICTURES];
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(made.sets).set_layouts(&layouts);
        let sets =
            // SAFETY: VUID-VkDescriptorSetAllocateInfo-apiVersion-07895: as many as the pool was
            // made for.
            unsafe { raw.allocate_descriptor_sets(&info) }.map_err(failed(device, "vkAllocateDescriptorSets"))?;
        for (index, (commands, set)) in buffers.into_iter().zip(sets).enumerate() {
            let place = Place { commands, set, acquired: vk::Semaphore::null(), index };
            made.slots.push(Slot { place, done: vk::Fence::null(), busy: false, abandoned: false });
        }
        for slot in &mut made.slots {
            slot.place.acquired = semaphore(device)?;
            let info = vk::FenceCreateInfo::default();
            // SAFETY: VUID-VkFenceCreateInfo-flags-parameter: no flags.
            slot.done = unsafe { raw.create_fence(&info, None) }.map_err(failed(device, "vkCreateFence"))?;
        }
        Ok(made)
    }

    /// A place that is idle. Does not wait.
    pub(crate) fn idle(&mut self) -> Result<Option<Place>> {
        self.look()?;
        Ok(self.slots.iter().find(|slot| !slot.busy && !slot.abandoned).map(|slot| slot.place))
    }

    /// Returns `true` if all are idle. Does not wait.
    pub(crate) fn all_idle(&mut self) -> Result<bool> {
        self.look()?;
        Ok(self.slots.iter().all(|slot| !slot.busy))
    }

    /// Sees which pictures are done.
    fn look(&mut self) -> Result<()> {
        let raw = self.device.as_raw();
        for slot in self.slots.iter_mut().filter(|slot| slot.busy) {
            // SAFETY: VUID-vkGetFenceStatus-fence-parameter: made in `new`.
            let done = unsafe { raw.get_fence_status(slot.done) }.map_err(failed(&self.device, "vkGetFenceStatus"))?;
            slot.busy = !done;
        }
        Ok(())
    }

    /// Notes that the place is in use until the queue is done with all that it was given so far.
    pub(crate) fn submitted(&mut self, place: Place) -> Result<()> {
        let (raw, queue) = (self.device.as_raw(), self.device.queue());
        let Some(slot) = self.slots.get_mut(place.index) else { return Ok(()) };
        // From here on only the fence says that it is idle: if it is not submitted, never.
        slot.busy = true;
        // SAFETY: VUID-vkResetFences-pFences-01123: an idle place's fence has been seen signaled,
        // or was never submitted.
        unsafe { raw.reset_fences(&[slot.done]) }.map_err(failed(&self.device, "vkResetFences"))?;
        // SAFETY: VUID-vkQueueSubmit2-fence-04894, -04895: reset above, and with no other
        // submission.
        Ok(unsafe { queue.submit(&[], slot.done) }?)
    }

    /// Notes that the place cannot be used as it is: an image was acquired with it that nothing was
    /// written to.
    pub(crate) fn abandon(&mut self, place: Place) {
        if let Some(slot) = self.slots.get_mut(place.index) {
            // No fence tells of it.
            (slot.busy, slot.abandoned) = (false, true);
        }
    }

    /// Gives each abandoned place another semaphore, and leaks the one it has: that it is not
    /// signaled any more is not known. Nothing else of such a place is in use.
    pub(crate) fn replace_abandoned(&mut self) -> Result<()> {
        for slot in self.slots.iter_mut().filter(|slot| slot.abandoned) {
            slot.place.acquired = semaphore(&self.device)?;
            slot.abandoned = false;
        }
        Ok(())
    }

    /// Waits until all are idle, for at most `limit`. A device that is lost uses nothing any more.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<()> {
        let fences: Vec<_> = self.slots.iter().filter(|slot| slot.busy).map(|slot| slot.done).collect();
        if fences.is_empty() {
            return Ok(());
        }
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: VUID-vkWaitForFences-pFences-parameter: made in `new`.
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
    // SAFETY: VUID-VkSemaphoreCreateInfo-flags-zerobitmask: no flags, and no chain.
    unsafe { device.as_raw().create_semaphore(&info, None) }.map_err(failed(device, "vkCreateSemaphore"))
}

impl Drop for Places {
    fn drop(&mut self) {
        let raw = self.device.as_raw();
        // What an abandoned one has may be in use, and is leaked.
        for slot in self.slots.iter().filter(|slot| !slot.abandoned) {
            // SAFETY: VUID-vkDestroySemaphore-semaphore-05149: idle, as documented; null is
            // ignored.
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
