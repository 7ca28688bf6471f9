//! The images of a window.
#![allow(unsafe_code)] // Vulkan calls.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ash::{khr, vk};
use raw_window_handle::{HasDisplayHandle, HasWindowHandle, RawDisplayHandle};

use crate::gpu::Gpu;

/// The timeout for acquiring the window's next image.
const TIME_LIMIT: Duration = Duration::from_secs(1);

/// The swapchain of a window. The window must outlive it.
pub struct Swapchain {
    raw: vk::SwapchainKHR,
    images: Vec<vk::Image>,
    extent: vk::Extent2D,
    /// An image was acquired but not presented, so it cannot be acquired again.
    has_abandoned_image: bool,
    /// The number of frames in flight.
    frames: usize,
    /// Signaled when an image can be written, one per frame in flight.
    acquired: Vec<vk::Semaphore>,
    /// Signaled when an image can be shown, one per image.
    drawn: Vec<vk::Semaphore>,
    loader: khr::swapchain::Device,
    surface: vk::SurfaceKHR,
    wayland: bool,
    surfaces: khr::surface::Instance,
    gpu: Arc<Gpu>,
}

/// An acquired image that a frame writes to.
#[derive(Clone, Copy)]
pub(crate) struct Acquired {
    pub(crate) index: u32,
    pub(crate) image: vk::Image,
    pub(crate) extent: vk::Extent2D,
    pub(crate) acquired: vk::Semaphore,
    pub(crate) drawn: vk::Semaphore,
}

impl Swapchain {
    /// Creates a swapchain for `frames` frames in flight, without images; [`resize`](Self::resize)
    /// creates them.
    ///
    /// # Errors
    /// The device cannot present to this window.
    ///
    /// # Safety
    /// The window outlives the swapchain.
    pub unsafe fn new(
        gpu: &Arc<Gpu>,
        window: &(impl HasDisplayHandle + HasWindowHandle),
        frames: usize,
    ) -> Result<Self> {
        let (display, handle) = (window.display_handle()?.as_raw(), window.window_handle()?.as_raw());
        // SAFETY: both handles are alive, and the window outlives the surface by contract.
        let surface = unsafe { ash_window::create_surface(gpu.entry(), gpu.instance(), display, handle, None) }?;
        let mut swapchain = Self::on_surface(gpu, surface, frames)?;
        swapchain.wayland = matches!(display, RawDisplayHandle::Wayland(_));
        Ok(swapchain)
    }

    /// Creates the swapchain of a surface that is not a Wayland surface; the surface is destroyed
    /// with it.
    pub(crate) fn on_surface(gpu: &Arc<Gpu>, surface: vk::SurfaceKHR, frames: usize) -> Result<Self> {
        let surfaces = khr::surface::Instance::new(gpu.entry(), gpu.instance());
        let loader = khr::swapchain::Device::new(gpu.instance(), gpu.device());
        let swapchain = Self {
            raw: vk::SwapchainKHR::null(),
            images: vec![],
            extent: vk::Extent2D::default(),
            has_abandoned_image: false,
            frames,
            acquired: vec![],
            drawn: vec![],
            loader,
            surface,
            wayland: false,
            surfaces,
            gpu: Arc::clone(gpu),
        };
        let family = gpu.queue().family();
        // SAFETY: the engine's own queue family.
        let shows = unsafe { swapchain.surfaces.get_physical_device_surface_support(gpu.physical(), family, surface) }?;
        ensure!(shows, "{} shows nothing in this window", gpu.name());
        Ok(swapchain)
    }

    fn semaphore(&self) -> Result<vk::Semaphore> {
        // SAFETY: a plain semaphore.
        unsafe { self.gpu.device().create_semaphore(&vk::SemaphoreCreateInfo::default(), None) }.context("a semaphore")
    }

