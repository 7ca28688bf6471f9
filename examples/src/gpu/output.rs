//! Where a finished picture goes: to the host, to a window, or nowhere.
#![allow(unsafe_code)] // Memory that the GPU writes.

use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::{ExportDevice, QueueKind, TimelinePoint};
use clap::ValueEnum;
use vk_local::{LocalBuffer, LocalImage, LocalImageInfo, MemoryLocation};

use super::copier::Copier;
use super::recorder::{ImageUse, Recorder};

/// What becomes of a frame besides the picture in the target.
#[derive(Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// The picture goes to the slot's read-back buffer.
    pub picture: bool,
    /// What compute and rendering share goes there, as Vulkan sees it, for a check.
    pub sample: Option<&'a LocalBuffer>,
    /// The picture goes to a window's image, whose contents are gone.
    pub window: Option<(vk::Image, vk::Extent2D)>,
}

impl Wanted<'_> {
    /// Whether nothing but a copy is made of the picture, which then may be apart from the frame.
    fn is_for_the_host_alone(&self) -> bool {
        self.picture && self.window.is_none()
    }
}

/// How finished pictures get to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Copies {
    /// On the transfer queue where the device has one, else with the frame
    Auto,
    /// By the commands of the frame, on the queue that draws
    Frame,
    /// In a submission of its own, on the transfer queue or else the one that draws
    Apart,
}

impl Copies {
    /// The queue for submissions of their own, if that is how.
    fn queue(self, device: &ExportDevice) -> Option<QueueKind> {
        let transfer = device.queue_of(QueueKind::Transfer).map(|_| QueueKind::Transfer);
        match self {
            Self::Frame => None,
            Self::Auto if transfer.is_none() => {
                log::info!("pictures are copied by the frames: {} has no transfer queue", device.name());
                None
            }
            Self::Auto => transfer,
            Self::Apart => {
                if transfer.is_none() {
                    log::info!("pictures are copied on the queue that draws: {} has no transfer queue", device.name());
                }
                transfer.or(Some(QueueKind::Graphics))
            }
        }
    }
}

/// The picture that frames end in, and a read-back buffer for each slot. Where pictures are copied
/// apart from the frames, each slot has a picture too. Dropping it frees it at once, but for such
/// copies, which are waited for: wait for the GPU before.
pub struct Output {
    pictures: Vec<LocalImage>,
    read_back: Vec<LocalBuffer>,
    copier: Option<Copier>,
}

impl Output {
    /// What a finished picture is: sRGB values as they are.
    pub const FORMAT: vk::Format = vk::Format::R8G8B8A8_UNORM;

    /// For frames of `size` pixels, `slots` of them in flight.
    ///
    /// # Errors
    /// What the device cannot make.
    pub fn new(device: &ExportDevice, [width, height]: [u32; 2], slots: usize, copies: Copies) -> Result<Self> {
        let info = LocalImageInfo {
            name: "picture",
            format: Self::FORMAT,
            extent: vk::Extent2D { width, height },
            usage: vk::ImageUsageFlags::COLOR_ATTACHMENT | vk::ImageUsageFlags::TRANSFER_SRC,
        };
        let copier = copies.queue(device).map(|kind| Copier::new(device, kind, slots)).transpose()?;
        let pictures = (0..if copier.is_some() { slots } else { 1 }).map(|_| LocalImage::new(device, &info));
        let bytes = u64::from(width) * u64::from(height) * 4;
        let read_back = (0..slots).map(|slot| read_back(device, &format!("picture[{slot}]"), bytes));
        Ok(Self { pictures: pictures.collect::<Result<_, _>>()?, read_back: read_back.collect::<Result<_>>()?, copier })
    }

