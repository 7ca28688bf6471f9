//! The submission that draws a frame.

// Vulkan calls.
#![allow(unsafe_code)]

use std::time::Duration;

use bridge::ash::{Device, vk};

use crate::draw::pipeline::{ImageParams, Params, PointParams};
use crate::draw::ring::{Bound, Source};
use crate::error::{Error, Result, failed};
use crate::format::Element;
use crate::frame::Slot;
use crate::look::{ColorMap, Look};
use crate::view::{Content, View};

/// How long `draw` waits for events where there is nothing new to show, so that a loop of it leaves
/// the processor to others.
const IDLE: Duration = Duration::from_millis(2);

/// The result of [`View::draw_and_present`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drawn {
    /// A frame was drawn that had not been drawn before.
    pub drawn: bool,
    /// The window was given the picture.
    pub presented: bool,
}

impl View {
    /// Draws the frame that was shown last, unless it has been drawn already. Returns whether it
    /// did. The GPU draws asynchronously. The host waits only while three frames are unfinished, in
    /// a window after the number of points has changed, and with the CPU backend in a window until
    /// the frame is computed
    /// ([`RenderTurn::prepare_present`](bridge::RenderTurn::prepare_present)).
    ///
    /// A window shows the newest picture for which it has an image available. If the window was
    /// opened by this crate, this call also handles the events of all such windows, so call it on
    /// the thread that opened the first one; if there is nothing new to show, it waits up to 2 ms
    /// for events. In a window that the program adopted, it does neither.
    ///
    /// # Errors
    /// The error of the failed driver call; the frame is returned to its exchange. [`Error::Stuck`]
    /// after commands of the view did not end in time, [`Error::OtherThread`] on another thread.
    pub fn draw(&mut self) -> Result<bool> {
        self.take_events(Duration::ZERO)?;
        let Drawn { drawn, presented } = self.draw_and_present()?;
        if !drawn && !presented {
            self.take_events(IDLE)?;
        }
        Ok(drawn)
    }

    /// Draws and presents as [`draw`](Self::draw) does, without taking events: those come from
    /// `poll_events`. For programs that keep the view on another thread than the windows' events,
    /// or behind a lock.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn draw_and_present(&mut self) -> Result<Drawn> {
        let drawn = self.draw_frame()?;
        Ok(Drawn { drawn, presented: self.present()? })
    }

    /// Submits drawing the newest frame; nothing if there is none since the last time. Waits on the
    /// host only where [`FRAMES`](crate::draw::ring::FRAMES) frames are unfinished.
    fn draw_frame(&mut self) -> Result<bool> {
        let Some((frame, content)) = self.pending.take() else { return Ok(false) };
        let keeps = match self.make_room_for(frame.as_ref(), content) {
            Ok(keeps) => keeps,
            Err(error) => {
                frame.skip();
                return Err(error);
            }
        };
        let params = self.moved(content).params(self.size);
        let (slot, size) = (frame.slot(), content.size());
        let source = match (keeps, slot) {
            (Some(kept), _) => Source::Buffer(kept, size),
            (None, Slot::Buffer(buffer)) => Source::Buffer(buffer.raw, size),
            // Never null: `check_texture` has seen to it.
            (None, Slot::Image(image)) => Source::Texture(image.view.unwrap_or_default(), image.access.layout),
        };
        let bound = Bound {
            source,
            picture: self.picture.as_raw(),
            // Images leave this binding alone.
            depths: self.depths.as_ref().unwrap_or(&self.picture).as_raw(),
        };
        // SAFETY: the buffers are storage buffers, and none is too large: `check` and `new` have
        // seen to it, and `make_room_for`; `check_texture` to the image.
        let recording = match unsafe { self.ring.begin(self.limit, Some(bound)) } {
            Ok(recording) => recording,
            Err(error) => {
                frame.skip();
                return Err(error);
            }
        };
        let raw = self.compute.device().as_raw().clone();
        let commands = recording.commands;
        // SAFETY: recording, for the family of the graphics queue, outside of a render pass.
        unsafe { frame.record_acquire(commands) };
        // The frame before writes the picture, or a copy reads it.
        let before = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::SHADER_WRITE)
            .dst_access_mask(vk::AccessFlags::SHADER_READ | vk::AccessFlags::SHADER_WRITE);
        let users = vk::PipelineStageFlags::COMPUTE_SHADER | vk::PipelineStageFlags::TRANSFER;
        let draws = vk::PipelineStageFlags::COMPUTE_SHADER;
        // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: stages of every graphics queue.
        unsafe {
            raw.cmd_pipeline_barrier(commands, users, draws, vk::DependencyFlags::empty(), &[before], &[], &[]);
        }
        if let (Some(kept), Slot::Buffer(slot)) = (keeps, slot) {
            // SAFETY: recording; the slot is acquired, to be copied from, and both have the
            // format's size.
            unsafe { record_keeping(&raw, commands, slot.raw, kept, size) };
        }
        // SAFETY: the set was bound to the resources above; the ring is waited for before they go.
        unsafe { self.pipelines.record(commands, recording.set, params) };
        // SAFETY: as the acquire.
        unsafe { frame.record_release(commands) };
        // SAFETY: recording since `begin`.
        if let Err(error) = unsafe { self.end(commands, || frame.prepare_present()) } {
            frame.skip();
            return Err(error);
        }
        // SAFETY: the commands acquire and release the slot, and live until the ring has seen the
        // point.
        let point = unsafe { frame.submit(&[commands]) }.map_err(Error::from)?;
        self.ring.submitted(recording, point);
        self.drawn = true;
        let rate = self.rate.count();
        self.note_drawn(content, keeps.is_some(), rate);
        Ok(true)
    }

    /// Ends the commands of a frame, and prepares to present where the view may.
    ///
    /// # Safety
    /// `commands` is recording, outside of a render pass.
    pub(super) unsafe fn end(
        &self,
        commands: vk::CommandBuffer,
        prepare_present: impl FnOnce() -> bridge::Result<()>,
    ) -> Result<()> {
        let device = self.compute.device();
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059: recording, as the caller says.
        unsafe { device.as_raw().end_command_buffer(commands) }.map_err(failed(device, "vkEndCommandBuffer"))?;
        if self.may_present() {
            prepare_present()?;
        }
        Ok(())
    }
}

