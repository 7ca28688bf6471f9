//! Access to the picture: on the host, in a file, and in a slot that the compute side reads.

// Vulkan calls.
#![allow(unsafe_code)]

use std::path::Path;

use bridge::ash::vk;
use bridge::{
    BufferAccess, BufferSpec, ComputeTurn, ImageAccess, ImageKind, ImageSpec, RenderFirst, RenderTurn, Resources,
};
use bytemuck::Pod;

use crate::error::{Error, Result};
use crate::png::{check_name, png};
use crate::view::read_back::ReadBack;
use crate::view::show::is_same;
use crate::view::{PIXEL, View};

impl View {
    /// Returns the picture that was drawn last: rows from top to bottom, with four bytes per pixel
    /// (red, green, blue and alpha). Waits until it is drawn. Before the first frame, the picture
    /// is black.
    ///
    /// # Errors
    /// [`Error::Bridge`] if a wait exceeds its limit, or the error of the failed driver call.
    pub fn pixels(&mut self) -> Result<Vec<u8>> {
        let mut pixels = vec![0; self.picture_len()?];
        self.pixels_into(&mut pixels)?;
        Ok(pixels)
    }

    /// Copies the picture that was drawn last into `pixels`, in the format of
    /// [`pixels`](Self::pixels). To read every frame, such as for a video, keep the memory and call
    /// this: it allocates nothing after the first call.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `pixels` does not have four bytes per pixel of the picture;
    /// otherwise the errors of [`pixels`](Self::pixels).
    pub fn pixels_into(&mut self, pixels: &mut [u8]) -> Result<()> {
        let (len, wanted) = (pixels.len(), self.picture_len()?);
        if len != wanted {
            let [width, height] = self.size;
            let reason = format!("a picture of {width}x{height} takes {wanted} bytes, but the memory for it has {len}");
            return Err(Error::invalid("pixels", reason));
        }
        if self.drawn {
            pixels.copy_from_slice(self.copied()?);
        } else {
            blacken(pixels);
        }
        Ok(())
    }

    /// Copies the picture to host memory that is kept for the next call, and waits for the copy.
    /// Returns the memory.
    fn copied(&mut self) -> Result<&[u8]> {
        self.finish()?;
        let device = self.compute.device();
        let idle = match self.read_back.take() {
            Some(idle) => idle,
            None => ReadBack::new(device, self.picture.size())?,
        };
        // SAFETY: the picture has this size, and was created for copies in `new`. It is drawn on
        // the device's queue. After `note_stuck` it is never freed.
        match unsafe { idle.copy(device, self.picture.as_raw(), self.limit) } {
            Ok(idle) => self.read_back.insert(idle).bytes(),
            Err(error) => {
                let may_still_run = error.may_still_run();
                let error = Error::from(error);
                if may_still_run {
                    self.note_stuck(&error);
                }
                Err(error)
            }
        }
    }

    /// Returns the number of bytes of the picture.
    fn picture_len(&self) -> Result<usize> {
        let len = usize::try_from(self.picture.size());
        len.map_err(|_| Error::invalid("picture", "it is too large for this machine"))
    }

    /// Returns the picture as the bytes of a PNG file.
    ///
    /// # Errors
    /// The errors of [`pixels`](Self::pixels), and [`Error::File`].
    pub fn png(&mut self) -> Result<Vec<u8>> {
        png(self.size, &self.pixels()?)
    }

    /// Writes the picture to a PNG file. The file name must end in `.png` or have no extension.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for any other extension; the errors of [`pixels`](Self::pixels);
    /// and [`Error::File`] with the path.
    pub fn save_png(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        check_name(path)?;
        let file = self.png()?;
        let failed = |error| Error::File { reason: format!("{}: {error}", path.display()) };
        std::fs::write(path, file).map_err(failed)
    }