    /// Creates the images again for a window of this size. Returns the size of the images, which is
    /// zero if the window has no area.
    ///
    /// # Errors
    /// The window does not support the required images.
    pub fn resize(&mut self, size: [u32; 2]) -> Result<vk::Extent2D> {
        self.clear()?;
        let (physical, surface) = (self.gpu.physical(), self.surface);
        // SAFETY: support was checked in `new`.
        let abilities = unsafe { self.surfaces.get_physical_device_surface_capabilities(physical, surface) }?;
        let extent = extent(&abilities, size);
        if extent.width == 0 || extent.height == 0 {
            return Ok(vk::Extent2D::default());
        }
        if !abilities.supported_usage_flags.contains(vk::ImageUsageFlags::TRANSFER_DST) {
            bail!("this window's images cannot be copied to");
        }
        // SAFETY: as above.
        let formats = unsafe { self.surfaces.get_physical_device_surface_formats(physical, surface) }?;
        let plain = [vk::Format::B8G8R8A8_UNORM, vk::Format::R8G8B8A8_UNORM, vk::Format::A8B8G8R8_UNORM_PACK32];
        let format = formats.iter().find(|one| plain.contains(&one.format)).context("no plain 8-bit format")?;
        let most = if abilities.max_image_count == 0 { u32::MAX } else { abilities.max_image_count };
        // SAFETY: as above.
        let modes = unsafe { self.surfaces.get_physical_device_surface_present_modes(physical, surface) }?;
        let opaque = vk::CompositeAlphaFlagsKHR::OPAQUE;
        let alpha = abilities.supported_composite_alpha;
        let info = vk::SwapchainCreateInfoKHR::default()
            .surface(surface)
            .min_image_count((abilities.min_image_count + 1).min(most))
            .image_format(format.format)
            .image_color_space(format.color_space)
            .image_extent(extent)
            .image_array_layers(1)
            .image_usage(vk::ImageUsageFlags::TRANSFER_DST)
            .pre_transform(abilities.current_transform)
            .composite_alpha(if alpha.contains(opaque) { opaque } else { vk::CompositeAlphaFlagsKHR::INHERIT })
            .present_mode(mode(self.wayland, &modes))
            .clipped(true);
        // SAFETY: VUID-VkSwapchainCreateInfoKHR-surface-01270 and related: values that the surface
        // supports.
        self.raw = unsafe { self.loader.create_swapchain(&info, None) }?;
        // SAFETY: just created.
        self.images = unsafe { self.loader.get_swapchain_images(self.raw) }?;
        for _ in 0..self.images.len() {
            let semaphore = self.semaphore()?;
            self.drawn.push(semaphore);
        }
        // Created last: no image is acquired without these semaphores.
        for _ in 0..self.frames {
            let semaphore = self.semaphore()?;
            self.acquired.push(semaphore);
        }
        self.extent = extent;
        Ok(extent)
    }