impl Content {
    /// Bytes that the shader reads of a buffer.
    pub(super) fn size(self) -> u64 {
        match self {
            Self::Image(format, _) => format.buffer_size(),
            Self::Texture(..) => 0,
            Self::Points(format, _) => format.size(),
        }
    }

    /// The shader's parameters for a picture of this size.
    pub(super) fn params(self, picture: [u32; 2]) -> Params {
        match self {
            Self::Image(format, look) => Params::Image(ImageParams {
                source: format.extent(),
                picture,
                channels: format.channels(),
                kind: match format.element() {
                    Element::U8 => 0,
                    Element::F16 => 1,
                    Element::F32 => 2,
                },
                gain: gain(look),
                flags: flags(look) | (u32::from(format.is_planar()) << 2),
            }),
            Self::Texture(texels, look) => Params::Texture(ImageParams {
                source: texels.extent(),
                picture,
                channels: texels.channels(),
                kind: 0,
                gain: gain(look),
                flags: flags(look),
            }),
            Self::Points(format, look) => Params::Points(PointParams {
                camera: look.camera.matrix(picture),
                count: format.count(),
                channels: format.kind().floats(),
                picture,
                size: look.size,
                color: u32::from_le_bytes(look.color),
                separate: format.is_separate().into(),
            }),
        }
    }
}

/// `Params::gain` of `picture.wgsl`: neither infinite nor so small that a GPU may take it for 0.
fn gain(look: Look) -> f32 {
    look.exposure.clamp(-126.0, 127.0).exp2()
}

/// `Params::flags` of `picture.wgsl`.
fn flags(look: Look) -> u32 {
    u32::from(look.linear) | (u32::from(look.color_map == ColorMap::Viridis) << 1)
}

/// Records the copy of a slot to where its points are kept, and drawn from.
///
/// # Safety
/// `commands` is recording, outside of a render pass. `slot` is acquired, one to copy from; both
/// have at least `size` bytes.
unsafe fn record_keeping(raw: &Device, commands: vk::CommandBuffer, slot: vk::Buffer, kept: vk::Buffer, size: u64) {
    let (draws, copies) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::TRANSFER);
    let writes = vk::AccessFlags::TRANSFER_WRITE;
    let barrier = |from, to, memory: vk::MemoryBarrier<'_>| {
        // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: stages of every graphics queue.
        unsafe { raw.cmd_pipeline_barrier(commands, from, to, vk::DependencyFlags::empty(), &[memory], &[], &[]) };
    };
    // Frames before are drawn from it.
    barrier(draws | copies, copies, vk::MemoryBarrier::default().src_access_mask(writes).dst_access_mask(writes));
    // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116: as this function.
    unsafe { raw.cmd_copy_buffer(commands, slot, kept, &[vk::BufferCopy::default().size(size)]) };
    let reads = vk::AccessFlags::SHADER_READ;
    barrier(copies, draws, vk::MemoryBarrier::default().src_access_mask(writes).dst_access_mask(reads));
}
