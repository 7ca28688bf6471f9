//! Command buffers and descriptor sets for the frames in flight, which are reused once a frame has
//! been drawn.

// Vulkan calls.
#![allow(unsafe_code)]

use std::time::Duration;

use bridge::ash::vk;
use bridge::{ExportDevice, TimelinePoint};

use crate::draw::pipeline::Pipelines;
use crate::error::{Error, Result, failed};

/// Maximum number of frames in flight.
pub(crate) const FRAMES: usize = 3;

/// An entry of the ring.
struct Place {
    commands: vk::CommandBuffer,
    set: vk::DescriptorSet,
    /// The point at which the commands have run; `None` before the first use.
    busy: Option<TimelinePoint>,
}

/// The ring of command buffers and descriptor sets. Dropping it frees everything immediately: call
/// [`Ring::wait`] before.
pub(crate) struct Ring {
    pool: vk::CommandPool,
    sets: vk::DescriptorPool,
    places: Vec<Place>,
    next: usize,
    /// `true` if commands were submitted whose end cannot be observed.
    lost: bool,
    device: ExportDevice,
}

/// The command buffer and the descriptor set of a frame.
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
        // SAFETY: VUID-vkCreateCommandPool-queueFamilyIndex-01937: the family is that of one of the
        // device's queues.
        made.pool = unsafe { raw.create_command_pool(&info, None) }.map_err(failed(device, "vkCreateCommandPool"))?;
        let count = FRAMES as u32;
        let sizes = Pipelines::pool_sizes(count);
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(count).pool_sizes(&sizes);
        made.sets =
            // SAFETY: VUID-VkDescriptorPoolCreateInfo-descriptorPoolOverallocation-09227: the count
            // is not 0.
            unsafe { raw.create_descriptor_pool(&info, None) }.map_err(failed(device, "vkCreateDescriptorPool"))?;
        let info = vk::CommandBufferAllocateInfo::default().command_pool(made.pool).command_buffer_count(count);
        let commands =
            // SAFETY: VUID-vkAllocateCommandBuffers-pAllocateInfo-00044: the count is not
            // 0.
            unsafe { raw.allocate_command_buffers(&info) }.map_err(failed(device, "vkAllocateCommandBuffers"))?;
        let layouts = [pipelines.set_layout(); FRAMES];
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(made.sets).set_layouts(&layouts);
        let sets =
            // SAFETY: VUID-VkDescriptorSetAllocateInfo-apiVersion-07895: the pool was created for
            // this number of sets.
            unsafe { raw.allocate_descriptor_sets(&info) }.map_err(failed(device, "vkAllocateDescriptorSets"))?;
        let places = commands.into_iter().zip(sets).map(|(commands, set)| Place { commands, set, busy: None });
        made.places = places.collect();
        Ok(made)
    }

    /// Begins the next command buffer, and binds `bound`, if any, in its descriptor set. Blocks
    /// until the previous use of the command buffer has completed, for at most `limit`.
    ///
    /// # Safety
    /// The resources satisfy the contract of [`bind`].
    pub(crate) unsafe fn begin(&mut self, limit: Duration, bound: Option<Bound>) -> Result<Recording> {
        if self.lost {
            return Err(Error::Stuck);
        }
        let place = self.next;
        let Place { commands, set, busy } = &mut self.places[place];
        let (commands, set) = (*commands, *set);
        if let Some(point) = busy.as_ref() {
            // Later frames in flight keep the GPU busy meanwhile.
            point.wait_blocking(limit)?;
        }
        *busy = None;
        self.next = (place + 1) % FRAMES;
        if let Some(bound) = bound {
            // SAFETY: the commands that used the set have run; the caller guarantees the contract
            // for the resources.
            unsafe { bind(&self.device, set, bound) };
        }
        let raw = self.device.as_raw();
        let info = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: VUID-vkBeginCommandBuffer-commandBuffer-00049: the command buffer has run, and
        // its pool allows resetting it.
        unsafe { raw.begin_command_buffer(commands, &info) }.map_err(failed(&self.device, "vkBeginCommandBuffer"))?;
        Ok(Recording { commands, set, place })
    }

    /// Stores the point at which the commands have run.
    pub(crate) fn submitted(&mut self, recording: Recording, point: TimelinePoint) {
        self.places[recording.place].busy = Some(point);
    }

    /// Notes that commands were submitted whose end cannot be observed. No more commands are
    /// recorded after that.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    /// Blocks until all commands have run, for at most `limit` each.
    ///
    /// # Errors
    /// The error of the wait. If [`is_busy`](Self::is_busy) returns `true` then, commands may still
    /// run; otherwise the compute side or the device is lost, and the commands have ended.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<()> {
        let mut waited = Ok(());
        for place in &mut self.places {
            let ended = place.busy.as_ref().map_or(Ok(()), |point| point.wait_ended(limit));
            if let Err(error @ bridge::Error::Timeout { .. }) = ended {
                return Err(error.into());
            }
            // After any other error the commands no longer run.
            place.busy = None;
            waited = waited.and(ended);
        }
        Ok(waited?)
    }

    /// Returns `true` if commands with a known point may still run.
    pub(crate) fn is_busy(&self) -> bool {
        self.places.iter().any(|place| place.busy.is_some())
    }
}

/// The resources that a frame is drawn from and into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) source: Source,
    pub(crate) picture: vk::Buffer,
    /// The depth buffer for points; unused for images.
    pub(crate) depths: vk::Buffer,
}

/// The memory that a frame is drawn from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// A buffer with an image or points, and the number of bytes that are read.
    Buffer(vk::Buffer, u64),
    /// A shared image, and its layout.
    Texture(vk::ImageView, vk::ImageLayout),
}

/// Binds the resources in the set, with the source at the binding that the shader of its kind
/// reads.
///
/// # Safety
/// The buffers are storage buffers of the device. None is larger than `maxStorageBufferRange`; of
/// the source, only the bound range counts. A texture is the view of a sampled 2D image of the
/// device. The set has the layout of the [`Pipelines`], and commands that used it have run.
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
        // VUID-VkWriteDescriptorSet-descriptorType-00333, -04150: by this function's contract.
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
        // SAFETY: VUID-vkDestroyCommandPool-commandPool-00041: submitted commands have run, as
        // documented; null is allowed.
        unsafe { raw.destroy_command_pool(self.pool, None) };
        // SAFETY: VUID-vkDestroyDescriptorPool-descriptorPool-00303: as above.
        unsafe { raw.destroy_descriptor_pool(self.sets, None) };
    }
}
