//! [`Surface`]: the Vulkan surface of a window.

// Vulkan calls.
#![allow(unsafe_code)]

use std::ffi::CStr;

use bridge::ExportDevice;
use bridge::ash::{khr, vk};
use raw_window_handle::{HasDisplayHandle, HasWindowHandle, RawDisplayHandle};

use crate::error::{Error, Result, failed};

/// Failure of a surface or swapchain call.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The images no longer fit the window.
    OutOfDate,
    /// The surface must be recreated.
    SurfaceLost,
    Error(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Returns a conversion for `map_err` that classifies the error and adds the name of the call.
pub(crate) fn sorted<'a>(device: &'a ExportDevice, call: &'static str) -> impl Fn(vk::Result) -> Failed + use<'a> {
    move |code| match code {
        vk::Result::ERROR_OUT_OF_DATE_KHR => Failed::OutOfDate,
        vk::Result::ERROR_SURFACE_LOST_KHR => Failed::SurfaceLost,
        code => Failed::Error(failed(device, call)(code)),
    }
}

/// Returns the instance extensions that a surface of the window requires.
pub(crate) fn instance_extensions(window: &impl HasDisplayHandle) -> Result<Vec<&'static CStr>> {
    let no_window = |reason: String| Error::NoWindow { reason };
    let display = window.display_handle().map_err(|error| no_window(error.to_string()))?.as_raw();
    let names = ash_window::enumerate_required_extensions(display)
        .map_err(|code| no_window(format!("Vulkan cannot draw to this kind of window ({code:?}): {display:?}")))?;
    Ok(names.iter().map(|name| name_of(*name)).collect())
}

/// Converts an extension name that `ash` declares.
fn name_of(name: *const std::ffi::c_char) -> &'static CStr {
    // SAFETY: `ash_window` only returns pointers to string constants of `ash`, which are static.
    unsafe { CStr::from_ptr(name) }
}

/// Checks that the device has the extensions for a surface of the window and its swapchain:
/// commands of disabled extensions have no address.
fn check_extensions(device: &ExportDevice, display: RawDisplayHandle) -> Result<()> {
    let cannot = |reason: String| Error::CannotPresent { device: device.name().to_owned(), reason };
    let (extension, command) = match display {
        RawDisplayHandle::Xlib(_) => (khr::xlib_surface::NAME, c"vkCreateXlibSurfaceKHR"),
        RawDisplayHandle::Xcb(_) => (khr::xcb_surface::NAME, c"vkCreateXcbSurfaceKHR"),
        RawDisplayHandle::Wayland(_) => (khr::wayland_surface::NAME, c"vkCreateWaylandSurfaceKHR"),
        RawDisplayHandle::Windows(_) => (khr::win32_surface::NAME, c"vkCreateWin32SurfaceKHR"),
        other => return Err(cannot(format!("there are no windows on {other:?}"))),
    };
    let lacks = |extension: &CStr| cannot(format!("it was opened without {extension:?}; see `Window::open_compute`"));
    let (entry, instance) = (device.entry(), device.instance());
    // SAFETY: VUID-vkGetInstanceProcAddr-instance-parameter: the instance lives; the name is
    // null-terminated.
    let surface = unsafe { entry.get_instance_proc_addr(instance.handle(), command.as_ptr()) };
    surface.ok_or_else(|| lacks(extension))?;
    let command = c"vkCreateSwapchainKHR";
    // SAFETY: VUID-vkGetDeviceProcAddr-device-parameter: as above, for the device.
    let swapchain = unsafe { instance.get_device_proc_addr(device.as_raw().handle(), command.as_ptr()) };
    swapchain.ok_or_else(|| lacks(khr::swapchain::NAME)).map(drop)
}

/// A surface of a window. It is dropped before its window, and after its swapchain.
pub(crate) struct Surface {
    raw: vk::SurfaceKHR,
    loader: khr::surface::Instance,
    wayland: bool,
    device: ExportDevice,
}

impl Surface {
    /// Creates the surface, if the device has the required extensions and its queue can present to
    /// it. The window is queried for its display each time, since that may have changed.
    ///
    /// # Safety
    /// The window outlives the surface.
    pub(crate) unsafe fn new(
        device: &ExportDevice,
        window: &(impl HasDisplayHandle + HasWindowHandle),
    ) -> Result<Self> {
        let cannot = |reason: String| Error::CannotPresent { device: device.name().to_owned(), reason };
        let no_handle = |error: raw_window_handle::HandleError| cannot(error.to_string());
        let display = window.display_handle().map_err(no_handle)?.as_raw();
        let handle = window.window_handle().map_err(no_handle)?.as_raw();
        check_extensions(device, display)?;
        let (entry, instance) = (device.entry(), device.instance());
        // SAFETY: the commands are loaded. Both handles are live, since the window is live and
        // outlives the surface, as documented.
        let raw = unsafe { ash_window::create_surface(entry, instance, display, handle, None) }
            .map_err(failed(device, "the creation of the window's surface"))?;
        let loader = khr::surface::Instance::new(entry, instance);
        let wayland = matches!(display, RawDisplayHandle::Wayland(_));
        let surface = Self { raw, loader, wayland, device: device.clone() };
        let (physical, family) = (device.physical().handle, device.queue().family());
        // SAFETY: VUID-vkGetPhysicalDeviceSurfaceSupportKHR-queueFamilyIndex-01269: the family is
        // that of the device's own queue.
        let supported = unsafe { surface.loader.get_physical_device_surface_support(physical, family, raw) }
            .map_err(failed(device, "vkGetPhysicalDeviceSurfaceSupportKHR"))?;
        if supported {
            // A window without a usable format is rejected.
            let _format = surface.format().map_err(|failed| match failed {
                Failed::Error(error) => error,
                _ => cannot("the window was lost before it showed a picture".into()),
            })?;
            return Ok(surface);
        }
        Err(cannot("its queue cannot present there; choose another device".into()))
    }

