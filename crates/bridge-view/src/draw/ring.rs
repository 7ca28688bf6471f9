//! Command buffers and descriptor sets for the frames in flight, recorded again once a frame has
//! been drawn.

// Vulkan calls.
#![allow(unsafe_code)]

use std::time::Duration;

use bridge::ash::vk;
use bridge::{ExportDevice, TimelinePoint};

use crate::draw::pipeline::Pipelines;
use crate::error::{Error, Result, failed};

/// Frames that may be on the GPU when another is recorded.
pub(crate) const FRAMES: usize = 3;

/// A place of the ring.
struct Place {
    commands: vk::CommandBuffer,
    set: vk::DescriptorSet,
    /// The point at which the commands have run; `None` before the first time.
    busy: Option<TimelinePoint>,
}

/// Dropping it frees everything at once: call [`Ring::wait`] before.
pub(crate) struct Ring {
    pool: vk::CommandPool,
    sets: vk::DescriptorPool,
    places: Vec<Place>,
    next: usize,
    /// Commands were submitted, and nothing tells when they end.
    lost: bool,
    device: ExportDevice,
}

/// The command buffer and the set of a frame.
#[derive(Clone, Copy)]
pub(crate) struct Recording {
    pub(crate) commands: vk::CommandBuffer,
    pub(crate) set: vk::DescriptorSet,
    place: usize,
}

impl Ring {
    pub(crate) fn new(device: &ExportDevice, family: u32, pipelines: &Pipelines) -> Result<Self> {
        let mut made = Self {
            pool: vk::CommandPool::null(),
            sets: vk::DescriptorPool::null(),
            places: Vec::new(),
            next: 0,
            lost: false,
            device: device.clone(),
        };
        let raw = device.as_raw();
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(family)
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        // SAFETY: VUID-vkCreateCommandPool-queueFamilyIndex-01937: the family of one of the
        // device's queues.
        made.pool = unsafe { raw.create_command_pool(&info, None) }.map_err(failed(device, "vkCreateCommandPool"))?;
        let count = FRAMES as u32;
        let sizes = Pipelines::pool_sizes(count);
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(count).pool_sizes(&sizes);
        made.sets =
            // SAFETY: VUID-VkDescriptorPoolCreateInfo-descriptorPoolOverallocation-09227: more than
            // no set.
            unsafe { raw.create_descriptor_pool(&info, None) }.map_err(failed(device, "vkCreateDescriptorPool"))?;
        let info = vk::CommandBufferAllocateInfo::default().command_pool(made.pool).command_buffer_count(count);
        let commands =
            // SAFETY: VUID-vkAllocateCommandBuffers-pAllocateInfo-00044: more than no command
            // buffer.
            unsafe { raw.allocate_command_buffers(&info) }.map_err(failed(device, "vkAllocateCommandBuffers"))?;
        let layouts = [pipelines.set_layout(); FRAMES];
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(made.sets).set_layouts(&layouts);
        let sets =
            // SAFETY: VUID-VkDescriptorSetAllocateInfo-apiVersion-07895: as many as the pool was
            // made for.
            unsafe { raw.allocate_descriptor_sets(&info) }.map_err(failed(device, "vkAllocateDescriptorSets"))?;
        let places = commands.into_iter().zip(sets).map(|(commands, set)| Place { commands, set, busy: None });
        made.places = places.collect();
        Ok(made)
    }

    /// Begins a command buffer that has run, with these resources bound in its set, if it draws.
    /// Blocks until it has run, for at most `limit`.
    ///
    /// # Safety
    /// As [`bind`] says of the resources.
    pub(crate) unsafe fn begin(&mut self, limit: Duration, bound: Option<Bound>) -> Result<Recording> {
        if self.lost {
            return Err(Error::Stuck);
        }
        let place = self.next;
        let Place { commands, set, busy } = &mut self.places[place];
        let (commands, set) = (*commands, *set);
        if let Some(point) = busy.as_ref() {
            // The frames behind it keep the GPU busy.
            point.wait_blocking(limit)?;
        }
        *busy = None;
        self.next = (place + 1) % FRAMES;
        if let Some(bound) = bound {
            // SAFETY: the commands that used the set have run; the resources are as this function
            // says.
            unsafe { bind(&self.device, set, bound) };
        }
        let raw = self.device.as_raw();
        let info = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: VUID-vkBeginCommandBuffer-commandBuffer-00049: it has run; its pool lets it be
        // reset.
        unsafe { raw.begin_command_buffer(commands, &info) }.map_err(failed(&self.device, "vkBeginCommandBuffer"))?;
        Ok(Recording { commands, set, place })
    }

