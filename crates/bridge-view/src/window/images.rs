//! [`WindowImages`]: swapchain images for the program's own window.

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
use crate::window::order::{PresentOrder, Presenting, wait_for_queue};
use crate::window::surface::{Failed, Surface, instance_extensions};
use crate::window::swapchain::{Swapchain, Target};

/// The swapchain images of a window, for a program with its own event loop and commands, which
/// writes the images in its own submissions. Not needed with a [`View`](crate::View).
///
/// Each frame acquires an image ([`acquire`](Self::acquire)), writes it with copies in a submission
/// that includes the image's wait and signal semaphores, and presents it
/// ([`present`](Self::present)). Since frames are copied to the images, their sizes may differ.
///
/// Presentation is synchronized to the display's refresh. On Wayland, where that would block while
/// the window is hidden, images are presented without waiting (MAILBOX, otherwise IMMEDIATE) if the
/// device supports it; neither mode tears there.
///
/// Dropping it waits for the queue, with a limit ([`set_timeout`](Self::set_timeout)). Objects that
/// may still be in use after that are leaked.
///
/// Specification: [`VkSwapchainKHR`].
///
/// [`VkSwapchainKHR`]: https://docs.vulkan.org/refpages/latest/refpages/source/VkSwapchainKHR.html
#[doc(alias = "VkSwapchainKHR")]
pub struct WindowImages {
    /// `None` if the window has no area. Dropped before the surface.
    swapchain: Option<Swapchain>,
    /// Signaled when an image can be written, one per frame in flight.
    acquired: Vec<vk::Semaphore>,
    frames: usize,
    /// `None` only during drop.
    surface: Option<Surface>,
    limit: Duration,
    _presenting: Presenting,
    device: ExportDevice,
}

/// Default limit on waits for the queue.
const LIMIT: Duration = Duration::from_secs(10);

/// An image to write in this frame.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AcquiredImage {
    /// The image, whose contents and layout are undefined. The frame's commands must leave it in
    /// `VK_IMAGE_LAYOUT_PRESENT_SRC_KHR`.
    pub image: vk::Image,
    /// Size of the image in pixels.
    pub extent: vk::Extent2D,
    /// The wait for the frame's submission, before its copies.
    pub wait: vk::SemaphoreSubmitInfo<'static>,
    /// The signal for the frame's submission.
    pub signal: vk::SemaphoreSubmitInfo<'static>,
    target: Target,
}

impl WindowImages {
    /// The required device extensions.
    pub const DEVICE_EXTENSIONS: &'static [&'static CStr] = &[khr::swapchain::NAME];

    /// Returns the instance extensions that are required.
    ///
    /// # Errors
    /// [`Error::NoWindow`] for a kind of window that Vulkan cannot present to.
    pub fn instance_extensions(window: &impl HasDisplayHandle) -> Result<Vec<&'static CStr>> {
        instance_extensions(window)
    }

    /// Creates images for `window` and `frames` frames in flight. `size` is used if the window
    /// system does not determine the size, in pixels. If views have drawn on the device without a
    /// window, waits until that has finished, for at most 10 seconds.
    ///
    /// # Errors
    /// [`Error::CannotPresent`], also for a device that was opened without the extensions;
    /// [`Error::Bridge`] if that drawing does not finish in time; or the error of the failed driver
    /// call.
    ///
    /// # Safety
    /// The window outlives the returned object.
    pub unsafe fn new(
        device: &ExportDevice,
        window: &(impl HasDisplayHandle + HasWindowHandle),
        size: [u32; 2],
        frames: usize,
    ) -> Result<Self> {
        // SAFETY: the window outlives the surface, by this function's contract.
        let surface = unsafe { Surface::new(device, window) }?;
        let _presenting = PresentOrder::present(device, LIMIT)?;
        let (swapchain, surface, device) = (None, Some(surface), device.clone());
        let mut made = Self { swapchain, acquired: Vec::new(), frames, surface, limit: LIMIT, _presenting, device };
        made.resize(size)?;
        Ok(made)
    }

    /// Sets the limit of waits for the queue, in [`resize`](Self::resize) and on drop. Default: 10
    /// seconds.
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
        // Recreated too, since the semaphore of an image that no submission has written stays
        // signaled.
        self.destroy_acquired();
        for _ in 0..self.frames {
            let info = vk::SemaphoreCreateInfo::default();
            // SAFETY: VUID-VkSemaphoreCreateInfo-flags-zerobitmask: no flags and no `pNext` chain
            // are used.
            let semaphore = unsafe { self.device.as_raw().create_semaphore(&info, None) };
            self.acquired.push(semaphore.map_err(failed(&self.device, "vkCreateSemaphore"))?);
        }
        let Some(surface) = &self.surface else { return Ok(()) };
        let made = surface.mode(true).and_then(|mode| {
            // SAFETY: there is no old swapchain, and the surface supports the mode.
            unsafe { Swapchain::new(&self.device, surface, size, mode, None) }
        });
        self.swapchain = or_none(made)?.flatten();
        Ok(())
    }

    /// Destroys the semaphores of acquired images. The queue no longer uses them, and there is no
    /// swapchain that could still signal one.
    fn destroy_acquired(&mut self) {
        for semaphore in self.acquired.drain(..) {
            // SAFETY: VUID-vkDestroySemaphore-semaphore-05149: the queue no longer uses it, see
            // above.
            unsafe { self.device.as_raw().destroy_semaphore(semaphore, None) };
        }
    }

    /// Returns the size of the images, or `None` if the window has no area.
    pub fn extent(&self) -> Option<vk::Extent2D> {
        self.swapchain.as_ref().map(Swapchain::extent)
    }

    /// Returns the next image for the frame in flight with index `frame`. Waits for at most
    /// `timeout`. Returns `None` if no image is available: the window has no area, its size has
    /// changed (call [`resize`](Self::resize)), or it is not visible at the moment.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `frame` is out of range, or the error of the failed driver
    /// call.
    ///
    /// # Safety
    /// The submission with the previous image of this frame was made and has ended, or
    /// [`resize`](Self::resize) has recreated the images since then.
    pub unsafe fn acquire(&mut self, frame: usize, timeout: Duration) -> Result<Option<AcquiredImage>> {
        let Some(swapchain) = &mut self.swapchain else { return Ok(None) };
        let semaphore = self.acquired.get(frame).copied();
        let semaphore = semaphore.ok_or_else(|| Error::invalid("window", format!("there is no frame {frame}")))?;
        // SAFETY: the submission that waited for the semaphore has ended, by this function's
        // contract.
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

    /// Presents the image. Returns `true` if the images still fit the window.
    ///
    /// # Errors
    /// The error of the failed driver call.
    ///
    /// # Safety
    /// The image was acquired after the last [`resize`](Self::resize). The frame was submitted to
    /// the device's queue, with the image's wait and signal, and leaves the image in
    /// `VK_IMAGE_LAYOUT_PRESENT_SRC_KHR`.
    pub unsafe fn present(&mut self, image: AcquiredImage) -> Result<bool> {
        let Some(swapchain) = &mut self.swapchain else { return Ok(false) };
        // SAFETY: the caller upholds the contract.
        let fits = unsafe { swapchain.present(image.target) };
        Ok(or_none(fits)?.unwrap_or(false))
    }

    /// Waits until the queue no longer uses the images, for at most the limit.
    fn wait(&self) -> Result<()> {
        wait_for_queue(&self.device, "the end of a window's images", self.limit)
    }
}

/// Returns `None` if the images no longer fit the window.
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
