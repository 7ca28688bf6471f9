//! The picture's way into its window.

// Vulkan calls.
#![allow(unsafe_code)]

use std::mem::{forget, take};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge::ExportDevice;
use bridge::ash::vk;
use vk_local::{LocalImage, LocalImageInfo};

use crate::error::{Fault, Kind};
use crate::screen::LIMIT;
use crate::screen::camera::Camera;
use crate::screen::pipeline::failed;
use crate::window::OpenWindow;
use crate::window::fit::fit;
use crate::window::input::State;
use crate::window::places::{Place, Places};
use crate::window::surface::{Failed, Surface};
use crate::window::swapchain::{Swapchain, Target};

/// How often the surface may be lost between two pictures that are shown.
const LOSSES: u32 = 3;
/// How often the title tells the frame rate.
const RATE: Duration = Duration::from_secs(1);

/// What Vulkan has of the window, freed together once the queue is done with it. Field order is drop order.
struct Parts {
    places: Places,
    swapchain: Option<Swapchain>,
    surface: Option<Surface>,
    surface_is_lost: bool,
    /// The picture as an image, from which it is scaled.
    image: LocalImage,
    window: OpenWindow,
}

/// Shows a view's picture in a window. Dropping it waits for what was presented, with a limit, and closes the window.
pub(crate) struct Presenter {
    /// `None` only while it is dropped.
    parts: Option<Parts>,
    state: Arc<State>,
    size: [u32; 2],
    /// Whether the images of the window have its size.
    fits: bool,
    /// Whether the window shows something else than the picture.
    stale: bool,
    losses: u32,
    drawn: u32,
    told: Instant,
    device: ExportDevice,
}

impl Presenter {
    /// For a window that the device was opened for, with its extensions and `VK_KHR_swapchain`.
    pub(crate) fn new(device: &ExportDevice, window: OpenWindow) -> Result<Self, Fault> {
        let size = window.wanted.size;
        // SAFETY: the window is dropped after the surface, see the order of the fields; the extensions are there, as documented.
        let surface = unsafe { Surface::new(device, &window.window) }?;
        let [width, height] = size;
        let info = LocalImageInfo {
            name: "shown picture",
            format: vk::Format::R8G8B8A8_UNORM,
            extent: vk::Extent2D { width, height },
            // Sampled, for such an image is made with a view.
            usage: vk::ImageUsageFlags::TRANSFER_SRC | vk::ImageUsageFlags::TRANSFER_DST | vk::ImageUsageFlags::SAMPLED,
        };
        let image = LocalImage::new(device, &info).map_err(|error| Fault::new(Kind::Unavailable, error))?;
        let state = window.state().clone();
        let parts = Parts {
            places: Places::new(device)?,
            swapchain: None,
            surface: Some(surface),
            surface_is_lost: false,
            image,
            window,
        };
        Ok(Self {
            parts: Some(parts),
            state,
            size,
            fits: false,
            stale: true,
            losses: 0,
            drawn: 0,
            told: Instant::now(),
            device: device.clone(),
        })
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The program's camera, moved by the user.
    pub(crate) fn moved(&self, camera: Camera) -> Camera {
        self.state.orbit().of(camera)
    }

    /// Notes that a frame has been submitted that changes the picture.
    pub(crate) fn drew(&mut self) {
        self.stale = true;
        self.drawn += 1;
        let since = self.told.elapsed();
        if let Some(parts) = self.parts.as_ref().filter(|_| since >= RATE) {
            let rate = f64::from(take(&mut self.drawn)) / since.as_secs_f64();
            parts.window.window.set_title(&format!("{} ({rate:.0} frames/s)", parts.window.wanted.title));
            self.told = Instant::now();
        }
    }

    /// Presents the picture, the buffer of rows that `size` says, if the window does not show it already and has an image for it
    /// now; else the next call tries again. `None` is black. Does not wait. Returns whether it was presented.
    ///
    /// # Safety
    /// The buffer has four bytes for each pixel of the view, is one to copy from, and is written on the device's queue alone. Until
    /// this is dropped it lives.
    pub(crate) unsafe fn present(&mut self, picture: Option<vk::Buffer>) -> Result<bool, Fault> {
        let news = self.state.news();
        self.fits &= !news.resized;
        self.stale |= news.resized || news.uncovered;
        let Some(parts) = &mut self.parts else { return Ok(false) };
        if news.closed {
            parts.window.window.set_visible(false);
            return Ok(false);
        }
        if news.hidden || !self.stale {
            return Ok(false);
        }
        // SAFETY: as this function.
        match unsafe { parts.show(&self.device, picture, self.size, &mut self.fits) } {
            Ok(shown) => {
                self.stale = !shown;
                self.losses *= u32::from(!shown);
                Ok(shown)
            }
            Err(Failed::OutOfDate) => {
                self.fits = false;
                Ok(false)
            }
            Err(Failed::SurfaceLost) if self.losses < LOSSES => {
                log::warn!("the surface of a view's window was lost and is made anew");
                self.losses += 1;
                self.fits = false;
                parts.surface_is_lost = true;
                Ok(false)
            }
            Err(Failed::SurfaceLost) => {
                let reason = format!("the surface of the window was lost {LOSSES} times in a row");
                Err(Fault::new(Kind::Driver, reason))
            }
            Err(Failed::Fault(fault)) => Err(fault),
        }
    }
}

impl Parts {
    /// # Safety
    /// As [`Presenter::present`].
    unsafe fn show(
        &mut self,
        device: &ExportDevice,
        picture: Option<vk::Buffer>,
        size: [u32; 2],
        fits: &mut bool,
    ) -> Result<bool, Failed> {
        if !*fits {
            if !self.places.all_idle()? {
                // The old images are in use. Nothing waits for them: there is another call.
                return Ok(false);
            }
            self.renew(device)?;
            *fits = true;
        }
        let Some(swapchain) = &mut self.swapchain else {
            // A window without an area. That it has one again is told, though not by all systems.
            *fits = false;
            return Ok(false);
        };
        let Some(place) = self.places.idle()? else { return Ok(false) };
        // SAFETY: the place is idle: what waited for its semaphore has run.
        let Some(target) = (unsafe { swapchain.acquire(place.acquired) })? else { return Ok(false) };
        // SAFETY: as this function; both were acquired just now.
        if let Err(fault) = unsafe { self.submit(device, place, target, picture, size) } {
            self.places.abandon(place);
            return Err(fault.into());
        }
        let Some(swapchain) = &mut self.swapchain else { return Ok(false) };
        // SAFETY: submitted above.
        let presented = unsafe { swapchain.present(target) };
        // Behind presenting, so that it covers that as well, also if it failed.
        self.places.submitted(place)?;
        *fits = presented?;
        Ok(true)
    }

