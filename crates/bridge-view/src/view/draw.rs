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

/// How long `draw` waits for events if there is nothing new to show, so that a loop of calls does
/// not occupy the CPU.
const IDLE: Duration = Duration::from_millis(2);

/// The result of [`View::draw_and_present`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drawn {
    /// `true` if a new frame was drawn.
    pub drawn: bool,
    /// `true` if the picture was presented to the window.
    pub presented: bool,
}

impl View {
    /// Draws the selected frame, unless it has been drawn already. Returns `true` if it was drawn.
    /// The GPU draws asynchronously. The host waits only while three frames are in flight, in a
    /// window after the number of points has changed, and with the CPU backend until the frame is
    /// computed, if this or another view of the device has a window that is not closed
    /// ([`RenderTurn::prepare_present`](bridge::RenderTurn::prepare_present)), or if the program
    /// has `WindowImages` on it.
    ///
    /// A window shows the newest picture for which it has an image available. If the window was
    /// opened by this crate, this call also handles the events of all such windows, so call it on
    /// the thread that opened the first one; if there is nothing new to show, it waits up to 2 ms
    /// for events. For an adopted window, it does neither.
    ///
    /// # Errors
    /// The error of the failed driver call; the frame is returned to its exchange. [`Error::Stuck`]
    /// after commands of the view did not end in time, [`Error::OtherThread`] on a thread other
    /// than that of the windows.
    pub fn draw(&mut self) -> Result<bool> {
        self.take_events(Duration::ZERO)?;
        let Drawn { drawn, presented } = self.draw_and_present()?;
        if !drawn && !presented {
            self.take_events(IDLE)?;
        }
        Ok(drawn)
    }

    /// Draws and presents like [`draw`](Self::draw), but does not handle events: call `poll_events`
    /// for that. For programs that use the view on a different thread than the windows' events, or
    /// behind a lock.
    ///
    /// # Errors
    /// The errors of [`draw`](Self::draw).
    pub fn draw_and_present(&mut self) -> Result<Drawn> {
        let drawn = self.draw_frame()?;
        Ok(Drawn { drawn, presented: self.present()? })
    }

