//! A window as Vulkan sees it.

// Vulkan calls.
#![allow(unsafe_code)]

use bridge::ExportDevice;
use bridge::ash::{khr, vk};
use raw_window_handle::{HasDisplayHandle, HasWindowHandle, RawDisplayHandle};
use winit::window::Window;

use crate::error::{Fault, Kind};
use crate::screen::pipeline::failed;

/// What a call about a window ends with if it fails.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The images no longer fit the window.
    OutOfDate,
    /// The surface is to be made anew.
    SurfaceLost,
    Fault(Fault),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// For `map_err`, with the call's name.
pub(crate) fn sorted(call: &'static str) -> impl Fn(vk::Result) -> Failed {
    move |code| match code {
        vk::Result::ERROR_OUT_OF_DATE_KHR => Failed::OutOfDate,
        vk::Result::ERROR_SURFACE_LOST_KHR => Failed::SurfaceLost,
        code => Failed::Fault(failed(call)(code)),
    }
}

/// A surface of a window. It goes before its window, and after its swapchain.
pub(crate) struct Surface {
    raw: vk::SurfaceKHR,
    loader: khr::surface::Instance,
    wayland: bool,
    device: ExportDevice,
}

impl Surface {
    /// Makes the surface, if the device's queue can present to it.
    ///
    /// # Safety
    /// The window outlives the surface, and the device has the window's instance extensions and
    /// `VK_KHR_swapchain`.
    pub(crate) unsafe fn new(device: &ExportDevice, window: &Window) -> Result<Self, Fault> {
        let unavailable = |error: raw_window_handle::HandleError| Fault::new(Kind::Unavailable, error);
        let display = window.display_handle().map_err(unavailable)?.as_raw();
        let handle = window.window_handle().map_err(unavailable)?.as_raw();
        let (entry, instance) = (device.entry(), device.instance());
        // SAFETY: both handles are live, for the window is, and it outlives the surface, as
        // documented.
        let raw = unsafe { ash_window::create_surface(entry, instance, display, handle, None) }
            .map_err(failed("the creation of the window's surface"))?;
        let loader = khr::surface::Instance::new(entry, instance);
        let wayland = matches!(display, RawDisplayHandle::Wayland(_));
        let surface = Self { raw, loader, wayland, device: device.clone() };
        let (physical, family) = (device.physical().handle, device.queue().family());
        // SAFETY: VUID-vkGetPhysicalDeviceSurfaceSupportKHR-queueFamilyIndex-01269: the family of
        // the device's own queue.
        let supported = unsafe { surface.loader.get_physical_device_surface_support(physical, family, raw) }
            .map_err(failed("vkGetPhysicalDeviceSurfaceSupportKHR"))?;
        if supported {
            // A window that shows nothing is none.
            let _format = surface.format().map_err(|failed| match failed {
                Failed::Fault(fault) => fault,
                _ => Fault::new(Kind::Unavailable, "the window was lost before it showed a picture"),
            })?;
            return Ok(surface);
        }
        let name = device.name();
        Err(Fault::new(
            Kind::Unavailable,
            format!("{name} cannot show pictures on this display; choose another with device=, or pass headless=True"),
        ))
    }

    pub(crate) fn as_raw(&self) -> vk::SurfaceKHR {
        self.raw
    }

    pub(crate) fn capabilities(&self) -> Result<vk::SurfaceCapabilitiesKHR, Failed> {
        let physical = self.device.physical().handle;
        // SAFETY: VUID-vkGetPhysicalDeviceSurfaceCapabilitiesKHR-surface-06211: `new` asked for
        // support.
        unsafe { self.loader.get_physical_device_surface_capabilities(physical, self.raw) }
            .map_err(sorted("vkGetPhysicalDeviceSurfaceCapabilitiesKHR"))
    }

    /// A format that takes the picture's values as they are. Every device blits to each of the
    /// three.
    pub(crate) fn format(&self) -> Result<vk::SurfaceFormatKHR, Failed> {
        let physical = self.device.physical().handle;
        // SAFETY: VUID-vkGetPhysicalDeviceSurfaceFormatsKHR-surface-06525: as in `capabilities`.
        let formats = unsafe { self.loader.get_physical_device_surface_formats(physical, self.raw) }
            .map_err(sorted("vkGetPhysicalDeviceSurfaceFormatsKHR"))?;
        let plain = [vk::Format::B8G8R8A8_UNORM, vk::Format::R8G8B8A8_UNORM, vk::Format::A8B8G8R8_UNORM_PACK32];
        let found = plain.iter().find_map(|plain| formats.iter().find(|format| format.format == *plain));
        found.copied().ok_or_else(|| {
            let reason = format!("a window on {} has no plain 8-bit format; it has {formats:?}", self.device.name());
            Failed::Fault(Fault::new(Kind::Unavailable, reason))
        })
    }

    /// FIFO for `vsync`, which all have; else a mode that does not wait for the display, if there
    /// is one.
    ///
    /// A Wayland compositor shows whole pictures in every mode, and there FIFO blocks in
    /// `vkQueuePresentKHR` for as long as the window is hidden: it gets MAILBOX or IMMEDIATE, where
    /// the device has one of them.
    pub(crate) fn mode(&self, vsync: bool) -> Result<vk::PresentModeKHR, Failed> {
        let physical = self.device.physical().handle;
        // SAFETY: VUID-vkGetPhysicalDeviceSurfacePresentModesKHR-surface-06525: as in
        // `capabilities`.
        let modes = unsafe { self.loader.get_physical_device_surface_present_modes(physical, self.raw) }
            .map_err(sorted("vkGetPhysicalDeviceSurfacePresentModesKHR"))?;
        let wanted: &[_] = match (vsync, self.wayland) {
            (true, false) => &[],
            (true, true) | (false, _) => &[vk::PresentModeKHR::MAILBOX, vk::PresentModeKHR::IMMEDIATE],
        };
        let found = wanted.iter().copied().find(|mode| modes.contains(mode));
        Ok(found.unwrap_or(vk::PresentModeKHR::FIFO))
    }
}

impl Drop for Surface {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroySurfaceKHR-surface-01266: its swapchain is gone, as documented.
        unsafe { self.loader.destroy_surface(self.raw, None) };
    }
}
