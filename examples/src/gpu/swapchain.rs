//! A window's images.
#![allow(unsafe_code)] // Vulkan calls.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ash_window::create_surface;
use bridge::ExportDevice;
use bridge::ash::{khr, vk};
use raw_window_handle::{HasDisplayHandle, HasWindowHandle};

use super::failed;

/// How long a window's next image is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The images of a window, made anew when it changes its size. Frames are copied to them, so they
/// need not have the frames' size.
///
/// The window outlives it.
pub struct Swapchain {
    raw: vk::SwapchainKHR,
    images: Vec<vk::Image>,
    extent: vk::Extent2D,
    /// Signalled when an image can be written, one per frame in flight.
    acquired: Vec<Semaphore>,
    /// Signalled when an image can be shown, one per image.
    drawn: Vec<Semaphore>,
    loader: khr::swapchain::Device,
    surface: Surface,
    device: ExportDevice,
}

/// An image to write to in this frame.
#[derive(Clone, Copy, Debug)]
pub struct Acquired {
    /// Its number, for [`Swapchain::present`].
    pub index: u32,
    /// The image, whose contents are gone.
    pub image: vk::Image,
    /// Its size.
    pub extent: vk::Extent2D,
    /// The frame's submission waits for this.
    pub wait: vk::SemaphoreSubmitInfo<'static>,
    /// The frame's submission signals this.
    pub signal: vk::SemaphoreSubmitInfo<'static>,
}