    /// Submits the drawing of the selected frame, if any. Waits on the host only while
    /// [`FRAMES`](crate::draw::ring::FRAMES) frames are in flight.
    fn draw_frame(&mut self) -> Result<bool> {
        let Some((frame, content)) = self.pending.take() else { return Ok(false) };
        let keeps = match self.reserve_copy(frame.as_ref(), content) {
            Ok(keeps) => keeps,
            Err(error) => {
                frame.skip();
                return Err(error);
            }
        };
        let params = self.with_orbit(content).params(self.size);
        let (slot, size) = (frame.slot(), content.size());
        let source = match (keeps, slot) {
            (Some(kept), _) => Source::Buffer(kept, size),
            (None, Slot::Buffer(buffer)) => Source::Buffer(buffer.raw, size),
            // Never null: `check_texture` has checked it.
            (None, Slot::Image(image)) => Source::Texture(image.view.unwrap_or_default(), image.access.layout),
        };
        let bound = Bound {
            source,
            picture: self.picture.as_raw(),
            // Images do not use this binding.
            depths: self.depths.as_ref().unwrap_or(&self.picture).as_raw(),
        };
        // SAFETY: the buffers are storage buffers, and none is too large: `check_turn`, `new` and
        // `reserve_copy` have checked it; `check_texture` has checked the image.
        let recording = match unsafe { self.ring.begin(self.limit, Some(bound)) } {
            Ok(recording) => recording,
            Err(error) => {
                frame.skip();
                return Err(error);
            }
        };
        let raw = self.compute.device().as_raw().clone();
        let commands = recording.commands;
        // SAFETY: the command buffer is recording, for the family of the graphics queue, outside a
        // render pass.
        unsafe { frame.record_acquire(commands) };
        // The previous frame writes the picture, or a copy reads it.
        let before = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::SHADER_WRITE)
            .dst_access_mask(vk::AccessFlags::SHADER_READ | vk::AccessFlags::SHADER_WRITE);
        let users = vk::PipelineStageFlags::COMPUTE_SHADER | vk::PipelineStageFlags::TRANSFER;
        let draws = vk::PipelineStageFlags::COMPUTE_SHADER;
        // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: every graphics queue supports the
        // stages.
        unsafe {
            raw.cmd_pipeline_barrier(commands, users, draws, vk::DependencyFlags::empty(), &[before], &[], &[]);
        }
        if let (Some(kept), Slot::Buffer(slot)) = (keeps, slot) {
            // SAFETY: the command buffer is recording; the slot is acquired and can be copied from,
            // and both buffers have the size of the format.
            unsafe { record_points_copy(&raw, commands, slot.raw, kept, size) };
        }
        // SAFETY: the set was bound to the resources above; the ring is waited for before they are
        // freed.
        unsafe { self.pipelines.record(commands, recording.set, params) };
        // SAFETY: as for the acquire.
        unsafe { frame.record_release(commands) };
        let order = self.present_order();
        // SAFETY: the command buffer has been recording since `begin`.
        let ended = unsafe { self.end(commands) };
        let admitted = match ended.and_then(|()| order.admit(|| frame.prepare_present())) {
            Ok(admitted) => admitted,
            Err(error) => {
                frame.skip();
                return Err(error);
            }
        };
        // SAFETY: the commands acquire and release the slot, and live until the ring has seen the
        // point.
        let point = unsafe { frame.submit(&[commands]) }.map_err(Error::from)?;
        admitted.submitted(Some(point.clone()));
        self.ring.submitted(recording, point);
        self.drawn = true;
        let rate = self.rate.count();
        self.note_drawn(content, keeps.is_some(), rate);
        Ok(true)
    }

    /// Ends the commands of a frame.
    ///
    /// # Safety
    /// `commands` is recording, outside of a render pass.
    pub(super) unsafe fn end(&self, commands: vk::CommandBuffer) -> Result<()> {
        let device = self.compute.device();
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059: recording, by this function's
        // contract.
        unsafe { device.as_raw().end_command_buffer(commands) }.map_err(failed(device, "vkEndCommandBuffer"))
    }
}

impl Content {
    /// Returns the number of bytes that the shader reads from a buffer.
    pub(super) fn size(self) -> u64 {
        match self {
            Self::Image(format, _) => format.buffer_size(),
            Self::Texture(..) => 0,
            Self::Points(format, _) => format.size(),
        }
    }

    /// Returns the shader parameters for a picture of this size.
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

/// Returns `Params::gain` of `picture.wgsl`: finite, and not so small that a GPU may flush it to 0.
fn gain(look: Look) -> f32 {
    look.exposure.clamp(-126.0, 127.0).exp2()
}

/// Returns `Params::flags` of `picture.wgsl`.
fn flags(look: Look) -> u32 {
    u32::from(look.linear) | (u32::from(look.color_map == ColorMap::Viridis) << 1)
}

/// Records the copy of a slot to the buffer that its points are kept in and drawn from.
///
/// # Safety
/// `commands` is recording, outside of a render pass. `slot` is acquired and can be copied from;
/// both buffers have at least `size` bytes.
unsafe fn record_points_copy(raw: &Device, commands: vk::CommandBuffer, slot: vk::Buffer, kept: vk::Buffer, size: u64) {
    let (draws, copies) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::TRANSFER);
    let writes = vk::AccessFlags::TRANSFER_WRITE;
    let barrier = |from, to, memory: vk::MemoryBarrier<'_>| {
        // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: every graphics queue supports the
        // stages.
        unsafe { raw.cmd_pipeline_barrier(commands, from, to, vk::DependencyFlags::empty(), &[memory], &[], &[]) };
    };
    // Earlier frames are drawn from it.
    barrier(draws | copies, copies, vk::MemoryBarrier::default().src_access_mask(writes).dst_access_mask(writes));
    // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116: by this function's contract.
    unsafe { raw.cmd_copy_buffer(commands, slot, kept, &[vk::BufferCopy::default().size(size)]) };
    let reads = vk::AccessFlags::SHADER_READ;
    barrier(copies, draws, vk::MemoryBarrier::default().src_access_mask(writes).dst_access_mask(reads));
}
