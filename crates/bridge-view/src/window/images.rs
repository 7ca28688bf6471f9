//! The images of a window of the program's own.

// Vulkan calls.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::mem::forget;
use std::time::Duration;

use bridge::ExportDevice;
use bridge::ash::{khr, vk};
use bridge_trace::log_error;
use raw_window_handle::{HasDisplayHandle, HasWindowHandle};

use crate::error::{Error, Result, failed};
use crate::window::surface::{Failed, Surface, instance_extensions};
use crate::window::swapchain::{Swapchain, Target};

/// The images of a window, for a program that has an event loop and commands of its own: it writes
/// them in the submissions that it makes anyway. A [`View`](crate::View) needs none of this.
///
/// Each frame takes an image ([`acquire`](Self::acquire)), writes it by copies, with the image's
/// wait and signal among the semaphores of its submission, and shows it
/// ([`present`](Self::present)). Frames are copied to the images, so they need not have their size.
///
/// Images are shown at the display's refreshes. On Wayland, where presenting at the refreshes would
/// block for as long as the window is hidden, they are shown without waiting for them (MAILBOX,
/// else IMMEDIATE) if the device can; neither tears there.
///
/// Dropping it waits for the queue, with a limit ([`set_timeout`](Self::set_timeout)); what may
/// still be in use then is leaked.
#[doc(alias = "VkSwapchainKHR")]
pub struct WindowImages {
    /// `None` where the window has no area. Before its surface.
    swapchain: Option<Swapchain>,
    /// Signaled when an image can be written, one per frame in flight.
    acquired: Vec<vk::Semaphore>,
    frames: usize,
    /// `None` only while it is dropped.
    surface: Option<Surface>,
    limit: Duration,
    device: ExportDevice,
}

/// Limit on a wait for the queue, unless another is set.
const LIMIT: Duration = Duration::from_secs(10);

/// An image to write in this frame.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AcquiredImage {
    /// The image, whose contents and layout are gone. The frame's commands leave it in
    /// `VK_IMAGE_LAYOUT_PRESENT_SRC_KHR`.
    pub image: vk::Image,
    /// Size of the image in pixels.
    pub extent: vk::Extent2D,
    /// The frame's submission waits for this, before its copies.
    pub wait: vk::SemaphoreSubmitInfo<'static>,
    /// The frame's submission signals this.
    pub signal: vk::SemaphoreSubmitInfo<'static>,
    target: Target,
}

