//! Selection of the frame to draw next: checks the frame, and keeps it until it is drawn.

use bridge::ImageKind;
use bridge::ash::vk;
use bridge::vk_export::{self, Queue};
use vk_local::{LocalBuffer, MemoryLocation};

use crate::error::{Error, Result};
use crate::format::{ImageFormat, PointFormat, Texels};
use crate::frame::{Frame, Slot, SlotImage, TextureFrame, Turn};
use crate::look::{Look, PointLook};
use crate::view::{Content, View, check_range};

impl View {
    /// Selects an image as the next frame to draw, replacing one that has not been drawn. The image
    /// is scaled to the picture.
    ///
    /// The frame must belong to an exchange on the view's device and its graphics queue. Its
    /// buffers must be at least as large as those of [`ImageFormat::spec`], and their accesses must
    /// include [`COMPUTE_READ`](bridge::BufferAccess::COMPUTE_READ).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an unsuitable frame or an invalid look; [`Error::TooLarge`]
    /// if the image has more bytes than the device's shaders can read. The frame is then returned
    /// to its exchange without being drawn, and the previous frame stays selected.
    pub fn show_image(&mut self, frame: impl Frame, format: ImageFormat, look: &Look) -> Result<()> {
        let checked = look.validate().and_then(|()| self.check_turn(&frame, &format, format.buffer_size()));
        self.take(Box::new(frame), checked.map(|()| Content::Image(format, *look)))
    }

    /// Selects a shared image as the next frame to draw, like [`show_image`](Self::show_image). It
    /// is drawn in place, with the format and size of its [`ImageSpec`](bridge::ImageSpec).
    ///
    /// The frame must belong to an exchange on the view's device and its graphics queue, and be a
    /// 2D image with one layer whose accesses include
    /// [`COMPUTE_SAMPLED`](bridge::ImageAccess::COMPUTE_SAMPLED). Its values must be normalized or
    /// floating-point. Sampling converts an sRGB format to linear values; [`Look::linear`] encodes
    /// them again. Only the first mip level is drawn.
    ///
    /// ```no_run
    /// # use bridge::{Exchange, ExchangeInfo, ImageAccess, ImageSpec, ash::vk};
    /// # use bridge_view::{Look, View};
    /// # fn show(view: &mut View) -> Result<(), Box<dyn std::error::Error>> {
    /// let format = vk::Format::R8G8B8A8_UNORM;
    /// let access = ImageAccess::COMPUTE_SAMPLED;
    /// let spec = ImageSpec::<[u8; 4]>::new(format, view.size(), access);
    /// let info = ExchangeInfo { name: "shown", ..Default::default() };
    /// let mut images = Exchange::new(view.compute(), &info, spec)?;
    /// let mut turn = images.begin()?;
    /// // … kernels write to `turn.work()`: a surface with CUDA …
    /// view.show_texture(turn.finish()?, &Look::default())?;
    /// view.draw()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`show_image`](Self::show_image).
    pub fn show_texture(&mut self, frame: impl TextureFrame, look: &Look) -> Result<()> {
        let checked = look.validate().and_then(|()| self.check_texture(&frame));
        self.take(Box::new(frame), checked.map(|texels| Content::Texture(texels, *look)))
    }

    /// Selects points as the next frame to draw, like [`show_image`](Self::show_image). Points that
    /// are not finite are not drawn.
    ///
    /// In a window the user moves the camera. The points are then drawn again if their buffers can
    /// be copied from ([`TRANSFER_READ`](bridge::BufferAccess::TRANSFER_READ), which
    /// [`PointFormat::spec`] includes); otherwise the new camera applies from the next frame on.
    ///
    /// # Errors
    /// The errors of [`show_image`](Self::show_image), and the error of allocating memory for the
    /// view's own objects.
    pub fn show_points(&mut self, frame: impl Frame, format: PointFormat, look: &PointLook) -> Result<()> {
        let checked = look.validate().and_then(|()| self.check_turn(&frame, &format, format.size()));
        let checked = checked.and_then(|()| self.make_depths());
        self.take(Box::new(frame), checked.map(|()| Content::Points(format, *look)))
    }