    /// Acquires the next image, for a frame slot whose last submission is done; returns `None` if
    /// no image is available.
    pub(crate) fn acquire(&self, slot: usize) -> Result<Option<Acquired>> {
        if self.raw == vk::SwapchainKHR::null() || self.has_abandoned_image {
            return Ok(None);
        }
        let acquired = *self.acquired.get(slot).context("no such frame in flight")?;
        let limit = u64::try_from(TIME_LIMIT.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: VUID-vkAcquireNextImageKHR-semaphore-01779: the frame that waited for the
        // semaphore is done; after a failed frame, the device has been idle.
        let index = match unsafe { self.loader.acquire_next_image(self.raw, limit, acquired, vk::Fence::null()) } {
            Ok((index, _)) => index,
            Err(vk::Result::ERROR_OUT_OF_DATE_KHR | vk::Result::TIMEOUT | vk::Result::NOT_READY) => return Ok(None),
            Err(result) => return Err(result).context("vkAcquireNextImageKHR"),
        };
        let at = usize::try_from(index)?;
        let (image, drawn) = self.images.get(at).zip(self.drawn.get(at)).context("no such image")?;
        Ok(Some(Acquired { index, image: *image, extent: self.extent, acquired, drawn: *drawn }))
    }

    /// Records that an acquired image is not presented. No other image is acquired until all are
    /// created again.
    pub(crate) fn abandon_image(&mut self) {
        self.has_abandoned_image = true;
    }

    /// Presents an image. Returns `false` if the images no longer fit the window.
    pub(crate) fn present(&self, image: &Acquired) -> Result<bool> {
        let (semaphores, swapchains, indices) = ([image.drawn], [self.raw], [image.index]);
        let info =
            vk::PresentInfoKHR::default().wait_semaphores(&semaphores).swapchains(&swapchains).image_indices(&indices);
        // SAFETY: VUID-VkPresentInfoKHR-pImageIndices-01430: the frame leaves the image ready for
        // presentation; inside `with` the queue is externally synchronized.
        match self.gpu.queue().with(|queue| unsafe { self.loader.queue_present(queue, &info) }) {
            Ok(suboptimal) => Ok(!suboptimal),
            Err(vk::Result::ERROR_OUT_OF_DATE_KHR) => Ok(false),
            Err(result) => Err(result).context("vkQueuePresentKHR"),
        }
    }

    /// Waits for the GPU and frees the images and their semaphores: the semaphore of an image that
    /// was left behind may be signaled, or may have a pending signal, without a submission that
    /// waits for it.
    fn clear(&mut self) -> Result<()> {
        // SAFETY: inside `with` the only queue of the device is externally synchronized.
        self.gpu.queue().with(|_| unsafe { self.gpu.device().device_wait_idle() })?;
        self.images.clear();
        self.has_abandoned_image = false;
        let raw = std::mem::take(&mut self.raw);
        // SAFETY: as above; null is ignored.
        unsafe { self.loader.destroy_swapchain(raw, None) };
        for semaphore in self.drawn.drain(..).chain(self.acquired.drain(..)) {
            // SAFETY: VUID-vkDestroySemaphore-semaphore-05149: the device is idle, and the
            // swapchain that signals and waits for the semaphore is destroyed.
            unsafe { self.gpu.device().destroy_semaphore(semaphore, None) };
        }
        Ok(())
    }
}

/// Returns the size of the images for a window of this size.
fn extent(abilities: &vk::SurfaceCapabilitiesKHR, [width, height]: [u32; 2]) -> vk::Extent2D {
    let (least, most) = (abilities.min_image_extent, abilities.max_image_extent);
    match abilities.current_extent {
        // Not `clamp`, which panics if a driver's limits contradict each other.
        vk::Extent2D { width: u32::MAX, .. } => vk::Extent2D {
            width: width.max(least.width).min(most.width),
            height: height.max(least.height).min(most.height),
        },
        extent => extent,
    }
}

/// Returns FIFO, which every surface supports. On Wayland, FIFO would block in `vkQueuePresentKHR`
/// while the window is hidden, with the queue's lock held, so a mode that does not wait is
/// preferred.
fn mode(wayland: bool, modes: &[vk::PresentModeKHR]) -> vk::PresentModeKHR {
    let unblocked = [vk::PresentModeKHR::MAILBOX, vk::PresentModeKHR::IMMEDIATE];
    let found = unblocked.into_iter().find(|mode| wayland && modes.contains(mode));
    found.unwrap_or(vk::PresentModeKHR::FIFO)
}

impl Drop for Swapchain {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            log::error!("a window's images are leaked, since they may be in use: {error:#}");
            return;
        }
        // SAFETY: VUID-vkDestroySurfaceKHR-surface-01266: its swapchain is destroyed.
        unsafe { self.surfaces.destroy_surface(self.surface, None) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictory_limits_do_not_panic() {
        let side = |side| vk::Extent2D { width: side, height: side };
        let (free, least, most) = (side(u32::MAX), side(64), side(0));
        let abilities = vk::SurfaceCapabilitiesKHR {
            current_extent: free,
            min_image_extent: least,
            max_image_extent: most,
            ..Default::default()
        };
        assert_eq!(extent(&abilities, [640, 480]), most);
        let abilities = vk::SurfaceCapabilitiesKHR { max_image_extent: side(500), ..abilities };
        assert_eq!(extent(&abilities, [640, 32]), vk::Extent2D { width: 500, height: 64 });
    }

    #[test]
    fn on_wayland_nothing_waits_for_a_window_that_is_hidden() {
        let (fifo, mailbox) = (vk::PresentModeKHR::FIFO, vk::PresentModeKHR::MAILBOX);
        assert_eq!(mode(true, &[fifo, vk::PresentModeKHR::IMMEDIATE, mailbox]), mailbox);
        assert_eq!(mode(true, &[fifo]), fifo);
        assert_eq!(mode(false, &[fifo, mailbox]), fifo);
    }
}