    /// Returns the spec of a buffer that the picture can be [read](Self::read) into: four bytes per
    /// pixel, as in [`pixels`](Self::pixels).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the picture has more bytes than the machine can address.
    pub fn picture_spec(&self) -> Result<BufferSpec<[u8; 4]>> {
        Ok(BufferSpec::new(self.picture_len()? / PIXEL as usize, BufferAccess::TRANSFER_WRITE))
    }

    /// Returns the spec of an image that the picture can be [read](Self::read) into.
    pub fn picture_image_spec(&self) -> ImageSpec<[u8; 4]> {
        ImageSpec::new(vk::Format::R8G8B8A8_UNORM, self.size, ImageAccess::TRANSFER_WRITE)
    }

    /// Copies the picture that was drawn last into the frame's slot, on the GPU, and hands it to
    /// the compute side: the returned turn reads it. The host waits only while three frames are in
    /// flight, and with the CPU backend until the compute side has released the slot, if there is a
    /// window on the device, as for [`draw`](Self::draw) ([`RenderTurn::prepare_present`]).
    ///
    /// The frame must belong to an exchange that Vulkan begins
    /// ([`Exchange::render_first`](bridge::Exchange::render_first)), on the view's device and its
    /// graphics queue. The spec must be [`picture_spec`](Self::picture_spec) or
    /// [`picture_image_spec`](Self::picture_image_spec), or have more accesses.
    ///
    /// # Errors
    /// [`Error::NothingDrawn`]; [`Error::InvalidArgument`] for an unsuitable frame;
    /// [`Error::Stuck`] after commands of the view did not end in time; otherwise the error of the
    /// failed driver call. The frame is returned to its exchange.
    pub fn read<R: PictureSlot>(&mut self, frame: RenderTurn<R, RenderFirst>) -> Result<ComputeTurn<R, RenderFirst>> {
        let target = match self.target(&frame) {
            Ok(target) => target,
            Err(error) => {
                frame.skip();
                return Err(error);
            }
        };
        // SAFETY: nothing is bound, and the set is not used.
        let recording = match unsafe { self.ring.begin(self.limit, None) } {
            Ok(recording) => recording,
            Err(error) => {
                frame.skip();
                return Err(error);
            }
        };
        let raw = self.compute.device().as_raw().clone();
        let commands = recording.commands;
        let drawn = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::SHADER_WRITE)
            .dst_access_mask(vk::AccessFlags::TRANSFER_READ);
        let (draws, copies) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::TRANSFER);
        // SAFETY: the command buffer is recording, for the family of the graphics queue, outside a
        // render pass.
        unsafe { frame.record_acquire(commands) };
        // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: every graphics queue supports the
        // stages.
        unsafe {
            raw.cmd_pipeline_barrier(commands, draws, copies, vk::DependencyFlags::empty(), &[drawn], &[], &[]);
        }
        let picture = self.picture.as_raw();
        match target {
            Target::Buffer(buffer) => {
                let whole = [vk::BufferCopy::default().size(self.picture.size())];
                // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116: both buffers have at least this
                // size.
                unsafe { raw.cmd_copy_buffer(commands, picture, buffer, &whole) };
            }
            Target::Image(image, layout) => {
                let [width, height] = self.size;
                let color =
                    vk::ImageSubresourceLayers::default().aspect_mask(vk::ImageAspectFlags::COLOR).layer_count(1);
                let extent = vk::Extent3D { width, height, depth: 1 };
                let copy = vk::BufferImageCopy::default().image_subresource(color).image_extent(extent);
                // SAFETY: VUID-vkCmdCopyBufferToImage-pRegions-00171, -imageSubresource-07970,
                // -dstImageLayout-00180: both have the size of the picture, and the acquire leaves
                // the image in this layout.
                unsafe { raw.cmd_copy_buffer_to_image(commands, picture, image, layout, &[copy]) };
            }
        }
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
        let turn = match unsafe { frame.submit(&[commands]) } {
            Ok(turn) => turn,
            // The commands were submitted, and have not ended.
            Err(error @ bridge::Error::Timeout { .. }) => {
                admitted.submitted(None);
                self.ring.lose();
                let error = Error::from(error);
                self.note_stuck(&error);
                return Err(error);
            }
            Err(error) => return Err(error.into()),
        };
        admitted.submitted(Some(turn.rendered()));
        self.ring.submitted(recording, turn.rendered());
        Ok(turn)
    }

    /// Returns the resource that the picture is copied to, after checking it.
    fn target<R: PictureSlot>(&self, frame: &RenderTurn<R, RenderFirst>) -> Result<Target> {
        if !self.drawn {
            return Err(Error::NothingDrawn);
        }
        let device = self.compute.device();
        if !is_same(frame.queue(), device.queue())? {
            let reason = format!("its exchange is not on the graphics queue of {}, the view's device", device.name());
            return Err(Error::invalid("a slot for the picture", reason));
        }
        R::target(frame.resources(), self.size)
    }
}