    /// Keeps the frame with its content, or returns it to its exchange.
    fn take(&mut self, frame: Box<dyn Turn>, content: Result<Content>) -> Result<()> {
        match content {
            Ok(content) => {
                self.skip();
                self.pending = Some((frame, content));
                Ok(())
            }
            Err(error) => {
                frame.skip();
                Err(error)
            }
        }
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
    fn check_turn(&self, frame: &dyn Turn, what: &dyn std::fmt::Display, size: u64) -> Result<()> {
        let wrong = |reason: String| Error::invalid(what.to_string(), reason);
        self.check_queue(frame, what)?;
        let Slot::Buffer(buffer) = frame.slot() else {
            return Err(wrong("it is shown from a buffer, but the frame has an image".into()));
        };
        let usage = buffer.access.usage.contains(vk::BufferUsageFlags::STORAGE_BUFFER);
        let stages = buffer.access.stages.contains(vk::PipelineStageFlags2::COMPUTE_SHADER);
        // `SHADER_STORAGE_READ`, or the older flag that includes it.
        let reads = vk::AccessFlags2::SHADER_STORAGE_READ | vk::AccessFlags2::SHADER_READ;
        if !usage || !stages || !buffer.access.access.intersects(reads) {
            return Err(wrong("compute shaders cannot read its buffers: add `BufferAccess::COMPUTE_READ`".into()));
        }
        if buffer.size < size {
            return Err(wrong(format!("it takes {size} bytes, but the frame's buffer has {}", buffer.size)));
        }
        check_range(self.compute.device(), size, || what.to_string())
    }

    /// Checks that a shared image can be drawn from.
    fn check_texture(&self, frame: &dyn Turn) -> Result<Texels> {
        let object = "a shared image";
        let wrong = |reason: String| Error::invalid(object, reason);
        self.check_queue(frame, &object)?;
        let Slot::Image(image) = frame.slot() else {
            return Err(wrong("the frame has a buffer; use `View::show_image`".into()));
        };
        let SlotImage { view, format, kind, layers, extent, access } = image;
        let stages = access.stages.contains(vk::PipelineStageFlags2::COMPUTE_SHADER);
        // `SHADER_SAMPLED_READ`, or the older flag that includes it.
        let reads = vk::AccessFlags2::SHADER_SAMPLED_READ | vk::AccessFlags2::SHADER_READ;
        let sampled = access.usage.contains(vk::ImageUsageFlags::SAMPLED);
        if view.is_none() || !sampled || !stages || !access.access.intersects(reads) {
            return Err(wrong("compute shaders cannot sample it: add `ImageAccess::COMPUTE_SAMPLED`".into()));
        }
        if !matches!(access.layout, vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL | vk::ImageLayout::GENERAL) {
            return Err(wrong(format!("its layout is {:?}, in which the view cannot sample an image", access.layout)));
        }
        if kind != ImageKind::D2 || layers != 1 {
            return Err(wrong(format!("it is {kind:?} with {layers} layers, and must be D2 with one")));
        }
        Texels::new(extent, format)
    }

    fn check_queue(&self, frame: &dyn Turn, what: &dyn std::fmt::Display) -> Result<()> {
        let device = self.compute.device();
        if is_same(frame.queue(), device.queue())? {
            return Ok(());
        }
        let reason = format!("its exchange is not on the graphics queue of {}, the view's device", device.name());
        Err(Error::invalid(what.to_string(), reason))
    }
}

/// Returns `true` if both are the same queue. Queues of different devices have different handles.
pub(super) fn is_same(first: &Queue, second: &Queue) -> vk_export::Result<bool> {
    Ok(first.with(|queue| queue)? == second.with(|queue| queue)?)
}
