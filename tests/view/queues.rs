//! A device whose queue cannot scale pictures.
#![allow(unsafe_code)] // Replacements of Vulkan functions.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use bridge::ash::{self, vk};
use bridge::{Backend, Compute, ExportDevice};
use bridge_tests::Engine;
use bridge_view::{Error, View, ViewInfo, Window, WindowInfo};
use raw_window_handle::{
    DisplayHandle, HandleError, HasDisplayHandle, HasWindowHandle, RawDisplayHandle, RawWindowHandle, WindowHandle,
    XcbDisplayHandle, XcbWindowHandle,
};

use crate::SIZE;

static FAMILIES: OnceLock<vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties> = OnceLock::new();

/// Returns the driver's queue families without the graphics flag.
unsafe extern "system" fn families(physical: vk::PhysicalDevice, count: *mut u32, all: *mut vk::QueueFamilyProperties) {
    // SAFETY: the arguments are passed on unchanged.
    unsafe { FAMILIES.get().unwrap()(physical, count, all) };
    if all.is_null() {
        return;
    }
    // SAFETY: the caller's count, which was written.
    let written = unsafe { *count };
    // SAFETY: the caller's array, of which this many elements were written.
    for family in unsafe { std::slice::from_raw_parts_mut(all, written as usize) } {
        family.queue_flags &= !vk::QueueFlags::GRAPHICS;
    }
}

/// A window for which no Vulkan call is made.
struct Unused;

impl HasDisplayHandle for Unused {
    fn display_handle(&self) -> Result<DisplayHandle<'_>, HandleError> {
        // SAFETY: there is no connection.
        Ok(unsafe { DisplayHandle::borrow_raw(RawDisplayHandle::Xcb(XcbDisplayHandle::new(None, 0))) })
    }
}

impl HasWindowHandle for Unused {
    fn window_handle(&self) -> Result<WindowHandle<'_>, HandleError> {
        // SAFETY: nothing accesses memory through the number.
        Ok(unsafe { WindowHandle::borrow_raw(RawWindowHandle::Xcb(XcbWindowHandle::new(NonZeroU32::MIN))) })
    }
}

/// Regardless of the surface's support, a window needs graphics, because the picture is scaled to
/// it with a blit.
#[test]
fn a_window_needs_a_queue_with_graphics() {
    let engine = Box::leak(Box::new(Engine::new(None)));
    let mut info = engine.info();
    let (entry, own) = (info.entry.clone(), info.instance.clone());
    let load = |name: &std::ffi::CStr| {
        // SAFETY: a live instance and a string.
        let real = unsafe { entry.get_instance_proc_addr(own.handle(), name.as_ptr()) };
        let real = real.map_or(std::ptr::null(), |function| function as *const std::ffi::c_void);
        if name != c"vkGetPhysicalDeviceQueueFamilyProperties" {
            return real;
        }
        // SAFETY: the function of that name has this type.
        let _ = FAMILIES.set(unsafe {
            std::mem::transmute::<*const std::ffi::c_void, vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties>(real)
        });
        families as *const std::ffi::c_void
    };
    // SAFETY: every function is the instance's own, or a replacement with the same signature.
    info.instance = unsafe { ash::Instance::load_with(load, own.handle()) };
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    assert!(device.queue().stages().is_some(), "the queue has graphics");
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let window = Window::adopt(Unused, &WindowInfo { size: SIZE, ..WindowInfo::default() }).unwrap();
    let info = ViewInfo { size: SIZE, ..ViewInfo::default() };
    match View::in_window(&compute, &info, window) {
        Err(Error::CannotPresent { reason, .. }) => assert!(reason.contains("graphics"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let mut view = View::headless(&compute, &info).unwrap();
    assert_eq!(view.pixels().unwrap().len(), 4 * SIZE.iter().product::<u32>() as usize);
    drop(view);
    engine.assert_silent();
}
