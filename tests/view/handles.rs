//! Windows of the program whose handles cannot be used.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bridge::{Backend, Compute};
use bridge_tests::{Rig, assert_silent};
use bridge_view::{Error, View, ViewInfo, Window, WindowInfo};
use raw_window_handle::{
    DisplayHandle, HaikuDisplayHandle, HandleError, HasDisplayHandle, HasWindowHandle, RawDisplayHandle,
    RawWindowHandle, WaylandDisplayHandle, WindowHandle, XcbDisplayHandle,
};

use crate::SIZE;
use crate::window::{Scene, adopt, scene};
use crate::x11::Own;

/// A missing handle, or a handle of a system that Vulkan does not support here.
struct UnusualDisplay(Option<RawDisplayHandle>);

impl HasDisplayHandle for UnusualDisplay {
    fn display_handle(&self) -> Result<DisplayHandle<'_>, HandleError> {
        #[allow(unsafe_code)]
        // SAFETY: the handle names nothing.
        self.0.map(|raw| unsafe { DisplayHandle::borrow_raw(raw) }).ok_or(HandleError::Unavailable)
    }
}

impl HasWindowHandle for UnusualDisplay {
    fn window_handle(&self) -> Result<WindowHandle<'_>, HandleError> {
        Err(HandleError::Unavailable)
    }
}

// SAFETY: the handles that are used have no pointers.
#[allow(unsafe_code)]
unsafe impl Send for UnusualDisplay {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for UnusualDisplay {}

/// A window that reports another kind of display after some calls.
struct ChangingDisplay {
    own: Arc<Own>,
    calls: AtomicUsize,
}

impl HasDisplayHandle for ChangingDisplay {
    fn display_handle(&self) -> Result<DisplayHandle<'_>, HandleError> {
        let left = self.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| calls.checked_sub(1));
        if left.is_ok() {
            return self.own.display_handle();
        }
        let raw = RawDisplayHandle::Wayland(WaylandDisplayHandle::new(NonNull::dangling()));
        #[allow(unsafe_code)]
        // SAFETY: the handle is invalid, so nothing must be called with it, which is what the test
        // checks.
        Ok(unsafe { DisplayHandle::borrow_raw(raw) })
    }
}

impl HasWindowHandle for ChangingDisplay {
    fn window_handle(&self) -> Result<WindowHandle<'_>, HandleError> {
        self.own.window_handle()
    }
}

/// The commands for another kind of display were not loaded, and cannot be called.
#[test]
fn a_window_that_changes_its_kind_of_display_is_refused() {
    let Some(Scene { view, own, turn: _turn, .. }) = scene() else { return };
    let compute = view.compute().clone();
    drop(view);
    let mut refused = 0;
    for calls in 1..4 {
        let fickle = ChangingDisplay { own: own.clone(), calls: AtomicUsize::new(calls) };
        let window = Window::adopt(fickle, &WindowInfo { size: SIZE, ..WindowInfo::default() }).unwrap();
        match View::in_window(&compute, &ViewInfo { size: SIZE, timeout: Rig::LONG }, window) {
            Err(Error::CannotPresent { .. }) => refused += 1,
            other => drop(other.unwrap()),
        }
    }
    assert!(refused > 0, "it changed too late");
    assert_silent(compute.device());
}

#[test]
fn windows_that_cannot_be_shown_in_are_refused() {
    let without = [
        None,
        Some(RawDisplayHandle::Haiku(HaikuDisplayHandle::new())),
        Some(RawDisplayHandle::Xcb(XcbDisplayHandle::new(None, 0))),
    ];
    for display in without {
        let error = Window::adopt(UnusualDisplay(display), &WindowInfo::default()).unwrap_err();
        assert!(matches!(error, Error::NoWindow { .. }), "{error:?}");
    }
    // A device without the extensions.
    let Some(Scene { own, turn, .. }) = scene() else { return };
    let compute = Compute::new(turn.device(), Backend::Host).unwrap();
    let error = View::in_window(&compute, &ViewInfo { size: SIZE, timeout: Rig::LONG }, adopt(&own)).unwrap_err();
    assert!(matches!(error, Error::CannotPresent { .. }), "{error:?}");
    // The number of a window, and the connection, only as raw handles.
    let (display, handle) = (own.display_handle().unwrap().as_raw(), own.window_handle().unwrap().as_raw());
    assert!(matches!(handle, RawWindowHandle::Xcb(_)));
    #[allow(unsafe_code)]
    // SAFETY: the window is dropped here, before its owner.
    let raw = unsafe { Window::adopt_raw(display, handle, &WindowInfo::default()) };
    assert!(raw.unwrap().instance_extensions().unwrap().len() >= 2);
}