    /// Makes the images for the window's size. All places are idle.
    fn renew(&mut self, device: &ExportDevice) -> Result<(), Failed> {
        if take(&mut self.surface_is_lost) {
            self.swapchain = None;
            self.surface = None;
        }
        let surface = match self.surface.take() {
            Some(surface) => surface,
            // SAFETY: as in `Presenter::new`.
            None => unsafe { Surface::new(device, &self.window.window) }?,
        };
        let surface = self.surface.insert(surface);
        let size = self.window.window.inner_size();
        let old = self.swapchain.take();
        let vsync = self.window.wanted.vsync;
        // SAFETY: the old one was made here, and a surface that is made anew has none.
        self.swapchain = unsafe { Swapchain::new(device, surface, [size.width, size.height], vsync, old.as_ref()) }?;
        Ok(())
    }

    /// # Safety
    /// As [`Presenter::present`], with an idle place and an image that was acquired with it.
    unsafe fn submit(
        &self,
        device: &ExportDevice,
        place: Place,
        target: Target,
        picture: Option<vk::Buffer>,
        size: [u32; 2],
    ) -> Result<(), Fault> {
        let (raw, commands) = (device.as_raw(), place.commands);
        let info = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: VUID-vkBeginCommandBuffer-commandBuffer-00049: it has run; its pool lets it be reset.
        unsafe { raw.begin_command_buffer(commands, &info) }.map_err(failed("vkBeginCommandBuffer"))?;
        // SAFETY: recording; the rest as this function.
        unsafe { self.record(device, commands, target, picture, size) };
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059: recording since above.
        unsafe { raw.end_command_buffer(commands) }.map_err(failed("vkEndCommandBuffer"))?;
        let point = |semaphore, stages| vk::SemaphoreSubmitInfo::default().semaphore(semaphore).stage_mask(stages);
        let waits = [point(place.acquired, vk::PipelineStageFlags2::ALL_TRANSFER)];
        let signals = [point(target.ready, vk::PipelineStageFlags2::ALL_COMMANDS)];
        let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let batch = vk::SubmitInfo2::default()
            .wait_semaphore_infos(&waits)
            .command_buffer_infos(&commands)
            .signal_semaphore_infos(&signals);
        // SAFETY: VUID-vkQueueSubmit2-semaphore-03868, -03873: the image was acquired with the one, and the other was waited for
        // when the image was presented last. All lives until the place's fence, which is behind this, is seen.
        unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.map_err(|error| Fault::new(Kind::Driver, error))
    }