impl WindowImages {
    /// The device extensions that it takes.
    pub const DEVICE_EXTENSIONS: &'static [&'static CStr] = &[khr::swapchain::NAME];

    /// Returns the instance extensions that are required.
    ///
    /// # Errors
    /// [`Error::NoWindow`] for a kind of window that Vulkan does not draw to.
    pub fn instance_extensions(window: &impl HasDisplayHandle) -> Result<Vec<&'static CStr>> {
        instance_extensions(window)
    }

    /// Makes images for `window`, of `size` in pixels where the window leaves the choice, for
    /// `frames` frames in flight.
    ///
    /// # Errors
    /// [`Error::CannotPresent`], also for a device that was opened without the extensions; or the
    /// error of the failed driver call.
    ///
    /// # Safety
    /// The window outlives what is returned.
    pub unsafe fn new(
        device: &ExportDevice,
        window: &(impl HasDisplayHandle + HasWindowHandle),
        size: [u32; 2],
        frames: usize,
    ) -> Result<Self> {
        // SAFETY: the window outlives the surface, as this function.
        let surface = unsafe { Surface::new(device, window) }?;
        let (swapchain, surface, device) = (None, Some(surface), device.clone());
        let mut made = Self { swapchain, acquired: Vec::new(), frames, surface, limit: LIMIT, device };
        made.resize(size)?;
        Ok(made)
    }

    /// Sets the limit of the waits for the queue, in [`resize`](Self::resize) and when this is
    /// dropped: 10 seconds at first.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.limit = timeout;
    }

    /// Waits for the queue and recreates the images. If the window has no area, for example because
    /// it is minimized, there are none afterwards.
    ///
    /// It also releases images that were acquired but never written because recording or submitting
    /// their frame failed, so that every frame can acquire an image again. Their semaphores are
    /// destroyed: do not submit them afterwards.
    ///
    /// # Errors
    /// [`Error::Bridge`] if the queue is still busy after the timeout; the images are then
    /// unchanged. [`Error::SurfaceLost`] if the images have to be recreated again. Otherwise the
    /// error of the failed driver call.
    pub fn resize(&mut self, size: [u32; 2]) -> Result<()> {
        self.wait()?;
        self.swapchain = None;
        // Of an image that no submission has written, it stays signaled.
        self.destroy_acquired();
        for _ in 0..self.frames {
            let info = vk::SemaphoreCreateInfo::default();
            // SAFETY: VUID-VkSemaphoreCreateInfo-flags-zerobitmask: no flags, and no chain.
            let semaphore = unsafe { self.device.as_raw().create_semaphore(&info, None) };
            self.acquired.push(semaphore.map_err(failed(&self.device, "vkCreateSemaphore"))?);
        }
        let Some(surface) = &self.surface else { return Ok(()) };
        let made = surface.mode(true).and_then(|mode| {
            // SAFETY: there is no old one; the mode is the surface's.
            unsafe { Swapchain::new(&self.device, surface, size, mode, None) }
        });
        self.swapchain = or_none(made)?.flatten();
        Ok(())
    }

    /// Destroys the semaphores of acquired images. The queue is done with them, and there is no
    /// swapchain that may still signal one.
    fn destroy_acquired(&mut self) {
        for semaphore in self.acquired.drain(..) {
            // SAFETY: VUID-vkDestroySemaphore-semaphore-05149: as this function says.
            unsafe { self.device.as_raw().destroy_semaphore(semaphore, None) };
        }
    }

    /// Returns the size of the images, or `None` if the window has no area.
    pub fn extent(&self) -> Option<vk::Extent2D> {
        self.swapchain.as_ref().map(Swapchain::extent)
    }

    /// Returns the next image, for the frame in flight `frame`. Waits for it for at most `timeout`.
    /// Returns `None` if there is none: the window has no area, its size has changed
    /// ([`resize`](Self::resize) then), or it does not show anything for now.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a frame that there is not, or the error of the failed driver
    /// call.
    ///
    /// # Safety
    /// The last submission with an image of this frame has been made, and has ended; or the images
    /// were made again since by [`resize`](Self::resize).
    pub unsafe fn acquire(&mut self, frame: usize, timeout: Duration) -> Result<Option<AcquiredImage>> {
        let Some(swapchain) = &mut self.swapchain else { return Ok(None) };
        let semaphore = self.acquired.get(frame).copied();
        let semaphore = semaphore.ok_or_else(|| Error::invalid("window", format!("there is no frame {frame}")))?;
        // SAFETY: what waited for the semaphore has ended, as this function says.
        let Some(target) = or_none(unsafe { swapchain.acquire(semaphore, timeout) })?.flatten() else {
            return Ok(None);
        };
        let info = |semaphore, stages| vk::SemaphoreSubmitInfo::default().semaphore(semaphore).stage_mask(stages);
        Ok(Some(AcquiredImage {
            image: target.image,
            extent: swapchain.extent(),
            wait: info(semaphore, vk::PipelineStageFlags2::ALL_TRANSFER),
            signal: info(target.ready, vk::PipelineStageFlags2::ALL_COMMANDS),
            target,
        }))
    }

    /// Shows the image. Returns whether the images still fit the window.
    ///
    /// # Errors
    /// The error of the failed driver call.
    ///
    /// # Safety
    /// The image was acquired since the last [`resize`](Self::resize). The frame was submitted to
    /// the device's queue, with the image's wait and signal, and leaves it in
    /// `VK_IMAGE_LAYOUT_PRESENT_SRC_KHR`.
    pub unsafe fn present(&mut self, image: AcquiredImage) -> Result<bool> {
        let Some(swapchain) = &mut self.swapchain else { return Ok(false) };
        // SAFETY: as this function.
        let fits = unsafe { swapchain.present(image.target) };
        Ok(or_none(fits)?.unwrap_or(false))
    }

    /// Waits until the queue is done with the images, for at most the limit.
    fn wait(&self) -> Result<()> {
        let (queue, name) = (self.device.queue(), "the end of a window's images");
        // Its fence is behind all that the queue was given before.
        // SAFETY: the device's own queue; nothing is recorded.
        match unsafe { self.device.run_once(queue, name, self.limit, |_| {}) } {
            Err(error) if !error.is_device_lost() => Err(error.into()),
            // A lost device uses nothing any more.
            _ => Ok(()),
        }
    }
}

/// `None` where the images do not fit the window any more.
fn or_none<T>(result: Result<T, Failed>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Failed::OutOfDate) => Ok(None),
        Err(Failed::SurfaceLost) => Err(Error::SurfaceLost { times: 1 }),
        Err(Failed::Error(error)) => Err(error),
    }
}

impl std::fmt::Debug for WindowImages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WindowImages").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Drop for WindowImages {
    fn drop(&mut self) {
        if let Err(error) = self.wait() {
            forget((self.swapchain.take(), self.surface.take()));
            log_error!("the images of a window are leaked, since they may be in use: {error}");
            return;
        }
        self.swapchain = None;
        self.destroy_acquired();
    }
}
