//! Finished pictures on their way to the host in submissions of their own, while the next frames
//! are drawn.
#![allow(unsafe_code)] // Vulkan calls.

use std::time::Duration;

use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::vk_export::{Commands, Semaphore, SemaphoreInfo, SemaphoreKind};
use bridge::{ExportDevice, Queue, QueueKind, TimelinePoint};
use vk_local::{LocalBuffer, LocalImage};

use super::recorder::{ImageUse, Recorder};
use super::rendering::DynamicRendering;

/// The longest that a copy may take, once its frame is drawn.
const LIMIT: Duration = Duration::from_secs(30);

/// Copies pictures on a queue of its own: the transfer queue, which draws nothing, or the device's
/// own.
pub(super) struct Copier {
    slots: Vec<Slot>,
    /// Counts copies.
    done: Semaphore,
    last: u64,
    kind: QueueKind,
    rendering: DynamicRendering,
    device: ExportDevice,
}

struct Slot {
    commands: Commands,
    /// The copy that is on its way, with what it waits for, which lives until then.
    pending: Option<(u64, TimelinePoint)>,
}

impl Copier {
    /// For `slots` pictures, on a queue that the device has.
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

    /// Records, for the device's own queue, that a picture in use as a target is given to the queue
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

    /// Submits the copy of a picture that [`release`](Self::release) gave, behind the frame that
    /// drew it.
    ///
    /// # Safety
    /// That frame was submitted, and `rendered` is its point. Picture and buffer live until
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
        // SAFETY: its last copy was waited for.
        unsafe { slot.commands.begin() }?;
        let mut recorder = Recorder::new(device, rendering, slot.commands.as_raw());
        if let Some(families) = families {
            // The other half of `release`. The point is waited for at all stages.
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
        let waits = [rendered.wait_info(all)];
        let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(slot.commands.as_raw())];
        let signals = [vk::SemaphoreSubmitInfo::default().semaphore(done.as_raw()).value(value).stage_mask(all)];
        let batch = vk::SubmitInfo2::default()
            .wait_semaphore_infos(&waits)
            .command_buffer_infos(&commands)
            .signal_semaphore_infos(&signals);
        // SAFETY: recorded for this queue, not submitted since; the value rises; the point's signal
        // was submitted, and it and the commands are kept until the copy is waited for.
        unsafe { queue.submit(&[batch], vk::Fence::null()) }?;
        *last = value;
        slot.pending = Some((value, rendered.clone()));
        Ok(())
    }

    /// Waits for the copy of a slot, if one is on its way.
    pub(super) fn wait(&mut self, slot: usize) -> Result<()> {
        self.wait_shared(slot)?;
        self.slots.get_mut(slot).context("no such slot")?.pending = None;
        Ok(())
    }

    /// As [`wait`](Self::wait), for those that only look.
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

    /// From the device's own queue to the one that copies, where they are of two families.
    fn families(&self) -> Result<Option<[u32; 2]>> {
        let families = [self.device.queue().family(), queue(&self.device, self.kind)?.family()];
        Ok((families[0] != families[1]).then_some(families))
    }
}

/// Gives a picture, in use as a target, from the first queue family to the second, which copies
/// from it; and takes it there.
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
