//! Where a finished picture goes: to the host, to a window, or nowhere.
#![allow(unsafe_code)] // Memory that the GPU writes.

use anyhow::{Context, Result};
use bridge::ExportDevice;
use bridge::ash::vk;
use vk_local::{LocalBuffer, LocalImage, LocalImageInfo, MemoryLocation};

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

/// The picture that frames end in, and a read-back buffer for each slot. Dropping it frees it at once: wait for the GPU
/// before.
pub struct Output {
    picture: LocalImage,
    read_back: Vec<LocalBuffer>,
}

impl Output {
    /// What a finished picture is: sRGB values as they are.
    pub const FORMAT: vk::Format = vk::Format::R8G8B8A8_UNORM;

    /// For frames of `size` pixels, `slots` of them in flight.
    ///
    /// # Errors
    /// What the device cannot make.
    pub fn new(device: &ExportDevice, [width, height]: [u32; 2], slots: usize) -> Result<Self> {
        let picture = LocalImage::new(
            device,
            &LocalImageInfo {
                name: "picture",
                format: Self::FORMAT,
                extent: vk::Extent2D { width, height },
                usage: vk::ImageUsageFlags::COLOR_ATTACHMENT | vk::ImageUsageFlags::TRANSFER_SRC,
            },
        )?;
        let bytes = u64::from(width) * u64::from(height) * 4;
        let read_back = (0..slots).map(|slot| read_back(device, &format!("picture[{slot}]"), bytes));
        Ok(Self { picture, read_back: read_back.collect::<Result<_>>()? })
    }

    /// Lets `draw` make the picture of slot `slot`, in use as a target, and takes it to where it is wanted.
    pub fn record<'a>(
        &self,
        recorder: &mut Recorder<'a>,
        slot: usize,
        wanted: Wanted<'_>,
        draw: impl FnOnce(&mut Recorder<'a>, &LocalImage),
    ) {
        let picture = &self.picture;
        recorder.discard(picture.as_raw(), ImageUse::CopySource, ImageUse::Target);
        draw(recorder, picture);
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
    }

    /// The picture that slot `slot` read back, as RGBA8.
    ///
    /// # Errors
    /// No such slot.
    ///
    /// # Safety
    /// The frame that used the slot last is done on the GPU, and none is submitted in it while the picture is borrowed.
    pub unsafe fn picture(&self, slot: usize) -> Result<&[u8]> {
        let buffer = self.read_back.get(slot).context("a picture of a slot that is not there")?;
        // SAFETY: the frame that wrote it is done, with a barrier to the host behind the copy (`record`); the caller keeps
        // the next one away.
        unsafe { buffer.bytes() }.context("the read-back memory of a picture is not mapped")
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
