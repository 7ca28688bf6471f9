//! [`Swapchain`]: the images of a window.

// Vulkan calls.
#![allow(unsafe_code)]

use std::time::Duration;

use bridge::ExportDevice;
use bridge::ash::{khr, vk};

use crate::error::Error;
use crate::window::surface::{Failed, Surface, sorted};

/// The images of a window, with one size. Dropping this frees them immediately: the queue must have
/// finished presentation by then. Its surface outlives it.
pub(crate) struct Swapchain {
    raw: vk::SwapchainKHR,
    images: Vec<vk::Image>,
    /// Signaled when an image can be presented, one per image.
    ready: Vec<vk::Semaphore>,
    extent: vk::Extent2D,
    loader: khr::swapchain::Device,
    device: ExportDevice,
}

/// An acquired image to write to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) image: vk::Image,
    /// The semaphore that the submission writing the image must signal.
    pub(crate) ready: vk::Semaphore,
    pub(crate) size: [u32; 2],
    index: u32,
}

impl Swapchain {
    /// Creates images for the surface, replacing `old`. `size` is used if the surface does not
    /// determine the size. Returns `None` if the window has no area.
    ///
    /// # Safety
    /// `old` is a swapchain of the same surface, and the surface supports `mode`.
    pub(crate) unsafe fn new(
        device: &ExportDevice,
        surface: &Surface,
        size: [u32; 2],
        mode: vk::PresentModeKHR,
        old: Option<&Self>,
    ) -> Result<Option<Self>, Failed> {
        let has = surface.capabilities()?;
        let extent = extent(&has, size);
        if extent.width == 0 || extent.height == 0 {
            return Ok(None);
        }
        if !has.supported_usage_flags.contains(vk::ImageUsageFlags::TRANSFER_DST) {
            let reason = "the images of the window cannot be copied to".to_owned();
            return Err(Error::CannotPresent { device: device.name().to_owned(), reason }.into());
        }
        let format = surface.format()?;
        let most = if has.max_image_count == 0 { u32::MAX } else { has.max_image_count };
        let info = vk::SwapchainCreateInfoKHR::default()
            .surface(surface.as_raw())
            // One more than the minimum, so that there is one to write to.
            .min_image_count((has.min_image_count + 1).min(most))
            .image_format(format.format)
            .image_color_space(format.color_space)
            .image_extent(extent)
            .image_array_layers(1)
            .image_usage(vk::ImageUsageFlags::TRANSFER_DST)
            .pre_transform(has.current_transform)
            .composite_alpha(opaque(has.supported_composite_alpha))
            .present_mode(mode)
            .clipped(true)
            .old_swapchain(old.map_or(vk::SwapchainKHR::null(), |old| old.raw));
        let mut made = Self {
            raw: vk::SwapchainKHR::null(),
            images: Vec::new(),
            ready: Vec::new(),
            extent,
            loader: khr::swapchain::Device::new(device.instance(), device.as_raw()),
            device: device.clone(),
        };
        made.raw =
            // SAFETY: VUID-VkSwapchainCreateInfoKHR-surface-01270, -imageFormat-01273,
            // -presentMode-01281, -oldSwapchain-01933: the surface supports each of the values, and
            // the old swapchain belongs to this surface.
            unsafe { made.loader.create_swapchain(&info, None) }.map_err(sorted(device, "vkCreateSwapchainKHR"))?;
        made.images =
            // SAFETY: VUID-vkGetSwapchainImagesKHR-swapchain-parameter: it was just created.
            unsafe { made.loader.get_swapchain_images(made.raw) }.map_err(sorted(device, "vkGetSwapchainImagesKHR"))?;
        for _ in 0..made.images.len() {
            let info = vk::SemaphoreCreateInfo::default();
            // SAFETY: VUID-VkSemaphoreCreateInfo-flags-zerobitmask: no flags and no `pNext` chain
            // are used.
            let ready = unsafe { device.as_raw().create_semaphore(&info, None) };
            made.ready.push(ready.map_err(sorted(device, "vkCreateSemaphore"))?);
        }
        Ok(Some(made))
    }