/// Fills memory with the picture of a view that has drawn nothing.
fn blacken(pixels: &mut [u8]) {
    pixels.chunks_exact_mut(PIXEL as usize).for_each(|pixel| pixel.copy_from_slice(&[0, 0, 0, 255]));
}

/// Resources that a picture can be copied to: a buffer of any element type, or an image with four
/// bytes per texel. This trait is sealed.
#[allow(private_bounds)] // Sealed on purpose.
pub trait PictureSlot: Written {}

impl<T: Pod + Send + Sync> PictureSlot for BufferSpec<T> {}
impl PictureSlot for ImageSpec<[u8; 4]> {}

/// The Vulkan object that commands copy the picture to.
pub(crate) enum Target {
    Buffer(vk::Buffer),
    Image(vk::Image, vk::ImageLayout),
}

pub(crate) trait Written: Resources {
    fn target(resources: Self::Render<'_>, size: [u32; 2]) -> Result<Target>;
}

impl<T: Pod + Send + Sync> Written for BufferSpec<T> {
    fn target(buffer: Self::Render<'_>, [width, height]: [u32; 2]) -> Result<Target> {
        let wrong = |reason: String| Error::invalid("a slot for the picture", reason);
        if !buffer.handover().accesses().allows_copies_to() {
            return Err(wrong("copies cannot write it: add `BufferAccess::TRANSFER_WRITE`".into()));
        }
        let size = u64::from(width) * u64::from(height) * PIXEL;
        if buffer.size() < size {
            return Err(wrong(format!("the picture takes {size} bytes, but the buffer has {}", buffer.size())));
        }
        Ok(Target::Buffer(buffer.as_raw()))
    }
}

impl Written for ImageSpec<[u8; 4]> {
    fn target(image: Self::Render<'_>, [width, height]: [u32; 2]) -> Result<Target> {
        let wrong = |reason: String| Error::invalid("a slot for the picture", reason);
        if !image.accesses().allows_copies_to() {
            let layout = image.layout();
            return Err(wrong(format!(
                "copies cannot write it in its layout, {layout:?}: add `ImageAccess::TRANSFER_WRITE`"
            )));
        }
        if !matches!(image.format(), vk::Format::R8G8B8A8_UNORM | vk::Format::R8G8B8A8_SRGB) {
            let format = image.format();
            return Err(wrong(format!("its format is {format:?}, but must be R8G8B8A8_UNORM or R8G8B8A8_SRGB")));
        }
        if image.kind() != ImageKind::D2 || image.level_extent(0) != [width, height, 1] {
            let [w, h, d] = image.level_extent(0);
            return Err(wrong(format!("it is {:?} of {w}x{h}x{d}, but the picture is {width}x{height}", image.kind())));
        }
        Ok(Target::Image(image.as_raw(), image.layout()))
    }
}