impl Swapchain {
    /// The device extensions that it needs.
    pub const EXTENSIONS: [&'static std::ffi::CStr; 1] = [khr::swapchain::NAME];

    /// Makes images for `window`, `width` x `height` pixels where the window leaves the choice, for
    /// `slots` frames in flight. The device was opened with the instance extensions that `window`
    /// needs, and with [`EXTENSIONS`](Self::EXTENSIONS).
    ///
    /// # Errors
    /// A device that cannot show anything there, or the failed call.
    pub fn new(
        device: &ExportDevice,
        window: &(impl HasDisplayHandle + HasWindowHandle),
        [width, height]: [u32; 2],
        slots: usize,
    ) -> Result<Self> {
        let surface = Surface::new(device, window)?;
        let loader = khr::swapchain::Device::new(device.instance(), device.as_raw());
        let acquired = (0..slots).map(|_| Semaphore::new(device)).collect::<Result<_>>()?;
        let mut swapchain = Self {
            raw: vk::SwapchainKHR::null(),
            images: vec![],
            extent: vk::Extent2D::default(),
            acquired,
            drawn: vec![],
            loader,
            surface,
            device: device.clone(),
        };
        swapchain.resize(width, height)?;
        Ok(swapchain)
    }

    /// Makes the images anew. A window without any area, such as a minimised one, leaves none.
    pub fn resize(&mut self, width: u32, height: u32) -> Result<()> {
        self.clear()?;
        let abilities = self.surface.capabilities(&self.device)?;
        let extent = match abilities.current_extent {
            vk::Extent2D { width: u32::MAX, .. } => vk::Extent2D {
                width: width.clamp(abilities.min_image_extent.width, abilities.max_image_extent.width),
                height: height.clamp(abilities.min_image_extent.height, abilities.max_image_extent.height),
            },
            extent => extent,
        };
        if extent.width == 0 || extent.height == 0 {
            return Ok(());
        }
        if !abilities.supported_usage_flags.contains(vk::ImageUsageFlags::TRANSFER_DST) {
            bail!("{}: this window's images cannot be copied to", self.device.name());
        }
        let format = self.surface.format(&self.device)?;
        let most = if abilities.max_image_count == 0 { u32::MAX } else { abilities.max_image_count };
        let info = vk::SwapchainCreateInfoKHR::default()
            .surface(self.surface.raw)
            .min_image_count((abilities.min_image_count + 1).min(most))
            .image_format(format.format)
            .image_color_space(format.color_space)
            .image_extent(extent)
            .image_array_layers(1)
            .image_usage(vk::ImageUsageFlags::TRANSFER_DST)
            .pre_transform(abilities.current_transform)
            .composite_alpha(opaque(abilities.supported_composite_alpha))
            .present_mode(vk::PresentModeKHR::FIFO)
            .clipped(true);
        // SAFETY: VUID-VkSwapchainCreateInfoKHR-surface-01270, -imageFormat-01273,
        // -presentMode-01281 and their like: every value is one that the surface offers; FIFO
        // always is.
        self.raw = unsafe { self.loader.create_swapchain(&info, None) }
            .map_err(failed(&self.device, "vkCreateSwapchainKHR"))?;
        // SAFETY: just made.
        self.images = unsafe { self.loader.get_swapchain_images(self.raw) }
            .map_err(failed(&self.device, "vkGetSwapchainImagesKHR"))?;
        self.drawn = self.images.iter().map(|_| Semaphore::new(&self.device)).collect::<Result<_>>()?;
        self.extent = extent;
        Ok(())
    }

    /// The size of the images; `None` where the window has no area.
    pub fn extent(&self) -> Option<vk::Extent2D> {
        (self.raw != vk::SwapchainKHR::null()).then_some(self.extent)
    }

    /// The next image, for frame-in-flight `slot`, whose last submission is done. None when there
    /// is none: the window has no area, its size has changed ([`resize`](Self::resize) then), or it
    /// does not show anything for now.
    pub fn acquire(&mut self, slot: usize) -> Result<Option<Acquired>> {
        if self.raw == vk::SwapchainKHR::null() {
            return Ok(None);
        }
        let wait = self.acquired.get(slot).context("no such slot")?.raw;
        let patience = PATIENCE.as_nanos() as u64;
        // SAFETY: VUID-vkAcquireNextImageKHR-semaphore-01779: the slot's last submission has waited
        // for the semaphore.
        let index = match unsafe { self.loader.acquire_next_image(self.raw, patience, wait, vk::Fence::null()) } {
            Ok((index, _)) => index,
            Err(vk::Result::ERROR_OUT_OF_DATE_KHR | vk::Result::TIMEOUT | vk::Result::NOT_READY) => return Ok(None),
            Err(result) => return Err(failed(&self.device, "vkAcquireNextImageKHR")(result)),
        };
        let (image, drawn) =
            self.images.get(index as usize).zip(self.drawn.get(index as usize)).context("no such image")?;
        let info = |semaphore, stages| vk::SemaphoreSubmitInfo::default().semaphore(semaphore).stage_mask(stages);
        Ok(Some(Acquired {
            index,
            image: *image,
            extent: self.extent,
            wait: info(wait, vk::PipelineStageFlags2::ALL_TRANSFER),
            signal: info(drawn.raw, vk::PipelineStageFlags2::ALL_COMMANDS),
        }))
    }

    /// Shows an image whose frame has been submitted. False when the images no longer fit the
    /// window.
    pub fn present(&mut self, acquired: &Acquired) -> Result<bool> {
        let (semaphores, swapchains, indices) = ([acquired.signal.semaphore], [self.raw], [acquired.index]);
        let info =
            vk::PresentInfoKHR::default().wait_semaphores(&semaphores).swapchains(&swapchains).image_indices(&indices);
        // SAFETY: VUID-VkPresentInfoKHR-pImageIndices-01430: the frame's submission leaves the
        // image ready for presenting and signals the semaphore; inside `with` the queue is
        // externally synchronized.
        match self.device.queue().with(|queue| unsafe { self.loader.queue_present(queue, &info) })? {
            Ok(suboptimal) => Ok(!suboptimal),
            Err(vk::Result::ERROR_OUT_OF_DATE_KHR) => Ok(false),
            Err(result) => Err(failed(&self.device, "vkQueuePresentKHR")(result)),
        }
    }

    /// Waits for the GPU and frees the images.
    fn clear(&mut self) -> Result<()> {
        // SAFETY: inside `with` the device's only queue is externally synchronized.
        let idle = self.device.queue().with(|_| unsafe { self.device.as_raw().device_wait_idle() })?;
        idle.map_err(failed(&self.device, "vkDeviceWaitIdle"))?;
        self.images.clear();
        self.drawn.clear();
        let raw = std::mem::take(&mut self.raw);
        // SAFETY: VUID-vkDestroySwapchainKHR-swapchain-01282: the device is idle; null is ignored.
        unsafe { self.loader.destroy_swapchain(raw, None) };
        Ok(())
    }
}

impl Drop for Swapchain {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            log::error!("the window's images are leaked, since they may be in use: {error:#}");
        }
    }
}