    /// Lets `draw` make the picture of slot `slot`, in use as a target, and takes it to where it is
    /// wanted. Once the frame is submitted, [`send`](Self::send) does the rest.
    ///
    /// # Errors
    /// No such slot, or an earlier copy of it that does not end.
    pub fn record<'a>(
        &mut self,
        recorder: &mut Recorder<'a>,
        slot: usize,
        wanted: Wanted<'_>,
        draw: impl FnOnce(&mut Recorder<'a>, &LocalImage),
    ) -> Result<()> {
        if let Some(copier) = &mut self.copier {
            copier.wait(slot)?;
        }
        let picture = self.picture_of(slot)?;
        recorder.discard(picture.as_raw(), ImageUse::CopySource, ImageUse::Target);
        draw(recorder, picture);
        if let Some(copier) = self.copier.as_ref().filter(|_| wanted.is_for_the_host_alone()) {
            return copier.release(recorder, picture);
        }
        recorder.transition(picture.as_raw(), ImageUse::Target, ImageUse::CopySource);
        if let Some(buffer) = self.read_back.get(slot).filter(|_| wanted.picture) {
            recorder.copy_image(picture.as_raw(), ImageUse::CopySource.layout(), picture.extent(), buffer);
            recorder.for_host(buffer);
        }
        if let Some((image, extent)) = wanted.window {
            recorder.discard(image, ImageUse::CopyTarget, ImageUse::CopyTarget);
            recorder.clear(image);
            recorder.blit(picture, image, fitted(picture.extent(), extent));
            recorder.transition(image, ImageUse::CopyTarget, ImageUse::Present);
        }
        Ok(())
    }

    /// Submits what is apart from the frame: the copy of its picture to the host. Does nothing
    /// where the frame does that.
    ///
    /// # Errors
    /// The error of the failed driver call.
    ///
    /// # Safety
    /// The frame was recorded with this slot and `wanted`, and submitted; `rendered` is its point.
    pub unsafe fn send(&mut self, slot: usize, wanted: Wanted<'_>, rendered: &TimelinePoint) -> Result<()> {
        let Self { pictures, read_back, copier } = self;
        let Some(copier) = copier.as_mut().filter(|_| wanted.is_for_the_host_alone()) else { return Ok(()) };
        let picture = pictures.get(slot).context("no such slot")?;
        let buffer = read_back.get(slot).context("no such slot")?;
        // SAFETY: handed on to the caller; both live until the copy was waited for.
        unsafe { copier.copy(slot, picture, buffer, rendered) }
    }

    fn picture_of(&self, slot: usize) -> Result<&LocalImage> {
        self.pictures.get(if self.copier.is_some() { slot } else { 0 }).context("a picture of a slot that is not there")
    }

    /// The picture that slot `slot` read back, as RGBA8. Waits for its copy where that is apart
    /// from the frame.
    ///
    /// # Errors
    /// No such slot, or a copy that does not end.
    ///
    /// # Safety
    /// The frame that used the slot last is done on the GPU, and none is submitted in it while the
    /// picture is borrowed.
    pub unsafe fn picture(&self, slot: usize) -> Result<&[u8]> {
        if let Some(copier) = &self.copier {
            copier.wait_shared(slot)?;
        }
        let buffer = self.read_back.get(slot).context("a picture of a slot that is not there")?;
        // SAFETY: the frame that wrote it is done, with a barrier to the host behind the copy
        // (`record`), or the copy apart from it is; the caller keeps the next one away.
        unsafe { buffer.bytes() }.context("the read-back memory of a picture is not mapped")
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let Some(copier) = &self.copier else { return };
        if let Err(error) = copier.drain() {
            log::error!("pictures that are still being copied are kept for good: {error}");
            std::mem::forget((
                self.copier.take(),
                std::mem::take(&mut self.pictures),
                std::mem::take(&mut self.read_back),
            ));
        }
    }
}

/// A buffer of `size` bytes that the host reads.
///
/// # Errors
/// No room for it.
pub fn read_back(device: &ExportDevice, name: &str, size: u64) -> Result<LocalBuffer> {
    let usage = vk::BufferUsageFlags::TRANSFER_DST;
    Ok(LocalBuffer::new(device, name, size, usage, MemoryLocation::GpuToCpu)?)
}

/// The largest area of the proportions of `picture` in the middle of `window`.
fn fitted(picture: vk::Extent2D, window: vk::Extent2D) -> vk::Rect2D {
    let (w, h) = (u64::from(picture.width), u64::from(picture.height));
    let wide = u64::from(window.width) * h >= u64::from(window.height) * w;
    let (width, height) = if wide {
        ((u64::from(window.height) * w / h).max(1) as u32, window.height)
    } else {
        (window.width, (u64::from(window.width) * h / w).max(1) as u32)
    };
    vk::Rect2D {
        offset: vk::Offset2D { x: ((window.width - width) / 2) as i32, y: ((window.height - height) / 2) as i32 },
        extent: vk::Extent2D { width, height },
    }
}
