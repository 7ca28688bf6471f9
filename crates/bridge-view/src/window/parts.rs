//! Vulkan objects of presenting, and one picture's way through them.

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
use crate::window::record::{Shown, record};
use crate::window::surface::{Failed, Surface};
use crate::window::swapchain::{Swapchain, Target};
use crate::window::{Window, ended};

/// What Vulkan has of the window, freed together once the queue is done with it. Field order is
/// drop order.
pub(crate) struct Parts {
    pub(super) places: Places,
    pub(super) swapchain: Option<Swapchain>,
    pub(super) surface: Option<Surface>,
    pub(super) surface_is_lost: bool,
    /// The picture as an image, from which it is scaled.
    pub(super) image: LocalImage,
    pub(super) window: Window,
}

impl Parts {
    /// # Safety
    /// As [`Presenter::present`].
    pub(super) unsafe fn show(
        &mut self,
        device: &ExportDevice,
        shown: Shown<'_>,
        size: [u32; 2],
        fits: &mut bool,
    ) -> Result<bool, Failed> {
        if !*fits {
            if !self.places.all_idle()? {
                // The old images are in use. Nothing waits for them: there is another call.
                return Ok(false);
            }
            self.renew(device)?;
            self.places.replace_abandoned()?;
            *fits = true;
        }
        let Some(swapchain) = &mut self.swapchain else {
            // A window without an area. That it has one again is told, though not by all systems.
            *fits = false;
            return Ok(false);
        };
        // An image that is acquired and not written is given back by nothing but a new swapchain.
        device.queue().check_free().map_err(Error::from)?;
        let Some(place) = self.places.idle()? else { return Ok(false) };
        // SAFETY: the place is idle: what waited for its semaphore has run.
        let Some(target) = (unsafe { swapchain.acquire(place.acquired, Duration::ZERO) })? else { return Ok(false) };
        // SAFETY: as this function; both were acquired just now.
        if let Err(error) = unsafe { self.submit(device, place, target, shown, size) } {
            self.places.abandon(place);
            // New images: the one that was acquired is not given back otherwise.
            *fits = false;
            return Err(error.into());
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
            None => unsafe { Surface::new(device, &self.window.handle) }?,
        };
        let surface = self.surface.insert(surface);
        let (size, opened) = (self.window.size(), self.window.handle.is_opened());
        let gone = opened && ended::has_ended();
        let size = size.map_err(|error| if gone { Failed::OutOfDate } else { error.into() })?;
        if !opened && size.contains(&0) {
            // Minimized, as the program says; X11 tells no such size.
            self.swapchain = None;
            return Ok(());
        }
        let old = self.swapchain.take();
        let mode = surface.mode(self.window.info.vsync)?;
        // SAFETY: the old one was made here, and a surface that is made anew has none.
        self.swapchain = unsafe { Swapchain::new(device, surface, size, mode, old.as_ref()) }?;
        Ok(())
    }

    /// # Safety
    /// As [`Presenter::present`], with an idle place and an image that was acquired with it.
    unsafe fn submit(
        &self,
        device: &ExportDevice,
        place: Place,
        target: Target,
        shown: Shown<'_>,
        size: [u32; 2],
    ) -> Result<()> {
        let (raw, commands) = (device.as_raw(), place.commands);
        let info = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        if let Some(redraw) = &shown.redraw {
            // SAFETY: the place is idle: the commands that used its set have run. The buffers are
            // as this function says.
            unsafe { bind(device, place.set, redraw.bound) };
        }
        // SAFETY: VUID-vkBeginCommandBuffer-commandBuffer-00049: it has run; its pool lets it be
        // reset.
        unsafe { raw.begin_command_buffer(commands, &info) }.map_err(failed(device, "vkBeginCommandBuffer"))?;
        // SAFETY: recording; the rest as this function.
        unsafe { record(device, commands, place.set, self.image.as_raw(), target, shown, size) };
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059: recording since above.
        unsafe { raw.end_command_buffer(commands) }.map_err(failed(device, "vkEndCommandBuffer"))?;
        let point = |semaphore, stages| vk::SemaphoreSubmitInfo::default().semaphore(semaphore).stage_mask(stages);
        let waits = [point(place.acquired, vk::PipelineStageFlags2::ALL_TRANSFER)];
        let signals = [point(target.ready, vk::PipelineStageFlags2::ALL_COMMANDS)];
        let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let batch = vk::SubmitInfo2::default()
            .wait_semaphore_infos(&waits)
            .command_buffer_infos(&commands)
            .signal_semaphore_infos(&signals);
        // SAFETY: VUID-vkQueueSubmit2-semaphore-03868, -03873: the image was acquired with the one,
        // and the other was waited for when the image was presented last. All lives until the
        // place's fence, which is behind this, is seen.
        unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.map_err(Error::from)
    }
}