    /// Notes when the commands will have run.
    pub(crate) fn submitted(&mut self, recording: Recording, point: TimelinePoint) {
        self.places[recording.place].busy = Some(point);
    }

    /// Notes that commands were submitted whose end nothing tells: none are recorded any more.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    /// Blocks until all commands have run, for at most `limit` each.
    ///
    /// # Errors
    /// The error of the wait. Commands may still run then if [`is_busy`](Self::is_busy) says so; if
    /// not, the compute side or the device is lost, and they have ended.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<()> {
        let mut waited = Ok(());
        for place in &mut self.places {
            let ended = place.busy.as_ref().map_or(Ok(()), |point| point.wait_ended(limit));
            if let Err(error @ bridge::Error::Timeout { .. }) = ended {
                return Err(error.into());
            }
            // After every other error they do not run.
            place.busy = None;
            waited = waited.and(ended);
        }
        Ok(waited?)
    }

    /// Returns `true` if commands may still run whose end is known from a point.
    pub(crate) fn is_busy(&self) -> bool {
        self.places.iter().any(|place| place.busy.is_some())
    }
}

/// The resources that a frame is drawn from and into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) source: Source,
    pub(crate) picture: vk::Buffer,
    /// Of points; images leave the binding alone.
    pub(crate) depths: vk::Buffer,
}

/// The memory that a frame is drawn from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// An image or points, and the bytes that are read.
    Buffer(vk::Buffer, u64),
    /// An image, and the layout that it is in.
    Texture(vk::ImageView, vk::ImageLayout),
}

/// Binds the resources in the set, the source where the shader of its kind reads it.
///
/// # Safety
/// The buffers are storage buffers of the device, none larger than what a set can have, the source
/// but for its first bytes. A texture is the view of a sampled 2D image of the device. The set is
/// of the [`Pipelines`], and what used it has run.
pub(crate) unsafe fn bind(device: &ExportDevice, set: vk::DescriptorSet, bound: Bound) {
    let buffer = |buffer, range| [vk::DescriptorBufferInfo { buffer, offset: 0, range }];
    let (picture, depths) = (buffer(bound.picture, vk::WHOLE_SIZE), buffer(bound.depths, vk::WHOLE_SIZE));
    let write = |binding, ty| {
        vk::WriteDescriptorSet::default().dst_set(set).dst_binding(binding).descriptor_type(ty).descriptor_count(1)
    };
    let storage = |binding| write(binding, vk::DescriptorType::STORAGE_BUFFER);
    let update = |source| {
        let writes = [source, storage(1).buffer_info(&picture), storage(2).buffer_info(&depths)];
        // SAFETY: VUID-vkUpdateDescriptorSets-None-03047,
        // VUID-VkWriteDescriptorSet-descriptorType-00333, -04150: as this function.
        unsafe { device.as_raw().update_descriptor_sets(&writes, &[]) };
    };
    match bound.source {
        Source::Buffer(raw, size) => update(storage(0).buffer_info(&buffer(raw, size))),
        Source::Texture(image_view, image_layout) => {
            let texture = [vk::DescriptorImageInfo { sampler: vk::Sampler::null(), image_view, image_layout }];
            update(write(3, vk::DescriptorType::SAMPLED_IMAGE).image_info(&texture));
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkDestroyCommandPool-commandPool-00041: what was submitted has run, as
        // documented; null is allowed.
        unsafe { raw.destroy_command_pool(self.pool, None) };
        // SAFETY: VUID-vkDestroyDescriptorPool-descriptorPool-00303: as above.
        unsafe { raw.destroy_descriptor_pool(self.sets, None) };
    }
}