    /// # Safety
    /// As [`submit`](Self::submit), with commands that are being recorded.
    unsafe fn record(
        &self,
        device: &ExportDevice,
        commands: vk::CommandBuffer,
        target: Target,
        picture: Option<vk::Buffer>,
        [width, height]: [u32; 2],
    ) {
        let raw = device.as_raw();
        let color = vk::ImageSubresourceLayers::default().aspect_mask(vk::ImageAspectFlags::COLOR).layer_count(1);
        let whole =
            vk::ImageSubresourceRange::default().aspect_mask(vk::ImageAspectFlags::COLOR).level_count(1).layer_count(1);
        let (undefined, writable) = (vk::ImageLayout::UNDEFINED, vk::ImageLayout::TRANSFER_DST_OPTIMAL);
        let (readable, shown) = (vk::ImageLayout::TRANSFER_SRC_OPTIMAL, vk::ImageLayout::PRESENT_SRC_KHR);
        let barrier = |image, (before, after), (from, to)| {
            vk::ImageMemoryBarrier::default()
                .image(image)
                .old_layout(before)
                .new_layout(after)
                .src_access_mask(from)
                .dst_access_mask(to)
                .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                .subresource_range(whole)
        };
        let (draws, copies) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::TRANSFER);
        let (none, reads) = (vk::AccessFlags::empty(), vk::AccessFlags::TRANSFER_READ);
        let writes = vk::AccessFlags::TRANSFER_WRITE;
        let record = |from, to, memory: &[vk::MemoryBarrier<'_>], images: &[vk::ImageMemoryBarrier<'_>]| {
            // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461, -oldLayout-01181: stages of every graphics queue, and the
            // layouts that the commands around leave the images in.
            unsafe {
                raw.cmd_pipeline_barrier(commands, from, to, vk::DependencyFlags::empty(), memory, &[], images);
            }
        };
        // The window's image is acquired at the stage of copies. The picture has been drawn, and the image before was read.
        let drawn = vk::MemoryBarrier::default().src_access_mask(vk::AccessFlags::SHADER_WRITE).dst_access_mask(reads);
        let begun = [
            barrier(target.image, (undefined, writable), (none, writes)),
            barrier(self.image.as_raw(), (undefined, writable), (none, writes)),
        ];
        record(draws | copies, copies, &[drawn], &begun);

        let room = fit([width, height], target.size);
        if picture.is_none() || room != [0, 0, target.size[0], target.size[1]] {
            let black = vk::ClearColorValue { float32: [0.0, 0.0, 0.0, 1.0] };
            // SAFETY: VUID-vkCmdClearColorImage-imageLayout-00005: as the barrier left it.
            unsafe { raw.cmd_clear_color_image(commands, target.image, writable, &black, &[whole]) };
            record(copies, copies, &[], &[barrier(target.image, (writable, writable), (writes, writes))]);
        }
        if let Some(picture) = picture {
            let image = self.image.as_raw();
            let copy = vk::BufferImageCopy::default().image_subresource(color).image_extent(vk::Extent3D {
                width,
                height,
                depth: 1,
            });
            // SAFETY: VUID-vkCmdCopyBufferToImage-pRegions-00171, -imageSubresource-07970: both have the view's size.
            unsafe { raw.cmd_copy_buffer_to_image(commands, picture, image, writable, &[copy]) };
            record(copies, copies, &[], &[barrier(image, (writable, readable), (writes, reads))]);
            let corner = |x: u32, y: u32, z| vk::Offset3D { x: x as i32, y: y as i32, z };
            let [left, top, right, bottom] = room;
            let blit = vk::ImageBlit::default()
                .src_subresource(color)
                .src_offsets([corner(0, 0, 0), corner(width, height, 1)])
                .dst_subresource(color)
                .dst_offsets([corner(left, top, 0), corner(right, bottom, 1)]);
            let same = [right - left, bottom - top] == [width, height];
            let filter = if same { vk::Filter::NEAREST } else { vk::Filter::LINEAR };
            // SAFETY: VUID-vkCmdBlitImage-srcOffset-00243, -dstOffset-00248, -dstImage-02000, -filter-02001: both rectangles are in
            // their images, and every device blits between these formats.
            unsafe { raw.cmd_blit_image(commands, image, readable, target.image, writable, &[blit], filter) };
        }
        let end = vk::PipelineStageFlags::BOTTOM_OF_PIPE;
        record(copies, end, &[], &[barrier(target.image, (writable, shown), (writes, none))]);
    }
}

impl Drop for Presenter {
    fn drop(&mut self) {
        let Some(mut parts) = self.parts.take() else { return };
        if let Err(fault) = parts.places.wait(LIMIT) {
            log::error!("a view's window is leaked, since the GPU may be using it: {fault:?}");
            forget(parts);
        }
    }
}
