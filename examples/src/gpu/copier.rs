//! Copies of finished pictures to the host in separate submissions, while the next frames are
//! drawn.
#![allow(unsafe_code)] // Vulkan calls.

use std::time::Duration;

use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::vk_export::{Commands, Semaphore, SemaphoreInfo, SemaphoreKind};
use bridge::{ExportDevice, Queue, QueueKind, TimelinePoint};
use vk_local::{LocalBuffer, LocalImage};

use super::recorder::{ImageUse, Recorder};
use super::rendering::DynamicRendering;

/// The timeout of a copy, after its frame is drawn.
const LIMIT: Duration = Duration::from_secs(30);

/// Copies pictures on a separate queue: the transfer queue, which draws nothing, or the device's
/// own queue.
pub(super) struct Copier {
    slots: Vec<Slot>,
    /// A timeline whose value is the number of completed copies.
    done: Semaphore,
    last: u64,
    kind: QueueKind,
    rendering: DynamicRendering,
    device: ExportDevice,
}

struct Slot {
    commands: Commands,
    /// The value of the copy in flight, and the point that it waits for, which has to stay alive
    /// until the copy is done.
    pending: Option<(u64, TimelinePoint)>,
}

impl Copier {
    /// Creates a copier for `slots` pictures, on a queue that the device has.
    pub(super) fn new(device: &ExportDevice, kind: QueueKind, slots: usize) -> Result<Self> {
        let info = SemaphoreInfo { name: "pictures", kind: SemaphoreKind::Timeline, exportable: false };
        let queue = queue(device, kind)?;
        let slot = |index| {
            // SAFETY: the queue is one of the device's.
            let commands = unsafe { Commands::new(device, queue, &format!("picture[{index}]")) }?;
            Ok(Slot { commands, pending: None })
        };
        Ok(Self {
            slots: (0..slots).map(slot).collect::<Result<_>>()?,
            done: Semaphore::new(device, &info)?,
            last: 0,
            kind,
            rendering: DynamicRendering::new(device),
            device: device.clone(),
        })
    }

    /// Records on the device's own queue the release of a picture, in use as a target, to the queue
    /// that copies.
    pub(super) fn release(&self, recorder: &mut Recorder<'_>, picture: &LocalImage) -> Result<()> {
        match self.families()? {
            None => recorder.transition(picture.as_raw(), ImageUse::Target, ImageUse::CopySource),
            Some(families) => {
                let (stage, access, _) = ImageUse::Target.scope();
                let barrier = vk::ImageMemoryBarrier2::default().src_stage_mask(stage).src_access_mask(access);
                pass_on(&self.device, recorder, picture, barrier, families);
            }
        }
        Ok(())
    }

    /// Submits the copy of a picture that [`release`](Self::release) released, after the frame that
    /// drew it.
    ///
    /// # Safety
    /// The frame was submitted, and `rendered` is its point. The picture and the buffer live until
    /// [`wait`](Self::wait).
    pub(super) unsafe fn copy(
        &mut self,
        slot: usize,
        picture: &LocalImage,
        buffer: &LocalBuffer,
        rendered: &TimelinePoint,
    ) -> Result<()> {
        self.wait(slot)?;
        let families = self.families()?;
        let Self { slots, done, last, kind, rendering, device } = self;
        let (slot, queue) = (slots.get_mut(slot).context("no such slot")?, queue(device, *kind)?);
        // SAFETY: the last copy of this slot was waited for.
        unsafe { slot.commands.begin() }?;
        let mut recorder = Recorder::new(device, rendering, slot.commands.as_raw());
        if let Some(families) = families {
            // The acquire half of `release`. The submission waits for the point at all stages.
            let (stage, access, _) = ImageUse::CopySource.scope();
            let barrier = vk::ImageMemoryBarrier2::default()
                .src_stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
                .dst_stage_mask(stage)
                .dst_access_mask(access);
            pass_on(device, &mut recorder, picture, barrier, families);
        }
        recorder.copy_image(picture.as_raw(), ImageUse::CopySource.layout(), picture.extent(), buffer);
        recorder.for_host(buffer);
        // SAFETY: begun above.
        unsafe { slot.commands.end() }?;
        let value = *last + 1;
        let all = vk::PipelineStageFlags2::ALL_COMMANDS;
        let waits = [rendered.wait_info(all)?];
        let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(slot.commands.as_raw())];
        let signals = [vk::SemaphoreSubmitInfo::default().semaphore(done.as_raw()).value(value).stage_mask(all)];
        let batch = vk::SubmitInfo2::default()
            .wait_semaphore_infos(&waits)
            .command_buffer_infos(&commands)
            .signal_semaphore_infos(&signals);
        // SAFETY: recorded for this queue and submitted once; the value increases; the point's
        // signal was submitted, and the point and the commands are kept until the copy was waited
        // for.
        unsafe { queue.submit(&[batch], vk::Fence::null()) }?;
        *last = value;
        slot.pending = Some((value, rendered.clone()));
        Ok(())
    }

    /// Waits for the copy of a slot, if one is in flight.
    pub(super) fn wait(&mut self, slot: usize) -> Result<()> {
        self.wait_shared(slot)?;
        self.slots.get_mut(slot).context("no such slot")?.pending = None;
        Ok(())
    }

    /// Waits as [`wait`](Self::wait) does, but leaves the slot unchanged.
    pub(super) fn wait_shared(&self, slot: usize) -> Result<()> {
        let pending = &self.slots.get(slot).context("no such slot")?.pending;
        Ok(pending.as_ref().map_or(Ok(()), |(value, _)| self.done.wait(*value, LIMIT))?)
    }

    /// Waits for all copies.
    pub(super) fn drain(&self) -> Result<()> {
        match self.done.wait(self.last, LIMIT) {
            // Nothing runs on a lost device (Vulkan specification, "Lost Device").
            Err(error) if error.is_device_lost() => Ok(()),
            waited => Ok(waited?),
        }
    }

    /// Returns the families of the device's own queue and of the queue that copies, if they differ.
    fn families(&self) -> Result<Option<[u32; 2]>> {
        let families = [self.device.queue().family(), queue(&self.device, self.kind)?.family()];
        Ok((families[0] != families[1]).then_some(families))
    }
}

/// Records one half of an ownership transfer of a picture, in use as a target, from the first queue
/// family to the second, which copies from it.
fn pass_on(
    device: &ExportDevice,
    recorder: &mut Recorder<'_>,
    picture: &LocalImage,
    barrier: vk::ImageMemoryBarrier2<'_>,
    [from, to]: [u32; 2],
) {
    let barriers = [barrier
        .old_layout(ImageUse::Target.layout())
        .new_layout(ImageUse::CopySource.layout())
        .src_queue_family_index(from)
        .dst_queue_family_index(to)
        .image(picture.as_raw())
        .subresource_range(LocalImage::RANGE)];
    let dependency = vk::DependencyInfo::default().image_memory_barriers(&barriers);
    // SAFETY: recording, outside of rendering;
    // VUID-VkImageMemoryBarrier2-srcQueueFamilyIndex-04070: both halves name the same families and
    // layouts.
    unsafe { device.cmd_pipeline_barrier2(recorder.as_raw(), &dependency) };
}

fn queue(device: &ExportDevice, kind: QueueKind) -> Result<&Queue> {
    device.queue_of(kind).with_context(|| format!("the device has no {kind} queue"))
}