    pub(crate) fn as_raw(&self) -> vk::SurfaceKHR {
        self.raw
    }

    pub(crate) fn capabilities(&self) -> Result<vk::SurfaceCapabilitiesKHR, Failed> {
        let physical = self.device.physical().handle;
        // SAFETY: VUID-vkGetPhysicalDeviceSurfaceCapabilitiesKHR-surface-06211: `new` has checked
        // support.
        unsafe { self.loader.get_physical_device_surface_capabilities(physical, self.raw) }
            .map_err(sorted(&self.device, "vkGetPhysicalDeviceSurfaceCapabilitiesKHR"))
    }

    /// Returns a format that stores the picture's values unchanged. Every device supports blits to
    /// each of the three formats.
    pub(crate) fn format(&self) -> Result<vk::SurfaceFormatKHR, Failed> {
        let physical = self.device.physical().handle;
        // SAFETY: VUID-vkGetPhysicalDeviceSurfaceFormatsKHR-surface-06525: as in `capabilities`.
        let formats = unsafe { self.loader.get_physical_device_surface_formats(physical, self.raw) }
            .map_err(sorted(&self.device, "vkGetPhysicalDeviceSurfaceFormatsKHR"))?;
        let plain = [vk::Format::B8G8R8A8_UNORM, vk::Format::R8G8B8A8_UNORM, vk::Format::A8B8G8R8_UNORM_PACK32];
        let found = plain.iter().find_map(|plain| formats.iter().find(|format| format.format == *plain));
        found.copied().ok_or_else(|| {
            let reason = format!("the window has no plain 8-bit format; it has {formats:?}");
            Failed::Error(Error::CannotPresent { device: self.device.name().to_owned(), reason })
        })
    }

    /// Returns FIFO for `vsync`, which all surfaces support; otherwise a mode that does not wait
    /// for the display, if there is one.
    ///
    /// On Wayland, the compositor shows whole pictures in every mode, and FIFO blocks in
    /// `vkQueuePresentKHR` while the window is hidden. So MAILBOX or IMMEDIATE is used there, if
    /// the device supports one of them.
    pub(crate) fn mode(&self, vsync: bool) -> Result<vk::PresentModeKHR, Failed> {
        let physical = self.device.physical().handle;
        // SAFETY: VUID-vkGetPhysicalDeviceSurfacePresentModesKHR-surface-06525: as in
        // `capabilities`.
        let modes = unsafe { self.loader.get_physical_device_surface_present_modes(physical, self.raw) }
            .map_err(sorted(&self.device, "vkGetPhysicalDeviceSurfacePresentModesKHR"))?;
        Ok(choose(vsync, self.wayland, &modes))
    }
}

/// Returns the best of the modes that a surface supports.
fn choose(vsync: bool, wayland: bool, modes: &[vk::PresentModeKHR]) -> vk::PresentModeKHR {
    let wanted: &[_] = match (vsync, wayland) {
        (true, false) => &[],
        (true, true) | (false, _) => &[vk::PresentModeKHR::MAILBOX, vk::PresentModeKHR::IMMEDIATE],
    };
    let found = wanted.iter().copied().find(|mode| modes.contains(mode));
    found.unwrap_or(vk::PresentModeKHR::FIFO)
}

impl Drop for Surface {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroySurfaceKHR-surface-01266: its swapchain is destroyed, as
        // documented.
        unsafe { self.loader.destroy_surface(self.raw, None) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_wayland_window_never_blocks_presentation() {
        const FIFO: vk::PresentModeKHR = vk::PresentModeKHR::FIFO;
        const MAILBOX: vk::PresentModeKHR = vk::PresentModeKHR::MAILBOX;
        const IMMEDIATE: vk::PresentModeKHR = vk::PresentModeKHR::IMMEDIATE;
        for vsync in [true, false] {
            assert_eq!(choose(vsync, true, &[FIFO, IMMEDIATE, MAILBOX]), MAILBOX);
            assert_eq!(choose(vsync, true, &[FIFO, IMMEDIATE]), IMMEDIATE);
            assert_eq!(choose(vsync, true, &[FIFO]), FIFO);
        }
        assert_eq!(choose(true, false, &[FIFO, IMMEDIATE, MAILBOX]), FIFO);
        assert_eq!(choose(false, false, &[FIFO, IMMEDIATE, MAILBOX]), MAILBOX);
    }
}