    pub(crate) fn extent(&self) -> vk::Extent2D {
        self.extent
    }

    /// Returns an image, if one becomes available within `timeout`. `acquired` is signaled once it
    /// can be written.
    ///
    /// # Safety
    /// `acquired` is an unsignaled semaphore without pending waits or signals.
    pub(crate) unsafe fn acquire(
        &mut self,
        acquired: vk::Semaphore,
        timeout: Duration,
    ) -> Result<Option<Target>, Failed> {
        let (none, timeout) = (vk::Fence::null(), u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX - 1));
        // SAFETY: VUID-vkAcquireNextImageKHR-semaphore-01286, -01779: by this function's contract.
        let (index, _) = match unsafe { self.loader.acquire_next_image(self.raw, timeout, acquired, none) } {
            Ok(found) => found,
            Err(vk::Result::NOT_READY | vk::Result::TIMEOUT) => return Ok(None),
            Err(code) => return Err(sorted(&self.device, "vkAcquireNextImageKHR")(code)),
        };
        let place = index as usize;
        let (Some(&image), Some(&ready)) = (self.images.get(place), self.ready.get(place)) else {
            let reason = format!("vkAcquireNextImageKHR returned image {index}, which does not exist");
            return Err(Error::invalid("the window", reason).into());
        };
        Ok(Some(Target { image, ready, size: [self.extent.width, self.extent.height], index }))
    }

    /// Presents the image. Returns `true` if the images still fit the window.
    ///
    /// # Safety
    /// A submission to the device's queue was made that leaves the image in `PRESENT_SRC_KHR` and
    /// signals its semaphore.
    pub(crate) unsafe fn present(&mut self, target: Target) -> Result<bool, Failed> {
        let (semaphores, swapchains, indices) = ([target.ready], [self.raw], [target.index]);
        let info =
            vk::PresentInfoKHR::default().wait_semaphores(&semaphores).swapchains(&swapchains).image_indices(&indices);
        // SAFETY: VUID-VkPresentInfoKHR-pImageIndices-01430: by this function's contract; inside
        // `with` the queue is externally synchronized.
        let presented = self.device.queue().with(|queue| unsafe { self.loader.queue_present(queue, &info) });
        let suboptimal = presented.map_err(Error::from)?.map_err(sorted(&self.device, "vkQueuePresentKHR"))?;
        Ok(!suboptimal)
    }
}

impl Drop for Swapchain {
    fn drop(&mut self) {
        for ready in self.ready.drain(..) {
            // SAFETY: VUID-vkDestroySemaphore-semaphore-05149: the queue no longer uses it, as
            // documented.
            unsafe { self.device.as_raw().destroy_semaphore(ready, None) };
        }
        // SAFETY: VUID-vkDestroySwapchainKHR-swapchain-01282: as above; null is ignored.
        unsafe { self.loader.destroy_swapchain(self.raw, None) };
    }
}

/// Returns the size for the images of a surface.
fn extent(has: &vk::SurfaceCapabilitiesKHR, [width, height]: [u32; 2]) -> vk::Extent2D {
    if has.current_extent.width != u32::MAX {
        return has.current_extent;
    }
    let (least, most) = (has.min_image_extent, has.max_image_extent);
    // `max` and `min` instead of `clamp`, which panics if a driver's limits contradict each other.
    vk::Extent2D { width: width.max(least.width).min(most.width), height: height.max(least.height).min(most.height) }
}

fn opaque(there: vk::CompositeAlphaFlagsKHR) -> vk::CompositeAlphaFlagsKHR {
    let wanted = [
        vk::CompositeAlphaFlagsKHR::OPAQUE,
        vk::CompositeAlphaFlagsKHR::INHERIT,
        vk::CompositeAlphaFlagsKHR::PRE_MULTIPLIED,
    ];
    wanted.into_iter().find(|mode| there.contains(*mode)).unwrap_or(vk::CompositeAlphaFlagsKHR::POST_MULTIPLIED)
}
