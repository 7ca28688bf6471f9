//! Frames that are to be drawn: checked, and kept until then.

use bridge::ash::vk;
use bridge::vk_export::{self, Queue};
use vk_local::{LocalBuffer, MemoryLocation};

use crate::error::{Error, Result};
use crate::format::{ImageFormat, PointFormat};
use crate::frame::{Frame, Turn};
use crate::look::{Look, PointLook};
use crate::view::{Content, View, check_range};

impl View {
    /// Draws this frame next, an image, in place of one that has not been drawn. The image is
    /// scaled to the picture.
    ///
    /// The frame is of an exchange on the view's device and its graphics queue, whose buffers are
    /// as [`ImageFormat::spec`] says, or larger, or have more accesses than
    /// [`COMPUTE_READ`](bridge::BufferAccess::COMPUTE_READ).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for another frame, and for a look that cannot be;
    /// [`Error::TooLarge`] for more bytes than the device's shaders read. The frame is given back
    /// undrawn, and what was shown before stays.
    pub fn show_image(&mut self, frame: impl Frame, format: ImageFormat, look: &Look) -> Result<()> {
        let checked = look.check().and_then(|()| self.check(&frame, &format, format.buffer_size()));
        self.take(Box::new(frame), Content::Image(format, *look), checked)
    }

    /// As [`show_image`](Self::show_image), of points. Points that are not finite are not drawn.
    ///
    /// In a window the user moves the camera. The points are drawn again for it if their buffers
    /// can be copied from ([`TRANSFER_READ`](bridge::BufferAccess::TRANSFER_READ), as
    /// [`PointFormat::spec`] has it); else the next frame is seen from there.
    ///
    /// # Errors
    /// As [`show_image`](Self::show_image), and for memory of the view's own.
    pub fn show_points(&mut self, frame: impl Frame, format: PointFormat, look: &PointLook) -> Result<()> {
        let checked = look.check().and_then(|()| self.check(&frame, &format, format.size()));
        let checked = checked.and_then(|()| self.make_depths());
        self.take(Box::new(frame), Content::Points(format, *look), checked)
    }

    fn take(&mut self, frame: Box<dyn Turn>, content: Content, checked: Result<()>) -> Result<()> {
        if let Err(error) = checked {
            frame.skip();
            return Err(error);
        }
        self.skip();
        self.pending = Some((frame, content));
        Ok(())
    }

    fn make_depths(&mut self) -> Result<()> {
        if self.depths.is_none() {
            let (usage, size) = (vk::BufferUsageFlags::STORAGE_BUFFER, self.picture.size());
            let device = self.compute.device();
            *self.depths = Some(LocalBuffer::new(device, "depths", size, usage, MemoryLocation::GpuOnly)?);
        }
        Ok(())
    }

    /// Checks that `size` bytes of the frame can be drawn from.
    fn check(&self, frame: &dyn Turn, what: &dyn std::fmt::Display, size: u64) -> Result<()> {
        let wrong = |reason: String| Error::invalid(what.to_string(), reason);
        let device = self.compute.device();
        if !is_same(frame.queue(), device.queue())? {
            let reason = format!("its exchange is not on the graphics queue of {}, the view's device", device.name());
            return Err(wrong(reason));
        }
        let buffer = frame.buffer();
        let usage = buffer.access.usage.contains(vk::BufferUsageFlags::STORAGE_BUFFER);
        let stages = buffer.access.stages.contains(vk::PipelineStageFlags2::COMPUTE_SHADER);
        // `SHADER_STORAGE_READ`, or the older name for more.
        let reads = vk::AccessFlags2::SHADER_STORAGE_READ | vk::AccessFlags2::SHADER_READ;
        if !usage || !stages || !buffer.access.access.intersects(reads) {
            return Err(wrong("its buffers are not read by compute shaders: add `BufferAccess::COMPUTE_READ`".into()));
        }
        if buffer.size < size {
            return Err(wrong(format!("it takes {size} bytes, and the frame's buffer has {}", buffer.size)));
        }
        check_range(device, size, || what.to_string())
    }
}

/// Queues of all devices have different handles.
pub(super) fn is_same(first: &Queue, second: &Queue) -> vk_export::Result<bool> {
    Ok(first.with(|queue| queue)? == second.with(|queue| queue)?)
}