fn opaque(there: vk::CompositeAlphaFlagsKHR) -> vk::CompositeAlphaFlagsKHR {
    let wanted = [vk::CompositeAlphaFlagsKHR::OPAQUE, vk::CompositeAlphaFlagsKHR::INHERIT];
    wanted.into_iter().find(|mode| there.contains(*mode)).unwrap_or(vk::CompositeAlphaFlagsKHR::POST_MULTIPLIED)
}

/// A window as Vulkan sees it.
struct Surface {
    raw: vk::SurfaceKHR,
    loader: khr::surface::Instance,
    /// Keeps the instance.
    _device: ExportDevice,
}

impl Surface {
    fn new(device: &ExportDevice, window: &(impl HasDisplayHandle + HasWindowHandle)) -> Result<Self> {
        let display = window.display_handle().context("the window has no display")?.as_raw();
        let handle = window.window_handle().context("the window has gone")?.as_raw();
        let (entry, instance) = (device.entry(), device.instance());
        // SAFETY: both handles are live: they are borrowed from the window, which outlives the
        // surface by contract.
        let raw = unsafe { create_surface(entry, instance, display, handle, None) }
            .map_err(failed(device, "vkCreateSurfaceKHR"))?;
        let surface = Self { raw, loader: khr::surface::Instance::new(entry, instance), _device: device.clone() };
        let (physical, family) = (device.physical().handle, device.queue().family());
        // SAFETY: VUID-vkGetPhysicalDeviceSurfaceSupportKHR-queueFamilyIndex-01269: the device's
        // own queue family.
        let supported = unsafe { surface.loader.get_physical_device_surface_support(physical, family, raw) }
            .map_err(failed(device, "vkGetPhysicalDeviceSurfaceSupportKHR"))?;
        if !supported {
            bail!("{} cannot show anything in this window; choose another device with --gpu", device.name());
        }
        Ok(surface)
    }

    fn capabilities(&self, device: &ExportDevice) -> Result<vk::SurfaceCapabilitiesKHR> {
        let physical = device.physical().handle;
        // SAFETY: VUID-vkGetPhysicalDeviceSurfaceCapabilitiesKHR-surface-06211: support was asked
        // for in `new`.
        unsafe { self.loader.get_physical_device_surface_capabilities(physical, self.raw) }
            .map_err(failed(device, "vkGetPhysicalDeviceSurfaceCapabilitiesKHR"))
    }

    /// A format that takes sRGB values as they are, since that is what frames hold.
    fn format(&self, device: &ExportDevice) -> Result<vk::SurfaceFormatKHR> {
        let physical = device.physical().handle;
        // SAFETY: as in `capabilities`.
        let formats = unsafe { self.loader.get_physical_device_surface_formats(physical, self.raw) }
            .map_err(failed(device, "vkGetPhysicalDeviceSurfaceFormatsKHR"))?;
        let plain = [vk::Format::B8G8R8A8_UNORM, vk::Format::R8G8B8A8_UNORM, vk::Format::A8B8G8R8_UNORM_PACK32];
        let found = plain.iter().find_map(|plain| formats.iter().find(|format| format.format == *plain));
        found.copied().ok_or_else(|| anyhow!("{}: this window has no plain 8-bit format", device.name()))
    }
}

impl Drop for Surface {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroySurfaceKHR-surface-01266: the swapchain, which holds it, is
        // destroyed before.
        unsafe { self.loader.destroy_surface(self.raw, None) };
    }
}

/// A binary semaphore between the queue and the window.
struct Semaphore {
    raw: vk::Semaphore,
    device: ExportDevice,
}

impl Semaphore {
    fn new(device: &ExportDevice) -> Result<Self> {
        // SAFETY: no flags, no chain.
        let raw = unsafe { device.as_raw().create_semaphore(&vk::SemaphoreCreateInfo::default(), None) }
            .map_err(failed(device, "vkCreateSemaphore"))?;
        Ok(Self { raw, device: device.clone() })
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroySemaphore-semaphore-05149: the swapchain has waited for the device
        // before.
        unsafe { self.device.as_raw().destroy_semaphore(self.raw, None) };
    }
}
