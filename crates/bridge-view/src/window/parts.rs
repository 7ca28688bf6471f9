//! The Vulkan objects for presenting, and the presentation of a picture.

// Vulkan calls.
#![allow(unsafe_code)]

use std::mem::take;
use std::time::Duration;

use bridge::ExportDevice;
use bridge::ash::vk;
use vk_local::LocalImage;

use crate::draw::ring::bind;
use crate::error::{Error, Result, failed};
use crate::window::places::{Place, Places};
use crate::window::record::{WindowContent, record};
use crate::window::surface::{Failed, Surface};
use crate::window::swapchain::{Swapchain, Target};
use crate::window::{Window, display_end};

/// The Vulkan objects of a window, freed together after the queue has finished with them. Field
/// order is drop order.
pub(crate) struct Parts {
    pub(super) places: Places,
    pub(super) swapchain: Option<Swapchain>,
    pub(super) surface: Option<Surface>,
    pub(super) surface_is_lost: bool,
    /// The picture as an image, the source of scaling.
    pub(super) image: LocalImage,
    pub(super) window: Window,
}

impl Parts {
    /// # Safety
    /// The contract of [`Presenter::present`].
    pub(super) unsafe fn show(
        &mut self,
        device: &ExportDevice,
        shown: WindowContent<'_>,
        size: [u32; 2],
        fits: &mut bool,
    ) -> Result<bool, Failed> {
        if !*fits {
            if !self.places.are_all_idle()? {
                // The old images are in use. Not waited for: a later call tries again.
                return Ok(false);
            }
            self.renew(device)?;
            self.places.replace_abandoned()?;
            *fits = true;
        }
        let Some(swapchain) = &mut self.swapchain else {
            // The window has no area. Checked again in each call, since not all systems report that
            // it has an area again.
            *fits = false;
            return Ok(false);
        };
        // Checked before acquiring: an acquired image that is not written is only released by a new
        // swapchain.
        device.queue().check_free().map_err(Error::from)?;
        let Some(place) = self.places.take_idle()? else { return Ok(false) };
        // SAFETY: the place is idle: the submission that waited for its semaphore has run.
        let Some(target) = (unsafe { swapchain.acquire(place.acquired, Duration::ZERO) })? else { return Ok(false) };
        // SAFETY: the caller upholds the contract; place and image were acquired just now.
        if let Err(error) = unsafe { self.submit(device, place, target, shown, size) } {
            self.places.abandon(place);
            // Recreates the images, since the acquired one is not released otherwise.
            *fits = false;
            return Err(error.into());
        }
        let Some(swapchain) = &mut self.swapchain else { return Ok(false) };
        // SAFETY: the commands that write the image were submitted above.
        let presented = unsafe { swapchain.present(target) };
        // Called after presenting, so that the fence covers that too, even if it failed.
        self.places.submitted(place)?;
        *fits = presented?;
        Ok(true)
    }

    /// Recreates the images for the window's size. Requires that all places are idle.
    fn renew(&mut self, device: &ExportDevice) -> Result<(), Failed> {
        if take(&mut self.surface_is_lost) {
            self.swapchain = None;
            self.surface = None;
        }
        let surface = match self.surface.take() {
            Some(surface) => surface,
            // SAFETY: as in `Presenter::new`.
            None => unsafe { Surface::new(device, &self.window.handle) }?,
        };
        let surface = self.surface.insert(surface);
        let (size, opened) = (self.window.size(), self.window.handle.is_opened());
        let gone = opened && display_end::has_ended();
        let size = size.map_err(|error| if gone { Failed::OutOfDate } else { error.into() })?;
        if !opened && size.contains(&0) {
            // Minimized, as reported by the program; X11 does not report such a size.
            self.swapchain = None;
            return Ok(());
        }
        let old = self.swapchain.take();
        let mode = surface.mode(self.window.info.vsync)?;
        // SAFETY: the old swapchain was created here, and there is none if the surface was
        // recreated.
        self.swapchain = unsafe { Swapchain::new(device, surface, size, mode, old.as_ref()) }?;
        Ok(())
    }

    /// # Safety
    /// The contract of [`Presenter::present`]; `place` is idle, and `target` was acquired with it.
    unsafe fn submit(
        &self,
        device: &ExportDevice,
        place: Place,
        target: Target,
        shown: WindowContent<'_>,
        size: [u32; 2],
    ) -> Result<()> {
        let (raw, commands) = (device.as_raw(), place.commands);
        let info = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        if let Some(redraw) = &shown.redraw {
            // SAFETY: the place is idle: the commands that used its set have run. The caller
            // guarantees the contract for the buffers.
            unsafe { bind(device, place.set, redraw.bound) };
        }
        // SAFETY: VUID-vkBeginCommandBuffer-commandBuffer-00049: the command buffer has run, and
        // its pool allows resetting it.
        unsafe { raw.begin_command_buffer(commands, &info) }.map_err(failed(device, "vkBeginCommandBuffer"))?;
        // SAFETY: the command buffer is recording; the caller upholds the rest of the contract.
        unsafe { record(device, commands, place.set, self.image.as_raw(), target, shown, size) };
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059: it has been recording since the call
        // above.
        unsafe { raw.end_command_buffer(commands) }.map_err(failed(device, "vkEndCommandBuffer"))?;
        let point = |semaphore, stages| vk::SemaphoreSubmitInfo::default().semaphore(semaphore).stage_mask(stages);
        let waits = [point(place.acquired, vk::PipelineStageFlags2::ALL_TRANSFER)];
        let signals = [point(target.ready, vk::PipelineStageFlags2::ALL_COMMANDS)];
        let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let batch = vk::SubmitInfo2::default()
            .wait_semaphore_infos(&waits)
            .command_buffer_infos(&commands)
            .signal_semaphore_infos(&signals);
        // SAFETY: VUID-vkQueueSubmit2-semaphore-03868, -03873: the image was acquired with the
        // waited semaphore, and the signaled one was waited for when the image was last presented.
        // All objects live until the place's fence, which is submitted later, is seen signaled.
        unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.map_err(Error::from)
    }
}
