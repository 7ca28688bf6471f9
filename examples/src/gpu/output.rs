//! The destination of a finished picture: the host, a window, or none.
#![allow(unsafe_code)] // Memory that the GPU writes.

use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::{ExportDevice, QueueKind, TimelinePoint};
use clap::ValueEnum;
use vk_local::{LocalBuffer, LocalImage, LocalImageInfo, MemoryLocation};

use super::copier::Copier;
use super::recorder::{ImageUse, Recorder};

/// The outputs of a frame in addition to the picture in the target.
#[derive(Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// `true` if the picture is copied to the slot's read-back buffer.
    pub picture: bool,
    /// A buffer that receives the shared data as Vulkan reads it, for a check.
    pub sample: Option<&'a LocalBuffer>,
    /// The window image that receives the picture; its previous contents are discarded.
    pub window: Option<(vk::Image, vk::Extent2D)>,
}

impl Wanted<'_> {
    /// Returns `true` if the picture is only copied to the host, which a separate submission can
    /// do.
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
    /// Returns the queue for separate submissions, if copies are made in separate submissions.
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

/// The picture that frames are drawn to, and a read-back buffer for each slot. If pictures are
/// copied in separate submissions, each slot has its own picture. Dropping it waits for those
/// copies only and frees everything immediately, so wait for the GPU first.
pub struct Output {
    pictures: Vec<LocalImage>,
    read_back: Vec<LocalBuffer>,
    copier: Option<Copier>,
}

impl Output {
    /// The format of a finished picture: it holds sRGB values without conversion.
    pub const FORMAT: vk::Format = vk::Format::R8G8B8A8_UNORM;

    /// Creates the output for frames of `size` pixels, with `slots` frames in flight.
    ///
    /// # Errors
    /// The device cannot create an image or a buffer.
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

    /// Calls `draw` to draw the picture of slot `slot`, in use as a target, and records the copies
    /// to its destinations. After the frame is submitted, call [`send`](Self::send).
    ///
    /// # Errors
    /// There is no such slot, or an earlier copy of the slot does not complete.
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

    /// Submits the separate copy of the frame's picture to the host. Does nothing if the frame
    /// itself makes the copy.
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
        // SAFETY: the caller guarantees it; picture and buffer live until the copy was waited for.
        unsafe { copier.copy(slot, picture, buffer, rendered) }
    }

    fn picture_of(&self, slot: usize) -> Result<&LocalImage> {
        self.pictures.get(if self.copier.is_some() { slot } else { 0 }).context("a picture of a slot that is not there")
    }

    /// Returns the picture that slot `slot` read back, as RGBA8. Waits for its copy if it is a
    /// separate submission.
    ///
    /// # Errors
    /// There is no such slot, or the copy does not complete.
    ///
    /// # Safety
    /// The GPU has finished the frame that used the slot last, and no frame is submitted in the
    /// slot while the picture is borrowed.
    pub unsafe fn picture(&self, slot: usize) -> Result<&[u8]> {
        if let Some(copier) = &self.copier {
            copier.wait_shared(slot)?;
        }
        let buffer = self.read_back.get(slot).context("a picture of a slot that is not there")?;
        // SAFETY: the frame that wrote it is done, with a barrier to the host after the copy
        // (`record`), or the separate copy is done; the caller starts no other frame in the slot.
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

/// Creates a buffer of `size` bytes that the host reads.
///
/// # Errors
/// There is not enough memory.
pub fn read_back(device: &ExportDevice, name: &str, size: u64) -> Result<LocalBuffer> {
    let usage = vk::BufferUsageFlags::TRANSFER_DST;
    Ok(LocalBuffer::new(device, name, size, usage, MemoryLocation::GpuToCpu)?)
}

/// Returns the largest centered area of `window` with the aspect ratio of `picture`.
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
